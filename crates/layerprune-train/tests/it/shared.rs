//! Models that are too large to commit, where there are any.

use std::ops::ControlFlow;
use std::path::Path;
use std::{env, fs};

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune_train::{Batches, DataError, Settings, TrainError, scores, train};

struct One(Batch);

impl Batches for One {
    fn epoch(&self, _: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        Box::new(std::iter::once(Ok(self.0.clone())).skip(first))
    }

    fn batches_per_epoch(&self) -> usize {
        1
    }
}

/// Trains each model of `$LAYERPRUNE_SHARED/models` that reads 3×32×32 images by one step; without the variable there
/// are none.
#[test]
fn a_step_changes_what_a_model_says() {
    let Some(folder) = env::var_os("LAYERPRUNE_SHARED") else { return };
    let mut paths: Vec<_> =
        fs::read_dir(Path::new(&folder).join("models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    for path in paths {
        let model = Model::read(&path).unwrap();
        let images = (0..4 * 3072).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
        let batch = Batch::new(images, [4, 3, 32, 32], vec![0, 1, 2, 3]);
        let before = match scores(&model, &batch) {
            Err(TrainError::InputShape { .. }) => continue,
            before => before.unwrap(),
        };
        let settings = Settings { epochs: 1, learning_rate: 0.001, ..Settings::default() };
        let trained = train(&model, &One(batch.clone()), &settings, None, &mut |_| ControlFlow::Continue(())).unwrap();
        let after = scores(&trained.model, &batch).unwrap();
        assert!(after != before && after.iter().all(|score| score.is_finite()), "{}", path.display());
    }
}

//! Whole training steps against PyTorch's.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune_train::{Batches, Event, Optimizer, Schedule, Settings, Sgd, scores, train};
use serde::Deserialize;

use crate::models::weight;

pub(crate) fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

#[derive(Deserialize)]
pub(crate) struct Golden {
    batches: Vec<GoldenBatch>,
    pub(crate) sgd: Steps,
    nesterov: Steps,
}

#[derive(Deserialize)]
pub(crate) struct GoldenBatch {
    dims: [usize; 4],
    images: Vec<f32>,
    labels: Vec<usize>,
}

#[derive(Deserialize)]
pub(crate) struct Steps {
    eval_scores: Vec<f32>,
    losses: Vec<f64>,
    gradients: BTreeMap<String, Vec<f32>>,
    pub(crate) after: BTreeMap<String, Vec<f32>>,
}

impl GoldenBatch {
    pub(crate) fn batch(&self) -> Batch {
        Batch::new(self.images.clone(), self.dims, self.labels.clone())
    }
}

pub(crate) struct Fixed(pub(crate) Vec<Batch>);

impl Batches for Fixed {
    fn epoch(
        &self,
        _: usize,
        first: usize,
    ) -> Box<dyn Iterator<Item = Result<Batch, Box<dyn Error + Send + Sync>>> + '_> {
        Box::new(self.0.iter().skip(first).cloned().map(Ok))
    }

    fn batches_per_epoch(&self) -> usize {
        self.0.len()
    }
}

pub(crate) fn load() -> (Model, Golden, Vec<Batch>) {
    let model = Model::read(golden("train_net.onnx")).unwrap();
    let golden: Golden = serde_json::from_slice(&fs::read(golden("train_net.json")).unwrap()).unwrap();
    let batches = golden.batches.iter().map(GoldenBatch::batch).collect();
    (model, golden, batches)
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-4, "{what}[{index}]: {found} instead of {expected}");
    }
}

fn sgd(momentum: f64, nesterov: bool) -> Optimizer {
    Optimizer::Sgd(Sgd { momentum, nesterov })
}

pub(crate) fn settings() -> Settings {
    Settings {
        epochs: 1,
        learning_rate: 0.05,
        optimizer: sgd(0.9, false),
        weight_decay: 5e-4,
        schedule: Schedule::Constant,
        ..Settings::default()
    }
}

#[test]
fn scores_agree_with_pytorch() {
    let (model, golden, batches) = load();
    assert_close("scores", &scores(&model, &batches[0]).unwrap(), &golden.sgd.eval_scores);
}

#[test]
fn gradients_agree_with_pytorch() {
    let (model, golden, batches) = load();
    // One plain step at rate 1 moves each weight by its gradient.
    let settings = Settings { learning_rate: 1.0, optimizer: sgd(0.0, false), weight_decay: 0.0, ..settings() };
    let data = Fixed(batches[..1].to_vec());
    let outcome = train(&model, &data, &settings, None, &mut |_| ControlFlow::Continue(())).unwrap();
    for (name, expected) in &golden.sgd.gradients {
        let (before, after) = (weight(&model, name), weight(&outcome.model, name));
        let moved: Vec<f32> = before.iter().zip(&after).map(|(before, after)| before - after).collect();
        assert_close(name, &moved, expected);
    }
}

#[test]
fn three_steps_agree_with_pytorch() {
    let (model, golden, batches) = load();
    for (nesterov, expected) in [(false, &golden.sgd), (true, &golden.nesterov)] {
        let mut losses = Vec::new();
        let settings = Settings { optimizer: sgd(0.9, nesterov), ..settings() };
        let outcome = train(&model, &Fixed(batches.clone()), &settings, None, &mut |event| {
            if let Event::Step(step) = event {
                losses.push(step.loss);
            }
            ControlFlow::Continue(())
        });
        let outcome = outcome.unwrap();
        for (found, expected) in losses.iter().zip(&expected.losses) {
            assert!((found - expected).abs() < 1e-4, "{losses:?} instead of {expected:?}");
        }
        for (name, expected) in &expected.after {
            assert_close(name, &weight(&outcome.model, name), expected);
        }
        assert_eq!(outcome.epochs.len(), 1);
        assert!(outcome.finished);
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let (model, _, batches) = load();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let data = Fixed(batches.clone());
            train(&model, &data, &settings(), None, &mut |_| ControlFlow::Continue(())).unwrap().model.to_bytes()
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5), "weights differ between numbers of threads");
}

//! Values inside a model, for criteria that need no gradient.

use std::ops::ControlFlow;

use layerprune::batch::{Batch, Maps};
use layerprune::graph::ValueId;
use layerprune::onnx::Model;

use crate::error::{DataError, TrainError};
use crate::kernel::Buffer;
use crate::session::{Marks, Session};
use crate::value::Value;

/// A model that gives values inside of it, run as in inference: with stored batch-norm statistics, without dropout and without
/// a record for gradients.
pub struct Features {
    session: Session,
    /// Names of the values, in the order asked for.
    names: Vec<String>,
}

/// Looks at the values of a batch, in the order asked for, and at the labels of its images; breaks to end the pass.
pub type Visit<'v> = dyn FnMut(&[Maps<'_>], &[usize]) -> Result<ControlFlow<()>, DataError> + 'v;

/// A value of one batch.
struct Tap {
    elements: Buffer,
    shape: Vec<usize>,
}

impl Features {
    /// Makes `model` ready to give the values `taps`, each named once, for images of shape `image` (C, H, W). It is run once on
    /// blank images, so that what cannot be run shows here.
    ///
    /// # Errors
    /// Whatever of the model cannot be run, images that do not fit, and [`TrainError::NotComputed`].
    pub fn new(model: &Model, taps: &[ValueId], image: [usize; 3]) -> Result<Self, TrainError> {
        let session = Session::whole(model, &Marks { tapped: taps, ..Marks::default() })?;
        let names = taps.iter().map(|&tap| model.graph.value_name(tap).to_owned()).collect();
        let features = Self { session, names };
        let images = features.fixed_batch().unwrap_or(1);
        let [channels, height, width] = image;
        let pixels = vec![0.0; images * channels * height * width];
        features.values(&Batch::new(pixels, [images, channels, height, width], vec![0; images]))?;
        Ok(features)
    }

    /// The number of images that the model is fixed to, where it is.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.session.program.input_port.1.first().copied().flatten()
    }

    /// Runs the model once on every batch and calls `visit` with all values, in the order asked for, and the label of each
    /// image; it ends the pass by breaking. Returns how many images there were.
    ///
    /// Memory: the values of one batch, and what the model holds beside them while it runs.
    ///
    /// # Errors
    /// Data that fails, does not fit or holds no images, and [`TrainError::Visit`] with the error of `visit`.
    pub fn visit(
        &self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
        visit: &mut Visit<'_>,
    ) -> Result<u64, TrainError> {
        let mut images = 0;
        for batch in batches {
            let batch = batch.map_err(TrainError::Data)?;
            let values = self.values(&batch)?;
            let maps: Vec<Maps<'_>> =
                values.iter().map(|tap| Maps { data: tap.elements.elements(), shape: &tap.shape }).collect();
            images += batch.labels.len() as u64;
            if visit(&maps, &batch.labels).map_err(TrainError::Visit)?.is_break() {
                break;
            }
        }
        if images == 0 { Err(TrainError::NoBatches) } else { Ok(images) }
    }

    fn values(&self, batch: &Batch) -> Result<Vec<Tap>, TrainError> {
        let mut found = self.session.taps(batch)?;
        found.resize(self.names.len(), None);
        let tap = |(value, name): (Option<Value>, &String)| {
            let shape = value.as_ref().map(Value::dims).unwrap_or_default();
            let elements = value.and_then(Value::into_buffer);
            elements
                .map(|elements| Tap { elements, shape })
                .ok_or_else(|| TrainError::NotComputed { value: name.clone() })
        };
        found.into_iter().zip(&self.names).map(tap).collect()
    }
}

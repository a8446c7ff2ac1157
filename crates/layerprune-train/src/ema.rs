//! The exponential moving average of weights and statistics.

use rayon::prelude::*;

use crate::checkpoint::{Kept, Section};
use crate::optimizer::CHUNK;
use crate::weights::Weights;

/// `average = decay · average + (1 - decay) · weight` after each step, over trained weights and batch-norm statistics; after
/// the first step it is the weights themselves. That is PyTorch's `AveragedModel` with `use_buffers=True` and this `avg_fn`.
pub(crate) struct Average {
    decay: f32,
    /// In the order of [`Weights::kept`].
    pub(crate) values: Vec<Vec<f32>>,
}

impl Average {
    pub(crate) fn new(decay: f64, weights: &Weights) -> Self {
        let values = weights.kept().into_iter().map(|place| weights.floats(place).to_vec()).collect();
        Self { decay: decay as f32, values }
    }

    /// Follows the weights by one step; `first` where it is the first.
    pub(crate) fn follow(&mut self, weights: &Weights, first: bool) {
        let (stays, new) = if first { (0.0, 1.0) } else { (self.decay, 1.0 - self.decay) };
        for (average, place) in self.values.iter_mut().zip(weights.kept()) {
            let chunks = average.par_chunks_mut(CHUNK).zip(weights.floats(place).par_chunks(CHUNK));
            chunks.for_each(|(average, weight)| {
                for (a, w) in average.iter_mut().zip(weight) {
                    *a = stays * *a + new * w;
                }
            });
        }
    }

    pub(crate) fn section<'a>(&'a self, weights: &'a Weights) -> Section<'a> {
        let tensors = weights.kept().into_iter().zip(&self.values).map(|(place, data)| {
            let weight = &weights.0[place];
            Kept { name: &weight.name, dims: &weight.dims, data }
        });
        Section { name: "averages", tensors: tensors.collect() }
    }
}

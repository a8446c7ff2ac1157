use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CHUNK, Rule, Step};
use crate::error::TrainError;
use crate::settings::refuse;

/// Stochastic gradient descent with momentum, as PyTorch's `SGD`.
///
/// For each weight `w` with gradient `g`: `g += weight-decay · w`, `v = momentum · v + g`, `w -= learning-rate · v`; with
/// `nesterov`, `w -= learning-rate · (g + momentum · v)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sgd {
    /// Share of the last step that goes into the next.
    pub momentum: f64,
    /// Whether the gradient looks ahead along the momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

impl Rule for Sgd {
    fn moments(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["momentum"] }
    }

    fn update(&self, step: Step, weight: &mut [f32], moments: &mut [Vec<f32>], gradient: &[f32]) {
        let (rate, decay, momentum) = (step.rate as f32, step.decay as f32, self.momentum as f32);
        let pairs = weight.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let [velocity] = moments else {
            pairs.for_each(|(weight, gradient)| {
                for (w, g) in weight.iter_mut().zip(gradient) {
                    *w -= rate * (g + decay * *w);
                }
            });
            return;
        };
        pairs.zip(velocity.par_chunks_mut(CHUNK)).for_each(|((weight, gradient), velocity)| {
            for ((w, g), v) in weight.iter_mut().zip(gradient).zip(velocity) {
                let g = g + decay * *w;
                *v = momentum * *v + g;
                *w -= rate * if self.nesterov { g + momentum * *v } else { *v };
            }
        });
    }

    fn check(&self) -> Result<(), TrainError> {
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse("optimizer.momentum", self.momentum, "a number from 0 to below 1");
        }
        if self.nesterov && self.momentum == 0.0 {
            return refuse("optimizer.nesterov", true, "a momentum above 0, or false,");
        }
        Ok(())
    }
}

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CHUNK, Rule, Step};
use crate::error::TrainError;
use crate::settings::refuse;

/// Adam with decoupled weight decay, as PyTorch's `AdamW` (Loshchilov and Hutter, "Decoupled Weight Decay
/// Regularization", ICLR 2019, algorithm 2).
///
/// For each weight `w` with gradient `g`, at step `t` from 1: `w -= learning-rate · weight-decay · w`,
/// `m = beta1 · m + (1 - beta1) · g`, `v = beta2 · v + (1 - beta2) · g²`,
/// `w -= learning-rate · m̂ / (√v̂ + epsilon)` with `m̂ = m / (1 - beta1ᵗ)` and `v̂ = v / (1 - beta2ᵗ)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AdamW {
    /// Share of the mean gradient that stays from step to step.
    pub beta1: f64,
    /// Share of the mean squared gradient that stays from step to step.
    pub beta2: f64,
    /// What the root of the mean squared gradient is kept above 0 by.
    pub epsilon: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Rule for AdamW {
    fn moments(&self) -> &'static [&'static str] {
        &["first-moment", "second-moment"]
    }

    fn update(&self, step: Step, weight: &mut [f32], moments: &mut [Vec<f32>], gradient: &[f32]) {
        let [first, second] = moments else { return };
        let t = step.count as f64;
        let rate = (step.rate / (1.0 - self.beta1.powf(t))) as f32;
        let root = (1.0 - self.beta2.powf(t)).sqrt() as f32;
        let stays = (1.0 - step.rate * step.decay) as f32;
        let (beta1, beta2, epsilon) = (self.beta1 as f32, self.beta2 as f32, self.epsilon as f32);
        let (new1, new2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        let chunks = weight.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(moments);
        chunks.for_each(|((weight, gradient), (first, second))| {
            for ((w, g), (m, v)) in weight.iter_mut().zip(gradient).zip(first.iter_mut().zip(second)) {
                *m = beta1 * *m + new1 * g;
                *v = beta2 * *v + new2 * g * g;
                *w = stays * *w - rate * *m / (v.sqrt() / root + epsilon);
            }
        });
    }

    fn check(&self) -> Result<(), TrainError> {
        for (setting, beta) in [("optimizer.beta1", self.beta1), ("optimizer.beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return refuse(setting, beta, "a number from 0 to below 1");
            }
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return refuse("optimizer.epsilon", self.epsilon, "a number above 0");
        }
        Ok(())
    }
}

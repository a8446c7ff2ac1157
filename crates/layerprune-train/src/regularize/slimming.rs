use serde::{Deserialize, Serialize};

use super::{Regularizer, Target};
use crate::error::TrainError;
use crate::settings::refuse;
use crate::weights::Weights;

/// Network Slimming: the scales of batch norms are drawn to zero, so that filters can be told by them.
///
/// The loss becomes `L + λ Σ |γ|`: `λ · sign(γ)` is added to the gradient of each scale `γ` before the optimiser's step.
/// Scales come near zero and not exactly there; filters are then ranked by `|γ|`.
///
/// # Reference
/// Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017, eq. 1. There λ is 1e-4 for
/// VGG and 1e-5 for ResNet and DenseNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Slimming {
    /// Patterns of names of batch-norm scales; all of them where there is none.
    pub on: Vec<String>,
    /// λ.
    pub strength: f64,
}

impl Default for Slimming {
    fn default() -> Self {
        Self { on: Vec::new(), strength: 1e-4 }
    }
}

impl Slimming {
    pub(super) fn check(&self) -> Result<(), TrainError> {
        match self.strength.is_finite() && self.strength >= 0.0 {
            true => Ok(()),
            false => refuse("sparsity.strength", self.strength, "a number of at least 0"),
        }
    }
}

pub(super) struct State {
    targets: Vec<Target>,
    strength: f32,
}

impl State {
    pub(super) fn new(targets: Vec<Target>, settings: &Slimming) -> Self {
        Self { targets, strength: settings.strength as f32 }
    }
}

impl Regularizer for State {
    fn before(&mut self, weights: &mut Weights, gradients: &mut [Option<Vec<f32>>], _: f32) {
        for target in &self.targets {
            if let Some(gradient) = &mut gradients[target.trained] {
                add_subgradient(gradient, weights.floats(target.place), self.strength);
            }
        }
    }
}

/// Adds `strength · sign(weight)`; that of zero is zero.
fn add_subgradient(gradient: &mut [f32], weight: &[f32], strength: f32) {
    for (gradient, &weight) in gradient.iter_mut().zip(weight) {
        if weight != 0.0 {
            *gradient += strength * weight.signum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subgradient_has_the_sign_of_the_scale() {
        let mut gradient = [1.0, 1.0, 1.0, 1.0];
        add_subgradient(&mut gradient, &[2.0, -0.5, 0.0, -0.0], 0.25);
        assert_eq!(gradient, [1.25, 0.75, 1.0, 1.0]);
    }
}

use serde::{Deserialize, Serialize};

use super::{Regularizer, Target};
use crate::checkpoint::Section;
use crate::error::TrainError;
use crate::settings::refuse;
use crate::weights::Weights;

/// Sparse Structure Selection: scales of blocks are drawn to exactly zero, and blocks at zero can go.
///
/// The loss becomes `L + γ Σ |λ|` over the scales `λ`, which do not follow the optimiser but a modified accelerated proximal
/// gradient step, with the learning rate `η` of the step, `S(z) = sign(z) · max(|z| - ηγ, 0)` and momentum `μ`:
///
/// ```text
/// z = λ - η · ∂L/∂λ      v = S(z) - λ + μ · v      λ = S(z) + μ · v
/// ```
///
/// A scale whose gradient stays smaller than γ reaches zero and remains there.
///
/// # Reference
/// Huang and Wang, "Data-Driven Sparse Structure Selection for Deep Neural Networks", ECCV 2018, section 3.3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sss {
    /// Patterns of names of scales, or of any factor that is stored; the scales of blocks where there is none.
    pub on: Vec<String>,
    /// γ. The default is ours; more of it sets more blocks to zero.
    pub strength: f64,
    /// μ.
    pub momentum: f64,
}

impl Default for Sss {
    fn default() -> Self {
        Self { on: Vec::new(), strength: 0.01, momentum: 0.9 }
    }
}

impl Sss {
    pub(super) fn check(&self) -> Result<(), TrainError> {
        if !(self.strength.is_finite() && self.strength >= 0.0) {
            return refuse("sparsity.strength", self.strength, "a number of at least 0");
        }
        match (0.0..1.0).contains(&self.momentum) {
            true => Ok(()),
            false => refuse("sparsity.momentum", self.momentum, "a number from 0 to below 1"),
        }
    }
}

pub(super) struct State {
    targets: Vec<Target>,
    /// `v` of each target.
    velocity: Vec<Vec<f32>>,
    strength: f32,
    momentum: f32,
}

impl State {
    pub(super) fn new(targets: Vec<Target>, settings: &Sss) -> Self {
        let velocity = targets.iter().map(|target| vec![0.0; target.dims.iter().product()]).collect();
        Self { targets, velocity, strength: settings.strength as f32, momentum: settings.momentum as f32 }
    }
}

impl Regularizer for State {
    fn before(&mut self, weights: &mut Weights, gradients: &mut [Option<Vec<f32>>], rate: f32) {
        for (target, velocity) in self.targets.iter().zip(&mut self.velocity) {
            // Taken away, so that the optimiser lets the scale be.
            if let Some(gradient) = gradients[target.trained].take() {
                let weight = weights.floats_mut(target.place);
                proximal_step(weight, velocity, &gradient, rate, self.strength, self.momentum);
            }
        }
    }

    fn section(&self) -> Option<Section<'_>> {
        Some(super::section("sss-velocity", &self.targets, &self.velocity))
    }

    fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        self.velocity.iter_mut().map(|velocity| &mut velocity[..]).collect()
    }
}

fn proximal_step(weight: &mut [f32], velocity: &mut [f32], gradient: &[f32], rate: f32, strength: f32, momentum: f32) {
    for ((weight, velocity), &gradient) in weight.iter_mut().zip(velocity).zip(gradient) {
        let near = soft_threshold(*weight - rate * gradient, rate * strength);
        *velocity = near - *weight + momentum * *velocity;
        *weight = near + momentum * *velocity;
    }
}

/// `sign(x) · max(|x| - threshold, 0)`, with zero for what is closer.
fn soft_threshold(x: f32, threshold: f32) -> f32 {
    if x > threshold {
        x - threshold
    } else if x < -threshold {
        x + threshold
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_threshold_is_that_of_hand_arithmetic() {
        let cases = [(1.5, 1.0), (-1.5, -1.0), (0.5, 0.0), (-0.5, 0.0), (0.25, 0.0), (0.0, 0.0)];
        for (x, expected) in cases {
            assert_eq!(soft_threshold(x, 0.5), expected);
        }
    }

    #[test]
    fn two_steps_are_those_of_hand_arithmetic() {
        let (mut weight, mut velocity) = ([1.0], [0.0]);
        // z = 1 - 0.5 · 0.5 = 0.75, S = 0.5, v = 0.5 - 1 = -0.5, λ = 0.5 - 0.25
        proximal_step(&mut weight, &mut velocity, &[0.5], 0.5, 0.5, 0.5);
        assert_eq!((weight, velocity), ([0.25], [-0.5]));
        // z = 0.25 + 0.5 · 1 = 0.75, S = 0.5, v = 0.5 - 0.25 - 0.25 = 0, λ = 0.5
        proximal_step(&mut weight, &mut velocity, &[-1.0], 0.5, 0.5, 0.5);
        assert_eq!((weight, velocity), ([0.5], [0.0]));
    }

    #[test]
    fn what_has_no_gradient_reaches_zero_exactly_and_stays() {
        let (mut weight, mut velocity) = ([1.0], [0.0]);
        let mut steps = 0;
        while (weight, velocity) != ([0.0], [0.0]) {
            proximal_step(&mut weight, &mut velocity, &[0.0], 0.1, 0.3, 0.9);
            steps += 1;
            assert!(steps < 100, "{weight:?} {velocity:?}");
        }
        proximal_step(&mut weight, &mut velocity, &[0.29], 0.1, 0.3, 0.9);
        assert_eq!(weight, [0.0], "a gradient below the strength does not move it");
        proximal_step(&mut weight, &mut velocity, &[-0.5], 0.1, 0.3, 0.9);
        assert!(weight[0] > 0.0, "a greater one does");
    }
}

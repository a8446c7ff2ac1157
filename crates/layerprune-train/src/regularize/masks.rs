use serde::{Deserialize, Serialize};

use super::{Regularizer, Target};
use crate::checkpoint::Section;
use crate::error::TrainError;
use crate::settings::refuse;
use crate::weights::Weights;

/// Trainable binary masks: each filter is switched on or off while the model trains.
///
/// A scale of a filter holds `b = 1[p > 0.5]` with `p = sigmoid(m)`. The real number `m` behind it follows the optimiser, by
/// the straight-through gradient `∂L/∂m = (∂L/∂b + λ · sign(b)) · p (1 - p)`, which takes `∂b/∂p` to be 1; the loss is
/// `L + λ Σ |b|`. Neither weight decay nor anything else draws `m`, and a mask that is off comes back where the loss wants it.
///
/// # Reference
/// Elkerdawy et al., "Lightweight Monocular Depth Estimation Model by Joint End-to-End Filter Pruning", ICIP 2019. It states
/// no λ; the default is ours. `start` is that of the same authors' code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Masks {
    /// Patterns of names of scales, or of any factor that is stored, of zeros and ones; the scales of filters where there is
    /// none.
    pub on: Vec<String>,
    /// λ.
    pub strength: f64,
    /// `m` of a filter that is on at first; of one that is off, for its scale is 0, the negative of it.
    pub start: f64,
}

impl Default for Masks {
    fn default() -> Self {
        Self { on: Vec::new(), strength: 1e-4, start: 0.01 }
    }
}

impl Masks {
    pub(super) fn check(&self) -> Result<(), TrainError> {
        if !(self.strength.is_finite() && self.strength >= 0.0) {
            return refuse("sparsity.strength", self.strength, "a number of at least 0");
        }
        match self.start.is_finite() && self.start > 0.0 {
            true => Ok(()),
            false => refuse("sparsity.start", self.start, "a number above 0"),
        }
    }
}

pub(super) struct State {
    targets: Vec<Target>,
    /// `m` of each target.
    real: Vec<Vec<f32>>,
    strength: f32,
}

impl State {
    /// Goes on from masks that are 0 or 1.
    pub(super) fn new(targets: Vec<Target>, weights: &Weights, settings: &Masks) -> Result<Self, TrainError> {
        let start = settings.start as f32;
        let mut real: Vec<Vec<f32>> = Vec::new();
        for target in &targets {
            let mask = weights.floats(target.place);
            if let Some(&found) = mask.iter().find(|&&mask| mask != 0.0 && mask != 1.0) {
                return Err(TrainError::NotAMask { tensor: target.name.clone(), found });
            }
            real.push(mask.iter().map(|&mask| if mask == 0.0 { -start } else { start }).collect());
        }
        Ok(Self { targets, real, strength: settings.strength as f32 })
    }
}

impl Regularizer for State {
    /// Puts the real numbers in place of the masks, and their gradient in place of the masks'.
    fn before(&mut self, weights: &mut Weights, gradients: &mut [Option<Vec<f32>>], _: f32) {
        for (target, real) in self.targets.iter().zip(&self.real) {
            let mask = weights.floats_mut(target.place);
            if let Some(gradient) = &mut gradients[target.trained] {
                straight_through(gradient, mask, real, self.strength);
            }
            mask.copy_from_slice(real);
        }
    }

    fn after(&mut self, weights: &mut Weights, _: f32) {
        for (target, real) in self.targets.iter().zip(&mut self.real) {
            let mask = weights.floats_mut(target.place);
            real.copy_from_slice(mask);
            mask.iter_mut().for_each(|mask| *mask = f32::from(u8::from(sigmoid(*mask) > 0.5)));
        }
    }

    /// A pull to zero would be one to the edge between on and off.
    fn spares_from_decay(&self) -> &[Target] {
        &self.targets
    }

    fn section(&self) -> Option<Section<'_>> {
        Some(super::section("masks-real", &self.targets, &self.real))
    }

    fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        self.real.iter_mut().map(|real| &mut real[..]).collect()
    }
}

/// Turns the gradient of masks into that of the real numbers behind them.
fn straight_through(gradient: &mut [f32], mask: &[f32], real: &[f32], strength: f32) {
    for ((gradient, &mask), &real) in gradient.iter_mut().zip(mask).zip(real) {
        let p = sigmoid(real);
        *gradient = (*gradient + strength * mask) * p * (1.0 - p);
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_passes_the_step_and_not_the_sigmoid() {
        // p = 1/2 at 0 and 0.8 at ln 4.
        let mut gradient = [1.0, 1.0, -2.0];
        straight_through(&mut gradient, &[0.0, 1.0, 1.0], &[0.0, 4.0_f32.ln(), 4.0_f32.ln()], 0.5);
        let expected = [0.25, 1.5 * 0.16, -1.5 * 0.16];
        assert!(gradient.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn the_gradient_agrees_with_pytorch() {
        #[derive(Deserialize)]
        struct Golden {
            masks: GoldenMasks,
        }
        #[derive(Deserialize)]
        struct GoldenMasks {
            strength: f32,
            alone: Alone,
        }
        #[derive(Deserialize)]
        struct Alone {
            m: Vec<f32>,
            g: Vec<f32>,
            b: Vec<f32>,
            gradient: Vec<f32>,
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden/sparsity.json");
        let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let GoldenMasks { strength, alone } = golden.masks;
        assert!(alone.b.contains(&0.0) && alone.b.contains(&1.0), "the case decides nothing");
        let mut gradient = alone.g.clone();
        straight_through(&mut gradient, &alone.b, &alone.m, strength);
        for (found, expected) in gradient.iter().zip(&alone.gradient) {
            assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
        }
    }
}

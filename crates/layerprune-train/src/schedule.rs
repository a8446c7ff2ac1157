use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::settings::refuse;

/// How the learning rate changes over training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Schedule {
    /// Not at all.
    #[serde(deserialize_with = "crate::settings::no_settings")]
    Constant,
    /// Multiplied by `gamma` every `every` epochs, as PyTorch's `StepLR`.
    Step {
        /// Epochs between changes.
        every: usize,
        /// The factor.
        gamma: f64,
    },
    /// Multiplied by `gamma` at each of these epochs, as PyTorch's `MultiStepLR`.
    Milestones {
        /// The epochs, counted from 0.
        epochs: Vec<usize>,
        /// The factor.
        gamma: f64,
    },
    /// Half a cosine from the learning rate to 0, step by step, as PyTorch's `CosineAnnealingLR`.
    #[serde(deserialize_with = "crate::settings::no_settings")]
    Cosine,
    /// Half a cosine up to the learning rate and one down to almost 0.
    OneCycle(OneCycle),
}

/// A rise to the learning rate and a fall to almost 0, both half a cosine, step by step: PyTorch's `OneCycleLR` with
/// `cycle_momentum=False`; momentum stays as it is (Smith and Topin, "Super-Convergence", 2018).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OneCycle {
    /// The share of all steps in which the rate rises.
    pub rise: f64,
    /// The learning rate divided by the one that the rise begins with.
    pub start_divisor: f64,
    /// The rate that the rise begins with divided by the one that the fall ends with.
    pub end_divisor: f64,
}

impl Default for OneCycle {
    fn default() -> Self {
        Self { rise: 0.3, start_divisor: 25.0, end_divisor: 1e4 }
    }
}

/// A place in a run, for schedules that go by steps and those that go by epochs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// From 0.
    pub(crate) epoch: usize,
    /// Steps done since the warm-up, and those between warm-up and end.
    pub(crate) done: f64,
    pub(crate) all: f64,
}

impl Schedule {
    /// What the learning rate is multiplied by.
    pub(crate) fn factor(&self, at: Moment) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, gamma } => gamma.powi((at.epoch / (*every).max(1)) as i32),
            Self::Milestones { epochs, gamma } => {
                gamma.powi(epochs.iter().filter(|&&milestone| milestone <= at.epoch).count() as i32)
            }
            Self::Cosine => half_cosine(1.0, 0.0, at.done / at.all.max(1.0)),
            Self::OneCycle(cycle) => cycle.factor(at),
        }
    }

    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match self {
            Self::Step { every: 0, .. } => refuse("schedule.every", 0, "at least 1"),
            Self::Step { gamma, .. } | Self::Milestones { gamma, .. } if !(gamma.is_finite() && *gamma > 0.0) => {
                refuse("schedule.gamma", gamma, "a number above 0")
            }
            Self::OneCycle(cycle) => cycle.check(),
            _ => Ok(()),
        }
    }
}

impl OneCycle {
    fn factor(&self, at: Moment) -> f64 {
        let start = 1.0 / self.start_divisor;
        let peak = self.rise * at.all - 1.0;
        if at.done <= peak {
            half_cosine(start, 1.0, if peak > 0.0 { at.done / peak } else { 1.0 })
        } else {
            half_cosine(1.0, start / self.end_divisor, (at.done - peak) / (at.all - 1.0 - peak))
        }
    }

    fn check(&self) -> Result<(), TrainError> {
        if !(0.0..1.0).contains(&self.rise) {
            return refuse("schedule.rise", self.rise, "a number from 0 to below 1");
        }
        let divisors = [("schedule.start-divisor", self.start_divisor), ("schedule.end-divisor", self.end_divisor)];
        for (setting, divisor) in divisors {
            if !(divisor.is_finite() && divisor >= 1.0) {
                return refuse(setting, divisor, "a number of at least 1");
            }
        }
        Ok(())
    }
}

/// From `from` at share 0 to `to` at share 1.
fn half_cosine(from: f64, to: f64, share: f64) -> f64 {
    to + 0.5 * (from - to) * (1.0 + (PI * share.min(1.0)).cos())
}

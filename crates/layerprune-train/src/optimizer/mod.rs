//! What moves weights along their gradients: one file for each rule.

mod adamw;
mod sgd;

use serde::{Deserialize, Serialize};

pub use adamw::AdamW;
pub use sgd::Sgd;

use crate::checkpoint::{Kept, Section};
use crate::error::TrainError;
use crate::weights::Weights;

/// The rule by which weights follow their gradients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Sgd(Sgd::default())
    }
}

impl Optimizer {
    pub(crate) fn rule(&self) -> &dyn Rule {
        match self {
            Self::Sgd(sgd) => sgd,
            Self::AdamW(adamw) => adamw,
        }
    }
}

/// How one weight tensor is moved. Rules are written over [`CHUNK`]s in parallel, in one pass over memory, and do the same
/// for each element wherever its chunk is computed.
pub(crate) trait Rule {
    /// Names of the vectors that are kept for each weight from step to step; they begin with zeros.
    fn moments(&self) -> &'static [&'static str];

    /// Moves `weight` along `gradient`; `moments` are in the order of their names.
    fn update(&self, step: Step, weight: &mut [f32], moments: &mut [Vec<f32>], gradient: &[f32]);

    /// Refuses settings out of their range.
    fn check(&self) -> Result<(), TrainError>;
}

/// What a step is to one weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The learning rate.
    pub(crate) rate: f64,
    /// Weight decay; 0 for weights that are spared.
    pub(crate) decay: f64,
    /// The number of the step over the whole run, from 1.
    pub(crate) count: u64,
}

/// Elements that one thread moves at a time.
pub(crate) const CHUNK: usize = 1 << 14;

/// What a rule keeps of each trained weight.
pub(crate) struct Moments {
    names: &'static [&'static str],
    /// By trained weight, then by name.
    pub(crate) of: Vec<Vec<Vec<f32>>>,
}

impl Moments {
    pub(crate) fn new(rule: &dyn Rule, weights: &Weights, trained: &[usize]) -> Self {
        let names = rule.moments();
        let zeros = |&place: &usize| vec![vec![0.0; weights.floats(place).len()]; names.len()];
        Self { names, of: trained.iter().map(zeros).collect() }
    }

    /// A section for each name, with a tensor for each trained weight.
    pub(crate) fn sections<'a>(&'a self, weights: &'a Weights, trained: &'a [usize]) -> Vec<Section<'a>> {
        let section = |(at, name): (usize, &&'static str)| {
            let tensors = trained.iter().zip(&self.of).map(|(&place, moments)| {
                let weight = &weights.0[place];
                Kept { name: &weight.name, dims: &weight.dims, data: &moments[at] }
            });
            Section { name, tensors: tensors.collect() }
        };
        self.names.iter().enumerate().map(section).collect()
    }

    /// The numbers behind [`Moments::sections`], in their order.
    pub(crate) fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        let mut by_name: Vec<Vec<&mut [f32]>> = self.names.iter().map(|_| Vec::new()).collect();
        for moments in &mut self.of {
            for (list, moment) in by_name.iter_mut().zip(moments) {
                list.push(moment);
            }
        }
        by_name.into_iter().flatten().collect()
    }
}

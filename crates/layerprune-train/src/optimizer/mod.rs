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
pub(crate) trait Rule: Sync {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        optimizer: Optimizer,
        rate: f64,
        decay: f64,
        start: Vec<f32>,
        gradients: Vec<Vec<f32>>,
        after: Vec<Vec<f32>>,
    }

    fn moments(rule: &dyn Rule, len: usize) -> Vec<Vec<f32>> {
        vec![vec![0.0; len]; rule.moments().len()]
    }

    #[test]
    fn ten_steps_of_each_rule_agree_with_pytorch() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden/train_optimizers.json");
        let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(golden.cases.len(), 8);
        for Case { optimizer, rate, decay, start, gradients, after } in golden.cases {
            let rule = optimizer.rule();
            let (mut weight, mut moments) = (start, moments(rule, 7));
            assert_eq!((gradients.len(), after.len()), (10, 10));
            for (count, (gradient, expected)) in (1..).zip(gradients.iter().zip(&after)) {
                rule.update(Step { rate, decay, count }, &mut weight, &mut moments, gradient);
                for (found, expected) in weight.iter().zip(expected) {
                    let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                    assert!(close, "{optimizer:?}, step {count}: {found} instead of {expected}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let len = 3 * CHUNK + 5;
        let wave = |at: usize| ((at * 37 % 1001) as f32 / 500.0) - 1.0;
        let gradient: Vec<f32> = (0..len).map(wave).collect();
        let nesterov = Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true });
        let plain = Optimizer::Sgd(Sgd { momentum: 0.0, nesterov: false });
        for optimizer in [Optimizer::default(), nesterov, plain, Optimizer::AdamW(AdamW::default())] {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let rule = optimizer.rule();
                let (mut weight, mut moments) = (vec![0.5; len], moments(rule, len));
                pool.install(|| {
                    for count in 1..4 {
                        rule.update(Step { rate: 0.1, decay: 0.01, count }, &mut weight, &mut moments, &gradient);
                    }
                });
                (weight, moments)
            };
            let one = run(1);
            assert!(one == run(3), "{optimizer:?}");
            assert!(one.0.iter().all(|&w| w != 0.5));
        }
    }
}

//! Every weight by itself, held to a share of its input channels.

use super::{ChannelLimit, Ecc};
use crate::checkpoint::{Kept, Section};
use crate::regularize::{Regularizer, Target};
use crate::weights::Weights;

pub(in crate::regularize) struct State {
    targets: Vec<Target>,
    limits: Vec<ChannelLimit>,
    /// The duals as a checkpoint holds them.
    duals: Vec<[f32; 1]>,
}

impl State {
    pub(in crate::regularize) fn new(targets: Vec<Target>, settings: &Ecc) -> Self {
        let limit = |target: &Target| ChannelLimit {
            limit: (settings.keep * target.dims[1] as f64).max(1.0),
            dual: 0.0,
            rho: settings.rho,
        };
        let limits: Vec<ChannelLimit> = targets.iter().map(limit).collect();
        Self { duals: vec![[0.0]; targets.len()], targets, limits }
    }
}

impl Regularizer for State {
    fn after(&mut self, weights: &mut Weights, rate: f32) {
        for ((target, limit), dual) in self.targets.iter().zip(&mut self.limits).zip(&mut self.duals) {
            limit.dual = f64::from(dual[0]);
            let left = limit.step(weights.floats_mut(target.place), &target.dims, f64::from(rate));
            limit.raise(left);
            dual[0] = limit.dual as f32;
        }
    }

    fn section(&self) -> Option<Section<'_>> {
        let tensors = self.targets.iter().zip(&self.duals);
        let tensors = tensors.map(|(target, dual)| Kept { name: &target.name, dims: &[1], data: dual });
        Some(Section { name: "ecc-dual", tensors: tensors.collect() })
    }

    fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        self.duals.iter_mut().map(|dual| &mut dual[..]).collect()
    }
}

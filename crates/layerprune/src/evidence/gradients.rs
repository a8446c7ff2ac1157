//! First-order Taylor statistics: what the loss would lose with a filter, by its gradients.

use std::collections::{BTreeMap, BTreeSet};

use super::maps::channel_sums;
use super::{Folds, Statistic};
use crate::analysis::{FilterLayout, FilterSite};
use crate::batch::Maps;
use crate::graph::NodeId;

/// What one batch says of the filters of one node; L is the mean loss over the batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct SiteGradients<'a> {
    /// The weight and ∂L/∂w, in the order of the stored tensor.
    pub weight: Option<[&'a [f32]; 2]>,
    /// The scale γ of the batch norm and ∂L/∂γ.
    pub scale: Option<[&'a [f32]; 2]>,
    /// `y · ∂L/∂y` for each element of what the gate gives, y.
    pub gate: Option<Maps<'a>>,
}

/// Means over batches of the statistics that need gradients.
///
/// Memory: 80 · filters · statistics bytes.
#[derive(Debug, Clone)]
pub struct GradientSums {
    wanted: BTreeSet<Statistic>,
    sums: BTreeMap<Statistic, BTreeMap<NodeId, Folds>>,
}

impl GradientSums {
    /// For those of `wanted` that need gradients.
    #[must_use]
    pub fn new(wanted: &BTreeSet<Statistic>) -> Self {
        let wanted = wanted.iter().copied().filter(|statistic| statistic.needs_gradients()).collect();
        Self { wanted, sums: BTreeMap::new() }
    }

    /// Adds what a batch says of the filters at `site`; what it does not say gives no statistic.
    pub fn add(&mut self, site: &FilterSite, layout: Option<&FilterLayout>, seen: SiteGradients<'_>) {
        let axis = site.axis.output.axis;
        let wide = |x: &f32| f64::from(*x);
        for &statistic in &self.wanted {
            let numbers = match statistic {
                Statistic::TaylorWeight => seen.weight.zip(layout).and_then(|([weight, gradient], layout)| {
                    let squares = weight.iter().zip(gradient).map(|(&w, &g)| (f64::from(w) * f64::from(g)).powi(2));
                    layout.sums(squares)
                }),
                Statistic::TaylorBatchNorm => seen.scale.map(|[scale, gradient]| {
                    scale.iter().zip(gradient).map(|(&w, &g)| (f64::from(w) * f64::from(g)).powi(2)).collect()
                }),
                Statistic::TaylorGate => {
                    let sums = seen.gate.and_then(|maps| channel_sums(maps, axis, |map| map.iter().map(wide).sum()));
                    sums.map(|sums| sums.into_iter().map(|sum| sum.powi(2)).collect())
                }
                Statistic::TaylorOutput => seen.gate.and_then(|maps| {
                    let sums = channel_sums(maps, axis, |map| map.iter().map(|x| wide(x).abs()).sum())?;
                    let elements = (maps.data.len() / sums.len().max(1)).max(1) as f64;
                    Some(unit_length(sums.into_iter().map(|sum| sum / elements).collect()))
                }),
                Statistic::Rank | Statistic::NonZero | Statistic::Mean => None,
            };
            if let Some(numbers) = numbers.filter(|numbers| numbers.len() == site.count) {
                self.sums.entry(statistic).or_default().entry(site.axis.node).or_default().add(&numbers, 1.0);
            }
        }
    }

    /// The statistics, by node; an empty map of one that no filter has.
    #[must_use]
    pub fn finish(mut self) -> BTreeMap<Statistic, BTreeMap<NodeId, Folds>> {
        for &statistic in &self.wanted {
            self.sums.entry(statistic).or_default();
        }
        self.sums
    }
}

/// Divided by the Euclidean length, 1e-8 more.
fn unit_length(numbers: Vec<f64>) -> Vec<f64> {
    let length = numbers.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-8;
    numbers.into_iter().map(|x| x / length).collect()
}

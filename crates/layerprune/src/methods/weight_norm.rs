use std::collections::BTreeMap;

use super::error::at;
use super::one_shot::{self, Growing};
use super::task::Parts;
use super::{Method, MethodError, Pruned, Removes, Setting, Sight, Task, Then};
use crate::analysis::{Channel, ChannelGroup};
use crate::criteria::{Scoring, WEIGHT_NORM_L1};
use crate::pipeline::{Cutting, Proposal};
use crate::plan::{self, Filters, Plan, Scope};
use crate::surgery;

/// Filters of small L1 norm go, in each layer as many as it bears by itself.
pub(super) static WEIGHT_NORM: Method = Method {
    name: "weight-norm",
    removes: Removes::Filters,
    about: "filters of the lowest L1 norm, more in layers that bear it, as a sweep over each layer tells",
    source: "Li et al., \"Pruning Filters for Efficient ConvNets\", ICLR 2017",
    needs: "labels, for the sensitivity sweep",
    differs: "shares are chosen by one rule (all layers may cost the same accuracy by themselves) instead of by hand; channels that a \
              residual trunk shares go by their mean over all layers that make them, instead of by the shortcut's",
    reads: &[Setting::Images],
    then: Then::FineTuning,
    run,
};

/// Shares of a layer's filters that the sweep tries.
const SHARES: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
/// Points that all filters of a layer cost at least, so that layers which bear anything give filters step by step.
const LEAST_COST: f64 = 0.1;
/// How finely the accuracy that each layer may cost is divided.
const RUNGS: usize = 40;

fn run(task: &mut Task<'_>) -> Result<Pruned, MethodError> {
    let by = Scoring::from(&WEIGHT_NORM_L1);
    let scores = task.ports.filter_scores(task.model, &by, Sight::Whole).map_err(at("scoring"))?;
    let parts = task.parts(task.model)?;
    let Parts { units, channels } = &parts;
    let (graph, constraints) = (&task.model.graph, task.filters.clone());
    let score = |group: &ChannelGroup, channel: &Channel| scores.of_channel(group, channel);
    let cut = |shares: &BTreeMap<&str, f64>| -> Plan {
        let stays = |group: &ChannelGroup| {
            let size = group.channels.len();
            size - (shares.get(group.name.as_str()).copied().unwrap_or(0.0) * size as f64) as usize
        };
        plan::by_count(graph, units, channels, &constraints, stays, score)
    };
    let whole = task.ports.held_out(task.model, task.settings.images).map_err(at("evaluating"))?;
    let mut sweep: BTreeMap<&str, Sensitivity> = BTreeMap::new();
    for group in channels.groups.iter().filter(|group| !constraints.protected.contains(&group.name)) {
        let mut drops = Vec::new();
        for share in SHARES {
            let plan = cut(&BTreeMap::from([(group.name.as_str(), share)]));
            let left = surgery::apply(task.model, units, &plan)?;
            let top1 = task.ports.held_out(&left, task.settings.images).map_err(at("evaluating"))?;
            drops.push((share, whole - top1));
        }
        let most = drops.last().map_or(0.0, |(_, drop)| *drop);
        task.ports.tell(&format!("{}: {:.0} % of its filters cost {most:.1} points", group.name, 100.0 * SHARES[4]));
        sweep.insert(&group.name, Sensitivity::new(&drops));
    }
    let dearest = sweep.values().map(Sensitivity::most).fold(0.0, f64::max);
    let mut proposal = |rung: usize| {
        let drop = dearest * rung as f64 / RUNGS as f64;
        let shares = sweep.iter().map(|(name, of)| (*name, if rung == RUNGS { 1.0 } else { of.share_for(drop) }));
        let plan = Plan { target: task.budgets.to_string(), ..cut(&shares.collect()) };
        let cut = surgery::apply(task.model, units, &plan)?;
        Ok(Proposal { loss: plan.channel_count() as f64, plan, cut, predicted_percent: None })
    };
    let mut growing = Growing::new(RUNGS, &mut proposal);
    let filters = Some(Filters { channels, scores: &scores, constraints: &constraints, scope: Scope::Uniform });
    let (model, shapes, criterion) = (task.model, task.shapes, scores.criterion.as_str());
    let cutting = Cutting { model, units, shapes, criterion, layers: Vec::new(), filters, profile: None };
    one_shot::found(task.budgets, &mut *task.ports, &cutting, &mut growing)
}

/// What shares of a layer's filters cost in accuracy, by themselves.
struct Sensitivity {
    /// Shares and points lost, both rising.
    points: Vec<(f64, f64)>,
}

impl Sensitivity {
    /// From what was measured; a larger share is taken to cost more than a smaller one, if only a little.
    fn new(measured: &[(f64, f64)]) -> Self {
        let mut most: f64 = 0.0;
        let rising = measured.iter().map(|&(share, drop)| {
            most = most.max(drop);
            (share, most + LEAST_COST * share)
        });
        Self { points: std::iter::once((0.0, 0.0)).chain(rising).collect() }
    }

    fn most(&self) -> f64 {
        self.points.last().map_or(0.0, |(_, drop)| *drop)
    }

    /// The greatest share that costs no more than `drop` points, straight lines between what was measured.
    fn share_for(&self, drop: f64) -> f64 {
        let within = self.points.iter().rposition(|(_, cost)| *cost <= drop).unwrap_or(0);
        let (share, cost) = self.points[within];
        match self.points.get(within + 1) {
            Some((next, dearer)) if *dearer > cost => share + (next - share) * (drop - cost) / (dearer - cost),
            _ => share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_gives_what_it_bears() {
        // With a tenth of a point for the whole layer: 1.025, 1.05 and 5.075.
        let of = Sensitivity::new(&[(0.25, 1.0), (0.5, 0.5), (0.75, 5.0)]);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        near(of.share_for(0.0), 0.0);
        near(of.share_for(0.5125), 0.125);
        near(of.share_for(1.05), 0.5);
        near(of.share_for(3.0625), 0.625);
        near(of.share_for(9.0), 0.75);
        near(of.most(), 5.075);
        let free = Sensitivity::new(&[(0.5, -1.0), (0.9, 0.0)]);
        near(free.share_for(0.045), 0.45);
        near(free.share_for(0.09), 0.9);
    }
}

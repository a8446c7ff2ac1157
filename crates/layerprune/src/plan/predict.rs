//! What a plan buys according to a profile.

use std::collections::BTreeMap;

use super::{Plan, PlannedChannels};
use crate::analysis::Way;
use crate::record::{GroupTimes, JointTime, LatencyProfile, MacsSaved};
use crate::stats;

/// The latency reduction in percent that `profile` lets expect of `plan`, which saves `together` multiply-adds; `None` where a
/// part of the plan was not timed.
///
/// Savings are added up. Parts that take work off the same node save less together than one by one (a convolution with half of
/// its inputs and half of its outputs keeps a quarter of its work, not none), so what each saves at a node is scaled by the
/// multiply-adds that all of them save there together over the sum of those that each saves there by itself. What an engine
/// gains or loses beyond that when much goes at once (fusion, caches, layouts in blocks of channels) is told by the cuts of
/// many parts that the profile holds: sums over layers are read off the line through those, sums over channels are put right by
/// a straight line fitted to those, as far as groups are cut.
#[must_use]
pub fn predicted_percent(profile: &LatencyProfile, plan: &Plan, together: &MacsSaved) -> Option<f64> {
    let units = plan.removed.iter().map(|planned| (planned.unit.as_str(), planned.way));
    let channels = plan.channels.iter().filter(|planned| !planned.removed.is_empty());
    let kept = |planned: &PlannedChannels| planned.channels - planned.removed.len().min(planned.channels);
    let groups: Option<Vec<_>> = channels.map(|planned| Some((table_of(profile, planned)?, kept(planned)))).collect();
    let sums = Sums::of(profile, units, &groups?, together)?;
    let joint: Vec<(&JointTime, Sums)> =
        profile.joint.iter().filter_map(|timed| Some((timed, of_joint(profile, timed)?))).collect();
    Some(of_layers(&joint, sums.layers) + of_channels(&joint, &sums, profile.groups.len()))
}

/// Savings added up, in percent.
struct Sums {
    layers: f64,
    channels: f64,
    /// How many groups are cut.
    groups: usize,
}

impl Sums {
    fn of<'p>(
        profile: &'p LatencyProfile,
        units: impl Iterator<Item = (&'p str, Way)>,
        groups: &[(&'p GroupTimes, usize)],
        together: &MacsSaved,
    ) -> Option<Self> {
        let mut parts: Vec<(f64, BTreeMap<&str, f64>)> = Vec::new();
        for (unit, way) in units {
            let timed = profile.unit(unit, way)?;
            let macs = timed.macs.iter().map(|(node, macs)| (node.as_str(), *macs as f64)).collect();
            parts.push((timed.saving.reduction_percent, macs));
        }
        let layers = parts.len();
        parts.extend(groups.iter().map(|(table, kept)| (table.reduction_percent(*kept), table.macs(*kept))));
        let mut alone: BTreeMap<&str, f64> = BTreeMap::new();
        for (node, macs) in parts.iter().flat_map(|(_, macs)| macs) {
            *alone.entry(node).or_default() += macs;
        }
        let at_node = |node: &str| together.get(node).map_or(0.0, |&macs| macs as f64) / alone[node];
        let scaled = |(percent, macs): &(f64, BTreeMap<&str, f64>)| {
            let all: f64 = macs.values().sum();
            let left = |(node, macs): (&&str, &f64)| if *macs > 0.0 { macs / all * at_node(node) } else { 0.0 };
            if all > 0.0 { percent * macs.iter().map(left).sum::<f64>() } else { *percent }
        };
        let sum = |parts: &[(f64, BTreeMap<&str, f64>)]| parts.iter().map(scaled).sum();
        Some(Self { layers: sum(&parts[..layers]), channels: sum(&parts[layers..]), groups: groups.len() })
    }
}

fn of_joint(profile: &LatencyProfile, timed: &JointTime) -> Option<Sums> {
    let units = timed.units.iter().map(|(unit, way)| (unit.as_str(), *way));
    let groups: Option<Vec<_>> = timed.kept.iter().map(|(name, kept)| Some((profile.group(name)?, *kept))).collect();
    Sums::of(profile, units, &groups?, &timed.macs)
}

/// Percent below which a sum is no point of a line, nor is one that is no farther from another.
const SMALLEST_SUM: f64 = 1.0;

/// What the cuts of many layers say of a sum over layers: along the line from nothing through them.
fn of_layers(joint: &[(&JointTime, Sums)], sum: f64) -> f64 {
    let of_layers = joint.iter().filter(|(timed, _)| timed.kept.is_empty());
    let mut points: Vec<(f64, f64)> =
        of_layers.map(|(timed, sums)| (sums.layers, timed.saving.reduction_percent)).collect();
    // Where there is next to nothing to save, there is nothing to tell by.
    points.retain(|(sum, _)| *sum >= SMALLEST_SUM);
    points.sort_by(|a, b| b.0.total_cmp(&a.0));
    points.dedup_by(|a, b| b.0 - a.0 < SMALLEST_SUM);
    points.reverse();
    let above = points.iter().position(|(x, _)| *x >= sum).unwrap_or(points.len().saturating_sub(1));
    let Some(&(x1, y1)) = points.get(above) else { return sum };
    let (x0, y0) = if above > 0 { points[above - 1] } else { (0.0, 0.0) };
    y0 + (sum - x0) / (x1 - x0) * (y1 - y0)
}

/// What the cuts of many groups say of a sum over channels.
fn of_channels(joint: &[(&JointTime, Sums)], sums: &Sums, groups: usize) -> f64 {
    let points: Vec<(f64, f64)> = joint
        .iter()
        .filter(|(timed, _)| timed.units.is_empty() && !timed.kept.is_empty())
        .map(|(timed, sums)| (sums.channels, timed.saving.reduction_percent))
        .collect();
    let Some((slope, intercept)) = line(&points) else { return sums.channels };
    let all_at_once = intercept + slope * sums.channels;
    sums.channels + sums.groups as f64 / groups.max(1) as f64 * (all_at_once - sums.channels)
}

/// Slope and intercept of the line of least squares; `None` of fewer than four points, or of points at one place.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (x, y) = (stats::mean(&xs)?, stats::mean(&ys)?);
    let spread: f64 = xs.iter().map(|it| (it - x).powi(2)).sum();
    let together: f64 = points.iter().map(|(a, b)| (a - x) * (b - y)).sum();
    (points.len() >= 4 && spread > 1.0).then(|| (together / spread, y - together / spread * x))
}

/// Multiply-adds that are in `whole` and not in `cut`, node by node.
#[must_use]
pub fn macs_saved(whole: &BTreeMap<String, u64>, cut: &BTreeMap<String, u64>) -> MacsSaved {
    let saved = |(node, macs): (&String, &u64)| {
        let saved = macs.saturating_sub(cut.get(node).copied().unwrap_or(0));
        (saved > 0).then(|| (node.clone(), saved))
    };
    whole.iter().filter_map(saved).collect()
}

/// Where layers are gone the first layer of a group may be among them, and the group has another name.
fn table_of<'p>(profile: &'p LatencyProfile, planned: &PlannedChannels) -> Option<&'p GroupTimes> {
    let named = profile.group(&planned.group);
    named.or_else(|| profile.groups.iter().find(|timed| timed.layers.contains(&planned.group)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::onnx::ModelDigest;
    use crate::plan::{PLAN_SCHEMA, PlannedRemoval};
    use crate::record::{Circumstances, Conditions, CountTime, LatencyComparison, Saving, Timing, UnitTime};

    fn saving(percent: f64) -> Saving {
        let (before, after) = ([100.0], [100.0 - percent]);
        let timing = |samples_ms| Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-6 };
        let compared = LatencyComparison::new(Circumstances::default(), &timing(&before), &timing(&after), 0);
        Saving::of(&compared.unwrap())
    }

    fn digest() -> ModelDigest {
        serde_json::from_value(serde_json::json!("0".repeat(64))).unwrap()
    }

    fn at<const N: usize>(nodes: [(&str, u64); N]) -> MacsSaved {
        nodes.into_iter().map(|(node, macs)| (node.to_owned(), macs)).collect()
    }

    /// Two blocks, and three convolutions of 800 multiply-adds one behind the other, each group halved alone.
    fn profile() -> LatencyProfile {
        let mut profile = LatencyProfile::new(digest(), Conditions::default());
        for (name, percent) in [("a", 10.0), ("b", 15.0)] {
            let (unit, macs) = (name.to_owned(), at([(name, 100)]));
            profile.units.push(UnitTime { unit, way: Way::Bypass, macs, saving: saving(percent) });
        }
        for (name, percent, macs) in
            [("c", 20.0, at([("c", 400), ("d", 400)])), ("d", 30.0, at([("d", 400), ("e", 400)]))]
        {
            let counts = vec![CountTime { kept: 4, macs, saving: saving(percent) }];
            let (group, layers) = (name.to_owned(), vec![name.to_owned(), format!("{name}2")]);
            profile.groups.push(GroupTimes { group, channels: 8, layers, counts });
        }
        profile
    }

    fn plan(units: &[&str], groups: &[&str]) -> Plan {
        let cost = Cost { parameters: 10, macs: Some(1000) };
        let removal = |unit: &&str| PlannedRemoval { unit: (*unit).to_owned(), way: Way::Bypass };
        let channels =
            |group: &&str| PlannedChannels { group: (*group).to_owned(), channels: 8, removed: vec![0, 1, 2, 3] };
        Plan {
            schema: PLAN_SCHEMA,
            model: digest(),
            criterion: None,
            target: String::new(),
            removed: units.iter().map(removal).collect(),
            channels: groups.iter().map(channels).collect(),
            before: cost,
            after: cost,
        }
    }

    fn predicted(units: &[&str], groups: &[&str], together: MacsSaved) -> Option<f64> {
        predicted_percent(&profile(), &plan(units, groups), &together).map(|percent| (1e6 * percent).round() / 1e6)
    }

    #[test]
    fn savings_of_layers_add_up() {
        assert_eq!(predicted(&["a", "b"], &[], at([("a", 100), ("b", 100)])), Some(25.0));
        assert_eq!(predicted(&["a", "other"], &[], at([("a", 100)])), None);
    }

    #[test]
    fn savings_of_groups_that_meet_at_a_node_are_scaled_by_what_they_save_there_together() {
        // At d, 600 of 800 go, not 400 and 400: both save three quarters of what they save there alone.
        let found = predicted(&[], &["c", "d2"], at([("c", 400), ("d", 600), ("e", 400)]));
        assert_eq!(found, Some(10.0 + 0.75 * 10.0 + 0.75 * 15.0 + 15.0));
        assert_eq!(predicted(&[], &["e"], at([])), None);
    }

    #[test]
    fn sums_over_layers_are_read_off_the_cuts_of_many_layers() {
        let mut profile = profile();
        let units = ["a", "b"].map(|unit| (unit.to_owned(), Way::Bypass)).to_vec();
        let macs = at([("a", 100), ("b", 100)]);
        profile.joint.push(JointTime { units, kept: BTreeMap::new(), macs: macs.clone(), saving: saving(30.0) });
        let predicted = |units: &[&str], macs| predicted_percent(&profile, &plan(units, &[]), &macs).unwrap();
        assert!((predicted(&["a", "b"], macs) - 30.0).abs() < 1e-9);
        assert!((predicted(&["a"], at([("a", 100)])) - 12.0).abs() < 1e-9);
    }

    #[test]
    fn sums_over_channels_are_put_right_as_far_as_groups_are_cut() {
        let mut profile = profile();
        // Whatever goes of both groups saves 20 points more than the sum.
        for kept in [3, 4, 5, 6] {
            let kept: BTreeMap<String, usize> = ["c", "d"].map(|group| (group.to_owned(), kept)).into();
            let share = (8 - kept["c"]) as f64 / 4.0;
            let macs =
                [("c", 400.0), ("d", 800.0), ("e", 400.0)].map(|(node, macs)| (node.to_owned(), (macs * share) as u64));
            profile.joint.push(JointTime {
                units: Vec::new(),
                kept,
                macs: macs.into(),
                saving: saving(50.0 * share + 20.0),
            });
        }
        let predicted = |groups: &[&str], macs| predicted_percent(&profile, &plan(&[], groups), &macs).unwrap();
        assert!((predicted(&["c", "d"], at([("c", 400), ("d", 800), ("e", 400)])) - 70.0).abs() < 0.5);
        assert!((predicted(&["c"], at([("c", 400), ("d", 400)])) - 30.0).abs() < 0.5);
    }

    #[test]
    fn what_is_saved_is_what_is_in_the_whole_and_not_in_the_cut() {
        assert_eq!(
            macs_saved(&at([("a", 5), ("b", 7), ("c", 3)]), &at([("a", 5), ("b", 4)])),
            at([("b", 3), ("c", 3)])
        );
    }
}

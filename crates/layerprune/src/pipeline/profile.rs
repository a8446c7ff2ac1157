//! Times a model without each of its parts.

use std::collections::BTreeMap;

use super::job::at;
use super::{JobError, MeasureLatency, PortError};
use crate::analysis::{ChannelGroup, Channels, Units, Way};
use crate::onnx::Model;
use crate::plan::{self, ChannelConstraints, Plan, PlannedRemoval};
use crate::record::{CountTime, GroupTimes, JointTime, LatencyComparison, LatencyProfile, MacsSaved, Saving, UnitTime};
use crate::stats::SplitMix;
use crate::surgery;

/// Models timed in one interleaved run, beside the baseline.
const AT_ONCE: usize = 7;
/// With larger models fewer are, so that they fit into memory together.
const LARGEST_TOGETHER: usize = 200 << 20;

/// Cuts that cannot be timed, one after the other, after which the engine counts as gone.
const MOST_FAILURES: usize = 3;
/// Random cuts of many channel groups at once, by which predictions are put right.
const JOINT_CUTS: usize = 6;

/// Runs that outvote one that is disturbed.
pub const PROFILE_RUNS: usize = 3;

/// What is to be timed.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Units, each with the way in which it goes.
    pub units: &'a [PlannedRemoval],
    /// Channel groups, where they are wanted.
    pub channels: Option<&'a Channels>,
    /// Numbers of channels of each group to time at most, evenly spread.
    pub counts: usize,
    /// Interleaved runs for each part, at different times.
    pub runs: usize,
}

/// A part that the engine could not time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untimed {
    /// The cut, in words.
    pub part: String,
    /// Why not.
    pub reason: String,
}

/// How far profiling is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProfileProgress {
    /// Models timed.
    pub done: usize,
    /// Models to time.
    pub all: usize,
}

/// A model to be timed, and the row that it fills.
struct Entry {
    plan: Plan,
    row: Row,
}

#[derive(PartialEq)]
enum Row {
    Joint { units: Vec<(String, Way)>, kept: BTreeMap<String, usize> },
    Unit(PlannedRemoval),
    Count { group: String, channels: usize, layers: Vec<String>, kept: usize },
}

/// Adds to `profile` all of `parts` that it does not hold yet: each is cut from the whole model by itself, and what is left
/// timed against the whole model, several in turns, and all of that in several runs, so that one that is disturbed is outvoted.
/// Which channels of a group go is of no matter to the latency.
///
/// `keep` is given the profile after each run, so that nothing measured is lost where a later one fails. A cut that the engine
/// cannot run is left out and returned.
///
/// # Errors
/// [`JobError::Surgery`], and [`JobError::Port`] for what `timer` reports of several cuts in a row, and for whatever `keep` does.
pub fn profile(
    model: &Model,
    units: &Units,
    parts: Parts<'_>,
    profile: &mut LatencyProfile,
    timer: &mut dyn MeasureLatency,
    keep: &mut dyn FnMut(&LatencyProfile, ProfileProgress) -> Result<(), PortError>,
) -> Result<Vec<Untimed>, JobError> {
    let at_once = at_once(model);
    let all = all(model, units, parts);
    let wanted: usize = all.iter().map(|entry| parts.runs.saturating_sub(runs(profile, &entry.row))).sum();
    let (mut done, mut untimed, mut failing) = (0, Vec::new(), 0);
    let mut given_up: Vec<&Row> = Vec::new();
    for run in 1..=parts.runs {
        let open = |entry: &&Entry| runs(profile, &entry.row) < run && !given_up.contains(&&entry.row);
        let missing: Vec<&Entry> = all.iter().filter(open).collect();
        for entries in missing.chunks(at_once) {
            let cut = |entry: &&Entry| surgery::apply(model, units, &entry.plan);
            let cut: Vec<Model> = entries.iter().map(cut).collect::<Result<_, _>>()?;
            for ((entry, cut), timed) in entries.iter().zip(&cut).zip(time(model, &cut, timer)) {
                match timed {
                    Ok(comparison) => {
                        add(profile, &entry.row, surgery::macs_saved(model, units, cut), &comparison);
                        failing = 0;
                    }
                    // An engine that is gone is not asked again and again.
                    Err(source) if failing + 1 == MOST_FAILURES => return Err(at("timing the parts")(source)),
                    Err(source) => {
                        untimed.push(Untimed { part: entry.plan.target.clone(), reason: source.to_string() });
                        given_up.push(&entry.row);
                        failing += 1;
                    }
                }
            }
            done += entries.len();
            keep(profile, ProfileProgress { done, all: wanted }).map_err(at("keeping the profile"))?;
        }
    }
    let place = |name: &str| units.all().position(|unit| unit.name == name);
    profile.units.sort_by_key(|timed| place(&timed.unit));
    keep(profile, ProfileProgress { done, all: wanted }).map_err(at("keeping the profile"))?;
    Ok(untimed)
}

/// How many cuts of `model` are timed in one run.
pub(super) fn at_once(model: &Model) -> usize {
    AT_ONCE.min(LARGEST_TOGETHER / model.to_bytes().len().max(1)).max(1)
}

/// Times all of `cut` in one run; where that fails, each by itself, so that one which the engine cannot run costs no other.
fn time(model: &Model, cut: &[Model], timer: &mut dyn MeasureLatency) -> Vec<Result<LatencyComparison, PortError>> {
    match timer.compare_all(model, &cut.iter().collect::<Vec<_>>()) {
        Ok(timed) => timed.into_iter().map(Ok).collect(),
        Err(fault) if cut.len() == 1 => vec![Err(fault)],
        Err(_) => {
            let mut timed = Vec::new();
            for cut in cut {
                timed.push(timer.compare(model, cut));
                if timed.len() == MOST_FAILURES && timed.iter().all(Result::is_err) {
                    break;
                }
            }
            timed
        }
    }
}

/// In how many runs a row was timed.
fn runs(profile: &LatencyProfile, row: &Row) -> usize {
    match row {
        Row::Joint { units, kept } => {
            let same = profile.joint.iter().find(|timed| timed.units == *units && timed.kept == *kept);
            same.map_or(0, |timed| timed.saving.runs.len())
        }
        Row::Unit(planned) => profile.unit(&planned.unit, planned.way).map_or(0, |timed| timed.saving.runs.len()),
        Row::Count { group, kept, .. } => {
            let counts = profile.group(group).into_iter().flat_map(|timed| &timed.counts);
            counts.filter(|count| count.kept == *kept).map(|count| count.saving.runs.len()).sum()
        }
    }
}

/// All that `parts` asks for.
fn all(model: &Model, units: &Units, parts: Parts<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for planned in parts.units {
        let plan = plan::of(units, None, format!("without `{}`", planned.unit), vec![planned.clone()]);
        entries.push(Entry { plan, row: Row::Unit(planned.clone()) });
    }
    entries.extend(many_units(units, parts.units));
    let Some(channels) = parts.channels else { return entries };
    entries.extend(many_groups(model, units, channels));
    for group in &channels.groups {
        let size = group.channels.len();
        for kept in counts(size, parts.counts) {
            let only = |other: &ChannelGroup| if other.name == group.name { kept } else { other.channels.len() };
            let free = ChannelConstraints { floor: 0.0, ..ChannelConstraints::default() };
            let plan = plan::by_count(&model.graph, units, channels, &free, only, |_, _| 0.0);
            let plan = Plan { target: format!("{kept} channels of `{}`", group.name), ..plan };
            let stays = |planned: &plan::PlannedChannels| planned.channels - planned.removed.len();
            // A group that is all that another value has keeps one more.
            if plan.channels.iter().map(stays).ne([kept]) {
                continue;
            }
            let (group, layers) = (group.name.clone(), group.source_names.clone());
            entries.push(Entry { plan, row: Row::Count { group, channels: size, layers, kept } });
        }
    }
    entries
}

/// A quarter, half, three quarters and all of `planned`, spread over the model.
fn many_units(units: &Units, planned: &[PlannedRemoval]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for quarters in 1..=4 {
        let mut removed: Vec<PlannedRemoval> = Vec::new();
        for (_, planned) in planned.iter().enumerate().filter(|(place, _)| place * quarters % 4 < quarters) {
            plan::add_if_compatible(units, &mut removed, planned.clone());
        }
        let removed = plan::outermost(units, &removed);
        if removed.len() < 2 {
            continue;
        }
        let target = format!("{} layers at once", removed.len());
        let row = Row::Joint {
            units: removed.iter().map(|planned| (planned.unit.clone(), planned.way)).collect(),
            kept: BTreeMap::new(),
        };
        entries.push(Entry { plan: plan::of(units, None, target, removed), row });
    }
    entries
}

/// Cuts of all groups, of each a share drawn evenly.
fn many_groups(model: &Model, units: &Units, channels: &Channels) -> Vec<Entry> {
    let cut = |seed: usize| {
        let plan = plan::random_widths(&model.graph, units, channels, &mut SplitMix::new(seed as u64));
        let plan = Plan { target: format!("random cut {seed} of all channel groups"), ..plan };
        let kept = |planned: &plan::PlannedChannels| (planned.group.clone(), planned.channels - planned.removed.len());
        let row = Row::Joint { units: Vec::new(), kept: plan.channels.iter().map(kept).collect() };
        Entry { plan, row }
    };
    if channels.groups.len() < 2 { Vec::new() } else { (0..JOINT_CUTS).map(cut).collect() }
}

/// So many numbers from 1 to below `size`, evenly spread.
fn counts(size: usize, most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = (1..=most).map(|place| (place * size).div_ceil(most + 1)).collect();
    counts.retain(|&count| count > 0 && count < size);
    counts.dedup();
    counts
}

/// Adds one run to a row.
fn add(profile: &mut LatencyProfile, row: &Row, macs: MacsSaved, comparison: &LatencyComparison) {
    let new = || Saving::of(comparison);
    match row {
        Row::Joint { units, kept } => {
            match profile.joint.iter_mut().find(|timed| timed.units == *units && timed.kept == *kept) {
                Some(timed) => timed.saving.add(comparison),
                None => {
                    let (units, kept) = (units.clone(), kept.clone());
                    profile.joint.push(JointTime { units, kept, macs, saving: new() });
                }
            }
        }
        Row::Unit(PlannedRemoval { unit, way }) => {
            match profile.units.iter_mut().find(|timed| timed.unit == *unit && timed.way == *way) {
                Some(timed) => timed.saving.add(comparison),
                None => profile.units.push(UnitTime { unit: unit.clone(), way: *way, macs, saving: new() }),
            }
        }
        Row::Count { group, channels, layers, kept } => {
            let place = profile.groups.iter().position(|timed| timed.group == *group).unwrap_or_else(|| {
                let (group, layers) = (group.clone(), layers.clone());
                profile.groups.push(GroupTimes { group, channels: *channels, layers, counts: Vec::new() });
                profile.groups.len() - 1
            });
            let counts = &mut profile.groups[place].counts;
            match counts.iter_mut().find(|count| count.kept == *kept) {
                Some(count) => count.saving.add(comparison),
                None => counts.push(CountTime { kept: *kept, macs, saving: new() }),
            }
            counts.sort_by_key(|count| count.kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_are_spread_evenly() {
        assert_eq!(counts(64, 7), [8, 16, 24, 32, 40, 48, 56]);
        assert_eq!(counts(4, 7), [1, 2, 3]);
        assert_eq!(counts(1, 7), [0_usize; 0]);
        assert_eq!(counts(10, 3), [3, 5, 8]);
    }
}

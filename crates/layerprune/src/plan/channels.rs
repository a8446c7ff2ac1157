//! Which channels go: a share of the least important, or those that do nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{PLAN_SCHEMA, Plan, PlanError};
use crate::analysis::{Channel, ChannelCut, ChannelGroup, Channels, Units};
use crate::cost::Costs;
use crate::criteria::FilterScores;
use crate::graph::Graph;
use crate::stats::SplitMix;

/// Channels of one group to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChannels {
    /// The group's name.
    pub group: String,
    /// How many channels it has.
    pub channels: usize,
    /// Those that go, by their index in the group's first layer.
    pub removed: Vec<usize>,
}

/// Over what the share of filters is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Over all groups: scores, divided by the mean of their group, are ranked together.
    Global,
    /// Over all groups: scores as they are are ranked together, so that one threshold divides them (Network Slimming).
    Threshold,
    /// In each group by itself.
    Uniform,
}

/// Which channels may go.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelConstraints {
    /// Groups that must stay whole.
    pub protected: BTreeSet<String>,
    /// Share of a group's channels that stays at least, 0 to 1; one channel always stays.
    pub floor: f64,
    /// What stays of a group is a multiple of this.
    pub round_to: usize,
    /// Filters that stay at least, by the name of their layer: for a model that has lost some already, whose floor is one of
    /// what it was.
    pub least: BTreeMap<String, usize>,
}

impl Default for ChannelConstraints {
    fn default() -> Self {
        Self { protected: BTreeSet::new(), floor: 0.1, round_to: 1, least: BTreeMap::new() }
    }
}

impl ChannelConstraints {
    /// How many channels of a group stay where `wanted` are to: not below the floor, and rounded up.
    #[must_use]
    pub fn staying(&self, group: &ChannelGroup, wanted: usize) -> usize {
        let least = group.source_names.iter().filter_map(|name| self.least.get(name)).copied().max();
        self.staying_of(group.channels.len(), wanted.max(least.unwrap_or(0)))
    }

    /// [`ChannelConstraints::staying`] of `size` channels that no layer's least number is known of.
    pub(super) fn staying_of(&self, size: usize, wanted: usize) -> usize {
        let floor = ((self.floor * size as f64).ceil() as usize).max(1);
        wanted.max(floor).next_multiple_of(self.round_to.max(1)).min(size)
    }
}

/// The plan that removes `percent` of the filters of all groups that may lose some, the least important first.
///
/// A group of channels that several layers share counts once for each. Ties go in forward order.
///
/// # Errors
/// [`PlanError::OtherModel`]; [`PlanError::NoChannels`] where no group may lose any.
pub fn lowest_filters(
    graph: &Graph,
    units: &Units,
    channels: &Channels,
    scores: &FilterScores,
    constraints: &ChannelConstraints,
    scope: Scope,
    percent: f64,
) -> Result<Plan, PlanError> {
    if scores.model != channels.model {
        return Err(PlanError::OtherModel { found: scores.model.clone(), expected: channels.model.clone() });
    }
    let open: Vec<&ChannelGroup> =
        channels.groups.iter().filter(|group| !constraints.protected.contains(&group.name)).collect();
    if open.is_empty() {
        return Err(PlanError::NoChannels);
    }
    let share = percent / 100.0;
    let ranked: Vec<Vec<(f64, &Channel)>> = open.iter().map(|group| ranked(group, scores)).collect();
    let wanted: Vec<usize> = match scope {
        Scope::Uniform => ranked.iter().map(|ranked| removed(ranked.len(), share)).collect(),
        Scope::Global | Scope::Threshold => together(&open, &ranked, constraints, scope, share),
    };
    let mut planned = Vec::new();
    for ((group, ranked), wanted) in open.iter().zip(&ranked).zip(wanted) {
        let size = ranked.len();
        let going = size - constraints.staying(group, size - wanted);
        if going > 0 {
            planned.push(planned_of(group, ranked[..going].iter().map(|(_, channel)| *channel)));
        }
    }
    keep_some(channels, &mut planned, |group, channel| scores.of_channel(group, channel));
    let scope = if scope == Scope::Uniform { "of each layer" } else { "of all layers" };
    Ok(of_channels(
        graph,
        units,
        channels,
        Some(&scores.criterion),
        format!("{percent} % of the filters {scope}"),
        planned,
    ))
}

/// The plan that leaves so many channels of each group as `kept` says, within `constraints`, and of these the ones with the
/// highest `score`.
pub fn by_count(
    graph: &Graph,
    units: &Units,
    channels: &Channels,
    constraints: &ChannelConstraints,
    kept: impl Fn(&ChannelGroup) -> usize,
    score: impl Fn(&ChannelGroup, &Channel) -> f64,
) -> Plan {
    let mut planned = Vec::new();
    for group in channels.groups.iter().filter(|group| !constraints.protected.contains(&group.name)) {
        let size = group.channels.len();
        let going = size - constraints.staying(group, kept(group));
        if going > 0 {
            let ranked = ranked_by(group, &score);
            planned.push(planned_of(group, ranked[..going].iter().map(|(_, channel)| *channel)));
        }
    }
    keep_some(channels, &mut planned, score);
    of_channels(graph, units, channels, None, "channels by their number".to_owned(), planned)
}

/// The plan that removes all channels that provably do nothing.
pub fn dead_channels(graph: &Graph, units: &Units, channels: &Channels, protected: &BTreeSet<String>) -> Plan {
    let dead = channels.dead(graph, &units.shapes);
    let planned = dead
        .into_iter()
        .filter(|(name, _)| !protected.contains(*name))
        .filter_map(|(name, dead)| Some(planned_of(channels.named(name)?, dead)));
    of_channels(graph, units, channels, None, "dead channels".to_owned(), planned.collect())
}

/// A plan that removes channels at random: each group loses up to all but one of them, or none.
pub fn random_channels(graph: &Graph, units: &Units, channels: &Channels, random: &mut SplitMix) -> Plan {
    let mut planned = Vec::new();
    for group in channels.groups.iter().filter(|group| group.channels.len() > 1) {
        if random.below(4) == 0 {
            continue;
        }
        let going = 1 + random.below(group.channels.len() - 1);
        let mut places: Vec<usize> = (0..group.channels.len()).collect();
        for place in 0..going {
            let other = place + random.below(places.len() - place);
            places.swap(place, other);
        }
        planned.push(planned_of(group, places[..going].iter().map(|&place| &group.channels[place])));
    }
    keep_some(channels, &mut planned, |_, _| 0.0);
    of_channels(graph, units, channels, None, "at random".to_owned(), planned)
}

/// A plan that leaves every group a share of its channels drawn evenly from 0.1 to 1; which of them go is of no matter.
pub fn random_widths(graph: &Graph, units: &Units, channels: &Channels, random: &mut SplitMix) -> Plan {
    let shares = random_shares(channels, random);
    let free = ChannelConstraints { floor: 0.0, ..ChannelConstraints::default() };
    by_count(graph, units, channels, &free, |group| kept_of(&shares, group), |_, _| 0.0)
}

/// A plan that leaves every group that may lose channels a share of them drawn evenly from 0.1 to 1, within `constraints`; which
/// of them go is drawn too.
pub fn random_filters(
    graph: &Graph,
    units: &Units,
    channels: &Channels,
    constraints: &ChannelConstraints,
    random: &mut SplitMix,
) -> Plan {
    let shares = random_shares(channels, random);
    let mut lots = BTreeMap::new();
    for group in &channels.groups {
        lots.extend(group.channels.iter().map(|channel| ((group.name.as_str(), channel.index), random.uniform())));
    }
    let lot = |group: &ChannelGroup, channel: &Channel| lots[&(group.name.as_str(), channel.index)];
    by_count(graph, units, channels, constraints, |group| kept_of(&shares, group), lot)
}

fn random_shares<'c>(channels: &'c Channels, random: &mut SplitMix) -> BTreeMap<&'c str, f64> {
    channels.groups.iter().map(|group| (group.name.as_str(), 0.1 + 0.9 * random.uniform())).collect()
}

fn kept_of(shares: &BTreeMap<&str, f64>, group: &ChannelGroup) -> usize {
    (shares[group.name.as_str()] * group.channels.len() as f64).round() as usize
}

/// A plan for `planned`, with its predicted cost.
pub fn of_channels(
    graph: &Graph,
    units: &Units,
    channels: &Channels,
    criterion: Option<&str>,
    target: String,
    planned: Vec<PlannedChannels>,
) -> Plan {
    let cut = channels.cut(planned.iter().flat_map(|planned| selected(channels, planned)));
    Plan {
        schema: PLAN_SCHEMA,
        model: units.model.clone(),
        criterion: criterion.map(str::to_owned),
        target,
        removed: Vec::new(),
        channels: planned,
        before: units.costs.total(),
        after: Costs::count(graph, &cut.shapes(&units.shapes)).total(),
    }
}

/// What of every axis goes by `planned`.
///
/// # Errors
/// [`PlanError::NoSuchChannel`] where the model has no such channels; [`PlanError::Emptied`] where an axis would keep none.
pub fn cut_of(graph: &Graph, channels: &Channels, planned: &[PlannedChannels]) -> Result<ChannelCut, PlanError> {
    let mut all = Vec::new();
    for planned in planned {
        let found: Vec<&Channel> = selected(channels, planned).collect();
        let distinct: BTreeSet<usize> = planned.removed.iter().copied().collect();
        if found.len() != distinct.len() {
            return Err(PlanError::NoSuchChannel { group: planned.group.clone() });
        }
        all.extend(found);
    }
    let cut = channels.cut(all);
    let emptied = cut.axes().find(|(_, kept)| kept.is_empty()).map(|(at, _)| graph.value_name(at.value).to_owned());
    emptied.map_or(Ok(cut), |value| Err(PlanError::Emptied { value }))
}

/// Takes back the most important channel of every axis that would be left empty: a part of a layer's channels may be all
/// that another value has.
fn keep_some(channels: &Channels, planned: &mut Vec<PlannedChannels>, score: impl Fn(&ChannelGroup, &Channel) -> f64) {
    loop {
        let cut = channels.cut(planned.iter().flat_map(|planned| selected(channels, planned)));
        let Some(emptied) = cut.axes().find(|(_, kept)| kept.is_empty()).map(|(at, _)| at) else { break };
        let goes = |group: &ChannelGroup, channel: &Channel| {
            planned.iter().any(|planned| planned.group == group.name && planned.removed.contains(&channel.index))
        };
        let going = channels.on_axis(emptied).filter(|(group, channel)| goes(group, channel));
        let best = going.max_by(|a, b| score(a.0, a.1).total_cmp(&score(b.0, b.1)));
        let Some((name, index)) = best.map(|(group, channel)| (group.name.clone(), channel.index)) else { break };
        for planned in planned.iter_mut().filter(|planned| planned.group == name) {
            planned.removed.retain(|&removed| removed != index);
        }
    }
    planned.retain(|planned| !planned.removed.is_empty());
}

fn selected<'c>(channels: &'c Channels, planned: &PlannedChannels) -> impl Iterator<Item = &'c Channel> {
    let removed: BTreeSet<usize> = planned.removed.iter().copied().collect();
    let group = channels.named(&planned.group);
    group.into_iter().flat_map(|group| &group.channels).filter(move |channel| removed.contains(&channel.index))
}

fn planned_of<'c>(group: &ChannelGroup, removed: impl IntoIterator<Item = &'c Channel>) -> PlannedChannels {
    let mut removed: Vec<usize> = removed.into_iter().map(|channel| channel.index).collect();
    removed.sort_unstable();
    PlannedChannels { group: group.name.clone(), channels: group.channels.len(), removed }
}

/// Channels of a group, the least important first.
pub(super) fn ranked<'g>(group: &'g ChannelGroup, scores: &FilterScores) -> Vec<(f64, &'g Channel)> {
    ranked_by(group, |group, channel| scores.of_channel(group, channel))
}

fn ranked_by(group: &ChannelGroup, score: impl Fn(&ChannelGroup, &Channel) -> f64) -> Vec<(f64, &Channel)> {
    let mut ranked: Vec<_> = group.channels.iter().map(|channel| (score(group, channel), channel)).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked
}

fn removed(size: usize, share: f64) -> usize {
    // A share such as 30 % of 10 must not lose one to rounding.
    (share * size as f64 + 1e-9).floor() as usize
}

/// How many of each group go where all are ranked together.
fn together(
    groups: &[&ChannelGroup],
    ranked: &[Vec<(f64, &Channel)>],
    constraints: &ChannelConstraints,
    scope: Scope,
    share: f64,
) -> Vec<usize> {
    let filters = |channel: &Channel| channel.filters.iter().map(Vec::len).sum::<usize>();
    let total: usize = ranked.iter().flatten().map(|(_, channel)| filters(channel)).sum();
    let mut all: Vec<(f64, usize, usize)> = Vec::new();
    for (group, channels) in ranked.iter().enumerate() {
        let mean = channels.iter().map(|(score, _)| score.abs()).sum::<f64>() / channels.len().max(1) as f64;
        let by = if scope == Scope::Global && mean > 0.0 { mean } else { 1.0 };
        all.extend(channels.iter().map(|(score, channel)| (score / by, group, filters(channel))));
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut going = vec![0; ranked.len()];
    let mut left = removed(total, share);
    for (_, group, filters) in all {
        let size = ranked[group].len();
        if filters <= left && size - going[group] > constraints.staying(groups[group], 0) {
            going[group] += 1;
            left -= filters;
        }
    }
    going
}

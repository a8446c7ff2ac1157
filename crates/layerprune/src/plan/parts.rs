//! What can be done with each part of a model: what it costs in importance, what it saves.

use std::collections::BTreeSet;

use super::channels::ranked;
use super::{ChannelConstraints, Choice, PlannedRemoval, Scope, by_count, together};
use crate::analysis::{Channel, ChannelGroup, Channels, Unit, Units};
use crate::cost::Cost;
use crate::criteria::FilterScores;
use crate::graph::Graph;
use crate::record::LatencyProfile;

/// Numbers of channels to choose among, at most, in each group.
const MOST_COUNTS: usize = 16;
/// Choices of a unit with several channel groups inside, at most, of those that are not dominated.
const MOST_TOGETHER: usize = 256;

/// A unit that may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Droppable {
    /// How.
    pub planned: PlannedRemoval,
    /// Importance that goes with it, 0 or more.
    pub loss: f64,
}

/// Channels that may go.
#[derive(Debug, Clone, Copy)]
pub struct Filters<'a> {
    /// All groups.
    pub channels: &'a Channels,
    /// Importance of their filters.
    pub scores: &'a FilterScores,
    /// How far they may be cut.
    pub constraints: &'a ChannelConstraints,
    /// Over what a share of them is taken.
    pub scope: Scope,
}

impl Filters<'_> {
    /// Importance of all filters that go with a channel, 0 or more.
    pub(crate) fn of_channel(&self, group: &ChannelGroup, channel: &Channel) -> f64 {
        let filters: usize = channel.filters.iter().map(Vec::len).sum();
        self.scores.of_channel(group, channel).max(0.0) * filters as f64
    }

    /// Importance of the filters by which `unit` is scored, 0 or more; `None` where none of them has a score.
    pub(super) fn of_unit(&self, unit: &Unit) -> Option<f64> {
        let mut sum = None;
        for group in &self.channels.groups {
            for (place, _) in group.sources.iter().enumerate().filter(|(_, source)| unit.scored.contains(&source.node))
            {
                let score = |channel: &Channel| {
                    self.scores.of_channel(group, channel).max(0.0) * channel.filters[place].len() as f64
                };
                *sum.get_or_insert(0.0) += group.channels.iter().map(score).sum::<f64>();
            }
        }
        sum
    }
}

/// What a choice does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Action {
    /// The unit that goes.
    pub remove: Option<PlannedRemoval>,
    /// Groups that lose channels, with the number that stays.
    pub keep: Vec<(String, usize)>,
}

/// A part of a model with all that can be done with it; the first choice does nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Losses, and savings of latency, multiply-adds and parameters in percent of the whole model's.
    pub choices: Vec<Choice>,
    /// What each choice does.
    pub actions: Vec<Action>,
}

/// All that can be done with a model, each unit and each channel group by itself.
///
/// The groups whose channels are made inside a unit that may go are one part with it, so that they are not cut in a unit
/// that goes (HALP, Shen et al., NeurIPS 2022, in which a layer goes that keeps no channel). Savings are what the profile says,
/// 0 for what is not in it or is slower when cut; units and channels are taken to save independently of each other, which
/// they do not quite, so that plans of several have to be timed.
#[must_use]
pub fn parts(
    graph: &Graph,
    units: &Units,
    droppable: &[Droppable],
    filters: Option<Filters<'_>>,
    profile: Option<&LatencyProfile>,
) -> Vec<Part> {
    let whole = units.costs.total();
    let table = Table { graph, units, profile, whole };
    let mut of_groups: Vec<(&ChannelGroup, Part)> = Vec::new();
    if let Some(filters) = filters {
        let open = filters.channels.groups.iter().filter(|group| !filters.constraints.protected.contains(&group.name));
        of_groups.extend(open.map(|group| (group, table.group(group, filters))));
    }
    let mut parts = Vec::new();
    for unit in droppable {
        let Some(found) = units.named(&unit.planned.unit) else { continue };
        let (inside, outside): (Vec<_>, _) = of_groups.into_iter().partition(|(group, _)| lies_in(group, found));
        of_groups = outside;
        let inside: Vec<Part> = inside.into_iter().map(|(_, part)| part).collect();
        parts.push(table.unit(unit, &inside));
    }
    parts.extend(of_groups.into_iter().map(|(_, part)| part));
    parts
}

fn lies_in(group: &ChannelGroup, unit: &Unit) -> bool {
    let nodes: BTreeSet<_> = unit.nodes.iter().collect();
    group.sources.iter().all(|source| nodes.contains(&source.node))
}

struct Table<'a> {
    graph: &'a Graph,
    units: &'a Units,
    profile: Option<&'a LatencyProfile>,
    whole: Cost,
}

impl Table<'_> {
    /// What is saved, in percent of the whole.
    fn saves(&self, latency_percent: f64, after: Cost) -> Vec<f64> {
        let percent = |before: u64, after: u64| 100.0 * (before as f64 - after as f64) / before.max(1) as f64;
        let macs = self.whole.macs.zip(after.macs).map_or(0.0, |(before, after)| percent(before, after));
        let parameters = percent(self.whole.parameters, after.parameters);
        [latency_percent, macs, parameters].map(|saved| saved.max(0.0)).to_vec()
    }

    fn group(&self, group: &ChannelGroup, filters: Filters<'_>) -> Part {
        let size = group.channels.len();
        let ranked = ranked(group, filters.scores);
        let mut part = Part::untouched();
        let constraints = filters.constraints;
        for kept in counts(size, constraints.round_to, |count| constraints.staying(group, count)) {
            let only = |other: &ChannelGroup| if other.name == group.name { kept } else { other.channels.len() };
            let plan = by_count(self.graph, self.units, filters.channels, filters.constraints, only, |_, _| 0.0);
            let timed = self.profile.and_then(|profile| profile.group(&group.name));
            let latency = timed.map_or(0.0, |timed| timed.reduction_percent(kept));
            let loss = ranked[..size - kept].iter().map(|(_, channel)| filters.of_channel(group, channel)).sum();
            part.choices.push(Choice { loss, saves: self.saves(latency, plan.after) });
            part.actions.push(Action { remove: None, keep: vec![(group.name.clone(), kept)] });
        }
        part
    }

    /// A unit with the groups inside it, which lose channels or go with it.
    fn unit(&self, unit: &Droppable, inside: &[Part]) -> Part {
        let mut part = Part::untouched();
        for group in inside {
            part = part.with(group).undominated();
            part.thin_to(MOST_TOGETHER);
        }
        let after = together::cost(self.units, std::slice::from_ref(&unit.planned));
        let timed = self.profile.and_then(|profile| profile.unit(&unit.planned.unit, unit.planned.way));
        let saves = self.saves(timed.map_or(0.0, |timed| timed.saving.reduction_percent), after);
        part.choices.push(Choice { loss: unit.loss, saves });
        part.actions.push(Action { remove: Some(unit.planned.clone()), keep: Vec::new() });
        part
    }
}

impl Part {
    fn untouched() -> Self {
        Self { choices: vec![Choice { loss: 0.0, saves: vec![0.0; 3] }], actions: vec![Action::default()] }
    }

    /// Every choice of the one with every choice of the other.
    fn with(&self, other: &Self) -> Self {
        let mut all = Self { choices: Vec::new(), actions: Vec::new() };
        for (a, did) in self.choices.iter().zip(&self.actions) {
            for (b, does) in other.choices.iter().zip(&other.actions) {
                let saves = a.saves.iter().zip(&b.saves).map(|(a, b)| a + b).collect();
                all.choices.push(Choice { loss: a.loss + b.loss, saves });
                all.actions.push(Action { remove: None, keep: [did.keep.clone(), does.keep.clone()].concat() });
            }
        }
        all
    }

    /// Without choices that cost no less than another and save no more, the first one excepted.
    fn undominated(self) -> Self {
        let worse =
            |a: &Choice, b: &Choice| a != b && a.loss >= b.loss && a.saves.iter().zip(&b.saves).all(|(a, b)| a <= b);
        let all = self.choices.clone();
        let kept = self.choices.into_iter().zip(self.actions).enumerate();
        let kept = kept.filter(|(place, (choice, _))| *place == 0 || !all.iter().any(|other| worse(choice, other)));
        let (choices, actions) = kept.map(|(_, both)| both).unzip();
        Self { choices, actions }
    }

    /// Every second choice, and again, until there are no more than `most`.
    pub fn thin_to(&mut self, most: usize) {
        while self.choices.len() > most.max(2) {
            self.thin();
        }
    }

    /// Every second choice, the first one and the last one among them.
    fn thin(&mut self) {
        let last = self.choices.len() - 1;
        let stays = |place: &usize| place.is_multiple_of(2) || *place == last;
        self.choices = (0..=last).filter(stays).map(|place| self.choices[place].clone()).collect();
        self.actions = (0..=last).filter(stays).map(|place| self.actions[place].clone()).collect();
    }
}

/// Numbers of channels that may stay of `size`, falling, without `size` itself.
fn counts(size: usize, round_to: usize, staying: impl Fn(usize) -> usize) -> Vec<usize> {
    let step = size.div_ceil(MOST_COUNTS).next_multiple_of(round_to.max(1));
    let wanted = (0..size).rev().filter(|count| count % step == 0);
    let mut counts: Vec<usize> = wanted.map(staying).filter(|&it| it < size).collect();
    counts.dedup();
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_steps_down_to_the_floor() {
        let counts = |size, floor, round_to| {
            let constraints = ChannelConstraints { floor, round_to, ..ChannelConstraints::default() };
            counts(size, round_to, |count| constraints.staying_of(size, count))
        };
        assert_eq!(counts(4, 0.0, 1), [3, 2, 1]);
        assert_eq!(counts(64, 0.5, 8), [56, 48, 40, 32]);
        assert_eq!(counts(32, 0.75, 1), [30, 28, 26, 24]);
        assert_eq!(counts(8, 0.1, 16), [0_usize; 0]);
    }

    #[test]
    fn dominated_choices_go() {
        let choice = |loss, saves: [f64; 3]| Choice { loss, saves: saves.to_vec() };
        let choices = vec![
            choice(0.0, [0.0; 3]),
            choice(2.0, [1.0, 1.0, 1.0]),
            choice(3.0, [1.0, 0.0, 1.0]),
            choice(3.0, [0.0, 2.0, 0.0]),
        ];
        let actions = vec![Action::default(); 4];
        let left = Part { choices: choices.clone(), actions }.undominated();
        assert_eq!(left.choices, [choices[0].clone(), choices[1].clone(), choices[3].clone()]);
    }
}

//! What a search may cut, and how a choice becomes a plan.

use super::{Proposal, SearchError};
use crate::analysis::{ChannelGroup, Channels, Units};
use crate::onnx::Model;
use crate::plan::{self, Action, ChannelConstraints, Droppable, Filters, Plan, PlannedRemoval};
use crate::record::LatencyProfile;
use crate::shapes::InputShapes;
use crate::surgery;

/// What a search may cut of a model.
#[derive(Clone)]
pub struct Cutting<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its units.
    pub units: &'a Units,
    /// The input shapes that they were found for.
    pub shapes: &'a InputShapes,
    /// By what importance was measured.
    pub criterion: &'a str,
    /// Units that may go, in the order in which the greedy search takes them; empty where only filters go.
    pub layers: Vec<Droppable>,
    /// Filters that may go; `None` where only layers go.
    pub filters: Option<Filters<'a>>,
    /// What each part saves.
    pub profile: Option<&'a LatencyProfile>,
}

impl<'a> Cutting<'a> {
    /// That all layers are gone, in words.
    pub(super) fn all_layers(&self) -> String {
        match self.layers.len() {
            1 => "the one removable layer gone".to_owned(),
            count => format!("all {count} removable layers gone"),
        }
    }

    /// The first `count` units.
    pub(super) fn first_layers(&self, count: usize, target: &str) -> Result<Proposal, SearchError> {
        let first = &self.layers[..count.min(self.layers.len())];
        let removed = first.iter().map(|unit| unit.planned.clone()).collect();
        self.proposal(self.of_layers(removed, target), first.iter().map(|unit| unit.loss).sum())
    }

    /// The plan that removes nothing.
    pub(super) fn nothing(&self, target: &str) -> Plan {
        self.of_layers(Vec::new(), target)
    }

    /// A cut to be tried, carried out.
    pub(super) fn proposal(&self, plan: Plan, loss: f64) -> Result<Proposal, SearchError> {
        let cut = surgery::apply(self.model, self.units, &plan)?;
        let saved = surgery::macs_saved(self.model, self.units, &cut);
        let predicted_percent = self.profile.and_then(|profile| plan::predicted_percent(profile, &plan, &saved));
        Ok(Proposal { plan, cut, loss, predicted_percent })
    }

    fn of_layers(&self, removed: Vec<PlannedRemoval>, target: &str) -> Plan {
        plan::of(self.units, Some(self.criterion), target.to_owned(), removed)
    }

    /// The plan that does `actions`.
    pub(super) fn plan_of(&self, actions: &[&Action], target: &str) -> Result<Plan, SearchError> {
        let removed: Vec<PlannedRemoval> = actions.iter().filter_map(|action| action.remove.clone()).collect();
        let keep: Vec<&(String, usize)> = actions.iter().flat_map(|action| &action.keep).collect();
        let layers = self.of_layers(removed, target);
        let Some(filters) = self.filters.filter(|_| !keep.is_empty()) else { return Ok(layers) };
        if layers.removed.is_empty() {
            let channels = of_filters(self.model, self.units, filters.channels, filters, &keep);
            return Ok(Plan { criterion: layers.criterion, target: layers.target, ..channels });
        }
        let left = surgery::apply(self.model, self.units, &layers)?;
        let units = Units::find(&left, self.shapes)?;
        let channels = Channels::find(&left, &units.model, &units.shapes);
        Ok(layers.followed_by(of_filters(&left, &units, &channels, filters, &keep)))
    }
}

/// The plan of channels for `model`, what layers left of the whole one. A group is named after its first layer, which may have
/// gone: a group of `channels` is what is left of those whose layers include all of its own.
fn of_filters(
    model: &Model,
    units: &Units,
    channels: &Channels,
    filters: Filters<'_>,
    keep: &[&(String, usize)],
) -> Plan {
    let whole = |group: &ChannelGroup| -> Vec<&ChannelGroup> {
        let groups = &filters.channels.groups;
        if let Some(same) = groups.iter().find(|whole| whole.source_names == group.source_names) {
            return vec![same];
        }
        let includes = |whole: &&ChannelGroup| group.source_names.iter().all(|name| whole.source_names.contains(name));
        groups.iter().filter(includes).collect()
    };
    let kept = |group: &ChannelGroup| {
        let going = |whole: &ChannelGroup| {
            let count = keep.iter().find(|(name, _)| *name == whole.name).map(|(_, count)| *count);
            count.map_or(0, |count| whole.channels.len().saturating_sub(count))
        };
        group.channels.len().saturating_sub(whole(group).into_iter().map(going).sum())
    };
    let protected = &filters.constraints.protected;
    let stays = |group: &&ChannelGroup| whole(group).iter().any(|whole| protected.contains(&whole.name));
    let protected = channels.groups.iter().filter(stays).map(|group| group.name.clone()).collect();
    let constraints = ChannelConstraints { protected, ..filters.constraints.clone() };
    let score = |group: &ChannelGroup, channel: &_| filters.scores.of_channel(group, channel);
    plan::by_count(&model.graph, units, channels, &constraints, kept, score)
}

//! Channel groups: channels of several tensors that go together or stay together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::coupling::{Coupling, FilterAxis, Pin, Position, ValueAxis};
use super::flow::Flow;
use super::{naming, why};
use crate::cost::Costs;
use crate::graph::{Graph, NodeId, ValueId};
use crate::onnx::{Model, ModelDigest};
use crate::shapes::Shapes;

/// One removable unit of a group: what goes with one channel.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its number: the lowest channel that the first source of its group makes with it.
    pub index: usize,
    /// For each source of the group, in their order, the channels of its output that go.
    pub filters: Vec<Vec<usize>>,
    root: Position,
}

/// Channels that the same weighted nodes make, each removable by itself.
#[derive(Debug, Clone)]
pub struct ChannelGroup {
    /// Its name: that of the first of its sources; unique in the model.
    pub name: String,
    /// The weighted nodes that make the channels, in forward order.
    pub sources: Vec<FilterAxis>,
    /// Names of the sources.
    pub source_names: Vec<String>,
    /// The channels, by index.
    pub channels: Vec<Channel>,
}

/// The channels of one weighted node: how many can go, and why the rest cannot.
#[derive(Debug, Clone)]
pub struct LayerChannels {
    /// The weighted node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Channels that it makes.
    pub channels: usize,
    /// How many of them are in a group.
    pub removable: usize,
    /// Why the first of the others is held.
    pub reason: Option<String>,
}

/// All channel groups of a model.
#[derive(Debug, Clone)]
pub struct Channels {
    /// The model they were found in.
    pub model: ModelDigest,
    /// Groups in forward order of their first source.
    pub groups: Vec<ChannelGroup>,
    /// Weighted nodes in forward order.
    pub layers: Vec<LayerChannels>,
    /// What is coupled with what.
    pub coupling: Coupling,
    members: BTreeMap<Position, Vec<Position>>,
}

/// Which indices stay of every axis that loses some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelCut {
    kept: BTreeMap<ValueAxis, Vec<usize>>,
}

impl ChannelCut {
    /// The axes that lose indices, with the indices that stay, in rising order.
    pub fn axes(&self) -> impl Iterator<Item = (ValueAxis, &[usize])> {
        self.kept.iter().map(|(at, kept)| (*at, kept.as_slice()))
    }

    /// The indices of `at` that stay; `None` where all do.
    #[must_use]
    pub fn kept(&self, at: ValueAxis) -> Option<&[usize]> {
        self.kept.get(&at).map(Vec::as_slice)
    }

    /// Takes away all that any of `cuts` does.
    #[must_use]
    pub fn all<'a>(cuts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut kept: BTreeMap<ValueAxis, Vec<usize>> = BTreeMap::new();
        for (at, stays) in cuts.into_iter().flat_map(Self::axes) {
            kept.entry(at)
                .and_modify(|kept| kept.retain(|index| stays.contains(index)))
                .or_insert_with(|| stays.to_vec());
        }
        Self { kept }
    }

    /// What is cut of these values alone.
    #[must_use]
    pub fn of(&self, values: &BTreeSet<ValueId>) -> Self {
        let kept = self.kept.iter().filter(|(at, _)| values.contains(&at.value));
        Self { kept: kept.map(|(at, kept)| (*at, kept.clone())).collect() }
    }

    /// `shapes` as they are without what goes.
    #[must_use]
    pub fn shapes(&self, shapes: &Shapes) -> Shapes {
        shapes.with_sizes(self.kept.iter().map(|(at, kept)| (at.value, at.axis, kept.len())))
    }
}

impl Channels {
    /// Finds the channel groups of `model`, whose shapes are `shapes`.
    #[must_use]
    pub fn find(model: &Model, digest: &ModelDigest, shapes: &Shapes) -> Self {
        let graph = &model.graph;
        let flow = Flow::of(graph, shapes);
        let coupling = Coupling::of(graph, shapes, &flow);
        let mut members: BTreeMap<Position, Vec<Position>> = BTreeMap::new();
        for position in coupling.positions() {
            let root = coupling.root(position);
            if coupling.pinned(root).is_none() {
                members.entry(root).or_default().push(position);
            }
        }
        let mut sources = coupling.filters().to_vec();
        sources.sort_by_key(|source| flow.position(source.node));
        let mut taken = BTreeSet::new();
        let mut named = |source: &FilterAxis| naming::unique(&naming::layer_name(graph, source.node), &mut taken);
        let names: Vec<String> = sources.iter().map(&mut named).collect();
        let groups = groups(&coupling, &sources, &names, &members);
        let layers = layers(graph, &coupling, &sources, &names);
        Self { model: digest.clone(), groups, layers, coupling, members }
    }

    /// The group called `name`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&ChannelGroup> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// What goes with these channels.
    #[must_use]
    pub fn cut<'a>(&self, channels: impl IntoIterator<Item = &'a Channel>) -> ChannelCut {
        self.cut_roots(channels.into_iter().map(|channel| channel.root))
    }

    /// Channels that have an index on axis `at`, with their groups.
    pub fn on_axis(&self, at: ValueAxis) -> impl Iterator<Item = (&ChannelGroup, &Channel)> {
        let (start, size) = self.coupling.slot(at).unwrap_or((0, 0));
        let roots: BTreeSet<Position> =
            (start..start + size as Position).map(|position| self.coupling.root(position)).collect();
        let all = self.groups.iter().flat_map(|group| group.channels.iter().map(move |channel| (group, channel)));
        all.filter(move |(_, channel)| roots.contains(&channel.root))
    }

    /// For each index of `at`, which channel of `group` it goes with, by its number there; nothing for an axis that is not
    /// followed.
    #[must_use]
    pub fn along(&self, at: ValueAxis, group: &ChannelGroup) -> Vec<Option<usize>> {
        let (start, size) = self.coupling.slot(at).unwrap_or((0, 0));
        let numbers: BTreeMap<Position, usize> =
            group.channels.iter().enumerate().map(|(number, channel)| (channel.root, number)).collect();
        let positions = start..start + size as Position;
        positions.map(|position| numbers.get(&self.coupling.root(position)).copied()).collect()
    }

    pub(super) fn cut_roots(&self, roots: impl IntoIterator<Item = Position>) -> ChannelCut {
        let mut gone: BTreeMap<ValueAxis, BTreeSet<usize>> = BTreeMap::new();
        for position in roots.into_iter().filter_map(|root| self.members.get(&root)).flatten() {
            let (at, index) = self.coupling.place(*position);
            gone.entry(at).or_default().insert(index);
        }
        let kept = gone.into_iter().map(|(at, gone)| {
            let (_, size) = self.coupling.slot(at).expect("positions are of axes that are followed");
            (at, (0..size).filter(|index| !gone.contains(index)).collect())
        });
        ChannelCut { kept: kept.collect() }
    }

    /// What goes with all indices of `at`.
    ///
    /// # Errors
    /// Why one of them is held.
    pub(super) fn cut_of_axis(&self, graph: &Graph, at: ValueAxis) -> Result<ChannelCut, String> {
        let (start, size) = self.coupling.slot(at).ok_or("its channels cannot be followed")?;
        let roots: BTreeSet<Position> =
            (start..start + size as Position).map(|position| self.coupling.root(position)).collect();
        match roots.iter().find_map(|&root| self.coupling.pinned(root)) {
            Some(pin) => Err(why::describe(graph, pin)),
            None => Ok(self.cut_roots(roots)),
        }
    }

    pub(super) fn root_of(&self, channel: &Channel) -> Position {
        channel.root
    }

    /// Classes of positions that nothing holds, with their positions.
    pub(super) fn classes(&self) -> &BTreeMap<Position, Vec<Position>> {
        &self.members
    }

    /// The way from a channel of `name` to what holds it, step by step; `None` where there is no such layer, an empty list
    /// where nothing holds any of its channels.
    #[must_use]
    pub fn why(&self, graph: &Graph, name: &str) -> Option<Vec<String>> {
        let layer = self.layers.iter().find(|layer| layer.name == name)?;
        let source = self.coupling.filters().iter().find(|source| source.node == layer.node)?;
        Some(why::to_pin(graph, &self.coupling, source.output))
    }

    /// Share of the parameters, 0 to 1, that some channel which can go would take along.
    #[must_use]
    pub fn share_of_parameters(&self, costs: &Costs) -> f64 {
        let (mut in_groups, mut all) = (0.0, 0.0);
        for (value, elements) in costs.parameters() {
            let held = |at: ValueAxis| {
                let (start, size) = self.coupling.slot(at).expect("the axis is followed");
                let is_held = |position: &Position| self.coupling.pinned(self.coupling.root(*position)).is_some();
                (start..start + size as Position).filter(is_held).count() as f64 / size as f64
            };
            let held: f64 = self.coupling.axes(value).map(held).product();
            in_groups += (1.0 - held) * elements as f64;
            all += elements as f64;
        }
        if all > 0.0 { in_groups / all } else { 0.0 }
    }

    /// The JSON form: what `inspect --channels --format json` prints.
    #[must_use]
    pub fn rows(&self, costs: &Costs) -> ChannelTable {
        let group = |group: &ChannelGroup| GroupRow {
            name: group.name.clone(),
            channels: group.channels.len(),
            layers: group.source_names.clone(),
        };
        let layer = |layer: &LayerChannels| ChannelRow {
            layer: layer.name.clone(),
            channels: layer.channels,
            removable: layer.removable,
            reason: layer.reason.clone(),
        };
        ChannelTable {
            schema: CHANNELS_SCHEMA,
            model: self.model.clone(),
            parameters_in_groups: self.share_of_parameters(costs),
            groups: self.groups.iter().map(group).collect(),
            layers: self.layers.iter().map(layer).collect(),
        }
    }
}

/// Version of the JSON form of [`Channels`].
const CHANNELS_SCHEMA: u32 = 1;

/// [`Channels`] as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelTable {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// Share of the parameters that channels which can go would take along.
    pub parameters_in_groups: f64,
    /// Groups in forward order.
    pub groups: Vec<GroupRow>,
    /// Weighted nodes in forward order.
    pub layers: Vec<ChannelRow>,
}

/// A [`ChannelGroup`] as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Its name.
    pub name: String,
    /// How many channels it has.
    pub channels: usize,
    /// Names of the weighted nodes that make them.
    pub layers: Vec<String>,
}

/// A [`LayerChannels`] as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRow {
    /// The weighted node.
    pub layer: String,
    /// Channels that it makes.
    pub channels: usize,
    /// How many of them can go.
    pub removable: usize,
    /// Why the others cannot.
    pub reason: Option<String>,
}

/// Classes of positions by the sources that make them: channels of one group are made by the same nodes.
fn groups(
    coupling: &Coupling,
    sources: &[FilterAxis],
    names: &[String],
    members: &BTreeMap<Position, Vec<Position>>,
) -> Vec<ChannelGroup> {
    let mut made: BTreeMap<Position, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    for (number, source) in sources.iter().enumerate() {
        let Some((start, size)) = coupling.slot(source.output) else { continue };
        for index in 0..size {
            let root = coupling.root(start + index as Position);
            if members.contains_key(&root) {
                made.entry(root).or_default().entry(number).or_default().push(index);
            }
        }
    }
    let mut by_sources: BTreeMap<Vec<usize>, Vec<Channel>> = BTreeMap::new();
    for (root, filters) in made {
        let key: Vec<usize> = filters.keys().copied().collect();
        let filters: Vec<Vec<usize>> = filters.into_values().collect();
        by_sources.entry(key).or_default().push(Channel { index: filters[0][0], filters, root });
    }
    let mut taken = BTreeSet::new();
    by_sources
        .into_iter()
        .map(|(numbers, mut channels)| {
            channels.sort_by_key(|channel| channel.index);
            ChannelGroup {
                name: naming::unique(&names[numbers[0]], &mut taken),
                sources: numbers.iter().map(|&number| sources[number]).collect(),
                source_names: numbers.iter().map(|&number| names[number].clone()).collect(),
                channels,
            }
        })
        .collect()
}

fn layers(graph: &Graph, coupling: &Coupling, sources: &[FilterAxis], names: &[String]) -> Vec<LayerChannels> {
    let mut layers = Vec::new();
    for (source, name) in sources.iter().zip(names) {
        let Some((start, size)) = coupling.slot(source.output) else { continue };
        let held: Vec<&Pin> =
            (0..size).filter_map(|index| coupling.pinned(coupling.root(start + index as Position))).collect();
        layers.push(LayerChannels {
            node: source.node,
            name: name.clone(),
            channels: size,
            removable: size - held.len(),
            reason: held.first().map(|pin| why::describe(graph, pin)),
        });
    }
    layers
}

//! Finds what can be removed, and says why the rest cannot. Pure: edits nothing, scores nothing.

mod blocks;
mod bridge;
mod chain;
mod channels;
mod coupling;
mod dead;
mod dense;
mod filters;
mod flow;
mod naming;
mod pairing;
mod path;
mod readers;
mod shrink;
mod stage;
mod tree;

mod sizes;
mod why;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cost::{Cost, Costs};
use crate::graph::{Graph, NodeId, ValueId};
use crate::onnx::{Model, ModelDigest};
use crate::shapes::{InputShapes, ShapeError, Shapes};

pub use bridge::Bridge;
pub use channels::{Channel, ChannelCut, ChannelGroup, ChannelRow, ChannelTable, Channels, GroupRow, LayerChannels};
pub use coupling::{Coupling, FilterAxis, Pin, ValueAxis};
pub use dense::Features;
pub use filters::{FilterLayout, FilterSite};
use flow::Flow;
pub(crate) use naming::layer_name;
pub use path::Next;
pub use readers::{NodeWidths, ReadGroup, Reader, Width};
pub use shrink::{Shrink, WindowChange};
pub use tree::{TREE_SCHEMA, TreeRow, UnitTree};

/// Version of the JSON form of [`Units`].
pub const UNITS_SCHEMA: u32 = 1;

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A residual block: a branch beside a shortcut, from where they part to behind their Add.
    Block,
    /// A weighted node of a plain chain with its norm and activation; a depthwise convolution includes the pointwise
    /// one behind it.
    Layer,
    /// Blocks or layers one behind the other that share the first parts of their names, taken as one.
    Stage,
    /// What computes new features from all there are, to be concatenated onto them, as in DenseNet; the Concat is not part
    /// of it.
    DenseLayer,
}

/// How a unit can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// What reads the unit's exit reads its entry instead.
    Bypass,
    /// What reads the Add reads the other side, so that the shortcut stays.
    DropBranch,
    /// A 1x1 convolution, fitted to what the unit gives, stands in its place.
    Bridge,
    /// A scale and a shift of each channel, fitted to what the unit gives, stand in its place.
    ScaleShift,
    /// A chain layer that changes channels or resolution goes, and the next layer reads its entry with a new weight.
    ShrinkChain,
    /// A dense layer goes with all channels of its new features, which is [`Removal::from`], wherever they are read.
    DropFeatures,
}

/// The ways that put a fitted convolution in place of the unit.
const FITTED: [Way; 2] = [Way::Bridge, Way::ScaleShift];

impl Way {
    /// Whether a convolution that has to be fitted to data stands in place of the unit.
    #[must_use]
    pub fn is_fitted(self) -> bool {
        FITTED.contains(&self)
    }
}

/// One way of removing a unit: all that reads `from` reads `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// The way.
    pub way: Way,
    /// The value that loses its readers.
    pub from: ValueId,
    /// The value they read instead.
    pub to: ValueId,
    /// The output of the block's own ReLU, which does nothing, and goes too, where what it then reads is never negative.
    pub relu: Option<ValueId>,
    /// Whether the forward pass is that of the model with the branch at zero.
    pub exact: bool,
}

/// A part of the graph that is removed as a whole or stays as a whole.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name, after the modules in the node names; unique in the model.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// All its nodes, in graph order.
    pub nodes: Vec<NodeId>,
    /// Where the first of them stands in the graph's order.
    pub position: usize,
    /// The value that it reads.
    pub entry: ValueId,
    /// The value that it gives.
    pub exit: ValueId,
    /// The output of a block's branch, which its Add reads.
    pub branch: Option<ValueId>,
    /// Weighted nodes by whose filters the unit is scored: those on its way whose channels end inside it, else all.
    pub scored: Vec<NodeId>,
    /// Whether imprinting looks at its exit: all data passes through it, and it is neither classifier nor the stem before
    /// blocks.
    pub tapped: bool,
    /// The ways of removing it; empty where there are none.
    pub removals: Vec<Removal>,
    /// Why it cannot be bypassed; `None` where it can.
    pub reason: Option<String>,
    /// What a fitted convolution could stand in place of, or why it could not.
    pub bridge: Result<Bridge, String>,
    /// The weighted node behind it that could read other channels.
    pub next: Option<Next>,
    /// What else changes when it goes by [`Way::ShrinkChain`].
    pub shrink: Option<Shrink>,
    /// What goes with its features when it goes by [`Way::DropFeatures`].
    pub features: Option<Features>,
    /// Nodes that go when it is removed the first way; all of its nodes where it cannot be.
    pub gone: BTreeSet<NodeId>,
    /// What goes with them.
    pub cost: Cost,
    /// Shape of the entry, as text.
    pub entry_shape: String,
    /// Shape of the exit, as text.
    pub exit_shape: String,
}

impl Unit {
    /// The removal by the first of `ways` that it offers, those that are fitted last.
    #[must_use]
    pub fn removal(&self, ways: &BTreeSet<Way>) -> Option<Removal> {
        let redirect = self.removals.iter().copied().find(|removal| ways.contains(&removal.way));
        redirect.or_else(|| FITTED.into_iter().filter(|way| ways.contains(way)).find_map(|way| self.removal_by(way)))
    }

    /// Whether criteria score it: it lies on the trunk, or can be removed.
    #[must_use]
    pub fn is_scored(&self) -> bool {
        self.tapped || !self.removals.is_empty()
    }

    /// The removal by `way`, where the unit offers it.
    #[must_use]
    pub fn removal_by(&self, way: Way) -> Option<Removal> {
        if way.is_fitted() {
            return self.bridge.as_ref().ok()?.removal(way).ok();
        }
        self.removals.iter().copied().find(|removal| removal.way == way)
    }

    /// Why no removal by `way`, one that is fitted, is offered; `None` where it is.
    #[must_use]
    pub fn no_bridge(&self, way: Way) -> Option<String> {
        self.bridge.as_ref().map_err(Clone::clone).and_then(|bridge| bridge.removal(way)).err()
    }

    /// Nodes that go when the unit is removed by `way`.
    #[must_use]
    pub fn gone_by(&self, way: Way) -> &BTreeSet<NodeId> {
        match &self.bridge {
            Ok(bridge) if way.is_fitted() => &bridge.gone,
            _ => &self.gone,
        }
    }
}

/// The units of a model, with everything found on the way to them.
#[derive(Debug, Clone)]
pub struct Units {
    /// The model they were found in.
    pub model: ModelDigest,
    /// Units in forward order: the level that is scored and chosen among by number.
    pub units: Vec<Unit>,
    /// What lies in these, and what holds several of them, in forward order; these too can be removed by name.
    pub nested: Vec<Unit>,
    /// Weighted nodes in no unit, with the reason.
    pub outside: Vec<(NodeId, String)>,
    /// Types, shapes and barriers of the model.
    pub shapes: Shapes,
    /// Costs of its nodes.
    pub costs: Costs,
}

impl Units {
    /// Finds the units of `model`.
    ///
    /// # Errors
    /// Where `given` does not fit the model's inputs.
    pub fn find(model: &Model, given: &InputShapes) -> Result<Self, ShapeError> {
        let graph = &model.graph;
        let shapes = crate::shapes::infer(graph, given)?;
        let costs = Costs::count(graph, &shapes);
        let digest = model.digest();
        let flow = Flow::of(graph, &shapes);
        let mut found = blocks::find(graph, &shapes, &flow);
        let has_blocks = !found.units.is_empty();
        dense::find(graph, &shapes, &flow, &mut found);
        chain::find(graph, &shapes, &flow, &mut found);
        let (mut units, mut nested) = (found.units, found.nested);
        let mut taken = BTreeSet::new();
        units.sort_by_key(|unit| unit.nodes.first().map(|&id| flow.position(id)));
        naming::name(graph, &mut units, &mut taken);
        nested.extend(stage::find(graph, &shapes, &flow, &units));
        nested.sort_by_key(|unit| unit.nodes.first().map(|&id| flow.position(id)));
        naming::name(graph, &mut nested, &mut taken);
        nested.iter_mut().for_each(|unit| unit.tapped = false);
        let mut all: Vec<&mut Unit> = units.iter_mut().chain(&mut nested).collect();
        all.iter_mut().for_each(|unit| unit.gone = gone_nodes(graph, &flow, unit));
        dense::follow(model, &digest, &shapes, &mut all);
        let stem_ends = |unit: &Unit| has_blocks && graph.inputs().iter().any(|port| port.value == unit.entry);
        let trunk = flow.trunk(graph);
        for unit in units.iter_mut().chain(&mut nested) {
            unit.position = unit.nodes.first().map_or(0, |&id| flow.position(id));
            unit.tapped &= !stem_ends(unit) && trunk.contains(&unit.exit);
            unit.cost = costs.of(&unit.gone);
            if let Some(features) = &unit.features {
                unit.cost = unit.cost.plus(Features::lost(&[features], &shapes, &costs, &unit.gone));
            }
            unit.next = path::Path::behind(graph, &shapes, &flow, unit.exit).ok().map(|path| path.next);
            shrink::keep_if_cheaper(unit, &costs);
            unit.entry_shape = shapes.fact(unit.entry).shape_text();
            unit.exit_shape = shapes.fact(unit.exit).shape_text();
        }
        Ok(Self { model: digest, units, nested, outside: found.outside, shapes, costs })
    }

    /// The unit called `name`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Unit> {
        self.all().find(|unit| unit.name == name)
    }

    /// All units, those that are scored first.
    pub fn all(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().chain(&self.nested)
    }

    /// The JSON form: what `inspect --format json` prints.
    #[must_use]
    pub fn rows(&self, graph: &Graph) -> UnitTable {
        UnitTable {
            schema: UNITS_SCHEMA,
            model: self.model.clone(),
            total: self.costs.total(),
            units: self.units.iter().map(|unit| UnitRow::of(graph, unit)).collect(),
            outside: self
                .outside
                .iter()
                .map(|(id, reason)| Outside { node: graph.label(*id), reason: reason.clone() })
                .collect(),
            barriers: self
                .shapes
                .barriers()
                .iter()
                .map(|(id, reason)| Outside { node: graph.label(*id), reason: reason.clone() })
                .collect(),
        }
    }
}

/// Nodes that go when the unit does: with a dropped branch, the Add and the branch but not the shortcut; also what
/// computes constants for these alone.
fn gone_nodes(graph: &Graph, flow: &Flow, unit: &Unit) -> BTreeSet<NodeId> {
    let mut gone: BTreeSet<NodeId> = unit.nodes.iter().copied().collect();
    if let Some(removal) = unit.removals.first().filter(|removal| removal.way == Way::DropBranch) {
        for id in flow.region(graph, removal.to, unit.entry) {
            gone.remove(&id);
        }
    }
    for (id, node) in graph.nodes().rev() {
        let outputs = || node.outputs().iter().flatten();
        let mut readers = outputs().flat_map(|&value| flow.uses.consumers(value)).peekable();
        let constant = flow.data_inputs(graph, id).is_empty() && !outputs().any(|&value| graph.is_output(value));
        if constant && readers.peek().is_some() && readers.all(|reader| gone.contains(&reader.node)) {
            gone.insert(id);
        }
    }
    gone
}

/// Values that are never negative, whatever the input.
pub(crate) fn never_negative(graph: &Graph, shapes: &Shapes) -> BTreeSet<ValueId> {
    Flow::of(graph, shapes).into_non_negative()
}

/// How the layer of `nodes` can be shrunk away in a graph that may have changed since its units were found.
pub(crate) fn shrink_of(graph: &Graph, shapes: &Shapes, nodes: &[NodeId]) -> Result<Shrink, String> {
    shrink::find(graph, shapes, &Flow::of(graph, shapes), nodes)
}

/// [`Units`] as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitTable {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// Cost of the whole model.
    pub total: Cost,
    /// Units in forward order.
    pub units: Vec<UnitRow>,
    /// Weighted nodes in no unit, with the reason.
    pub outside: Vec<Outside>,
    /// Nodes that no rule can follow.
    pub barriers: Vec<Outside>,
}

/// A [`Unit`] as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitRow {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The ways in which it can be removed.
    pub ways: Vec<Way>,
    /// Whether the first way is exact: the model with the branch at zero.
    pub exact: bool,
    /// Why it cannot be bypassed.
    pub reason: Option<String>,
    /// Name of the value it reads.
    pub entry: String,
    /// Name of the value it gives.
    pub exit: String,
    /// Shape of the entry.
    pub entry_shape: String,
    /// Shape of the exit.
    pub exit_shape: String,
    /// What a 1x1 convolution in its place would cost; absent where there can be none.
    #[serde(default)]
    pub bridge: Option<Cost>,
    /// Why no 1x1 convolution can stand in its place.
    #[serde(default)]
    pub no_bridge: Option<String>,
    /// Parameters and MACs.
    #[serde(flatten)]
    pub cost: Cost,
    /// Labels of its nodes.
    pub nodes: Vec<String>,
}

/// A node with the reason why it is in no unit or is a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// The node's label.
    pub node: String,
    /// The reason.
    pub reason: String,
}

impl UnitRow {
    fn of(graph: &Graph, unit: &Unit) -> Self {
        Self {
            name: unit.name.clone(),
            kind: unit.kind,
            ways: unit.removals.iter().map(|removal| removal.way).collect(),
            exact: unit.removals.first().is_some_and(|removal| removal.exact),
            reason: unit.reason.clone(),
            entry: graph.value_name(unit.entry).to_owned(),
            exit: graph.value_name(unit.exit).to_owned(),
            entry_shape: unit.entry_shape.clone(),
            exit_shape: unit.exit_shape.clone(),
            bridge: unit.bridge.as_ref().ok().map(|bridge| bridge.cost(Way::Bridge)),
            no_bridge: unit.no_bridge(Way::Bridge),
            cost: unit.cost,
            nodes: unit.nodes.iter().map(|&id| graph.label(id)).collect(),
        }
    }
}

//! Dense layers: what computes new features from all there are, to be concatenated onto them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::blocks::{Found, leak};
use super::chain::holds_weights;
use super::coupling::ValueAxis;
use super::flow::Flow;
use super::{ChannelCut, Channels, Kind, Removal, Unit, Way};
use crate::cost::{Cost, Costs};
use crate::graph::{Graph, NodeId, ValueId};
use crate::onnx::{Model, ModelDigest};
use crate::ops::{attribute, axes};
use crate::shapes::Shapes;

/// New features and what they are computed from.
struct Dense {
    entry: ValueId,
    features: ValueId,
    nodes: BTreeSet<NodeId>,
}

/// What goes with the features of a dense layer.
#[derive(Debug, Clone)]
pub struct Features {
    /// Their channels, wherever they are; of what only the layer computes, none stays.
    pub cut: ChannelCut,
    /// The graph that they are of, to count what is left in.
    graph: Arc<Graph>,
}

impl Features {
    /// What `all` together take from `costs` of nodes that are not in `gone`. Counted at once: one weight may lose rows to
    /// one layer and columns to another.
    #[must_use]
    pub fn lost(all: &[&Self], shapes: &Shapes, costs: &Costs, gone: &BTreeSet<NodeId>) -> Cost {
        let Some(first) = all.first() else { return Cost { parameters: 0, macs: Some(0) } };
        let cut = ChannelCut::all(all.iter().map(|features| &features.cut));
        costs.lost_beside(&costs.lost(&Costs::count(&first.graph, &cut.shapes(shapes))), gone)
    }
}

/// Finds out what goes with the features of each dense layer of `units`, and takes the removal back where one of them is held.
pub(super) fn follow(model: &Model, digest: &ModelDigest, shapes: &Shapes, units: &mut [&mut Unit]) {
    let mut dense = units.iter_mut().filter(|unit| unit.removal_by(Way::DropFeatures).is_some()).peekable();
    if dense.peek().is_none() {
        return;
    }
    let channels = Channels::find(model, digest, shapes);
    let graph = Arc::new(model.graph.clone());
    for unit in dense {
        match features(&model.graph, &channels, unit) {
            Ok(cut) => unit.features = Some(Features { cut, graph: Arc::clone(&graph) }),
            Err(reason) => {
                unit.removals.clear();
                unit.reason = Some(format!("its features cannot all go: {reason}"));
            }
        }
    }
}

fn features(graph: &Graph, channels: &Channels, unit: &Unit) -> Result<ChannelCut, String> {
    let cut = channels.cut_of_axis(graph, ValueAxis { value: unit.exit, axis: 1 })?;
    let uses = graph.uses();
    let own = |value: ValueId| {
        let inside = |id: NodeId| unit.gone.contains(&id);
        uses.producer(value).map_or_else(|| uses.consumers(value).iter().all(|it| inside(it.node)), inside)
    };
    let emptied = cut.axes().find(|(at, kept)| kept.is_empty() && !own(at.value)).map(|(at, _)| at.value);
    emptied.map_or(Ok(cut), |value| Err(format!("no channel of `{}` would stay", graph.value_name(value))))
}

/// Finds the dense layers; one that holds a block or another of them is nested.
pub(super) fn find(graph: &Graph, shapes: &Shapes, flow: &Flow, found: &mut Found) {
    let mut layers: Vec<Dense> = Vec::new();
    for (id, _) in graph.nodes().filter(|(id, _)| joins_channels(graph, shapes, flow, *id)) {
        for features in flow.data_inputs(graph, id) {
            if layers.iter().all(|known| known.features != features) {
                layers.extend(dense(graph, shapes, flow, id, features));
            }
        }
    }
    layers.sort_by_key(|layer| layer.nodes.len());
    for layer in layers {
        let unit = unit(graph, shapes, flow, &layer);
        if layer.nodes.is_disjoint(&found.covered) {
            found.covered.extend(layer.nodes);
            found.units.push(unit);
        } else {
            found.nested.push(unit);
        }
    }
}

/// Whether the node puts the channels of several values behind each other.
fn joins_channels(graph: &Graph, shapes: &Shapes, flow: &Flow, id: NodeId) -> bool {
    let node = graph.node(id);
    let rank = || node.output(0).and_then(|value| shapes.fact(value).rank());
    let axis = || axes::axis(attribute::int(node, "axis", 1).ok()?, rank()?).ok();
    node.op_type() == "Concat" && !flow.is_barrier(id) && axis() == Some(1)
}

/// `features`, where they are computed from exactly the other inputs of the Concat.
fn dense(graph: &Graph, shapes: &Shapes, flow: &Flow, concat: NodeId, features: ValueId) -> Option<Dense> {
    let mut others: BTreeSet<ValueId> = flow.data_inputs(graph, concat).into_iter().collect();
    others.remove(&features);
    let readers = flow.uses.consumers(features);
    if graph.is_output(features)
        || !readers.iter().all(|it| it.input.is_some() && joins_channels(graph, shapes, flow, it.node))
    {
        return None;
    }
    let all_of_them = |value: ValueId| {
        let producer = flow.uses.producer(value).filter(|&id| joins_channels(graph, shapes, flow, id));
        let joined = producer.map(|id| flow.data_inputs(graph, id).into_iter().collect::<BTreeSet<_>>());
        others == BTreeSet::from([value]) || joined.as_ref() == Some(&others)
    };
    let mut next = flow.uses.producer(features).and_then(|id| flow.gate(id));
    while let Some(value) = next.filter(|&value| !all_of_them(value)) {
        next = flow.uses.producer(value).and_then(|id| flow.gate(id));
    }
    let entry = next?;
    let nodes = flow.region(graph, features, entry);
    let maps = |value: ValueId| shapes.fact(value).shape.as_ref().and_then(|dims| dims.get(2..));
    let keeps = |id: &NodeId| {
        let output = graph.node(*id).output(0);
        output.and_then(maps).is_some_and(|found| {
            maps(entry).is_some_and(|maps| maps.len() == found.len() && maps.iter().zip(found).all(|(a, b)| a.same(b)))
        })
    };
    let weighted = nodes.iter().any(|&id| holds_weights(graph, flow, id));
    (weighted && nodes.iter().all(keeps)).then_some(Dense { entry, features, nodes })
}

fn unit(graph: &Graph, shapes: &Shapes, flow: &Flow, layer: &Dense) -> Unit {
    let barrier = layer.nodes.iter().find(|&&id| flow.is_barrier(id));
    let obstacle = barrier
        .map(|&id| format!("it holds `{}`, which is a barrier", graph.label(id)))
        .or_else(|| leak(graph, flow, &layer.nodes, |id| layer.nodes.contains(&id), Some(layer.features)));
    let mut removals = Vec::new();
    if obstacle.is_none() {
        let (from, to) = (layer.features, layer.entry);
        removals.push(Removal { way: Way::DropFeatures, from, to, relu: None, exact: false });
    }
    let reason = obstacle.unwrap_or_else(|| {
        let (features, entry) = (shapes.fact(layer.features), shapes.fact(layer.entry));
        format!("it adds features: {} to {}", features.shape_text(), entry.shape_text())
    });
    let mut nodes: Vec<NodeId> = layer.nodes.iter().copied().collect();
    nodes.sort_by_key(|&id| flow.position(id));
    Unit {
        name: String::new(),
        kind: Kind::DenseLayer,
        position: 0,
        entry: layer.entry,
        exit: layer.features,
        branch: None,
        scored: nodes.iter().copied().filter(|&id| holds_weights(graph, flow, id)).collect(),
        nodes,
        tapped: false,
        removals,
        reason: Some(reason),
        bridge: Err("its features are joined to others, a bridge cannot stand for them".to_owned()),
        next: None,
        shrink: None,
        features: None,
        gone: BTreeSet::new(),
        cost: Cost { parameters: 0, macs: None },
        entry_shape: String::new(),
        exit_shape: String::new(),
    }
}

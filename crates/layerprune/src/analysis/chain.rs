//! Layers of plain chains: a weighted node with its norm and activation.

use std::collections::BTreeSet;

use super::blocks::{Found, different};
use super::bridge;
use super::flow::Flow;
use super::{Kind, Removal, Unit, Way, shrink};
use crate::cost::Cost;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::Role;
use crate::shapes::Shapes;

/// Whether `id` multiplies what flows with weights: one of its two factors does not depend on the model's input.
pub(super) fn holds_weights(graph: &Graph, flow: &Flow, id: NodeId) -> bool {
    let node = graph.node(id);
    let flows = |position| node.input(position).is_some_and(|value| flow.depends_on_input(value));
    flow.role(id) == Some(Role::Weighted) && flows(0) != flows(1)
}

/// The stored weight of a weighted node, and its input position.
pub(crate) fn weight(graph: &Graph, shapes: &Shapes, id: NodeId) -> Option<(usize, ValueId)> {
    let stored = |position| graph.node(id).input(position).filter(|&value| shapes.fact(value).stored.is_some());
    [1, 0].into_iter().find_map(|position| stored(position).map(|value| (position, value)))
}

/// Finds the layers: those outside of blocks are units, those inside nested.
pub(super) fn find(graph: &Graph, shapes: &Shapes, flow: &Flow, found: &mut Found) {
    let mut taken: BTreeSet<NodeId> = BTreeSet::new();
    for (id, node) in graph.nodes() {
        let covered = found.covered.contains(&id);
        if taken.contains(&id) || (covered && (flow.is_barrier(id) || !holds_weights(graph, flow, id))) {
            continue;
        }
        if let Some(reason) = shapes.barriers().get(&id) {
            if matches!(node.op_type(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul") {
                found.outside.push((id, reason.clone()));
            }
            continue;
        }
        if flow.role(id) != Some(Role::Weighted) || flow.data_inputs(graph, id).is_empty() {
            continue;
        }
        if holds_weights(graph, flow, id) {
            let unit = layer(graph, shapes, flow, id);
            taken.extend(&unit.nodes);
            let level = if covered { &mut found.nested } else { &mut found.units };
            level.push(unit);
        } else {
            found.outside.push((id, "both of its factors depend on the model's input".to_owned()));
        }
    }
}

fn layer(graph: &Graph, shapes: &Shapes, flow: &Flow, first: NodeId) -> Unit {
    let mut nodes = vec![first];
    let mut exit = follow(graph, flow, &mut nodes);
    let mut scored = vec![first];
    if is_depthwise(graph, shapes, first)
        && let Some(pointwise) = flow.sole_reader(graph, exit).filter(|&id| is_pointwise(graph, shapes, id))
    {
        nodes.push(pointwise);
        exit = follow(graph, flow, &mut nodes);
        scored = vec![pointwise];
    }
    let data = flow.data_inputs(graph, first);
    let entry = data[0];
    let (before, behind) = (shapes.fact(entry), shapes.fact(exit));
    let mut changes = false;
    let reason = if graph.is_output(exit) {
        Some(format!("its exit `{}` is a graph output", graph.value_name(exit)))
    } else if let Some(reader) = flow.uses.consumers(exit).iter().find(|reader| reader.input.is_none()) {
        Some(format!("a subgraph of `{}` reads its exit", graph.label(reader.node)))
    } else if graph.inputs().iter().any(|port| port.value == entry) && !before.same_type_and_shape(behind) {
        Some(format!("it is the stem: {}", different(graph, shapes, flow, entry, exit)))
    } else if !before.same_type_and_shape(behind) {
        changes = before.shape.is_some() && behind.shape.is_some();
        Some(different(graph, shapes, flow, entry, exit))
    } else {
        whole_arm(graph, flow, entry, exit)
    };
    let inside = |value| value == entry || flow.uses.producer(value).is_some_and(|id| nodes.contains(&id));
    let bridge = match nodes.iter().flat_map(|&id| flow.data_inputs(graph, id)).find(|&value| !inside(value)) {
        Some(other) => Err(format!("it also reads `{}`, which depends on the model's input", graph.value_name(other))),
        None => bridge::between(graph, shapes, flow, entry, exit),
    };
    let mut reason = reason;
    let mut shrink = None;
    let mut removals = Vec::new();
    if reason.is_none() {
        removals.push(Removal { way: Way::Bypass, from: exit, to: entry, relu: None, exact: false });
    } else if changes {
        match shrink::find(graph, shapes, flow, &nodes) {
            Ok(found) => {
                removals.push(Removal { way: Way::ShrinkChain, from: exit, to: entry, relu: None, exact: false });
                shrink = Some(found);
            }
            Err(why) => reason = reason.map(|reason| format!("{reason}; {why}")),
        }
    }
    Unit {
        name: String::new(),
        kind: Kind::Layer,
        nodes,
        position: 0,
        entry,
        exit,
        branch: None,
        scored,
        tapped: !leads_only_out(graph, flow, exit),
        removals,
        reason,
        bridge,
        next: None,
        shrink,
        features: None,
        gone: BTreeSet::new(),
        cost: Cost { parameters: 0, macs: None },
        entry_shape: String::new(),
        exit_shape: String::new(),
    }
}

/// Why a layer that is all there is on one side of a sum stays: the sum would count its entry as the other side does.
pub(super) fn whole_arm(graph: &Graph, flow: &Flow, entry: ValueId, exit: ValueId) -> Option<String> {
    let adds = flow.uses.consumers(exit).iter().filter(|reader| flow.role(reader.node) == Some(Role::Add));
    let sum = adds.map(|reader| reader.node).find(|&add| flow.gate(add) == Some(entry))?;
    Some(format!("it is one whole side of the sum `{}`, which would count its entry instead", graph.label(sum)))
}

/// Adds the norm and the activation behind the last node; returns the value behind them.
fn follow(graph: &Graph, flow: &Flow, nodes: &mut Vec<NodeId>) -> ValueId {
    let mut exit = output(graph, nodes[nodes.len() - 1]);
    for role in [Role::Norm, Role::Activation] {
        if let Some(next) = flow.sole_reader(graph, exit).filter(|&id| flow.role(id) == Some(role)) {
            nodes.push(next);
            exit = output(graph, next);
        }
    }
    exit
}

fn output(graph: &Graph, id: NodeId) -> ValueId {
    graph.node(id).outputs().iter().flatten().copied().next().expect("a node that something reads has an output")
}

/// The sizes of a stored weight.
fn sizes(graph: &Graph, shapes: &Shapes, id: NodeId) -> Option<Vec<usize>> {
    if graph.node(id).op_type() != "Conv" {
        return None;
    }
    let (_, weight) = weight(graph, shapes, id)?;
    shapes.fact(weight).shape.as_ref()?.iter().map(crate::ops::Dim::known).collect()
}

fn is_depthwise(graph: &Graph, shapes: &Shapes, id: NodeId) -> bool {
    sizes(graph, shapes, id).is_some_and(|sizes| {
        let groups = crate::ops::attribute::int(graph.node(id), "group", 1).unwrap_or(1);
        sizes[1] == 1 && groups > 1 && sizes[2..].iter().any(|&size| size > 1)
    })
}

fn is_pointwise(graph: &Graph, shapes: &Shapes, id: NodeId) -> bool {
    sizes(graph, shapes, id).is_some_and(|sizes| {
        crate::ops::attribute::int(graph.node(id), "group", 1) == Ok(1) && sizes[2..].iter().all(|&size| size == 1)
    })
}

/// Whether no further weights lie behind `value`: what gives it is a classifier.
fn leads_only_out(graph: &Graph, flow: &Flow, value: ValueId) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack = vec![value];
    while let Some(value) = stack.pop() {
        for reader in flow.uses.consumers(value) {
            if holds_weights(graph, flow, reader.node) {
                return false;
            }
            if seen.insert(reader.node) {
                stack.extend(graph.node(reader.node).outputs().iter().flatten());
            }
        }
    }
    true
}

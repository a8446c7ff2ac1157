//! Residual blocks: a branch and a shortcut that part at one value and meet in an Add.

use std::collections::BTreeSet;

use super::bridge;
use super::chain::holds_weights;
use super::flow::Flow;
use super::{Kind, Removal, Unit, Way};
use crate::cost::Cost;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::{Dim, Role};
use crate::shapes::Shapes;

/// Units found so far, and what they cover.
#[derive(Default)]
pub(super) struct Found {
    pub(super) units: Vec<Unit>,
    /// What lies in units, and blocks that hold others.
    pub(super) nested: Vec<Unit>,
    /// Nodes of blocks: in a branch, a shortcut or the Add.
    pub(super) covered: BTreeSet<NodeId>,
    pub(super) outside: Vec<(NodeId, String)>,
}

/// Two branches that part at `entry` and meet in `add`.
struct Fork {
    add: NodeId,
    entry: ValueId,
    /// What the Add reads of the branch, and of the shortcut.
    branch: ValueId,
    shortcut: ValueId,
    branch_nodes: BTreeSet<NodeId>,
    shortcut_nodes: BTreeSet<NodeId>,
}

/// Finds the residual blocks. The innermost are units; one that holds another is nested.
pub(super) fn find(graph: &Graph, shapes: &Shapes, flow: &Flow) -> Found {
    let forks: Vec<Fork> = graph.nodes().filter_map(|(id, _)| fork(graph, flow, id)).collect();
    let adds: BTreeSet<NodeId> = forks.iter().map(|fork| fork.add).collect();
    let mut found = Found::default();
    for fork in &forks {
        if fork.branch_nodes.iter().chain(&fork.shortcut_nodes).any(|id| adds.contains(id)) {
            found.nested.push(unit(graph, shapes, flow, fork));
            continue;
        }
        let unit = unit(graph, shapes, flow, fork);
        found.covered.extend(&unit.nodes);
        for &id in fork.shortcut_nodes.iter().filter(|&&id| holds_weights(graph, flow, id)) {
            found
                .outside
                .push((id, format!("it is on the shortcut of the block that ends in `{}`", graph.label(fork.add))));
        }
        found.units.push(unit);
    }
    found
}

fn fork(graph: &Graph, flow: &Flow, add: NodeId) -> Option<Fork> {
    if flow.role(add) != Some(Role::Add) {
        return None;
    }
    let &[Some(a), Some(b)] = graph.node(add).inputs() else { return None };
    if a == b || flow.data_inputs(graph, add).len() != 2 {
        return None;
    }
    let entry = flow.gate(add)?;
    let (a_nodes, b_nodes) = (flow.region(graph, a, entry), flow.region(graph, b, entry));
    if !a_nodes.is_disjoint(&b_nodes) {
        return None;
    }
    let size =
        |nodes: &BTreeSet<NodeId>| (nodes.iter().filter(|&&id| holds_weights(graph, flow, id)).count(), nodes.len());
    let (a_size, b_size) = (size(&a_nodes), size(&b_nodes));
    let (branch, shortcut, branch_nodes, shortcut_nodes) = match a_size.cmp(&b_size) {
        std::cmp::Ordering::Greater => (a, b, a_nodes, b_nodes),
        std::cmp::Ordering::Less => (b, a, b_nodes, a_nodes),
        std::cmp::Ordering::Equal => return None,
    };
    (size(&branch_nodes).0 > 0).then_some(Fork { add, entry, branch, shortcut, branch_nodes, shortcut_nodes })
}

fn unit(graph: &Graph, shapes: &Shapes, flow: &Flow, fork: &Fork) -> Unit {
    let sum = graph.node(fork.add).output(0).expect("an Add that was found by its fork has an output");
    let activation = flow.sole_reader(graph, sum).filter(|&id| flow.role(id) == Some(Role::Activation));
    let after = activation.and_then(|id| graph.node(id).output(0));
    let is_relu = activation.is_some_and(|id| graph.node(id).op_type() == "Relu");
    let exit = after.unwrap_or(sum);
    let mut nodes: Vec<NodeId> = fork.branch_nodes.iter().chain(&fork.shortcut_nodes).copied().collect();
    nodes.push(fork.add);
    nodes.extend(activation.filter(|_| after.is_some()));
    nodes.sort_by_key(|&id| flow.position(id));

    let mut removals = Vec::new();
    let mut reason = obstacle(graph, flow, fork, sum);
    let bridge = match &reason {
        Some(reason) => Err(reason.clone()),
        None => bridge::between(graph, shapes, flow, fork.entry, exit),
    };
    if reason.is_none() {
        let (entry, shortcut, whole) = (shapes.fact(fork.entry), shapes.fact(fork.shortcut), shapes.fact(sum));
        let same = entry.same_type_and_shape(whole);
        let computes = !fork.shortcut_nodes.iter().all(|&id| passes_on(graph, shapes, id));
        if computes {
            let kind = operators(graph, flow, &fork.shortcut_nodes);
            reason = Some(if same {
                format!("its shortcut computes something: {kind}")
            } else {
                format!("{} (shortcut: {kind})", different(graph, shapes, flow, fork.entry, sum))
            });
        } else if !same {
            reason = Some(different(graph, shapes, flow, fork.entry, sum));
        } else {
            let goes_too =
                is_relu && flow.is_non_negative(fork.entry) && !graph.is_output(exit) && !flow.is_captured(exit);
            let relu = goes_too.then_some(exit);
            removals.push(Removal { way: Way::Bypass, from: sum, to: fork.entry, relu, exact: true });
        }
        if computes && shortcut.same_type_and_shape(whole) {
            removals.push(Removal { way: Way::DropBranch, from: sum, to: fork.shortcut, relu: None, exact: true });
        }
    }
    if removals.first().is_some_and(|removal| removal.relu.is_none()) {
        nodes.retain(|&id| Some(id) != activation);
    }
    Unit {
        name: String::new(),
        kind: Kind::Block,
        exit,
        entry: fork.entry,
        branch: Some(fork.branch),
        scored: scored(graph, flow, fork),
        nodes,
        position: 0,
        tapped: true,
        removals,
        reason,
        bridge,
        next: None,
        shrink: None,
        features: None,
        gone: BTreeSet::new(),
        cost: Cost { parameters: 0, macs: None },
        entry_shape: String::new(),
        exit_shape: String::new(),
    }
}

/// Whether the node gives what it gets: exporters leave such nodes on shortcuts.
fn passes_on(graph: &Graph, shapes: &Shapes, id: NodeId) -> bool {
    let node = graph.node(id);
    let same = || match (node.input(0), node.output(0)) {
        (Some(input), Some(output)) => shapes.fact(input).data_type == shapes.fact(output).data_type,
        _ => false,
    };
    match node.op_type() {
        "Identity" | "Dropout" => true,
        "Cast" => same() && node.input(0).is_some_and(|value| shapes.fact(value).data_type.is_some()),
        _ => false,
    }
}

/// Why the block cannot be removed in any way.
fn obstacle(graph: &Graph, flow: &Flow, fork: &Fork, sum: ValueId) -> Option<String> {
    if graph.is_output(sum) {
        return Some(format!("its sum `{}` is a graph output", graph.value_name(sum)));
    }
    if let Some(reader) = flow.uses.consumers(sum).iter().find(|reader| reader.input.is_none()) {
        return Some(format!("a subgraph of `{}` reads its sum", graph.label(reader.node)));
    }
    if let Some(&id) = fork.branch_nodes.iter().chain([&fork.add]).find(|&&id| flow.is_barrier(id)) {
        return Some(format!("it holds `{}`, which is a barrier", graph.label(id)));
    }
    leak(graph, flow, &fork.branch_nodes, |node| fork.branch_nodes.contains(&node) || node == fork.add, None)
}

/// How something other than `except` gets out of `nodes` to what is not `inside`.
pub(super) fn leak(
    graph: &Graph,
    flow: &Flow,
    nodes: &BTreeSet<NodeId>,
    inside: impl Fn(NodeId) -> bool,
    except: Option<ValueId>,
) -> Option<String> {
    for &id in nodes {
        for &value in graph.node(id).outputs().iter().flatten().filter(|&&value| Some(value) != except) {
            if graph.is_output(value) {
                return Some(format!("`{}` inside it is a graph output", graph.value_name(value)));
            }
            if let Some(reader) = flow.uses.consumers(value).iter().find(|reader| !inside(reader.node)) {
                return Some(format!(
                    "`{}` inside it is also read outside, by `{}`",
                    graph.value_name(value),
                    graph.label(reader.node)
                ));
            }
        }
    }
    None
}

/// Weighted nodes that all data through the branch passes (not those of a gate beside it, such as squeeze-and-excitation),
/// but the last, whose channels the Add ties to the trunk; all of the branch where that leaves none.
fn scored(graph: &Graph, flow: &Flow, fork: &Fork) -> Vec<NodeId> {
    let mut spine = Vec::new();
    let mut value = fork.branch;
    while let Some(producer) = flow.uses.producer(value).filter(|id| fork.branch_nodes.contains(id)) {
        if holds_weights(graph, flow, producer) {
            spine.push(producer);
        }
        let Some(before) = flow.gate(producer) else { break };
        value = before;
    }
    spine.reverse();
    if spine.len() > 1 {
        spine.pop();
    }
    if spine.is_empty() {
        spine.extend(fork.branch_nodes.iter().copied().filter(|&id| holds_weights(graph, flow, id)));
        spine.sort_by_key(|&id| flow.position(id));
    }
    spine
}

/// The operators among `nodes`, as text: `Slice + Pad`.
fn operators(graph: &Graph, flow: &Flow, nodes: &BTreeSet<NodeId>) -> String {
    let mut nodes: Vec<NodeId> = nodes.iter().copied().collect();
    nodes.sort_by_key(|&id| flow.position(id));
    let mut names: Vec<&str> = nodes.iter().map(|&id| graph.node(id).op_type()).collect();
    names.dedup();
    names.join(" + ")
}

/// In what way the two shapes differ, or why that is not known.
pub(super) fn different(graph: &Graph, shapes: &Shapes, flow: &Flow, before: ValueId, behind: ValueId) -> String {
    let (entry, exit) = (shapes.fact(before), shapes.fact(behind));
    let turns = || format!("{} into {}", entry.shape_text(), exit.shape_text());
    let (Some(a), Some(b)) = (&entry.shape, &exit.shape) else {
        let unknown = if entry.shape.is_none() { before } else { behind };
        return match flow.barrier_behind(graph, unknown) {
            Some(id) => format!("its shapes are not known behind `{}`, a barrier", graph.label(id)),
            None => "its shapes are not known; give the input shape".to_owned(),
        };
    };
    if a.len() != b.len() {
        return format!("it turns {}", turns());
    }
    let differ = |(a, b): (&Dim, &Dim)| a.known().is_some() && b.known().is_some() && a != b;
    if !a.iter().zip(b).any(differ) {
        return if entry.data_type == exit.data_type {
            format!("its shapes are not known to be equal: {}; give the input shape", turns())
        } else {
            "it changes the element type".to_owned()
        };
    }
    let channels = a.iter().zip(b).skip(1).take(1).any(differ);
    let maps = a.iter().zip(b).skip(2).any(differ);
    let what = match (channels, maps) {
        (true, true) => "channels and resolution",
        (true, false) => "channels",
        _ => "resolution",
    };
    format!("it changes {what}: {}", turns())
}

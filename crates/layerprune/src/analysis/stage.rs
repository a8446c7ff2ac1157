//! Stages: units one behind the other that share a part of their names, as one unit.

use std::collections::BTreeSet;

use super::blocks::{different, leak};
use super::bridge;
use super::chain::whole_arm;
use super::flow::Flow;
use super::{Kind, Removal, Unit, Way};
use crate::cost::Cost;
use crate::graph::{Graph, ValueId};
use crate::shapes::Shapes;

/// Finds the stages among `units`, which are named and in forward order: all that share the first parts of their names; and
/// where that cannot be bypassed, the longest runs in it that can.
pub(super) fn find(graph: &Graph, shapes: &Shapes, flow: &Flow, units: &[Unit]) -> Vec<Unit> {
    let mut stages: Vec<Unit> = Vec::new();
    let mut seen: BTreeSet<(usize, usize)> = BTreeSet::from([(0, units.len())]);
    let mut wholes = Vec::new();
    for prefix in prefixes(units) {
        let within = |unit: &Unit| unit.name.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('.'));
        for (start, end) in runs(units.len(), |at| within(&units[at]), |_| true) {
            if !seen.insert((start, end)) || !encloses(flow, units[start].entry, units[end - 1].exit) {
                continue;
            }
            let Some(stage) = stage(graph, shapes, flow, &units[start..end], prefix.clone()) else { continue };
            wholes.push((start, end, stage.removals.is_empty()));
            stages.push(stage);
        }
    }
    for (start, end, _) in wholes.into_iter().filter(|(_, _, stays)| *stays) {
        let part = &units[start..end];
        let bypassed = |at: usize| part[at].removals.iter().any(|removal| removal.way == Way::Bypass);
        let joined = |at: usize| part[at - 1].exit == part[at].entry;
        for (first, last) in runs(part.len(), bypassed, joined) {
            if seen.insert((start + first, start + last)) {
                let name = format!("{}..{}", part[first].name, part[last - 1].name);
                stages.extend(stage(graph, shapes, flow, &part[first..last], name));
            }
        }
    }
    stages
}

/// First parts of the units' names, the longest first: `layers.0.blocks`, then `layers.0`, then `layers`.
fn prefixes(units: &[Unit]) -> Vec<String> {
    let mut prefixes: BTreeSet<String> = BTreeSet::new();
    for unit in units {
        prefixes.extend(unit.name.match_indices('.').map(|(at, _)| unit.name[..at].to_owned()));
    }
    let mut prefixes: Vec<String> = prefixes.into_iter().collect();
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.matches('.').count()));
    prefixes
}

/// The longest stretches of at least two of `count` places that are all `good`, each but the first `joined` to the one before.
fn runs(count: usize, good: impl Fn(usize) -> bool, joined: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < count {
        let mut end = start;
        while end < count && good(end) && (end == start || joined(end)) {
            end += 1;
        }
        if end >= start + 2 {
            runs.push((start, end));
        }
        start = end.max(start + 1);
    }
    runs
}

/// Whether all data into `exit` passes through `entry`.
fn encloses(flow: &Flow, entry: ValueId, exit: ValueId) -> bool {
    let mut next = Some(exit);
    while let Some(value) = next.filter(|&value| value != entry) {
        next = flow.uses.producer(value).and_then(|producer| flow.gate(producer));
    }
    next.is_some()
}

/// `units` as one; `None` where they are all there is on one side of a sum, which is a block of its own.
fn stage(graph: &Graph, shapes: &Shapes, flow: &Flow, units: &[Unit], name: String) -> Option<Unit> {
    let (first, last) = (&units[0], &units[units.len() - 1]);
    let entry = first.entry;
    // A block's own activation is none of its nodes where it stays behind.
    let end = last.nodes.last().and_then(|&id| graph.node(id).output(0)).unwrap_or(last.exit);
    if whole_arm(graph, flow, entry, end).is_some() {
        return None;
    }
    let mut nodes = flow.region(graph, end, entry);
    nodes.extend(&last.nodes);
    let bypass = |unit: &Unit| unit.removals.iter().copied().find(|removal| removal.way == Way::Bypass);
    let joined = units.windows(2).all(|pair| pair[0].exit == pair[1].entry);
    let reason = obstacle(graph, flow, &nodes, end).or_else(|| {
        let same = shapes.fact(entry).same_type_and_shape(shapes.fact(end));
        let stem = if graph.inputs().iter().any(|port| port.value == entry) { "it begins with the stem: " } else { "" };
        (!same).then(|| format!("{stem}{}", different(graph, shapes, flow, entry, end)))
    });
    let removals = match (&reason, bypass(last)) {
        (Some(_), _) => Vec::new(),
        (None, Some(removal)) => {
            let exact = joined && units.iter().all(|unit| bypass(unit).is_some_and(|removal| removal.exact));
            vec![Removal { to: entry, exact, ..removal }]
        }
        (None, None) => vec![Removal { way: Way::Bypass, from: end, to: entry, relu: None, exact: false }],
    };
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|&id| flow.position(id));
    Some(Unit {
        name,
        kind: Kind::Stage,
        nodes,
        position: 0,
        entry,
        exit: last.exit,
        branch: None,
        scored: Vec::new(),
        tapped: false,
        removals,
        reason,
        bridge: bridge::between(graph, shapes, flow, entry, last.exit),
        next: None,
        shrink: None,
        features: None,
        gone: BTreeSet::new(),
        cost: Cost { parameters: 0, macs: None },
        entry_shape: String::new(),
        exit_shape: String::new(),
    })
}

fn obstacle(graph: &Graph, flow: &Flow, nodes: &BTreeSet<crate::graph::NodeId>, end: ValueId) -> Option<String> {
    if graph.is_output(end) {
        return Some(format!("its exit `{}` is a graph output", graph.value_name(end)));
    }
    if let Some(reader) = flow.uses.consumers(end).iter().find(|reader| reader.input.is_none()) {
        return Some(format!("a subgraph of `{}` reads its exit", graph.label(reader.node)));
    }
    if let Some(&id) = nodes.iter().find(|&&id| flow.is_barrier(id)) {
        return Some(format!("it holds `{}`, which is a barrier", graph.label(id)));
    }
    leak(graph, flow, nodes, |node| nodes.contains(&node), Some(end))
}

//! The way from a channel to what holds it.

use std::collections::{BTreeMap, VecDeque};

use super::coupling::{Coupling, Pin, Position, ValueAxis};
use super::pairing::pairs;
use crate::graph::{Graph, NodeId};

/// What holds an axis, in words: ``axis 1 of `x` at `node`: reason``.
pub(super) fn describe(graph: &Graph, pin: &Pin) -> String {
    let at = format!("axis {} of `{}`", pin.at.axis, graph.value_name(pin.at.value));
    match pin.node {
        Some(node) => format!("{at}, at `{}` ({}): {}", graph.label(node), graph.node(node).op_type(), pin.reason),
        None => format!("{at}: {}", pin.reason),
    }
}

/// Steps from the first held index of `from` to the pin that holds it; empty where no index is held.
pub(super) fn to_pin(graph: &Graph, coupling: &Coupling, from: ValueAxis) -> Vec<String> {
    let Some((start, size)) = coupling.slot(from) else { return Vec::new() };
    let held = (start..start + size as Position).find(|&position| coupling.pinned(coupling.root(position)).is_some());
    let Some(first) = held else { return Vec::new() };
    let mut came: BTreeMap<Position, (Position, NodeId)> = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(position) = queue.pop_front() {
        if let Some(pin) = coupling.held_at(position) {
            return steps(graph, coupling, first, position, &came, pin);
        }
        for (next, node) in neighbours(coupling, position) {
            if next != first && !came.contains_key(&next) {
                came.insert(next, (position, node));
                queue.push_back(next);
            }
        }
    }
    Vec::new()
}

fn steps(
    graph: &Graph,
    coupling: &Coupling,
    first: Position,
    last: Position,
    came: &BTreeMap<Position, (Position, NodeId)>,
    pin: &Pin,
) -> Vec<String> {
    let text = |position: Position| {
        let (at, index) = coupling.place(position);
        format!("index {index} of axis {} of `{}`", at.axis, graph.value_name(at.value))
    };
    let mut steps = vec![format!("held: {}", describe(graph, pin))];
    let mut position = last;
    while position != first {
        let (before, node) = came[&position];
        let through = format!("`{}` ({})", graph.label(node), graph.node(node).op_type());
        steps.push(format!("{}, by {through}", text(position)));
        position = before;
    }
    steps.push(text(first));
    steps.reverse();
    steps
}

/// Positions that one node's rule couples with `position`.
fn neighbours(coupling: &Coupling, position: Position) -> Vec<(Position, NodeId)> {
    let (at, index) = coupling.place(position);
    let mut found = Vec::new();
    for edge in coupling.edges.iter().filter(|edge| edge.a == at || edge.b == at) {
        let (Some((a, a_size)), Some((b, b_size))) = (coupling.slot(edge.a), coupling.slot(edge.b)) else { continue };
        for (i, j) in pairs(&edge.map, a_size, b_size) {
            if edge.a == at && i == index {
                found.push((b + j as Position, edge.node));
            }
            if edge.b == at && j == index {
                found.push((a + i as Position, edge.node));
            }
        }
    }
    for &(node, tied, modulus) in coupling.ties.iter().filter(|(_, tied, _)| *tied == at) {
        if let Some((start, size)) = coupling.slot(tied) {
            found.extend((index % modulus..size).step_by(modulus).map(|other| (start + other as Position, node)));
        }
    }
    found
}

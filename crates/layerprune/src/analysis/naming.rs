//! Names of units, after the modules in the node names.

use std::collections::BTreeSet;

use super::{Kind, Unit};
use crate::graph::{Graph, NodeId};

/// Gives every unit a name that is unique in the model.
/// Names in `taken` are of others; those given are added.
pub(super) fn name(graph: &Graph, units: &mut [Unit], taken: &mut BTreeSet<String>) {
    for unit in units {
        let name = match unit.kind {
            Kind::Block | Kind::DenseLayer => block_name(graph, unit),
            Kind::Layer => layer_name(graph, unit.nodes[0]),
            Kind::Stage => unit.name.clone(),
        };
        unit.name = unique(&name, taken);
    }
}

/// `name`, with a number behind it where it is taken.
pub(super) fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}#{number}"));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.expect("there are fewer names than numbers");
    taken.insert(free.clone());
    free
}

/// The module that all nodes of the block lie in; else the common part of its weights' names; else its Add.
fn block_name(graph: &Graph, unit: &Unit) -> String {
    let add = unit.nodes.iter().rev().find(|&&id| graph.node(id).op_type() == "Add").copied();
    let paths: Vec<Vec<&str>> = unit.nodes.iter().map(|&id| path(graph.node(id).name())).collect();
    let mut weights: Vec<Vec<&str>> = unit.nodes.iter().filter_map(|&id| weight_path(graph, id)).collect();
    if let [only] = weights.as_mut_slice() {
        only.pop();
    }
    let fallback = || own_label(graph, add.unwrap_or(unit.nodes[unit.nodes.len() - 1]));
    [paths, weights].iter().map(|paths| join(&common(paths))).find(|name| !name.is_empty()).unwrap_or_else(fallback)
}

/// The module of the weighted node; else its weight's name; else the node's own label.
pub(crate) fn layer_name(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let module = path(node.name());
    if !module.is_empty() {
        return join(&module);
    }
    weight_path(graph, id)
        .map(|path| join(&path))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| own_label(graph, id))
}

fn own_label(graph: &Graph, id: NodeId) -> String {
    graph.label(id).trim_matches('/').to_owned()
}

/// The modules in a node name such as `/layer1/layer1.0/conv1/Conv`, without the operator at its end.
fn path(name: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    parts.pop();
    parts
}

/// The modules in the name of a node's weight, such as `layer1.0.conv1.weight`.
fn weight_path(graph: &Graph, id: NodeId) -> Option<Vec<&str>> {
    let weight = graph.node(id).inputs().iter().skip(1).flatten().next()?;
    let mut parts: Vec<&str> = graph.value_name(*weight).split('.').collect();
    parts.pop();
    (!parts.is_empty()).then_some(parts)
}

fn common<'n>(paths: &[Vec<&'n str>]) -> Vec<&'n str> {
    let Some((first, rest)) = paths.split_first() else { return Vec::new() };
    let same = |place: usize| rest.iter().all(|path| path.get(place) == first.get(place));
    first.iter().enumerate().take_while(|(place, _)| same(*place)).map(|(_, part)| *part).collect()
}

/// `["layer1", "layer1.0", "conv1"]` as `layer1.0.conv1`: a part that repeats the one before it replaces it.
fn join(parts: &[&str]) -> String {
    let mut joined: Vec<&str> = Vec::new();
    for &part in parts {
        if joined.last().is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.'))) {
            joined.pop();
        }
        joined.push(part);
    }
    joined.join(".")
}

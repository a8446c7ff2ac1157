//! Gives every weighted node stored tensors of its own kind, whatever way the exporter put them into the file.

use std::collections::BTreeSet;

use layerprune::graph::{Graph, NodeId, Uses, ValueId};

use crate::lower;

/// A copy of `graph` in which what is trained stands in initializers:
/// - weights that reach a node through `Identity`, or out of a `Constant`, become initializers at the node;
/// - a batch norm shares its initializers with no other node: exporters merge those that were equal by chance.
pub(crate) fn prepared(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let uses = graph.uses();
    let mut owned = BTreeSet::new();
    let wanted: Vec<(NodeId, usize, bool)> = graph
        .nodes()
        .flat_map(|(id, node)| lower::stored_inputs(node).map(move |(position, alone)| (id, position, alone)))
        .collect();
    for (id, position, alone) in wanted {
        let Some(value) = graph.node(id).input(position) else { continue };
        let Some((stored, shared)) = origin(&graph, &uses, value) else { continue };
        let first = owned.insert(stored);
        let constant = graph.initializer(stored).is_none();
        if stored == value && !(alone && (!first || shared)) && !constant {
            continue;
        }
        if !alone && !constant {
            graph.set_input(id, position, stored);
            continue;
        }
        if let Some(tensor) = tensor_of(&graph, &uses, stored) {
            let name = format!("{}.{position}", graph.label(id));
            let new = graph.add_initializer(&name, tensor);
            graph.set_input(id, position, new);
        }
    }
    let idle: BTreeSet<_> = graph
        .dead_nodes()
        .into_iter()
        .filter(|&id| matches!(graph.node(id).op_type(), "Identity" | "Constant"))
        .collect();
    graph.remove_nodes(&idle);
    let unread: BTreeSet<_> = graph.unread_initializers().into_iter().filter(|value| owned.contains(value)).collect();
    graph.remove_initializers(&unread);
    graph
}

/// Where a value that goes only through `Identity` is stored, and whether anything else reads it there.
fn origin(graph: &Graph, uses: &Uses, value: ValueId) -> Option<(ValueId, bool)> {
    let mut value = value;
    let mut shared = false;
    loop {
        shared |= uses.consumers(value).len() > 1;
        if graph.initializer(value).is_some() {
            return Some((value, shared));
        }
        let node = graph.node(uses.producer(value)?);
        match node.op_type() {
            "Identity" => value = node.input(0)?,
            "Constant" => return Some((value, shared)),
            _ => return None,
        }
    }
}

fn tensor_of(graph: &Graph, uses: &Uses, value: ValueId) -> Option<layerprune::proto::TensorProto> {
    if let Some(tensor) = graph.initializer(value) {
        return Some(tensor.as_ref().clone());
    }
    graph.node(uses.producer(value)?).attribute("value")?.t.as_deref().cloned()
}

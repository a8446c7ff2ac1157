//! Carries out the removal of a chain layer whose input the next layer reads from then on.

use std::collections::BTreeSet;

use super::linear::{Linear, numbers, transposed};
use super::{SurgeryError, shapes_like};
use crate::analysis::{Shrink, Unit, Units, shrink_of};
use crate::graph::{Graph, NodeId, Uses, ValueId, tensor};
use crate::ops::linear::Gemm;
use crate::ops::{Dim, Fact};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, TensorProto};
use crate::shapes::Shapes;

/// Removes `unit` from `graph`, which other removals may have changed before.
pub(super) fn apply(graph: &mut Graph, units: &Units, unit: &Unit) -> Result<(), SurgeryError> {
    let shapes = shapes_like(graph, units);
    let failed = |reason: String| SurgeryError::NotShrunk { unit: unit.name.clone(), reason };
    let shrink = shrink_of(graph, &shapes, &unit.nodes).map_err(failed)?;
    let uses = graph.uses();
    let (entry, exit) = ends(graph, &uses, unit).ok_or_else(|| failed("it reads or gives nothing".to_owned()))?;
    let linear = Linear::of(graph, &shapes, &unit.nodes, shrink.channels).map_err(failed)?;
    rewrite(graph, &shapes, &uses, &shrink, &linear).map_err(failed)?;
    let mut changed = between(graph, &uses, exit, shrink.next.node);
    for window in &shrink.windows {
        for (name, sizes) in [("kernel_shape", window.kernel.as_ref()), ("strides", Some(&window.strides))] {
            if let Some(sizes) = sizes {
                graph.set_attribute(window.node, sizes_attribute(name, sizes));
            }
        }
        let output = graph.node(window.node).output(0).filter(|output| !changed.contains(output));
        if let Some(output) = output.filter(|_| window.node != shrink.next.node) {
            changed.extend(between(graph, &uses, output, unit.nodes[0]));
        }
    }
    changed.extend([shrink.next.weight].into_iter().chain(shrink.next.bias));
    graph.undeclare(&changed);
    graph.redirect(exit, entry);
    if let Some(pool) = shrink.merged {
        let node = graph.node(pool);
        if let (Some(input), Some(output)) = (node.input(0), node.output(0)) {
            graph.redirect(output, input);
        }
    }
    unchanged_behind(graph, units, &shrink).map_err(failed)
}

/// The value that the unit reads in the graph as it is, and the one that it gives.
fn ends(graph: &Graph, uses: &Uses, unit: &Unit) -> Option<(ValueId, ValueId)> {
    let (first, last) = (*unit.nodes.first()?, *unit.nodes.last()?);
    let flows = |value: &ValueId| {
        graph.initializer(*value).is_none() && (uses.producer(*value).is_some() || is_input(graph, *value))
    };
    Some((graph.node(first).input(0).filter(flows)?, graph.node(last).output(0)?))
}

fn is_input(graph: &Graph, value: ValueId) -> bool {
    graph.inputs().iter().any(|port| port.value == value)
}

/// Gives the next layer its new weight, and the bias that the constant part makes.
fn rewrite(graph: &mut Graph, shapes: &Shapes, uses: &Uses, shrink: &Shrink, linear: &Linear) -> Result<(), String> {
    let next = &shrink.next;
    let node = graph.node(next.node);
    let old = numbers(shapes, Some(next.weight))?;
    let area = old.len() / (next.filters * next.channels).max(1);
    let gemm = (node.op_type() == "Gemm").then(|| Gemm::read(&shapes.call(graph, next.node))).transpose()?;
    let columns = gemm.is_some_and(|gemm| !gemm.trans_b);
    let rows = if columns { transposed(&old, old.len() / next.filters.max(1)) } else { old };
    let (composed, added) = linear.compose(&rows, area);
    let new = if columns { transposed(&composed, next.filters) } else { composed };

    let stored = shapes.fact(next.weight).stored.clone().ok_or("its weight is not stored")?;
    let mut dims = tensor::shape(&stored).map_err(|error| error.to_string())?;
    let axis = if columns { 0 } else { 1 };
    dims[axis] = dims[axis] / next.channels * shrink.channels;
    let narrow = |numbers: &[f64]| numbers.iter().map(|&x| x as f32).collect::<Vec<f32>>();
    let weight = tensor::with_f32(&stored, &dims, &narrow(&new)).map_err(|error| error.to_string())?;
    let bias = if shrink.constant {
        let factor = gemm.map_or(1.0, |gemm| f64::from(gemm.alpha) / f64::from(gemm.beta));
        let old = match next.bias {
            Some(_) => numbers(shapes, next.bias)?,
            None => vec![0.0; next.filters],
        };
        let sums: Vec<f64> = old.iter().zip(&added).map(|(x, added)| x + factor * added).collect();
        let like = next.bias.and_then(|bias| shapes.fact(bias).stored.clone()).unwrap_or_else(|| stored.clone());
        Some(tensor::with_f32(&like, &[next.filters], &narrow(&sums)).map_err(|error| error.to_string())?)
    } else {
        None
    };
    store(graph, uses, next.node, 1, Some(next.weight), weight);
    if let Some(bias) = bias {
        store(graph, uses, next.node, 2, next.bias, bias);
    }
    Ok(())
}

/// Puts `tensor` in place of a stored input, or beside it where others read that too or there is none.
fn store(graph: &mut Graph, uses: &Uses, node: NodeId, position: usize, old: Option<ValueId>, tensor: TensorProto) {
    let own = |&value: &ValueId| {
        graph.initializer(value).is_some() && uses.consumers(value).len() == 1 && !graph.is_output(value)
    };
    if let Some(value) = old.filter(own) {
        graph.set_initializer(value, tensor);
        return;
    }
    let name = match old {
        Some(value) => graph.value_name(value).to_owned(),
        None => format!("{}.bias", graph.label(node)),
    };
    let value = graph.add_initializer(&name, tensor);
    graph.set_input(node, position, value);
}

/// Values from `exit` on up to node `end`.
fn between(graph: &Graph, uses: &Uses, exit: ValueId, end: NodeId) -> BTreeSet<ValueId> {
    let mut values = BTreeSet::from([exit]);
    let mut value = exit;
    while let Some(reader) = uses.consumers(value).first().filter(|reader| reader.node != end) {
        let Some(output) = graph.node(reader.node).output(0) else { break };
        values.insert(output);
        value = output;
    }
    values
}

fn unchanged_behind(graph: &Graph, units: &Units, shrink: &Shrink) -> Result<(), String> {
    let shapes = shapes_like(graph, units);
    let Some(output) = graph.node(shrink.next.node).output(0) else { return Ok(()) };
    let (before, after) = (units.shapes.fact(output), shapes.fact(output));
    let sizes = |fact: &Fact| fact.shape.as_ref().map(|dims| dims.iter().map(Dim::known).collect::<Vec<_>>());
    if shapes.barriers().contains_key(&shrink.next.node) || sizes(before) != sizes(after) {
        let (name, before, after) = (graph.value_name(output), before.shape_text(), after.shape_text());
        return Err(format!("`{name}` was {before} and would be {after}"));
    }
    Ok(())
}

fn sizes_attribute(name: &str, sizes: &[usize]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: sizes.iter().map(|&size| size as i64).collect(),
        ..Default::default()
    }
}

//! Takes indices out of stored tensors, and lets settings follow.

use std::collections::{BTreeMap, BTreeSet};

use super::{SurgeryError, settings, shapes_like, sweep};
use crate::analysis::{ChannelCut, Removal, Unit, Units, ValueAxis, Way};
use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::ops::couple::{Cut, End};
use crate::ops::{self, constant};
use crate::plan::PlanError;
use crate::proto::TensorProto;
use crate::shapes::Shapes;

/// Removes the features of all dense layers among `removals`, and with them the layers.
pub(super) fn drop_features(
    graph: &mut Graph,
    units: &Units,
    removals: &[(&Unit, Removal)],
) -> Result<(), SurgeryError> {
    let dense = || removals.iter().filter(|(_, removal)| removal.way == Way::DropFeatures);
    if dense().next().is_none() {
        return Ok(());
    }
    let cut = ChannelCut::all(dense().filter_map(|(unit, _)| unit.features.as_ref()).map(|features| &features.cut));
    let (dead, unread) = (graph.dead_nodes(), graph.unread_initializers());
    for (_, removal) in dense() {
        let uses = graph.uses();
        for join in uses.consumers(removal.from).iter().map(|reader| reader.node) {
            graph.drop_input(join, removal.from);
            let node = graph.node(join);
            if let ([Some(only)], Some(output)) = (node.inputs(), node.output(0))
                && !graph.is_output(output)
            {
                let only = *only;
                graph.redirect(output, only);
            }
        }
    }
    sweep(graph, &dead, &unread);
    let left: BTreeSet<ValueId> = graph.nodes().flat_map(|(_, node)| node.inputs().iter().flatten().copied()).collect();
    if let Some((at, _)) = cut.axes().find(|(at, kept)| kept.is_empty() && left.contains(&at.value)) {
        let value = graph.value_name(at.value).to_owned();
        return Err(PlanError::Emptied { value }.into());
    }
    remove(graph, &units.shapes, &cut.of(&left))?;
    graph.validate().map_err(SurgeryError::Invalid)?;
    check(graph, units, &cut.shapes(&units.shapes))
}

/// Removes what `cut` says from a graph whose shapes are `shapes`.
pub(super) fn remove(graph: &mut Graph, shapes: &Shapes, cut: &ChannelCut) -> Result<(), SurgeryError> {
    let before = graph.clone();
    let mut axes: BTreeMap<ValueId, Vec<(usize, &[usize])>> = BTreeMap::new();
    for (ValueAxis { value, axis }, kept) in cut.axes() {
        axes.entry(value).or_default().push((axis, kept));
        graph.redeclare_axis(value, axis, kept.len());
    }
    for (&value, axes) in &axes {
        if let Some(stored) = before.initializer(value) {
            graph.set_initializer(value, selected(&before, value, stored, axes)?);
        }
    }
    for (id, node) in before.nodes() {
        let cut = cut_at(&before, id, &axes);
        if cut.is_empty() {
            continue;
        }
        let call = shapes.call(&before, id);
        if let ("Constant", Some(axes)) = (node.op_type(), node.output(0).and_then(|value| axes.get(&value))) {
            let value = node.output(0).expect("the axes are those of the output");
            let stored = constant::constant_value(&call).map_err(|reason| fault(&before, id, reason))?;
            settings::set_constant(graph, id, selected(&before, value, &stored, axes)?);
            continue;
        }
        let rule = ops::rule(&before, node).map_err(|reason| fault(&before, id, reason))?;
        let adjustments = (rule.adjust)(&call, &cut).map_err(|reason| fault(&before, id, reason))?;
        for adjustment in adjustments {
            settings::adjust(graph, shapes, id, adjustment);
        }
    }
    Ok(())
}

/// Checks that every value is of the predicted shape.
pub(super) fn check(graph: &Graph, units: &Units, predicted: &Shapes) -> Result<(), SurgeryError> {
    let found = shapes_like(graph, units);
    if let Some((id, reason)) = found.barriers().iter().find(|(id, _)| !units.shapes.barriers().contains_key(id)) {
        return Err(SurgeryError::Setting { node: graph.label(*id), reason: reason.clone() });
    }
    let values = graph.nodes().flat_map(|(_, node)| node.outputs().iter().flatten().copied());
    for value in values.filter(|value| value.index() < units.shapes.len()) {
        let (found, predicted) = (found.fact(value), predicted.fact(value));
        let (Some(a), Some(b)) = (&found.shape, &predicted.shape) else { continue };
        let differ = a.iter().zip(b).any(|(a, b)| a.known().is_some() && b.known().is_some() && a != b);
        if a.len() != b.len() || differ {
            return Err(SurgeryError::Mispredicted {
                value: graph.value_name(value).to_owned(),
                found: found.shape_text(),
                predicted: predicted.shape_text(),
            });
        }
    }
    Ok(())
}

fn selected(
    graph: &Graph,
    value: ValueId,
    stored: &TensorProto,
    axes: &[(usize, &[usize])],
) -> Result<TensorProto, SurgeryError> {
    let mut tensor = None;
    for &(axis, kept) in axes {
        let from = tensor.as_ref().unwrap_or(stored);
        let next = tensor::select(from, axis, kept)
            .map_err(|source| SurgeryError::Tensor { value: graph.value_name(value).to_owned(), source })?;
        tensor = Some(next);
    }
    Ok(tensor.unwrap_or_else(|| stored.clone()))
}

/// What of the axes of a node's inputs and outputs stays.
fn cut_at(graph: &Graph, id: NodeId, axes: &BTreeMap<ValueId, Vec<(usize, &[usize])>>) -> Cut {
    let node = graph.node(id);
    let mut cut = Cut::default();
    let inputs = node.inputs().iter().enumerate().map(|(position, value)| (End::Input(position), value));
    let outputs = node.outputs().iter().enumerate().map(|(position, value)| (End::Output(position), value));
    for (end, value) in inputs.chain(outputs) {
        for &(axis, kept) in value.and_then(|value| axes.get(&value)).into_iter().flatten() {
            cut.keep(end.axis(axis), kept.to_vec());
        }
    }
    cut
}

fn fault(graph: &Graph, id: NodeId, reason: String) -> SurgeryError {
    SurgeryError::Setting { node: graph.label(id), reason }
}

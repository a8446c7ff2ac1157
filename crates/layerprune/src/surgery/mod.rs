//! Model + plan → a new model without what the plan removes. Knows no criteria.

mod bridge;
mod channels;
mod fold;
mod linear;
mod masked;
mod refit;
mod scale;
mod settings;
mod shrink;

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::{Channels, Removal, Unit, Units, Way, never_negative};
use crate::cost::Costs;
use crate::graph::{Graph, GraphError, NodeId, ValueId};
use crate::onnx::{Model, ModelDigest};
use crate::ops::{Dim, Fact};
use crate::plan::{self, Plan, PlanError};
use crate::record::MacsSaved;
use crate::shapes::{self, InputShapes, Shapes};

pub use bridge::Bridged;
pub use fold::{Folded, fold};
pub use masked::masked;
pub use refit::{Biased, Consumer, NotFitted, biased_nodes, consumers};
pub use scale::{
    FoldedScale, SCALE_PREFIX, Scale, ScaleOf, ScaleSite, ZeroScales, find_scales, fold_scales, insert_scales,
    scale_sites, zero_channels, zero_scales,
};

/// Why a plan could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SurgeryError {
    /// The plan is for another model.
    #[error("the plan was made for another model (digest {found}, this one has {expected})")]
    OtherModel {
        /// Digest in the plan.
        found: ModelDigest,
        /// Digest of the model.
        expected: ModelDigest,
    },
    /// The plan names what the model does not offer.
    #[error("the plan removes `{unit}` by {way:?}, which this model does not offer")]
    NoSuchRemoval {
        /// The unit.
        unit: String,
        /// The way.
        way: Way,
    },
    /// The plan's channels are not those of the model.
    #[error(transparent)]
    Channels(#[from] PlanError),
    /// Channels are to go beside bridges, which are fitted to all of them.
    #[error(
        "the plan fits bridges and removes channels; make two plans, the second for the model that the first gives"
    )]
    Mixed,
    /// A setting of a node cannot follow the cut; a fault of this program.
    #[error("node `{node}` cannot follow the cut: {reason}")]
    Setting {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// A stored tensor cannot lose indices.
    #[error("`{value}` cannot lose indices")]
    Tensor {
        /// The stored value.
        value: String,
        /// Why.
        source: crate::graph::tensor::TensorError,
    },
    /// A value is not of the shape that the plan predicts; a fault of this program.
    #[error("`{value}` is {found} after the cut, {predicted} was predicted")]
    Mispredicted {
        /// The value.
        value: String,
        /// Its shape.
        found: String,
        /// The shape that the plan predicts.
        predicted: String,
    },
    /// The shapes given do not fit the model.
    #[error("the input shapes given do not fit the model")]
    Shapes(#[source] crate::shapes::ShapeError),
    /// A fitted map that is not for this bridge.
    #[error("what was fitted for `{unit}` is of other sizes, or too large for FLOAT")]
    Unfit {
        /// The unit.
        unit: String,
    },
    /// Removals of the plan do not go together.
    #[error("the plan cannot be carried out")]
    Together(#[source] PlanError),
    /// The next layer cannot read what the removed one read, after the plan's other removals.
    #[error("`{unit}` cannot be shrunk away after the other removals: {reason}")]
    NotShrunk {
        /// The unit.
        unit: String,
        /// Why not.
        reason: String,
    },
    /// The graph is no longer sound; a fault of this program.
    #[error("the graph is inconsistent after the removal")]
    Invalid(#[source] GraphError),
    /// A graph output changed its shape; a fault of this program.
    #[error("output `{output}` was {before} and is {after} after the removal")]
    OutputChanged {
        /// The output.
        output: String,
        /// Its shape before.
        before: String,
        /// Its shape after.
        after: String,
    },
}

/// Carries `plan` out on a copy of `model`. What was dead or unread before stays; names and ids of what is left stay.
/// Bridges are not fitted, see [`apply_with_bridges`].
///
/// # Errors
/// See [`SurgeryError`]; the model itself is never changed.
pub fn apply(model: &Model, units: &Units, plan: &Plan) -> Result<Model, SurgeryError> {
    apply_with_bridges(model, units, plan).map(|(pruned, _)| pruned)
}

/// As [`apply`], and tells the bridges of `plan` in forward order. Until they are given numbers, each passes on what it
/// reads where the number of channels allows, which makes a bypass of it, and gives zeros elsewhere.
///
/// # Errors
/// See [`SurgeryError`]; the model itself is never changed.
pub fn apply_with_bridges(model: &Model, units: &Units, plan: &Plan) -> Result<(Model, Vec<Bridged>), SurgeryError> {
    if plan.model != units.model {
        return Err(SurgeryError::OtherModel { found: plan.model.clone(), expected: units.model.clone() });
    }
    match (plan.removed.is_empty(), plan.channels.is_empty()) {
        (_, true) => remove_layers(model, units, plan),
        (true, false) => Ok((remove_channels(model, units, plan)?, Vec::new())),
        (false, false) if plan.removed.iter().any(|planned| planned.way.is_fitted()) => Err(SurgeryError::Mixed),
        (false, false) => {
            let (left, bridges) = remove_layers(model, units, plan)?;
            let units = found_anew(&left, units);
            Ok((remove_channels(&left, &units, plan)?, bridges))
        }
    }
}

fn remove_layers(model: &Model, units: &Units, plan: &Plan) -> Result<(Model, Vec<Bridged>), SurgeryError> {
    let mut graph = model.graph.clone();
    let (dead, unread) = (graph.dead_nodes(), graph.unread_initializers());
    let removals = removals(units, plan)?;
    channels::drop_features(&mut graph, units, &removals)?;
    let mut redirects = redirects(&removals);
    let mut bridges = bridge::insert(&mut graph, units, plan);
    redirects.extend(bridges.iter().map(|bridge| (bridge.place.from, bridge.output)));
    for &from in redirects.keys() {
        let mut to = from;
        while let Some(&next) = redirects.get(&to) {
            to = next;
        }
        graph.redirect(from, to);
    }
    sweep(&mut graph, &dead, &unread);
    graph.validate().map_err(SurgeryError::Invalid)?;
    // In forward order: each is composed onto what the one before it left.
    for (unit, _) in removals.iter().filter(|(_, removal)| removal.way == Way::ShrinkChain) {
        shrink::apply(&mut graph, units, unit)?;
        sweep(&mut graph, &dead, &unread);
        graph.validate().map_err(SurgeryError::Invalid)?;
    }
    drop_idle_relus(&mut graph, units, &removals);
    sweep(&mut graph, &dead, &unread);
    graph.validate().map_err(SurgeryError::Invalid)?;
    let left: BTreeSet<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    bridges.retain(|bridge| left.contains(&bridge.node));
    let pruned = model.with_graph(graph);
    check_outputs(units, &pruned)?;
    Ok((pruned, bridges))
}

fn remove_channels(model: &Model, units: &Units, plan: &Plan) -> Result<Model, SurgeryError> {
    let found = Channels::find(model, &units.model, &units.shapes);
    let cut = plan::cut_of(&model.graph, &found, &plan.channels)?;
    let mut graph = model.graph.clone();
    let (dead, unread) = (graph.dead_nodes(), graph.unread_initializers());
    channels::remove(&mut graph, &units.shapes, &cut)?;
    sweep(&mut graph, &dead, &unread);
    graph.validate().map_err(SurgeryError::Invalid)?;
    channels::check(&graph, units, &cut.shapes(&units.shapes))?;
    let pruned = model.with_graph(graph);
    check_outputs(units, &pruned)?;
    Ok(pruned)
}

/// Removes nodes and initializers that nothing needs, but for those that nothing needed before, and what these read.
fn sweep(graph: &mut Graph, dead: &BTreeSet<NodeId>, unread: &BTreeSet<ValueId>) {
    let mut newly_dead: BTreeSet<NodeId> = graph.dead_nodes().difference(dead).copied().collect();
    let uses = graph.uses();
    for (id, node) in graph.nodes().rev() {
        let mut readers = node.outputs().iter().flatten().flat_map(|&value| uses.consumers(value));
        if newly_dead.contains(&id) && readers.any(|reader| !newly_dead.contains(&reader.node)) {
            newly_dead.remove(&id);
        }
    }
    graph.remove_nodes(&newly_dead);
    let newly_unread = graph.unread_initializers().difference(unread).copied().collect();
    graph.remove_initializers(&newly_unread);
}

/// Bypasses the ReLUs of removed blocks that read what is never negative. That is looked up in the graph after all
/// removals: one of them may have taken away what rectified another's entry.
fn drop_idle_relus(graph: &mut Graph, units: &Units, removals: &[(&Unit, Removal)]) {
    let shapes = shapes_like(graph, units);
    let non_negative = never_negative(graph, &shapes);
    let uses = graph.uses();
    for relu in removals.iter().filter_map(|(_, removal)| removal.relu) {
        let Some(input) = uses.producer(relu).and_then(|id| graph.node(id).input(0)) else { continue };
        if non_negative.contains(&input) {
            graph.redirect(relu, input);
        }
    }
}

/// The plan's removals in forward order, without those that others include.
fn removals<'u>(units: &'u Units, plan: &Plan) -> Result<Vec<(&'u Unit, Removal)>, SurgeryError> {
    let find = |planned: &plan::PlannedRemoval| {
        let unit = units.named(&planned.unit)?;
        Some((unit, unit.removal_by(planned.way)?))
    };
    if let Some(planned) = plan.removed.iter().find(|planned| find(planned).is_none()) {
        return Err(SurgeryError::NoSuchRemoval { unit: planned.unit.clone(), way: planned.way });
    }
    if let Some(error) = plan::conflict(units, &plan.removed) {
        return Err(SurgeryError::Together(error));
    }
    let mut removals: Vec<_> = plan::outermost(units, &plan.removed).iter().filter_map(find).collect();
    removals.sort_by_key(|(unit, _)| unit.position);
    Ok(removals)
}

fn redirects(removals: &[(&Unit, Removal)]) -> BTreeMap<ValueId, ValueId> {
    let plain = removals.iter().filter(|(_, removal)| ![Way::ShrinkChain, Way::DropFeatures].contains(&removal.way));
    plain.map(|(_, removal)| (removal.from, removal.to)).collect()
}

fn check_outputs(units: &Units, pruned: &Model) -> Result<(), SurgeryError> {
    let shapes = shapes_like(&pruned.graph, units);
    for port in pruned.graph.outputs() {
        let (before, after) = (units.shapes.fact(port.value), shapes.fact(port.value));
        let sizes = |fact: &Fact| fact.shape.as_ref().map(|dims| dims.iter().map(Dim::known).collect::<Vec<_>>());
        if before.shape.is_some() && sizes(before) != sizes(after) {
            return Err(SurgeryError::OutputChanged {
                output: pruned.graph.value_name(port.value).to_owned(),
                before: before.shape_text(),
                after: after.shape_text(),
            });
        }
    }
    Ok(())
}

/// What a cut leaves of the inputs is what was there.
const AS_BEFORE: &str = "the shapes given are those that the inputs have";

/// Shapes of a cut graph for the same input shapes as before.
fn shapes_like(graph: &Graph, units: &Units) -> Shapes {
    shapes::infer(graph, &sizes_given(graph, units)).expect(AS_BEFORE)
}

/// Units of what a cut left of the model whose units are `units`, for the same input shapes.
pub(crate) fn found_anew(left: &Model, units: &Units) -> Units {
    Units::find(left, &sizes_given(&left.graph, units)).expect(AS_BEFORE)
}

/// Multiply-adds that `model`, whose units are `units`, does and `cut`, which surgery made of it, does not, node by node.
#[must_use]
pub fn macs_saved(model: &Model, units: &Units, cut: &Model) -> MacsSaved {
    let left = Costs::count(&cut.graph, &shapes_like(&cut.graph, units)).macs_by_node(&cut.graph);
    plan::macs_saved(&units.costs.macs_by_node(&model.graph), &left)
}

/// The input shapes that `units` were found for.
fn sizes_given(graph: &Graph, units: &Units) -> InputShapes {
    graph
        .fed_inputs()
        .filter_map(|port| {
            let dims = units.shapes.fact(port.value).shape.as_ref()?;
            let sizes: Option<Vec<usize>> = dims.iter().map(Dim::known).collect();
            Some((graph.value_name(port.value).to_owned(), sizes?))
        })
        .collect()
}

//! Model + plan → a new model without what the plan removes. Knows no criteria.

use std::collections::BTreeMap;

use crate::analysis::{Units, Way};
use crate::graph::{GraphError, ValueId};
use crate::onnx::{Model, ModelDigest};
use crate::plan::Plan;
use crate::shapes::{self, InputShapes};

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
///
/// # Errors
/// See [`SurgeryError`]; the model itself is never changed.
pub fn apply(model: &Model, units: &Units, plan: &Plan) -> Result<Model, SurgeryError> {
    if plan.model != units.model {
        return Err(SurgeryError::OtherModel { found: plan.model.clone(), expected: units.model.clone() });
    }
    let mut graph = model.graph.clone();
    let (dead, unread) = (graph.dead_nodes(), graph.unread_initializers());
    let redirects = redirects(units, plan)?;
    for &from in redirects.keys() {
        let mut to = from;
        while let Some(&next) = redirects.get(&to) {
            to = next;
        }
        graph.redirect(from, to);
    }
    let newly_dead = graph.dead_nodes().difference(&dead).copied().collect();
    graph.remove_nodes(&newly_dead);
    let newly_unread = graph.unread_initializers().difference(&unread).copied().collect();
    graph.remove_initializers(&newly_unread);
    graph.validate().map_err(SurgeryError::Invalid)?;
    let pruned = model.with_graph(graph);
    check_outputs(units, &pruned)?;
    Ok(pruned)
}

fn redirects(units: &Units, plan: &Plan) -> Result<BTreeMap<ValueId, ValueId>, SurgeryError> {
    let mut redirects = BTreeMap::new();
    for planned in &plan.removed {
        let removal = units
            .named(&planned.unit)
            .and_then(|unit| unit.removals.iter().find(|removal| removal.way == planned.way))
            .ok_or_else(|| SurgeryError::NoSuchRemoval { unit: planned.unit.clone(), way: planned.way })?;
        redirects.insert(removal.from, removal.to);
    }
    Ok(redirects)
}

fn check_outputs(units: &Units, pruned: &Model) -> Result<(), SurgeryError> {
    let graph = &pruned.graph;
    let given: InputShapes = graph
        .fed_inputs()
        .filter_map(|port| {
            let dims = units.shapes.fact(port.value).shape.as_ref()?;
            let sizes: Option<Vec<usize>> = dims.iter().map(crate::ops::Dim::known).collect();
            Some((graph.value_name(port.value).to_owned(), sizes?))
        })
        .collect();
    let shapes = shapes::infer(graph, &given).expect("the shapes given are those that the inputs have");
    for port in graph.outputs() {
        let (before, after) = (units.shapes.fact(port.value), shapes.fact(port.value));
        if before.shape.is_some() && before.shape_text() != after.shape_text() {
            return Err(SurgeryError::OutputChanged {
                output: graph.value_name(port.value).to_owned(),
                before: before.shape_text(),
                after: after.shape_text(),
            });
        }
    }
    Ok(())
}

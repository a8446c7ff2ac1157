//! Removes layers one by one, scoring what is left anew after each.

use super::job::at;
use super::{Calibrate, JobError};
use crate::analysis::{Unit, Units};
use crate::criteria::{Scores, Scoring};
use crate::graph::Graph;
use crate::onnx::Model;
use crate::plan::{self, Constraints, Plan, PlanError};
use crate::shapes::InputShapes;
use crate::surgery;

/// One removal, and the scores that decided it: those of the model without all that went before.
#[derive(Debug, Clone, PartialEq)]
pub struct Iteration {
    /// The layer that goes.
    pub removed: String,
    /// The scores of all layers that were left.
    pub scores: Scores,
}

/// Removes `count` layers, each time the least important one of what is left: the gain of a layer changes when the one
/// before it goes (the iterative variant of Elkerdawy et al., ACCV 2020, without the training between removals).
///
/// # Errors
/// [`JobError`]: no layer that may go, a criterion that cannot be computed, or whatever `calibrate` reports.
#[expect(clippy::too_many_arguments, reason = "each is a part of the task that the caller holds by itself")]
pub fn prune_iteratively(
    model: &Model,
    units: &Units,
    scoring: &Scoring,
    constraints: &Constraints,
    count: usize,
    shapes: &InputShapes,
    calibrate: &mut dyn Calibrate,
    step: &mut dyn FnMut(&Iteration),
) -> Result<Plan, JobError> {
    let target = format!("{count} layers, one by one");
    let mut removed: Vec<String> = Vec::new();
    let mut left = model.clone();
    loop {
        let plan = plan::named(units, &removed, constraints)?;
        let plan = Plan { criterion: Some(scoring.id()), target: target.clone(), ..plan };
        if removed.len() == count {
            return Ok(plan);
        }
        if !removed.is_empty() {
            left = surgery::apply(model, units, &plan)?;
        }
        let found = Units::find(&left, shapes)?;
        let evidence = calibrate.evidence(&left, &found).map_err(at("scoring"))?;
        let scores = scoring.score(&left.graph, &found, &evidence)?;
        let lowest = plan::ranking(&found, &scores, constraints)?.into_iter().find(|planned| {
            let (now, before) = (found.named(&planned.unit), units.named(&planned.unit));
            now.zip(before).is_some_and(|(now, before)| is_left_of(now, &left.graph, before, &model.graph))
        });
        let Some(planned) = lowest else {
            return Err(PlanError::TooFew { asked: count, available: removed.len() }.into());
        };
        removed.push(planned.unit.clone());
        step(&Iteration { removed: planned.unit, scores });
    }
}

/// Whether `now` is what a cut left of `before`: all its nodes are among those.
fn is_left_of(now: &Unit, graph: &Graph, before: &Unit, original: &Graph) -> bool {
    let labels: Vec<String> = before.nodes.iter().map(|&id| original.label(id)).collect();
    now.nodes.iter().all(|&id| labels.contains(&graph.label(id)))
}

//! Cuts in one step: the least important first until budgets are met, or the smallest of a row of growing cuts that meets them.

use super::task::{Parts, Reached};
use super::{MethodError, MethodPorts, Pruned, Task};
use crate::analysis::Way;
use crate::criteria::{FilterScores, Scores};
use crate::onnx::Model;
use crate::pipeline::{
    Cutting, MeasureLatency, Outcome, Ports, Proposal, Propose, SearchError, Strategy, Trial, proposer, search,
};
use crate::plan::{self, Budgets, Filters, Scope};
use crate::surgery;

/// Takes layers out of `model`, which has the layers of the whole one, the least important first. `ways` may be used besides those
/// of the constraints.
pub(super) fn layers(task: &mut Task<'_>, model: &Model, scores: &Scores, ways: &[Way]) -> Result<Pruned, MethodError> {
    let Parts { units, .. } = task.parts(model)?;
    let mut constraints = task.constraints.clone();
    constraints.ways.extend(ways);
    let layers = plan::droppable(&units, scores, &constraints)?;
    let criterion = scores.criterion.as_str();
    let cutting =
        Cutting { model, units: &units, shapes: task.shapes, criterion, layers, filters: None, profile: None };
    let mut propose = proposer(&cutting, Strategy::Greedy, &task.budgets)?;
    found(task.budgets, &mut *task.ports, &cutting, &mut *propose)
}

/// Takes filters out of `model`, which has the layers of the whole one, the least important first.
pub(super) fn filters(
    task: &mut Task<'_>,
    model: &Model,
    scores: &FilterScores,
    scope: Scope,
) -> Result<Pruned, MethodError> {
    let Parts { units, channels } = task.parts(model)?;
    let constraints = task.filters.clone();
    let filters = Filters { channels: &channels, scores, constraints: &constraints, scope };
    let (criterion, shapes) = (scores.criterion.as_str(), task.shapes);
    let filters = Some(filters);
    let cutting = Cutting { model, units: &units, shapes, criterion, layers: Vec::new(), filters, profile: None };
    let mut propose = proposer(&cutting, Strategy::Greedy, &task.budgets)?;
    found(task.budgets, &mut *task.ports, &cutting, &mut *propose)
}

/// Searches among the cuts that `propose` proposes.
pub(super) fn found(
    budgets: Budgets,
    ports: &mut dyn MethodPorts,
    cutting: &Cutting<'_>,
    propose: &mut dyn Propose,
) -> Result<Pruned, MethodError> {
    let trial = trial(budgets, ports, cutting, propose)?;
    Ok(Pruned { model: surgery::apply(cutting.model, cutting.units, &trial.plan)?, latency: trial.latency })
}

/// The cut that [`found`] finds, not yet carried out.
pub(super) fn trial(
    budgets: Budgets,
    ports: &mut dyn MethodPorts,
    cutting: &Cutting<'_>,
    propose: &mut dyn Propose,
) -> Result<Trial, MethodError> {
    let mut told = Vec::new();
    let mut step = |outcome: Outcome<'_>| {
        let (Outcome::Reach(trial) | Outcome::Tried(trial) | Outcome::Confirmed(trial)) = outcome;
        told.push(text(trial));
    };
    let timer = budgets.latency.is_some().then_some(&mut *ports as &mut dyn MeasureLatency);
    let found = search(cutting, &budgets, propose, &mut Ports { timer, held_out: None }, &mut step);
    told.iter().for_each(|text| ports.tell(text));
    Ok(found?.trial)
}

fn text(trial: &Trial) -> String {
    let Trial { met, plan, latency, .. } = trial;
    let reached = Reached { met: *met, latency: latency.clone(), before: plan.before, after: plan.after };
    format!("{}: {}", plan.what_goes(), reached.text())
}

/// A row of growing cuts, of which the first is looked for that is enough.
pub(super) struct Growing<F> {
    /// Gives a cut by its number, from 1.
    pub(super) cut: F,
    /// How many there are.
    pub(super) rungs: usize,
    tried: Vec<usize>,
}

impl<F: FnMut(usize) -> Result<Proposal, SearchError>> Growing<F> {
    pub(super) fn new(rungs: usize, cut: F) -> Self {
        Self { cut, rungs, tried: Vec::new() }
    }
}

impl<F: FnMut(usize) -> Result<Proposal, SearchError>> Propose for Growing<F> {
    fn begin(&mut self, _: f64) {}

    fn widest(&mut self) -> Result<Vec<Proposal>, SearchError> {
        Ok(vec![(self.cut)(self.rungs)?])
    }

    fn next(&mut self, trials: &[Trial]) -> Result<Option<Proposal>, SearchError> {
        let tried = || trials.iter().zip(&self.tried);
        let enough = tried().filter(|(trial, _)| trial.met).map(|(_, rung)| *rung).min().unwrap_or(self.rungs + 1);
        let short = tried().filter(|(trial, rung)| !trial.met && **rung < enough).map(|(_, rung)| *rung).max();
        let rung = match short.unwrap_or(0) {
            short if short + 1 >= enough => return Ok(None),
            short => (short + enough) / 2,
        };
        self.tried.push(rung);
        (self.cut)(rung).map(Some)
    }

    fn rungs(&self) -> usize {
        self.rungs
    }

    fn rung(&mut self, number: usize) -> Result<Option<Proposal>, SearchError> {
        (number <= self.rungs).then(|| (self.cut)(number)).transpose()
    }
}

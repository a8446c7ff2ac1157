//! The whole way: score, choose, cut, recalibrate, fine-tune, measure.

use super::search::{Cutting, Outcome, Ports, SearchError, Strategy, Trial, proposer, search};
use super::{Calibrate, Keep, Measure, MeasureLatency, PROFILE_RUNS, Parts, PortError, Recover};
use crate::analysis::{UnitRow, Units};
use crate::cost::Costs;
use crate::criteria::{CriterionError, Scores, Scoring};
use crate::fit::FitError;
use crate::onnx::{Model, ModelDigest};
use crate::plan::{self, Budgets, Constraints, LatencyBudget, Plan, PlanError};
use crate::record::{
    Baseline, LayerRow, ModelFile, PlanStep, PlanSummary, Pruned, Record, ScoreRow as RecordedScore, ScoreTable,
};
use crate::shapes::{InputShapes, ShapeError};
use crate::surgery::{self, SurgeryError};

/// What is to be done with a model.
#[derive(Clone)]
pub struct Job {
    /// What to score by; the first one chooses.
    pub criteria: Vec<Scoring>,
    /// How much is to go.
    pub target: Target,
    /// What may go.
    pub constraints: Constraints,
    /// Shapes of inputs that the model leaves open.
    pub shapes: InputShapes,
}

/// How much is to go.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// So many of the least important layers.
    Layers(usize),
    /// Layers of the least importance that keep to budgets.
    Budgets(Budgets, Strategy),
    /// These layers.
    Named(Vec<String>),
}

/// Why a job ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No criterion was given.
    #[error("no criterion was given")]
    NoCriterion,
    /// The given shapes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A criterion cannot be computed.
    #[error(transparent)]
    Criterion(#[from] CriterionError),
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The budgets cannot be kept to.
    #[error(transparent)]
    Search(Box<SearchError>),
    /// A cut failed.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
    /// A latency model of another model.
    #[error("the latency model was fitted for another model (digest {found}, this one has {expected})")]
    OtherLatencyModel {
        /// Its digest.
        found: ModelDigest,
        /// Digest of the model.
        expected: ModelDigest,
    },
    /// Nothing could be fitted.
    #[error("no latency model can be fitted")]
    Fit(#[from] FitError),
    /// A stage behind a port failed.
    #[error("{stage} failed")]
    Port {
        /// The stage.
        stage: &'static str,
        /// Why.
        source: PortError,
    },
}

/// Does `job` on `model` through `ports`. The record grows stage by stage and is handed to [`Keep`] after each; it is
/// marked complete at the end.
///
/// # Errors
/// The first stage that fails, see [`JobError`]; the record then holds what was done before.
pub fn run<P: Calibrate + Recover + Measure + MeasureLatency + Keep>(
    model: &Model,
    job: &Job,
    ports: &mut P,
    record: &mut Record,
) -> Result<Model, JobError> {
    let first = job.criteria.first().ok_or(JobError::NoCriterion)?;
    let units = begin(model, &job.constraints, &job.shapes, ports, record)?;
    let evidence = ports.evidence(model, &units).map_err(at("scoring"))?;
    let mut all = Vec::new();
    for scoring in &job.criteria {
        let scores = scoring.score(&model.graph, &units, &evidence)?;
        record.scores.push(score_table(&scoring.measures(), &scores));
        all.push(scores);
    }
    keep(ports, record, None)?;

    let plan = match choose(model, &units, job, &all[0], first, ports, record) {
        Ok(plan) => plan,
        Err(error) => {
            keep(ports, record, None)?;
            return Err(error);
        }
    };
    let cut = surgery::apply(model, &units, &plan)?;
    let budgets = match &job.target {
        Target::Budgets(budgets, _) => *budgets,
        Target::Layers(_) | Target::Named(_) => Budgets::default(),
    };
    finish(model, cut, &budgets, &job.shapes, ports, record)
}

/// The first part of a job: what the model consists of, and what it is worth.
///
/// # Errors
/// Where shapes do not fit, or the baseline cannot be measured.
pub fn begin<P: Measure + Keep>(
    model: &Model,
    constraints: &Constraints,
    shapes: &InputShapes,
    ports: &mut P,
    record: &mut Record,
) -> Result<Units, JobError> {
    let units = Units::find(model, shapes)?;
    record.layers = units.rows(&model.graph).units.iter().map(|row| layer_row(row, constraints)).collect();
    record.baseline = Some(Baseline {
        file: file_of(model, shapes)?,
        accuracy: Some(ports.accuracy(model).map_err(at("measuring the baseline"))?),
    });
    keep(ports, record, None)?;
    Ok(units)
}

/// The last part of a job: brings back what the `cut` of `model` cost, and measures. What went stands in the record's plan.
///
/// # Errors
/// The first stage that fails; the record then holds what was done before.
pub fn finish<P: Recover + Measure + Keep>(
    model: &Model,
    cut: Model,
    budgets: &Budgets,
    shapes: &InputShapes,
    ports: &mut P,
    record: &mut Record,
) -> Result<Model, JobError> {
    mark_removed(record);
    let mut pruned = Pruned {
        file: file_of(&cut, shapes)?,
        after_cut: Some(ports.accuracy(&cut).map_err(at("measuring after the cut"))?),
        ..Pruned::default()
    };
    record.pruned = Some(pruned.clone());
    keep(ports, record, Some(&cut))?;

    let mut result = cut;
    if let Some(recalibrated) = ports.recalibrate(&result).map_err(at("recalibration"))? {
        result = recalibrated;
        pruned.after_recalibration = Some(ports.accuracy(&result).map_err(at("measuring after recalibration"))?);
        record.pruned = Some(pruned.clone());
        keep(ports, record, Some(&result))?;
    }
    if let Some((tuned, epochs)) = ports.finetune(&result).map_err(at("fine-tuning"))? {
        result = tuned;
        record.training.extend(epochs);
        pruned.after_finetune = Some(ports.accuracy(&result).map_err(at("measuring after fine-tuning"))?);
        record.pruned = Some(pruned.clone());
        keep(ports, record, Some(&result))?;
    }
    pruned.file = file_of(&result, shapes)?;
    record.pruned = Some(pruned);
    record.latency = ports.latency(model, &result).map_err(at("timing"))?;
    check_target(record, budgets);
    record.complete = true;
    keep(ports, record, Some(&result))?;
    Ok(result)
}

fn choose(
    model: &Model,
    units: &Units,
    job: &Job,
    scores: &Scores,
    scoring: &Scoring,
    timer: &mut dyn MeasureLatency,
    record: &mut Record,
) -> Result<Plan, JobError> {
    let mut summary = PlanSummary { criterion: scoring.id(), ..PlanSummary::default() };
    let plan = match &job.target {
        Target::Layers(count) => plan::lowest(units, scores, &job.constraints, *count)?,
        Target::Named(names) => {
            summary.criterion = "by name".to_owned();
            plan::named(units, names, &job.constraints)?
        }
        Target::Budgets(budgets, strategy) => {
            summary.target_reduction_percent = match budgets.latency {
                Some(LatencyBudget::Reduction(percent)) => Some(percent),
                _ => None,
            };
            match within_budgets(model, units, job, scores, (budgets, *strategy), timer, &mut summary) {
                Ok(plan) => plan,
                Err(error) => {
                    summary.target = Some(budgets.to_string());
                    summary.met = Some(false);
                    record.plan = Some(summary);
                    return Err(error);
                }
            }
        }
    };
    summary.target = Some(plan.target.clone());
    summary.met = Some(true);
    summary.removed = plan.removed.iter().map(|planned| planned.unit.clone()).collect();
    record.plan = Some(summary);
    Ok(plan)
}

/// The layers that the search finds; what it tried goes to `summary`.
fn within_budgets(
    model: &Model,
    units: &Units,
    job: &Job,
    scores: &Scores,
    (budgets, strategy): (&Budgets, Strategy),
    timer: &mut dyn MeasureLatency,
    summary: &mut PlanSummary,
) -> Result<Plan, JobError> {
    let layers = plan::droppable(units, scores, &job.constraints)?;
    let profile = match strategy {
        Strategy::Greedy => None,
        Strategy::Exact => {
            let all: Vec<_> = layers.iter().map(|unit| unit.planned.clone()).collect();
            let parts = Parts { units: &all, channels: None, counts: 0, runs: PROFILE_RUNS };
            Some(timer.profile(model, units, parts).map_err(at("profiling"))?)
        }
    };
    let cutting = Cutting {
        model,
        units,
        shapes: &job.shapes,
        criterion: &scores.criterion,
        layers,
        filters: None,
        profile: profile.as_ref(),
    };
    let mut propose = proposer(&cutting, strategy, budgets)?;
    let mut ports = Ports { timer: Some(timer), held_out: None };
    let mut collect = |outcome: Outcome<'_>| {
        if let Outcome::Tried(trial) = outcome {
            summary.steps.extend(step_of(trial, strategy));
        }
    };
    let found = search(&cutting, budgets, &mut *propose, &mut ports, &mut collect)?.trial;
    summary.target_batch = found.latency.map(|latency| latency.batch);
    Ok(found.plan)
}

/// A trial as the record keeps it, where it was timed: of the greedy search by the layer that it adds.
fn step_of(trial: &Trial, strategy: Strategy) -> Option<PlanStep> {
    let latency = trial.latency.as_ref()?;
    let removed = &trial.plan.removed;
    let named = match (strategy, removed.last()) {
        (Strategy::Greedy, Some(last)) => last.unit.clone(),
        _ => format!("{} layers", removed.len()),
    };
    Some(PlanStep {
        removed: named,
        latency_ms: latency.candidate.median_ms,
        latency_reduction_percent: latency.latency_reduction_percent,
        predicted_percent: trial.predicted_percent,
    })
}

/// The last measurement has the last word on a latency: it is longer than those of the search.
fn check_target(record: &mut Record, budgets: &Budgets) {
    let Some(budget) = budgets.latency else { return };
    let Some(plan) = record.plan.as_mut() else { return };
    let Some(last) = record.latency.iter().find(|last| Some(last.batch) == plan.target_batch) else { return };
    let found = last.latency_reduction_percent;
    if found < budget.reduction_percent(last.baseline.median_ms) {
        plan.met = Some(false);
        record.warnings.push(format!(
            "the search saw its target, {budget}, reached; the longer measurement at the end says {found:.1} % lower latency"
        ));
    }
}

fn mark_removed(record: &mut Record) {
    let removed = record.plan.as_ref().map(|plan| plan.removed.clone()).unwrap_or_default();
    let gone = |name: &str| removed.iter().any(|removed| removed == name);
    for layer in &mut record.layers {
        layer.removed = gone(&layer.name);
    }
    for row in record.scores.iter_mut().flat_map(|table| &mut table.rows) {
        row.removed = gone(&row.layer);
    }
}

fn keep(ports: &mut dyn Keep, record: &Record, model: Option<&Model>) -> Result<(), JobError> {
    ports.keep(record, model).map_err(at("keeping what was done so far"))
}

pub(super) fn at(stage: &'static str) -> impl FnOnce(PortError) -> JobError {
    move |source| JobError::Port { stage, source }
}

/// What a model costs, counted on itself.
fn file_of(model: &Model, shapes: &InputShapes) -> Result<ModelFile, JobError> {
    let cost = Costs::total_of(&model.graph, shapes)?;
    Ok(ModelFile {
        path: None,
        digest: Some(model.digest().to_string()),
        parameters: Some(cost.parameters),
        macs: cost.macs,
        file_bytes: Some(model.to_bytes().len() as u64),
    })
}

/// A unit as the record keeps it; removable only in a way that the job allows.
#[must_use]
pub fn layer_row(unit: &UnitRow, constraints: &Constraints) -> LayerRow {
    let kebab = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let protected = constraints.protected.contains(&unit.name);
    let way = unit.ways.iter().find(|way| constraints.ways.contains(way)).filter(|_| !protected);
    LayerRow {
        name: unit.name.clone(),
        kind: kebab(serde_json::json!(unit.kind)),
        way: way.map(|way| kebab(serde_json::json!(way))),
        reason: if protected { Some("it is protected".to_owned()) } else { unit.reason.clone() },
        exact: unit.exact,
        parameters: Some(unit.cost.parameters),
        macs: unit.cost.macs,
        shape: Some(unit.exit_shape.clone()),
        removed: false,
    }
}

/// Scores as the record keeps them; `meaning` says what a higher one is.
#[must_use]
pub fn score_table(meaning: &str, scores: &Scores) -> ScoreTable {
    let ties = scores.ties();
    let row = |(row, &tied): (&crate::criteria::ScoreRow, &bool)| RecordedScore {
        layer: row.unit.clone(),
        score: row.score,
        interval: row.interval,
        accuracy: row.accuracy.clone(),
        tied_with_next: tied,
        removed: false,
    };
    ScoreTable {
        criterion: scores.criterion.clone(),
        meaning: meaning.to_owned(),
        rows: scores.rows.iter().zip(&ties).map(row).collect(),
    }
}

//! Searches for cuts that keep to budgets: what may go, the clock, and what is told on the way.

use std::cell::RefCell;

use anyhow::Result;
use layerprune::analysis::{Channels, Units};
use layerprune::criteria::{FilterScores, Scores, Scoring};
use layerprune::onnx::Model;
use layerprune::pipeline::{
    self, Cutting, Found, HeldOut, MeasureLatency, Outcome, PROFILE_RUNS, Parts, PortError, Ports, SearchError,
    Strategy, Trial, proposer,
};
use layerprune::plan::{self, Budgets, ChannelConstraints, Constraints, Droppable, Filters, Plan, Scope, shares_left};
use layerprune::record::{Accuracy, LatencyProfile};
use layerprune::shapes::InputShapes;
use layerprune::surgery;
use serde::Serialize;

use crate::args::{By, Global, ProfileArgs, RecoverArgs, RecoverStep, SearchArgs};
use crate::clock::Clock;
use crate::commands::eval;
use crate::data::Data;
use crate::scoring::Gather;
use crate::{Usage, interrupt, progress, recovery};

/// What a search may cut, and what it is chosen by: all that stays the same from budget to budget.
pub(crate) struct Ground<'a> {
    pub(crate) gather: Gather<'a>,
    pub(crate) shapes: &'a InputShapes,
    criterion: String,
    layers: Vec<Droppable>,
    filters: Option<OwnFilters>,
    strategy: Strategy,
}

struct OwnFilters {
    limits: FilterLimits,
    scores: FilterScores,
}

/// How filters may be cut, by the command line.
pub(crate) struct FilterLimits {
    pub(crate) channels: Channels,
    pub(crate) constraints: ChannelConstraints,
    pub(crate) scope: Scope,
}

/// What a search did, as `--format json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Searched {
    budgets: String,
    search: &'static str,
    /// Importance that went with the cut.
    importance_lost: f64,
    /// Latency reduction in percent that the profile let expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_percent: Option<f64>,
    /// Measured less predicted latency reduction, in points.
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction_error_points: Option<f64>,
    /// Points of held-out accuracy lost, where they were limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<f64>,
    trials: Vec<Tried>,
    /// Whether a latency was limited, and the profile decided it.
    by_profile: bool,
}

#[derive(Debug, Serialize)]
struct Tried {
    layers: usize,
    channels: usize,
    importance_lost: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_reduction_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_reduction_interval: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<f64>,
    met: bool,
}

impl<'a> Ground<'a> {
    /// What may go by `args`, scored by `by`, or by `scores` from a file.
    pub(crate) fn new(
        args: &SearchArgs,
        gather: Gather<'a>,
        by: &Scoring,
        scores: Option<Scores>,
        constraints: &Constraints,
        limits: impl FnOnce() -> Result<FilterLimits>,
        shapes: &'a InputShapes,
    ) -> Result<Self> {
        let units = gather.units;
        let strategy = args.strategy();
        if args.by == By::Layers {
            let scores = match scores {
                Some(scores) => scores,
                None => gather.score(std::slice::from_ref(by))?.remove(0),
            };
            let layers = plan::droppable(units, &scores, constraints)?;
            return Ok(Self { gather, shapes, criterion: scores.criterion, layers, filters: None, strategy });
        }
        if scores.is_some() {
            return Err(
                Usage("`--scores` holds scores of layers; `--by filters` and `both` score filters".to_owned()).into()
            );
        }
        let limits = limits()?;
        let scores = gather.filter_scores(by, &limits.channels)?;
        let filters = OwnFilters { limits, scores };
        let layers = match args.by {
            By::Both => plan::droppable_by_filters(units, constraints, filters.view()),
            By::Layers | By::Filters => Vec::new(),
        };
        let criterion = filters.scores.criterion.clone();
        Ok(Self { gather, shapes, criterion, layers, filters: Some(filters), strategy })
    }

    /// Whether the search goes by times even though no latency is limited.
    pub(crate) fn is_by_times(&self, budgets: &Budgets) -> bool {
        self.strategy == Strategy::Exact && budgets.is_drop_only()
    }

    /// Searches for what keeps to `budgets`.
    pub(crate) fn search<'p>(
        &self,
        budgets: &Budgets,
        mut clock: Option<&'p mut Clock>,
        held_out: Option<&'p mut dyn HeldOut>,
    ) -> Result<Found> {
        let Gather { model, units, global, .. } = self.gather;
        let profile = match clock.as_deref_mut() {
            Some(clock) if self.strategy == Strategy::Exact || clock.is_foreign() => {
                Some(self.profile(clock).map_err(ended)?)
            }
            _ => None,
        };
        let filters = self.filters.as_ref().map(OwnFilters::view);
        let (layers, criterion) = (self.layers.clone(), self.criterion.as_str());
        let cutting =
            Cutting { model, units, shapes: self.shapes, criterion, layers, filters, profile: profile.as_ref() };
        let mut propose = proposer(&cutting, self.strategy, budgets)?;
        let timer = clock.filter(|clock| !clock.is_foreign()).map(|clock| clock as &mut dyn MeasureLatency);
        let mut ports = Ports { timer, held_out };
        let before = RefCell::new(None);
        let mut step = |outcome: Outcome<'_>| {
            let text = self.told(outcome, budgets, before.borrow().as_ref());
            progress::note(global, &text);
            if let Outcome::Tried(trial) = outcome {
                before.replace(Some(trial.plan.clone()));
            }
        };
        pipeline::search(&cutting, budgets, &mut *propose, &mut ports, &mut step).map_err(ended)
    }

    fn profile(&self, clock: &mut Clock) -> Result<LatencyProfile, SearchError> {
        let Gather { model, units, .. } = self.gather;
        let all: Vec<_> = self.layers.iter().map(|unit| unit.planned.clone()).collect();
        let channels = self.filters.as_ref().map(|filters| &filters.limits.channels);
        let parts = Parts { units: &all, channels, counts: ProfileArgs::COUNTS, runs: PROFILE_RUNS };
        clock.profile(model, units, parts).map_err(SearchError::Measure)
    }

    /// One line about what a search just did.
    fn told(&self, outcome: Outcome<'_>, budgets: &Budgets, before: Option<&Plan>) -> String {
        match outcome {
            Outcome::Reach(trial) => {
                let reached = reached(trial, budgets);
                let verdict = if trial.met { "within reach" } else { "out of reach" };
                format!("{budgets} is {verdict}: {}, {reached}", trial.plan.what_goes())
            }
            Outcome::Tried(trial) => format!("{}: {}", self.named(&trial.plan, before), reached(trial, budgets)),
            Outcome::Confirmed(trial) => {
                let verdict = if trial.met { "holds" } else { "does not hold" };
                format!("measured again, it {verdict}: {}", reached(trial, budgets))
            }
        }
    }

    /// `without layer1.2`, where that one was added, or how many layers and channels are gone.
    fn named(&self, plan: &Plan, before: Option<&Plan>) -> String {
        let earlier = before.map_or(0, |before| before.removed.len());
        match plan.removed.last() {
            Some(last) if self.strategy == Strategy::Greedy && plan.removed.len() == earlier + 1 => {
                format!("without {}", last.unit)
            }
            _ => plan.what_goes(),
        }
    }
}

impl OwnFilters {
    fn view(&self) -> Filters<'_> {
        let FilterLimits { channels, constraints, scope } = &self.limits;
        Filters { channels, scores: &self.scores, constraints, scope: *scope }
    }
}

impl Searched {
    pub(crate) fn of(found: &Found, budgets: &Budgets, args: &SearchArgs) -> Self {
        let trial = &found.trial;
        let measured = trial.latency.as_ref().map(|latency| latency.latency_reduction_percent);
        Self {
            budgets: budgets.to_string(),
            search: match args.strategy() {
                Strategy::Greedy => "greedy",
                Strategy::Exact => "exact",
            },
            importance_lost: trial.loss,
            predicted_percent: trial.predicted_percent,
            prediction_error_points: measured.zip(trial.predicted_percent).map(|(found, predicted)| found - predicted),
            drop: trial.drop,
            trials: found.trials.iter().map(Tried::of).collect(),
            by_profile: budgets.latency.is_some() && trial.by_profile,
        }
    }

    /// What is to be said beside the measured latency.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(predicted) =
            self.predicted_percent.filter(|_| self.prediction_error_points.is_some() || self.by_profile)
        {
            let off = self.prediction_error_points.map_or_else(
                || "decided by the profile, not by the clock".to_owned(),
                // The zero that is added takes the sign from a zero.
                |points| format!("the clock says {:+.1} points", (10.0 * points).round() / 10.0 + 0.0),
            );
            text.push_str(&format!("predicted latency reduction: {predicted:.1} % ({off})\n"));
        }
        if let Some(drop) = self.drop {
            text.push_str(&format!("held-out accuracy: {:+.2} points\n", 0.0 - drop));
        }
        text
    }
}

impl Tried {
    fn of(trial: &Trial) -> Self {
        let latency = trial.latency.as_ref();
        Self {
            layers: trial.plan.removed.len(),
            channels: trial.plan.channel_count(),
            importance_lost: trial.loss,
            predicted_percent: trial.predicted_percent,
            latency_reduction_percent: latency.map(|latency| latency.latency_reduction_percent),
            latency_reduction_interval: latency.map(|latency| latency.latency_reduction_interval),
            drop: trial.drop,
            met: trial.met,
        }
    }
}

/// `32.1 % lower latency (31.8 at least, 30.9 predicted), 61.0 % of the MACs left`: what is limited, and what is known of it.
fn reached(trial: &Trial, budgets: &Budgets) -> String {
    let [macs, parameters] = shares_left(trial.plan.before, trial.plan.after);
    let predicted = trial.predicted_percent.filter(|_| budgets.latency.is_some());
    let expected = predicted.map(|percent| format!(", {percent:.1} predicted")).unwrap_or_default();
    let latency = match (&trial.latency, predicted) {
        (Some(latency), _) => {
            let (found, low) = (latency.latency_reduction_percent, latency.latency_reduction_interval[0]);
            Some(format!("{found:.1} % lower latency ({low:.1} at least{expected})"))
        }
        (None, predicted) => predicted.map(|predicted| format!("{predicted:.1} % lower latency predicted")),
    };
    let left = |limit: Option<f64>, share: Option<f64>, what: &str| {
        limit.zip(share).map(|(_, share)| format!("{share:.1} % of the {what} left"))
    };
    let macs = left(budgets.macs.or(budgets.max_drop.filter(|_| latency.is_none())), macs, "MACs");
    let drop = trial.drop.map(|drop| format!("{:+.2} points of held-out accuracy", 0.0 - drop));
    let all = [latency, macs, left(budgets.parameters, parameters, "parameters"), drop];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn ended(error: SearchError) -> anyhow::Error {
    if interrupt::asked() { interrupt::ended() } else { error.into() }
}

/// What a cut costs on the held-out images, after the steps of recovery.
pub(crate) struct Drop<'a> {
    pub(crate) gather: Gather<'a>,
    pub(crate) data: &'a Data,
    pub(crate) steps: &'a [RecoverStep],
    pub(crate) recover: &'a RecoverArgs,
    /// Top-1 of the whole model in percent.
    pub(crate) whole: f64,
}

impl<'a> Drop<'a> {
    /// Measures the whole model first.
    pub(crate) fn new(gather: Gather<'a>, steps: &'a [RecoverStep], recover: &'a RecoverArgs) -> Result<Self> {
        let text = "a limit on the accuracy lost needs labelled images: give `--data KIND:PATH`";
        let data = gather.data.ok_or_else(|| Usage(text.to_owned()))?;
        let whole = held_out(gather.model, data, gather.global)?.top1.percent;
        Ok(Self { gather, data, steps, recover, whole })
    }
}

impl HeldOut for Drop<'_> {
    fn drop(&mut self, plan: &Plan) -> Result<f64, PortError> {
        let Gather { model, units, global, .. } = self.gather;
        let cut = cut(model, units, plan, self.steps, self.recover, self.data, global)?;
        Ok(self.whole - held_out(&cut, self.data, global)?.top1.percent)
    }
}

/// Accuracy on the held-out images.
pub(crate) fn held_out(model: &Model, data: &Data, global: &Global) -> Result<Accuracy> {
    eval::accuracy(model, data, &data.held_out, "held out", global)
}

/// The model as `plan` leaves it, after the steps of recovery.
pub(crate) fn cut(
    model: &Model,
    units: &Units,
    plan: &Plan,
    steps: &[RecoverStep],
    args: &RecoverArgs,
    data: &Data,
    global: &Global,
) -> Result<Model> {
    if steps.is_empty() {
        return Ok(surgery::apply(model, units, plan)?);
    }
    Ok(recovery::cut_and_recover(model, units, plan, steps, args, data, global)?.0)
}

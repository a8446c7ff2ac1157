//! Searches for the cut that keeps to budgets at the least loss of importance. The table proposes, the clock decides.

mod cutting;
mod exact;
mod greedy;

use super::{JobError, MeasureLatency, PortError};
use crate::onnx::Model;
use crate::plan::{Budgets, LatencyBudget, Plan, PlanError, shares_left};
use crate::record::LatencyComparison;
use crate::shapes::ShapeError;
use crate::surgery::{self, SurgeryError};

pub use cutting::Cutting;
use exact::ByProfile;
use greedy::{GreedyFilters, GreedyLayers};

/// How cuts are proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The least important first, until it is enough (Elkerdawy et al., ACCV 2020). Needs no profile.
    Greedy,
    /// The least loss of importance that is predicted to be enough: a knapsack over units, channel groups or both.
    Exact,
}

/// A cut to be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What goes.
    pub plan: Plan,
    /// The model without.
    pub cut: Model,
    /// Importance that goes with it; of units or filters whose importance is negative, none.
    pub loss: f64,
    /// Latency reduction in percent that the profile lets expect, where there is one.
    pub predicted_percent: Option<f64>,
}

/// A cut that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What goes.
    pub plan: Plan,
    /// Importance that goes with it.
    pub loss: f64,
    /// Latency reduction in percent that was expected.
    pub predicted_percent: Option<f64>,
    /// What was measured; `None` where it was not needed, or there is no clock.
    pub latency: Option<LatencyComparison>,
    /// Points of held-out accuracy lost, where they are limited and were measured.
    pub drop: Option<f64>,
    /// Whether all limits are kept that were looked at.
    pub met: bool,
    /// Whether the latency is that of the last, longer measurement.
    pub confirmed: bool,
    /// Whether there was no clock, so that what was expected decided.
    pub by_profile: bool,
}

/// What a search tells while it goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome<'a> {
    /// What can be reached at most, before anything else is tried.
    Reach(&'a Trial),
    /// A cut was tried.
    Tried(&'a Trial),
    /// The best one was measured again.
    Confirmed(&'a Trial),
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The cut that keeps to all limits at the least loss.
    pub trial: Trial,
    /// All that were tried, in order.
    pub trials: Vec<Trial>,
}

/// What a search measures with.
pub struct Ports<'p> {
    /// The clock; without one the profile decides.
    pub timer: Option<&'p mut dyn MeasureLatency>,
    /// Accuracy, for a limit on what may be lost of it.
    pub held_out: Option<&'p mut dyn HeldOut>,
}

/// Measures what a cut costs in accuracy.
pub trait HeldOut {
    /// Points of accuracy on held-out images that the model loses by `plan`, with all that is done to bring it back.
    ///
    /// # Errors
    /// Whatever the engine or the data reports.
    fn drop(&mut self, plan: &Plan) -> Result<f64, PortError>;
}

/// Proposes cuts.
pub trait Propose {
    /// Tells what the whole model takes, in milliseconds, before the first of [`Propose::next`].
    fn begin(&mut self, baseline_ms: f64);

    /// The cuts that may reach most, one of which at least there is.
    ///
    /// # Errors
    /// Where they cannot be cut.
    fn widest(&mut self) -> Result<Vec<Proposal>, SearchError>;

    /// The next cut to try after `trials`; `None` where there is no better or larger one.
    ///
    /// # Errors
    /// Where it cannot be cut.
    fn next(&mut self, trials: &[Trial]) -> Result<Option<Proposal>, SearchError>;

    /// How many cuts [`Propose::rung`] offers.
    fn rungs(&self) -> usize;

    /// Cut number `number`, from 1, of a row of growing ones, for a search that no latency ends.
    ///
    /// # Errors
    /// Where it cannot be cut.
    fn rung(&mut self, number: usize) -> Result<Option<Proposal>, SearchError>;
}

/// Why a search found nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// Nothing may go.
    #[error("nothing can be removed")]
    Nothing,
    /// All that may go is not enough.
    #[error("{budgets} cannot be met: with {cut}, {reached}")]
    OutOfReach {
        /// What was asked for.
        budgets: String,
        /// What was cut.
        cut: String,
        /// What that came to.
        reached: String,
        /// Whether filters were to go.
        filters: bool,
        /// Whether layers were.
        layers: bool,
        /// Whether it is the latency that was not reached.
        latency: bool,
    },
    /// What meets the other limits costs too much accuracy.
    #[error("with {cut}, {drop:.2} points of held-out accuracy are lost, {limit} are allowed")]
    TooCostly {
        /// What was cut.
        cut: String,
        /// Points lost.
        drop: f64,
        /// Points that may be lost.
        limit: f64,
    },
    /// The exact search and a latency limit need a profile.
    #[error("there is no latency profile to search by")]
    NoProfile,
    /// Sizes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A cut failed.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
    /// A measurement failed.
    #[error("cannot measure the latency")]
    Measure(#[source] PortError),
    /// Accuracy could not be measured.
    #[error("cannot measure the accuracy")]
    HeldOut(#[source] PortError),
}

impl From<SearchError> for JobError {
    fn from(error: SearchError) -> Self {
        Self::Search(Box::new(error))
    }
}

/// What proposes the cuts of `strategy`.
///
/// # Errors
/// [`SearchError::NoProfile`].
pub fn proposer<'a>(
    cutting: &Cutting<'a>,
    strategy: Strategy,
    budgets: &Budgets,
) -> Result<Box<dyn Propose + 'a>, SearchError> {
    let (cutting, budgets, target) = (cutting.clone(), *budgets, budgets.to_string());
    Ok(match (strategy, cutting.filters) {
        (Strategy::Greedy, Some(filters)) if cutting.layers.is_empty() => {
            let (shares, baseline_ms) = (Vec::new(), f64::INFINITY);
            Box::new(GreedyFilters { cutting, filters, budgets, target, shares, baseline_ms })
        }
        (Strategy::Greedy, None) => Box::new(GreedyLayers { cutting, target }),
        _ if cutting.profile.is_none() && (budgets.latency.is_some() || budgets.is_drop_only()) => {
            return Err(SearchError::NoProfile);
        }
        _ => Box::new(ByProfile::new(cutting, budgets, target)),
    })
}

/// Searches for the cut that keeps to `budgets` at the least loss of importance.
///
/// A latency is kept where the lower end of the measured interval says so; the best cut is then measured once more, longer, and
/// the search goes on where that says otherwise. Where accuracy is the only limit, cuts grow until one costs too much, and the
/// one before it is taken.
///
/// # Errors
/// See [`SearchError`].
pub fn search(
    cutting: &Cutting<'_>,
    budgets: &Budgets,
    propose: &mut dyn Propose,
    ports: &mut Ports<'_>,
    step: &mut dyn FnMut(Outcome<'_>),
) -> Result<Found, SearchError> {
    if cutting.layers.is_empty() && cutting.filters.is_none() {
        return Err(SearchError::Nothing);
    }
    if budgets.is_drop_only() {
        return largest_within(cutting, budgets, propose, ports, step);
    }
    let widest = reach(cutting, budgets, propose, ports)?;
    step(Outcome::Reach(&widest));
    let timed = widest.latency.as_ref().map(|latency| latency.baseline.median_ms);
    let baseline_ms = timed.or_else(|| cutting.profile?.baseline_ms()).unwrap_or(f64::INFINITY);
    propose.begin(baseline_ms);
    let nothing = cutting.nothing(&budgets.to_string());
    if budgets.percent_to_save(baseline_ms) == [0.0; 3] {
        let trial = Trial { plan: nothing, loss: 0.0, latency: None, met: true, confirmed: false, ..widest };
        return Ok(Found { trial: Trial { predicted_percent: None, ..trial }, trials: Vec::new() });
    }
    if !widest.met {
        return Err(out_of_reach(cutting, budgets, &widest));
    }
    let mut trials: Vec<Trial> = Vec::new();
    loop {
        while let Some(proposal) = propose.next(&trials)? {
            let trial = attempt(cutting, budgets, proposal, ports, false)?;
            step(Outcome::Tried(&trial));
            trials.push(trial);
        }
        let met = trials.iter_mut().filter(|trial| trial.met);
        let Some(best) = met.min_by(|a, b| a.loss.total_cmp(&b.loss)) else {
            return Err(out_of_reach(cutting, budgets, trials.last().unwrap_or(&widest)));
        };
        if best.latency.is_some() && !best.confirmed {
            confirm(cutting, budgets, best, ports)?;
            step(Outcome::Confirmed(best));
        }
        if best.met {
            break;
        }
    }
    least_costly(budgets, trials, cutting, ports, step)
}

/// The first of the widest cuts that is enough, or the one that reaches most.
fn reach(
    cutting: &Cutting<'_>,
    budgets: &Budgets,
    propose: &mut dyn Propose,
    ports: &mut Ports<'_>,
) -> Result<Trial, SearchError> {
    let mut most: Option<Trial> = None;
    let saved = |trial: &Trial| trial.saved_percent()[0].unwrap_or(f64::NEG_INFINITY);
    for proposal in propose.widest()? {
        let mut trial = attempt(cutting, budgets, proposal, ports, true)?;
        if !trial.met && trial.latency.is_some() {
            // Nothing is refused for one short measurement.
            confirm(cutting, budgets, &mut trial, ports)?;
        }
        if trial.met {
            return Ok(trial);
        }
        if most.as_ref().is_none_or(|most| saved(&trial) > saved(most)) {
            most = Some(trial);
        }
    }
    most.ok_or(SearchError::Nothing)
}

/// The trial of least loss that keeps to the limit on accuracy too, where there is one.
fn least_costly(
    budgets: &Budgets,
    mut trials: Vec<Trial>,
    cutting: &Cutting<'_>,
    ports: &mut Ports<'_>,
    step: &mut dyn FnMut(Outcome<'_>),
) -> Result<Found, SearchError> {
    let mut order: Vec<usize> = (0..trials.len()).filter(|&place| trials[place].met).collect();
    order.sort_by(|&a, &b| trials[a].loss.total_cmp(&trials[b].loss));
    let mut cheapest: Option<usize> = None;
    for place in order {
        let trial = &mut trials[place];
        let (Some(limit), Some(held_out)) = (budgets.max_drop, ports.held_out.as_deref_mut()) else {
            return Ok(Found { trial: trial.clone(), trials });
        };
        let drop = held_out.drop(&trial.plan).map_err(SearchError::HeldOut)?;
        trial.drop = Some(drop);
        if drop <= limit {
            if trial.latency.is_some() && !trial.confirmed {
                confirm(cutting, budgets, trial, ports)?;
                step(Outcome::Confirmed(trial));
            }
            if trial.met {
                return Ok(Found { trial: trial.clone(), trials });
            }
        } else if cheapest.is_none_or(|cheapest| trials[cheapest].drop > Some(drop)) {
            cheapest = Some(place);
        }
    }
    let Some(trial) = cheapest.map(|place| &trials[place]) else {
        let last = trials.last().ok_or(SearchError::Nothing)?;
        return Err(out_of_reach(cutting, budgets, last));
    };
    let (cut, limit) = (trial.plan.what_goes(), budgets.max_drop.unwrap_or(f64::INFINITY));
    Err(SearchError::TooCostly { cut, drop: trial.drop.unwrap_or(0.0), limit })
}

/// Measures the latency of a trial once more, longer.
fn confirm(
    cutting: &Cutting<'_>,
    budgets: &Budgets,
    trial: &mut Trial,
    ports: &mut Ports<'_>,
) -> Result<(), SearchError> {
    let Some(timer) = ports.timer.as_deref_mut() else { return Ok(()) };
    let cut = surgery::apply(cutting.model, cutting.units, &trial.plan)?;
    let latency = timer.confirm(cutting.model, &cut).map_err(SearchError::Measure)?;
    let kept = budgets.latency.is_none_or(|budget| budget.margin_percent(&latency) >= 0.0);
    trial.met = kept && budgets.cost_met(trial.plan.before, trial.plan.after);
    (trial.latency, trial.confirmed) = (Some(latency), true);
    Ok(())
}

/// Looks for the largest cut by which no more accuracy goes than may: in steps that double, then by halves.
fn largest_within(
    cutting: &Cutting<'_>,
    budgets: &Budgets,
    propose: &mut dyn Propose,
    ports: &mut Ports<'_>,
    step: &mut dyn FnMut(Outcome<'_>),
) -> Result<Found, SearchError> {
    let limit = budgets.max_drop.unwrap_or(f64::INFINITY);
    let mut judged = |proposal: Proposal, ports: &mut Ports<'_>| {
        let mut trial = attempt(cutting, budgets, proposal, ports, false)?;
        if let Some(held_out) = ports.held_out.as_deref_mut() {
            let drop = held_out.drop(&trial.plan).map_err(SearchError::HeldOut)?;
            (trial.drop, trial.met) = (Some(drop), drop <= limit);
        }
        step(Outcome::Tried(&trial));
        Ok::<Trial, SearchError>(trial)
    };
    let mut trials: Vec<Trial> = Vec::new();
    // What is known to be within the limit, and what is not.
    let (mut within, mut beyond) = (0, propose.rungs() + 1);
    let mut doubling = true;
    while beyond - within > 1 {
        let number = if doubling { (2 * within).clamp(1, beyond - 1) } else { within.midpoint(beyond) };
        let Some(proposal) = propose.rung(number)? else {
            (beyond, doubling) = (number, false);
            continue;
        };
        let known = trials.iter().find(|trial| trial.plan.removes_the_same(&proposal.plan)).map(|known| known.met);
        let met = match known {
            Some(met) => met,
            None => {
                let trial = judged(proposal, ports)?;
                let met = trial.met;
                trials.push(trial);
                met
            }
        };
        if met { within = number } else { (beyond, doubling) = (number, false) }
    }
    if trials.is_empty() {
        // No part saves anything that the rungs could be told by.
        for proposal in propose.widest()? {
            trials.push(judged(proposal, ports)?);
        }
    }
    let largest = trials.iter().filter(|trial| trial.met).max_by(|a, b| a.loss.total_cmp(&b.loss));
    if let Some(best) = largest {
        return Ok(Found { trial: best.clone(), trials });
    }
    let drop = |trial: &Trial| trial.drop.unwrap_or(0.0);
    let least = trials.iter().min_by(|a, b| drop(a).total_cmp(&drop(b))).ok_or(SearchError::Nothing)?;
    Err(SearchError::TooCostly { cut: least.plan.what_goes(), drop: drop(least), limit })
}

/// Cuts and measures. What does not keep to the other limits is only timed where `always` says so.
fn attempt(
    cutting: &Cutting<'_>,
    budgets: &Budgets,
    proposal: Proposal,
    ports: &mut Ports<'_>,
    always: bool,
) -> Result<Trial, SearchError> {
    let Proposal { plan, cut, loss, predicted_percent } = proposal;
    let mut met = budgets.cost_met(plan.before, plan.after);
    let mut latency = None;
    if let Some(budget) = budgets.latency {
        match ports.timer.as_deref_mut() {
            Some(timer) if met || always => {
                let found = timer.compare(cutting.model, &cut).map_err(SearchError::Measure)?;
                met &= budget.margin_percent(&found) >= 0.0;
                latency = Some(found);
            }
            Some(_) => {}
            None => {
                let profile = cutting.profile.ok_or(SearchError::NoProfile)?;
                let needed = budget.reduction_percent(profile.baseline_ms().ok_or(SearchError::NoProfile)?);
                met &= predicted_percent.is_some_and(|predicted| predicted >= needed);
            }
        }
    }
    let by_profile = ports.timer.is_none();
    Ok(Trial { plan, loss, predicted_percent, latency, drop: None, met, confirmed: false, by_profile })
}

impl Trial {
    /// What was saved of latency (the lower end of its interval, or what is predicted where that decides), multiply-adds and
    /// parameters, in percent; `None` where it is not known.
    fn saved_percent(&self) -> [Option<f64>; 3] {
        let timed = self.latency.as_ref().map(|latency| latency.latency_reduction_interval[0]);
        let latency = timed.or(self.predicted_percent.filter(|_| self.by_profile));
        let [macs, parameters] = shares_left(self.plan.before, self.plan.after);
        [latency, macs.map(|left| 100.0 - left), parameters.map(|left| 100.0 - left)]
    }
}

fn out_of_reach(cutting: &Cutting<'_>, budgets: &Budgets, trial: &Trial) -> SearchError {
    let all = trial.plan.channels.is_empty() && trial.plan.removed.len() == cutting.layers.len();
    let cut = if all { cutting.all_layers() } else { trial.plan.what_goes() };
    let [macs, parameters] = shares_left(trial.plan.before, trial.plan.after);
    let latency = match (&trial.latency, trial.predicted_percent) {
        (Some(found), _) => {
            let low = found.latency_reduction_interval[0];
            Some(match budgets.latency {
                Some(LatencyBudget::AtMost(_)) => {
                    let ms = found.baseline.median_ms * (1.0 - low / 100.0);
                    format!("the latency is {ms:.3} ms at most, of {:.3} ms", found.baseline.median_ms)
                }
                _ => format!("the latency reduction is at least {low:.1} %"),
            })
        }
        (None, predicted) => predicted.map(|percent| format!("the predicted latency reduction is {percent:.1} %")),
    };
    let left = |limit: Option<f64>, share: Option<f64>, what: &str| {
        limit.map(|_| {
            share.map_or(format!("the {what} are not known"), |it| format!("{it:.1} % of the {what} are left"))
        })
    };
    let latency = latency.filter(|_| budgets.latency.is_some());
    let all = [latency, left(budgets.macs, macs, "MACs"), left(budgets.parameters, parameters, "parameters")];
    SearchError::OutOfReach {
        budgets: Budgets { max_drop: None, ..*budgets }.to_string(),
        cut,
        reached: all.into_iter().flatten().collect::<Vec<_>>().join(", "),
        filters: cutting.filters.is_some(),
        layers: !cutting.layers.is_empty(),
        latency: budgets.latency.is_some() && budgets.cost_met(trial.plan.before, trial.plan.after),
    }
}

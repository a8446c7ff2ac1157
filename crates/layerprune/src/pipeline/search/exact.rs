//! The least loss of importance that is predicted to be enough, put right by the clock.

use std::collections::BTreeSet;

use super::{Cutting, Proposal, Propose, SearchError, Trial};
use crate::plan::{self, Action, Budgets, Choice, Part, Plan};
use crate::record::LatencyProfile;

/// How often a cut that is more than enough is made smaller.
const REFINEMENTS: usize = 3;
const MOST_TRIALS: usize = 16;
/// Choices of each part where several needs make the knapsack slow.
const FEW_CHOICES: usize = 24;
/// How often needs grow by [`GROWTH`] where they give no new cut.
const MOST_STEPS: usize = 40;
const GROWTH: f64 = 1.02;
/// Shares of the needs that are tried where the rounding of the knapsack finds no way to meet all.
const ALMOST: [f64; 3] = [1.0, 0.95, 0.9];

/// The knapsack over all parts, its needs scaled by how wrong the profile was so far.
pub(super) struct ByProfile<'a> {
    cutting: Cutting<'a>,
    budgets: Budgets,
    target: String,
    parts: Vec<Part>,
    /// What the needs are multiplied by: latency, multiply-adds, parameters.
    factors: [f64; 3],
    proposed: Vec<Plan>,
    /// Which trials were learned from, and whether that was when they were confirmed.
    learned: BTreeSet<(usize, bool)>,
    /// The trial that was proposed to challenge the best one, of which nothing was expected.
    challenger: Option<usize>,
    refined: usize,
    baseline_ms: f64,
}

impl<'a> ByProfile<'a> {
    pub(super) fn new(cutting: Cutting<'a>, budgets: Budgets, target: String) -> Self {
        let graph = &cutting.model.graph;
        let mut parts = plan::parts(graph, cutting.units, &cutting.layers, cutting.filters, cutting.profile);
        if budgets.needs() > 1 {
            parts.iter_mut().for_each(|part| part.thin_to(FEW_CHOICES));
        }
        let (proposed, factors) = (Vec::new(), [1.0; 3]);
        let baseline_ms = cutting.profile.and_then(LatencyProfile::baseline_ms).unwrap_or(f64::INFINITY);
        let (learned, challenger) = (BTreeSet::new(), None);
        Self { cutting, budgets, target, parts, factors, proposed, learned, challenger, refined: 0, baseline_ms }
    }

    /// Learns from the trials that are new or newly confirmed.
    fn learn(&mut self, trials: &[Trial]) {
        let asked = self.budgets.percent_to_save(self.baseline_ms);
        for (place, trial) in trials.iter().enumerate() {
            if !self.learned.insert((place, trial.confirmed)) || self.challenger == Some(place) {
                continue;
            }
            let saved = trial.saved_percent();
            for (need, ((asked, saved), factor)) in asked.into_iter().zip(saved).zip(&mut self.factors).enumerate() {
                let Some(saved) = saved.filter(|_| asked > 0.0) else { continue };
                let off = asked / saved.max(0.1 * asked);
                if saved < asked {
                    *factor *= off.clamp(1.005, 1.5);
                } else if trial.met && need == 0 {
                    *factor *= off.clamp(0.7, 0.999);
                }
            }
            self.refined += usize::from(trial.met);
        }
    }

    /// The plan of least loss that is predicted to save `needs`, in percent of the whole, and the loss.
    fn solve(&mut self, needs: [f64; 3]) -> Result<Option<(Plan, f64)>, SearchError> {
        loop {
            let classes: Vec<&[Choice]> = self.parts.iter().map(|part| part.choices.as_slice()).collect();
            let almost = |share: f64| plan::least_loss(&classes, &needs.map(|need| share * need));
            let Some(picked) = ALMOST.into_iter().find_map(almost) else { return Ok(None) };
            let chosen = || self.parts.iter().zip(&picked);
            let actions: Vec<&Action> = chosen().map(|(part, &place)| &part.actions[place]).collect();
            let removed: Vec<_> = actions.iter().filter_map(|action| action.remove.clone()).collect();
            if let Some(error) = plan::conflict(self.cutting.units, &removed) {
                self.forbid(error)?;
                continue;
            }
            let loss = chosen().map(|(part, &place)| part.choices[place].loss).sum();
            return Ok(Some((self.cutting.plan_of(&actions, &self.target)?, loss)));
        }
    }

    /// Lets a unit stay that does not go together with another one.
    fn forbid(&mut self, error: plan::PlanError) -> Result<(), SearchError> {
        let plan::PlanError::Together { name, .. } = &error else { return Err(error.into()) };
        let is_it = |action: &Action| action.remove.as_ref().is_some_and(|planned| planned.unit == *name);
        for part in &mut self.parts {
            let Some(place) = part.actions.iter().position(is_it) else { continue };
            part.actions.remove(place);
            part.choices.remove(place);
            return Ok(());
        }
        Err(error.into())
    }

    /// Of each part the choice by which `saved` is greatest, where it is above 0.
    fn all_by(&self, saved: impl Fn(&Choice) -> f64) -> Result<Proposal, SearchError> {
        let (mut removed, mut actions, mut loss) = (Vec::new(), Vec::new(), 0.0);
        for part in &self.parts {
            let most = |&a: &usize, &b: &usize| saved(&part.choices[a]).total_cmp(&saved(&part.choices[b]));
            let place = (0..part.choices.len()).max_by(most).unwrap_or(0);
            if saved(&part.choices[place]) <= 0.0 {
                continue;
            }
            let goes = |planned| plan::add_if_compatible(self.cutting.units, &mut removed, planned);
            if !part.actions[place].remove.clone().is_none_or(goes) {
                continue;
            }
            actions.push(&part.actions[place]);
            loss += part.choices[place].loss;
        }
        self.cutting.proposal(self.cutting.plan_of(&actions, &self.target)?, loss)
    }

    /// Whether `plan` was not proposed before; it now is.
    fn is_new(&mut self, plan: &Plan) -> bool {
        let new = !self.proposed.iter().any(|other| other.removes_the_same(plan));
        if new {
            self.proposed.push(plan.clone());
        }
        new
    }

    /// What the greedy search would have tried at less loss than the best cut: the longest such row of layers. So the exact
    /// search never keeps less than the greedy one at what the clock says is the same latency.
    fn challenge(&mut self, best: f64) -> Result<Option<Proposal>, SearchError> {
        let mut loss = 0.0;
        let longest = self.cutting.layers.iter().take_while(|unit| {
            loss += unit.loss;
            loss < best
        });
        let count = longest.count();
        if count == 0 {
            return Ok(None);
        }
        let row = self.cutting.first_layers(count, &self.target)?;
        Ok(self.is_new(&row.plan).then_some(row))
    }
}

impl Propose for ByProfile<'_> {
    fn begin(&mut self, baseline_ms: f64) {
        self.baseline_ms = baseline_ms;
    }

    /// What saves most time by the profile, without what makes the model slower, and everything that can go.
    fn widest(&mut self) -> Result<Vec<Proposal>, SearchError> {
        let latency = |choice: &Choice| choice.saves[0];
        let costs = |choice: &Choice| choice.saves[1..].iter().sum::<f64>();
        let (quickest, smallest) = (self.all_by(latency)?, self.all_by(costs)?);
        if quickest.plan.removes_the_same(&smallest.plan) {
            return Ok(vec![smallest]);
        }
        let timed = self.budgets.latency.is_some();
        Ok(if timed { vec![quickest, smallest] } else { vec![smallest, quickest] })
    }

    fn next(&mut self, trials: &[Trial]) -> Result<Option<Proposal>, SearchError> {
        self.learn(trials);
        let best = trials.iter().filter(|trial| trial.met).map(|trial| trial.loss).fold(f64::INFINITY, f64::min);
        if trials.len() < MOST_TRIALS && self.refined <= REFINEMENTS {
            let asked = self.budgets.percent_to_save(self.baseline_ms);
            for _ in 0..MOST_STEPS {
                let needs = [0, 1, 2].map(|at| asked[at] * self.factors[at]);
                let Some((plan, loss)) = self.solve(needs)? else { break };
                if loss < best && self.is_new(&plan) {
                    return self.cutting.proposal(plan, loss).map(Some);
                }
                if best.is_finite() {
                    break;
                }
                self.factors = self.factors.map(|factor| factor * GROWTH);
            }
        }
        if best.is_finite() {
            let challenger = self.challenge(best)?;
            self.challenger = challenger.as_ref().map(|_| trials.len()).or(self.challenger);
            return Ok(challenger);
        }
        Ok(self.widest()?.into_iter().find(|widest| self.is_new(&widest.plan)))
    }

    fn rungs(&self) -> usize {
        99
    }

    /// A cut that saves so many percent of the latency.
    fn rung(&mut self, number: usize) -> Result<Option<Proposal>, SearchError> {
        let Some((plan, loss)) = self.solve([number as f64, 0.0, 0.0])? else { return Ok(None) };
        self.cutting.proposal(plan, loss).map(Some)
    }
}

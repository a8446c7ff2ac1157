//! The least important first, until it is enough: the published search.

use super::{Cutting, Proposal, Propose, SearchError, Trial};
use crate::plan::{self, Budgets, Filters};

/// Points of the share of filters below which a smaller one that is enough is not looked for.
const CLOSE_ENOUGH: f64 = 2.0;
/// The share of filters that the search starts with, in percent, what it grows by at least, and where it ends: the floor of each
/// layer is met before.
const FIRST_SHARE: f64 = 5.0;
const SMALLEST_STEP: f64 = 2.0;
const WIDEST_SHARE: f64 = 99.9;
const MOST_TRIALS: usize = 24;

/// Layers, one after the other.
pub(super) struct GreedyLayers<'a> {
    pub(super) cutting: Cutting<'a>,
    pub(super) target: String,
}

impl Propose for GreedyLayers<'_> {
    fn begin(&mut self, _: f64) {}

    fn widest(&mut self) -> Result<Vec<Proposal>, SearchError> {
        Ok(vec![self.cutting.first_layers(self.cutting.layers.len(), &self.target)?])
    }

    fn next(&mut self, trials: &[Trial]) -> Result<Option<Proposal>, SearchError> {
        if trials.iter().any(|trial| trial.met) { Ok(None) } else { self.rung(trials.len() + 1) }
    }

    fn rungs(&self) -> usize {
        self.cutting.layers.len()
    }

    fn rung(&mut self, number: usize) -> Result<Option<Proposal>, SearchError> {
        (number <= self.rungs()).then(|| self.cutting.first_layers(number, &self.target)).transpose()
    }
}

/// A growing share of the filters.
pub(super) struct GreedyFilters<'a> {
    pub(super) cutting: Cutting<'a>,
    pub(super) filters: Filters<'a>,
    pub(super) budgets: Budgets,
    pub(super) target: String,
    /// The share of each trial, in percent.
    pub(super) shares: Vec<f64>,
    pub(super) baseline_ms: f64,
}

impl GreedyFilters<'_> {
    fn of_share(&self, percent: f64) -> Result<Proposal, SearchError> {
        let Filters { channels, scores, constraints, scope } = self.filters;
        let (graph, units) = (&self.cutting.model.graph, self.cutting.units);
        let plan = plan::lowest_filters(graph, units, channels, scores, constraints, scope, percent)?;
        let plan = plan::Plan { target: format!("{}, by {}", self.target, plan.target), ..plan };
        let loss = |planned: &plan::PlannedChannels| {
            let Some(group) = channels.named(&planned.group) else { return 0.0 };
            let gone = group.channels.iter().filter(|channel| planned.removed.contains(&channel.index));
            gone.map(|channel| self.filters.of_channel(group, channel)).sum::<f64>()
        };
        let loss = plan.channels.iter().map(loss).sum();
        self.cutting.proposal(plan, loss)
    }

    /// The share after `last`: the larger, the farther the trial was from what is needed.
    fn grown(&self, last: f64, trial: &Trial) -> f64 {
        let asked = self.budgets.percent_to_save(self.baseline_ms);
        let off = |(asked, saved): (&f64, Option<f64>)| saved.map(|saved| asked / saved.max(0.1 * asked));
        let needed = asked.iter().zip(trial.saved_percent()).filter(|(asked, _)| **asked > 0.0);
        let farthest = needed.filter_map(off).fold(1.0, f64::max);
        (last * farthest).clamp(last + SMALLEST_STEP, 2.0 * last).min(WIDEST_SHARE)
    }
}

impl Propose for GreedyFilters<'_> {
    fn begin(&mut self, baseline_ms: f64) {
        self.baseline_ms = baseline_ms;
    }

    fn widest(&mut self) -> Result<Vec<Proposal>, SearchError> {
        Ok(vec![self.of_share(WIDEST_SHARE)?])
    }

    fn next(&mut self, trials: &[Trial]) -> Result<Option<Proposal>, SearchError> {
        let tried = || trials.iter().zip(&self.shares).map(|(trial, share)| (*share, trial));
        let enough = tried().filter(|(_, trial)| trial.met).map(|(share, _)| share).fold(f64::INFINITY, f64::min);
        let short = tried().filter(|(share, trial)| !trial.met && *share < enough);
        let share = match short.max_by(|a, b| a.0.total_cmp(&b.0)) {
            None if enough.is_finite() => return Ok(None),
            None => FIRST_SHARE,
            Some((short, _)) if enough.is_finite() && enough - short > CLOSE_ENOUGH => (enough + short) / 2.0,
            Some(_) if enough.is_finite() => return Ok(None),
            Some((short, _)) if trials.len() >= MOST_TRIALS && short < WIDEST_SHARE => WIDEST_SHARE,
            Some((short, trial)) => self.grown(short, trial),
        };
        if self.shares.contains(&share) {
            return Ok(None);
        }
        self.shares.push(share);
        self.of_share(share).map(Some)
    }

    fn rungs(&self) -> usize {
        99
    }

    fn rung(&mut self, number: usize) -> Result<Option<Proposal>, SearchError> {
        self.of_share(number as f64).map(Some)
    }
}

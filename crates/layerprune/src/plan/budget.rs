//! What a pruned model may cost at most.

use std::fmt;

use crate::cost::Cost;
use crate::record::LatencyComparison;

/// A latency to be reached, in one of the ways to say it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatencyBudget {
    /// Lower than the whole model's by at least so many percent.
    Reduction(f64),
    /// At least so many times as fast as the whole model.
    Speedup(f64),
    /// At most so many milliseconds a call.
    AtMost(f64),
}

/// What a pruned model may cost at most; what is absent is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budgets {
    /// Measured latency.
    pub latency: Option<LatencyBudget>,
    /// Share of the multiply-adds that may be left, in percent.
    pub macs: Option<f64>,
    /// Share of the parameters that may be left, in percent.
    pub parameters: Option<f64>,
    /// Points of held-out accuracy that may be lost.
    pub max_drop: Option<f64>,
}

impl LatencyBudget {
    /// The latency reduction in percent that meets it, for a whole model that takes `baseline_ms`; negative where that
    /// model is quicker than asked.
    #[must_use]
    pub fn reduction_percent(self, baseline_ms: f64) -> f64 {
        match self {
            Self::Reduction(percent) => percent,
            Self::Speedup(times) => 100.0 * (1.0 - times.recip()),
            Self::AtMost(ms) => 100.0 * (1.0 - ms / baseline_ms),
        }
    }

    /// By how many percent the budget is certainly kept to: what the lower end of the measured reduction's interval is above
    /// the reduction needed. Not met where negative.
    #[must_use]
    pub fn margin_percent(self, found: &LatencyComparison) -> f64 {
        found.latency_reduction_interval[0] - self.reduction_percent(found.baseline.median_ms)
    }
}

impl Budgets {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many of latency, multiply-adds and parameters are limited.
    #[must_use]
    pub fn needs(&self) -> usize {
        [self.latency.is_some(), self.macs.is_some(), self.parameters.is_some()].into_iter().filter(|it| *it).count()
    }

    /// Whether accuracy is the only limit, which leaves open how much is to go.
    #[must_use]
    pub fn is_drop_only(&self) -> bool {
        self.max_drop.is_some() && Self { max_drop: None, ..*self }.is_empty()
    }

    /// Whether a cut from `before` to `after` keeps to the limits on multiply-adds and parameters. Where multiply-adds are
    /// not known a limit on them is not kept.
    #[must_use]
    pub fn cost_met(&self, before: Cost, after: Cost) -> bool {
        let [macs, parameters] = shares_left(before, after);
        let kept =
            |limit: Option<f64>, share: Option<f64>| limit.is_none_or(|limit| share.is_some_and(|it| it <= limit));
        kept(self.macs, macs) && kept(self.parameters, parameters)
    }

    /// What has to be saved of latency, multiply-adds and parameters, in percent of what a whole model of `baseline_ms` has; 0
    /// where that is not limited.
    #[must_use]
    pub fn percent_to_save(&self, baseline_ms: f64) -> [f64; 3] {
        let latency = self.latency.map_or(0.0, |budget| budget.reduction_percent(baseline_ms));
        let saved = |limit: Option<f64>| limit.map_or(0.0, |limit| 100.0 - limit);
        [latency, saved(self.macs), saved(self.parameters)].map(|percent| percent.max(0.0))
    }
}

/// The shares of multiply-adds and parameters that are left, in percent.
#[must_use]
pub fn shares_left(before: Cost, after: Cost) -> [Option<f64>; 2] {
    let share = |before: u64, after: u64| (before > 0).then(|| 100.0 * after as f64 / before as f64);
    let macs = before.macs.zip(after.macs).and_then(|(before, after)| share(before, after));
    [macs, share(before.parameters, after.parameters)]
}

impl fmt::Display for LatencyBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reduction(percent) => write!(f, "latency reduction {percent} %"),
            Self::Speedup(times) => write!(f, "speed-up {times}x"),
            Self::AtMost(ms) => write!(f, "latency {ms} ms"),
        }
    }
}

impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            self.latency.map(|latency| latency.to_string()),
            self.macs.map(|share| format!("{share} % of the MACs")),
            self.parameters.map(|share| format!("{share} % of the parameters")),
            self.max_drop.map(|points| format!("at most {points} points of accuracy lost")),
        ];
        f.write_str(&all.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_saying_a_latency_becomes_a_reduction() {
        assert_eq!(LatencyBudget::Reduction(40.0).reduction_percent(8.0), 40.0);
        assert_eq!(LatencyBudget::Speedup(2.0).reduction_percent(8.0), 50.0);
        assert_eq!(LatencyBudget::AtMost(6.0).reduction_percent(8.0), 25.0);
        assert!(LatencyBudget::AtMost(10.0).reduction_percent(8.0) < 0.0);
    }

    #[test]
    fn costs_are_met_by_shares_that_are_left() {
        let cost = |parameters, macs| Cost { parameters, macs };
        let budgets = Budgets { macs: Some(60.0), parameters: Some(50.0), ..Budgets::default() };
        assert!(budgets.cost_met(cost(100, Some(1000)), cost(50, Some(600))));
        assert!(!budgets.cost_met(cost(100, Some(1000)), cost(51, Some(600))));
        assert!(!budgets.cost_met(cost(100, Some(1000)), cost(50, Some(601))));
        assert!(!budgets.cost_met(cost(100, Some(1000)), cost(50, None)));
    }

    #[test]
    fn budgets_are_named_in_words() {
        let budgets = Budgets {
            latency: Some(LatencyBudget::AtMost(12.0)),
            macs: Some(60.0),
            max_drop: Some(1.0),
            ..Budgets::default()
        };
        assert_eq!(budgets.to_string(), "latency 12 ms, 60 % of the MACs, at most 1 points of accuracy lost");
    }
}

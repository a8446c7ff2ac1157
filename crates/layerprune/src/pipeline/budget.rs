//! Removing layers until a measured latency is reached.

use super::{MeasureLatency, PortError};
use crate::analysis::Units;
use crate::onnx::Model;
use crate::plan::{self, Plan, PlannedRemoval};
use crate::record::LatencyComparison;
use crate::surgery::{self, SurgeryError};

/// One step on the way down to a latency budget.
#[derive(Debug, Clone)]
pub struct BudgetStep {
    /// The removal that was added.
    pub removal: PlannedRemoval,
    /// What all removals so far buy.
    pub latency: LatencyComparison,
}

/// Why a budget could not be met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// All that may go is gone.
    #[error(
        "a latency reduction of {asked} % cannot be met: with all {removed} removable layers gone it is at least {reached:.1} %"
    )]
    OutOfReach {
        /// What was asked for, in percent.
        asked: f64,
        /// How many layers were removed.
        removed: usize,
        /// What that bought at least (the lower end of the interval), in percent.
        reached: f64,
    },
    /// A cut failed.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
    /// A measurement failed.
    #[error("cannot measure the latency")]
    Measure(#[source] PortError),
}

/// Removes units in the order of `ranking` until the measured latency reduction is certainly at least `percent`: the lower
/// end of its interval is, so that noise does not end the search too early.
///
/// Every candidate is the whole model, cut and timed against the baseline; nothing is predicted.
///
/// # Errors
/// See [`BudgetError`].
pub fn prune_to_latency(
    model: &Model,
    units: &Units,
    criterion: &str,
    ranking: &[PlannedRemoval],
    percent: f64,
    port: &mut dyn MeasureLatency,
    step: &mut dyn FnMut(&BudgetStep),
) -> Result<(Plan, Vec<BudgetStep>), BudgetError> {
    let target = format!("latency reduction {percent} %");
    let mut steps: Vec<BudgetStep> = Vec::new();
    for removal in ranking {
        let removed = steps.iter().map(|step| &step.removal).chain([removal]).cloned().collect();
        let plan = plan::of(units, Some(criterion), target.clone(), removed);
        let candidate = surgery::apply(model, units, &plan)?;
        let latency = port.compare(model, &candidate).map_err(BudgetError::Measure)?;
        let met = latency.latency_reduction_interval[0] >= percent;
        steps.push(BudgetStep { removal: removal.clone(), latency });
        step(&steps[steps.len() - 1]);
        if met {
            return Ok((plan, steps));
        }
    }
    let reached = steps.last().map_or(0.0, |step| step.latency.latency_reduction_interval[0]);
    Err(BudgetError::OutOfReach { asked: percent, removed: steps.len(), reached })
}

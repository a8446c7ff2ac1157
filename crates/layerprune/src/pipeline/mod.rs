//! The order of stages, and the ports through which a stage that needs an engine is reached. No clock, no printing.

mod bridge;
mod budget;
mod compensate;
mod correct;
mod iterative;
mod job;
mod leave_one_out;
mod observe;
mod patches;

use std::error::Error;

use crate::analysis::Units;
use crate::evidence::Evidence;
use crate::onnx::Model;
use crate::record::{Accuracy, EpochRow, LatencyComparison, Record};

pub use bridge::{BridgeFit, fit_bridges};
pub use budget::{BudgetError, BudgetStep, prune_to_latency};
pub use compensate::{Compensation, compensate};
pub use correct::{Correction, correct_biases};
pub use iterative::{Iteration, prune_iteratively};
pub use job::{Job, JobError, Target, layer_row, run, score_table};
pub use leave_one_out::{Judge, leave_one_out};
pub use observe::{Observe, Part, RecoveryError, Visit};

/// A fault of whatever stands behind a port.
pub type PortError = Box<dyn Error + Send + Sync>;

/// Times a candidate against the baseline.
pub trait MeasureLatency {
    /// Both timed in one interleaved run, the baseline first.
    ///
    /// # Errors
    /// Whatever the engine reports.
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError>;
}

/// Gathers what criteria need of data.
pub trait Calibrate {
    /// Evidence of every kind that the job's criteria ask for.
    ///
    /// # Errors
    /// Whatever the engine or the data reports.
    fn evidence(&mut self, model: &Model, units: &Units) -> Result<Evidence, PortError>;
}

/// Brings back what a cut cost.
pub trait Recover {
    /// The model with its batch-norm statistics estimated anew; `None` where it has none or this is not wanted.
    ///
    /// # Errors
    /// Whatever the training library or the data reports.
    fn recalibrate(&mut self, model: &Model) -> Result<Option<Model>, PortError>;

    /// The fine-tuned model, and what each epoch came to; `None` where this is not wanted.
    ///
    /// # Errors
    /// Whatever the training library or the data reports.
    fn finetune(&mut self, model: &Model) -> Result<Option<(Model, Vec<EpochRow>)>, PortError>;
}

/// Measures models for the record.
pub trait Measure {
    /// Accuracy on the images that no choice is made on.
    ///
    /// # Errors
    /// Whatever the engine or the data reports.
    fn accuracy(&mut self, model: &Model) -> Result<Accuracy, PortError>;

    /// Baseline and result timed against each other under all circumstances asked for.
    ///
    /// # Errors
    /// Whatever the engine reports.
    fn latency(&mut self, baseline: &Model, result: &Model) -> Result<Vec<LatencyComparison>, PortError>;
}

/// Keeps what a job has done so far.
pub trait Keep {
    /// Called after each stage with the record so far, and the model so far once there is one.
    ///
    /// # Errors
    /// Whatever the file system reports; also the way to stop a job between stages.
    fn keep(&mut self, record: &Record, model: Option<&Model>) -> Result<(), PortError>;
}

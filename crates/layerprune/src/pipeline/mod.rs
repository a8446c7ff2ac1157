//! The order of stages, and the ports through which a stage that needs an engine is reached. No clock, no printing.

mod bridge;
mod compensate;
mod correct;
mod iterative;
mod job;
mod latency_model;
mod leave_one_out;
mod observe;
mod patches;
mod profile;
mod reconstruct;
mod search;

use std::error::Error;

use crate::analysis::Units;
use crate::evidence::Evidence;
use crate::onnx::Model;
use crate::record::{Accuracy, EpochRow, LatencyComparison, LatencyProfile, Record};

pub use bridge::{BridgeFit, fit_bridges};
pub use compensate::{Compensation, compensate};
pub use correct::{Correction, correct_biases};
pub use iterative::{Iteration, prune_iteratively};
pub use job::{Job, JobError, Target, begin, finish, layer_row, run, score_table};
pub use latency_model::{LATENCY_MODEL_SCHEMA, LATENCY_SAMPLES, LatencyFit, LatencyModel, Share, fit_latency};
pub use leave_one_out::{Judge, leave_one_out};
pub use observe::{Observe, Part, RecoveryError, Visit};
pub use profile::{PROFILE_RUNS, Parts, ProfileProgress, Untimed, profile};
pub use reconstruct::{Chooser, LeftWhole, Reconstruct, Reconstructed, Reconstruction, reconstruct};
pub use search::{
    Cutting, Found, HeldOut, Outcome, Ports, Proposal, Propose, SearchError, Strategy, Trial, proposer, search,
};

/// A fault of whatever stands behind a port.
pub type PortError = Box<dyn Error + Send + Sync>;

/// Times a candidate against the baseline.
pub trait MeasureLatency {
    /// Both timed in one interleaved run, the baseline first.
    ///
    /// # Errors
    /// Whatever the engine reports.
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError>;

    /// Several candidates, each against the baseline; in one interleaved run where the implementation can.
    ///
    /// # Errors
    /// Whatever the engine reports.
    fn compare_all(&mut self, baseline: &Model, candidates: &[&Model]) -> Result<Vec<LatencyComparison>, PortError> {
        candidates.iter().map(|candidate| self.compare(baseline, candidate)).collect()
    }

    /// What the model takes without each of `parts`; implementations call [`profile`] and keep what it measures.
    ///
    /// # Errors
    /// Whatever the engine reports; as it stands, that there are no profiles.
    fn profile(&mut self, model: &Model, units: &Units, parts: Parts<'_>) -> Result<LatencyProfile, PortError> {
        let _ = (model, units, parts);
        Err("profiles are not measured here".into())
    }

    /// As [`MeasureLatency::compare`], measured as long as a last word deserves.
    ///
    /// # Errors
    /// Whatever the engine reports.
    fn confirm(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        self.compare(baseline, candidate)
    }
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

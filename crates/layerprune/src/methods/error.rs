use crate::criteria::CriterionError;
use crate::pipeline::{JobError, PortError, RecoveryError, SearchError};
use crate::plan::PlanError;
use crate::shapes::ShapeError;
use crate::surgery::SurgeryError;

/// Why a method ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MethodError {
    /// No budget says when to end.
    #[error("`{method}` goes on until a budget is met: limit latency, MACs or parameters")]
    NoBudget {
        /// The method.
        method: &'static str,
    },
    /// The method cannot keep to this budget.
    #[error("`{method}` {reason}")]
    Budget {
        /// The method.
        method: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A setting is out of its range.
    #[error("`{setting}` is {found}, {expected} is needed")]
    Setting {
        /// Its name in files.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it could be.
        expected: &'static str,
    },
    /// The model has nothing that the method could work on.
    #[error("`{method}` finds nothing to work on: {reason}")]
    Nothing {
        /// The method.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// All that may go is not enough.
    #[error("{budgets} cannot be met: with all gone that may go, {reached}")]
    OutOfReach {
        /// What was asked for.
        budgets: String,
        /// What it came to.
        reached: String,
    },
    /// What is behind a port failed.
    #[error("{stage} failed")]
    Port {
        /// What was being done.
        stage: &'static str,
        /// Why.
        source: PortError,
    },
    /// The search for what is enough failed.
    #[error(transparent)]
    Search(Box<SearchError>),
    /// The fit of what is left failed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A criterion cannot be computed.
    #[error(transparent)]
    Criterion(#[from] CriterionError),
    /// Sizes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A cut failed.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
    /// A stage of the whole job failed.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl From<SearchError> for MethodError {
    fn from(error: SearchError) -> Self {
        Self::Search(Box::new(error))
    }
}

/// Names what failed behind a port.
pub(super) fn at(stage: &'static str) -> impl FnOnce(PortError) -> MethodError {
    move |source| MethodError::Port { stage, source }
}

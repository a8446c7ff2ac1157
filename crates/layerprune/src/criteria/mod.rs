//! Rules that give each unit its importance. Pure; higher = more important; know no plans.

mod batch_norm_scale;
mod filters;
mod imprint;
mod weight_norm;

use serde::{Deserialize, Serialize};

use crate::analysis::{FilterAxis, Unit, Units};
use crate::evidence::Evidence;
use crate::graph::Graph;
use crate::onnx::ModelDigest;
use crate::record::Proportion;
use crate::shapes::Shapes;

pub use batch_norm_scale::BatchNormScale;
pub use filters::{FilterRow, FilterScores};
pub use imprint::Imprint;
pub use weight_norm::WeightNorm;

/// Version of the JSON form of [`Scores`].
pub const SCORES_SCHEMA: u32 = 1;

/// Every criterion, one line each.
pub static CRITERIA: &[&dyn Criterion] = &[&Imprint, &WeightNorm, &BatchNormScale];

/// Gives each unit of a model its importance.
pub trait Criterion: Sync {
    /// Its name on the command line and in files.
    fn id(&self) -> &'static str;

    /// What a score says, in one line.
    fn measures(&self) -> &'static str;

    /// Whether it needs imprinted accuracies of the tapped units.
    fn needs_imprint(&self) -> bool;

    /// Scores in forward order.
    ///
    /// # Errors
    /// Why the criterion cannot be computed on this model.
    fn score(&self, graph: &Graph, units: &Units, evidence: &Evidence) -> Result<Vec<ScoreRow>, CriterionError>;

    /// Scores of the filters that `source` holds, in order; `Ok(None)` where this one has none by this criterion.
    ///
    /// # Errors
    /// Where the criterion scores no filters at all.
    fn score_filters(
        &self,
        graph: &Graph,
        shapes: &Shapes,
        source: &FilterAxis,
    ) -> Result<Option<Vec<f64>>, CriterionError>;
}

/// The criterion called `id`.
#[must_use]
pub fn named(id: &str) -> Option<&'static dyn Criterion> {
    CRITERIA.iter().copied().find(|criterion| criterion.id() == id)
}

/// The importance of one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The unit.
    pub unit: String,
    /// Its importance; higher = more important.
    pub score: f64,
    /// 95 % interval of the score, where it was estimated from samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Accuracy of the classifier imprinted behind the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Proportion>,
}

/// Scores of all units by one criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// The criterion's id.
    pub criterion: String,
    /// One row for each scored unit, in forward order.
    pub rows: Vec<ScoreRow>,
}

impl Scores {
    /// Scores all units of a model.
    ///
    /// # Errors
    /// Why the criterion cannot be computed on this model.
    pub fn of(
        criterion: &dyn Criterion,
        graph: &Graph,
        units: &Units,
        evidence: &Evidence,
    ) -> Result<Self, CriterionError> {
        Ok(Self {
            schema: SCORES_SCHEMA,
            model: units.model.clone(),
            criterion: criterion.id().to_owned(),
            rows: criterion.score(graph, units, evidence)?,
        })
    }

    /// For each row, whether the next higher score is within the noise: their intervals overlap.
    #[must_use]
    pub fn ties(&self) -> Vec<bool> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|&a, &b| self.rows[a].score.total_cmp(&self.rows[b].score));
        let mut ties = vec![false; self.rows.len()];
        for pair in order.windows(2) {
            let (low, high) = (&self.rows[pair[0]], &self.rows[pair[1]]);
            ties[pair[0]] = match (low.interval, high.interval) {
                (Some(low), Some(high)) => low[1] >= high[0],
                _ => low.score == high.score,
            };
        }
        ties
    }
}

/// Why a criterion cannot be computed on a model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum CriterionError {
    /// No unit has the batch norm that the criterion reads.
    #[error(
        "criterion `{criterion}` needs a batch norm behind the weights of a layer, and no layer has one: they were probably folded into the convolutions when the model was exported"
    )]
    NoBatchNorm {
        /// The criterion.
        criterion: &'static str,
    },
    /// Units whose weights are computed when the model runs.
    #[error("criterion `{criterion}` needs stored weights; {} layers compute theirs: {}", units.len(), units.join(", "))]
    NoStoredWeight {
        /// The criterion.
        criterion: &'static str,
        /// The units.
        units: Vec<String>,
    },
    /// A weight that is no floating-point tensor.
    #[error("criterion `{criterion}` cannot read the weight of `{unit}`")]
    Weight {
        /// The criterion.
        criterion: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        source: crate::graph::tensor::TensorError,
    },
    /// A score that is no number.
    #[error("criterion `{criterion}` gives `{unit}` a score that is not finite: its weights hold NaN or infinity")]
    NotFinite {
        /// The criterion.
        criterion: &'static str,
        /// The unit.
        unit: String,
    },
    /// The criterion ranks whole layers.
    #[error("criterion `{criterion}` scores layers, not filters; `weight-norm` and `batch-norm-scale` score filters")]
    NoFilters {
        /// The criterion.
        criterion: &'static str,
    },
    /// Layers whose filters have no score.
    #[error(
        "criterion `{criterion}` gives no score to the filters of {} layers: {}", layers.len(), layers.join(", ")
    )]
    Unscored {
        /// The criterion.
        criterion: &'static str,
        /// The layers.
        layers: Vec<String>,
    },
    /// No data was shown to the model.
    #[error("criterion `{criterion}` needs labelled images")]
    NoEvidence {
        /// The criterion.
        criterion: &'static str,
    },
    /// The evidence was gathered at other taps.
    #[error("criterion `{criterion}` needs evidence of {expected} taps, {found} were given")]
    OtherTaps {
        /// The criterion.
        criterion: &'static str,
        /// Taps of the model.
        expected: usize,
        /// Taps in the evidence.
        found: usize,
    },
}

/// Units that weight criteria score: those on the trunk, and all that can be removed.
fn scored_units(units: &Units) -> impl Iterator<Item = &Unit> {
    units.units.iter().filter(|unit| unit.tapped || !unit.removals.is_empty())
}

/// Units that imprinting scores: one for each tap, in forward order.
fn tapped_units(units: &Units) -> impl Iterator<Item = &Unit> {
    units.units.iter().filter(|unit| unit.tapped)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn finite(criterion: &'static str, unit: &Unit, score: f64) -> Result<ScoreRow, CriterionError> {
    if !score.is_finite() {
        return Err(CriterionError::NotFinite { criterion, unit: unit.name.clone() });
    }
    Ok(ScoreRow { unit: unit.name.clone(), score, interval: None, accuracy: None })
}

//! Rules that give each unit its importance. Pure; higher = more important; know no plans.
//!
//! A criterion scores single filters, and a layer by the mean over its filters, or it scores layers by a rule of their own.

mod activation;
mod batch_norm_scale;
mod block_influence;
mod cka;
mod error;
mod feature_maps;
mod filters;
mod fpgm;
mod hrank;
mod imprint;
mod lamp;
mod leave_one_out;
mod linear_probe;
mod normalize;
mod random;
mod scores;
mod scoring;
mod taylor;
mod weight_norm;

use crate::analysis::{FilterSite, Unit, Units};
use crate::evidence::{Evidence, Need, Statistic};
use crate::graph::Graph;
use crate::shapes::Shapes;

pub use activation::{APOZ, MEAN_ACTIVATION};
pub use batch_norm_scale::BATCH_NORM_SCALE;
pub use block_influence::BLOCK_INFLUENCE;
pub use cka::CKA;
pub use error::CriterionError;
pub use feature_maps::FEATURE_MAPS;
pub use filters::{FilterRow, FilterScores};
pub use fpgm::FPGM;
pub use hrank::HRANK;
pub use imprint::IMPRINT;
pub use lamp::LAMP;
pub use leave_one_out::{LEAVE_ONE_OUT, LEAVE_ONE_OUT_LOSS};
pub use linear_probe::LINEAR_PROBE;
pub use normalize::Normalize;
pub use random::RANDOM;
pub use scores::{SCORES_SCHEMA, ScoreRow, Scores, Unscored};
pub use scoring::{ENSEMBLE, Scoring, sites};
pub use taylor::{TAYLOR_BATCH_NORM, TAYLOR_GATE, TAYLOR_WEIGHT};
pub use weight_norm::{WEIGHT_NORM, WEIGHT_NORM_L1, WEIGHT_NORM_L2};

/// Every criterion, one line each, those of layers first.
pub static CRITERIA: &[&Criterion] = &[
    &IMPRINT,
    &LINEAR_PROBE,
    &BLOCK_INFLUENCE,
    &CKA,
    &LEAVE_ONE_OUT,
    &LEAVE_ONE_OUT_LOSS,
    &WEIGHT_NORM,
    &WEIGHT_NORM_L1,
    &WEIGHT_NORM_L2,
    &BATCH_NORM_SCALE,
    &TAYLOR_WEIGHT,
    &TAYLOR_GATE,
    &TAYLOR_BATCH_NORM,
    &FEATURE_MAPS,
    &HRANK,
    &APOZ,
    &MEAN_ACTIVATION,
    &FPGM,
    &LAMP,
    &RANDOM,
];

/// A way of telling what is important.
#[derive(Debug)]
pub struct Criterion {
    /// Its name on the command line and in files.
    pub id: &'static str,
    /// What a score says, in one line.
    pub measures: &'static str,
    /// How it scores single filters, where it does.
    pub filters: Option<FilterRule>,
    /// How it scores layers, where not by the mean over their filters.
    pub layers: Option<LayerRule>,
    /// Whether it reads the batch norms behind the weights.
    pub batch_norm: bool,
}

/// How filters are scored.
#[derive(Debug, Clone, Copy)]
pub enum FilterRule {
    /// By what is stored: one score for each filter in order; `None` where this node's filters have none.
    Stored(fn(&Stored<'_>) -> Option<Vec<f64>>),
    /// By what was gathered on data.
    Statistic(Statistic),
}

/// How layers are scored.
#[derive(Debug, Clone, Copy)]
pub struct LayerRule {
    /// What it reads, where that has to be gathered on data.
    pub need: Option<Need>,
    /// Gives each unit its score.
    pub score: fn(&Layers<'_>) -> Result<Scores, CriterionError>,
}

/// The stored filters of one node.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its shapes.
    pub shapes: &'a Shapes,
    /// The filters.
    pub site: &'a FilterSite,
    /// What random scores are drawn from.
    pub seed: u64,
}

/// The layers of a model, and what is known of them.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The layers.
    pub units: &'a Units,
    /// What was gathered on data.
    pub evidence: &'a Evidence,
}

impl Criterion {
    /// What has to be gathered on data before it can score layers (or filters), where anything has.
    #[must_use]
    pub fn need(&self) -> Option<Need> {
        match (&self.layers, &self.filters) {
            (Some(rule), _) => rule.need,
            (None, Some(FilterRule::Statistic(statistic))) => Some(Need::Filters(*statistic)),
            (None, _) => None,
        }
    }
}

/// The criterion called `id`.
#[must_use]
pub fn named(id: &str) -> Option<&'static Criterion> {
    CRITERIA.iter().copied().find(|criterion| criterion.id == id)
}

/// Units that criteria of filters score, in forward order.
fn scored_units(units: &Units) -> impl Iterator<Item = &Unit> {
    units.units.iter().filter(|unit| unit.is_scored())
}

/// Units that classifiers stand behind: one for each tap, in forward order.
fn tapped_units(units: &Units) -> impl Iterator<Item = &Unit> {
    units.units.iter().filter(|unit| unit.tapped)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

//! Scores of layers as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CriterionError, Normalize};
use crate::analysis::Unit;
use crate::evidence::interval;
use crate::onnx::ModelDigest;
use crate::record::Proportion;

/// Version of the JSON form of [`Scores`].
pub const SCORES_SCHEMA: u32 = 1;

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
    /// Accuracy of the classifier behind the unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Proportion>,
}

/// A unit that a criterion gives no score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unscored {
    /// The unit.
    pub unit: String,
    /// Why it has none.
    pub reason: String,
}

/// Scores of all units by one criterion, or by several together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// The criterion's id; several are joined by `+`.
    pub criterion: String,
    /// What was done to the scores of filters before their mean was taken.
    #[serde(default, skip_serializing_if = "Normalize::is_none")]
    pub normalize: Normalize,
    /// One row for each scored unit, in forward order.
    pub rows: Vec<ScoreRow>,
    /// Units without a score, in forward order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unscored: Vec<Unscored>,
}

impl Scores {
    /// Collects the scores of units in forward order, or why they have none.
    pub(super) fn collect<'u>(
        model: &ModelDigest,
        criterion: &'static str,
        rows: impl Iterator<Item = (&'u Unit, Result<ScoreRow, String>)>,
    ) -> Result<Self, CriterionError> {
        let mut scores = Self {
            schema: SCORES_SCHEMA,
            model: model.clone(),
            criterion: criterion.to_owned(),
            normalize: Normalize::None,
            rows: Vec::new(),
            unscored: Vec::new(),
        };
        for (unit, row) in rows {
            match row {
                Ok(row) if row.score.is_finite() => scores.rows.push(row),
                Ok(_) => return Err(CriterionError::NotFinite { criterion, unit: unit.name.clone() }),
                Err(reason) => scores.unscored.push(Unscored { unit: unit.name.clone(), reason }),
            }
        }
        match (scores.rows.is_empty(), scores.unscored.first()) {
            (true, Some(first)) => {
                let (unit, reason) = (first.unit.clone(), first.reason.clone());
                Err(CriterionError::NoScore { criterion, unit, reason })
            }
            _ => Ok(scores),
        }
    }

    /// For each row, whether the next higher score is within the noise: their intervals overlap.
    #[must_use]
    pub fn ties(&self) -> Vec<bool> {
        let mut ties = vec![false; self.rows.len()];
        for pair in self.order().windows(2) {
            let (low, high) = (&self.rows[pair[0]], &self.rows[pair[1]]);
            ties[pair[0]] = match (low.interval, high.interval) {
                (Some(low), Some(high)) => low[1] >= high[0],
                _ => low.score == high.score,
            };
        }
        ties
    }

    /// The place of each row among all, 0 for the least important; equal scores in forward order.
    #[must_use]
    pub fn ranks(&self) -> Vec<usize> {
        let mut ranks = vec![0; self.rows.len()];
        for (place, row) in self.order().into_iter().enumerate() {
            ranks[row] = place;
        }
        ranks
    }

    /// The rows from the least to the most important; equal scores in forward order.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|&a, &b| self.rows[a].score.total_cmp(&self.rows[b].score));
        order
    }

    /// The place of each of the units that `taken` takes among these, by unit.
    pub(super) fn ranks_among(&self, taken: impl Fn(&str) -> bool) -> BTreeMap<&str, usize> {
        let names = self.order().into_iter().map(|row| self.rows[row].unit.as_str()).filter(|&name| taken(name));
        names.enumerate().map(|(rank, name)| (name, rank)).collect()
    }
}

impl ScoreRow {
    /// What all batches say, `of(None)`, with the interval of what `parts` parts of them say; `None` where they say nothing.
    pub(super) fn of_parts(unit: &Unit, parts: usize, of: impl Fn(Option<usize>) -> Option<f64>) -> Option<Self> {
        let score = of(None)?;
        let parts: Vec<f64> = (0..parts).filter_map(|part| of(Some(part))).collect();
        Some(Self { interval: interval(score, &parts), ..Self::plain(unit, score) })
    }

    /// A score without an interval.
    pub(super) fn plain(unit: &Unit, score: f64) -> Self {
        Self { unit: unit.name.clone(), score, interval: None, accuracy: None }
    }
}

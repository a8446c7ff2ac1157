use serde::{Deserialize, Serialize};

use super::{Accuracy, LatencyComparison, Machine, ModelInfo, RecordError, SweepBaseline, Tool, json};
use crate::stats;

/// The number of the JSON form of a study written here, and the only one read.
pub const STUDY_SCHEMA: u32 = 1;

/// The account of a study: one model made smaller by many methods, budgets and seeds, all trained and measured alike.
///
/// What was not measured is absent, never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// Always [`STUDY_SCHEMA`].
    pub schema: u32,
    /// The program that wrote it.
    pub tool: Tool,
    /// Where latency was measured.
    pub machine: Machine,
    /// The model that was given.
    pub model: ModelInfo,
    /// The resolved recipe.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
    /// The model that was given, measured on the test set.
    pub baseline: SweepBaseline,
    /// One entry for each model that was made, in the order of the recipe.
    pub rows: Vec<StudyRow>,
    /// What gave no model.
    #[serde(default)]
    pub failures: Vec<StudyFailure>,
}

/// A model that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyRow {
    /// What made it, such as `taylor` or `layerprune:weight-norm`.
    pub arm: String,
    /// What that takes out, such as `layers`.
    pub removes: String,
    /// The budget as it was asked for, such as `latency reduction 25 %`.
    pub budget: String,
    /// The seed of all that is random.
    pub seed: u64,
    /// Digest of the model.
    pub digest: String,
    /// Layers that are gone.
    pub layers: Vec<String>,
    /// Filters that are gone of the layers that are left.
    pub filters: usize,
    /// Parameters that are left.
    pub parameters: u64,
    /// Multiply-adds for one image that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
    /// On the test set, before training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_cut: Option<Accuracy>,
    /// On the test set, at the end.
    pub accuracy: Accuracy,
    /// Epochs that it was trained for behind the cut.
    pub epochs: usize,
    /// Against the whole model, timed in turns; one for each batch size.
    pub latency: Vec<LatencyComparison>,
    /// Seconds that the method took, and the training behind it, of the last go at the job: one that went on after a kill took
    /// longer.
    pub seconds: [f64; 2],
}

/// What gave no model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StudyFailure {
    /// What was to make it.
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// The seed.
    pub seed: u64,
    /// Why there is none.
    pub reason: String,
}

/// All models of one arm under one budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm<'a> {
    /// What made them.
    pub arm: &'a str,
    /// What that takes out.
    pub removes: &'a str,
    /// The budget.
    pub budget: &'a str,
    /// The models, one for each seed.
    pub rows: Vec<&'a StudyRow>,
}

/// Numbers of several seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n - 1 below; `None` of one number.
    pub deviation: Option<f64>,
}

impl Spread {
    /// Of at least one number.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let mean = stats::mean(numbers)?;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let deviation = (numbers.len() > 1).then(|| (squares / (numbers.len() - 1) as f64).sqrt());
        Some(Self { mean, deviation })
    }
}

impl Arm<'_> {
    /// Top-1 on the test set in percent.
    #[must_use]
    pub fn top1(&self) -> Option<Spread> {
        self.spread(|row| Some(row.accuracy.top1.percent))
    }

    /// Top-1 on the test set before training, in percent.
    #[must_use]
    pub fn after_cut(&self) -> Option<Spread> {
        self.spread(|row| Some(row.after_cut.as_ref()?.top1.percent))
    }

    /// Latency reduction in percent at a batch size.
    #[must_use]
    pub fn latency_reduction(&self, batch: usize) -> Option<Spread> {
        self.spread(|row| Some(row.latency.iter().find(|latency| latency.batch == batch)?.latency_reduction_percent))
    }

    /// Any number of the rows that have it.
    #[must_use]
    pub fn spread(&self, of: impl Fn(&StudyRow) -> Option<f64>) -> Option<Spread> {
        Spread::of(&self.rows.iter().filter_map(|row| of(row)).collect::<Vec<_>>())
    }
}

impl Study {
    /// The rows by budget and arm, in the order in which they stand.
    #[must_use]
    pub fn arms(&self) -> Vec<Arm<'_>> {
        let mut arms: Vec<Arm<'_>> = Vec::new();
        for row in &self.rows {
            match arms.iter_mut().find(|arm| arm.arm == row.arm && arm.budget == row.budget) {
                Some(arm) => arm.rows.push(row),
                None => arms.push(Arm { arm: &row.arm, removes: &row.removes, budget: &row.budget, rows: vec![row] }),
            }
        }
        arms
    }

    /// Batch sizes that were timed, rising.
    #[must_use]
    pub fn batches(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.rows.iter().flat_map(|row| &row.latency).map(|latency| latency.batch).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The study as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Reads what [`Study::to_json`] writes.
    ///
    /// # Errors
    /// [`RecordError`]: no JSON, or of another schema.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        json::read(text, "study", STUDY_SCHEMA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_deviation_of_a_sample() {
        let spread = Spread::of(&[1.0, 2.0, 6.0]).unwrap();
        assert_eq!(spread.mean, 3.0);
        // Squares of -2, -1 and 3 over 2.
        assert_eq!(spread.deviation, Some(7.0_f64.sqrt()));
        assert_eq!(Spread::of(&[4.0]), Some(Spread { mean: 4.0, deviation: None }));
        assert_eq!(Spread::of(&[]), None);
    }
}

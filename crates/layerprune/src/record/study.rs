use serde::{Deserialize, Serialize};

use super::format::shape;
use super::summary::{engines, known, model_facts, run_facts};
use super::{
    Accuracy, Circumstances, LatencyComparison, LayerRow, Machine, ModelInfo, RecordError, ScoreTable, SweepBaseline,
    Tool, json,
};
use crate::stats;

/// The number of the JSON form of a study written here, and the only one read.
pub const STUDY_SCHEMA: u32 = 2;

/// The account of a study: one model made smaller by many methods, budgets and seeds, all trained and measured alike.
///
/// What was not measured is absent, never zero. Paths of files are relative to the folder that holds the record.
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
    /// Commands that make all of this again, in their order.
    #[serde(default)]
    pub commands: Vec<String>,
    /// The model that was given, measured on the test set.
    pub baseline: SweepBaseline,
    /// Its layers and blocks in forward order.
    #[serde(default)]
    pub layers: Vec<LayerRow>,
    /// What each of them is worth, by one criterion or several.
    #[serde(default)]
    pub scores: Vec<ScoreTable>,
    /// What leaving out each of them saves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savings: Option<Savings>,
    /// One entry for each model that a method made, in the order of the recipe.
    pub rows: Vec<StudyRow>,
    /// Models whose layers or filters were taken out by lot, without a budget; their arms are `random:layers` and
    /// `random:filters`.
    #[serde(default)]
    pub random: Vec<StudyRow>,
    /// Other networks, to compare with.
    #[serde(default)]
    pub handcrafted: Vec<Handcrafted>,
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
    /// The model's file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Epochs that it was trained for behind the cut.
    pub epochs: usize,
    /// Against the whole model, timed in turns; one for each engine and batch size.
    pub latency: Vec<LatencyComparison>,
    /// The processor that it was timed on, where it is known: jobs of one study may be done on several machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Seconds that the method took, and the training behind it, of the last go at the job: one that went on after a kill took
    /// longer.
    pub seconds: [f64; 2],
}

/// A network of another kind than the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handcrafted {
    /// What it is called.
    pub name: String,
    /// The model's file, as the recipe gives it.
    pub file: String,
    /// On the same test set, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Top-1 in percent as the recipe states it, where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated_top1: Option<f64>,
    /// Parameters.
    pub parameters: u64,
    /// Multiply-adds for one image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
    /// Against the whole model, timed in turns; one for each engine and batch size.
    pub latency: Vec<LatencyComparison>,
}

/// What leaving out each layer or block saves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Savings {
    /// How it was timed.
    pub circumstances: Circumstances,
    /// One entry for each that can be left out.
    pub rows: Vec<SavingRow>,
}

/// What leaving out a layer or block saves: medians of several runs, in which both models were timed in turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavingRow {
    /// Its name.
    pub layer: String,
    /// Milliseconds of the whole model.
    pub with_ms: f64,
    /// Milliseconds without it.
    pub without_ms: f64,
    /// Percent of the whole model's latency; negative where the model is slower without.
    pub reduction_percent: f64,
    /// From the lowest to the highest end of the runs' 95 % intervals, in percent.
    pub reduction_interval: [f64; 2],
}

/// How a latency was measured, as far as a study tells measurements apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TimedBy {
    /// Name of the engine.
    pub engine: String,
    /// Images of a call.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
}

impl TimedBy {
    /// How `latency` was measured.
    #[must_use]
    pub fn of(latency: &LatencyComparison) -> Self {
        Self { engine: latency.engine.name.clone(), batch: latency.batch, threads: latency.threads }
    }

    /// The one of `among` that was measured so.
    #[must_use]
    pub fn find<'a>(&self, among: &'a [LatencyComparison]) -> Option<&'a LatencyComparison> {
        among.iter().find(|latency| Self::of(latency) == *self)
    }
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
        self.spread(|row| Some(row.accuracy.as_ref()?.top1.percent))
    }

    /// Top-1 on the test set before training, in percent.
    #[must_use]
    pub fn after_cut(&self) -> Option<Spread> {
        self.spread(|row| Some(row.after_cut.as_ref()?.top1.percent))
    }

    /// Latency reduction in percent.
    #[must_use]
    pub fn latency_reduction(&self, by: &TimedBy) -> Option<Spread> {
        self.spread(|row| Some(by.find(&row.latency)?.latency_reduction_percent))
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

    /// Every latency that was measured.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = &LatencyComparison> {
        let made = self.rows.iter().chain(&self.random).flat_map(|row| &row.latency);
        made.chain(self.handcrafted.iter().flat_map(|one| &one.latency))
    }

    /// All ways in which latency was measured, by engine and then by batch size.
    #[must_use]
    pub fn timed(&self) -> Vec<TimedBy> {
        let mut all: Vec<TimedBy> = self.latencies().map(TimedBy::of).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Under what circumstances the numbers were won, as names and values; only what is known.
    pub(crate) fn circumstances(&self) -> Vec<(&'static str, String)> {
        let mut timed: Vec<&LatencyComparison> = self.latencies().collect();
        timed.sort_by_key(|one| (&one.engine.name, &one.engine.version, one.threads));
        let mut inputs: Vec<&[usize]> = timed.iter().map(|one| &*one.shape).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let own = [
            ("engines", Some(engines(timed))),
            ("timed with inputs", Some(inputs.into_iter().map(shape).collect::<Vec<_>>().join("; "))),
        ];
        known(model_facts(&self.model).into_iter().chain(own).chain(run_facts(&self.machine, &self.tool, None)))
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

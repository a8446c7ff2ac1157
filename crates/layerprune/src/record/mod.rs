//! The serialisable record of a run: all that a report is made from. Plain data, no clock, no printing.

mod accuracy;
mod agreement;
mod error;
pub(crate) mod format;
mod json;
mod latency;
mod profile;
mod study;
mod summary;
mod sweep;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use accuracy::{Accuracy, Proportion};
pub use agreement::Agreement;
pub use error::RecordError;
use json::null_as_nan;
pub use latency::{
    Circumstances, EngineInfo, LatencyComparison, LatencyError, LatencyStats, Side, Timing, Verdict, Warning,
};
pub use profile::{
    Candidate, Conditions, CountTime, GroupTimes, JointTime, LatencyProfile, MacsSaved, PROFILE_SCHEMA, Run, Saving,
    UnitTime,
};
pub use study::{Arm, Handcrafted, STUDY_SCHEMA, SavingRow, Savings, Spread, Study, StudyFailure, StudyRow, TimedBy};
pub(crate) use summary::Difference;
pub use summary::SummaryRow;
pub use sweep::{SWEEP_SCHEMA, Sweep, SweepBaseline, SweepFailure, SweepPoint};

/// The number of the JSON form written here, and the only one read.
pub const SCHEMA: u32 = 1;

/// The account of one run, from the model that was given to the one that was written.
///
/// What was not done or not measured is absent (`None` or empty), never zero. All percentages are numbers from 0 to
/// 100, differences of accuracy are percentage points.
///
/// ```
/// use layerprune::record::Record;
///
/// let record = Record { warnings: vec!["the machine was busy".to_owned()], ..Record::default() };
/// assert_eq!(Record::from_json(&record.to_json())?, record);
/// # Ok::<(), layerprune::record::RecordError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The program that wrote the record.
    pub tool: Tool,
    /// When the run began, as RFC 3339 text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Whether the run went to its end; `false` for one that was interrupted.
    pub complete: bool,
    /// Where latency was measured.
    pub machine: Machine,
    /// The model that was given.
    pub model: ModelInfo,
    /// The data set, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataInfo>,
    /// The resolved recipe.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
    /// What could not be trusted or needs the reader's eye; shown before everything else.
    pub warnings: Vec<String>,
    /// All layers and blocks of the model that was given, in its order.
    pub layers: Vec<LayerRow>,
    /// One table for each criterion that was run.
    pub scores: Vec<ScoreTable>,
    /// What was chosen to go, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSummary>,
    /// The model that was given, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// The model that was written, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// Every epoch of training, in order.
    pub training: Vec<EpochRow>,
    /// Baseline and pruned model timed against each other, one entry for each batch size, thread count and engine.
    pub latency: Vec<LatencyComparison>,
}

/// The program that wrote a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A computer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// The operating system and its version.
    pub os: Option<String>,
    /// How many cores the run could use.
    pub cores: Option<usize>,
}

/// The model that was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its file, as the user named it.
    pub path: String,
    /// Digest of the file.
    pub digest: Option<String>,
    /// Version of ONNX's own operators.
    pub opset: Option<i64>,
    /// What wrote the file.
    pub producer: Option<String>,
    /// Its inputs.
    #[serde(default)]
    pub inputs: Vec<InputInfo>,
}

/// An input of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Its shape as text, such as `N x 3 x 32 x 32`.
    pub shape: String,
}

/// The data set of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataInfo {
    /// Where it came from, such as `cifar10:data/`.
    pub source: String,
    /// All that was done to images before a model saw them, in words, whether a flag, a file beside the model or a trial
    /// gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<String>,
    /// Images trained on.
    pub train: Option<usize>,
    /// Images held out of the training set, on which choices were made.
    pub held_out: Option<usize>,
    /// Images of the test set.
    pub test: Option<usize>,
    /// Which of these parts the accuracies of [`Baseline`] and [`Pruned`] were measured on, such as `test set`.
    pub evaluated_on: Option<String>,
    /// The names of the classes.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Seed of the split and of the order.
    pub seed: Option<u64>,
}

/// A layer or block of the model that was given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRow {
    /// Its name.
    pub name: String,
    /// What it is: `block`, `conv-layer`, ….
    pub kind: String,
    /// The way it can be removed (`bypass`, `drop-branch`, …); `None` where it can't be.
    pub way: Option<String>,
    /// Why it can't be removed, or what a removal would cost beyond its weights.
    pub reason: Option<String>,
    /// Whether its removal is the same as zeroing its branch.
    pub exact: bool,
    /// Parameters.
    pub parameters: Option<u64>,
    /// Multiply-adds for one image.
    pub macs: Option<u64>,
    /// Shape of its output as text.
    pub shape: Option<String>,
    /// Whether the plan removes it.
    pub removed: bool,
}

/// The scores of one criterion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreTable {
    /// The criterion's id, such as `imprinting`.
    pub criterion: String,
    /// What a higher score says, in words.
    pub meaning: String,
    /// One row for each layer that was scored, in the model's order.
    pub rows: Vec<ScoreRow>,
}

/// The score of one layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The layer's name.
    pub layer: String,
    /// Its importance score, higher is more important; NaN where it isn't finite.
    #[serde(deserialize_with = "null_as_nan")]
    pub score: f64,
    /// 95 % interval of the score, where it was estimated from samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Accuracy of a classifier on the layer's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Proportion>,
    /// Whether the score can't be told from that of the layer with the next higher score.
    pub tied_with_next: bool,
    /// Whether the plan removes the layer.
    pub removed: bool,
}

/// What was chosen to go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The criterion that chose, or `by name`.
    pub criterion: String,
    /// What was asked for, such as `latency reduction 40 %`.
    pub target: Option<String>,
    /// Whether that was reached.
    pub met: Option<bool>,
    /// The latency reduction asked for in percent, where it was one; drawn as a line among the steps.
    pub target_reduction_percent: Option<f64>,
    /// The batch size at which a latency asked for was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_batch: Option<usize>,
    /// Names of the removed layers, in order of removal.
    #[serde(default)]
    pub removed: Vec<String>,
    /// How many filters went of the layers that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters_removed: Option<usize>,
    /// The measured way down to the target.
    #[serde(default)]
    pub steps: Vec<PlanStep>,
}

/// A cut that was tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Name of the layer that went, on top of those before; of a search that proposes whole cuts, how many went.
    pub removed: String,
    /// Median latency without.
    #[serde(deserialize_with = "null_as_nan")]
    pub latency_ms: f64,
    /// Latency reduction against the baseline of the same measurement.
    #[serde(deserialize_with = "null_as_nan")]
    pub latency_reduction_percent: f64,
    /// The latency reduction that a profile let expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_percent: Option<f64>,
}

/// An ONNX file and what it costs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// The file.
    pub path: Option<String>,
    /// Digest of the file.
    pub digest: Option<String>,
    /// Parameters.
    pub parameters: Option<u64>,
    /// Multiply-adds for one image.
    pub macs: Option<u64>,
    /// Size of the file and of its external data.
    pub file_bytes: Option<u64>,
}

/// The model that was given, measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The file.
    pub file: ModelFile,
    /// Its accuracy.
    pub accuracy: Option<Accuracy>,
}

/// The model that was written, measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pruned {
    /// The file.
    pub file: ModelFile,
    /// Accuracy right after the cut.
    pub after_cut: Option<Accuracy>,
    /// Accuracy after the batch norms' statistics were taken anew.
    pub after_recalibration: Option<Accuracy>,
    /// Accuracy after fine-tuning.
    pub after_finetune: Option<Accuracy>,
}

/// A stage of a pruned model's way at which its accuracy is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Right after the cut.
    Cut,
    /// After the batch norms' statistics were taken anew.
    Recalibration,
    /// After fine-tuning.
    Finetune,
}

/// One epoch of training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// What the training was for, such as `fine-tuning`.
    pub stage: String,
    /// Number of the epoch within its stage, from 1.
    pub epoch: usize,
    /// Mean training loss; NaN where training diverged.
    #[serde(deserialize_with = "null_as_nan")]
    pub loss: f64,
    /// Top-1 on the training images, in percent.
    pub train_top1: Option<f64>,
    /// Top-1 on the held-out images, in percent.
    pub held_out_top1: Option<f64>,
    /// Learning rate at the epoch's end.
    pub learning_rate: Option<f64>,
    /// How long the epoch took.
    pub seconds: Option<f64>,
    /// The share of labels that are right, of several for each image, on the training images, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_right_labels: Option<f64>,
    /// The same on the held-out images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_right_labels: Option<f64>,
    /// Mean loss on the held-out images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_loss: Option<f64>,
    /// Training images that were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// How many of its seconds went by in waiting for images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// Whether the model of this epoch is what training came to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "after the cut",
            Self::Recalibration => "after recalibration",
            Self::Finetune => "after fine-tuning",
        })
    }
}

impl Pruned {
    /// The accuracies that were measured, in the order of the stages.
    pub fn stages(&self) -> impl DoubleEndedIterator<Item = (Stage, &Accuracy)> {
        [
            (Stage::Cut, &self.after_cut),
            (Stage::Recalibration, &self.after_recalibration),
            (Stage::Finetune, &self.after_finetune),
        ]
        .into_iter()
        .filter_map(|(stage, accuracy)| Some((stage, accuracy.as_ref()?)))
    }

    /// The accuracy of the last stage that was measured: that of the file written.
    #[must_use]
    pub fn last(&self) -> Option<(Stage, &Accuracy)> {
        self.stages().next_back()
    }
}

impl Record {
    /// The record as JSON, with [`SCHEMA`] as its first field. Numbers that aren't finite become `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            schema: u32,
            #[serde(flatten)]
            record: &'a Record,
        }
        json::write(&File { schema: SCHEMA, record: self })
    }

    /// Reads a record from JSON; fields that this version doesn't know are ignored.
    ///
    /// # Errors
    /// Text that isn't a record of [`SCHEMA`]; see [`RecordError`].
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        json::read(text, "record", SCHEMA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let row = ScoreRow { layer: "layer1.0".to_owned(), score: 0.1, ..ScoreRow::default() };
        Record {
            complete: true,
            settings: serde_json::json!({ "seed": 7 }),
            scores: vec![ScoreTable { criterion: "imprinting".to_owned(), rows: vec![row], ..ScoreTable::default() }],
            pruned: Some(Pruned::default()),
            ..Record::default()
        }
    }

    #[test]
    fn json_gives_the_same_record_back() {
        let text = record().to_json();
        assert!(text.starts_with("{\n  \"schema\": 1,\n"), "{text}");
        assert_eq!(Record::from_json(&text).unwrap(), record());
        assert_eq!(Record::from_json(&text).unwrap().to_json(), text);
    }

    #[test]
    fn an_empty_record_of_the_schema_is_read_with_all_parts_absent() {
        assert_eq!(Record::from_json(r#"{"schema": 1}"#).unwrap(), Record::default());
    }

    #[test]
    fn unknown_fields_of_the_schema_are_ignored() {
        let text = record().to_json().replacen("\"schema\": 1,", "\"schema\": 1, \"colour\": [1, {}],", 1);
        assert_eq!(Record::from_json(&text).unwrap(), record());
    }

    #[test]
    fn another_schema_is_refused_before_its_fields_are_read() {
        let error = Record::from_json(r#"{"schema": 2, "layers": "none"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the record has schema 2, this version reads schema 1");
        let error = Record::from_json(r#"{"schema": "1"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the record has schema \"1\", this version reads schema 1");
        let error = Record::from_json("{}").unwrap_err();
        assert_eq!(error.to_string(), "this isn't a record: it has no field `schema`");
    }

    #[test]
    fn truncated_json_is_refused_with_its_line() {
        let text = record().to_json();
        let cut: String = text.lines().take(5).collect::<Vec<_>>().join("\n");
        let error = Record::from_json(&cut).unwrap_err();
        assert!(error.to_string().starts_with("the record can't be read at line 5, column "), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_line() {
        let error = Record::from_json("{\"schema\": 1,\n\"layers\": 3}").unwrap_err();
        assert!(matches!(error, RecordError::Malformed { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_loss_that_is_not_finite_survives_as_nan() {
        let epoch = EpochRow { loss: f64::INFINITY, ..EpochRow::default() };
        let text = Record { training: vec![epoch], ..Record::default() }.to_json();
        assert!(Record::from_json(&text).unwrap().training[0].loss.is_nan());
    }
}

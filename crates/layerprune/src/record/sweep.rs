use serde::{Deserialize, Serialize};

use super::format::shape;
use super::summary::{engines, known, model_facts, run_facts};
use super::{Accuracy, LatencyComparison, Machine, ModelInfo, RecordError, Tool, json};

/// The number of the JSON form of a sweep written here, and the only one read.
pub const SWEEP_SCHEMA: u32 = 1;

/// The account of a sweep: one model pruned to many latency budgets, each result measured and kept as a file.
///
/// What was not measured is absent, never zero. All points are timed under the same circumstances (engine, threads,
/// batch, machine), and every accuracy is of the same images.
///
/// ```
/// use layerprune::record::Sweep;
///
/// let sweep = Sweep { evaluated_on: "held-out part of the training set".to_owned(), ..Sweep::default() };
/// assert_eq!(Sweep::from_json(&sweep.to_json())?, sweep);
/// # Ok::<(), layerprune::record::RecordError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Always [`SWEEP_SCHEMA`].
    pub schema: u32,
    /// The program that wrote the sweep.
    pub tool: Tool,
    /// When the run began, as RFC 3339 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Where latency was measured.
    pub machine: Machine,
    /// The model that was given.
    pub model: ModelInfo,
    /// The resolved recipe.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
    /// What the accuracies were measured on, such as `held-out part of the training set`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evaluated_on: String,
    /// The model that was given, measured.
    pub baseline: SweepBaseline,
    /// One entry for each model that was made, in the order of the budgets.
    pub points: Vec<SweepPoint>,
    /// The budgets that gave no model.
    #[serde(default)]
    pub failures: Vec<SweepFailure>,
}

/// The model that was given, measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepBaseline {
    /// Its accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// Parameters.
    pub parameters: u64,
    /// Multiply-adds for one image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
}

/// A model that was made for a budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The budget as it was asked for, such as `latency reduction 40 %`.
    pub budget: String,
    /// Its file, relative to the folder of the sweep.
    pub file: String,
    /// Digest of the file.
    pub digest: String,
    /// Names of the removed layers, in order of removal.
    pub layers: Vec<String>,
    /// How many channels went from the layers that are left.
    pub channels_removed: usize,
    /// Its accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// It and the baseline, timed in turns.
    pub latency: LatencyComparison,
    /// Parameters.
    pub parameters: u64,
    /// Multiply-adds for one image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
}

/// A budget that gave no model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepFailure {
    /// The budget as it was asked for.
    pub budget: String,
    /// Why there is no model.
    pub reason: String,
}

/// What decides between two models.
#[derive(Debug, Clone, Copy)]
struct Merit {
    reduction_percent: f64,
    top1_percent: f64,
}

impl Merit {
    fn of(reduction_percent: f64, accuracy: &Accuracy) -> Option<Self> {
        let top1_percent = accuracy.top1.percent;
        (reduction_percent.is_finite() && top1_percent.is_finite()).then_some(Self { reduction_percent, top1_percent })
    }

    /// Whether this is at least as good as the other in both, and better in one.
    fn dominates(self, other: Self) -> bool {
        self.reduction_percent >= other.reduction_percent
            && self.top1_percent >= other.top1_percent
            && (self.reduction_percent > other.reduction_percent || self.top1_percent > other.top1_percent)
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            schema: SWEEP_SCHEMA,
            tool: Tool::default(),
            created: None,
            machine: Machine::default(),
            model: ModelInfo::default(),
            settings: serde_json::Value::Null,
            evaluated_on: String::new(),
            baseline: SweepBaseline::default(),
            points: Vec::new(),
            failures: Vec::new(),
        }
    }
}

impl Sweep {
    /// The sweep as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// Reads a sweep from JSON; fields that this version doesn't know are ignored.
    ///
    /// # Errors
    /// Text that isn't a sweep of [`SWEEP_SCHEMA`]; see [`RecordError`].
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        json::read(text, "sweep", SWEEP_SCHEMA)
    }

    /// Which of the points are on the frontier of top-1 against latency, one entry for each of [`Sweep::points`].
    ///
    /// A point is on it where no other dominates it: none has at least its latency reduction and at least its top-1,
    /// and more of either. Of points that are equal in both, none dominates another. The baseline takes part as a
    /// point whose reduction is 0, where its accuracy is known. A point without accuracy neither is on the frontier
    /// nor dominates.
    ///
    /// Latency is compared by the reduction, not by milliseconds: each point was timed in turns with the baseline, so
    /// what slows the machine for a while slows both, and their ratio holds from one measurement to the next. Medians
    /// and shares are compared as they are, without their intervals; neighbours on the frontier need not be told apart
    /// by them.
    #[must_use]
    pub fn frontier(&self) -> Vec<bool> {
        self.points.iter().map(|point| point.merit().is_some_and(|merit| !self.dominated(merit))).collect()
    }

    /// Whether the baseline's accuracy is known and no point dominates it.
    pub(crate) fn baseline_is_on_frontier(&self) -> bool {
        self.baseline.merit().is_some_and(|merit| !self.dominated(merit))
    }

    /// Under what circumstances the numbers were won, as names and values; only what is known.
    pub(crate) fn circumstances(&self) -> Vec<(&'static str, String)> {
        let latency = || self.points.iter().map(|point| &point.latency);
        let mut inputs: Vec<_> = latency().map(|one| shape(&one.shape)).collect();
        inputs.dedup();
        let own = [
            ("accuracy measured on", Some(self.evaluated_on.clone())),
            ("engine", Some(engines(latency()))),
            ("timed with inputs", Some(inputs.join("; "))),
        ];
        let run = run_facts(&self.machine, &self.tool, self.created.as_deref());
        known(model_facts(&self.model).into_iter().chain(own).chain(run))
    }

    fn dominated(&self, merit: Merit) -> bool {
        let points = self.points.iter().filter_map(SweepPoint::merit);
        points.chain(self.baseline.merit()).any(|other| other.dominates(merit))
    }
}

impl SweepBaseline {
    fn merit(&self) -> Option<Merit> {
        Merit::of(0.0, self.accuracy.as_ref()?)
    }
}

impl SweepPoint {
    fn merit(&self) -> Option<Merit> {
        Merit::of(self.latency.latency_reduction_percent, self.accuracy.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Circumstances, Record, Timing};

    fn accuracy(right: u64) -> Accuracy {
        Accuracy::from_counts(1000, right, None, None)
    }

    /// A point `reduction` percent faster than the baseline, with `right` of 1000 images right.
    fn point(reduction: u32, right: Option<u64>) -> SweepPoint {
        let before = [4.0; 8];
        let after = before.map(|ms| ms * (1.0 - f64::from(reduction) / 100.0));
        let timing = |samples_ms| Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-4 };
        SweepPoint {
            budget: format!("latency reduction {reduction} %"),
            file: format!("{reduction}.onnx"),
            digest: "blake3:0".to_owned(),
            layers: vec!["layer1.0".to_owned()],
            channels_removed: 3,
            accuracy: right.map(accuracy),
            latency: LatencyComparison::new(Circumstances::default(), &timing(&before), &timing(&after), 0).unwrap(),
            parameters: 1000,
            macs: None,
        }
    }

    fn sweep(baseline: Option<u64>, points: &[(u32, Option<u64>)]) -> Sweep {
        Sweep {
            baseline: SweepBaseline { accuracy: baseline.map(accuracy), parameters: 2000, macs: Some(7) },
            points: points.iter().map(|&(reduction, right)| point(reduction, right)).collect(),
            ..Sweep::default()
        }
    }

    #[test]
    fn a_point_that_is_slower_and_no_more_accurate_is_dominated() {
        let sweep = sweep(Some(930), &[(10, Some(920)), (20, Some(900)), (30, Some(910)), (40, Some(800))]);
        assert_eq!(sweep.frontier(), [true, false, true, true]);
        assert!(sweep.baseline_is_on_frontier());
    }

    #[test]
    fn a_tie_in_one_is_decided_by_the_other_and_equal_points_stay() {
        let points = [(10, Some(900)), (20, Some(900)), (20, Some(880)), (30, Some(850)), (30, Some(850))];
        assert_eq!(sweep(Some(930), &points).frontier(), [false, true, false, true, true]);
    }

    #[test]
    fn the_baseline_dominates_what_is_no_faster_and_no_better() {
        let points = [(0, Some(930)), (0, Some(920)), (5, Some(920))];
        let with = sweep(Some(930), &points);
        assert_eq!(with.frontier(), [true, false, true]);
        let mut slower = with.clone();
        slower.points[0].latency.latency_reduction_percent = -3.0;
        assert_eq!(slower.frontier(), [false, false, true]);
        slower.points[0].accuracy = Some(accuracy(931));
        assert_eq!(slower.frontier(), [true, false, true]);
        assert_eq!(sweep(None, &points).frontier(), [true, false, true]);
    }

    #[test]
    fn the_baseline_is_dominated_by_a_faster_point_as_accurate() {
        assert!(!sweep(Some(930), &[(10, Some(930))]).baseline_is_on_frontier());
        assert!(!sweep(None, &[(10, Some(930))]).baseline_is_on_frontier());
        assert!(sweep(Some(930), &[(0, Some(930))]).baseline_is_on_frontier());
    }

    #[test]
    fn a_point_without_accuracy_is_not_on_the_frontier_and_dominates_none() {
        assert_eq!(sweep(None, &[(50, None), (10, Some(900))]).frontier(), [false, true]);
        assert_eq!(sweep(Some(930), &[(50, None)]).frontier(), [false]);
        assert_eq!(sweep(Some(930), &[]).frontier(), [false; 0]);
    }

    #[test]
    fn json_gives_the_same_sweep_back() {
        let mut sweep = sweep(Some(930), &[(10, Some(920)), (20, None)]);
        sweep.failures = vec![SweepFailure { budget: "b".to_owned(), reason: "r".to_owned() }];
        let text = sweep.to_json();
        assert!(text.starts_with("{\n  \"schema\": 1,\n"), "{text}");
        assert!(!text.contains("\"settings\"") && !text.contains("\"created\""), "{text}");
        assert_eq!(Sweep::from_json(&text).unwrap(), sweep);
        assert_eq!(Sweep::from_json(&text).unwrap().to_json(), text);
    }

    #[test]
    fn what_is_no_sweep_of_this_schema_is_refused_as_such() {
        let message = |text: &str| Sweep::from_json(text).unwrap_err().to_string();
        assert_eq!(message("{}"), "this isn't a sweep: it has no field `schema`");
        assert_eq!(message(r#"{"schema": 2}"#), "the sweep has schema 2, this version reads schema 1");
        let record = Record::default().to_json();
        assert!(message(&record).starts_with("the sweep can't be read at line "), "{}", message(&record));
    }
}

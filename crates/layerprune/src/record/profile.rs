//! How long a model takes without each of its parts, timed in the whole model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Circumstances, LatencyComparison};
use crate::analysis::Way;
use crate::onnx::ModelDigest;
use crate::stats;

/// Version of the JSON form of [`LatencyProfile`].
pub const PROFILE_SCHEMA: u32 = 1;

/// Under what circumstances a profile was measured, on which machine. Profiles are never mixed across these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Engine, threads, batch and shape.
    #[serde(flatten)]
    pub circumstances: Circumstances,
    /// The processor's name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

/// What a model saves where a part of it is gone, timed against the whole model in turns, in several runs at different times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    /// Median latency of the whole model, in milliseconds per call: the median over all runs.
    pub with_ms: f64,
    /// Median latency without the part: the median over all runs.
    pub without_ms: f64,
    /// `100·(1 − without/with)`, the median over all runs; negative where the model is slower without.
    pub reduction_percent: f64,
    /// From the lowest to the highest end of the runs' 95 % intervals, in percent.
    pub reduction_interval: [f64; 2],
    /// Every run.
    pub runs: Vec<Run>,
}

/// One interleaved run of a model with and without a part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Median latency of the whole model, in milliseconds per call.
    pub with_ms: f64,
    /// Median latency without the part.
    pub without_ms: f64,
    /// 95 % interval of the latency reduction, in percent.
    pub reduction_interval: [f64; 2],
}

/// Multiply-adds saved, by the name of the node that does fewer of them.
pub type MacsSaved = BTreeMap<String, u64>;

/// A unit, timed with and without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitTime {
    /// The unit's name.
    pub unit: String,
    /// How it was removed.
    pub way: Way,
    /// Multiply-adds that go with it.
    pub macs: MacsSaved,
    /// What that saves.
    #[serde(flatten)]
    pub saving: Saving,
}

/// A channel group, timed at several numbers of channels: its latency table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupTimes {
    /// The group's name.
    pub group: String,
    /// How many channels it has.
    pub channels: usize,
    /// The layers that make them.
    pub layers: Vec<String>,
    /// By the number of channels kept, rising; the whole group is not among them.
    pub counts: Vec<CountTime>,
}

/// One row of a latency table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountTime {
    /// Channels kept.
    pub kept: usize,
    /// Multiply-adds that go with the others.
    pub macs: MacsSaved,
    /// What the model saves with the others gone.
    #[serde(flatten)]
    pub saving: Saving,
}

/// A cut of many parts at once: by how far the savings of single parts add up is told from these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointTime {
    /// Units that went, with their ways.
    pub units: Vec<(String, Way)>,
    /// Channels kept, by group.
    pub kept: BTreeMap<String, usize>,
    /// Multiply-adds that went.
    pub macs: MacsSaved,
    /// What that saved.
    #[serde(flatten)]
    pub saving: Saving,
}

/// Every part of a model that was timed, each gone by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyProfile {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// How it was timed.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// Units in the model's order.
    pub units: Vec<UnitTime>,
    /// Channel groups in the model's order.
    pub groups: Vec<GroupTimes>,
    /// Cuts of many parts at once.
    #[serde(default)]
    pub joint: Vec<JointTime>,
    /// Whole cut models that a search timed, so that one that was broken off need not time them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// A cut model that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The cut model.
    pub model: ModelDigest,
    /// It against the whole one.
    pub latency: LatencyComparison,
}

impl Saving {
    /// What one comparison, of the model without a part against the whole one, comes to.
    #[must_use]
    pub fn of(comparison: &LatencyComparison) -> Self {
        Self::from_runs(vec![Run {
            with_ms: comparison.baseline.median_ms,
            without_ms: comparison.candidate.median_ms,
            reduction_interval: comparison.latency_reduction_interval,
        }])
    }

    /// With one more comparison.
    pub fn add(&mut self, comparison: &LatencyComparison) {
        let runs = std::mem::take(&mut self.runs);
        *self = Self::from_runs([runs, Self::of(comparison).runs].concat());
    }

    fn from_runs(runs: Vec<Run>) -> Self {
        let median =
            |number: fn(&Run) -> f64| stats::median(&runs.iter().map(number).collect::<Vec<_>>()).unwrap_or(f64::NAN);
        let [low, high] = [0, 1].map(|end| runs.iter().map(move |run| run.reduction_interval[end]));
        Self {
            with_ms: median(|run| run.with_ms),
            without_ms: median(|run| run.without_ms),
            reduction_percent: median(|run| 100.0 * (1.0 - run.without_ms / run.with_ms)),
            reduction_interval: [low.fold(f64::INFINITY, f64::min), high.fold(f64::NEG_INFINITY, f64::max)],
            runs,
        }
    }
}

impl GroupTimes {
    /// The latency reduction in percent with `kept` channels: between the counts that were timed along the straight line
    /// between them, below the lowest along the line of the two lowest.
    #[must_use]
    pub fn reduction_percent(&self, kept: usize) -> f64 {
        let timed = self.counts.iter().map(|count| (count.kept as f64, count.saving.reduction_percent));
        let points: Vec<(f64, f64)> = timed.chain([(self.channels as f64, 0.0)]).collect();
        let kept = kept as f64;
        let above = points.iter().position(|(count, _)| *count >= kept).unwrap_or(points.len() - 1);
        let Some(&[(x0, y0), (x1, y1)]) = points.get(above.max(1) - 1..=above.max(1)) else { return 0.0 };
        y0 + (kept - x0) / (x1 - x0) * (y1 - y0)
    }

    /// Multiply-adds saved with `kept` channels, node by node; each channel saves as many as any other.
    #[must_use]
    pub fn macs(&self, kept: usize) -> BTreeMap<&str, f64> {
        let Some(row) = self.counts.first() else { return BTreeMap::new() };
        let share = (self.channels - kept.min(self.channels)) as f64 / (self.channels - row.kept) as f64;
        row.macs.iter().map(|(node, macs)| (node.as_str(), *macs as f64 * share)).collect()
    }
}

impl LatencyProfile {
    /// A profile without rows.
    #[must_use]
    pub fn new(model: ModelDigest, conditions: Conditions) -> Self {
        let (units, groups, joint, candidates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { schema: PROFILE_SCHEMA, model, conditions, units, groups, joint, candidates }
    }

    /// The first fault of a profile that comes from a file: a number that is none, counts out of order.
    ///
    /// # Errors
    /// The row and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let sound = |saving: &Saving| {
            saving.reduction_percent.is_finite()
                && saving.with_ms > 0.0
                && saving.without_ms > 0.0
                && !saving.runs.is_empty()
        };
        let wrong = |row: &str| format!("the times of {row} are none");
        if let Some(timed) = self.units.iter().find(|timed| !sound(&timed.saving)) {
            return Err(wrong(&format!("`{}`", timed.unit)));
        }
        for group in &self.groups {
            let counts: Vec<usize> = group.counts.iter().map(|count| count.kept).collect();
            let in_order = counts.iter().chain([&group.channels]).is_sorted_by(|a, b| a < b) && !counts.contains(&0);
            if !in_order {
                return Err(format!(
                    "the counts of `{}` do not rise from above 0 to below {}",
                    group.group, group.channels
                ));
            }
            if group.counts.iter().any(|count| !sound(&count.saving)) {
                return Err(wrong(&format!("`{}`", group.group)));
            }
        }
        if self.joint.iter().any(|timed| !sound(&timed.saving)) { Err(wrong("cuts of many parts")) } else { Ok(()) }
    }

    /// What `unit` saves when it goes by `way`, where that was timed.
    #[must_use]
    pub fn unit(&self, unit: &str, way: Way) -> Option<&UnitTime> {
        self.units.iter().find(|timed| timed.unit == unit && timed.way == way)
    }

    /// The latency table of `group`, where it was timed.
    #[must_use]
    pub fn group(&self, group: &str) -> Option<&GroupTimes> {
        self.groups.iter().find(|timed| timed.group == group)
    }

    /// The whole model's latency: the median over all rows, in milliseconds; `None` without rows.
    #[must_use]
    pub fn baseline_ms(&self) -> Option<f64> {
        let units = self.units.iter().map(|timed| timed.saving.with_ms);
        let counts = self.groups.iter().flat_map(|group| &group.counts).map(|count| count.saving.with_ms);
        stats::median(&units.chain(counts).collect::<Vec<f64>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(with_ms: f64, without_ms: f64) -> Run {
        let percent = 100.0 * (1.0 - without_ms / with_ms);
        Run { with_ms, without_ms, reduction_interval: [percent - 1.0, percent + 1.0] }
    }

    fn count(kept: usize, reduction_percent: f64, macs: u64) -> CountTime {
        let saving = Saving::from_runs(vec![run(100.0, 100.0 - reduction_percent)]);
        CountTime { kept, macs: [("node".to_owned(), macs)].into(), saving }
    }

    #[test]
    fn a_table_is_read_between_and_below_its_rows() {
        let counts = vec![count(2, 9.0, 600), count(4, 8.0, 400), count(6, 1.0, 200)];
        let table = GroupTimes { group: "conv".to_owned(), channels: 8, layers: Vec::new(), counts };
        let read = [8, 7, 6, 5, 4, 3, 2, 1].map(|kept| (10.0 * table.reduction_percent(kept)).round() / 10.0);
        assert_eq!(read, [0.0, 0.5, 1.0, 4.5, 8.0, 8.5, 9.0, 9.5]);
        assert_eq!([5, 8].map(|kept| table.macs(kept)["node"]), [300.0, 0.0]);
    }

    #[test]
    fn a_file_with_impossible_rows_is_refused() {
        let digest: ModelDigest = serde_json::from_value(serde_json::json!("0".repeat(32))).unwrap();
        let with = |counts: Vec<CountTime>| {
            let mut profile = LatencyProfile::new(digest.clone(), Conditions::default());
            profile.groups.push(GroupTimes { group: "conv".to_owned(), channels: 8, layers: Vec::new(), counts });
            profile.check()
        };
        assert_eq!(with(vec![count(2, 9.0, 1), count(4, 8.0, 1)]), Ok(()));
        for counts in [vec![count(8, 1.0, 1)], vec![count(0, 1.0, 1)], vec![count(4, 1.0, 1), count(2, 1.0, 1)]] {
            assert_eq!(with(counts).unwrap_err(), "the counts of `conv` do not rise from above 0 to below 8");
        }
        assert_eq!(with(vec![count(2, f64::NAN, 1)]).unwrap_err(), "the times of `conv` are none");
    }

    #[test]
    fn a_run_that_was_disturbed_does_not_count_for_more_than_one() {
        let saving = Saving::from_runs(vec![run(10.0, 9.0), run(20.0, 19.0), run(10.0, 8.8)]);
        assert_eq!((saving.with_ms, saving.without_ms), (10.0, 9.0));
        assert!((saving.reduction_percent - 10.0).abs() < 1e-9);
        assert!(
            (saving.reduction_interval[0] - 4.0).abs() < 1e-9 && (saving.reduction_interval[1] - 13.0).abs() < 1e-9
        );
    }

    #[test]
    fn a_table_without_rows_saves_nothing() {
        let table = GroupTimes { group: "conv".to_owned(), channels: 8, layers: Vec::new(), counts: Vec::new() };
        assert_eq!((table.reduction_percent(3), table.macs(3).len()), (0.0, 0));
    }
}

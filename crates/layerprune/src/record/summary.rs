use std::fmt;

use super::format::{bytes, circumstances, count, grouped, proportion, signed, spread, threads};
use super::{LatencyComparison, Machine, ModelInfo, Proportion, Record, Tool};

/// A line of the small table that ends a run: one quantity of both models, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SummaryRow {
    /// What was measured.
    pub quantity: String,
    /// The baseline's value, `None` where it wasn't measured.
    pub baseline: Option<String>,
    /// The pruned model's value, `None` where it wasn't measured.
    pub pruned: Option<String>,
    /// What changed from the one to the other, `None` where either is missing.
    pub change: Option<String>,
}

/// A difference of two proportions in percentage points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    pub(crate) points: f64,
    pub(crate) interval: [f64; 2],
}

impl Difference {
    /// Newcombe's interval (Statistics in Medicine 17, 1998, method 10) from the intervals of both sides. It takes the
    /// two for independent samples, so it is wider than needed where both saw the same images.
    pub(crate) fn between(from: &Proportion, to: &Proportion) -> Self {
        let points = to.percent - from.percent;
        let [from_low, from_high] = from.interval;
        let [to_low, to_high] = to.interval;
        let down = (to.percent - to_low).hypot(from_high - from.percent);
        let up = (to_high - to.percent).hypot(from.percent - from_low);
        Self { points, interval: [points - down, points + up] }
    }

    /// Whether the two can't be told apart.
    pub(crate) fn is_noise(self) -> bool {
        self.interval[0] <= 0.0 && self.interval[1] >= 0.0
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.interval;
        write!(f, "{} points ({} to {})", signed(self.points, 1), signed(low, 1), signed(high, 1))
    }
}

impl Record {
    /// Baseline against pruned model: top-1 and top-5 at each stage, latency, MACs, parameters and file size. Only
    /// rows in which something was measured.
    #[must_use]
    pub fn summary_table(&self) -> Vec<SummaryRow> {
        let mut rows = self.accuracy_rows();
        rows.extend(self.latency.iter().map(|one| latency_row(one, &self.latency)));
        let before = self.baseline.as_ref().map(|baseline| &baseline.file);
        let after = self.pruned.as_ref().map(|pruned| &pruned.file);
        rows.extend(cost_row("MACs", before.and_then(|f| f.macs), after.and_then(|f| f.macs), count));
        rows.extend(cost_row("parameters", before.and_then(|f| f.parameters), after.and_then(|f| f.parameters), count));
        rows.extend(cost_row("file size", before.and_then(|f| f.file_bytes), after.and_then(|f| f.file_bytes), bytes));
        rows
    }

    /// Under what circumstances the numbers were won, as names and values; only what is known.
    pub(crate) fn circumstances(&self) -> Vec<(&'static str, String)> {
        let data = self.data.as_ref();
        let images = data.map(|data| {
            [("training", data.train), ("held out", data.held_out), ("test", data.test)]
                .into_iter()
                .filter_map(|(name, images)| Some(format!("{} {name}", grouped(images? as u64))))
                .collect::<Vec<_>>()
                .join(", ")
        });
        let own = [
            ("written to", self.pruned.as_ref().and_then(|pruned| pruned.file.path.clone())),
            ("data", data.map(|data| data.source.clone())),
            ("images", images),
            ("preprocessing", data.and_then(|data| data.preprocessing.clone())),
            ("classes", data.map(|data| data.classes.join(", "))),
            ("accuracy measured on", data.and_then(|data| data.evaluated_on.clone())),
            ("seed", data.and_then(|data| data.seed).map(|seed| seed.to_string())),
            ("engine", Some(engines(&self.latency))),
        ];
        let run = run_facts(&self.machine, &self.tool, self.created.as_deref());
        known(model_facts(&self.model).into_iter().chain(own).chain(run))
    }

    fn accuracy_rows(&self) -> Vec<SummaryRow> {
        let baseline = self.baseline.as_ref().and_then(|baseline| baseline.accuracy.as_ref());
        let mut rows = Vec::new();
        for (stage, accuracy) in self.pruned.iter().flat_map(|pruned| pruned.stages()) {
            let before = baseline.map(|accuracy| &accuracy.top1);
            rows.push(accuracy_row(format!("top-1 {stage}"), before, Some(&accuracy.top1)));
        }
        if rows.is_empty() && baseline.is_some() {
            rows.push(accuracy_row("top-1".to_owned(), baseline.map(|accuracy| &accuracy.top1), None));
        }
        let last = self.pruned.as_ref().and_then(|pruned| pruned.last());
        let before = baseline.and_then(|accuracy| accuracy.top5.as_ref());
        let after = last.and_then(|(stage, accuracy)| Some((stage, accuracy.top5.as_ref()?)));
        match after {
            Some((stage, top5)) => rows.push(accuracy_row(format!("top-5 {stage}"), before, Some(top5))),
            None if before.is_some() => rows.push(accuracy_row("top-5".to_owned(), before, None)),
            None => {}
        }
        rows
    }
}

/// Names with values, where there are such.
type Fact = (&'static str, Option<String>);

/// What is known of the model that was given.
pub(super) fn model_facts(model: &ModelInfo) -> [Fact; 5] {
    let inputs = model.inputs.iter().map(|input| format!("{} ({})", input.name, input.shape)).collect::<Vec<_>>();
    [
        ("model", Some(model.path.clone())),
        ("digest", model.digest.clone()),
        ("opset", model.opset.map(|opset| opset.to_string())),
        ("producer", model.producer.clone()),
        ("inputs", Some(inputs.join(", "))),
    ]
}

/// Where, by what and when a run was made.
pub(super) fn run_facts(machine: &Machine, tool: &Tool, created: Option<&str>) -> [Fact; 5] {
    [
        ("CPU", machine.cpu.clone()),
        ("cores", machine.cores.map(|cores| cores.to_string())),
        ("operating system", machine.os.clone()),
        ("written by", Some(format!("{} {}", tool.name, tool.version))),
        ("started", created.map(ToOwned::to_owned)),
    ]
}

/// The engines of the comparisons with their threads.
pub(super) fn engines<'a>(latency: impl IntoIterator<Item = &'a LatencyComparison>) -> String {
    let text =
        |one: &LatencyComparison| format!("{} {}, {}", one.engine.name, one.engine.version, threads(one.threads));
    let mut engines: Vec<_> = latency.into_iter().map(text).collect();
    engines.dedup();
    engines.join("; ")
}

/// The facts that have a value.
pub(super) fn known(facts: impl Iterator<Item = Fact>) -> Vec<(&'static str, String)> {
    facts.filter_map(|(name, value)| Some((name, value.filter(|value| !value.trim().is_empty())?))).collect()
}

fn accuracy_row(quantity: String, before: Option<&Proportion>, after: Option<&Proportion>) -> SummaryRow {
    let change = before.zip(after).map(|(before, after)| Difference::between(before, after).to_string());
    SummaryRow { quantity, baseline: before.map(proportion), pruned: after.map(proportion), change }
}

fn latency_row(one: &LatencyComparison, among: &[LatencyComparison]) -> SummaryRow {
    let [low, high] = one.latency_reduction_interval;
    let change = -one.latency_reduction_percent;
    SummaryRow {
        quantity: format!("latency, {}", circumstances(one, among)),
        baseline: Some(spread(one.baseline.median_ms, one.baseline.mad_ms)),
        pruned: Some(spread(one.candidate.median_ms, one.candidate.mad_ms)),
        change: Some(format!("{} % ({} to {}), {}", signed(change, 1), signed(-high, 1), signed(-low, 1), one.verdict)),
    }
}

fn cost_row(quantity: &str, before: Option<u64>, after: Option<u64>, text: fn(u64) -> String) -> Option<SummaryRow> {
    before.or(after)?;
    let change = before.zip(after).and_then(|(before, after)| match before {
        0 => None,
        _ => Some(format!("{} %", signed(100.0 * (after as f64 / before as f64 - 1.0), 1))),
    });
    Some(SummaryRow { quantity: quantity.to_owned(), baseline: before.map(text), pruned: after.map(text), change })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Accuracy, Baseline, ModelFile, Pruned};

    fn accuracy(percent: f64) -> Accuracy {
        let top1 = Proportion { percent, interval: [percent - 1.0, percent + 1.0] };
        Accuracy { images: 1000, top1, top5: None, loss: None }
    }

    #[test]
    fn an_empty_record_has_an_empty_summary() {
        assert_eq!(Record::default().summary_table(), []);
    }

    #[test]
    fn only_what_was_measured_has_a_row() {
        let record = Record {
            baseline: Some(Baseline {
                file: ModelFile { macs: Some(2_000_000), ..ModelFile::default() },
                accuracy: Some(accuracy(90.0)),
            }),
            pruned: Some(Pruned {
                file: ModelFile { macs: Some(1_500_000), parameters: Some(10), ..ModelFile::default() },
                after_cut: None,
                after_recalibration: None,
                after_finetune: Some(accuracy(91.0)),
            }),
            ..Record::default()
        };
        let row = |quantity: &str, baseline: Option<&str>, pruned: Option<&str>, change: Option<&str>| SummaryRow {
            quantity: quantity.to_owned(),
            baseline: baseline.map(ToOwned::to_owned),
            pruned: pruned.map(ToOwned::to_owned),
            change: change.map(ToOwned::to_owned),
        };
        assert_eq!(
            record.summary_table(),
            [
                row(
                    "top-1 after fine-tuning",
                    Some("90.0 % (89.0 to 91.0)"),
                    Some("91.0 % (90.0 to 92.0)"),
                    Some("+1.0 points (−0.4 to +2.4)")
                ),
                row("MACs", Some("2.00 M"), Some("1.50 M"), Some("−25.0 %")),
                row("parameters", None, Some("10"), None),
            ]
        );
    }

    #[test]
    fn a_baseline_alone_still_shows_its_accuracy() {
        let baseline = Baseline { accuracy: Some(accuracy(90.0)), ..Baseline::default() };
        let rows = Record { baseline: Some(baseline), ..Record::default() }.summary_table();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].quantity.as_str(), rows[0].pruned.as_deref()), ("top-1", None));
    }

    #[test]
    fn newcombes_interval_agrees_with_his_table() {
        // Newcombe 1998, table II, contrast (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
        let p1 = Proportion { percent: 80.0, interval: [69.183_4, 87.695_3] };
        let p2 = Proportion { percent: 60.0, interval: [49.045_5, 70.038_2] };
        let difference = Difference::between(&p2, &p1);
        assert!((difference.points - 20.0).abs() < 1e-9);
        assert!((difference.interval[0] - 5.24).abs() < 0.005, "{difference:?}");
        assert!((difference.interval[1] - 33.39).abs() < 0.005, "{difference:?}");
        assert!(!difference.is_noise());
    }
}

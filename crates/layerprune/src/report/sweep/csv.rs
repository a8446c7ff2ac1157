use super::super::csv::line;
use crate::record::{Accuracy, LatencyComparison, Sweep};

const COLUMNS: [&str; 22] = [
    "budget",
    "file",
    "digest",
    "on frontier",
    "layers removed",
    "channels removed",
    "parameters",
    "macs",
    "latency ms",
    "latency mad ms",
    "baseline latency ms",
    "latency reduction percent",
    "latency reduction low",
    "latency reduction high",
    "speed-up",
    "speed-up low",
    "speed-up high",
    "verdict",
    "images",
    "top-1",
    "top-1 low",
    "top-1 high",
];

/// The baseline and all points as CSV after RFC 4180, lines ended by `\n`. What is absent is an empty field; names of
/// removed layers stand in the JSON only.
#[must_use]
pub fn sweep_csv(sweep: &Sweep) -> String {
    let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let baseline = &sweep.baseline;
    let mut fields = vec![
        "baseline".to_owned(),
        sweep.model.path.clone(),
        sweep.model.digest.clone().unwrap_or_default(),
        sweep.baseline_is_on_frontier().to_string(),
        String::new(),
        String::new(),
        baseline.parameters.to_string(),
        number(baseline.macs),
    ];
    fields.extend(latency(None));
    fields.extend(accuracy(baseline.accuracy.as_ref()));
    let mut text = line(&COLUMNS.map(ToOwned::to_owned)) + &line(&fields);
    for (point, on_frontier) in sweep.points.iter().zip(sweep.frontier()) {
        let mut fields = vec![
            point.budget.clone(),
            point.file.clone(),
            point.digest.clone(),
            on_frontier.to_string(),
            point.layers.len().to_string(),
            point.channels_removed.to_string(),
            point.parameters.to_string(),
            number(point.macs),
        ];
        fields.extend(latency(Some(&point.latency)));
        fields.extend(accuracy(point.accuracy.as_ref()));
        text.push_str(&line(&fields));
    }
    text
}

fn latency(one: Option<&LatencyComparison>) -> Vec<String> {
    let Some(one) = one else { return vec![String::new(); 10] };
    let [low, high] = one.latency_reduction_interval;
    let [least, most] = one.speedup_interval;
    let (ms, mad_ms, baseline_ms) = (one.candidate.median_ms, one.candidate.mad_ms, one.baseline.median_ms);
    let numbers = [ms, mad_ms, baseline_ms, one.latency_reduction_percent, low, high, one.speedup, least, most];
    numbers.iter().map(ToString::to_string).chain([one.verdict.to_string()]).collect()
}

fn accuracy(accuracy: Option<&Accuracy>) -> [String; 4] {
    let Some(Accuracy { images, top1, .. }) = accuracy else { return Default::default() };
    let [low, high] = top1.interval;
    [images.to_string(), top1.percent.to_string(), low.to_string(), high.to_string()]
}

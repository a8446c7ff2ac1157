//! What a sweep looks like to people.

mod csv;
mod figure;
mod html;
mod markdown;

pub use csv::sweep_csv;
pub use figure::sweep_svg;
pub use html::sweep_html;
pub use markdown::sweep_markdown;

use super::headline::{gain, top1};
use super::plot::range;
use crate::record::format::{count, counted, grouped, milliseconds, plain, proportion, spread};
use crate::record::{Difference, Sweep, SweepPoint};

/// How many models were made, and from where to where the frontier goes, in a few plain sentences.
#[must_use]
pub fn sweep_headline(sweep: &Sweep) -> String {
    let models = counted(sweep.points.len() as u64, "model", "models");
    let unknown = sweep.points.iter().filter(|point| point.accuracy.is_none()).count();
    let of = "on the frontier of accuracy against latency";
    let frontier = frontier(sweep);
    let mut sentences = vec![match frontier.as_slice() {
        _ if sweep.points.is_empty() => "No model was made.".to_owned(),
        [] if unknown == sweep.points.len() => {
            format!("{models} made; accuracy was not measured, so there is no frontier.")
        }
        [] => format!("None of {models} is {of}: the baseline is at least as fast and as accurate as any."),
        [only] => format!("1 of {models} is {of}: {}.", told(sweep, only)),
        [first, .., last] => {
            format!("{} of {models} are {of}: from {}; to {}.", frontier.len(), told(sweep, first), told(sweep, last))
        }
    }];
    if (1..sweep.points.len()).contains(&unknown) {
        sentences.push(format!("The accuracy of {} was not measured.", counted(unknown as u64, "model", "models")));
    }
    if !sweep.failures.is_empty() {
        sentences.push(format!("{} gave no model.", counted(sweep.failures.len() as u64, "budget", "budgets")));
    }
    sentences.join(" ")
}

fn told(sweep: &Sweep, point: &SweepPoint) -> String {
    let gain = gain(&point.latency, std::slice::from_ref(&point.latency));
    match &point.accuracy {
        Some(after) => format!("{gain}, {}", top1(sweep.baseline.accuracy.as_ref(), after, "")),
        None => gain,
    }
}

/// The points on the frontier, the slowest first.
fn frontier(sweep: &Sweep) -> Vec<&SweepPoint> {
    let mut points: Vec<_> =
        sweep.points.iter().zip(sweep.frontier()).filter_map(|(point, on)| on.then_some(point)).collect();
    points.sort_by(|a, b| a.latency.latency_reduction_percent.total_cmp(&b.latency.latency_reduction_percent));
    points
}

/// Reasons to trust latencies less, each with the budgets it holds for.
fn warnings(sweep: &Sweep) -> Vec<String> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for point in &sweep.points {
        for warning in point.latency.warnings.iter().map(ToString::to_string) {
            match found.iter_mut().find(|(known, _)| *known == warning) {
                Some((_, budgets)) => budgets.push(&point.budget),
                None => found.push((warning, vec![&point.budget])),
            }
        }
    }
    found.into_iter().map(|(warning, budgets)| format!("latency, {}: {warning}", budgets.join(", "))).collect()
}

/// The columns of [`Row::values`].
const VALUES: [&str; 9] = [
    "latency reduction in %",
    "speed-up",
    "top-1",
    "change of top-1",
    "latency",
    "MACs",
    "parameters",
    "layers removed",
    "channels removed",
];

/// A model in words.
struct Row {
    budget: String,
    file: Option<String>,
    on_frontier: bool,
    /// `None` where it wasn't measured, empty where there is nothing to measure.
    values: [Option<String>; VALUES.len()],
}

/// The baseline, then all points in their order.
fn rows(sweep: &Sweep) -> Vec<Row> {
    let none = || Some(String::new());
    let before = sweep.baseline.accuracy.as_ref().map(|accuracy| &accuracy.top1);
    let baseline = Row {
        budget: "baseline".to_owned(),
        file: None,
        on_frontier: sweep.baseline_is_on_frontier(),
        values: [
            none(),
            none(),
            before.map(proportion),
            none(),
            baseline_latency(sweep),
            sweep.baseline.macs.map(count),
            Some(count(sweep.baseline.parameters)),
            none(),
            none(),
        ],
    };
    let point = |(point, on_frontier): (&SweepPoint, bool)| {
        let one = &point.latency;
        let after = point.accuracy.as_ref().map(|accuracy| &accuracy.top1);
        Row {
            budget: point.budget.clone(),
            file: Some(point.file.clone()),
            on_frontier,
            values: [
                Some(interval(one.latency_reduction_percent, one.latency_reduction_interval, 1)),
                Some(interval(one.speedup, one.speedup_interval, 2)),
                after.map(proportion),
                before.zip(after).map(|(before, after)| Difference::between(before, after).to_string()),
                Some(spread(one.candidate.median_ms, one.candidate.mad_ms)),
                point.macs.map(count),
                Some(count(point.parameters)),
                Some(point.layers.len().to_string()),
                Some(grouped(point.channels_removed as u64)),
            ],
        }
    };
    [baseline].into_iter().chain(sweep.points.iter().zip(sweep.frontier()).map(point)).collect()
}

fn interval(value: f64, [low, high]: [f64; 2], decimals: usize) -> String {
    format!("{} ({} to {})", plain(value, decimals), plain(low, decimals), plain(high, decimals))
}

/// The baseline's median latency; as many as there are measurements, so from the least to the greatest of them.
fn baseline_latency(sweep: &Sweep) -> Option<String> {
    let (low, high) = range(sweep.points.iter().map(|point| point.latency.baseline.median_ms))?;
    let (low, high) = (milliseconds(low), milliseconds(high));
    Some(if low == high { low } else { format!("{} to {high}", low.trim_end_matches(" ms")) })
}

/// How the table of models is to be read.
fn caption(sweep: &Sweep) -> String {
    let on = match sweep.evaluated_on.as_str() {
        "" => String::new(),
        on => format!(" measured on the {on},"),
    };
    format!(
        "Reduction and speed-up against the baseline, timed in turns, with their 95 % interval; latency as median ± \
         median absolute deviation, that of the baseline over all measurements. Top-1{on} with its 95 % interval. A \
         model is on the frontier where no other is at least as fast and at least as accurate, and better in one. \
         The best of many on the same images looks better than it is: measure the one you take on others."
    )
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

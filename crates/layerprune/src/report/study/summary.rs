//! The study in sentences for who decides, and not more than the numbers bear.

use maud::{Markup, html};

use super::alike::Comparisons;
use super::data::told_in_full;
use super::{spread, told};
use crate::record::format::{counted, plain, signed};
use crate::record::{Accuracy, Arm, Difference, Spread, Study, TimedBy};

/// What was found under one budget.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) budget: String,
    /// Which kind is ahead, or that none is.
    pub(super) verdict: String,
    /// Whose latency falls more.
    pub(super) latency: String,
    /// The best of each kind: what it is, what it removes, what it buys and costs.
    pub(super) best: Vec<(String, String)>,
}

pub(super) fn found(study: &Study) -> Vec<Found> {
    let arms = study.arms();
    budgets(&arms)
        .into_iter()
        .filter_map(|budget| {
            let [layers, filters] = ["layers", "filters"].map(|removes| best(&arms, budget, removes));
            let best: Vec<_> = [("layers", &layers), ("filters", &filters)]
                .into_iter()
                .filter_map(|(removes, best)| Some((removes, best.as_ref()?)))
                .map(|(removes, best)| (format!("Best that removes {removes}: {}", best.0.arm), account(study, best)))
                .collect();
            let latency =
                layers.as_ref().zip(filters.as_ref()).map_or_else(String::new, |(a, b)| latencies(study, a, b));
            let verdict = match (&layers, &filters) {
                (Some(layers), Some(filters)) => compared(layers, filters),
                (Some(_), None) => "Nothing that removes filters was tried under this budget.".to_owned(),
                (None, Some(_)) => "Nothing that removes layers was tried under this budget.".to_owned(),
                (None, None) => return None,
            };
            Some(Found { budget: budget.to_owned(), verdict, latency, best })
        })
        .collect()
}

pub(super) fn budgets<'a>(arms: &[Arm<'a>]) -> Vec<&'a str> {
    let mut budgets: Vec<&str> = Vec::new();
    for arm in arms {
        if !budgets.contains(&arm.budget) {
            budgets.push(arm.budget);
        }
    }
    budgets
}

type Best<'a> = (&'a Arm<'a>, Spread);

/// The arm of the highest mean accuracy.
fn best<'a>(arms: &'a [Arm<'a>], budget: &str, removes: &str) -> Option<Best<'a>> {
    let of = arms.iter().filter(|arm| arm.budget == budget && arm.removes == removes);
    of.filter_map(|arm| Some((arm, arm.top1()?)))
        .reduce(|best, other| if other.1.mean > best.1.mean { other } else { best })
}

fn compared(layers: &Best<'_>, filters: &Best<'_>) -> String {
    let difference = layers.1.mean - filters.1.mean;
    let points = format!("{:.2} points", difference.abs());
    match noise(layers, filters) {
        Some(why) => {
            format!("Layer and filter pruning cannot be told apart: their best differ by {points} of top-1, {why}.")
        }
        None if difference > 0.0 => format!("Layer pruning is ahead by {points} of top-1."),
        None => format!("Layer pruning does not win here: filter pruning is ahead by {points} of top-1."),
    }
}

fn latencies(study: &Study, layers: &Best<'_>, filters: &Best<'_>) -> String {
    let timed = study.timed();
    let reductions: Vec<(f64, f64)> = timed
        .iter()
        .filter_map(|by| Some((layers.0.latency_reduction(by)?.mean, filters.0.latency_reduction(by)?.mean)))
        .collect();
    let ahead = reductions.iter().filter(|(layers, filters)| layers > filters).count();
    match reductions.len() {
        0 => String::new(),
        1 => format!(
            "Latency falls by {} % with layers removed, by {} % with filters.",
            plain(reductions[0].0, 1),
            plain(reductions[0].1, 1)
        ),
        all => format!("Latency falls more with layers removed in {ahead} of {all} ways of timing."),
    }
}

/// Why the two accuracies are not told apart; `None` where they are.
fn noise(a: &Best<'_>, b: &Best<'_>) -> Option<String> {
    let difference = (a.1.mean - b.1.mean).abs();
    if let (Some(one), Some(other)) = (a.1.deviation, b.1.deviation) {
        let both = one.hypot(other);
        return (difference <= both).then(|| format!("within the spread over seeds (±{both:.2})"));
    }
    let one = |arm: &Arm<'_>| arm.rows.iter().find_map(|row| row.accuracy.clone());
    let (one, other) = (one(a.0)?, one(b.0)?);
    let is_noise = Difference::between(&other.top1, &one.top1).is_noise();
    is_noise.then(|| format!("within the uncertainty of {} test images (one seed)", one.images))
}

/// What the best of a kind removes, buys and costs, and whether that is worth it.
fn account(study: &Study, (arm, top1): &Best<'_>) -> String {
    let timed = study.timed();
    let mut text = format!("{}. Top-1 {} %", removed(arm), spread(Some(*top1), 2));
    let whole = study.baseline.accuracy.as_ref();
    if let Some(whole) = whole {
        text.push_str(&format!(" ({} points against the whole model)", signed(top1.mean - whole.top1.percent, 2)));
    }
    let reductions: Vec<(&TimedBy, Spread)> =
        timed.iter().filter_map(|by| Some((by, arm.latency_reduction(by)?))).collect();
    match reductions.as_slice() {
        [] => {}
        [(by, only)] => text.push_str(&format!("; latency {} % lower at {}", spread(Some(*only), 1), told(by, &timed))),
        all => {
            let means = || all.iter().map(|(_, spread)| spread.mean);
            let (low, high) = (means().fold(f64::INFINITY, f64::min), means().fold(f64::NEG_INFINITY, f64::max));
            text.push_str(&format!(
                "; latency {} to {} % lower over {} ways of timing",
                plain(low, 1),
                plain(high, 1),
                all.len()
            ));
        }
    }
    text.push_str(&format!(". {}", worth(arm, *top1, whole, &reductions, &timed)));
    text.trim_end().to_owned()
}

fn removed(arm: &Arm<'_>) -> String {
    let counts = |of: fn(&crate::record::StudyRow) -> usize| {
        let counts = || arm.rows.iter().map(|row| of(row));
        match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low} to {high}"),
        }
    };
    match counts(|row| row.layers.len()).as_str() {
        "0" => format!("{} filters went", counts(|row| row.filters)),
        "1" => "1 layer or block went".to_owned(),
        layers => format!("{layers} layers or blocks went"),
    }
}

fn worth(
    arm: &Arm<'_>,
    top1: Spread,
    whole: Option<&Accuracy>,
    reductions: &[(&TimedBy, Spread)],
    timed: &[TimedBy],
) -> String {
    let not: Vec<String> =
        reductions.iter().filter(|(_, spread)| spread.mean <= 0.0).map(|(by, _)| told_in_full(by, timed)).collect();
    if !reductions.is_empty() && not.len() == reductions.len() {
        return "Not worth it: it is nowhere faster.".to_owned();
    }
    let Some(whole) = whole else { return String::new() };
    let drop = whole.top1.percent - top1.mean;
    let measured = arm.rows.iter().filter_map(|row| row.accuracy.as_ref());
    let costs_nothing =
        measured.map(|accuracy| Difference::between(&whole.top1, &accuracy.top1)).all(Difference::is_noise);
    let mut text = match costs_nothing || drop <= 0.0 {
        true => "Worth it: what it loses is within the uncertainty of the test images".to_owned(),
        false => format!("Worth it where {drop:.2} points may be lost"),
    };
    if !not.is_empty() {
        text.push_str(&format!("; not at {}, where it is not faster", not.join("; ")));
    }
    text + "."
}

pub(super) fn summary(study: &Study, alike: &Comparisons) -> Markup {
    let (found, by_lot) = (found(study), alike.verdict());
    html! {
        @if !found.is_empty() || by_lot.is_some() {
            section.summary aria-labelledby="summary" {
                h2 #summary { "Summary" }
                div.cards {
                    @for Found { budget, verdict, latency, best } in &found {
                        article {
                            h3 { (budget) }
                            p.verdict { (verdict) }
                            p { (latency) }
                            dl { @for (name, text) in best { dt { (name) } dd { (text) } } }
                        }
                    }
                    @if let Some(verdict) = by_lot {
                        article {
                            h3 { "models made by lot" }
                            p.verdict { (verdict) }
                        }
                    }
                }
                @if let Some(how) = training(study) { p.absent { (how) } }
            }
        }
    }
}

/// How much the numbers bear: seeds, epochs.
fn training(study: &Study) -> Option<String> {
    let epochs = || study.rows.iter().map(|row| row.epochs);
    let epochs = match (epochs().min()?, epochs().max()?) {
        (low, high) if low == high => counted(low as u64, "epoch", "epochs"),
        (low, high) => format!("{low} to {high} epochs"),
    };
    let seeds = counted(study.arms().iter().map(|arm| arm.rows.len()).max()? as u64, "seed", "seeds");
    Some(format!(
        "Each model was trained for {epochs} behind the cut; each method has up to {seeds}. ± is the standard deviation \
         over seeds. Best means the highest mean top-1."
    ))
}

//! The study as an interactive page.

use maud::{Markup, PreEscaped, html};

use super::super::page::{Extras, circumstances, page_with, warned};
use super::alike::Comparisons;
use super::data::{Data, Origin};
use super::{network, processors, study_headline, summary, tables};
use crate::record::format::counted;
use crate::record::{Study, TimedBy};

const STYLE: &str = include_str!("study.css");
/// Apache ECharts as it is published; see its folder.
pub(super) const CHARTS: &str = include_str!("../../../vendor/echarts/echarts.min.js");
const SCRIPT: &str = include_str!("study.js");

/// The figure whose table states what it shows, so that it lies open.
const MEANS: &str = "lots";

/// The study as one page that needs nothing but itself. Its figures need the script in it; without, all numbers are there as
/// tables.
#[must_use]
pub fn study_html(study: &Study) -> String {
    let (data, alike) = (Data::of(study), Comparisons::of(study));
    let title = match study.model.path.as_str() {
        "" => "Study".to_owned(),
        path => format!("Study of {path}"),
    };
    let sections = html! {
        (summary::summary(study, &alike))
        (random(&data, &alike))
        (all_models(study, &data))
        (network::network(study, &data))
        (depth(study, &data))
        (tables::arms(study))
        (tables::failures(study))
        (commands(study))
        (warned(&warnings(study)))
        (circumstances(&study.circumstances(), &study.settings))
        script #study-data type="application/json" { (PreEscaped(data.json())) }
    };
    page_with(&title, &study_headline(study), &sections, Extras { style: STYLE, scripts: &[CHARTS, SCRIPT] })
}

/// A figure that the script draws, and the table that says the same.
fn plot(id: &str, title: &str, caption: &str, controls: Markup, behind: Markup) -> Markup {
    let label = format!(
        "{title}. The table behind it has all numbers. Arrow keys go from point to point, Enter marks a model, + and - zoom, 0 shows all."
    );
    html! {
        figure {
            h3 { (title) }
            div.controls.needs-script {
                (controls)
                span.zoom role="group" aria-label={ "Zoom of: " (title) } data-plot=(id) {
                    button type="button" data-zoom="in" aria-label="zoom in" { "+" }
                    button type="button" data-zoom="out" aria-label="zoom out" { "−" }
                    button type="button" data-zoom="all" { "all" }
                }
            }
            div.plot.needs-script id=(id) tabindex="0" role="application" aria-label=(label) {}
            p.told.needs-script id={ (id) "-told" } role="status" {}
            noscript { p.absent { "This figure is drawn by a script; its numbers are in the table." } }
            figcaption { (caption) }
            details open[id == MEANS] { summary { "Table of this figure" } (behind) }
        }
    }
}

/// Chooses the way of timing, where there are several.
fn ways(data: &Data, id: &str) -> Markup {
    html! {
        @if data.timed.len() > 1 {
            label for=(id) { "Timed by " select.timed id=(id) autocomplete="off" {
                @for (at, name) in data.timed.iter().enumerate() { option value=(at) { (name) } }
            } }
        }
    }
}

fn random(data: &Data, alike: &Comparisons) -> Markup {
    let timed = data.lots.iter().any(|lot| lot.spread.iter().any(Option::is_some));
    let trained = data.lots.iter().any(|lot| lot.trained.iter().any(Option::is_some));
    html! {
        @if timed {
            section aria-labelledby="by-lot" {
                h2 #by-lot { "Models made by lot" }
                (plot(
                    "boxes",
                    "Latency reduction of models made by lot",
                    "Boxes hold the middle half, the line in them is the median, whiskers reach the lowest and the highest; every model \
                     is a dot. Right of zero a model is faster than the whole one.",
                    html! {},
                    html! {
                        (tables::boxes(data))
                        (tables::models(data, "All models made by lot; columns named by an engine are latency reductions.", &[Origin::Random]))
                    },
                ))
                @if trained {
                    (plot(
                        MEANS,
                        "Accuracy against latency of models made by lot",
                        "All were trained alike. Crosses are means, their arms standard deviations over models.",
                        ways(data, "lots-timed"),
                        html! { (tables::trained(data)) (tables::alike(alike)) },
                    ))
                }
            }
        }
    }
}

fn all_models(study: &Study, data: &Data) -> Markup {
    let shown = data.models.iter().filter(|dot| matches!(dot.origin, Origin::Method | Origin::Handcrafted));
    let drawn = shown.filter(|dot| dot.top1.is_some() && dot.timed.iter().any(Option::is_some)).count();
    let others = match study.handcrafted.is_empty() {
        true => "",
        false => {
            " Diamonds are other networks, not counted among those; hollow where their accuracy is stated and was not measured."
        }
    };
    html! {
        @if drawn > 0 {
            section aria-labelledby="methods" {
                h2 #methods { "Accuracy against latency" }
                (plot(
                    "points",
                    "All methods",
                    &format!(
                        "Up is more accurate, right is faster; the cross at zero is the whole model. The dashed line joins the models \
                         that no other beats in both (Pareto front).{others} A click on a point marks in the network below what that model lost; \
                         Ctrl and the wheel, or two fingers, zoom, and dragging with Shift moves."
                    ),
                    ways(data, "points-timed"),
                    tables::models(
                        data,
                        "All models; columns named by an engine are latency reductions.",
                        &[Origin::Whole, Origin::Method, Origin::Handcrafted],
                    ),
                ))
            }
        }
    }
}

fn depth(study: &Study, data: &Data) -> Markup {
    let accuracies = data.scores.iter().any(|table| table.rows.iter().any(|row| row.accuracy.is_some()));
    html! {
        @if accuracies {
            section aria-labelledby="along" {
                h2 #along { "Along the depth" }
                (plot(
                    "depth",
                    "Accuracy of a classifier on each layer's output",
                    "With 95 % intervals. Crosses and upright lines mark what the chosen model lost. A layer that adds nothing to the one before is \
                     worth little.",
                    html! {},
                    tables::layers(study, data),
                ))
            }
        } @else if !study.scores.is_empty() || study.savings.is_some() {
            section {
                h2 { "Layers" }
                details { summary { "Scores and times" } (tables::layers(study, data)) }
            }
        }
    }
}

fn commands(study: &Study) -> Markup {
    html! {
        @if !study.commands.is_empty() {
            section aria-labelledby="again" {
                h2 #again { "To make it again" }
                pre tabindex="0" { code { (study.commands.join("\n")) } }
            }
        }
    }
}

/// Each kind of warning once for each way of timing, with how often it was given.
fn warnings(study: &Study) -> Vec<String> {
    let timed = study.timed();
    let mut texts: Vec<String> = processors(study).into_iter().collect();
    for by in &timed {
        let of: Vec<_> = study.latencies().filter(|one| TimedBy::of(one) == *by).collect();
        let mut kinds: Vec<(std::mem::Discriminant<_>, String, usize)> = Vec::new();
        for warning in of.iter().flat_map(|one| &one.warnings) {
            let kind = std::mem::discriminant(warning);
            match kinds.iter_mut().find(|(known, ..)| *known == kind) {
                Some((.., count)) => *count += 1,
                None => kinds.push((kind, warning.to_string(), 1)),
            }
        }
        let told = super::data::told_in_full(by, &timed);
        texts.extend(kinds.into_iter().map(|(_, first, count)| {
            format!(
                "{told}: {} in {}, such as: {first}",
                counted(count as u64, "warning", "warnings"),
                counted(of.len() as u64, "timing", "timings")
            )
        }));
    }
    texts
}

//! The network drawn as a chain of its layers and blocks, with what each is worth and takes.

use maud::{Markup, html};

use super::data::{Data, Dot, Origin};
use crate::record::format::{plain, significant};
use crate::record::{LayerRow, ScoreRow, Study};

pub(super) fn network(study: &Study, data: &Data) -> Markup {
    let lost: &[usize] = data.chosen.map_or(&[], |at| &data.models[at].lost);
    html! {
        @if !study.layers.is_empty() {
            section aria-labelledby="network" {
                h2 #network { "The network" }
                p { "Layers and blocks in forward order. Those that the model below lost are struck out and marked "
                    span.gone-mark { "removed" } "." }
                (controls(study, data))
                p #lost role="status" { (data.chosen.map_or_else(String::new, |at| loss(&data.models[at], data))) }
                ol.network {
                    @for (at, layer) in study.layers.iter().enumerate() { (unit(study, at, layer, lost.contains(&at))) }
                }
                (legend(study))
            }
        }
    }
}

fn controls(study: &Study, data: &Data) -> Markup {
    html! {
        div.controls {
            @if data.models.len() > 1 {
                label.needs-script for="model" { "Model " select #model autocomplete="off" {
                    (options(data, Origin::Whole, "The whole model"))
                    (options(data, Origin::Method, "By method"))
                    (options(data, Origin::Random, "By lot"))
                } }
            }
            @if study.scores.len() > 1 {
                label.needs-script for="criterion" { "Score by " select #criterion autocomplete="off" {
                    @for (at, table) in study.scores.iter().enumerate() { option value=(at) { (table.criterion) } }
                } }
            }
        }
    }
}

fn options(data: &Data, origin: Origin, label: &str) -> Markup {
    let of = || data.models.iter().enumerate().filter(move |(_, dot)| dot.origin == origin);
    html! {
        @if of().next().is_some() {
            optgroup label=(label) {
                @for (at, dot) in of() { option value=(at) selected[data.chosen == Some(at)] { (dot.title()) } }
            }
        }
    }
}

/// What a model lost, in a sentence.
fn loss(dot: &Dot, data: &Data) -> String {
    let names: Vec<&str> = dot.lost.iter().map(|&at| data.layers[at].as_str()).collect();
    let filters = match dot.filters {
        0 => String::new(),
        count => format!(" {count} filters of other layers went."),
    };
    match names.as_slice() {
        [] => format!("{}: no layer went.{filters}", dot.title()),
        names => format!("{}: {} went.{filters}", dot.title(), names.join(", ")),
    }
}

fn unit(study: &Study, at: usize, layer: &LayerRow, is_gone: bool) -> Markup {
    let saving = study.savings.iter().flat_map(|savings| &savings.rows).find(|row| row.layer == layer.name);
    let largest =
        study.savings.iter().flat_map(|savings| &savings.rows).map(|row| row.reduction_percent).fold(0.0, f64::max);
    let kind = [Some(layer.kind.clone()), layer.shape.clone(), layer.way.is_none().then(|| "stays".to_owned())];
    let kind: Vec<String> = kind.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    html! {
        li.gone[is_gone] data-layer=(at) title=[layer.reason.as_deref()] {
            span.unit {
                b { (layer.name) } " "
                span.gone-mark { "removed" } " "
                small { (kind.join(" · ")) }
            }
            @if !study.scores.is_empty() {
                span.fact { span.label { "score " } span.score { (first_score(study, layer).map_or_else(|| "–".to_owned(), |row| significant(row.score, 3))) } }
            }
            @if study.savings.is_some() {
                span.fact {
                    span.label { "saves " }
                    @match saving {
                        Some(row) => {
                            (plain(row.reduction_percent, 1)) " %"
                            span.bar style={ "width:" (format!("{:.1}", bar(row.reduction_percent, largest))) "%" } {}
                        }
                        None => "–",
                    }
                }
            }
        }
    }
}

fn bar(value: f64, largest: f64) -> f64 {
    if largest > 0.0 { (100.0 * value / largest).clamp(0.0, 100.0) } else { 0.0 }
}

fn first_score<'a>(study: &'a Study, layer: &LayerRow) -> Option<&'a ScoreRow> {
    study.scores.first()?.rows.iter().find(|row| row.layer == layer.name)
}

fn legend(study: &Study) -> Markup {
    html! {
        p.absent {
            @if let Some(table) = study.scores.first() {
                "Score: " span #meaning { (table.criterion) ". " (table.meaning) } "; higher is kept longer. "
            }
            @if let Some(savings) = &study.savings {
                @let by = &savings.circumstances;
                "Saves: the part of the whole model's latency that goes with it alone, " (by.engine.name) ", batch " (by.batch) "."
            }
        }
    }
}

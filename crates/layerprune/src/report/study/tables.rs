//! Tables: those of the paper, and one behind every figure.

use maud::{Markup, html};

use super::super::page::{absent, table};
use super::alike::Comparisons;
use super::data::{Data, Dot, Lot, Origin, told_in_full};
use super::spread;
use super::summary::budgets;
use crate::record::format::{count, plain, significant};
use crate::record::{Arm, Spread, Study};

/// For each budget its arms, those of one criterion side by side.
pub(super) fn arms(study: &Study) -> Markup {
    let arms = study.arms();
    html! {
        @if !arms.is_empty() {
            section aria-labelledby="arms" {
                h2 #arms { "Methods" }
                p.absent {
                    "Mean ± standard deviation over seeds. Columns named by an engine are latency reductions against the whole model. The best of \
                     a column is bold. Methods of one criterion stand together."
                }
                @for budget in budgets(&arms) { (one_budget(study, budget, &by_criterion(&arms, budget))) }
            }
        }
    }
}

/// The arms of a budget, each beside those that rank by the same criterion.
fn by_criterion<'a>(arms: &'a [Arm<'a>], budget: &str) -> Vec<&'a Arm<'a>> {
    let mut of: Vec<&Arm<'_>> = arms.iter().filter(|arm| arm.budget == budget).collect();
    let order: Vec<String> = of.iter().map(|arm| criterion(arm.arm)).collect();
    of.sort_by_key(|arm| order.iter().position(|one| *one == criterion(arm.arm)));
    of
}

/// What an arm ranks by: `layerprune:taylor-gate` and `taylor` rank by `taylor`. Arms that rank by nothing that others do are
/// alone with their name.
fn criterion(arm: &str) -> String {
    let criterion = match arm.split_once(':') {
        Some(("layerprune" | "layerprune-iterative", criterion)) => criterion,
        None if arm.starts_with("layerprune") => "imprint",
        _ => arm,
    };
    match criterion {
        "slimming" | "bn-scale" => "batch-norm-scale".to_owned(),
        "weight-norm-l1" | "weight-norm-l2" => "weight-norm".to_owned(),
        "taylor-gate" | "taylor-weight" | "taylor-batch-norm" => "taylor".to_owned(),
        other => other.to_owned(),
    }
}

fn one_budget(study: &Study, budget: &str, arms: &[&Arm<'_>]) -> Markup {
    let timed = study.timed();
    let macs = |arm: &Arm<'_>| arm.spread(|row| Some(100.0 * row.macs? as f64 / study.baseline.macs? as f64));
    let mut columns: Vec<(String, Vec<Option<Spread>>, usize, bool)> = vec![
        ("top-1 %".to_owned(), arms.iter().map(|arm| arm.top1()).collect(), 2, true),
        ("before training %".to_owned(), arms.iter().map(|arm| arm.after_cut()).collect(), 2, false),
    ];
    for by in &timed {
        let cells = arms.iter().map(|arm| arm.latency_reduction(by)).collect();
        columns.push((format!("{} %", told_in_full(by, &timed)), cells, 1, true));
    }
    columns.push(("MACs left %".to_owned(), arms.iter().map(|arm| macs(arm)).collect(), 1, false));
    columns.retain(|(_, cells, ..)| cells.iter().any(Option::is_some));
    table(
        budget,
        html! {
            tr {
                @for name in ["method", "removes"] { th scope="col" { (name) } }
                th.n scope="col" { "seeds" }
                @for (name, ..) in &columns { th.n scope="col" { (name) } }
            }
        },
        html! {
            @for (at, arm) in arms.iter().enumerate() {
                tr {
                    th scope="row" { (arm.arm) }
                    td { (arm.removes) }
                    td.n { (arm.rows.len()) }
                    @for (_, cells, places, ranked) in &columns {
                        td.n {
                            @match cells[at] {
                                Some(cell) if *ranked && is_best(cell, cells) => strong { (spread(Some(cell), *places)) },
                                Some(cell) => (spread(Some(cell), *places)),
                                None => (absent(None)),
                            }
                        }
                    }
                }
            }
        },
    )
}

fn is_best(cell: Spread, among: &[Option<Spread>]) -> bool {
    among.iter().flatten().all(|other| other.mean <= cell.mean)
}

/// All models of some origins, with what a point of the figures tells.
pub(super) fn models(data: &Data, caption: &str, wanted: &[Origin]) -> Markup {
    let of: Vec<&Dot> = data.models.iter().filter(|dot| wanted.contains(&dot.origin)).collect();
    let any = |has: fn(&Dot) -> bool| of.iter().any(|dot| has(dot));
    let (budgets, seeds, accurate) =
        (any(|dot| !dot.budget.is_empty()), any(|dot| dot.seed.is_some()), any(|dot| dot.top1.is_some()));
    let ways: Vec<usize> =
        (0..data.timed.len()).filter(|&by| of.iter().any(|dot| dot.reduction(by).is_some())).collect();
    table(
        caption,
        html! {
            tr {
                th scope="col" { "model" }
                @if budgets { th scope="col" { "budget" } }
                @if seeds { th.n scope="col" { "seed" } }
                @if accurate { th.n scope="col" { "top-1 %" } }
                @for &by in &ways { th.n scope="col" { (data.timed[by]) " %" } }
                @for name in ["layers gone", "filters gone", "parameters", "MACs"] { th.n scope="col" { (name) } }
                th scope="col" { "file" }
            }
        },
        html! {
            @for dot in &of {
                tr {
                    th scope="row" { (dot.arm) }
                    @if budgets { td { (dot.budget) } }
                    @if seeds { td.n { @if let Some(seed) = dot.seed { (seed) } } }
                    @if accurate { td.n {
                        (absent(dot.top1.map(|top1| plain(top1, 2)).as_deref()))
                        @if dot.stated { " (stated)" }
                    } }
                    @for &by in &ways { td.n { (absent(dot.reduction(by).map(|percent| plain(percent, 2)).as_deref())) } }
                    td.n { (dot.lost.len()) }
                    td.n { (dot.filters) }
                    td.n { (count(dot.parameters)) }
                    td.n { (absent(dot.macs.map(count).as_deref())) }
                    td.name { (dot.file) }
                }
            }
        },
    )
}

/// What the box plots show, in numbers.
pub(super) fn boxes(data: &Data) -> Markup {
    let names = ["models", "lowest", "lower quartile", "median", "upper quartile", "highest", "mean ± deviation"];
    table(
        "Latency reduction in percent of models made by lot.",
        html! { tr {
            th scope="col" { "timed by" } th scope="col" { "removed" }
            @for name in names { th.n scope="col" { (name) } }
        } },
        html! {
            @for (by, timed) in data.timed.iter().enumerate() {
                @for (lot, spread) in data.lots.iter().filter_map(|lot| Some((lot, lot.spread[by].as_ref()?))) {
                    tr {
                        th scope="row" { (timed) }
                        td { (lot.removes) }
                        td.n { (spread.count) }
                        @for number in spread.five { td.n { (plain(number, 1)) } }
                        td.n { (mean(spread.mean, 1)) }
                    }
                }
            }
        },
    )
}

/// Mean and deviation of the models by lot that were trained.
pub(super) fn trained(data: &Data) -> Markup {
    table(
        "Models made by lot that were trained: mean ± standard deviation over models.",
        html! { tr {
            th scope="col" { "timed by" } th scope="col" { "removed" }
            @for name in ["models", "top-1 %", "latency reduction %"] { th.n scope="col" { (name) } }
        } },
        html! {
            @for (by, timed) in data.timed.iter().enumerate() {
                @for (lot, of) in data.lots.iter().filter_map(|lot: &Lot| Some((lot, lot.trained[by].as_ref()?))) {
                    tr {
                        th scope="row" { (timed) }
                        td { (lot.removes) }
                        td.n { (of.count) }
                        td.n { (mean(of.top1, 2)) }
                        td.n { (mean(of.reduction, 1)) }
                    }
                }
            }
        },
    )
}

/// Layers against filters where the latency fell alike.
pub(super) fn alike(comparisons: &Comparisons) -> Markup {
    let rows: Vec<_> = comparisons.rows().collect();
    html! {
        @if !rows.is_empty() {
            (table(
                "Models made by lot at equal latency (bands of ten points of latency reduction that hold both kinds), with 95 % intervals.",
                html! { tr { @for name in Comparisons::COLUMNS { th scope="col" { (name) } } } },
                html! {
                    @for [timed, cells @ ..] in &rows { tr { th scope="row" { (timed) } @for cell in cells { td.n { (cell) } } } }
                },
            ))
        }
    }
}

pub(super) fn mean([mean, deviation]: [Option<f64>; 2], places: usize) -> String {
    spread(mean.map(|mean| Spread { mean, deviation }), places)
}

/// Scores and accuracies of all layers, and what each saves.
pub(super) fn layers(study: &Study, data: &Data) -> Markup {
    let saving = |name: &str| study.savings.iter().flat_map(|savings| &savings.rows).find(|row| row.layer == name);
    let score = |table: &crate::record::ScoreTable, name: &str| {
        table.rows.iter().find(|row| row.layer == name).map(|row| match &row.accuracy {
            Some(accuracy) => format!("{} ({} %)", significant(row.score, 3), plain(accuracy.percent, 1)),
            None => significant(row.score, 3),
        })
    };
    table(
        "Scores of each layer or block, in brackets the accuracy of a classifier on its output, and the latency that it takes.",
        html! { tr {
            th scope="col" { "layer or block" }
            @for table in &study.scores { th.n scope="col" { (table.criterion) } }
            @if study.savings.is_some() { th.n scope="col" { "with, ms" } th.n scope="col" { "without, ms" } th.n scope="col" { "saves %" } }
        } },
        html! {
            @for name in &data.layers {
                tr {
                    th.name scope="row" { (name) }
                    @for table in &study.scores { td.n { (absent(score(table, name).as_deref())) } }
                    @if study.savings.is_some() {
                        @match saving(name) {
                            Some(row) => {
                                td.n { (significant(row.with_ms, 4)) }
                                td.n { (significant(row.without_ms, 4)) }
                                td.n { (plain(row.reduction_percent, 1)) " (" (plain(row.reduction_interval[0], 1)) " to " (plain(row.reduction_interval[1], 1)) ")" }
                            }
                            None => { td.n { (absent(None)) } td.n { (absent(None)) } td.n { (absent(None)) } }
                        }
                    }
                }
            }
        },
    )
}

pub(super) fn failures(study: &Study) -> Markup {
    html! {
        @if !study.failures.is_empty() {
            section {
                h2 { "No model" }
                (table("What was asked for and gave none.", html! {
                    tr { th scope="col" { "method" } th scope="col" { "budget" } th.n scope="col" { "seed" } th scope="col" { "reason" } }
                }, html! {
                    @for failure in &study.failures {
                        tr {
                            th scope="row" { (failure.arm) }
                            td { (failure.budget) }
                            td.n { (failure.seed) }
                            td.why { (failure.reason) }
                        }
                    }
                }))
            }
        }
    }
}

use maud::{Markup, html};

use super::super::page::{absent, circumstances, drawings, page, table, warned};
use super::figure::figure;
use super::{Row, VALUES, caption, rows, sweep_headline, warnings};
use crate::record::Sweep;

/// The sweep as one page that needs nothing but itself: no script, no font, no address.
#[must_use]
pub fn sweep_html(sweep: &Sweep) -> String {
    let title = match sweep.model.path.as_str() {
        "" => "Sweep over latency budgets".to_owned(),
        path => format!("Sweep over latency budgets of {path}"),
    };
    let sections = html! {
        (warned(&warnings(sweep)))
        (drawings(figure(sweep).as_slice()))
        (models(sweep))
        (removed(sweep))
        (failures(sweep))
        (circumstances(&sweep.circumstances(), &sweep.settings))
    };
    page(&title, &sweep_headline(sweep), &sections)
}

fn models(sweep: &Sweep) -> Markup {
    let rows = rows(sweep);
    let there = |row: &Row, column: usize| row.values[column].as_ref().is_some_and(|value| !value.is_empty());
    let columns: Vec<usize> = (0..VALUES.len()).filter(|&column| rows.iter().any(|row| there(row, column))).collect();
    html! {
        @if !sweep.points.is_empty() {
            section {
                h2 { "Models" }
                (table(&caption(sweep), html! {
                    tr {
                        @for name in ["budget", "on frontier", "file"] { th scope="col" { (name) } }
                        @for &column in &columns { th.n scope="col" { (VALUES[column]) } }
                    }
                }, html! {
                    @for row in &rows {
                        tr {
                            th scope="row" { (row.budget) }
                            td { @if row.on_frontier { "yes" } }
                            td { @if let Some(file) = &row.file { (file) } }
                            @for &column in &columns { td.n { (absent(row.values[column].as_deref())) } }
                        }
                    }
                }))
            }
        }
    }
}

fn removed(sweep: &Sweep) -> Markup {
    html! {
        @if !sweep.points.is_empty() {
            section {
                h2 { "Removed layers" }
                (table("In order of removal.", html! {
                    tr { @for name in ["budget", "layers", "digest of the file"] { th scope="col" { (name) } } }
                }, html! {
                    @for point in &sweep.points {
                        tr {
                            th scope="row" { (point.budget) }
                            td.name { (point.layers.join(", ")) }
                            td.name { (point.digest) }
                        }
                    }
                }))
            }
        }
    }
}

fn failures(sweep: &Sweep) -> Markup {
    html! {
        @if !sweep.failures.is_empty() {
            section {
                h2 { "Budgets without a model" }
                (table("Why there is none.", html! {
                    tr { @for name in ["budget", "reason"] { th scope="col" { (name) } } }
                }, html! {
                    @for failure in &sweep.failures {
                        tr { th scope="row" { (failure.budget) } td.why { (failure.reason) } }
                    }
                }))
            }
        }
    }
}

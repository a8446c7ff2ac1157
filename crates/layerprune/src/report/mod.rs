//! What a record or a sweep looks like to people: pure functions from `&Record` or `&Sweep` to text. The same record
//! gives the same bytes.
//!
//! What is absent from the record is left out, never shown as zero.

mod csv;
mod figures;
mod headline;
mod heat_map;
mod html;
mod markdown;
mod page;
mod plot;
mod study;
mod sweep;

pub use csv::csv;
pub use headline::headline;
pub use html::html;
pub use markdown::markdown;
pub use study::{study_csv, study_headline, study_html, study_markdown};
pub use sweep::{sweep_csv, sweep_headline, sweep_html, sweep_markdown, sweep_svg};

use crate::record::format::significant;
use crate::record::{LayerRow, Record, ScoreRow};

/// `removable: bypass`, `no: it changes the resolution`: whether and how a layer can go, or why not.
fn removability(layer: &LayerRow) -> (String, Option<&str>) {
    let verdict = match &layer.way {
        Some(way) if layer.exact => format!("{way}, exact"),
        Some(way) => format!("{way}, not exact"),
        None => "no".to_owned(),
    };
    (verdict, layer.reason.as_deref())
}

/// `0.25 ± 0.1`: a score, and half the width of its interval where it has one.
fn score(row: &ScoreRow) -> String {
    match row.interval {
        Some([low, high]) => format!("{} ± {}", significant(row.score, 4), significant((high - low) / 2.0, 2)),
        None => significant(row.score, 4),
    }
}

/// Rows from the least to the most important, scores that aren't finite last; equal ones stay in the model's order.
fn ranked(rows: &[ScoreRow]) -> Vec<&ScoreRow> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by(|a, b| match (a.score.is_finite(), b.score.is_finite()) {
        (true, true) => a.score.total_cmp(&b.score),
        (a, b) => b.cmp(&a),
    });
    rows
}

/// Every warning of the record with what it is about, the run's own first.
fn warnings(record: &Record) -> Vec<String> {
    let mut warnings = record.warnings.clone();
    for one in &record.latency {
        let about = crate::record::format::circumstances(one, &record.latency);
        warnings.extend(one.warnings.iter().map(|warning| format!("latency, {about}: {warning}")));
    }
    warnings
}

#[cfg(test)]
mod samples;

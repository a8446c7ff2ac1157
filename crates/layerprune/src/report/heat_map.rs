//! How far criteria agree, as a map of colours.

use super::plot::{Anchor, Canvas, Drawn, Figure, KEPT, MUTED, REMOVED, TEXT, elided, width};
use crate::record::format::plain;
use crate::record::{Agreement, Record};

/// Side of a cell, in pixels.
const CELL: i32 = 42;
/// Longest name of a criterion that is written out, in characters.
const NAME: usize = 40;
const TOP: i32 = 34;

/// Kendall's τ between each two criteria; none of fewer than two.
pub(super) fn heat_map(record: &Record) -> Option<Figure> {
    let agreement = Agreement::of(&record.scores)?;
    let count = i32::try_from(agreement.criteria.len()).ok()?;
    let names: Vec<String> =
        agreement.criteria.iter().zip(1..).map(|(name, number)| format!("{} [{number}]", elided(name, NAME))).collect();
    let left = 12 + names.iter().map(|name| width(name)).max().unwrap_or(0);
    let figure = Figure {
        title: "Agreement of the criteria".to_owned(),
        caption:
            "Kendall's τ between each two criteria over the layers that both score: 1 is the same order, 0 none in \
                  common, -1 the reverse. The fuller the colour, the further from 0."
                .to_owned(),
        description: described(&agreement),
        width: left + CELL * count + 12,
        height: TOP + CELL * count + 12,
        marks: None,
    };
    Some(figure.draw(|canvas| {
        for (row, name) in (0..).zip(&names) {
            let y = TOP + CELL * row + CELL / 2;
            canvas.text(name, (left - 8, y), Anchor::End, TEXT)?;
            canvas.text(&format!("[{}]", row + 1), (left + CELL * row + CELL / 2, 16), Anchor::Middle, MUTED)?;
        }
        for (row, taus) in (0..).zip(&agreement.tau) {
            for (column, tau) in (0..).zip(taus) {
                cell(canvas, (left + CELL * column, TOP + CELL * row), *tau)?;
            }
        }
        Ok(())
    }))
}

fn cell(canvas: &Canvas<'_>, (x, y): (i32, i32), tau: Option<f64>) -> Drawn {
    let (text, share) = match tau {
        Some(tau) => (plain(tau, 2), tau.abs()),
        None => ("-".to_owned(), 0.0),
    };
    let ink = if tau.is_some_and(|tau| tau < 0.0) { REMOVED } else { KEPT };
    // The number has to be read on the fullest colour.
    canvas.shaded((x + 1, y + 1), (x + CELL - 1, y + CELL - 1), ink, 0.6 * share)?;
    canvas.text(&text, (x + CELL / 2, y + CELL / 2), Anchor::Middle, TEXT)
}

fn described(agreement: &Agreement) -> String {
    let pairs = agreement.tau.iter().enumerate().flat_map(|(row, taus)| {
        let named = taus.iter().take(row).enumerate();
        named.filter_map(move |(column, tau)| {
            let (a, b) = (&agreement.criteria[row], &agreement.criteria[column]);
            tau.as_ref().map(|tau| format!("{a} and {b} {}", plain(*tau, 2)))
        })
    });
    format!("Map of Kendall's τ: {}.", pairs.collect::<Vec<_>>().join("; "))
}

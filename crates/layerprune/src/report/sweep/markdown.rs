use super::super::markdown::{Align, Left, Right, circumstances, code, escaped, page, table};
use super::{VALUES, caption, rows, sweep_headline, warnings};
use crate::record::Sweep;

/// The sweep as GitHub-flavoured Markdown: headline, warnings, the models, then what went from each.
#[must_use]
pub fn sweep_markdown(sweep: &Sweep) -> String {
    let parts = [
        ("Models", models(sweep)),
        ("Removed layers", removed(sweep)),
        ("Budgets without a model", failures(sweep)),
        ("Circumstances", circumstances(&sweep.circumstances())),
    ];
    page("Sweep over latency budgets", &sweep.model.path, &sweep_headline(sweep), &warnings(sweep), &parts)
}

fn models(sweep: &Sweep) -> String {
    if sweep.points.is_empty() {
        return String::new();
    }
    const FIRST: [(&str, Align); 3] = [("budget", Left), ("on frontier", Left), ("file", Left)];
    let header: [_; FIRST.len() + VALUES.len()] = std::array::from_fn(|column| {
        FIRST.get(column).copied().unwrap_or_else(|| (VALUES[column - FIRST.len()], Right))
    });
    let cells = rows(sweep).into_iter().map(|row| {
        let on_frontier = if row.on_frontier { "yes" } else { "" };
        let file = row.file.map_or_else(String::new, |file| code(&file));
        let mut cells = [escaped(&row.budget), on_frontier.to_owned(), file]
            .into_iter()
            .chain(row.values.map(Option::unwrap_or_default));
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    });
    format!("{}\n{}\n", table(header, cells), escaped(&caption(sweep)))
}

fn removed(sweep: &Sweep) -> String {
    let rows = sweep.points.iter().map(|point| {
        let layers: Vec<_> = point.layers.iter().map(|layer| code(layer)).collect();
        [escaped(&point.budget), layers.join(", "), code(&point.digest)]
    });
    table([("budget", Left), ("layers, in order of removal", Left), ("digest of the file", Left)], rows)
}

fn failures(sweep: &Sweep) -> String {
    let rows = sweep.failures.iter().map(|failure| [escaped(&failure.budget), escaped(&failure.reason)]);
    table([("budget", Left), ("reason", Left)], rows)
}

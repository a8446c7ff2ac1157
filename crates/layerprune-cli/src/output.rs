//! Results on standard output: text tables or JSON.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use layerprune::files;
use layerprune::record::Record;
use serde::Serialize;

use crate::CannotBeDone;
use crate::args::{Format, Global};

/// Prints `value` as JSON, or what `text` makes of it.
pub(crate) fn print<T: Serialize>(global: &Global, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    let printed = match global.format {
        Format::Text => text(value),
        Format::Json => serde_json::to_string_pretty(value)?,
    };
    print_text(&printed)
}

/// Prints a record as its file has it, or `text`.
pub(crate) fn print_record(global: &Global, record: &Record, text: &str) -> Result<()> {
    match global.format {
        Format::Text => print_text(text),
        Format::Json => print_text(&record.to_json()),
    }
}

/// Prints text; a reader that closed the pipe is no fault.
pub(crate) fn print_text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{newline}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Refuses a path that no file can be written to, before anything is done for it.
pub(crate) fn expect_writable(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fault = if path.is_dir() {
        "it is a folder".to_owned()
    } else if !folder.is_dir() {
        format!("there is no folder `{}`", folder.display())
    } else {
        return Ok(());
    };
    Err(anyhow!(fault)).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes `text` to `path` in one step.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<()> {
    files::replace(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Reads what this program wrote as JSON: a `what` of version `schema`.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path, what: &str, schema: u32) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the {what} `{}`", path.display()))?;
    let context = || format!("`{}` holds no {what} that this program knows", path.display());
    let value: serde_json::Value = serde_json::from_str(&text).with_context(context)?;
    match value.get("schema") {
        Some(found) if *found != schema => {
            let text = format!("its schema is {found}, this version reads schema {schema}");
            Err(CannotBeDone(text)).with_context(context)
        }
        _ => serde_json::from_value(value).with_context(context),
    }
}

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table in plain text: a head, then rows, columns two spaces apart.
pub(crate) fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let space = " ".repeat(widths[column] - cell.chars().count());
            match head[column].1 {
                Align::Left => line.extend([cell, space.as_str()]),
                Align::Right => line.extend([space.as_str(), cell]),
            }
            line.push_str("  ");
        }
        line.trim_end().to_owned()
    };
    let mut text = vec![line(head.iter().map(|(name, _)| *name).collect())];
    text.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    text.join("\n")
}

/// `MACs: 40.55 M → 31.11 M (-23.3 %)`, a line; nothing where it is not known.
pub(crate) fn change(what: &str, before: Option<u64>, after: Option<u64>) -> String {
    let Some((before, after)) = before.zip(after) else { return String::new() };
    let percent = -100.0 * (before as f64 - after as f64) / before.max(1) as f64;
    format!("{what}: {} → {} ({percent:+.1} %)\n", count(before), count(after))
}

/// `12_345_678` as `12.35 M`.
pub(crate) fn count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1} k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} M", number as f64 / 1e6),
        _ => format!("{:.2} G", number as f64 / 1e9),
    }
}

/// Four places behind the point; what these cannot show, as a power of ten.
pub(crate) fn brief(number: f64) -> String {
    match number.abs() {
        0.0 | 0.01..100_000.0 => format!("{number:.4}"),
        _ => format!("{number:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_sets_columns_left_and_right() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "23".to_owned()]];
        let text = table(&[("name", Align::Left), ("n", Align::Right)], &rows);
        assert_eq!(text, "name   n\na      1\nlong  23");
    }

    #[test]
    fn numbers_of_any_size_are_told_apart() {
        assert_eq!([brief(0.0), brief(-1.25), brief(3.2e-7)], ["0.0000", "-1.2500", "3.200e-7"]);
    }

    #[test]
    fn counts_are_short() {
        assert_eq!([count(999), count(1_000), count(12_345_678)], ["999", "1.0 k", "12.35 M"]);
    }
}

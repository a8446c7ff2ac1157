use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use layerprune::record::{Record, Study, Sweep};
use layerprune::report;

use crate::args::{Global, ReportArgs};
use crate::{Usage, output};

/// Writes a page about a run, in the form that the file's extension asks for.
pub(crate) fn run(args: &ReportArgs, global: &Global) -> Result<()> {
    let wrong = || Usage(format!("`{}` should end in .html, .md or .csv", args.output.display()));
    let of_run = form(&args.output).ok_or_else(wrong)?;
    let of_sweep =
        one_of(&args.output, [report::sweep_html, report::sweep_markdown, report::sweep_csv]).ok_or_else(wrong)?;
    let of_study =
        one_of(&args.output, [report::study_html, report::study_markdown, report::study_csv]).ok_or_else(wrong)?;
    let context = || format!("cannot use the record `{}`", args.record.display());
    let text = fs::read_to_string(&args.record).with_context(context)?;
    let fields = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    let page = if fields.get("points").is_some() {
        of_sweep(&Sweep::from_json(&text).with_context(context)?)
    } else if fields.get("rows").is_some() {
        of_study(&Study::from_json(&text).with_context(context)?)
    } else {
        of_run(&Record::from_json(&text).with_context(context)?)
    };
    output::write_file(&args.output, &page)?;
    output::print(global, &serde_json::json!({ "written": args.output }), |_| {
        format!("written: {}", args.output.display())
    })
}

/// What writes a page of the form that the extension of `path` names.
pub(crate) fn form(path: &Path) -> Option<fn(&Record) -> String> {
    one_of(path, [report::html, report::markdown, report::csv])
}

fn one_of<T>(path: &Path, [html, markdown, csv]: [fn(&T) -> String; 3]) -> Option<fn(&T) -> String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => Some(html),
        Some("md") => Some(markdown),
        Some("csv") => Some(csv),
        _ => None,
    }
}

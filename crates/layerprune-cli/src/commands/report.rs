use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use layerprune::record::Record;
use layerprune::report;

use crate::args::{Global, ReportArgs};
use crate::{Usage, output};

/// Writes a page about a run, in the form that the file's extension asks for.
pub(crate) fn run(args: &ReportArgs, global: &Global) -> Result<()> {
    let form = form(&args.output)
        .ok_or_else(|| Usage(format!("`{}` should end in .html, .md or .csv", args.output.display())))?;
    let context = || format!("cannot use the record `{}`", args.record.display());
    let record = Record::from_json(&fs::read_to_string(&args.record).with_context(context)?).with_context(context)?;
    output::write_file(&args.output, &form(&record))?;
    output::print(global, &serde_json::json!({ "written": args.output }), |_| {
        format!("written: {}", args.output.display())
    })
}

/// What writes a page of the form that the extension of `path` names.
pub(crate) fn form(path: &Path) -> Option<fn(&Record) -> String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => Some(report::html),
        Some("md") => Some(report::markdown),
        Some("csv") => Some(report::csv),
        _ => None,
    }
}

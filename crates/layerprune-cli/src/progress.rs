//! Progress bars and notes, on standard error.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Global;

/// A bar over `length` steps called `what`; hidden with `--quiet` and where standard error is no terminal.
pub(crate) fn bar(global: &Global, what: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if global.quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{prefix:>14} [{bar:30}] {pos}/{len} {msg} {eta}")
        .expect("the template is a constant")
        .progress_chars("=> ");
    bar.set_style(style);
    bar.set_prefix(what.to_owned());
    bar
}

/// A line on standard error, unless `--quiet`.
pub(crate) fn note(global: &Global, text: &str) {
    if !global.quiet {
        error_line(text);
    }
}

/// A line on standard error; nobody reading it any more is no fault.
pub(crate) fn error_line(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

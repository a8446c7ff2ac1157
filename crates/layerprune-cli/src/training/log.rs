//! One line of JSON for each epoch.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use layerprune::record::EpochRow;

use crate::output::write_file;

/// A file that grows by a line with each epoch.
pub(super) struct EpochLog {
    path: PathBuf,
    begun: bool,
}

impl EpochLog {
    /// Begins with the epochs that are known; a line that was cut off when a run was killed goes. Where none is known, an
    /// older file stays until the first is.
    pub(super) fn begin(path: &Path, rows: &[EpochRow]) -> Result<Self> {
        if !rows.is_empty() {
            write_file(path, &rows.iter().map(line).collect::<Result<String>>()?)?;
        }
        Ok(Self { path: path.to_owned(), begun: !rows.is_empty() })
    }

    /// Adds an epoch.
    pub(super) fn add(&mut self, row: &EpochRow) -> Result<()> {
        let line = line(row)?;
        if !self.begun {
            self.begun = true;
            return write_file(&self.path, &line);
        }
        let written = File::options().append(true).create(true).open(&self.path);
        let written = written.and_then(|mut file| file.write_all(line.as_bytes()));
        written.with_context(|| format!("cannot write `{}`", self.path.display()))
    }
}

fn line(row: &EpochRow) -> Result<String> {
    Ok(format!("{}\n", serde_json::to_string(row)?))
}

//! `OUTPUT.checkpoint`: all that a run needs to go on where it was broken off.
//!
//! The folder holds the training library's checkpoint, the best model so far, and `state.json`, which names them. A new
//! state is complete once `state.json` is replaced, in one step; files that it does not name are of no use and go.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use layerprune::onnx::Model;
use layerprune::record::EpochRow;
use layerprune_train::{Checkpoint, CheckpointError, TrainError};
use serde::{Deserialize, Serialize};

use crate::CannotBeDone;
use crate::output::{read_json, write_file};

const STATE: &str = "state.json";
const LOCK: &str = "lock";
const SCHEMA: u32 = 1;

/// What the command knows of a run, beside what the training library does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct State {
    schema: u32,
    /// What the result depends on and the library's checkpoint does not hold.
    circumstances: BTreeMap<String, String>,
    /// The epochs that are done.
    pub(super) rows: Vec<EpochRow>,
    /// Seconds that the epoch under way took so far.
    pub(super) seconds: f64,
    /// The library's checkpoint.
    weights: String,
    /// The model that is the result if no later epoch's is: the best so far, or that of the epoch training stopped after.
    result: Option<String>,
}

impl State {
    pub(super) fn new(circumstances: BTreeMap<String, String>) -> Self {
        Self { schema: SCHEMA, circumstances, rows: Vec::new(), seconds: 0.0, weights: String::new(), result: None }
    }
}

impl State {
    /// The files that it names.
    fn names(&self) -> Vec<String> {
        [Some(self.weights.clone()), self.result.clone()].into_iter().flatten().collect()
    }
}

/// The folder, which no other run may use as long as this stands.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is not there, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let context = || format!("cannot use the checkpoint `{}`", path.display());
        loop {
            if path.is_file() {
                return Err(CannotBeDone("it is a file, a folder is needed".to_owned())).with_context(context);
            }
            fs::create_dir_all(path).with_context(context)?;
            let name = path.join(LOCK);
            let lock = File::options().create(true).append(true).open(&name).with_context(context)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let text = "another run is writing it; wait for its end, or give another output";
                    return Err(CannotBeDone(text.to_owned())).with_context(context);
                }
                // A file system that knows no locks; two runs at once would give what each of them gives.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(error).with_context(context),
            }
            if is_at(&lock, &name) {
                return Ok(Self { path: path.to_owned(), _lock: lock });
            }
            // Another run ended, and removed the folder, between the two steps above.
        }
    }

    /// Whether there is something to go on from.
    pub(super) fn holds_state(path: &Path) -> bool {
        path.join(STATE).exists()
    }

    /// The state in the folder `from`, if it is of a run under the same circumstances, with the library's checkpoint.
    pub(super) fn load(from: &Path, circumstances: &BTreeMap<String, String>) -> Result<(State, Checkpoint)> {
        let state: State = read_json(&from.join(STATE), "state of a run", SCHEMA)
            .with_context(|| format!("cannot use the checkpoint `{}`; `--restart` begins anew", from.display()))?;
        for (setting, expected) in circumstances {
            let found = state.circumstances.get(setting).cloned().unwrap_or_default();
            if found != *expected {
                let (setting, expected) = (setting.clone(), expected.clone());
                return Err(TrainError::from(CheckpointError::OtherSettings { setting, found, expected }).into());
            }
        }
        let checkpoint = Checkpoint::load(from.join(&state.weights))?;
        Ok((state, checkpoint))
    }

    /// Takes over what a state in another folder names.
    pub(super) fn adopt(&self, from: &Path, state: &State) -> Result<()> {
        for name in state.names() {
            fs::copy(from.join(&name), self.path.join(&name))
                .with_context(|| format!("cannot copy `{}`", from.join(&name).display()))?;
        }
        write_file(&self.path.join(STATE), &serde_json::to_string(state)?)
    }

    /// Keeps the model of an epoch as the result, unless a later one's is; it counts with the next [`Folder::save`].
    pub(super) fn keep_result(&self, state: &mut State, model: &Model, epoch: usize) -> Result<()> {
        let name = format!("result-{epoch}.onnx");
        model.write(self.path.join(&name))?;
        state.result = Some(name);
        Ok(())
    }

    /// The model that was kept as the result.
    pub(super) fn result(&self, state: &State) -> Result<Option<Model>> {
        let Some(name) = &state.result else { return Ok(None) };
        let path = self.path.join(name);
        let context = || format!("cannot use `{}`, which belongs to the checkpoint", path.display());
        Model::read(&path).map(Some).with_context(context)
    }

    /// Writes all that is needed to go on from here; `at` names the place, such as `3-120`.
    pub(super) fn save(&self, state: &mut State, checkpoint: &Checkpoint, at: &str) -> Result<()> {
        state.weights = format!("{at}.weights");
        checkpoint.save(self.path.join(&state.weights))?;
        write_file(&self.path.join(STATE), &serde_json::to_string(state)?)?;
        let names = state.names();
        let named = |name: &OsStr| name == STATE || name == LOCK || names.iter().any(|it| name == it.as_str());
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if !named(&entry.file_name()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Removes what is in the folder, but keeps it taken.
    pub(super) fn clear(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name() != LOCK {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Folder {
    /// A folder with nothing to go on from need not stay.
    fn drop(&mut self) {
        if !Self::holds_state(&self.path) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes the folder, unless another run has taken it.
pub(super) fn remove(path: &Path) {
    if path.is_dir()
        && let Ok(folder) = Folder::take(path)
    {
        folder.clear();
    }
}

/// Whether `file` is what stands at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |metadata: io::Result<fs::Metadata>| metadata.map(|it| (it.dev(), it.ino())).ok();
    of(file.metadata()) == of(fs::metadata(path))
}

/// Whether `file` is what stands at `path`: an open file cannot be removed here.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

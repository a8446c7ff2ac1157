//! `OUTPUT.checkpoint`: all that a run needs to go on where it was broken off.
//!
//! The folder holds the training library's checkpoint, the best model so far in a folder of its own, for it may be of
//! several files, and `state.json`, which names them. A new state is complete once `state.json` is replaced, in one step;
//! what it does not name is of no use and goes. What has no name of this module's making is someone else's and stays.

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
/// The model in the folder of a result.
const MODEL: &str = "model.onnx";
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
    /// How many of them went by in waiting for images.
    #[serde(default)]
    pub(super) waited: f64,
    /// The library's checkpoint.
    weights: String,
    /// The folder of the model that is the result if no later epoch's is: the best so far, or that of the epoch training
    /// stopped after.
    result: Option<String>,
}

impl State {
    pub(super) fn new(circumstances: BTreeMap<String, String>) -> Self {
        Self {
            schema: SCHEMA,
            circumstances,
            rows: Vec::new(),
            seconds: 0.0,
            waited: 0.0,
            weights: String::new(),
            result: None,
        }
    }
}

impl State {
    /// The file and the folder that it names.
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
            let lock = match File::options().create(true).append(true).open(&name) {
                // Another run removed the folder just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.with_context(context)?,
            };
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
            copy(&from.join(&name), &self.path.join(&name))
                .with_context(|| format!("cannot copy `{}`", from.join(&name).display()))?;
        }
        write_file(&self.path.join(STATE), &serde_json::to_string(state)?)
    }

    /// Keeps the model of an epoch as the result, unless a later one's is; it counts with the next [`Folder::save`].
    pub(super) fn keep_result(&self, state: &mut State, model: &Model, epoch: usize) -> Result<()> {
        let name = format!("result-{epoch}");
        let folder = self.path.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        model.write(folder.join(MODEL))?;
        state.result = Some(name);
        Ok(())
    }

    /// The model that was kept as the result.
    pub(super) fn result(&self, state: &State) -> Result<Option<Model>> {
        let Some(name) = &state.result else { return Ok(None) };
        let path = self.path.join(name).join(MODEL);
        let context = || format!("cannot use `{}`, which belongs to the checkpoint", path.display());
        Model::read(&path).map(Some).with_context(context)
    }

    /// Writes all that is needed to go on from here; `at` names the place, such as `3-120`.
    pub(super) fn save(&self, state: &mut State, checkpoint: &Checkpoint, at: &str) -> Result<()> {
        state.weights = format!("{at}.weights");
        checkpoint.save(self.path.join(&state.weights))?;
        write_file(&self.path.join(STATE), &serde_json::to_string(state)?)?;
        self.remove_all_but(&state.names());
        Ok(())
    }

    /// Removes the state and what belongs to it, but keeps the folder taken.
    pub(super) fn clear(&self) {
        // First what names the rest: a state that names what is gone would stand in the way of the next run.
        let _ = fs::remove_file(self.path.join(STATE));
        if !Self::holds_state(&self.path) {
            self.remove_all_but(&[]);
        }
    }

    /// Removes all weights and results but these.
    fn remove_all_but(&self, names: &[String]) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if is_own(&name) && !names.iter().any(|it| name == it.as_str()) {
                let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
                let _ = if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            }
        }
    }
}

impl Drop for Folder {
    /// A folder with nothing to go on from need not stay.
    fn drop(&mut self) {
        if !Self::holds_state(&self.path) {
            self.remove_all_but(&[]);
            let _ = fs::remove_file(self.path.join(LOCK));
            // Fails where something is left that is not ours.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Removes the checkpoint at `path`, where there is one.
///
/// # Errors
/// Where another run has taken it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        Folder::take(path)?.clear();
    }
    Ok(())
}

/// Whether it is a name that this module gives: `3-120.weights`, `result-3`, or a file that was being written.
fn is_own(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_weights = name.strip_suffix(".weights").and_then(|at| at.split_once('-'));
    of_weights.is_some_and(|(epoch, step)| is_number(epoch) && is_number(step))
        || name.strip_prefix("result-").is_some_and(is_number)
        || name.starts_with(".layerprune-")
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_form_are_ours() {
        for name in ["3-120.weights", "0-1.weights", "result-12", ".layerprune-a1b2c3"] {
            assert!(is_own(OsStr::new(name)), "{name}");
        }
        for name in ["notes.txt", "best.weights", "3-.weights", "result-", "result-3.onnx", "state.json", "lock"] {
            assert!(!is_own(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_folder_without_a_state_goes_unless_someone_put_something_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tuned.onnx.checkpoint");
        drop(Folder::take(&path).unwrap());
        assert!(!path.exists());
        let folder = Folder::take(&path).unwrap();
        for name in ["notes.txt", "3-0.weights", STATE] {
            fs::write(path.join(name), "").unwrap();
        }
        fs::create_dir(path.join("result-3")).unwrap();
        assert!(remove(&path).is_err());
        folder.clear();
        drop(folder);
        let left: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}

//! What a method has finished, kept so that the same command goes on after a kill: each result under a key made of all that it
//! depends on, in a file of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use layerprune::onnx::Model;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output::write_file;

/// A folder of finished results.
pub(crate) struct Journal {
    folder: PathBuf,
    /// What all results depend on: data, preprocessing, seed.
    circumstances: String,
}

impl Journal {
    /// The journal in `folder`, which is made where it is not there.
    pub(crate) fn open(folder: PathBuf, circumstances: String) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        Ok(Self { folder, circumstances })
    }

    /// The model under `key`, or what `make` gives, which is kept. `make` is told a path for files of its own.
    pub(crate) fn model(&self, key: &str, make: impl FnOnce(&Path) -> Result<Model>) -> Result<Model> {
        let path = self.path(key, "onnx");
        if path.exists() {
            return Ok(Model::read(&path)?);
        }
        let model = make(&path)?;
        model.write(&path)?;
        Ok(model)
    }

    /// The value under `key`, or what `make` gives, which is kept.
    pub(crate) fn value<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.path(key, "json");
        if let Ok(text) = fs::read_to_string(&path) {
            return serde_json::from_str(&text).with_context(|| format!("cannot read `{}`", path.display()));
        }
        let value = make()?;
        write_file(&path, &serde_json::to_string(&value)?)?;
        Ok(value)
    }

    /// Takes all away, once what it led to is written.
    pub(crate) fn forget(self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn path(&self, key: &str, ending: &str) -> PathBuf {
        let version = env!("CARGO_PKG_VERSION");
        let whole = format!("{version}\n{}\n{key}", self.circumstances);
        self.folder.join(format!("{}.{ending}", &blake3::hash(whole.as_bytes()).to_hex()[..24]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_is_not_made_again_and_what_depends_on_other_things_is() {
        let folder = tempfile::tempdir().unwrap();
        let open = |seed: &str| Journal::open(folder.path().join("journal"), seed.to_owned()).unwrap();
        let made = |journal: &Journal, key: &str, number: i32| journal.value(key, || Ok(number)).unwrap();
        assert_eq!(made(&open("seed 0"), "a", 1), 1);
        assert_eq!(made(&open("seed 0"), "a", 2), 1);
        assert_eq!(made(&open("seed 0"), "b", 3), 3);
        assert_eq!(made(&open("seed 1"), "a", 4), 4);
        open("seed 0").forget();
        assert!(!folder.path().join("journal").exists());
    }
}

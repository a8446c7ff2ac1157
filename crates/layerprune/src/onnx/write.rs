use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message;

use super::convert::to_proto;
use super::read::folder_of;
use super::{Model, OnnxError, external};
use crate::files;
use crate::proto::ModelProto;

/// What a protobuf message can hold, less room for the rest of the model.
const LARGEST_MESSAGE: usize = (1 << 31) - (1 << 20);
/// Smaller tensors stay in the model when it has to be split.
const SMALLEST_SPILLED: usize = 1024;

/// A model without its external bytes, and those by file name.
type Layout = (ModelProto, BTreeMap<String, Vec<u8>>);

impl Model {
    /// Writes the model to `path`, external tensors beside it. A model too large for one protobuf message (2 GB) gets
    /// its tensors moved into `<file name>.data`.
    ///
    /// An external file keeps its name unless another file of that name and other content stands there; then it
    /// becomes `<file name>.data` too. Where the model that now stands at `path` reads that file, a number is put into
    /// the name: at any moment what stands at `path` is a whole model, the one before or this one.
    ///
    /// # Errors
    /// [`OnnxError::Write`] or [`OnnxError::TooLarge`]; the model that stood at `path` before is then untouched.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), OnnxError> {
        self.write_with_limit(path.as_ref(), LARGEST_MESSAGE)
    }

    pub(super) fn write_with_limit(&self, path: &Path, largest_message: usize) -> Result<(), OnnxError> {
        let fault = |path: &Path, source| OnnxError::Write { path: path.to_owned(), source };
        let Some(file_name) = path.file_name().map(|name| name.to_string_lossy()) else {
            return Err(fault(path, std::io::Error::new(std::io::ErrorKind::InvalidInput, "it names no file")));
        };
        let folder = folder_of(path);
        let (model, data) = self.lay_out(path, folder, &file_name, largest_message);
        let bytes = model.encoded_len();
        if bytes > largest_message {
            return Err(OnnxError::TooLarge { path: path.to_owned(), bytes, limit: largest_message });
        }
        // The data first: a model must never stand there without it. No file that the model before reads is written
        // over, so that one stays whole until the last step puts the new one in its place.
        for (name, bytes) in &data {
            let data_path = folder.join(name);
            if !stands_there(&data_path, bytes) {
                fs::create_dir_all(folder_of(&data_path)).map_err(|source| fault(&data_path, source))?;
                files::replace(&data_path, bytes).map_err(|source| fault(&data_path, source))?;
            }
        }
        files::replace(path, &model.encode_to_vec()).map_err(|source| fault(path, source))
    }

    /// The model as it is to stand at `path`, and its data files by name.
    fn lay_out(&self, path: &Path, folder: &Path, file_name: &str, largest_message: usize) -> Layout {
        let mut before = None;
        let mut number = 0;
        loop {
            let own = if number == 0 { format!("{file_name}.data") } else { format!("{file_name}.{number}.data") };
            let (model, data) = self.with_own_file(&own, folder, file_name, largest_message);
            let overwrites = data.get(&own).is_some_and(|bytes| taken(folder, &own, bytes));
            // A name that only an earlier model of this path used is free again: no more than two are ever in use.
            if !(overwrites && before.get_or_insert_with(|| external::locations_of(path)).contains(&own)) {
                return (model, data);
            }
            number += 1;
        }
    }

    /// The model and its data files, with file `own` for all that cannot stay where it is.
    fn with_own_file(&self, own: &str, folder: &Path, file_name: &str, largest_message: usize) -> Layout {
        let mut whole = to_proto(self);
        external::relocate(&mut whole, own, |location| external::plain(location).is_none_or(|name| name == file_name));
        let mut model = whole.clone();
        let mut data = external::unload(&mut model, &self.external);
        if model.encoded_len() > largest_message {
            external::spill(&mut whole, own, SMALLEST_SPILLED);
            model = whole.clone();
            let others = self.external.iter().filter(|(name, _)| *name != own);
            data = external::unload(&mut model, &others.map(|(name, file)| (name.clone(), file.clone())).collect());
        }
        if data.iter().any(|(name, bytes)| name != own && taken(folder, name, bytes)) {
            external::relocate(&mut whole, own, |_| true);
            data = external::unload(&mut whole, &BTreeMap::new());
            model = whole;
        }
        (model, data)
    }
}

/// Whether something other than these bytes stands under `name`.
fn taken(folder: &Path, name: &str, bytes: &[u8]) -> bool {
    let path = folder.join(name);
    path.exists() && !stands_there(&path, bytes)
}

/// Whether the file at `path` holds just these bytes.
fn stands_there(path: &Path, bytes: &[u8]) -> bool {
    let same_length = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
    same_length && fs::read(path).is_ok_and(|found| found == bytes)
}

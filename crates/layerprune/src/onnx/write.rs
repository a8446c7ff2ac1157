use std::fs;
use std::io::Write;
use std::path::Path;

use prost::Message;
use tempfile::NamedTempFile;

use super::convert::to_proto;
use super::{Model, OnnxError, external};

/// What a protobuf message can hold, less room for the rest of the model.
const LARGEST_MESSAGE: usize = (1 << 31) - (1 << 20);
/// Smaller tensors stay in the model when it has to be split.
const SMALLEST_SPILLED: usize = 1024;

impl Model {
    /// Writes the model to `path`, external tensors beside it. A model too large for one protobuf message (2 GB) gets
    /// its tensors moved into `<file name>.data`.
    ///
    /// An external file keeps its name unless another file of that name and other content stands there; then it
    /// becomes `<file name>.data` too.
    ///
    /// # Errors
    /// [`OnnxError::Write`]; the file that stood at `path` before is then untouched.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), OnnxError> {
        self.write_with_limit(path.as_ref(), LARGEST_MESSAGE)
    }

    pub(super) fn write_with_limit(&self, path: &Path, largest_message: usize) -> Result<(), OnnxError> {
        let fault = |source| OnnxError::Write { path: path.to_owned(), source };
        let Some(file_name) = path.file_name() else {
            return Err(fault(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it names no file")));
        };
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let own_name = format!("{}.data", file_name.to_string_lossy());
        let mut proto = to_proto(self);
        let mut kept = proto.clone();
        let mut files = external::unload(&mut kept, &self.external);
        if kept.encoded_len() > largest_message {
            external::spill(&mut proto, &own_name, SMALLEST_SPILLED);
            kept = proto.clone();
            files = external::unload(&mut kept, &self.external);
        }
        let taken = |name: &str, bytes: &[u8]| fs::read(folder.join(name)).is_ok_and(|found| found != bytes);
        if files.iter().any(|(name, bytes)| *name != own_name && taken(name, bytes)) {
            external::relocate(&mut proto, &own_name);
            files = external::unload(&mut proto, &Default::default());
            kept = proto;
        }
        for (name, bytes) in &files {
            replace(&folder.join(name), bytes)?;
        }
        replace(path, &kept.encode_to_vec())
    }
}

/// Puts `bytes` at `path` in one step, or leaves what was there.
///
/// # Errors
/// [`OnnxError::Write`], naming the file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), OnnxError> {
    let fault = |source| OnnxError::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(fault)?;
    file.write_all(bytes).map_err(fault)?;
    file.as_file().sync_all().map_err(fault)?;
    file.persist(path).map_err(|error| fault(error.error))?;
    Ok(())
}

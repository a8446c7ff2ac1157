use std::fs;
use std::path::Path;

use prost::Message;
use prost::bytes::{Buf, Bytes};

use super::convert::{from_proto, try_for_each_tensor};
use super::{Model, OnnxError, external};
use crate::graph::tensor;
use crate::proto::{self, ModelProto};

impl Model {
    /// Reads the model in the file `path`, with its external data from the same folder.
    ///
    /// # Errors
    /// [`OnnxError::Read`], or [`OnnxError::File`] with what is wrong with the file as its source.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, OnnxError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        read_from(bytes, folder_of(path))
            .map_err(|source| OnnxError::File { path: path.to_owned(), source: Box::new(source) })
    }

    /// Reads a model from memory; it may not refer to external data.
    ///
    /// # Errors
    /// What is wrong with the bytes; external data is an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OnnxError> {
        Self::from_proto(decode(bytes)?)
    }

    /// Takes a model over from its ONNX structs.
    ///
    /// # Errors
    /// As [`Model::from_bytes`].
    pub fn from_proto(mut model: ModelProto) -> Result<Self, OnnxError> {
        external::refuse(&mut model)?;
        check_tensors(&mut model)?;
        from_proto(model, Default::default())
    }
}

/// The folder of a file, `.` where the path names none.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read_from(bytes: Vec<u8>, folder: &Path) -> Result<Model, OnnxError> {
    let mut model = decode(Bytes::from(bytes))?;
    let files = external::load(&mut model, folder)?;
    check_tensors(&mut model)?;
    from_proto(model, files)
}

/// Decodes a model; of [`Bytes`] its raw tensors are views.
fn decode(bytes: impl Buf) -> Result<ModelProto, OnnxError> {
    let length = bytes.remaining();
    if length == 0 {
        return Err(OnnxError::Malformed { reason: "it is empty".to_owned() });
    }
    let model = ModelProto::decode(bytes)
        .map_err(|error| OnnxError::Malformed { reason: format!("{error} (of {length} bytes)") })?;
    if model.ir_version() > proto::IR_VERSION {
        return Err(OnnxError::TooNew { found: model.ir_version(), known: proto::IR_VERSION });
    }
    Ok(model)
}

fn check_tensors(model: &mut ModelProto) -> Result<(), OnnxError> {
    try_for_each_tensor(model, &mut |tensor, place| {
        tensor::check(tensor).map_err(|source| OnnxError::Tensor { place: place(), source })
    })
}

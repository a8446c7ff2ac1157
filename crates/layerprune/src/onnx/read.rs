use std::fs;
use std::path::Path;

use prost::Message;

use super::convert::{from_proto, try_for_each_tensor};
use super::{Model, OnnxError, external};
use crate::graph::tensor;
use crate::proto::{self, ModelProto};

impl Model {
    /// Reads the model in the file `path`, with its external data from the same folder.
    ///
    /// # Errors
    /// Whatever is wrong with the file, named; see [`OnnxError`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, OnnxError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| OnnxError::Read { path: path.to_owned(), source })?;
        let mut model = decode(&bytes)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let counts = external::load(&mut model, folder)?;
        check_tensors(&mut model)?;
        from_proto(model, counts)
    }

    /// Reads a model from memory; it may not refer to external data.
    ///
    /// # Errors
    /// As [`Model::read`]; external data is an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OnnxError> {
        let mut model = decode(bytes)?;
        external::refuse(&mut model)?;
        check_tensors(&mut model)?;
        from_proto(model, Default::default())
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

fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if bytes.is_empty() {
        return Err(OnnxError::Malformed { reason: "it is empty".to_owned() });
    }
    let model = ModelProto::decode(bytes)
        .map_err(|error| OnnxError::Malformed { reason: format!("{error} (of {} bytes)", bytes.len()) })?;
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

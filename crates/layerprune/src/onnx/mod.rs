//! ONNX files ⇄ [`Model`], lossless both ways.
//!
//! Reading checks what it reads: hostile bytes give an [`OnnxError`] that names the place, never a panic. What is
//! allocated is bounded by the sizes of the files: tensors share the bytes of the file they come from, the decoder
//! refuses lengths beyond the end of its input, and sizes that a file merely claims are compared with what is stored
//! before anything is made of them. The worst factor between file and memory is that of an empty tensor: two bytes in
//! the file, the 344 bytes of its struct in memory.
//!
//! Writing goes to temporary files that replace their targets only when complete.

mod convert;
mod external;
mod read;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use prost::Message;
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::graph::GraphError;
use crate::graph::tensor::TensorError;
use crate::proto::ModelProto;

/// A model: its graph and everything else that the file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The main graph.
    pub graph: Graph,
    /// All fields of the ONNX model but its graph.
    pub(crate) rest: ModelProto,
    /// The files of external tensors as they were read.
    pub(crate) external: BTreeMap<String, DataFile>,
}

/// A file of external tensors as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataFile {
    /// All of it, also what no tensor reads.
    bytes: Bytes,
    /// How many tensors it serves.
    tensors: usize,
}

/// Tells one model from another: a digest of all that its file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelDigest(String);

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a model could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read and is no model that can be used; the source says why.
    #[error("cannot use the model `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<OnnxError>,
    },
    /// The file could not be written; what stood there before is untouched.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The model is too large even without the tensors that can go into a file beside it.
    #[error("cannot write `{}`: the model without its large tensors takes {bytes} bytes, one file holds {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is left.
        bytes: usize,
        /// What a protobuf message can hold.
        limit: usize,
    },
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model: {reason}")]
    Malformed {
        /// What the decoder found.
        reason: String,
    },
    /// The file is of a newer format than this program knows.
    #[error("ONNX IR version {found} is newer than {known}, the newest this program can carry without loss")]
    TooNew {
        /// The file's version.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// The graph contradicts itself.
    #[error("the graph is inconsistent")]
    Graph(#[from] GraphError),
    /// A stored tensor contradicts itself.
    #[error("{place} is inconsistent")]
    Tensor {
        /// Where the tensor stands.
        place: String,
        /// The fault.
        source: TensorError,
    },
    /// External data is missing, cut short or outside the model's folder.
    #[error("{place}: external data `{location}` {reason}")]
    External {
        /// The tensor by name, or where it stands.
        place: String,
        /// The location as the file gives it.
        location: String,
        /// What is wrong.
        reason: String,
    },
}

impl Model {
    /// The model's fields other than its graph.
    #[must_use]
    pub fn metadata(&self) -> &ModelProto {
        &self.rest
    }

    /// The model as one ONNX byte string, external tensors inlined: what an engine loads from memory.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut proto = convert::to_proto(self);
        external::inline(&mut proto);
        proto.encode_to_vec()
    }

    /// A digest of all that the model says, wherever its tensors are stored.
    #[must_use]
    pub fn digest(&self) -> ModelDigest {
        ModelDigest(blake3::hash(&self.to_bytes()).to_hex()[..32].to_owned())
    }

    /// The same model with another graph.
    ///
    /// Before IR version 4 every initializer is also a graph input: those that are new are declared as such.
    #[must_use]
    pub fn with_graph(&self, mut graph: Graph) -> Self {
        if self.rest.ir_version() < 4 {
            let new: Vec<_> =
                graph.initializers().iter().copied().filter(|&value| !self.graph.holds_initializer(value)).collect();
            new.into_iter().for_each(|value| graph.declare_initializer(value));
        }
        Self { graph, rest: self.rest.clone(), external: self.external.clone() }
    }
}

//! The complete ONNX schema as plain structs, generated from `tools/onnx-schema` and committed.

#[allow(missing_docs, clippy::all, rustdoc::all)]
mod onnx;

pub use onnx::*;

/// The newest ONNX IR version whose fields this schema holds; a newer file would lose fields on the way through.
pub const IR_VERSION: i64 = Version::IrVersion as i64;

//! Layer pruning of ONNX CNNs: graph, criteria, plans and surgery.
#![forbid(unsafe_code)]

pub mod batch;
pub mod graph;
pub mod onnx;
pub mod proto;

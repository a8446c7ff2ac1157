//! Layer pruning of ONNX CNNs: graph, criteria, plans and surgery.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod batch;
pub mod cost;
pub mod criteria;
pub mod evidence;
pub mod files;
pub mod graph;
pub mod onnx;
pub mod ops;
pub mod pipeline;
pub mod plan;
pub mod proto;
pub mod record;
pub mod report;
pub mod shapes;
pub mod stats;
pub mod surgery;

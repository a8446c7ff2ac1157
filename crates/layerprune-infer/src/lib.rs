//! Runs and times ONNX models.
//!
//! A [`Session`] is a model loaded by an [`Engine`]; everything else works on sessions: [`evaluate`] counts what a
//! classifier gets right, [`features()`] hands on the values of taps, [`compare`] says how far two models' outputs are
//! apart, and [`measure`] times models in turns. A [`CommandEngine`] only times, by any program on this or another machine.
//!
//! ```
//! use layerprune::onnx::Model;
//! use layerprune_infer::{Input, Session, SessionOptions};
//! # use layerprune::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto, TypeProto, type_proto};
//! # fn port(name: &str) -> ValueInfoProto {
//! #     let tensor = type_proto::Tensor { elem_type: Some(1), ..Default::default() };
//! #     let value = Some(type_proto::Value::TensorType(tensor));
//! #     ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { value, ..Default::default() }), ..Default::default() }
//! # }
//! # let relu = NodeProto {
//! #     op_type: Some("Relu".into()), input: vec!["x".into()], output: vec!["y".into()], ..Default::default()
//! # };
//! # let graph = GraphProto { node: vec![relu], input: vec![port("x")], output: vec![port("y")], ..Default::default() };
//! # let opset = OperatorSetIdProto { version: Some(17), ..Default::default() };
//! # let model = ModelProto { ir_version: Some(8), graph: Some(graph), opset_import: vec![opset], ..Default::default() };
//! # let model = Model::from_proto(model)?;
//! let session = Session::load(&model, &SessionOptions { threads: 1, ..SessionOptions::default() })?;
//! let outputs = session.run_inputs(&[Input::f32(vec![2], vec![-1.0, 1.0])])?;
//! assert_eq!(outputs.output(0).data, [0.0, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod clock;
mod compare;
mod engine;
mod error;
mod evaluate;
mod features;
mod input;
mod latency;
mod machine;
mod pin;
mod progress;
mod session;

pub use clock::{Clock, SystemClock};
pub use compare::{OutputDifference, compare};
pub use engine::{
    CommandEngine, CommandError, CommandOptions, ENGINES, Engine, Executable, LoadOptions, TimeSource, engine_named,
    use_onnxruntime_library,
};
pub use error::InferError;
pub use evaluate::{Evaluation, OutputKind, evaluate, judge};
pub use features::features;
pub use input::{ElementType, Input, InputData, InputSpec, bind_shapes, random_inputs};
pub use latency::{LatencyOptions, Measurement, measure, measure_with};
pub use pin::pinned;
pub use progress::{LatencyProgress, Progress};
pub use session::{Array, Outputs, Session, SessionOptions};

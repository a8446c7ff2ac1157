//! ONNX Runtime, as a library that the user has.

mod library;

use std::sync::{Mutex, PoisonError};

use layerprune::onnx::Model;
use layerprune::record::EngineInfo;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorElementType, TensorRef, ValueType};

use super::{Engine, Executable, LoadOptions};
use crate::error::InferError;
use crate::input::{Input, InputData};
use crate::session::Array;

pub use library::use_onnxruntime_library;

const NAME: &str = "onnxruntime";

pub(super) struct OnnxRuntime;

struct Loaded {
    session: Mutex<Session>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn info(&self) -> EngineInfo {
        EngineInfo { name: NAME.to_owned(), version: library::version() }
    }

    /// All graph optimizations are on, as in ONNX Runtime's own defaults.
    fn load(&self, model: &Model, options: LoadOptions) -> Result<Box<dyn Executable>, InferError> {
        let environment = library::environment()?;
        let graph = &model.graph;
        let session = || -> ort::Result<Session> {
            let builder = Session::builder(environment)?;
            let builder = builder.with_optimization_level(GraphOptimizationLevel::All)?;
            let builder = builder.with_log_level(ort::logging::LogLevel::Error)?;
            let builder = builder.with_inter_threads(1)?;
            // Threads that spin between two calls take time from the session that is timed in turns with this one, and from
            // those that read the taps.
            let builder = builder.with_config_entry("session.force_spinning_stop", "1")?;
            let mut builder = builder.with_intra_threads(options.threads)?;
            builder.commit_from_memory(&model.to_bytes())
        };
        let session =
            session().map_err(|source| InferError::Load { engine: NAME, place: None, source: Box::new(source) })?;
        let inputs = graph.fed_inputs().map(|port| graph.value_name(port.value).to_owned()).collect();
        let outputs = graph.outputs().iter().map(|port| graph.value_name(port.value).to_owned()).collect();
        Ok(Box::new(Loaded { session: Mutex::new(session), inputs, outputs }))
    }
}

impl Executable for Loaded {
    fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Array>, InferError> {
        let fed = inputs.iter().zip(&self.inputs).map(|(input, name)| Ok((name.as_str(), to_value(name, input)?)));
        let fed = fed.collect::<Result<Vec<_>, InferError>>()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let found = session.run(fed).map_err(|source| failed(None, source))?;
        let take = |name: &String| {
            let value = found.get(name).ok_or_else(|| failed(Some(name), ort::Error::new("it was not computed")))?;
            to_array(name, value)
        };
        self.outputs.iter().map(take).collect()
    }
}

fn failed(value: Option<&str>, source: ort::Error) -> InferError {
    InferError::Run { engine: NAME, place: value.map(|name| format!("value `{name}`")), source: Box::new(source) }
}

fn to_value<'v>(name: &str, input: &'v Input<'_>) -> Result<SessionInputValue<'v>, InferError> {
    let shape = input.shape.to_vec();
    let refused = |source| failed(Some(name), source);
    Ok(match &input.data {
        InputData::F32(data) => TensorRef::from_array_view((shape, &data[..])).map_err(refused)?.into(),
        InputData::I64(data) => TensorRef::from_array_view((shape, &data[..])).map_err(refused)?.into(),
    })
}

fn to_array(name: &str, value: &DynValue) -> Result<Array, InferError> {
    macro_rules! numbers {
        ($type:ty, $convert:expr) => {{
            let (shape, data) = value.try_extract_tensor::<$type>().map_err(|source| failed(Some(name), source))?;
            let shape = shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
            Ok(Array { shape, data: data.iter().map($convert).collect() })
        }};
    }
    match value.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, .. } => numbers!(f32, |&x| x),
        ValueType::Tensor { ty: TensorElementType::Float64, .. } => numbers!(f64, |&x| x as f32),
        ValueType::Tensor { ty: TensorElementType::Int64, .. } => numbers!(i64, |&x| x as f32),
        ValueType::Tensor { ty: TensorElementType::Int32, .. } => numbers!(i32, |&x| x as f32),
        ValueType::Tensor { ty: TensorElementType::Int8, .. } => numbers!(i8, |&x| f32::from(x)),
        ValueType::Tensor { ty: TensorElementType::Uint8, .. } => numbers!(u8, |&x| f32::from(x)),
        other => Err(InferError::OutputType { output: name.to_owned(), found: other.to_string() }),
    }
}

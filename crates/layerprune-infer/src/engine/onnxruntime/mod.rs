//! ONNX Runtime, as a library that the user has.

mod library;

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use layerprune::batch::Maps;
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
        self.read(inputs, |found| {
            let owned = found.into_iter().map(|(shape, data)| Array { shape, data: data.into_owned() });
            Ok(owned.collect())
        })
    }

    fn lend(
        &self,
        inputs: &[Input<'_>],
        read: &mut dyn FnMut(&[Maps<'_>]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        self.read(inputs, |found| {
            let maps: Vec<Maps<'_>> = found.iter().map(|(shape, data)| Maps { data, shape }).collect();
            read(&maps)
        })
    }
}

/// Shape and elements; borrowed where they are `f32` already.
type Found<'v> = (Vec<usize>, Cow<'v, [f32]>);

impl Loaded {
    /// Hands all outputs to `read` where they lie in the engine's memory, which is its own until `read` returns.
    fn read<T>(
        &self,
        inputs: &[Input<'_>],
        read: impl FnOnce(Vec<Found<'_>>) -> Result<T, InferError>,
    ) -> Result<T, InferError> {
        let fed = inputs.iter().zip(&self.inputs).map(|(input, name)| Ok((name.as_str(), to_value(name, input)?)));
        let fed = fed.collect::<Result<Vec<_>, InferError>>()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let found = session.run(fed).map_err(|source| failed(None, source))?;
        let take = |name: &String| {
            let value = found.get(name).ok_or_else(|| failed(Some(name), ort::Error::new("it was not computed")))?;
            numbers(name, value)
        };
        read(self.outputs.iter().map(take).collect::<Result<_, _>>()?)
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

fn numbers<'v>(name: &str, value: &'v DynValue) -> Result<Found<'v>, InferError> {
    macro_rules! extract {
        ($type:ty, $convert:expr) => {{
            let (shape, data) = value.try_extract_tensor::<$type>().map_err(|source| failed(Some(name), source))?;
            (shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(), $convert(data))
        }};
    }
    macro_rules! converted {
        ($type:ty, $convert:expr) => {
            extract!($type, |data: &[$type]| data.iter().map($convert).collect())
        };
    }
    Ok(match value.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, .. } => extract!(f32, Cow::Borrowed),
        ValueType::Tensor { ty: TensorElementType::Float64, .. } => converted!(f64, |&x| x as f32),
        ValueType::Tensor { ty: TensorElementType::Int64, .. } => converted!(i64, |&x| x as f32),
        ValueType::Tensor { ty: TensorElementType::Int32, .. } => converted!(i32, |&x| x as f32),
        ValueType::Tensor { ty: TensorElementType::Int8, .. } => converted!(i8, |&x| f32::from(x)),
        ValueType::Tensor { ty: TensorElementType::Uint8, .. } => converted!(u8, |&x| f32::from(x)),
        other => return Err(InferError::OutputType { output: name.to_owned(), found: other.to_string() }),
    })
}

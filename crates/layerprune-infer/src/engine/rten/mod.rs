//! The embedded engine: [rten](https://docs.rs/rten), pure Rust.

mod adapt;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use layerprune::onnx::Model;
use layerprune::record::EngineInfo;
use rten::{LoadError, LoadErrorKind, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueView};
use rten_tensor::{Layout, Tensor};

use super::{Engine, Executable, LoadOptions};
use crate::error::InferError;
use crate::input::{Input, InputData};
use crate::pin;
use crate::session::Array;

const NAME: &str = "rten";
/// Kept equal to the version in the workspace's manifest; rten does not tell its own.
const VERSION: &str = "0.27";

pub(super) struct Rten;

struct Loaded {
    model: rten::Model,
    inputs: Vec<(String, NodeId)>,
    outputs: Vec<(String, NodeId)>,
    options: RunOptions,
    labels: BTreeMap<String, String>,
}

impl Engine for Rten {
    fn name(&self) -> &'static str {
        NAME
    }

    fn info(&self) -> EngineInfo {
        EngineInfo { name: NAME.to_owned(), version: VERSION.to_owned() }
    }

    fn load(&self, model: &Model, options: LoadOptions) -> Result<Box<dyn Executable>, InferError> {
        let graph = &model.graph;
        let labels: BTreeMap<String, String> = graph
            .nodes()
            .filter(|(_, node)| !node.name().is_empty())
            .map(|(_, node)| (node.name().to_owned(), describe(node.name(), node.op_type())))
            .collect();
        let place = |node: Option<&str>| node.filter(|name| !name.is_empty()).map(|name| label(&labels, name));
        let adapted = adapt::adapt(graph.clone()).map_err(|(node, source)| {
            let (name, op_type) = (graph.label(node), graph.node(node).op_type());
            InferError::Load { engine: NAME, place: Some(describe(&name, op_type)), source: Box::new(source) }
        })?;
        let bytes = model.with_graph(adapted).to_bytes();
        let loaded = parse(bytes, options.tapped).map_err(|source| InferError::Load {
            engine: NAME,
            place: place(source.node()),
            source: Box::new(source),
        })?;
        let ids = |names: Vec<&str>| {
            let id = |name: &str| {
                loaded.node_id(name).map(|id| (name.to_owned(), id)).map_err(|source| InferError::Load {
                    engine: NAME,
                    place: Some(format!("value `{name}`")),
                    source: Box::new(source),
                })
            };
            names.into_iter().map(id).collect::<Result<Vec<_>, _>>()
        };
        let inputs = ids(graph.fed_inputs().map(|port| graph.value_name(port.value)).collect())?;
        let outputs = ids(graph.outputs().iter().map(|port| graph.value_name(port.value)).collect())?;
        let run_options = RunOptions::default().with_thread_pool(Some(shared_pool(options.threads)));
        Ok(Box::new(Loaded { model: loaded, inputs, outputs, options: run_options, labels }))
    }
}

impl Executable for Loaded {
    fn run(&self, inputs: &[Input<'_>]) -> Result<Vec<Array>, InferError> {
        let mut fed = Vec::with_capacity(inputs.len());
        for (input, (name, id)) in inputs.iter().zip(&self.inputs) {
            fed.push((*id, to_value(name, input)?));
        }
        let outputs: Vec<NodeId> = self.outputs.iter().map(|(_, id)| *id).collect();
        let values = self.model.run(fed, &outputs, Some(self.options.clone())).map_err(|source| {
            let node = source.node_path().into_iter().flatten().find(|name| !name.is_empty()).map(str::to_owned);
            InferError::Run {
                engine: NAME,
                place: node.map(|name| label(&self.labels, &name)),
                source: Box::new(source),
            }
        })?;
        values.into_iter().zip(&self.outputs).map(|(value, (name, _))| to_array(name, value)).collect()
    }
}

/// The optimizer fails where it finds two outputs to be the same value, as taps around an `Identity` are; a tapped model
/// is then taken as it is.
fn parse(bytes: Vec<u8>, tapped: bool) -> Result<rten::Model, LoadError> {
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(true);
    if !tapped {
        return options.load(bytes);
    }
    match options.load(bytes.clone()) {
        Err(error) if error.kind() == LoadErrorKind::OptimizeError => options.enable_optimization(false).load(bytes),
        loaded => loaded,
    }
}

fn describe(name: &str, op_type: &str) -> String {
    format!("node `{name}` ({op_type})")
}

/// Node and operator; for a node that the engine made itself by fusing others, its name alone.
fn label(labels: &BTreeMap<String, String>, name: &str) -> String {
    labels.get(name).cloned().unwrap_or_else(|| format!("node `{name}`"))
}

/// One pool for each number of threads and the processors they may run on, so that models timed in turns run on the same
/// threads.
fn shared_pool(threads: usize) -> Arc<ThreadPool> {
    type Key = (usize, Option<Vec<usize>>);
    static POOLS: Mutex<BTreeMap<Key, Weak<ThreadPool>>> = Mutex::new(BTreeMap::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (threads, pin::processors());
    if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
        return pool;
    }
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    pools.insert(key, Arc::downgrade(&pool));
    pool
}

fn to_value<'a>(name: &str, input: &'a Input<'_>) -> Result<ValueOrView<'a>, InferError> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| InferError::Run {
        engine: NAME,
        place: Some(format!("input `{name}`")),
        source,
    };
    match &input.data {
        InputData::F32(data) => {
            ValueView::from_shape(&input.shape, data).map(Into::into).map_err(|source| refused(Box::new(source)))
        }
        // rten computes with 32 bits where the file says 64.
        InputData::I64(data) => {
            let narrow: Result<Vec<i32>, _> = data.iter().map(|&number| i32::try_from(number)).collect();
            let narrow = narrow.map_err(|source| refused(Box::new(source)))?;
            Value::from_shape(&input.shape, narrow).map(Into::into).map_err(|source| refused(Box::new(source)))
        }
    }
}

fn to_array(name: &str, value: Value) -> Result<Array, InferError> {
    match value {
        Value::FloatTensor(tensor) => Ok(array(tensor, |number| number)),
        Value::Int32Tensor(tensor) => Ok(array(tensor, |number| number as f32)),
        Value::Int8Tensor(tensor) => Ok(array(tensor, f32::from)),
        Value::UInt8Tensor(tensor) => Ok(array(tensor, f32::from)),
        other => Err(InferError::OutputType { output: name.to_owned(), found: other.dtype().to_string() }),
    }
}

fn array<T: Clone>(tensor: Tensor<T>, to_f32: impl Fn(T) -> f32) -> Array {
    let shape = tensor.shape().to_vec();
    // Collected in place where the elements are `f32` already.
    Array { shape, data: tensor.into_data().into_iter().map(to_f32).collect() }
}

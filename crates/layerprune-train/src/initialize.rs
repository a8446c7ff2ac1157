use std::collections::BTreeMap;

use layerprune::graph::{Graph, Node, Uses, ValueId, tensor};
use layerprune::onnx::Model;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::loss::Loss;
use crate::prepare::prepared;
use crate::program::Program;
use crate::session::Marks;
use crate::weights::Role;

/// How a weight begins.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Same(f32),
    /// With this deviation.
    Normal(f64),
    /// From minus to plus this bound.
    Uniform(f64),
}

/// The model with fresh weights, as PyTorch's ResNets begin.
///
/// Convolutions are normal with variance `2 / (filters · kernel area)` (He et al., "Delving Deep into Rectifiers", ICCV
/// 2015, eq. 14, `fan_out`) and bias 0; batch norms have scale 1, shift 0, mean 0, variance 1; linear layers are uniform
/// within `±1/√inputs`, bias included, also where that is an `Add` behind them; inserted scales are 1. All that is trained is
/// drawn anew. Weights are drawn in the order of their names, so neither the order of the file
/// nor unrelated nodes change them.
///
/// # Errors
/// Whatever of the model cannot be trained.
pub fn initialize(model: &Model, seed: u64) -> Result<Model, TrainError> {
    model.graph.validate()?;
    let mut graph = prepared(&model.graph);
    let (program, weights) = Program::new(&graph, Loss::default().last_operators(), &Marks::default())?;
    let uses = graph.uses();
    let mut starts: BTreeMap<String, (ValueId, Start)> = BTreeMap::new();
    for (_, node) in graph.nodes() {
        for (position, value) in node.inputs().iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?))) {
            let role = program.places[value.index()].map(|place| weights.0[place].role);
            if matches!(role, Some(Role::Trained | Role::Statistic))
                && let Some(start) = start_of(&graph, &uses, node, position)
            {
                starts.insert(graph.value_name(value).to_owned(), (value, start));
            }
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (value, start) in starts.into_values() {
        let Some(old) = graph.initializer(value).cloned() else { continue };
        let dims = tensor::shape(&old)?;
        let len: usize = dims.iter().product();
        let data: Vec<f32> = match start {
            Start::Same(number) => vec![number; len],
            Start::Normal(deviation) => (0..len).map(|_| (deviation * normal(&mut rng)) as f32).collect(),
            Start::Uniform(bound) => (0..len).map(|_| rng.random_range(-bound..=bound) as f32).collect(),
        };
        graph.set_initializer(value, tensor::with_f32(&old, &dims, &data)?);
    }
    Ok(model.with_graph(graph))
}

/// How what is stored at an input of `node` begins.
fn start_of(graph: &Graph, uses: &Uses, node: &Node, position: usize) -> Option<Start> {
    match (node.op_type(), position) {
        ("Conv", 1) => {
            let dims = stored_dims(graph, node, 1)?;
            let fan_out = dims.first().unwrap_or(&1) * dims.iter().skip(2).product::<usize>();
            Some(Start::Normal((2.0 / fan_out.max(1) as f64).sqrt()))
        }
        ("BatchNormalization", 1 | 4) => Some(Start::Same(1.0)),
        ("BatchNormalization", 2 | 3) => Some(Start::Same(0.0)),
        ("Gemm" | "MatMul", 0 | 1) => linear(graph, node),
        ("Conv" | "Gemm", 2) => bias_of(graph, node),
        // A bias behind a weighted node, and a scale that was put in: nothing else of these operators is trained.
        ("Add", _) => bias_of(graph, graph.node(uses.producer(node.input(1 - position.min(1))?)?)),
        ("Mul", _) => Some(Start::Same(1.0)),
        _ => None,
    }
}

fn bias_of(graph: &Graph, weighted: &Node) -> Option<Start> {
    if weighted.op_type() == "Conv" { Some(Start::Same(0.0)) } else { linear(graph, weighted) }
}

/// What weight and bias of a linear layer begin with, at whichever of its inputs the weight is stored.
fn linear(graph: &Graph, node: &Node) -> Option<Start> {
    let flag = |name| node.attribute(name).is_some_and(|attribute| attribute.i() != 0);
    let fan_in = match (stored_dims(graph, node, 1), stored_dims(graph, node, 0)) {
        (Some(dims), _) if flag("transB") => dims.last().copied(),
        (Some(dims), _) => dims.iter().rev().nth(1).or(dims.last()).copied(),
        (None, Some(dims)) if flag("transA") => dims.first().copied(),
        (None, dims) => dims?.last().copied(),
    };
    Some(Start::Uniform(1.0 / (fan_in.unwrap_or(1).max(1) as f64).sqrt()))
}

fn stored_dims(graph: &Graph, node: &Node, position: usize) -> Option<Vec<usize>> {
    tensor::shape(graph.initializer(node.input(position)?)?).ok()
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

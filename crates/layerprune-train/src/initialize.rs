use std::collections::BTreeMap;

use layerprune::graph::{Node, ValueId, tensor};
use layerprune::onnx::Model;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::TrainError;
use crate::loss::Loss;
use crate::prepare::prepared;
use crate::program::Program;
use crate::session::Marks;

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
/// within `±1/√inputs`, bias included. Weights are drawn in the order of their names, so neither the order of the file
/// nor unrelated nodes change them.
///
/// # Errors
/// Whatever of the model cannot be trained.
pub fn initialize(model: &Model, seed: u64) -> Result<Model, TrainError> {
    model.graph.validate()?;
    let mut graph = prepared(&model.graph);
    Program::new(&graph, Loss::default().last_operators(), &Marks::default())?;
    let mut starts: BTreeMap<String, (ValueId, Start)> = BTreeMap::new();
    for (_, node) in graph.nodes() {
        let dims = |position: usize| -> Vec<usize> {
            let stored = node.input(position).and_then(|value| graph.initializer(value));
            stored.and_then(|stored| tensor::shape(stored).ok()).unwrap_or_default()
        };
        for (position, start) in start_of(node, dims) {
            if let Some(value) = node.input(position).filter(|&value| graph.initializer(value).is_some()) {
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

fn start_of(node: &Node, dims: impl Fn(usize) -> Vec<usize>) -> Vec<(usize, Start)> {
    let flag = |name| node.attribute(name).is_some_and(|attribute| attribute.i() != 0);
    match node.op_type() {
        "Conv" => {
            let dims = dims(1);
            let fan_out = dims.first().unwrap_or(&1) * dims.iter().skip(2).product::<usize>();
            vec![(1, Start::Normal((2.0 / fan_out.max(1) as f64).sqrt())), (2, Start::Same(0.0))]
        }
        "BatchNormalization" => [1.0, 0.0, 0.0, 1.0].iter().zip(1..).map(|(&x, at)| (at, Start::Same(x))).collect(),
        "Gemm" | "MatMul" => {
            let dims = dims(1);
            let fan_in = dims.get(usize::from(flag("transB"))).copied().unwrap_or(1);
            let bound = Start::Uniform(1.0 / (fan_in.max(1) as f64).sqrt());
            vec![(1, bound), (2, bound)]
        }
        _ => Vec::new(),
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

//! Every operator and its gradients against PyTorch's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::{AttributeProto, NodeProto, TensorProto, ValueInfoProto};
use layerprune_train::{Probe, supported_ops};
use serde::Deserialize;

use crate::golden::golden;
use crate::models::{Parts, float, floats, int, ints, node};

/// Operators that nothing differentiable goes through: each has a case in which it feeds one that has a gradient.
const WITHOUT_GRADIENT: [(&str, &str); 4] = [
    ("Constant", "it has no input"),
    ("ConstantOfShape", "its input is integers"),
    ("Gather", "only integers can be gathered from"),
    ("Shape", "its output is integers, which do not depend on the elements of its input"),
];

/// Of a number of the golden, relative to the greater of 1 and that number.
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// A graph from `x` to `y`, and what PyTorch makes of it.
#[derive(Deserialize)]
struct Case {
    name: String,
    opset: i64,
    nodes: Vec<GoldenNode>,
    x: GoldenTensor,
    tensors: BTreeMap<String, GoldenTensor>,
    y: GoldenTensor,
    upstream: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
    statistics: Option<Statistics>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Statistics {
    Live,
    Frozen,
}

/// A node as generators write it.
#[derive(Deserialize)]
pub(crate) struct GoldenNode {
    op: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Tensor(GoldenTensor),
}

/// A stored tensor as generators write it.
#[derive(Deserialize)]
pub(crate) struct GoldenTensor {
    dims: Vec<usize>,
    #[serde(default)]
    floats: Vec<f32>,
    #[serde(default)]
    ints: Vec<i64>,
}

impl GoldenTensor {
    fn proto(&self, name: &str) -> TensorProto {
        if self.ints.is_empty() {
            return floats(name, &self.dims, &self.floats);
        }
        TensorProto { name: Some(name.to_owned()), ..tensor::from_i64(&self.dims, &self.ints) }
    }
}

fn attribute((name, attribute): (&String, &Attribute)) -> AttributeProto {
    let of = |r#type: AttributeType| AttributeProto {
        name: Some(name.clone()),
        r#type: Some(r#type as i32),
        ..Default::default()
    };
    match attribute {
        Attribute::Int(number) => int(name, *number),
        Attribute::Float(number) => float(name, *number),
        Attribute::Ints(numbers) => ints(name, numbers),
        Attribute::Text(text) => AttributeProto { s: Some(text.clone().into_bytes()), ..of(AttributeType::String) },
        Attribute::Tensor(tensor) => {
            AttributeProto { t: Some(Box::new(tensor.proto(name))), ..of(AttributeType::Tensor) }
        }
    }
}

/// A graph from `x` to `y`.
pub(crate) fn graph(opset: i64, nodes: &[GoldenNode], tensors: &BTreeMap<String, GoldenTensor>) -> Model {
    let made = nodes.iter().map(|part| NodeProto {
        input: part.inputs.clone(),
        output: part.outputs.clone(),
        ..node(&part.op, &[], &[&part.outputs[0]], part.attributes.iter().map(attribute).collect())
    });
    Parts {
        opset,
        inputs: vec![ValueInfoProto { name: Some("x".to_owned()), ..Default::default() }],
        outputs: vec!["y"],
        nodes: made.collect(),
        weights: tensors.iter().map(|(name, tensor)| tensor.proto(name)).collect(),
    }
    .model()
}

impl Case {
    /// Every way of running it that must give what PyTorch gives.
    fn ways(&self) -> Vec<Probe> {
        let frozen = match self.statistics {
            None => &[false, true][..],
            Some(Statistics::Live) => &[false],
            Some(Statistics::Frozen) => &[true],
        };
        let ways = [false, true]
            .iter()
            .flat_map(|&reference| frozen.iter().map(move |&frozen| Probe { frozen, reference, dropout: None }));
        ways.collect()
    }

    /// What differs from the golden, in words.
    fn differences(&self, way: Probe) -> Vec<String> {
        let at = format!("{} ({way:?})", self.name);
        let found = match way.run(
            &graph(self.opset, &self.nodes, &self.tensors),
            (&self.x.floats, &self.x.dims),
            &self.upstream,
        ) {
            Err(error) => return vec![format!("{at}: {error}")],
            Ok(found) => found,
        };
        let scalar = self.y.dims.is_empty() && found.shape == [1];
        let mut differences = Vec::new();
        if found.shape != self.y.dims && !scalar {
            differences.push(format!("{at}: the output has shape {:?} instead of {:?}", found.shape, self.y.dims));
        }
        differences.extend(difference(&found.output, &self.y.floats).map(|what| format!("{at}: output{what}")));
        for (name, expected) in &self.gradients {
            let what = match found.gradients.get(name) {
                None => Some(" is missing".to_owned()),
                Some(found) => difference(found, expected),
            };
            differences.extend(what.map(|what| format!("{at}: gradient of {name}{what}")));
        }
        differences
    }
}

/// The greatest difference beyond the tolerance.
fn difference(found: &[f32], expected: &[f32]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!(" has {} elements instead of {}", found.len(), expected.len()));
    }
    let error = |index: usize| (found[index] - expected[index]).abs() / expected[index].abs().max(1.0);
    let wrong = (0..found.len()).filter(|&index| error(index) > TOLERANCE || found[index].is_nan());
    let worst = wrong.max_by(|&a, &b| error(a).total_cmp(&error(b)))?;
    Some(format!("[{worst}] is {} instead of {}", found[worst], expected[worst]))
}

fn cases() -> Vec<Case> {
    let golden: Golden = serde_json::from_slice(&fs::read(golden("train_ops.json")).unwrap()).unwrap();
    golden.cases
}

#[test]
fn outputs_and_gradients_agree_with_pytorch() {
    let cases = cases();
    let differences: Vec<_> =
        cases.iter().flat_map(|case| case.ways().into_iter().flat_map(|way| case.differences(way))).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_operator_has_a_case() {
    let cases = cases();
    // The operator that a case is about begins its name.
    let about = |operator: &str| {
        cases.iter().filter(move |case| case.name.split([' ', ',']).next() == Some(operator)).collect::<Vec<_>>()
    };
    for operator in supported_ops() {
        let feeds = WITHOUT_GRADIENT.iter().any(|(without, _)| *without == operator);
        let found = if feeds { cases.iter().collect() } else { about(operator) };
        let shown = found.iter().any(|case| {
            let through = case.gradients.get("x").is_some_and(|gradient| gradient.iter().any(|&x| x != 0.0));
            through && case.nodes.iter().any(|node| node.op == operator)
        });
        assert!(shown, "no case of train_ops.json has a gradient through `{operator}`: add one to train_ops.py");
    }
    let known: BTreeSet<_> = supported_ops().collect();
    for (operator, _) in WITHOUT_GRADIENT {
        assert!(known.contains(operator), "`{operator}` is no longer supported");
    }
}

#[test]
fn every_trained_tensor_has_a_gradient() {
    let weighted = ["BatchNormalization", "Conv", "Gemm", "MatMul"];
    for case in cases().iter().filter(|case| case.nodes.iter().any(|node| weighted.contains(&&node.op[..]))) {
        for (name, _) in case.tensors.iter().filter(|(name, _)| !["mean", "variance"].contains(&&name[..])) {
            assert!(case.gradients.contains_key(name), "{}: {name}", case.name);
        }
    }
}

#[test]
fn what_dropout_drops_has_no_gradient_and_the_rest_is_scaled() {
    let model = |opset: i64| {
        let (inputs, attributes) =
            if opset < 12 { (&["x"][..], vec![float("ratio", 0.25)]) } else { (&["x", "ratio"][..], vec![]) };
        Parts {
            opset,
            inputs: vec![ValueInfoProto { name: Some("x".to_owned()), ..Default::default() }],
            outputs: vec!["y"],
            nodes: vec![node("Dropout", inputs, &["y"], attributes)],
            weights: if opset < 12 { vec![] } else { vec![floats("ratio", &[], &[0.25])] },
        }
        .model()
    };
    let x: Vec<f32> = (1..=400).map(|i| i as f32).collect();
    let upstream: Vec<f32> = (0..400).map(|i| (i % 7) as f32 - 3.5).collect();
    for opset in [7, 13] {
        let probe = Probe { dropout: Some(5), ..Probe::default() };
        let found = probe.run(&model(opset), (&x, &[20, 20]), &upstream).unwrap();
        for (index, gradient) in found.gradients["x"].iter().enumerate() {
            let factor = found.output[index] / x[index];
            assert!(factor == 0.0 || (factor - 1.0 / 0.75).abs() < 1e-6, "{factor}");
            assert!((gradient - factor * upstream[index]).abs() < 1e-5, "{gradient}");
        }
        let dropped = found.output.iter().filter(|&&y| y == 0.0).count();
        assert!((60..=140).contains(&dropped), "{dropped} of 400 dropped at a ratio of 0.25");
    }
}

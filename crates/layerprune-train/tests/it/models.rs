//! Small models, made from their ONNX structs.

use std::error::Error;

use layerprune::batch::Batch;
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::tensor_shape_proto::{Dimension, dimension};
use layerprune::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use layerprune_train::Batches;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: ints.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(i),
        ..Default::default()
    }
}

pub(crate) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(f),
        ..Default::default()
    }
}

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        name: Some(outputs[0].to_uppercase()),
        op_type: Some(op.to_owned()),
        input: strings(inputs),
        output: strings(outputs),
        attribute: attributes,
        ..Default::default()
    }
}

pub(crate) fn floats(name: &str, dims: &[usize], data: &[f32]) -> TensorProto {
    TensorProto { name: Some(name.to_owned()), ..tensor::from_f32(dims, data) }
}

pub(crate) fn integers(name: &str, data: &[i64]) -> TensorProto {
    TensorProto { name: Some(name.to_owned()), ..tensor::from_i64(&[data.len()], data) }
}

pub(crate) fn port(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&size| Dimension {
        value: Some(match size {
            0 => dimension::Value::DimParam("N".to_owned()),
            size => dimension::Value::DimValue(size),
        }),
        ..Default::default()
    });
    let shape = TensorShapeProto { dim: dim.collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) struct Parts {
    pub(crate) opset: i64,
    pub(crate) inputs: Vec<ValueInfoProto>,
    pub(crate) outputs: Vec<&'static str>,
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) weights: Vec<TensorProto>,
}

impl Parts {
    pub(crate) fn model(self) -> Model {
        let output = |name: &&str| ValueInfoProto { name: Some((*name).to_owned()), ..Default::default() };
        let graph = GraphProto {
            name: Some("test".to_owned()),
            input: self.inputs,
            output: self.outputs.iter().map(output).collect(),
            node: self.nodes,
            initializer: self.weights,
            ..Default::default()
        };
        let opset = OperatorSetIdProto { domain: None, version: Some(self.opset) };
        let model =
            ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() };
        Model::from_proto(model).unwrap()
    }
}

/// Input x of N×1×4×4, nodes in between, output y.
pub(crate) fn around(opset: i64, nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> Model {
    Parts { opset, inputs: vec![port("x", &[0, 1, 4, 4])], outputs: vec!["y"], nodes, weights }.model()
}

/// Convolution, batch norm, ReLU, dropout, pooling and a linear layer: three classes.
pub(crate) fn small() -> Model {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut draw = |len: usize| (0..len).map(|_| rng.random_range(-0.5..0.5)).collect::<Vec<f32>>();
    around(
        13,
        vec![
            node("Conv", &["x", "w"], &["c"], vec![ints("pads", &[1, 1, 1, 1])]),
            node("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], &["b"], vec![]),
            node("Relu", &["b"], &["r"], vec![]),
            node("Dropout", &["r", "ratio"], &["d"], vec![]),
            node("GlobalAveragePool", &["d"], &["g"], vec![]),
            node("Flatten", &["g"], &["f"], vec![]),
            node("Gemm", &["f", "fc", "bias"], &["y"], vec![int("transB", 1)]),
        ],
        vec![
            floats("w", &[4, 1, 3, 3], &draw(36)),
            floats("scale", &[4], &[1.0; 4]),
            floats("shift", &[4], &[0.0; 4]),
            floats("mean", &[4], &[0.0; 4]),
            floats("variance", &[4], &[1.0; 4]),
            floats("ratio", &[], &[0.25]),
            floats("fc", &[3, 4], &draw(12)),
            floats("bias", &[3], &draw(3)),
        ],
    )
}

/// Random images of N×1×4×4, other ones in each epoch.
pub(crate) struct Noise {
    pub(crate) batches: usize,
    pub(crate) images: usize,
    pub(crate) classes: usize,
}

impl Noise {
    pub(crate) fn batch(&self, seed: u64) -> Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = [self.images, 1, 4, 4];
        let images = (0..self.images * 16).map(|_| rng.random_range(-1.0..1.0)).collect();
        let labels = (0..self.images).map(|_| rng.random_range(0..self.classes)).collect();
        Batch::new(images, shape, labels)
    }
}

impl Batches for Noise {
    fn epoch(
        &self,
        epoch: usize,
        first: usize,
    ) -> Box<dyn Iterator<Item = Result<Batch, Box<dyn Error + Send + Sync>>> + '_> {
        Box::new((first..self.batches).map(move |batch| Ok(self.batch((epoch * 100 + batch) as u64))))
    }

    fn batches_per_epoch(&self) -> usize {
        self.batches
    }
}

pub(crate) fn weight(model: &Model, name: &str) -> Vec<f32> {
    let value = model.graph.value_named(name).unwrap_or_else(|| panic!("no value `{name}`"));
    tensor::to_f32(model.graph.initializer(value).unwrap()).unwrap().into_owned()
}

//! Small models, built field by field.

use layerprune::graph::tensor::{from_f32, from_i64};
use layerprune::onnx::Model;
use layerprune::proto::tensor_shape_proto::{Dimension, dimension};
use layerprune::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, tensor_proto, type_proto,
};
use layerprune_infer::{Session, SessionOptions};

/// A size, or a name for an open one.
pub(crate) enum Dim {
    Size(i64),
    Open(&'static str),
}

use Dim::{Open, Size};

pub(crate) fn port(name: &str, kind: tensor_proto::DataType, dims: &[Dim]) -> ValueInfoProto {
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            Size(size) => dimension::Value::DimValue(*size),
            Open(name) => dimension::Value::DimParam((*name).to_owned()),
        }),
        ..Default::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(kind as i32), shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    let kind = Some(TypeProto { value, ..Default::default() });
    ValueInfoProto { name: Some(name.to_owned()), r#type: kind, ..Default::default() }
}

pub(crate) fn floats(name: &str, dims: &[Dim]) -> ValueInfoProto {
    port(name, tensor_proto::DataType::Float, dims)
}

pub(crate) fn node(name: &str, op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        name: Some(name.to_owned()),
        op_type: Some(op_type.to_owned()),
        input: owned(inputs),
        output: owned(outputs),
        ..Default::default()
    }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(attribute_proto::AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}

pub(crate) fn named(name: &str, tensor: TensorProto) -> TensorProto {
    TensorProto { name: Some(name.to_owned()), ..tensor }
}

pub(crate) fn model(graph: GraphProto) -> Model {
    let opset = OperatorSetIdProto { version: Some(17), ..Default::default() };
    let proto = ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() };
    Model::from_proto(proto).unwrap()
}

/// `x` (N,1,2,2) → 1x1 Conv with weights 1 and −2 and biases 0 and 3 → Relu → mean over the map → Flatten → `scores`
/// (N,2).
pub(crate) fn classifier(second_weight: f32) -> Model {
    let initializer =
        vec![named("w", from_f32(&[2, 1, 1, 1], &[1.0, second_weight])), named("b", from_f32(&[2], &[0.0, 3.0]))];
    model(GraphProto {
        node: vec![
            node("conv", "Conv", &["x", "w", "b"], &["conv_out"]),
            node("relu", "Relu", &["conv_out"], &["relu_out"]),
            node("pool", "GlobalAveragePool", &["relu_out"], &["pooled"]),
            node("flatten", "Flatten", &["pooled"], &["scores"]),
        ],
        input: vec![floats("x", &[Open("batch"), Size(1), Size(2), Size(2)])],
        output: vec![floats("scores", &[Open("batch"), Size(2)])],
        initializer,
        ..Default::default()
    })
}

/// `y` = rows `rows` of a stored 3x2 table, plus `x`.
pub(crate) fn lookup() -> Model {
    model(GraphProto {
        node: vec![
            node("gather", "Gather", &["table", "rows"], &["found"]),
            node("add", "Add", &["found", "x"], &["y"]),
        ],
        input: vec![
            port("rows", tensor_proto::DataType::Int64, &[Open("count")]),
            floats("x", &[Open("count"), Open("width")]),
        ],
        output: vec![floats("y", &[Open("count"), Size(2)])],
        initializer: vec![named("table", from_f32(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))],
        ..Default::default()
    })
}

/// `y` = `x` reshaped to a shape that only holds six elements.
pub(crate) fn reshape() -> Model {
    model(GraphProto {
        node: vec![node("reshape", "Reshape", &["x", "shape"], &["y"])],
        input: vec![floats("x", &[Open("n")])],
        output: vec![floats("y", &[Size(2), Size(3)])],
        initializer: vec![named("shape", from_i64(&[2], &[2, 3]))],
        ..Default::default()
    })
}

pub(crate) fn load(model: &Model) -> Session {
    Session::load(model, &one_thread()).unwrap()
}

pub(crate) fn one_thread() -> SessionOptions<'static> {
    SessionOptions { threads: 1, ..SessionOptions::default() }
}

/// Two images for [`classifier`].
pub(crate) const IMAGES: [f32; 8] = [1.0, 2.0, 3.0, -2.0, 0.0, 0.0, 1.0, 1.0];

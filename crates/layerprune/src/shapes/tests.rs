use super::*;
use crate::onnx::Model;
use crate::proto::tensor_shape_proto::Dimension;
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
};

fn port(name: &str, sizes: &str) -> ValueInfoProto {
    let dim = |word: &str| Dimension {
        value: Some(match word.parse() {
            Ok(size) => dimension::Value::DimValue(size),
            Err(_) => dimension::Value::DimParam(word.to_owned()),
        }),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: sizes.split_whitespace().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..Default::default() }
}

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// `a` and `b` are added, then passed through an operator that nobody knows.
fn graph(a: &str, b: &str, declared: &str) -> Graph {
    let graph = GraphProto {
        name: Some("test".to_owned()),
        input: vec![port("a", a), port("b", b)],
        output: vec![port("out", declared)],
        node: vec![
            node("Add", &["a", "b"], "sum"),
            node("Frobnicate", &["sum"], "unknown"),
            node("Relu", &["unknown"], "out"),
        ],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(13) }],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_proto(model).expect("the model is valid").graph
}

fn given(name: &str, sizes: &[usize]) -> InputShapes {
    InputShapes::from([(name.to_owned(), sizes.to_vec())])
}

fn shape(graph: &Graph, given: &InputShapes, value: &str) -> String {
    let shapes = infer(graph, given).expect("the shapes fit");
    shapes.fact(graph.value_named(value).expect("the value is there")).shape_text()
}

#[test]
fn symbols_flow_as_far_as_the_rules_go() {
    let graph = graph("N 4", "4", "N 4");
    assert_eq!(shape(&graph, &InputShapes::new(), "sum"), "N×4");
    assert_eq!(shape(&graph, &InputShapes::new(), "unknown"), "?");
}

#[test]
fn a_node_without_a_rule_is_a_barrier_with_a_reason() {
    let graph = graph("N 4", "4", "N 4");
    let shapes = infer(&graph, &InputShapes::new()).expect("the shapes fit");
    let reasons: Vec<_> = shapes.barriers().values().map(String::as_str).collect();
    assert_eq!(reasons, ["operator `Frobnicate` is not known"]);
}

#[test]
fn the_file_tells_what_the_rules_leave_open() {
    let graph = graph("N 4", "4", "N 4");
    assert_eq!(shape(&graph, &InputShapes::new(), "out"), "N×4");
}

#[test]
fn a_given_shape_names_its_symbols_everywhere() {
    let graph = graph("N 4", "N 4", "N 4");
    for value in ["a", "b", "sum", "out"] {
        assert_eq!(shape(&graph, &given("a", &[8, 4]), value), "8×4", "{value}");
    }
}

#[test]
fn given_shapes_that_do_not_fit_are_refused() {
    let graph = graph("N 4", "N 4", "N 4");
    let error = |given: InputShapes| infer(&graph, &given).expect_err("the shapes do not fit").to_string();
    assert_eq!(error(given("a", &[8, 5])), "input `a` is declared as N×4, which [8, 5] does not fit");
    assert_eq!(error(given("a", &[4])), "input `a` is declared as N×4, which [4] does not fit");
    assert_eq!(error(given("x", &[4])), "the model has no input `x`; its inputs are `a`, `b`");
    let mut both = given("a", &[8, 4]);
    both.extend(given("b", &[2, 4]));
    assert_eq!(error(both), "input `b` is declared as 8×4, which [2, 4] does not fit");
}

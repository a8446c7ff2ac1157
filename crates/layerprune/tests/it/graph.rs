//! Laws of the graph: what edits keep.

use std::collections::BTreeSet;

use layerprune::graph::{GraphError, NodeId};
use layerprune::onnx::Model;
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use layerprune_testing::resnet;

fn node(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (input, output) = (owned(inputs), owned(outputs));
    NodeProto { name: Some(name.to_owned()), op_type: Some("Any".to_owned()), input, output, ..Default::default() }
}

fn port(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..Default::default() }
}

fn tensor(name: &str) -> TensorProto {
    TensorProto { name: Some(name.to_owned()), data_type: Some(1), float_data: vec![1.0], ..Default::default() }
}

/// `x` → a → b → `y`, with `unused` beside; the subgraph of `loop`, two levels deep, reads `deep` of node `deep` and
/// the initializer `w`.
fn capturing() -> Model {
    let body = |inner: Vec<NodeProto>| GraphProto { node: inner, ..Default::default() };
    let holding = |name: &str, outputs: &[&str], graph: GraphProto| {
        let kind = Some(AttributeType::Graph as i32);
        let body =
            AttributeProto { name: Some("body".to_owned()), r#type: kind, g: Some(graph.into()), ..Default::default() };
        NodeProto { attribute: vec![body], ..node(name, &["x"], outputs) }
    };
    let own = GraphProto {
        input: vec![port("a")],
        initializer: vec![tensor("b")],
        ..body(vec![node("reads", &["deep", "w", "a", "b"], &["inner"])])
    };
    let graph = GraphProto {
        input: vec![port("x")],
        initializer: vec![tensor("w"), tensor("spare")],
        node: vec![
            node("deep", &["x"], &["deep"]),
            node("a", &["x"], &["a"]),
            node("b", &["a"], &["b"]),
            node("unused", &["b", "spare"], &["unused", ""]),
            holding("loop", &["l"], body(vec![holding("inner loop", &["k"], own)])),
            node("end", &["b", "", "l"], &["y"]),
        ],
        output: vec![port("y")],
        value_info: vec![port("a"), port("unused")],
        ..Default::default()
    };
    Model::from_proto(ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() }).unwrap()
}

fn id(model: &Model, name: &str) -> NodeId {
    model.graph.nodes().find(|(_, node)| node.name() == name).unwrap().0
}

fn labels(model: &Model, ids: &BTreeSet<NodeId>) -> Vec<String> {
    ids.iter().map(|&id| model.graph.label(id)).collect()
}

#[test]
fn subgraphs_keep_what_they_read_of_the_graph_around_them() {
    let model = capturing();
    let captured: Vec<&str> =
        model.graph.node(id(&model, "loop")).captures().iter().map(|&value| model.graph.value_name(value)).collect();
    // Names that a subgraph defines itself hide those around it; the outer loop's own input is read at its own level.
    assert_eq!(captured, ["deep", "w", "x"]);
    assert_eq!(labels(&model, &model.graph.dead_nodes()), ["unused"]);
    let unread: Vec<&str> =
        model.graph.unread_initializers().iter().map(|&value| model.graph.value_name(value)).collect();
    assert_eq!(unread, [""; 0]);
}

#[test]
fn removing_the_producer_of_a_captured_value_is_noticed() {
    let mut model = capturing();
    let deep = id(&model, "deep");
    model.graph.remove_nodes(&BTreeSet::from([deep]));
    let dangling = GraphError::Dangling { reader: "node `loop`".to_owned(), value: "deep".to_owned() };
    assert_eq!(model.graph.validate(), Err(dangling));
}

#[test]
fn dead_nodes_are_those_that_no_output_needs_and_their_weights_are_unread_without_them() {
    let mut model = capturing();
    let dead = model.graph.dead_nodes();
    model.graph.remove_nodes(&dead);
    assert!(model.graph.dead_nodes().is_empty());
    model.graph.validate().unwrap();
    let declared: Vec<&str> = model.graph.declared().iter().map(|port| port.info.name()).collect();
    assert_eq!(declared, ["a"], "the declared type of what is gone goes too");
    let unread: Vec<&str> =
        model.graph.unread_initializers().iter().map(|&value| model.graph.value_name(value)).collect();
    assert_eq!(unread, ["spare"], "`w` is read by a subgraph");
}

#[test]
fn a_chain_of_dead_nodes_is_dead_as_a_whole() {
    let mut model = capturing();
    let (end, x) = (id(&model, "end"), model.graph.value_named("x").unwrap());
    model.graph.set_input(end, 0, x);
    assert_eq!(labels(&model, &model.graph.dead_nodes()), ["a", "b", "unused"]);
}

#[test]
fn ids_stay_valid_and_are_never_given_again() {
    let mut model = capturing();
    let graph = &mut model.graph;
    let before: Vec<(NodeId, String)> = graph.nodes().map(|(id, node)| (id, node.name().to_owned())).collect();
    let values: Vec<_> =
        ["x", "deep", "a", "b", "y", "w"].map(|name| (name, graph.value_named(name).unwrap())).to_vec();
    let gone = before.iter().find(|(_, name)| name == "unused").unwrap().0;
    graph.remove_nodes(&BTreeSet::from([gone]));
    let output = graph.add_value("new");
    let (a, x) = (graph.value_named("a").unwrap(), graph.value_named("x").unwrap());
    let new = graph.insert_node(Some(before[1].0), node("new", &[], &[]), vec![Some(x)], vec![Some(output)]);
    graph.redirect(a, output);
    graph.validate().unwrap();
    assert!(before.iter().all(|(id, _)| *id != new));
    for (id, name) in before.iter().filter(|(id, _)| *id != gone) {
        assert_eq!(graph.node(*id).name(), name);
    }
    for (name, value) in values {
        assert_eq!((graph.value_name(value), graph.value_named(name)), (name, Some(value)));
    }
    let order: Vec<&str> = graph.nodes().map(|(_, node)| node.name()).collect();
    assert_eq!(order, ["deep", "a", "new", "b", "loop", "end"]);
}

#[test]
fn redirecting_moves_readers_and_leaves_outputs_and_subgraphs() {
    let mut model = capturing();
    let [deep, y, a, b] = ["deep", "y", "a", "b"].map(|name| model.graph.value_named(name).unwrap());
    model.graph.redirect(a, deep);
    model.graph.redirect(b, deep);
    model.graph.redirect(y, deep);
    model.graph.redirect(deep, a);
    let inputs = |name: &str| {
        let node = model.graph.node(id(&model, name));
        node.inputs().iter().map(|value| value.map_or("", |value| model.graph.value_name(value))).collect::<Vec<_>>()
    };
    assert_eq!(inputs("b"), ["a"]);
    assert_eq!(inputs("end"), ["a", "", "l"]);
    assert!(model.graph.is_output(y));
    assert!(model.graph.node(id(&model, "loop")).captures().contains(&deep));
}

#[test]
fn a_taken_name_gets_a_number() {
    let mut model = capturing();
    let names: Vec<String> = (0..3)
        .map(|_| {
            let value = model.graph.add_value("a");
            model.graph.value_name(value).to_owned()
        })
        .collect();
    assert_eq!(names, ["a_2", "a_3", "a_4"]);
}

#[test]
fn what_is_left_keeps_its_names_in_the_file() {
    let model = resnet(0, [3, 8, 8], 1, &[4], 2, 3);
    let mut cut = model.clone();
    let [add, relu] = ["/layer1/layer1.1/Add_output_0", "/layer1/layer1.0/relu2_output_0"]
        .map(|name| cut.graph.value_named(name).unwrap());
    cut.graph.redirect(add, relu);
    let dead = cut.graph.dead_nodes();
    cut.graph.remove_nodes(&dead);
    let unread = cut.graph.unread_initializers();
    cut.graph.remove_initializers(&unread);
    cut.graph.validate().unwrap();
    let read = Model::from_bytes(&cut.to_bytes()).unwrap();
    let names = |model: &Model| -> BTreeSet<String> {
        let nodes = model.graph.nodes().map(|(_, node)| node.name().to_owned());
        let stored = model.graph.initializers().iter().map(|&value| model.graph.value_name(value).to_owned());
        nodes.chain(stored).collect()
    };
    assert!(names(&read).is_subset(&names(&model)));
    let left: Vec<String> = names(&model).difference(&names(&read)).cloned().collect();
    assert!(!left.is_empty() && left.iter().all(|name| name.contains("layer1.1")), "{left:?}");
    assert_eq!(read.to_bytes(), cut.to_bytes());
}

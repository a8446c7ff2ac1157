//! [`ModelProto`] ⇄ [`Model`]. Every field goes one way or another; nothing is interpreted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::{DataFile, Model, OnnxError};
use crate::graph::{Graph, GraphError, Node, Port, Value, ValueId};
use crate::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

pub(super) fn from_proto(mut model: ModelProto, external: BTreeMap<String, DataFile>) -> Result<Model, OnnxError> {
    let Some(proto) = model.graph.take() else {
        return Err(OnnxError::Malformed { reason: "it holds no graph".to_owned() });
    };
    let opsets = model
        .opset_import
        .iter()
        .map(|import| {
            let domain = if import.domain() == "ai.onnx" { "" } else { import.domain() };
            (domain.to_owned(), import.version())
        })
        .collect();
    let graph = graph_from_proto(proto, opsets)?;
    graph.validate()?;
    Ok(Model { graph, rest: model, external })
}

fn graph_from_proto(mut proto: GraphProto, opsets: BTreeMap<String, i64>) -> Result<Graph, OnnxError> {
    let mut names = Names::default();
    for (what, infos) in [("input", &proto.input), ("output", &proto.output)] {
        if let Some(number) = infos.iter().position(|info| info.name().is_empty()) {
            return Err(OnnxError::Malformed { reason: format!("graph {what} {number} has no name") });
        }
    }
    let ports = |names: &mut Names, infos: Vec<ValueInfoProto>| -> Vec<Port> {
        infos.into_iter().map(|info| Port { value: names.id(info.name()), info }).collect()
    };
    let inputs = ports(&mut names, std::mem::take(&mut proto.input));
    let initializers = take_initializers(&mut names, std::mem::take(&mut proto.initializer))?;
    for (number, sparse) in proto.sparse_initializer.iter().enumerate() {
        match sparse.values.as_ref().map(|values| values.name()).filter(|name| !name.is_empty()) {
            Some(name) => names.id(name),
            None => return Err(OnnxError::Malformed { reason: format!("sparse initializer {number} has no name") }),
        };
    }
    let mut graph_nodes: Vec<Option<Node>> = Vec::with_capacity(proto.node.len());
    let nodes = std::mem::take(&mut proto.node);
    for mut node in nodes {
        let mut optional = |name: String| (!name.is_empty()).then(|| names.id(&name));
        let inputs = std::mem::take(&mut node.input).into_iter().map(&mut optional).collect();
        let outputs = std::mem::take(&mut node.output).into_iter().map(&mut optional).collect();
        let captures = captured_names(&node).iter().map(|name| names.id(name)).collect();
        graph_nodes.push(Some(Node { proto: node, inputs, outputs, captures }));
    }
    let outputs = ports(&mut names, std::mem::take(&mut proto.output));
    let declared = ports(&mut names, std::mem::take(&mut proto.value_info));
    Ok(Graph {
        order: (0..graph_nodes.len() as u32).map(crate::graph::NodeId).collect(),
        nodes: graph_nodes,
        values: names.values,
        by_name: names.ids,
        inputs,
        outputs,
        declared,
        initializers,
        opsets,
        rest: proto,
    })
}

fn take_initializers(names: &mut Names, tensors: Vec<TensorProto>) -> Result<Vec<ValueId>, OnnxError> {
    let mut initializers = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        if tensor.name().is_empty() {
            return Err(OnnxError::Malformed { reason: format!("initializer {} has no name", initializers.len()) });
        }
        let id = names.id(tensor.name());
        let slot = &mut names.values[id.index()].initializer;
        if slot.is_some() {
            return Err(OnnxError::Graph(GraphError::ProducedTwice {
                value: tensor.name().to_owned(),
                first: "an initializer".to_owned(),
                second: "another initializer".to_owned(),
            }));
        }
        *slot = Some(Arc::new(tensor));
        initializers.push(id);
    }
    Ok(initializers)
}

#[derive(Default)]
struct Names {
    values: Vec<Value>,
    ids: HashMap<String, ValueId>,
}

impl Names {
    fn id(&mut self, name: &str) -> ValueId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = ValueId(self.values.len() as u32);
        self.values.push(Value { name: name.to_owned(), initializer: None });
        self.ids.insert(name.to_owned(), id);
        id
    }
}

/// Names that the subgraphs of `node` read and do not define themselves, sorted.
fn captured_names(node: &NodeProto) -> Vec<String> {
    fn free_names(graph: &GraphProto, free: &mut HashSet<String>) {
        let mut read = HashSet::new();
        let mut defined: HashSet<&str> = graph.input.iter().map(|info| info.name()).collect();
        defined.extend(graph.initializer.iter().map(|tensor| tensor.name()));
        defined.extend(graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|v| v.name()));
        for node in &graph.node {
            read.extend(node.input.iter().cloned());
            read.extend(captured_names(node));
            defined.extend(node.output.iter().map(String::as_str));
        }
        read.extend(graph.output.iter().map(|info| info.name().to_owned()));
        free.extend(read.into_iter().filter(|name| !name.is_empty() && !defined.contains(name.as_str())));
    }
    let mut free = HashSet::new();
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs))
    {
        free_names(graph, &mut free);
    }
    let mut free: Vec<String> = free.into_iter().collect();
    free.sort_unstable();
    free
}

pub(super) fn to_proto(model: &Model) -> ModelProto {
    let graph = &model.graph;
    let name = |value: &Option<ValueId>| value.map_or_else(String::new, |value| graph.value_name(value).to_owned());
    let infos = |ports: &[Port]| ports.iter().map(|port| port.info.clone()).collect();
    let mut proto = graph.rest.clone();
    proto.input = infos(&graph.inputs);
    proto.output = infos(&graph.outputs);
    proto.value_info = infos(&graph.declared);
    proto.initializer = graph
        .initializers
        .iter()
        .filter_map(|&value| graph.initializer(value))
        .map(|tensor| TensorProto::clone(tensor))
        .collect();
    proto.node = graph
        .nodes()
        .map(|(_, node)| NodeProto {
            input: node.inputs.iter().map(name).collect(),
            output: node.outputs.iter().map(name).collect(),
            ..node.proto.clone()
        })
        .collect();
    ModelProto { graph: Some(proto), ..model.rest.clone() }
}

/// Calls `visit` on every tensor of the model with the place it stands in: initializers, sparse ones, attributes,
/// subgraphs and functions.
pub(super) fn try_for_each_tensor<E>(
    model: &mut ModelProto,
    visit: &mut impl FnMut(&mut TensorProto, &dyn Fn() -> String) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(graph) = &mut model.graph {
        graph_tensors(graph, visit)?;
    }
    for function in &mut model.functions {
        for node in &mut function.node {
            node_tensors(node, visit)?;
        }
    }
    for training in &mut model.training_info {
        for graph in training.initialization.iter_mut().chain(training.algorithm.iter_mut()) {
            graph_tensors(graph, visit)?;
        }
    }
    Ok(())
}

fn graph_tensors<E>(
    graph: &mut GraphProto,
    visit: &mut impl FnMut(&mut TensorProto, &dyn Fn() -> String) -> Result<(), E>,
) -> Result<(), E> {
    for (number, tensor) in graph.initializer.iter_mut().enumerate() {
        visit(tensor, &|| format!("initializer {number}"))?;
    }
    for (number, sparse) in graph.sparse_initializer.iter_mut().enumerate() {
        for tensor in sparse.values.iter_mut().chain(sparse.indices.iter_mut()) {
            visit(tensor, &|| format!("sparse initializer {number}"))?;
        }
    }
    graph.node.iter_mut().try_for_each(|node| node_tensors(node, visit))
}

fn node_tensors<E>(
    node: &mut NodeProto,
    visit: &mut impl FnMut(&mut TensorProto, &dyn Fn() -> String) -> Result<(), E>,
) -> Result<(), E> {
    let label = match (node.name(), node.output.first()) {
        ("", Some(output)) => output.clone(),
        (name, _) => name.to_owned(),
    };
    for attribute in &mut node.attribute {
        let name = attribute.name().to_owned();
        let place = || format!("attribute `{name}` of node `{label}`");
        let sparse = attribute.sparse_tensor.as_deref_mut().into_iter().chain(&mut attribute.sparse_tensors);
        let parts = sparse.flat_map(|sparse| sparse.values.iter_mut().chain(sparse.indices.iter_mut()));
        for tensor in attribute.t.as_deref_mut().into_iter().chain(&mut attribute.tensors).chain(parts) {
            visit(tensor, &place)?;
        }
        for graph in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
            graph_tensors(graph, visit)?;
        }
    }
    Ok(())
}

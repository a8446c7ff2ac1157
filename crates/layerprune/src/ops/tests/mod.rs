//! Tests of the rules: one file per family, and the node that they are written with.

mod activation;
mod constant;
mod conv;
mod elementwise;
mod linear;
mod norm;
mod pool;
mod reduce;
mod reshape;
mod resize;
mod slice;
mod supported;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Call, Dim, Element, Fact, Reason, Sign, rule};
use crate::graph::{Graph, Node, NodeId, Value, ValueId, tensor};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// A float value of these sizes: numbers, names, `?`.
fn flows(sizes: &str) -> Fact {
    Fact::new(Some(DataType::Float), Some(dims(sizes)))
}

/// A float value of which not even the rank is known.
fn unranked() -> Fact {
    Fact::new(Some(DataType::Float), None)
}

/// A float initializer of these sizes, all its elements `element`.
fn filled(sizes: &[usize], element: f32) -> Fact {
    stored(tensor::from_f32(sizes, &vec![element; sizes.iter().product()]))
}

/// An initializer.
fn stored(tensor: TensorProto) -> Fact {
    Fact::of_stored(Arc::new(tensor))
}

/// A one-axis initializer of integers.
fn integers(numbers: &[i64]) -> Fact {
    stored(tensor::from_i64(&[numbers.len()], numbers))
}

/// A one-axis initializer of floats.
fn floats(numbers: &[f32]) -> Fact {
    stored(tensor::from_f32(&[numbers.len()], numbers))
}

/// A one-axis integer value that the graph computes: numbers, names, `?`.
fn computed(elements: &str) -> Fact {
    let content: Vec<Element> = elements
        .split_whitespace()
        .map(|word| match (word, word.parse()) {
            (_, Ok(number)) => Element::Known(number),
            ("?", _) => Element::Unknown,
            (name, _) => Element::Symbol(name.into()),
        })
        .collect();
    Fact::of_content(vec![Dim::Known(content.len())], content)
}

fn dims(sizes: &str) -> Vec<Dim> {
    let dim = |word: &str| match (word, word.parse()) {
        (_, Ok(size)) => Dim::Known(size),
        ("?", _) => Dim::Unknown,
        (name, _) => Dim::Symbol(name.into()),
    };
    sizes.split_whitespace().map(dim).collect()
}

/// A node with facts for its inputs.
struct TestNode {
    proto: NodeProto,
    opset: i64,
    inputs: Vec<Option<Fact>>,
    outputs: usize,
}

fn node(op_type: &str) -> TestNode {
    let proto = NodeProto { op_type: Some(op_type.to_owned()), ..Default::default() };
    TestNode { proto, opset: 13, inputs: Vec::new(), outputs: 1 }
}

impl TestNode {
    fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    fn input(mut self, fact: Fact) -> Self {
        self.inputs.push(Some(fact));
        self
    }

    fn no_input(mut self) -> Self {
        self.inputs.push(None);
        self
    }

    fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    fn attribute(mut self, name: &str, kind: AttributeType, value: AttributeProto) -> Self {
        let attribute = AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..value };
        self.proto.attribute.push(attribute);
        self
    }

    fn int(self, name: &str, number: i64) -> Self {
        self.attribute(name, AttributeType::Int, AttributeProto { i: Some(number), ..Default::default() })
    }

    fn ints(self, name: &str, numbers: &[i64]) -> Self {
        self.attribute(name, AttributeType::Ints, AttributeProto { ints: numbers.to_vec(), ..Default::default() })
    }

    fn float(self, name: &str, number: f32) -> Self {
        self.attribute(name, AttributeType::Float, AttributeProto { f: Some(number), ..Default::default() })
    }

    fn floats(self, name: &str, numbers: &[f32]) -> Self {
        self.attribute(name, AttributeType::Floats, AttributeProto { floats: numbers.to_vec(), ..Default::default() })
    }

    fn string(self, name: &str, text: &str) -> Self {
        let s = Some(text.as_bytes().to_vec());
        self.attribute(name, AttributeType::String, AttributeProto { s, ..Default::default() })
    }

    fn tensor(self, name: &str, tensor: TensorProto) -> Self {
        self.attribute(name, AttributeType::Tensor, AttributeProto { t: Some(tensor.into()), ..Default::default() })
    }

    /// Reads something of the node.
    fn with<T>(&self, read: impl FnOnce(&Call<'_>) -> T) -> T {
        let count = self.inputs.len() + self.outputs;
        let ids: Vec<ValueId> = (0..count).map(|id| ValueId(id as u32)).collect();
        let (inputs, outputs) = ids.split_at(self.inputs.len());
        let node = Node {
            proto: self.proto.clone(),
            inputs: inputs.iter().zip(&self.inputs).map(|(&id, fact)| fact.as_ref().map(|_| id)).collect(),
            outputs: outputs.iter().map(|&id| Some(id)).collect(),
            captures: Vec::new(),
        };
        let graph = Graph {
            nodes: vec![Some(node)],
            order: vec![NodeId(0)],
            values: ids.iter().map(|id| Value { name: format!("v{}", id.0), initializer: None }).collect(),
            by_name: HashMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            declared: Vec::new(),
            initializers: Vec::new(),
            opsets: BTreeMap::from([(String::new(), self.opset)]),
            rest: GraphProto::default(),
        };
        read(&Call {
            graph: &graph,
            id: NodeId(0),
            node: graph.node(NodeId(0)),
            inputs: self.inputs.iter().map(Option::as_ref).collect(),
            opset: self.opset,
        })
    }

    fn infer(&self) -> Result<Vec<Fact>, Reason> {
        self.with(|call| rule(call.graph, call.node).and_then(|rule| (rule.infer)(call)))
    }

    fn sign(&self) -> Sign {
        self.with(|call| (rule(call.graph, call.node).expect("the table has the operator").sign)(call))
    }

    /// Multiply-adds at the inferred shapes.
    fn macs(&self) -> Option<u64> {
        let outputs = self.infer().ok()?;
        self.with(|call| (rule(call.graph, call.node).expect("the table has the operator").macs)(call, &outputs))
    }

    /// The outputs' shapes, or why there are none.
    fn shapes(&self) -> String {
        match self.infer() {
            Err(reason) => format!("refused: {reason}"),
            Ok(facts) => facts.iter().map(shape_text).collect::<Vec<_>>().join(" | "),
        }
    }

    /// The first output's elements.
    fn content(&self) -> Option<String> {
        let facts = self.infer().expect("the node can be followed");
        let word = |element: &Element| match element {
            Element::Known(number) => number.to_string(),
            Element::Symbol(name) => name.to_string(),
            Element::Unknown => "?".to_owned(),
        };
        facts[0].content.as_ref().map(|content| content.iter().map(word).collect::<Vec<_>>().join(" "))
    }
}

fn shape_text(fact: &Fact) -> String {
    match &fact.shape {
        None => "no rank".to_owned(),
        Some(dims) => dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// Compares the shapes of all `cases` and reports every one that differs.
#[track_caller]
fn check_shapes(cases: &[(TestNode, &str)]) {
    let different: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(place, (node, expected))| (place, node.shapes(), *expected, node.proto.op_type()))
        .filter(|(_, found, expected, _)| found != expected)
        .map(|(place, found, expected, op)| format!("case {place} ({op}): found `{found}`, expected `{expected}`"))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

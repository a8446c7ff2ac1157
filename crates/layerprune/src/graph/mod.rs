//! The graph of a model: nodes, values and initializers with stable ids. Knows nothing of files or of what ops mean.

mod edit;
mod order;
pub mod tensor;
mod uses;
mod validate;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

pub use uses::{Use, Uses};
pub use validate::GraphError;

/// Names a node for the life of its graph; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// Names a value for the life of its graph; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) u32);

impl NodeId {
    /// Position in tables indexed by node.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    /// Position in tables indexed by value.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operator call. Domain, op type and attributes are kept verbatim.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// All fields of the ONNX node but its inputs and outputs, which are empty here.
    pub(crate) proto: NodeProto,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<Option<ValueId>>,
    /// Values of this graph that the node's subgraphs read.
    pub(crate) captures: Vec<ValueId>,
}

impl Node {
    /// The node's name, empty where the file gives none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.proto.name()
    }

    /// The operator's name, such as `Conv`.
    #[must_use]
    pub fn op_type(&self) -> &str {
        self.proto.op_type()
    }

    /// The operator's domain; `""` is ONNX's own (the spelling `ai.onnx` is folded into it).
    #[must_use]
    pub fn domain(&self) -> &str {
        match self.proto.domain() {
            "ai.onnx" => "",
            domain => domain,
        }
    }

    /// Inputs by position; `None` is an absent optional input.
    #[must_use]
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }

    /// Outputs by position; `None` is an output nobody asked for.
    #[must_use]
    pub fn outputs(&self) -> &[Option<ValueId>] {
        &self.outputs
    }

    /// The input at `position`, if present.
    #[must_use]
    pub fn input(&self, position: usize) -> Option<ValueId> {
        self.inputs.get(position).copied().flatten()
    }

    /// The output at `position`, if present.
    #[must_use]
    pub fn output(&self, position: usize) -> Option<ValueId> {
        self.outputs.get(position).copied().flatten()
    }

    /// Attributes as the file has them.
    #[must_use]
    pub fn attributes(&self) -> &[AttributeProto] {
        &self.proto.attribute
    }

    /// The attribute called `name`, if the file gives it.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// Values of the enclosing graph that the node's subgraphs read.
    #[must_use]
    pub fn captures(&self) -> &[ValueId] {
        &self.captures
    }

    /// Whether the node holds subgraphs (`If`, `Loop`, `Scan`).
    #[must_use]
    pub fn has_subgraph(&self) -> bool {
        self.proto.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty())
    }
}

/// What flows between nodes, or is stored beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub(crate) name: String,
    pub(crate) initializer: Option<Arc<TensorProto>>,
}

impl Value {
    /// The value's name, unique in its graph.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stored tensor, where the value is an initializer.
    #[must_use]
    pub fn initializer(&self) -> Option<&Arc<TensorProto>> {
        self.initializer.as_ref()
    }
}

/// A value with the type that the file declares for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The value.
    pub value: ValueId,
    /// Its declaration, verbatim.
    pub info: ValueInfoProto,
}

/// A model's main graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) order: Vec<NodeId>,
    pub(crate) values: Vec<Value>,
    pub(crate) by_name: HashMap<String, ValueId>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) declared: Vec<Port>,
    pub(crate) initializers: Vec<ValueId>,
    pub(crate) opsets: BTreeMap<String, i64>,
    /// All other fields of the ONNX graph.
    pub(crate) rest: GraphProto,
}

impl Graph {
    /// The node `id`.
    ///
    /// # Panics
    /// When the node was removed or belongs to another graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.index()].as_ref().expect("node ids are asked for only while the node lives")
    }

    /// The value `id`.
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The name of value `id`.
    #[must_use]
    pub fn value_name(&self, id: ValueId) -> &str {
        &self.values[id.index()].name
    }

    /// The value called `name`.
    #[must_use]
    pub fn value_named(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// The stored tensor of value `id`, where it is an initializer.
    #[must_use]
    pub fn initializer(&self, id: ValueId) -> Option<&Arc<TensorProto>> {
        self.values[id.index()].initializer.as_ref()
    }

    /// Whether `id` is a value of this graph that is an initializer.
    #[must_use]
    pub fn holds_initializer(&self, id: ValueId) -> bool {
        self.values.get(id.index()).is_some_and(|value| value.initializer.is_some())
    }

    /// Nodes in the order of the file, which is topological in a valid graph.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + Clone {
        self.order.iter().map(|&id| (id, self.node(id)))
    }

    /// How many nodes the graph holds.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.order.len()
    }

    /// One more than the largest [`NodeId::index`], for tables indexed by node.
    #[must_use]
    pub fn node_capacity(&self) -> usize {
        self.nodes.len()
    }

    /// One more than the largest [`ValueId::index`], for tables indexed by value.
    #[must_use]
    pub fn value_capacity(&self) -> usize {
        self.values.len()
    }

    /// Graph inputs as declared, those that are also initializers included.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Graph inputs that a caller must feed: those without an initializer.
    pub fn fed_inputs(&self) -> impl Iterator<Item = &Port> {
        self.inputs.iter().filter(|port| self.initializer(port.value).is_none())
    }

    /// Graph outputs as declared.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Whether `id` is a graph output.
    #[must_use]
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|port| port.value == id)
    }

    /// Types that the file declares for values inside the graph.
    #[must_use]
    pub fn declared(&self) -> &[Port] {
        &self.declared
    }

    /// Initializers in the order of the file.
    #[must_use]
    pub fn initializers(&self) -> &[ValueId] {
        &self.initializers
    }

    /// The version of ONNX's own operator set; 1 where the file imports none.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(1)
    }

    /// What to call node `id` in messages: its name, else its first output, else its op type and number.
    #[must_use]
    pub fn label(&self, id: NodeId) -> String {
        let node = self.node(id);
        match (node.name(), node.outputs.iter().flatten().next()) {
            ("", Some(&value)) => self.value_name(value).to_owned(),
            ("", None) => format!("{} #{}", node.op_type(), id.0),
            (name, _) => name.to_owned(),
        }
    }

    /// Producers and consumers of every value.
    #[must_use]
    pub fn uses(&self) -> Uses {
        Uses::new(self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

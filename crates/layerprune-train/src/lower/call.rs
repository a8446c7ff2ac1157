use std::collections::BTreeSet;

use layerprune::graph::{Graph, Node};
use layerprune::proto::attribute_proto::AttributeType;
use layerprune::proto::{AttributeProto, TensorProto};

use super::Fault;

/// A node as its rule reads it. An attribute that the rule did not read is a fault.
pub(crate) struct Call<'a> {
    graph: &'a Graph,
    node: &'a Node,
    relu: bool,
    read: BTreeSet<&'a str>,
}

impl<'a> Call<'a> {
    pub(super) fn new(graph: &'a Graph, node: &'a Node, relu: bool) -> Self {
        Self { graph, node, relu, read: BTreeSet::new() }
    }

    /// Whether the output is to be rectified.
    pub(super) fn relu(&self) -> bool {
        self.relu
    }

    pub(super) fn opset(&self) -> i64 {
        self.graph.opset()
    }

    pub(super) fn inputs(&self) -> usize {
        self.node.inputs().len()
    }

    pub(super) fn outputs(&self) -> usize {
        self.node.outputs().len()
    }

    /// Whether the input is present.
    pub(super) fn has(&self, position: usize) -> bool {
        self.node.input(position).is_some()
    }

    /// The stored tensor at an input.
    pub(super) fn initializer(&self, position: usize) -> Option<&'a TensorProto> {
        self.graph.initializer(self.node.input(position)?).map(AsRef::as_ref)
    }

    fn attribute(&mut self, name: &'a str, expected: AttributeType) -> Result<Option<&'a AttributeProto>, Fault> {
        let Some(attribute) = self.node.attribute(name) else { return Ok(None) };
        self.read.insert(name);
        if attribute.r#type() != expected {
            let (found, expected) = (attribute.r#type().as_str_name(), expected.as_str_name());
            return Err(Fault(format!("attribute `{name}` is of type {found}, not {expected}")));
        }
        Ok(Some(attribute))
    }

    pub(super) fn int(&mut self, name: &'static str, default: i64) -> Result<i64, Fault> {
        Ok(self.attribute(name, AttributeType::Int)?.map_or(default, |attribute| attribute.i()))
    }

    pub(super) fn float(&mut self, name: &'static str, default: f32) -> Result<f32, Fault> {
        Ok(self.attribute(name, AttributeType::Float)?.map_or(default, |attribute| attribute.f()))
    }

    pub(super) fn optional_float(&mut self, name: &'static str) -> Result<Option<f32>, Fault> {
        Ok(self.attribute(name, AttributeType::Float)?.map(|attribute| attribute.f()))
    }

    pub(super) fn ints(&mut self, name: &'static str) -> Result<Option<&'a [i64]>, Fault> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|attribute| &attribute.ints[..]))
    }

    pub(super) fn string(&mut self, name: &'static str, default: &'static str) -> Result<String, Fault> {
        let attribute = self.attribute(name, AttributeType::String)?;
        Ok(attribute.map_or(default.to_owned(), |attribute| String::from_utf8_lossy(attribute.s()).into_owned()))
    }

    pub(super) fn tensor(&mut self, name: &'static str) -> Result<Option<&'a TensorProto>, Fault> {
        Ok(self.attribute(name, AttributeType::Tensor)?.and_then(|attribute| attribute.t.as_deref()))
    }

    /// Sizes along two axes, `default` where the attribute is absent.
    pub(super) fn pair(&mut self, name: &'static str, default: usize) -> Result<[usize; 2], Fault> {
        match self.ints(name)? {
            None => Ok([default; 2]),
            Some(&[a, b]) if a > 0 && b > 0 => Ok([a as usize, b as usize]),
            Some(found) => Err(Fault(format!("attribute `{name}` is {found:?}, two sizes above 0 are supported"))),
        }
    }

    /// Marks attributes that say nothing about the numbers.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        self.read.extend(names);
    }

    pub(super) fn finish(self) -> Result<(), Fault> {
        let unread = self.node.attributes().iter().find(|attribute| !self.read.contains(attribute.name()));
        unread.map_or(Ok(()), |attribute| Err(Fault(format!("attribute `{}` is not supported", attribute.name()))))
    }
}

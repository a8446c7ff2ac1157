//! The only ways in which a graph changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Graph, Node, NodeId, Port, Value, ValueId};
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

impl Graph {
    /// Makes every node that reads `from` read `to` instead. Graph outputs and subgraphs keep reading `from`.
    pub fn redirect(&mut self, from: ValueId, to: ValueId) {
        for &id in &self.order {
            if let Some(node) = &mut self.nodes[id.index()] {
                for input in &mut node.inputs {
                    if *input == Some(from) {
                        *input = Some(to);
                    }
                }
            }
        }
    }

    /// Makes input `position` of `node` read `to`; inputs before it that the node does not have are absent.
    ///
    /// # Panics
    /// When the node was removed.
    pub fn set_input(&mut self, node: NodeId, position: usize, to: ValueId) {
        let node = self.nodes[node.index()].as_mut().expect("only living nodes are edited");
        if node.inputs.len() <= position {
            node.inputs.resize(position + 1, None);
        }
        node.inputs[position] = Some(to);
    }

    /// Takes `value` out of the inputs of `node`; those behind it move up.
    ///
    /// # Panics
    /// When the node was removed.
    pub fn drop_input(&mut self, node: NodeId, value: ValueId) {
        let node = self.nodes[node.index()].as_mut().expect("only living nodes are edited");
        node.inputs.retain(|input| *input != Some(value));
    }

    /// Gives `node` an attribute, in place of the one of that name.
    ///
    /// # Panics
    /// When the node was removed.
    pub fn set_attribute(&mut self, node: NodeId, attribute: AttributeProto) {
        let node = self.nodes[node.index()].as_mut().expect("only living nodes are edited");
        match node.proto.attribute.iter_mut().find(|old| old.name() == attribute.name()) {
            Some(old) => *old = attribute,
            None => node.proto.attribute.push(attribute),
        }
    }

    /// Drops the declared types of `values` inside the graph, which the file gives for information.
    pub fn undeclare(&mut self, values: &BTreeSet<ValueId>) {
        self.declared.retain(|port| !values.contains(&port.value));
    }

    /// Removes nodes, with the declared types of what they alone produced.
    pub fn remove_nodes(&mut self, nodes: &BTreeSet<NodeId>) {
        let mut gone = BTreeSet::new();
        for &id in nodes {
            if let Some(node) = self.nodes[id.index()].take() {
                gone.extend(node.outputs.into_iter().flatten());
            }
        }
        self.order.retain(|id| !nodes.contains(id));
        self.declared.retain(|port| !gone.contains(&port.value));
        let names: BTreeSet<&str> = gone.iter().map(|&value| self.values[value.index()].name.as_str()).collect();
        self.rest.quantization_annotation.retain(|annotation| !names.contains(annotation.tensor_name()));
    }

    /// Removes initializers, with the graph inputs that only gave them a default.
    pub fn remove_initializers(&mut self, values: &BTreeSet<ValueId>) {
        self.initializers.retain(|value| !values.contains(value));
        self.inputs.retain(|port| !values.contains(&port.value));
        self.declared.retain(|port| !values.contains(&port.value));
        let names: BTreeSet<&str> = values.iter().map(|&value| self.values[value.index()].name.as_str()).collect();
        self.rest.quantization_annotation.retain(|annotation| !names.contains(annotation.tensor_name()));
        for value in values {
            self.values[value.index()].initializer = None;
        }
    }

    /// Replaces the stored tensor of an initializer, or makes `value` one.
    pub fn set_initializer(&mut self, value: ValueId, mut tensor: TensorProto) {
        let slot = &mut self.values[value.index()];
        tensor.name = Some(slot.name.clone());
        if slot.initializer.replace(Arc::new(tensor)).is_none() {
            self.initializers.push(value);
        }
    }

    /// Adds a value; a name already taken gets a number behind it.
    pub fn add_value(&mut self, name: &str) -> ValueId {
        let mut unique = name.to_owned();
        let mut number = 1;
        while self.by_name.contains_key(&unique) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        let id = ValueId(u32::try_from(self.values.len()).expect("a graph holds fewer than 2^32 values"));
        self.by_name.insert(unique.clone(), id);
        self.values.push(Value { name: unique, initializer: None });
        id
    }

    /// Adds a stored tensor under `name`.
    pub fn add_initializer(&mut self, name: &str, tensor: TensorProto) -> ValueId {
        let value = self.add_value(name);
        self.set_initializer(value, tensor);
        value
    }

    /// Adds a node behind `after` in the order, or first where `after` is `None`. `proto` gives all but inputs and outputs.
    pub fn insert_node(
        &mut self,
        after: Option<NodeId>,
        proto: NodeProto,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Option<ValueId>>,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a graph holds fewer than 2^32 nodes"));
        self.nodes.push(Some(Node { proto, inputs, outputs, captures: Vec::new() }));
        let place = after.and_then(|after| self.order.iter().position(|&id| id == after)).map_or(0, |place| place + 1);
        self.order.insert(place, id);
        id
    }

    /// Takes an attribute from `node`, where it has it.
    ///
    /// # Panics
    /// When the node was removed.
    pub fn remove_attribute(&mut self, node: NodeId, name: &str) {
        let node = self.nodes[node.index()].as_mut().expect("only living nodes are edited");
        node.proto.attribute.retain(|attribute| attribute.name() != name);
    }

    /// The node that stands before `id` in the order.
    #[must_use]
    pub fn node_before(&self, id: NodeId) -> Option<NodeId> {
        let place = self.order.iter().position(|&other| other == id)?;
        self.order.get(place.checked_sub(1)?).copied()
    }

    /// Declares that `axis` of `value` has `size` indices, wherever the file declares a number for it.
    pub fn redeclare_axis(&mut self, value: ValueId, axis: usize, size: usize) {
        for port in self.inputs.iter_mut().chain(&mut self.declared).filter(|port| port.value == value) {
            let Some(type_proto::Value::TensorType(tensor)) = port.info.r#type.as_mut().and_then(|t| t.value.as_mut())
            else {
                continue;
            };
            let dim = tensor.shape.as_mut().and_then(|shape| shape.dim.get_mut(axis));
            if let Some(dimension::Value::DimValue(number)) = dim.and_then(|dim| dim.value.as_mut()) {
                *number = size as i64;
            }
        }
    }

    /// Makes initializer `value` a graph input as well, of its own type; nothing where it is one or no initializer.
    pub fn declare_initializer(&mut self, value: ValueId) {
        let Some(stored) = self.initializer(value).filter(|_| self.inputs.iter().all(|port| port.value != value))
        else {
            return;
        };
        let dim = |&size: &i64| Dimension { value: Some(dimension::Value::DimValue(size)), ..Default::default() };
        let tensor = type_proto::Tensor {
            elem_type: stored.data_type,
            shape: Some(TensorShapeProto { dim: stored.dims.iter().map(dim).collect() }),
        };
        let declared = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        let info = ValueInfoProto {
            name: Some(self.value_name(value).to_owned()),
            r#type: Some(declared),
            ..Default::default()
        };
        self.inputs.push(Port { value, info });
    }

    /// Replaces the declared type of graph input `value`.
    pub fn redeclare_input(&mut self, value: ValueId, info: ValueInfoProto) {
        for port in self.inputs.iter_mut().filter(|port| port.value == value) {
            port.info = info.clone();
        }
    }

    /// Makes `value` the only graph output.
    pub fn set_only_output(&mut self, value: ValueId, info: ValueInfoProto) {
        self.outputs = vec![Port { value, info }];
    }

    /// Makes `value` a graph output as well. A value that already is one stays as it is.
    pub fn add_output(&mut self, value: ValueId, info: ValueInfoProto) {
        if !self.is_output(value) {
            self.outputs.push(Port { value, info });
        }
    }
}

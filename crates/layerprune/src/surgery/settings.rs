//! Settings of nodes that follow a cut: attributes, and integer inputs that name sizes.

use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::ops::couple::Adjustment;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::shapes::Shapes;

/// Carries one adjustment of node `id` out. `shapes` are those before the cut.
pub(super) fn adjust(graph: &mut Graph, shapes: &Shapes, id: NodeId, adjustment: Adjustment) {
    match adjustment {
        Adjustment::Int { name, number } => {
            graph.set_attribute(id, attribute(name, AttributeType::Int, |attribute| attribute.i = Some(number)));
        }
        Adjustment::Ints { name, numbers } => {
            graph.set_attribute(id, attribute(name, AttributeType::Ints, |attribute| attribute.ints = numbers));
        }
        Adjustment::Absent { name } => graph.remove_attribute(id, name),
        Adjustment::Input { input, elements } => set_input(graph, shapes, id, input, &elements),
        Adjustment::Elements { input, changed } => set_elements(graph, shapes, id, input, &changed),
    }
}

/// Puts `tensor` into a `Constant` node, in place of what it holds.
pub(super) fn set_constant(graph: &mut Graph, id: NodeId, tensor: TensorProto) {
    for name in ["value_float", "value_floats", "value_int", "value_ints"] {
        graph.remove_attribute(id, name);
    }
    graph.set_attribute(id, attribute("value", AttributeType::Tensor, |attribute| attribute.t = Some(tensor.into())));
}

fn attribute(name: &str, kind: AttributeType, fill: impl FnOnce(&mut AttributeProto)) -> AttributeProto {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..Default::default() };
    fill(&mut attribute);
    attribute
}

/// Gives the node a stored input. One that only this node reads is replaced, any other gets a sibling.
fn set_input(graph: &mut Graph, shapes: &Shapes, id: NodeId, position: usize, elements: &[i64]) {
    let old = graph.node(id).input(position);
    let narrow = old.is_some_and(|old| shapes.fact(old).data_type == Some(crate::proto::tensor_proto::DataType::Int32));
    let tensor = if narrow {
        tensor::from_i32(&[elements.len()], elements)
    } else {
        tensor::from_i64(&[elements.len()], elements)
    };
    set_stored(graph, id, position, tensor);
}

/// Stores `tensor` as the node's input at `position`. An initializer that only this node reads is replaced, any other input
/// gets a sibling.
pub(super) fn set_stored(graph: &mut Graph, id: NodeId, position: usize, tensor: TensorProto) {
    let old = graph.node(id).input(position);
    let lone = old.filter(|&old| {
        graph.initializer(old).is_some()
            && graph.uses().consumers(old).len() == 1
            && !graph.is_output(old)
            && !graph.inputs().iter().any(|port| port.value == old)
    });
    match lone {
        Some(value) => graph.set_initializer(value, tensor),
        None => {
            let name = format!("{}_{position}", graph.label(id));
            let value = graph.add_initializer(&name, tensor);
            graph.set_input(id, position, value);
        }
    }
}

/// Changes some elements of an integer input. Where the others are computed while the model runs, they still are: the
/// input becomes a `Concat` of what it was and what is new.
fn set_elements(graph: &mut Graph, shapes: &Shapes, id: NodeId, position: usize, changed: &[(usize, i64)]) {
    let Some(old) = graph.node(id).input(position) else { return };
    let fact = shapes.fact(old);
    let Some(content) = fact.content.as_ref() else { return };
    let number = |place: usize| changed.iter().find(|(at, _)| *at == place).map(|&(_, number)| number);
    let known: Option<Vec<i64>> =
        content.iter().enumerate().map(|(place, element)| number(place).or(element.known())).collect();
    if let Some(elements) = known {
        return set_input(graph, shapes, id, position, &elements);
    }
    let mut parts: Vec<(Option<i64>, usize)> = (0..content.len()).map(|place| (number(place), place)).collect();
    parts.dedup_by(|next, before| next.0.is_none() && before.0.is_none());
    let mut joined = Vec::new();
    for (place, (fixed, start)) in parts.iter().enumerate() {
        let end = parts.get(place + 1).map_or(content.len(), |(_, start)| *start);
        let name = format!("{}_{position}_{place}", graph.label(id));
        joined.push(match fixed {
            Some(number) => graph.add_initializer(&name, tensor::from_i64(&[1], &[*number])),
            None => {
                let indices: Vec<i64> = (*start as i64..end as i64).collect();
                let indices =
                    graph.add_initializer(&format!("{name}_indices"), tensor::from_i64(&[indices.len()], &indices));
                node_before(graph, id, "Gather", &name, vec![Some(old), Some(indices)])
            }
        });
    }
    let name = format!("{}_{position}", graph.label(id));
    let whole = node_before(graph, id, "Concat", &name, joined.into_iter().map(Some).collect());
    graph.set_input(id, position, whole);
}

/// Puts a node with axis 0 right before `id`; returns its output.
fn node_before(graph: &mut Graph, id: NodeId, op_type: &str, name: &str, inputs: Vec<Option<ValueId>>) -> ValueId {
    let output = graph.add_value(name);
    let unique = graph.value_name(output).to_owned();
    let axis = attribute("axis", AttributeType::Int, |attribute| attribute.i = Some(0));
    let proto = NodeProto {
        name: Some(unique),
        op_type: Some(op_type.to_owned()),
        attribute: vec![axis],
        ..Default::default()
    };
    let before = graph.node_before(id);
    graph.insert_node(before, proto, inputs, vec![Some(output)]);
    output
}

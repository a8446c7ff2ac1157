//! The model with channels switched off instead of removed: what a cut has to agree with.

use super::SurgeryError;
use crate::analysis::{ChannelCut, Coupling, ValueAxis};
use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::onnx::Model;
use crate::ops::{Dim, Fact};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::shapes::Shapes;

/// A copy of `model` in which every node that adds up over an axis reads zeros where `cut` removes indices of it.
///
/// Nothing is made smaller: the copy is the reference that a cut is compared with, and shares nothing with it but the
/// question which node reads what.
///
/// # Errors
/// [`SurgeryError::Tensor`] where a value that would be masked is not of a floating-point type.
pub fn masked(model: &Model, shapes: &Shapes, coupling: &Coupling, cut: &ChannelCut) -> Result<Model, SurgeryError> {
    let mut graph = model.graph.clone();
    for &(node, at) in coupling.sums() {
        let fact = shapes.fact(at.value);
        let Some(kept) = cut.kept(at).filter(|_| fact.stored.is_none()) else { continue };
        let inputs = graph.node(node).inputs().iter().enumerate();
        let positions: Vec<usize> =
            inputs.filter(|(_, input)| **input == Some(at.value)).map(|(position, _)| position).collect();
        let mask = mask(fact, at, kept)
            .map_err(|source| SurgeryError::Tensor { value: graph.value_name(at.value).to_owned(), source })?;
        let product = multiplied(&mut graph, at, mask, node);
        for position in positions {
            graph.set_input(node, position, product);
        }
    }
    graph.validate().map_err(SurgeryError::Invalid)?;
    Ok(model.with_graph(graph))
}

/// Ones where indices stay and zeros elsewhere, along the axis.
fn mask(fact: &Fact, at: ValueAxis, kept: &[usize]) -> Result<TensorProto, tensor::TensorError> {
    let dims = fact.shape.as_deref().unwrap_or(&[]);
    let size = dims.get(at.axis).and_then(Dim::known).unwrap_or(0);
    let mut numbers = vec![0.0; size];
    kept.iter().for_each(|&index| numbers[index] = 1.0);
    let mut shape = vec![1; dims.len()];
    shape[at.axis] = size;
    let typed = TensorProto {
        data_type: Some(fact.data_type.unwrap_or(DataType::Float) as i32),
        ..tensor::from_f32(&shape, &numbers)
    };
    tensor::with_f32(&typed, &shape, &numbers)
}

/// Puts a product with `mask` before `reader`; returns its output.
fn multiplied(graph: &mut Graph, at: ValueAxis, mask: TensorProto, reader: NodeId) -> ValueId {
    let name = format!("{}/masked", graph.value_name(at.value));
    let factor = graph.add_initializer(&format!("{name}/mask"), mask);
    let output = graph.add_value(&name);
    // Before opset 7 equal ranks do not broadcast unless asked to.
    let broadcast = AttributeProto {
        name: Some("broadcast".to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(1),
        ..Default::default()
    };
    let proto = NodeProto {
        name: Some(graph.value_name(output).to_owned()),
        op_type: Some("Mul".to_owned()),
        attribute: if graph.opset() < 7 { vec![broadcast] } else { Vec::new() },
        ..Default::default()
    };
    let before = graph.node_before(reader);
    graph.insert_node(before, proto, vec![Some(at.value), Some(factor)], vec![Some(output)]);
    output
}

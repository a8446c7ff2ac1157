//! What rten does not take from a model as ONNX defines it: said in other words where possible, refused otherwise.

use layerprune::graph::{Graph, Node, NodeId, ValueId, tensor};
use layerprune::ops::{Dim, attribute};
use layerprune::proto::{AttributeProto, NodeProto, attribute_proto::AttributeType};
use layerprune::shapes;

/// Why rten would compute something else than the model says, with the node.
#[derive(Debug, thiserror::Error)]
#[error("`auto_pad` is SAME_LOWER with uneven padding, which rten computes as SAME_UPPER")]
pub(super) struct LowerPadding;

/// `graph` with every convolution's `kernel_shape` and every pool's `strides` written out, which rten does not fill in, and
/// with `Dropout` and `LRN`, which it does not have, as other nodes.
///
/// # Errors
/// The node that rten would compute wrongly.
pub(super) fn adapt(mut graph: Graph) -> Result<Graph, (NodeId, LowerPadding)> {
    let mut changed = Vec::new();
    for (id, node) in graph.nodes().filter(|(_, node)| node.domain().is_empty()) {
        if text(node, "auto_pad") == Some(b"SAME_LOWER") && !pads_evenly(&graph, node) {
            return Err((id, LowerPadding));
        }
        let lacks_kernel =
            matches!(node.op_type(), "Conv" | "ConvTranspose") && node.attribute("kernel_shape").is_none();
        let lacks_strides = matches!(node.op_type(), "MaxPool" | "AveragePool") && node.attribute("strides").is_none();
        let Some(kernel) = kernel(&graph, node) else { continue };
        let written = match (lacks_kernel, lacks_strides) {
            (true, _) => with_list(node, "kernel_shape", kernel),
            (_, true) => with_list(node, "strides", vec![1; kernel.len()]),
            _ => continue,
        };
        changed.push((id, written, node.inputs().to_vec(), node.outputs().to_vec()));
    }
    for (id, proto, inputs, outputs) in changed {
        replace(&mut graph, id, vec![(proto, inputs, outputs)]);
    }
    without_dropout(&mut graph);
    without_lrn(&mut graph);
    Ok(graph)
}

type Parts = (NodeProto, Vec<Option<ValueId>>, Vec<Option<ValueId>>);

/// Puts `parts`, in order, where node `id` stands.
fn replace(graph: &mut Graph, id: NodeId, parts: Vec<Parts>) {
    let mut after = id;
    for (proto, inputs, outputs) in parts {
        after = graph.insert_node(Some(after), proto, inputs, outputs);
    }
    // Declared types of what the node gave stay with the values; only the node goes.
    graph.remove_nodes(&[id].into());
}

fn named(node: &Node, suffix: &str, op_type: &str) -> NodeProto {
    NodeProto {
        name: Some(format!("{}{suffix}", node.name())),
        op_type: Some(op_type.to_owned()),
        ..Default::default()
    }
}

/// A `Dropout` that is not training passes its input on.
fn without_dropout(graph: &mut Graph) {
    let uses = graph.uses();
    let unread = |value: ValueId| uses.consumers(value).is_empty() && !graph.is_output(value);
    let passes_on: Vec<NodeId> = graph
        .nodes()
        .filter(|(_, node)| node.op_type() == "Dropout" && node.domain().is_empty() && node.input(2).is_none())
        .filter(|(_, node)| node.output(1).is_none_or(unread))
        .map(|(id, _)| id)
        .collect();
    for id in passes_on {
        let node = graph.node(id).clone();
        replace(graph, id, vec![(named(&node, "", "Identity"), vec![node.input(0)], vec![node.output(0)])]);
    }
}

/// `y = x / (bias + alpha / size * sum of x² over the neighbouring channels) ^ beta`: the sum is a 1x1 convolution whose
/// weight is a band.
fn without_lrn(graph: &mut Graph) {
    let Ok(shapes) = shapes::infer(graph, &Default::default()) else { return };
    let found: Vec<(NodeId, usize)> = graph
        .nodes()
        .filter(|(_, node)| node.op_type() == "LRN" && node.domain().is_empty())
        .filter_map(|(id, node)| {
            let channels = shapes.fact(node.input(0)?).shape.as_ref()?.get(1).and_then(Dim::known)?;
            Some((id, channels))
        })
        .collect();
    for (id, channels) in found {
        let node = graph.node(id).clone();
        let number = |name: &str, default: f32| attribute::float(&node, name, default).unwrap_or(default);
        let size = attribute::int(&node, "size", 1).unwrap_or(1).max(1) as usize;
        let share = number("alpha", 1e-4) / size as f32;
        let (before, behind) = ((size - 1) / 2, size / 2);
        let mut band = vec![0.0; channels * channels];
        for to in 0..channels {
            for from in to.saturating_sub(before)..=(to + behind).min(channels - 1) {
                band[to * channels + from] = share;
            }
        }
        let label = graph.label(id);
        let band =
            graph.add_initializer(&format!("{label}/band"), tensor::from_f32(&[channels, channels, 1, 1], &band));
        let bias = vec![number("bias", 1.0); channels];
        let bias = graph.add_initializer(&format!("{label}/bias"), tensor::from_f32(&[channels], &bias));
        let beta = graph.add_initializer(&format!("{label}/beta"), tensor::from_f32(&[], &[number("beta", 0.75)]));
        let mut value = |suffix: &str| Some(graph.add_value(&format!("{label}/{suffix}")));
        let (square, energy, power) = (value("square"), value("energy"), value("power"));
        let x = node.input(0);
        let mut conv = named(&node, "/energy", "Conv");
        conv.attribute.push(list("kernel_shape", vec![1, 1]));
        let parts = vec![
            (named(&node, "/square", "Mul"), vec![x, x], vec![square]),
            (conv, vec![square, Some(band), Some(bias)], vec![energy]),
            (named(&node, "/power", "Pow"), vec![energy, Some(beta)], vec![power]),
            (named(&node, "", "Div"), vec![x, power], node.outputs().to_vec()),
        ];
        replace(graph, id, parts);
    }
}

fn list(name: &str, ints: Vec<i64>) -> AttributeProto {
    let kind = Some(AttributeType::Ints as i32);
    AttributeProto { name: Some(name.to_owned()), r#type: kind, ints, ..Default::default() }
}

fn with_list(node: &Node, name: &str, numbers: Vec<i64>) -> NodeProto {
    let mut attribute = node.attributes().to_vec();
    attribute.push(list(name, numbers));
    NodeProto {
        name: Some(node.name().to_owned()),
        op_type: Some(node.op_type().to_owned()),
        attribute,
        ..Default::default()
    }
}

/// The kernel's sizes: the attribute, else those of the stored weight, which may be stored as integers with their scales.
fn kernel(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    if let Some(attribute) = node.attribute("kernel_shape") {
        return Some(attribute.ints.clone());
    }
    let weight = node.input(1)?;
    let quantized = || {
        let producer = graph.node(graph.uses().producer(weight)?);
        (producer.op_type() == "DequantizeLinear").then(|| graph.initializer(producer.input(0)?)).flatten()
    };
    let weight = graph.initializer(weight).or_else(quantized)?;
    weight.dims.get(2..).filter(|sizes| !sizes.is_empty()).map(<[i64]>::to_vec)
}

/// Whether as much is padded before as behind, whatever the size of the image.
fn pads_evenly(graph: &Graph, node: &Node) -> bool {
    let Some(kernel) = kernel(graph, node) else { return false };
    let steps = |name| node.attribute(name).map_or_else(|| vec![1; kernel.len()], |attribute| attribute.ints.clone());
    let extent = |(size, dilation): (&i64, &i64)| (size - 1) * dilation;
    steps("strides").iter().all(|&stride| stride == 1)
        && kernel.iter().zip(&steps("dilations")).map(extent).all(|extent| extent % 2 == 0)
}

fn text<'n>(node: &'n Node, name: &str) -> Option<&'n [u8]> {
    node.attribute(name).and_then(|attribute| attribute.s.as_deref())
}

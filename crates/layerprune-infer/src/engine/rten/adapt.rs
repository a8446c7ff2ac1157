//! What rten does not take from a model as ONNX defines it: said in other words where possible, refused otherwise.

use layerprune::graph::{Graph, Node, NodeId};
use layerprune::proto::{AttributeProto, NodeProto, attribute_proto::AttributeType};

/// Why rten would compute something else than the model says, with the node.
#[derive(Debug, thiserror::Error)]
#[error("`auto_pad` is SAME_LOWER with uneven padding, which rten computes as SAME_UPPER")]
pub(super) struct LowerPadding;

/// `graph` with every convolution's `kernel_shape` written out, which rten needs to fill in other attributes.
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
        if let Some(kernel) = kernel(&graph, node).filter(|_| lacks_kernel) {
            changed.push((id, with_kernel(node, kernel), node.inputs().to_vec(), node.outputs().to_vec()));
        }
    }
    for (id, proto, inputs, outputs) in changed {
        graph.insert_node(Some(id), proto, inputs, outputs);
        graph.remove_nodes(&[id].into());
    }
    Ok(graph)
}

fn with_kernel(node: &Node, kernel: Vec<i64>) -> NodeProto {
    let mut attribute = node.attributes().to_vec();
    attribute.push(AttributeProto {
        name: Some("kernel_shape".to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: kernel,
        ..Default::default()
    });
    NodeProto {
        name: Some(node.name().to_owned()),
        op_type: Some(node.op_type().to_owned()),
        attribute,
        ..Default::default()
    }
}

/// The kernel's sizes: the attribute, else those of the stored weight.
fn kernel(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    if let Some(attribute) = node.attribute("kernel_shape") {
        return Some(attribute.ints.clone());
    }
    let weight = graph.initializer(node.input(1)?)?;
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

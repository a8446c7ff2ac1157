//! The stored numbers that weight criteria read.

use std::sync::Arc;

use super::chain::weight;
use crate::graph::{Graph, NodeId, Uses};
use crate::ops::attribute;
use crate::proto::TensorProto;
use crate::shapes::Shapes;

/// The filters of a weighted node.
#[derive(Debug, Clone)]
pub struct Filters {
    /// The stored weight, all filters together.
    pub weight: Arc<TensorProto>,
    /// How many filters there are.
    pub count: usize,
}

/// The filters of node `id`; `None` where its weight is not stored.
#[must_use]
pub fn filters_of(graph: &Graph, shapes: &Shapes, id: NodeId) -> Option<Filters> {
    let (position, value) = weight(graph, shapes, id)?;
    let node = graph.node(id);
    let fact = shapes.fact(value);
    let sizes: Option<Vec<usize>> = fact.shape.as_ref()?.iter().map(crate::ops::Dim::known).collect();
    let sizes = sizes?;
    let count = match node.op_type() {
        "Conv" => sizes.first().copied(),
        "ConvTranspose" => {
            let groups = usize::try_from(attribute::int(node, "group", 1).ok()?).ok()?;
            sizes.get(1).map(|&size| size * groups)
        }
        "Gemm" if position == 1 && attribute::int(node, "transB", 0).ok()? == 1 => sizes.first().copied(),
        _ if position == 1 => sizes.last().copied(),
        _ => sizes.iter().rev().nth(1).copied(),
    };
    Some(Filters { weight: Arc::clone(fact.stored.as_ref()?), count: count? })
}

/// The scale of the batch norm that alone reads what `id` computes.
#[must_use]
pub fn batch_norm_behind(graph: &Graph, shapes: &Shapes, uses: &Uses, id: NodeId) -> Option<Arc<TensorProto>> {
    let output = graph.node(id).output(0)?;
    let [reader] = uses.consumers(output) else { return None };
    let norm = graph.node(reader.node);
    if norm.op_type() != "BatchNormalization" || reader.input != Some(0) || shapes.barriers().contains_key(&reader.node)
    {
        return None;
    }
    shapes.fact(norm.input(1)?).stored.clone()
}

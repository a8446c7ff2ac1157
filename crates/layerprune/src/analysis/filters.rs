//! The stored numbers that weight criteria read.

use std::borrow::Cow;
use std::sync::Arc;

use super::chain::weight;
use super::coupling::FilterAxis;
use crate::graph::{Graph, NodeId, Uses, ValueId, tensor};
use crate::ops::{self, Dim, attribute, axes};
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
    let sizes: Option<Vec<usize>> = fact.shape.as_ref()?.iter().map(Dim::known).collect();
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

/// The sum of `f` over the weights of each filter of `source`; `None` where the weights are computed while the model runs.
///
/// Weights are read that are stored, filled with one number, or stored as integers with their scales.
#[must_use]
pub fn sums_of_filters(
    graph: &Graph,
    shapes: &Shapes,
    source: &FilterAxis,
    f: impl Fn(f64) -> f64,
) -> Option<Vec<f64>> {
    let value = source.weight.value;
    let dims: Vec<usize> = shapes.fact(value).shape.as_ref()?.iter().map(Dim::known).collect::<Option<_>>()?;
    // Weights may be filled in to a size that is only claimed; a zero must not hide the rest.
    dims.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)))?;
    let count = shapes.fact(source.output.value).shape.as_ref()?.get(source.output.axis)?.known()?;
    let weights = weights(graph, shapes, value)?;
    let node = graph.node(source.node);
    let groups = usize::try_from(attribute::int(node, "group", 1).ok()?).ok()?.max(1);
    let weights = match weights {
        Weights::Numbers(numbers) => numbers,
        // However many weights are claimed, those of a filter are one number.
        Weights::Filled(number, all) => return Some(vec![f(number) * (all / count.max(1)) as f64; count]),
    };
    let numbers = weights.iter().copied().map(f64::from);
    let mut sums = vec![0.0; count];
    if node.op_type() == "ConvTranspose" {
        // [C, F/groups, …]: filter (group, place) reads the channels of its group.
        let (group_channels, group_filters) = (dims.first()? / groups, *dims.get(1)?);
        let kernel: usize = dims[2..].iter().product();
        for (place, weight) in numbers.enumerate() {
            let (channel, filter) = (place / (group_filters * kernel), place / kernel % group_filters);
            *sums.get_mut(channel / group_channels * group_filters + filter)? += f(weight);
        }
        return Some(sums);
    }
    let inner: usize = dims[source.weight.axis + 1..].iter().product();
    for (place, weight) in numbers.enumerate() {
        sums[place / inner % count] += f(weight);
    }
    Some(sums)
}

enum Weights<'w> {
    /// As they are stored.
    Numbers(Cow<'w, [f32]>),
    /// One number, and how many there are of it.
    Filled(f64, usize),
}

fn weights<'w>(graph: &Graph, shapes: &'w Shapes, value: ValueId) -> Option<Weights<'w>> {
    if let Some(stored) = &shapes.fact(value).stored {
        return Some(Weights::Numbers(match tensor::to_f32(stored) {
            Ok(numbers) => numbers,
            Err(_) => Cow::Owned(tensor::numbers(stored)?),
        }));
    }
    let (id, node) = graph.nodes().find(|(_, node)| node.outputs().contains(&Some(value)))?;
    let call = shapes.call(graph, id);
    match node.op_type() {
        "ConstantOfShape" => {
            let count = axes::product(shapes.fact(value).shape.as_ref()?).known()?;
            Some(Weights::Filled((ops::rule(graph, node).ok()?.level)(&call, &[])?, count))
        }
        "DequantizeLinear" => Some(Weights::Numbers(Cow::Owned(ops::quantize::dequantized(&call)?))),
        _ => None,
    }
}

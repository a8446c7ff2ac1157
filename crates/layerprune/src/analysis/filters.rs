//! Filters: their stored numbers, and where what they do can be seen.

use std::borrow::Cow;
use std::sync::Arc;

use super::chain::weight;
use super::coupling::{FilterAxis, place_of, relations_of};
use crate::graph::{Graph, NodeId, Uses, ValueId, tensor};
use crate::ops::couple::Relation;
use crate::ops::{self, Dim, attribute, axes};
use crate::proto::TensorProto;
use crate::shapes::Shapes;

/// The filters of one weighted node, and where their behaviour shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSite {
    /// The node, and the axes of its weight and of its output that count filters.
    pub axis: FilterAxis,
    /// How many filters there are.
    pub count: usize,
    /// The batch norm that alone reads what the node gives.
    pub batch_norm: Option<NodeId>,
    /// What the batch norm gives, else the node with its bias: where a gate on each filter would stand.
    pub gate: ValueId,
    /// What the activation gives that alone reads the gate, else the gate: the feature maps.
    pub activation: ValueId,
}

impl FilterSite {
    /// The filters of node `id`; `None` where it is no weighted node with a stored weight.
    #[must_use]
    pub fn of_node(graph: &Graph, shapes: &Shapes, uses: &Uses, id: NodeId) -> Option<Self> {
        let (_, stored) = weight(graph, shapes, id)?;
        let node = graph.node(id);
        let axes = relations_of(graph, shapes, id).ok()?.into_iter().find_map(|relation| match relation {
            Relation::Filters { weight, output } => {
                let weight = place_of(node, weight).filter(|at| at.value == stored)?;
                Some((weight, place_of(node, output)?))
            }
            _ => None,
        });
        let (weight, output) = axes?;
        Self::of_axis(graph, shapes, uses, FilterAxis { node: id, weight, output })
    }

    /// The filters along `axis`; `None` where their number is not known.
    #[must_use]
    pub fn of_axis(graph: &Graph, shapes: &Shapes, uses: &Uses, axis: FilterAxis) -> Option<Self> {
        let count = shapes.fact(axis.output.value).shape.as_ref()?.get(axis.output.axis)?.known()?;
        let mut gate = axis.output.value;
        let only_reader = |value| match uses.consumers(value) {
            [reader] if !graph.is_output(value) && !shapes.barriers().contains_key(&reader.node) => Some(reader.node),
            _ => None,
        };
        if let Some(bias) = only_reader(gate).filter(|&reader| is_bias(graph, shapes, reader, gate)) {
            gate = graph.node(bias).output(0)?;
        }
        let norm = only_reader(gate).filter(|&reader| {
            let node = graph.node(reader);
            node.op_type() == "BatchNormalization" && node.input(0) == Some(gate) && axis.output.axis == 1
        });
        if let Some(norm) = norm {
            gate = graph.node(norm).output(0)?;
        }
        let is_activation = |node| ops::rule(graph, node).is_ok_and(|rule| rule.role == ops::Role::Activation);
        let activation = only_reader(gate).filter(|&reader| is_activation(graph.node(reader)));
        let activation = activation.and_then(|reader| graph.node(reader).output(0)).unwrap_or(gate);
        Some(Self { axis, count, batch_norm: norm, gate, activation })
    }

    /// The scale of the batch norm, where it is stored.
    #[must_use]
    pub fn norm_scale(&self, graph: &Graph, shapes: &Shapes) -> Option<Arc<TensorProto>> {
        shapes.fact(graph.node(self.batch_norm?).input(1)?).stored.clone()
    }

    /// Which filter each element of the weight, in its order, belongs to; `None` where the weight is of no known size.
    #[must_use]
    pub fn layout(&self, graph: &Graph, shapes: &Shapes) -> Option<FilterLayout> {
        let value = self.axis.weight.value;
        let dims: Vec<usize> = shapes.fact(value).shape.as_ref()?.iter().map(Dim::known).collect::<Option<_>>()?;
        // Weights may be filled in to a size that is only claimed; a zero must not hide the rest.
        dims.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)))?;
        let node = graph.node(self.axis.node);
        let inner = dims.get(self.axis.weight.axis + 1..)?.iter().product::<usize>().max(1);
        let elements = dims.iter().product();
        if node.op_type() != "ConvTranspose" {
            return Some(FilterLayout { count: self.count, elements, inner, group: None });
        }
        // [C, F/groups, …]: filter (group, place) reads the channels of its group.
        let groups = usize::try_from(attribute::int(node, "group", 1).ok()?).ok()?.max(1);
        let group = Some((dims[0] / groups, dims[1]));
        Some(FilterLayout { count: self.count, elements, inner, group })
    }

    /// The sum of `f` over the weights of each filter; `None` where the weights are computed while the model runs.
    ///
    /// Weights are read that are stored, filled with one number, or stored as integers with their scales.
    #[must_use]
    pub fn sums(&self, graph: &Graph, shapes: &Shapes, f: impl Fn(f64) -> f64) -> Option<Vec<f64>> {
        let layout = self.layout(graph, shapes)?;
        match weights(graph, shapes, self.axis.weight.value)? {
            Weights::Numbers(numbers) => layout.sums(numbers.iter().map(|&weight| f(f64::from(weight)))),
            // However many weights are claimed, those of a filter are one number.
            Weights::Filled(number, all) => Some(vec![f(number) * (all / self.count.max(1)) as f64; self.count]),
        }
    }

    /// The weights of each filter, in one order for all; `None` as of [`FilterSite::sums`], and where all are one number
    /// that is not stored.
    #[must_use]
    pub fn vectors(&self, graph: &Graph, shapes: &Shapes) -> Option<Vec<Vec<f32>>> {
        let layout = self.layout(graph, shapes)?;
        let Weights::Numbers(numbers) = weights(graph, shapes, self.axis.weight.value)? else { return None };
        let mut vectors = vec![Vec::new(); self.count];
        for (place, &weight) in numbers.iter().enumerate() {
            vectors.get_mut(layout.filter_of(place))?.push(weight);
        }
        Some(vectors)
    }
}

/// Which filter each element of a weight belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterLayout {
    count: usize,
    elements: usize,
    /// Elements behind the axis of the filters.
    inner: usize,
    /// Of a transposed convolution: channels and filters of a conv group.
    group: Option<(usize, usize)>,
}

impl FilterLayout {
    /// The filter of the element at `place`, counted row-major.
    #[must_use]
    pub fn filter_of(&self, place: usize) -> usize {
        match self.group {
            None => place / self.inner % self.count.max(1),
            Some((channels, filters)) => {
                let (channel, filter) = (place / (filters * self.inner).max(1), place / self.inner % filters.max(1));
                channel / channels.max(1) * filters + filter
            }
        }
    }

    /// How many weights each filter has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.elements / self.count.max(1)
    }

    /// The sum of `numbers`, one for each weight, over each filter; `None` where they are for more filters than there are.
    #[must_use]
    pub fn sums(&self, numbers: impl Iterator<Item = f64>) -> Option<Vec<f64>> {
        let mut sums = vec![0.0; self.count];
        for (place, number) in numbers.enumerate() {
            *sums.get_mut(self.filter_of(place))? += number;
        }
        Some(sums)
    }
}

/// Whether `id` adds a stored tensor to `value`.
fn is_bias(graph: &Graph, shapes: &Shapes, id: NodeId, value: ValueId) -> bool {
    let node = graph.node(id);
    let stored = |input: &Option<ValueId>| input.is_some_and(|input| shapes.fact(input).stored.is_some());
    let adds = node.op_type() == "Add" && node.domain().is_empty();
    adds && node.inputs().contains(&Some(value)) && node.inputs().iter().any(stored)
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

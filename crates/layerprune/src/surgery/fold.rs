//! Folds bridges into the convolution or batch norm beside them, where that changes nothing but rounding.

use super::bridge::Bridged;
use super::{SurgeryError, settings, shapes_like, sweep};
use crate::analysis::{Units, Way};
use crate::graph::{Graph, NodeId, Uses, ValueId, tensor};
use crate::onnx::Model;
use crate::ops::conv::{Conv, Padding};
use crate::shapes::Shapes;

/// A bridge that is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The unit that it stood for.
    pub unit: String,
    /// Label of the node that holds its numbers now.
    pub into: String,
}

/// Folds each of `bridges` into a neighbour where the model then computes the same with no more multiply-adds:
///
/// * into the convolution that alone reads it, `W₂·(W₁·x + b₁) + b₂ = (W₂·W₁)·x + (W₂·b₁ + b₂)`, where that has no padding:
///   it pads with zeros behind the bridge, and would pad with zeros before it, of which the bridge makes `b₁`;
/// * into the convolution whose output it alone reads, in the same way;
/// * a scale and shift also into the batch norm whose output it alone reads.
///
/// Bridges with a stride stay, and so do those beside values that something else reads.
///
/// # Errors
/// [`SurgeryError::Invalid`], a fault of this program.
pub fn fold(model: &Model, units: &Units, bridges: &[Bridged]) -> Result<(Model, Vec<Folded>), SurgeryError> {
    let mut graph = model.graph.clone();
    let (dead, unread) = (graph.dead_nodes(), graph.unread_initializers());
    let mut folded = Vec::new();
    for bridge in bridges.iter().filter(|bridge| bridge.place.strides == [1, 1]) {
        let shapes = shapes_like(&graph, units);
        let uses = graph.uses();
        let site = Site { graph: &graph, shapes: &shapes, uses: &uses, bridge };
        let Some(change) = site.behind().or_else(|| site.before()) else { continue };
        folded.push(Folded { unit: bridge.unit.clone(), into: graph.label(change.node) });
        carry_out(&mut graph, change);
        sweep(&mut graph, &dead, &unread);
        graph.validate().map_err(SurgeryError::Invalid)?;
    }
    Ok((model.with_graph(graph), folded))
}

/// New numbers for the inputs of a node, and what is read elsewhere from now on.
struct Change {
    node: NodeId,
    numbers: Vec<(usize, Vec<usize>, Vec<f32>)>,
    redirect: (ValueId, ValueId),
}

fn carry_out(graph: &mut Graph, change: Change) {
    for (position, dims, numbers) in change.numbers {
        settings::set_stored(graph, change.node, position, tensor::from_f32(&dims, &numbers));
    }
    graph.redirect(change.redirect.0, change.redirect.1);
}

struct Site<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    uses: &'a Uses,
    bridge: &'a Bridged,
}

/// A convolution's numbers: filters × channels of a conv group × kernel area, and the bias of each filter.
struct Kernel {
    dims: Vec<usize>,
    weight: Vec<f32>,
    bias: Vec<f64>,
    groups: usize,
    padded: bool,
}

impl Kernel {
    fn area(&self) -> usize {
        self.dims[2..].iter().product()
    }
}

impl Site<'_> {
    /// Into the convolution behind it.
    fn behind(&self) -> Option<Change> {
        let node = self.sole_reader(self.bridge.output)?;
        let own = self.kernel(self.bridge.node)?;
        let next = self.kernel(node).filter(|next| !next.padded)?;
        let (filters, read, area) = (next.dims[0], next.dims[1], next.area());
        let mut bias = next.bias.clone();
        let mut dims = next.dims.clone();
        let old =
            |filter: usize, channel: usize, at: usize| f64::from(next.weight[(filter * read + channel) * area + at]);
        let weight: Vec<f32> = if self.bridge.way == Way::ScaleShift {
            let first = |filter: usize| filter / (filters / next.groups) * read;
            let scaled = |place: usize| {
                let (filter, channel, at) = (place / area / read, place / area % read, place % area);
                (old(filter, channel, at) * f64::from(own.weight[first(filter) + channel])) as f32
            };
            for (filter, bias) in bias.iter_mut().enumerate() {
                let shift = |channel: usize| own.bias[first(filter) + channel];
                *bias += (0..read * area)
                    .map(|place| old(filter, place / area, place % area) * shift(place / area))
                    .sum::<f64>();
            }
            (0..next.weight.len()).map(scaled).collect()
        } else {
            let inputs = own.dims[1];
            if next.groups != 1 || inputs > read {
                return None;
            }
            dims[1] = inputs;
            for (filter, bias) in bias.iter_mut().enumerate() {
                *bias += (0..read * area)
                    .map(|place| old(filter, place / area, place % area) * own.bias[place / area])
                    .sum::<f64>();
            }
            let product = |place: usize| {
                let (filter, input, at) = (place / area / inputs, place / area % inputs, place % area);
                let through =
                    |channel: usize| old(filter, channel, at) * f64::from(own.weight[channel * inputs + input]);
                (0..read).map(through).sum::<f64>() as f32
            };
            (0..filters * inputs * area).map(product).collect()
        };
        let redirect = (self.bridge.output, self.bridge.entry(self.graph));
        Some(Change { node, numbers: vec![(1, dims, weight), (2, vec![filters], single(&bias))], redirect })
    }

    /// Into what gives its entry.
    fn before(&self) -> Option<Change> {
        let entry = self.bridge.entry(self.graph);
        (self.sole_reader(entry)? == self.bridge.node).then_some(())?;
        let node = self.uses.producer(entry)?;
        if self.shapes.barriers().contains_key(&node) {
            return None;
        }
        let own = self.kernel(self.bridge.node)?;
        let redirect = (self.bridge.output, entry);
        match self.graph.node(node).op_type() {
            "Conv" => {
                let last = self.kernel(node)?;
                let (middle, size) = (last.dims[0], last.dims[1] * last.area());
                let each = self.bridge.way == Way::ScaleShift;
                if !each && (last.groups != 1 || own.dims[0] > middle) {
                    return None;
                }
                let outputs = own.dims[0];
                // Of each output: which filters it is made of, and how much of each.
                let parts = |output: usize| -> Vec<(usize, f64)> {
                    let row = &own.weight[output * own.dims[1]..][..own.dims[1]];
                    let from = if each { output } else { 0 };
                    row.iter().enumerate().map(|(place, &share)| (from + place, f64::from(share))).collect()
                };
                let mut weight = Vec::with_capacity(outputs * size);
                let mut bias = Vec::with_capacity(outputs);
                for output in 0..outputs {
                    let parts = parts(output);
                    bias.push(
                        own.bias[output] + parts.iter().map(|&(filter, share)| share * last.bias[filter]).sum::<f64>(),
                    );
                    for at in 0..size {
                        let of = |&(filter, share): &(usize, f64)| share * f64::from(last.weight[filter * size + at]);
                        weight.push(parts.iter().map(of).sum::<f64>() as f32);
                    }
                }
                let dims = [&[outputs][..], &last.dims[1..]].concat();
                Some(Change { node, numbers: vec![(1, dims, weight), (2, vec![outputs], single(&bias))], redirect })
            }
            "BatchNormalization" if self.bridge.way == Way::ScaleShift => {
                let scale = self.stored(node, 1)?;
                let shift = self.stored(node, 2)?;
                let channels = own.bias.len();
                if [scale.len(), shift.len()] != [channels; 2]
                    || self.graph.node(node).outputs().iter().flatten().count() != 1
                {
                    return None;
                }
                let scaled = |number: f32, channel: usize| f64::from(number) * f64::from(own.weight[channel]);
                let scale: Vec<f64> =
                    scale.iter().enumerate().map(|(channel, &number)| scaled(number, channel)).collect();
                let shift =
                    shift.iter().enumerate().map(|(channel, &number)| scaled(number, channel) + own.bias[channel]);
                let shift: Vec<f64> = shift.collect();
                let numbers = vec![(1, vec![channels], single(&scale)), (2, vec![channels], single(&shift))];
                Some(Change { node, numbers, redirect })
            }
            _ => None,
        }
    }

    /// The only place that reads `value`, as its data.
    fn sole_reader(&self, value: ValueId) -> Option<NodeId> {
        match self.uses.consumers(value) {
            [reader] if reader.input == Some(0) && !self.graph.is_output(value) => Some(reader.node),
            _ => None,
        }
    }

    fn kernel(&self, id: NodeId) -> Option<Kernel> {
        if self.graph.node(id).op_type() != "Conv" || self.shapes.barriers().contains_key(&id) {
            return None;
        }
        let conv = Conv::read(&self.shapes.call(self.graph, id)).ok()?;
        let padded = match &conv.window.padding {
            Padding::Explicit(pads) => pads.iter().any(|&pads| pads != (0, 0)),
            _ => true,
        };
        let mut dims = vec![conv.filters, conv.group_channels];
        dims.extend(&conv.window.kernel);
        let weight = self.stored(id, 1)?;
        let bias = match self.graph.node(id).input(2) {
            Some(_) => self.stored(id, 2)?.into_iter().map(f64::from).collect(),
            None => vec![0.0; conv.filters],
        };
        let whole = weight.len() == dims.iter().product::<usize>() && bias.len() == conv.filters;
        whole.then_some(Kernel { dims, weight, bias, groups: conv.groups, padded })
    }

    /// The numbers of a `FLOAT` initializer that a node reads.
    fn stored(&self, id: NodeId, position: usize) -> Option<Vec<f32>> {
        let stored = self.graph.initializer(self.graph.node(id).input(position)?)?;
        let float = stored.data_type() == crate::proto::tensor_proto::DataType::Float as i32;
        float.then(|| tensor::to_f32(stored).ok().map(std::borrow::Cow::into_owned)).flatten()
    }
}

fn single(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&number| number as f32).collect()
}

//! Scales folded into the weights before them, where that changes nothing but rounding.

use super::super::{SurgeryError, settings, sweep};
use super::{Scale, ScaleOf, find_scales};
use crate::graph::{Graph, NodeId, Uses, ValueId, tensor};
use crate::onnx::Model;
use crate::ops::level::Level;
use crate::ops::{self, attribute};
use crate::proto::TensorProto;
use crate::shapes::{self, InputShapes, Shapes};

/// What became of a scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedScale {
    /// What it multiplied.
    pub of: ScaleOf,
    /// Name of the block or layer.
    pub name: String,
    /// Labels of the nodes that hold its numbers now, none where all were 1; or why it stays.
    pub into: Result<Vec<String>, String>,
}

/// A copy of `model` without its scales, each folded into the convolution, batch norm or linear layer before it.
///
/// `s · (W·x + b) = (s·W)·x + s·b`. An activation in between is passed where it commutes with the numbers: one that is
/// positively homogeneous (ReLU, leaky ReLU) with any that are not negative, one that leaves zero at zero (ReLU6, Hardswish,
/// tanh) with zeros and ones. A scale of ones goes wherever it stands. What cannot be folded stays, with the reason; so does a
/// scale that would make a weight greater than its type holds.
///
/// `given` are shapes of inputs that the file leaves open, as for [`Units::find`](crate::analysis::Units::find).
///
/// # Errors
/// [`SurgeryError::Shapes`] where `given` does not fit the model; [`SurgeryError::Invalid`], a fault of this program.
pub fn fold_scales(model: &Model, given: &InputShapes) -> Result<(Model, Vec<FoldedScale>), SurgeryError> {
    let mut graph = model.graph.clone();
    let (dead, unread) = (graph.dead_nodes(), graph.unread_initializers());
    let mut folded = Vec::new();
    for scale in find_scales(&graph) {
        // A scale before this one may have changed what it reads.
        let Some(scale) = find_scales(&graph).into_iter().find(|left| left.node == scale.node) else { continue };
        let shapes = shapes::infer(&graph, given).map_err(SurgeryError::Shapes)?;
        let into = changes(&graph, &shapes, &scale);
        let into = match into {
            Err(reason) => Err(reason),
            Ok(changes) => {
                let mut labels: Vec<String> = changes.iter().map(|change| graph.label(change.node)).collect();
                labels.dedup();
                for Change { node, position, tensor } in changes {
                    settings::set_stored(&mut graph, node, position, tensor);
                }
                graph.redirect(scale.output, scale.input);
                sweep(&mut graph, &dead, &unread);
                Ok(labels)
            }
        };
        folded.push(FoldedScale { of: scale.of, name: scale.name, into });
    }
    graph.validate().map_err(SurgeryError::Invalid)?;
    Ok((model.with_graph(graph), folded))
}

/// What is to be stored at an input of a node.
struct Change {
    node: NodeId,
    position: usize,
    tensor: TensorProto,
}

/// What must change so that the scale can go.
fn changes(graph: &Graph, shapes: &Shapes, scale: &Scale) -> Result<Vec<Change>, String> {
    if graph.is_output(scale.output) {
        return Err("what it gives is an output of the model".to_owned());
    }
    if scale.numbers.iter().all(|&number| number == 1.0) {
        return Ok(Vec::new());
    }
    let walk = Walk { graph, shapes, uses: &graph.uses(), numbers: &scale.numbers };
    let mut changes = Vec::new();
    let mut reader = scale.node;
    let mut value = scale.input;
    while let Some(next) = walk.pass(value, reader, &mut changes)? {
        (value, reader) = next;
    }
    Ok(changes)
}

/// The way from a scale back to the weights that can hold it.
struct Walk<'a> {
    graph: &'a Graph,
    shapes: &'a Shapes,
    uses: &'a Uses,
    numbers: &'a [f32],
}

impl Walk<'_> {
    /// Takes the scale from behind `value` into the node that makes it, or before that node: what is then to be scaled, and
    /// who reads it; `None` at the end.
    fn pass(
        &self,
        value: ValueId,
        reader: NodeId,
        changes: &mut Vec<Change>,
    ) -> Result<Option<(ValueId, NodeId)>, String> {
        let readers = self.uses.consumers(value);
        if self.graph.is_output(value) || readers.iter().any(|other| other.node != reader) {
            return Err(format!("`{}`, which it scales, is read elsewhere too", self.graph.value_name(value)));
        }
        let id = self.uses.producer(value).ok_or("it scales an input of the model")?;
        let node = self.graph.node(id);
        let label = || format!("`{}` ({})", self.graph.label(id), node.op_type());
        if self.shapes.barriers().contains_key(&id) || !node.domain().is_empty() {
            return Err(format!("{} before it cannot be followed", label()));
        }
        match node.op_type() {
            "BatchNormalization" => {
                changes.push(self.scaled(id, 1, Channel::Last)?);
                changes.push(self.scaled(id, 2, Channel::Last)?);
                Ok(None)
            }
            "Conv" => self.weight_and_bias(id, Channel::First, changes),
            "Gemm" => {
                let transposed = attribute::int(node, "transB", 0)? != 0;
                self.weight_and_bias(id, if transposed { Channel::First } else { Channel::Last }, changes)
            }
            "MatMul" => {
                changes.push(self.scaled(id, 1, Channel::Last)?);
                Ok(None)
            }
            "Add" => {
                let stored = |input: &Option<ValueId>| input.is_some_and(|input| self.graph.holds_initializer(input));
                let bias = node.inputs().iter().position(stored).ok_or_else(|| {
                    format!("{} before it adds up two values, a scale of which would have to be in both", label())
                })?;
                let other = node.input(1 - bias).ok_or_else(|| format!("{} adds nothing", label()))?;
                changes.push(self.scaled(id, bias, self.channel_of(node.input(bias), value))?);
                Ok(Some((other, id)))
            }
            _ if self.commutes(id) => {
                let input = node.input(0).ok_or_else(|| format!("{} reads nothing", label()))?;
                Ok(Some((input, id)))
            }
            _ => Err(format!("{} before it does not commute with it", label())),
        }
    }

    fn weight_and_bias(
        &self,
        id: NodeId,
        channel: Channel,
        changes: &mut Vec<Change>,
    ) -> Result<Option<(ValueId, NodeId)>, String> {
        changes.push(self.scaled(id, 1, channel)?);
        if self.graph.node(id).input(2).is_some() {
            changes.push(self.scaled(id, 2, Channel::Last)?);
        }
        Ok(None)
    }

    /// Whether scaling what the node reads is scaling what it gives.
    fn commutes(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let all = |good: fn(f32) -> bool| self.numbers.iter().all(|&number| good(number));
        if matches!(node.op_type(), "Relu" | "LeakyRelu") && all(|number| number >= 0.0) {
            return true;
        }
        let Ok(rule) = ops::rule(self.graph, node) else { return false };
        let mut levels = vec![Level::Whole(None); node.inputs().len()];
        levels[0] = Level::Own(Some(0.0));
        let zero_stays = (rule.level)(&self.shapes.call(self.graph, id), &levels) == Some(0.0);
        rule.role == ops::Role::Activation && zero_stays && all(|number| number == 0.0 || number == 1.0)
    }

    /// Where the channels of a stored summand lie: along the axis that axis 1 of `sum` is added to.
    fn channel_of(&self, summand: Option<ValueId>, sum: ValueId) -> Channel {
        let rank = |value: ValueId| self.shapes.fact(value).shape.as_ref().map(Vec::len);
        match (summand.and_then(rank), rank(sum)) {
            (Some(own), Some(whole)) if own + 1 >= whole && whole > 1 => Channel::Axis(own + 1 - whole),
            _ => Channel::None,
        }
    }

    /// A stored input with each number multiplied by that of its channel.
    fn scaled(&self, node: NodeId, position: usize, channel: Channel) -> Result<Change, String> {
        let what = || format!("input {position} of `{}`", self.graph.label(node));
        let stored = self.graph.node(node).input(position).and_then(|value| self.graph.initializer(value));
        let stored = stored.ok_or_else(|| format!("{} is not stored", what()))?;
        let numbers = tensor::to_f32(stored).map_err(|error| format!("{}: {error}", what()))?;
        let channel_of = self.channels(stored, channel).ok_or_else(|| format!("{} is of another size", what()))?;
        let scaled = |(place, &number): (usize, &f32)| {
            let factor = self.numbers[if self.numbers.len() == 1 { 0 } else { channel_of(place) }];
            (f64::from(number) * f64::from(factor)) as f32
        };
        let scaled: Vec<f32> = numbers.iter().enumerate().map(scaled).collect();
        let dims: Vec<usize> = stored.dims.iter().map(|&size| size as usize).collect();
        let tensor = tensor::with_f32(stored, &dims, &scaled).map_err(|error| format!("{}: {error}", what()))?;
        let kept = tensor::to_f32(&tensor).map_err(|error| format!("{}: {error}", what()))?;
        match numbers.iter().zip(kept.iter()).find(|(number, kept)| number.is_finite() && !kept.is_finite()) {
            None => Ok(Change { node, position, tensor }),
            Some((number, _)) => Err(format!("{} holds {number}, which its type cannot hold scaled", what())),
        }
    }

    /// The channel of each element of a stored tensor; `None` where there are not as many as the scale has numbers.
    fn channels(&self, stored: &TensorProto, channel: Channel) -> Option<impl Fn(usize) -> usize + use<>> {
        let dims: Vec<usize> = stored.dims.iter().map(|&size| size as usize).collect();
        let axis = match channel {
            Channel::First => 0,
            Channel::Last => dims.len().checked_sub(1)?,
            Channel::Axis(axis) => axis,
            Channel::None => usize::MAX,
        };
        let (size, inner) = match dims.get(axis) {
            Some(&size) => (size, dims[axis + 1..].iter().product()),
            None => (1, 1),
        };
        (self.numbers.len() == 1 || size == self.numbers.len()).then_some(move |place| place / inner % size)
    }
}

/// Which axis of a stored tensor counts channels.
#[derive(Debug, Clone, Copy)]
enum Channel {
    First,
    Last,
    Axis(usize),
    /// No axis, or it is not known.
    None,
}

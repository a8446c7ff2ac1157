//! The way from a layer's exit to the next weighted node of a plain chain.

use super::chain::{holds_weights, weight};
use super::flow::Flow;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::conv::{Conv, Window};
use crate::ops::linear::Gemm;
use crate::ops::pool::Pool;
use crate::ops::{Dim, Element, Role, attribute};
use crate::proto::tensor_proto::DataType;
use crate::shapes::Shapes;

/// The weighted node that alone reads a value, directly or through nodes that act on each channel by itself, and whose
/// weight can be stored anew for other input channels: a convolution of one conv group, or a Gemm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The node.
    pub node: NodeId,
    /// Its stored weight.
    pub weight: ValueId,
    /// Its stored bias, where it has one.
    pub bias: Option<ValueId>,
    /// Channels of the value that it reads.
    pub channels: usize,
    /// How many filters it has.
    pub filters: usize,
    /// Whether the resolution of what it reads may change by a stride: it is a convolution, or whole maps are pooled
    /// before it.
    pub takes_stride: bool,
}

/// What a node between a layer and the next weighted one does to the resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Keeps,
    /// A pool: its window, and whether a last window that does not fit whole is kept.
    Window(Window, bool),
    /// Pools whole maps.
    Whole,
    /// Puts all axes but the first into one.
    Flattens,
}

/// The nodes up to the next weighted one, and that.
pub(super) struct Path {
    pub(super) steps: Vec<(NodeId, Effect)>,
    pub(super) next: Next,
}

impl Path {
    /// Follows `value` to the next weighted node, or says why it cannot take other input channels.
    pub(super) fn behind(graph: &Graph, shapes: &Shapes, flow: &Flow, value: ValueId) -> Result<Self, String> {
        let mut value = value;
        let mut steps = Vec::new();
        loop {
            let reader = flow.sole_reader(graph, value).ok_or_else(|| not_alone(graph, flow, value))?;
            let label = graph.label(reader);
            if flow.is_barrier(reader) {
                return Err(format!("`{label}` behind it is a barrier"));
            }
            if flow.data_inputs(graph, reader) != [value] || graph.node(reader).input(0) != Some(value) {
                return Err(format!("`{label}` behind it reads more than its output"));
            }
            if holds_weights(graph, flow, reader) {
                let next = next(graph, shapes, reader, value, &steps)
                    .map_err(|reason| format!("the next layer, `{label}`, cannot take other channels: {reason}"))?;
                return Ok(Self { steps, next });
            }
            let effect = effect(graph, shapes, flow, reader).ok_or_else(|| {
                format!("`{label}` behind it, a {}, does not treat all channels alike", graph.node(reader).op_type())
            })?;
            steps.push((reader, effect));
            value = graph.node(reader).output(0).ok_or_else(|| format!("`{label}` behind it gives nothing"))?;
        }
    }
}

fn not_alone(graph: &Graph, flow: &Flow, value: ValueId) -> String {
    let name = graph.value_name(value);
    match flow.uses.consumers(value) {
        _ if graph.is_output(value) => format!("`{name}` behind it is a graph output"),
        [] => format!("nothing reads `{name}` behind it"),
        [reader] => format!("a subgraph of `{}` reads `{name}`", graph.label(reader.node)),
        readers => format!("{} nodes read `{name}` behind it", readers.len()),
    }
}

/// What the node does, where it acts on each channel by itself and has nothing stored for any.
pub(super) fn effect(graph: &Graph, shapes: &Shapes, flow: &Flow, id: NodeId) -> Option<Effect> {
    let node = graph.node(id);
    if node.outputs().iter().skip(1).any(Option::is_some) {
        return None;
    }
    match node.op_type() {
        "Dropout" | "Identity" => Some(Effect::Keeps),
        "PRelu" | "Softmax" | "LogSoftmax" => None,
        _ if flow.role(id) == Some(Role::Activation) => Some(Effect::Keeps),
        "MaxPool" | "AveragePool" | "LpPool" => {
            let pool = Pool::read(&shapes.call(graph, id)).ok()?;
            Some(Effect::Window(pool.window, pool.ceil))
        }
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => Some(Effect::Whole),
        "Flatten" => {
            let rank = shapes.fact(node.input(0)?).rank()?;
            (crate::ops::axes::axis(attribute::int(node, "axis", 1).ok()?, rank).ok()? == 1).then_some(Effect::Flattens)
        }
        "Reshape" => {
            let data = shapes.fact(node.input(0)?).shape.as_ref()?;
            let target = shapes.fact(node.input(1)?).content.as_ref()?;
            let copies = attribute::int(node, "allowzero", 0) == Ok(0);
            match target.as_slice() {
                [Element::Known(0), Element::Known(-1)] if copies => Some(Effect::Flattens),
                [Element::Known(batch), Element::Known(-1)] if *batch > 0 => {
                    (data.first()?.known()? as i64 == *batch).then_some(Effect::Flattens)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn next(
    graph: &Graph,
    shapes: &Shapes,
    id: NodeId,
    value: ValueId,
    steps: &[(NodeId, Effect)],
) -> Result<Next, String> {
    let call = shapes.call(graph, id);
    let node = graph.node(id);
    let pooled = steps.iter().any(|(_, effect)| *effect == Effect::Whole);
    let bias = node.input(2);
    let (channels, filters) = match node.op_type() {
        "Conv" => {
            let conv = Conv::read(&call)?;
            if conv.groups > 1 {
                return Err(format!("it has {} conv groups", conv.groups));
            }
            (conv.group_channels, conv.filters)
        }
        "Gemm" => {
            let settings = Gemm::read(&call)?;
            let sizes: Option<Vec<usize>> =
                call.shape(1)?.and_then(|dims| dims.iter().map(Dim::known).collect::<Option<Vec<_>>>());
            let (Some([rows, columns]), false) = (sizes.as_deref(), settings.trans_a) else {
                return Err("it does not multiply by a stored matrix from the right".to_owned());
            };
            let (features, filters) = if settings.trans_b { (*columns, *rows) } else { (*rows, *columns) };
            let flattened = steps.iter().find(|(_, effect)| *effect == Effect::Flattens);
            let before = flattened.and_then(|(id, _)| graph.node(*id).input(0)).unwrap_or(value);
            let channels = shapes.fact(before).shape.as_ref().and_then(|dims| dims.get(1)).and_then(Dim::known);
            let channels = channels.filter(|&channels| channels > 0 && features.is_multiple_of(channels));
            let channels = channels.ok_or("the number of channels before it is not known")?;
            if settings.beta == 0.0 {
                return Err("its `beta` is 0".to_owned());
            }
            if bias.is_some_and(|bias| shapes.fact(bias).shape.as_deref() != Some(&[Dim::Known(filters)])) {
                return Err("its bias has not one number for each filter".to_owned());
            }
            if bias.is_none() && call.opset < 11 {
                return Err("it has no bias".to_owned());
            }
            (channels, filters)
        }
        other => return Err(format!("it is a {other}")),
    };
    let (_, weight) =
        weight(graph, shapes, id).filter(|(position, _)| *position == 1).ok_or("its weight is not stored")?;
    for stored in std::iter::once(weight).chain(bias) {
        rewritable(graph, shapes, stored)?;
    }
    let takes_stride = pooled || node.op_type() == "Conv";
    Ok(Next { node: id, weight, bias, channels, filters, takes_stride })
}

/// Whether `value` is stored floating point, some of it, that no caller can replace.
pub(super) fn rewritable(graph: &Graph, shapes: &Shapes, value: ValueId) -> Result<(), String> {
    let (name, fact) = (graph.value_name(value), shapes.fact(value));
    if fact.stored.is_none() {
        return Err(format!("`{name}` is not stored"));
    }
    if fact.shape.iter().flatten().any(|dim| *dim == Dim::Known(0)) {
        return Err(format!("`{name}` holds no numbers"));
    }
    if graph.inputs().iter().any(|port| port.value == value) {
        return Err(format!("`{name}` is a graph input, which a caller may replace"));
    }
    let float = [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16];
    if !fact.data_type.is_some_and(|data_type| float.contains(&data_type)) {
        return Err(format!("`{name}` is not floating point"));
    }
    Ok(())
}

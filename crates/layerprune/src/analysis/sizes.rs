//! Where the sizes of axes are read as numbers: channels cannot go where their count is calculated with.

use std::collections::BTreeMap;

use super::coupling::{Pin, ValueAxis};
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::ops::{Fact, attribute, axes, slice};
use crate::proto::tensor_proto::DataType;
use crate::shapes::Shapes;

/// For each element of an integer value, the axes whose sizes it depends on.
type Origins = Vec<Vec<ValueAxis>>;

/// Pins of the axes in `followed` whose sizes are read by anything but a node that only sets sizes by them, of outputs that
/// lose what the axis does: `follows` says whether some output of a node does.
///
/// Elements are followed one by one through what picks and joins them, so that the batch size taken from a shape holds
/// nothing but itself.
pub(super) fn read_elsewhere(
    graph: &Graph,
    shapes: &Shapes,
    followed: &dyn Fn(ValueAxis) -> bool,
    follows: &dyn Fn(ValueAxis, NodeId) -> bool,
) -> Vec<Pin> {
    let mut origins: BTreeMap<ValueId, Origins> = BTreeMap::new();
    let mut pins = Vec::new();
    for (id, node) in graph.nodes() {
        let known = !shapes.barriers().contains_key(&id);
        if known && gives_size(node) {
            if let (Some(from), Some(to)) = (node.input(0), node.output(0)) {
                origins.insert(to, of_shape(graph, shapes, id, from, followed));
            }
            continue;
        }
        let read: Vec<(usize, &Origins)> = node
            .inputs()
            .iter()
            .enumerate()
            .filter_map(|(position, value)| Some((position, origins.get(&(*value)?)?)))
            .filter(|(_, origins)| origins.iter().any(|axes| !axes.is_empty()))
            .collect();
        if read.is_empty() {
            continue;
        }
        if known && let Some(found) = through(graph, shapes, id, &origins) {
            origins.extend(node.output(0).map(|to| (to, found)));
            continue;
        }
        for (position, origins) in read {
            let reason = format!("its size is calculated with, by `{}`", graph.label(id));
            let mut axes: Vec<ValueAxis> = origins.iter().flatten().copied().collect();
            axes.sort_unstable();
            axes.dedup();
            if known && sets_sizes(node.op_type(), position) {
                axes.retain(|&at| !follows(at, id));
            }
            pins.extend(axes.into_iter().map(|at| Pin { node: Some(id), at, reason: reason.clone() }));
        }
    }
    for port in graph.outputs() {
        for &at in origins.get(&port.value).into_iter().flatten().flatten() {
            pins.push(Pin { node: None, at, reason: "its size is a model output".to_owned() });
        }
    }
    pins
}

/// Whether the input at `position` says nothing but sizes, which follow a cut.
fn sets_sizes(op_type: &str, position: usize) -> bool {
    matches!(
        (op_type, position),
        ("Reshape" | "Expand" | "Tile" | "Split", 1)
            | ("ConstantOfShape", 0)
            | ("Slice", 1..=4)
            | ("Resize", 1..=3)
            | ("Pad", 1)
    )
}

fn of_shape(
    graph: &Graph,
    shapes: &Shapes,
    id: NodeId,
    from: ValueId,
    followed: &dyn Fn(ValueAxis) -> bool,
) -> Origins {
    let node = graph.node(id);
    let rank = shapes.fact(from).rank().unwrap_or(0);
    let own = |axis: usize| Some(ValueAxis { value: from, axis }).filter(|&at| followed(at));
    if node.op_type() == "Size" {
        return vec![(0..rank).filter_map(own).collect()];
    }
    let bound = |name: &str, default: i64| {
        let number = attribute::int(node, name, default).unwrap_or(default);
        (if number < 0 { number.saturating_add(rank as i64) } else { number }).clamp(0, rank as i64) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", i64::MAX));
    (start..end.max(start)).map(|axis| own(axis).into_iter().collect()).collect()
}

/// Tensors of sizes with more elements than this are not followed, and hold what they were made of: a tensor of sizes has as
/// many as a value has axes, or a few times that.
const MOST_ELEMENTS: usize = 64;

/// Origins of the output of a node that picks, joins or calculates with integers; `None` where it does something else.
fn through(graph: &Graph, shapes: &Shapes, id: NodeId, known: &BTreeMap<ValueId, Origins>) -> Option<Origins> {
    let node = graph.node(id);
    let output = shapes.fact(node.output(0)?);
    let count = |value: ValueId| axes::product(shapes.fact(value).shape.as_ref()?).known();
    let origins = |position: usize| -> Option<Origins> {
        let value = node.input(position)?;
        match known.get(&value) {
            Some(origins) => Some(origins.clone()),
            None => Some(vec![Vec::new(); count(value).filter(|&elements| elements <= MOST_ELEMENTS)?]),
        }
    };
    let mixed = |positions: usize| -> Option<Origins> {
        let mut all: Vec<ValueAxis> = (0..positions).filter_map(origins).flatten().flatten().collect();
        all.sort_unstable();
        all.dedup();
        if all.len() > MOST_ELEMENTS {
            return None;
        }
        let elements = count(node.output(0)?).unwrap_or(1).min(16 * MOST_ELEMENTS / all.len().max(16));
        Some(vec![all; elements])
    };
    match node.op_type() {
        "Identity" | "Squeeze" | "Unsqueeze" => origins(0),
        "Cast" if is_whole(output) => origins(0),
        "Reshape" if known.contains_key(&node.input(0)?) => origins(0),
        "Concat" => (0..node.inputs().len()).map(origins).try_fold(Vec::new(), |mut all, next| {
            all.extend(next?);
            (all.len() <= MOST_ELEMENTS).then_some(all)
        }),
        "Gather" if known.contains_key(&node.input(0)?) => {
            let from = origins(0)?;
            let picked = axes::numbers(shapes.fact(node.input(1)?))?;
            picked
                .iter()
                .map(|&index| {
                    let index = if index < 0 { index + from.len() as i64 } else { index };
                    from.get(usize::try_from(index).ok()?).cloned()
                })
                .collect()
        }
        "Slice" if known.contains_key(&node.input(0)?) => {
            let from = origins(0)?;
            let call = shapes.call(graph, id);
            let cuts = slice::cuts(&call, 1).ok()??;
            let [cut] = cuts.as_slice() else { return None };
            let (start, step, count) = cut.taken(from.len())?;
            (0..count as i64)
                .map(|place| from.get(usize::try_from(start as i64 + step * place).ok()?).cloned())
                .collect()
        }
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Mod" | "Where" | "ReduceProd" | "ReduceSum" | "Floor"
        | "Ceil"
            if is_whole(output) =>
        {
            mixed(node.inputs().len())
        }
        _ => None,
    }
}

fn is_whole(fact: &Fact) -> bool {
    matches!(fact.data_type, Some(DataType::Int64 | DataType::Int32))
}

/// Whether a node gives the size of what it reads, and nothing of its numbers.
pub(super) fn gives_size(node: &Node) -> bool {
    matches!(node.op_type(), "Shape" | "Size")
}

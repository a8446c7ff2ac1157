//! Chain layers that go by giving their input to the next layer: what that reads then, and who takes over the stride.

use std::collections::BTreeSet;

use super::flow::Flow;
use super::path::{Effect, Next, Path, effect, rewritable};
use super::{Unit, Way};
use crate::cost::Costs;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::conv::{Conv, Padding, Window};
use crate::ops::linear::Gemm;
use crate::ops::{Dim, Role};
use crate::shapes::Shapes;

/// How the layer behind a removed one of a plain chain comes to read the removed one's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrink {
    /// The layer behind, whose weight is composed with the linear part of the one that goes.
    pub next: Next,
    /// Channels that it reads then.
    pub channels: usize,
    /// Whether the linear part adds a constant, which becomes part of the next layer's bias.
    pub constant: bool,
    /// Nodes whose window changes so that the resolution behind stays what it was.
    pub windows: Vec<WindowChange>,
    /// A pool behind the layer that goes too, since the pool before the layer takes over its window.
    pub merged: Option<NodeId>,
}

/// A pool or a convolution that takes over a stride.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowChange {
    /// The node.
    pub node: NodeId,
    /// Its new kernel, where that changes.
    pub kernel: Option<Vec<usize>>,
    /// Its new strides.
    pub strides: Vec<usize>,
}

/// Multiply-adds beyond which weights are not composed: a minute or so.
const MOST_WORK: u128 = 1 << 36;

/// How the layer of `nodes` can be shrunk away, or why it cannot.
pub(super) fn find(graph: &Graph, shapes: &Shapes, flow: &Flow, nodes: &[NodeId]) -> Result<Shrink, String> {
    let (first, last) = (nodes[0], nodes[nodes.len() - 1]);
    let entry = flow.data_inputs(graph, first)[0];
    let exit = graph.node(last).output(0).ok_or("it gives nothing")?;
    let linear = linear(graph, shapes, flow, nodes)?;
    let path = Path::behind(graph, shapes, flow, exit)?;
    let (before, behind) = (shapes.fact(entry), shapes.fact(exit));
    if before.data_type.is_none() || before.data_type != behind.data_type || before.rank() != behind.rank() {
        return Err("it changes the element type or the number of axes".to_owned());
    }
    let dims = before.shape.as_deref().unwrap_or_default();
    let channels = dims.get(1).and_then(Dim::known).filter(|&channels| channels > 0);
    let channels = channels.ok_or("the number of channels before it is not known")?;
    let weight = shapes.fact(path.next.weight).shape.iter().flatten().filter_map(Dim::known);
    let work = weight.fold(channels as u128, |product, size| product.saturating_mul(size as u128));
    if work > MOST_WORK {
        return Err(format!("composing its weight with that of `{}` would take too long", graph.label(path.next.node)));
    }
    let sizes = dims.get(2..).unwrap_or_default().to_vec();
    let wanted = sizes_behind(graph, shapes, &path)?;
    let same = |a: &[Dim], b: &[Dim]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b));
    let fits = |sizes: &[Dim], path: &Path, window: Option<&Window>| {
        slide(sizes, path, window).is_ok_and(|found| same(&found, &wanted))
    };
    let keeps = behind.shape.as_ref().and_then(|dims| dims.get(2..)).is_some_and(|behind| same(&sizes, behind));
    let shrink = |windows: Vec<WindowChange>| Shrink {
        next: path.next,
        channels,
        constant: linear.constant,
        windows,
        merged: None,
    };
    let window = conv_window(graph, shapes, path.next.node);
    if keeps || fits(&sizes, &path, window.as_ref()) {
        let pool = pool_before(graph, shapes, flow, entry, true);
        return Ok(match (pool, path.steps.first()) {
            (Some(pool), Some((behind, Effect::Window(window, ceil)))) => {
                match merged(graph, &pool, *behind, window, *ceil) {
                    Some(change) => Shrink { merged: Some(*behind), ..shrink(vec![change]) },
                    None => shrink(Vec::new()),
                }
            }
            _ => shrink(Vec::new()),
        });
    }
    if linear.strides.iter().all(|&stride| stride == 1) {
        return Err("it changes the resolution, and not by a stride that another node could take over".to_owned());
    }
    if let Some(pool) = pool_before(graph, shapes, flow, entry, false) {
        let larger = strided(&pool.window, &linear.strides, true);
        if pool.output(&larger).is_some_and(|sizes| fits(&sizes, &path, window.as_ref())) {
            return Ok(shrink(vec![change(pool.node, &larger, true)]));
        }
    }
    let place = path.steps.iter().position(|(_, effect)| matches!(effect, Effect::Window(..)));
    if let Some((place, (pool, Effect::Window(old, ceil)))) = place.map(|place| (place, &path.steps[place])) {
        let larger = strided(old, &linear.strides, true);
        let mut steps = path.steps.clone();
        steps[place].1 = Effect::Window(larger.clone(), *ceil);
        if fits(&sizes, &Path { steps, next: path.next }, window.as_ref()) {
            return Ok(shrink(vec![change(*pool, &larger, true)]));
        }
    }
    if let Some(window) = window {
        let larger = strided(&window, &linear.strides, false);
        if fits(&sizes, &path, Some(&larger)) {
            return Ok(shrink(vec![change(path.next.node, &larger, false)]));
        }
    }
    Err(format!("no pool beside it nor the next layer, `{}`, can take over its stride", graph.label(path.next.node)))
}

/// The linear part of a layer: its weighted nodes and batch norms, without its activation.
struct Linear {
    /// Product of the strides, by spatial axis.
    strides: Vec<usize>,
    constant: bool,
}

fn linear(graph: &Graph, shapes: &Shapes, flow: &Flow, nodes: &[NodeId]) -> Result<Linear, String> {
    let mut linear = Linear { strides: Vec::new(), constant: false };
    for &id in nodes {
        let (node, call) = (graph.node(id), shapes.call(graph, id));
        let label = || graph.label(id);
        let stored: &[usize] = match node.op_type() {
            "Conv" => {
                let strides = Conv::read(&call)?.window.strides;
                linear.strides.resize(strides.len(), 1);
                linear.strides.iter_mut().zip(&strides).for_each(|(product, stride)| *product *= stride);
                linear.constant |= node.input(2).is_some();
                &[1, 2]
            }
            "Gemm" => {
                let settings = Gemm::read(&call)?;
                let added = node.input(2).and_then(|bias| shapes.fact(bias).rank());
                if settings.trans_a || added.is_some_and(|axes| axes != 1) {
                    return Err(format!("`{}` is no product with a stored matrix and a bias", label()));
                }
                linear.constant |= node.input(2).is_some();
                &[1, 2]
            }
            "BatchNormalization" => {
                linear.constant = true;
                &[1, 2, 3, 4]
            }
            _ if flow.role(id) == Some(Role::Activation) => &[],
            other => return Err(format!("`{}`, a {other}, has no fixed linear part", label())),
        };
        for value in stored.iter().filter_map(|&position| node.input(position)) {
            rewritable(graph, shapes, value)?;
        }
    }
    Ok(linear)
}

/// Resolution behind the next layer, or before it where all of it is read at once.
fn sizes_behind(graph: &Graph, shapes: &Shapes, path: &Path) -> Result<Vec<Dim>, String> {
    let flattens = path.steps.iter().find(|(_, effect)| *effect == Effect::Flattens);
    let value = match flattens {
        Some((id, _)) => graph.node(*id).input(0),
        None => graph.node(path.next.node).output(0),
    };
    let dims =
        value.and_then(|value| shapes.fact(value).shape.as_deref()).ok_or("the shapes behind it are not known")?;
    Ok(dims.get(2..).unwrap_or_default().to_vec())
}

/// The resolution that the path makes of `sizes`: behind the next layer's `window`, where it has one.
fn slide(sizes: &[Dim], path: &Path, window: Option<&Window>) -> Result<Vec<Dim>, String> {
    let over = |sizes: &[Dim], window: &Window, ceil: bool| {
        if window.kernel.len() != sizes.len() {
            return Err("the window has another number of axes".to_owned());
        }
        sizes.iter().enumerate().map(|(axis, size)| window.output(axis, size, ceil)).collect()
    };
    let mut sizes = sizes.to_vec();
    for (_, effect) in &path.steps {
        match effect {
            Effect::Keeps => {}
            Effect::Window(window, ceil) => sizes = over(&sizes, window, *ceil)?,
            Effect::Whole => sizes.fill(Dim::Known(1)),
            Effect::Flattens => return Ok(sizes),
        }
    }
    match window {
        Some(window) => over(&sizes, window, false),
        None => Ok(sizes),
    }
}

fn conv_window(graph: &Graph, shapes: &Shapes, id: NodeId) -> Option<Window> {
    (graph.node(id).op_type() == "Conv")
        .then(|| Conv::read(&shapes.call(graph, id)).ok())
        .flatten()
        .map(|conv| conv.window)
}

/// A pool whose output nothing but the layer reads.
struct PoolBefore {
    node: NodeId,
    window: Window,
    ceil: bool,
    input: Vec<Dim>,
}

impl PoolBefore {
    fn output(&self, window: &Window) -> Option<Vec<Dim>> {
        self.input.iter().enumerate().map(|(axis, size)| window.output(axis, size, self.ceil).ok()).collect()
    }
}

/// The pool that gives `entry`: at once where `directly`, else also through nodes that keep the resolution.
fn pool_before(graph: &Graph, shapes: &Shapes, flow: &Flow, entry: ValueId, directly: bool) -> Option<PoolBefore> {
    let mut value = entry;
    loop {
        flow.sole_reader(graph, value)?;
        let node = flow.uses.producer(value).filter(|&id| !flow.is_barrier(id))?;
        let input = graph.node(node).input(0)?;
        match effect(graph, shapes, flow, node)? {
            Effect::Window(window, ceil) => {
                let input = shapes.fact(input).shape.as_ref()?.get(2..)?.to_vec();
                return (window.kernel.len() == input.len()).then_some(PoolBefore { node, window, ceil, input });
            }
            Effect::Keeps if !directly => value = input,
            _ => return None,
        }
    }
}

/// The window of `pool` that does what it and the pool behind do one after the other; `None` where no window does.
fn merged(graph: &Graph, pool: &PoolBefore, behind: NodeId, window: &Window, ceil: bool) -> Option<WindowChange> {
    let tiles = |window: &Window| {
        let unpadded = matches!(&window.padding, Padding::Explicit(pads) if pads.iter().all(|&pads| pads == (0, 0)));
        unpadded && window.kernel == window.strides && window.dilations.iter().all(|&dilation| dilation == 1)
    };
    let op_type = graph.node(pool.node).op_type();
    let alike = op_type == graph.node(behind).op_type() && matches!(op_type, "MaxPool" | "AveragePool");
    let merges = alike && !pool.ceil && !ceil && tiles(&pool.window) && tiles(window);
    merges.then(|| change(pool.node, &strided(&pool.window, &window.strides, true), true))
}

/// `window` with its strides, and its kernel where asked, multiplied.
fn strided(window: &Window, factors: &[usize], kernel: bool) -> Window {
    let times =
        |sizes: &[usize]| sizes.iter().zip(factors).map(|(&size, &factor)| size.saturating_mul(factor)).collect();
    let kernel = if kernel { times(&window.kernel) } else { window.kernel.clone() };
    Window { kernel, strides: times(&window.strides), ..window.clone() }
}

fn change(node: NodeId, window: &Window, kernel: bool) -> WindowChange {
    WindowChange { node, kernel: kernel.then(|| window.kernel.clone()), strides: window.strides.clone() }
}

/// Takes the way back where the next layer would grow by more than goes: in multiply-adds, in parameters where those are
/// not known.
pub(super) fn keep_if_cheaper(unit: &mut Unit, costs: &Costs) {
    let Some(shrink) = &unit.shrink else { return };
    let scaled = |cost: u64| u128::from(cost) * shrink.channels as u128 / shrink.next.channels as u128;
    let next = costs.of(&BTreeSet::from([shrink.next.node]));
    let cheaper = match (unit.cost.macs, next.macs) {
        (Some(own), Some(next)) => scaled(next) < u128::from(own) + u128::from(next),
        _ => scaled(next.parameters) < u128::from(unit.cost.parameters) + u128::from(next.parameters),
    };
    if !cheaper {
        let reason = unit.reason.take().unwrap_or_default();
        unit.reason = Some(format!("{reason}; without it the next layer would cost more than it does"));
        unit.removals.retain(|removal| removal.way != Way::ShrinkChain);
        unit.shrink = None;
    }
}

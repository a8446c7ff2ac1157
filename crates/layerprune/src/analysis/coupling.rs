//! Positions that go together: a union-find over single indices of axes.
//!
//! Every operator's rule relates positions of its own inputs and outputs ([`crate::ops::couple`]); here the relations of all
//! nodes are put together. Only axes that can hold channels get positions: those that filters make or that weights add up
//! over, and all that are linked with them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::flow::Flow;
use super::pairing::{named_of_a, named_of_b, pairs};
use super::sizes;
use crate::graph::{Graph, Node, NodeId, ValueId, tensor};
use crate::ops::couple::{Axis, Coupler, End, Map, Relation};
use crate::ops::{self, Fact, Role};
use crate::shapes::Shapes;

/// One axis of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueAxis {
    /// The value.
    pub value: ValueId,
    /// The axis, counted from the front.
    pub axis: usize,
}

/// A position's number; positions of one axis are numbered in order.
pub(super) type Position = u32;

/// Axes of more indices than this are not followed.
const LARGEST_AXIS: usize = 1 << 20;
/// Positions that are followed in a model that stores nothing, and in any.
const POSITIONS: std::ops::Range<usize> = 1 << 20..1 << 26;
/// Positions that are followed for each stored byte: sizes that a file merely claims must not cost memory.
const POSITIONS_PER_BYTE: usize = 2;

/// Two axes with the map between them, and the node whose rule said so.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) node: NodeId,
    pub(super) a: ValueAxis,
    pub(super) b: ValueAxis,
    pub(super) map: Map,
}

/// Why no index of an axis can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The node at which it is held, where it is one.
    pub node: Option<NodeId>,
    /// The axis at which it is held.
    pub at: ValueAxis,
    /// Why.
    pub reason: String,
}

/// A node's filters: one axis of a weight, and the output channels they make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterAxis {
    /// The weighted node.
    pub node: NodeId,
    /// The axis of the weight.
    pub weight: ValueAxis,
    /// The axis of the output.
    pub output: ValueAxis,
}

/// Positions, what couples them, and what holds them.
#[derive(Debug, Clone)]
pub struct Coupling {
    /// First position and size of every axis that is followed.
    slots: BTreeMap<ValueAxis, (Position, usize)>,
    /// The axes in the order of their positions.
    starts: Vec<(Position, ValueAxis)>,
    parent: Vec<Position>,
    pins: BTreeMap<Position, usize>,
    reasons: Vec<Pin>,
    /// Single positions that are held, with the number of the reason.
    lone: BTreeMap<Position, usize>,
    /// How many of the reasons are those of single positions, which stand first.
    lone_reasons: usize,
    pub(super) edges: Vec<Edge>,
    pub(super) ties: Vec<(NodeId, ValueAxis, usize)>,
    sums: Vec<(NodeId, ValueAxis)>,
    filters: Vec<FilterAxis>,
}

impl Coupling {
    /// Relates all positions of `graph`.
    pub(super) fn of(graph: &Graph, shapes: &Shapes, flow: &Flow) -> Self {
        let relations = Relations::collect(graph, shapes, flow);
        let followed = relations.followed(shapes);
        let mut coupling = Self::with_slots(&followed, shapes, most_positions(graph));
        coupling.unite(&relations, &followed, shapes);
        coupling.pin(graph, shapes, &relations);
        coupling
    }

    fn with_slots(followed: &BTreeSet<ValueAxis>, shapes: &Shapes, most: usize) -> Self {
        let (mut slots, mut starts, mut next) = (BTreeMap::new(), Vec::new(), 0_usize);
        for &at in followed {
            let Some(size) = size(shapes, at).filter(|&size| size > 1 && next + size <= most) else {
                continue;
            };
            slots.insert(at, (next as Position, size));
            starts.push((next as Position, at));
            next += size;
        }
        Self {
            slots,
            starts,
            parent: (0..next as Position).collect(),
            pins: BTreeMap::new(),
            reasons: Vec::new(),
            lone: BTreeMap::new(),
            lone_reasons: 0,
            edges: Vec::new(),
            ties: Vec::new(),
            sums: Vec::new(),
            filters: Vec::new(),
        }
    }

    fn unite(&mut self, relations: &Relations, followed: &BTreeSet<ValueAxis>, shapes: &Shapes) {
        self.edges = relations.links.iter().filter(|edge| self.has(edge.a) && self.has(edge.b)).cloned().collect();
        for edge in &relations.links {
            self.hold_lone(edge, shapes);
        }
        for merge in &relations.merges {
            let mut inner = 1;
            for &(part, size) in merge.parts.iter().rev() {
                if followed.contains(&part) && self.has(part) && self.has(merge.whole) {
                    let map = Map::Part { inner, size };
                    self.edges.push(Edge { node: merge.node, a: part, b: merge.whole, map });
                }
                inner = inner.saturating_mul(size);
            }
        }
        for edge in self.edges.clone() {
            let ((a_start, a_size), (b_start, b_size)) = (self.slots[&edge.a], self.slots[&edge.b]);
            for (i, j) in pairs(&edge.map, a_size, b_size) {
                self.join(a_start + i as Position, b_start + j as Position);
            }
        }
        for &(node, at, size) in &relations.ties {
            if let Some(&(start, indices)) = self.slots.get(&at) {
                (size..indices)
                    .for_each(|index| self.join(start + index as Position, start + (index % size) as Position));
                self.ties.push((node, at, size));
            }
        }
        self.sums = relations.sums.iter().copied().filter(|(_, at)| self.has(*at)).collect();
        self.filters = relations.filters.iter().copied().filter(|filter| self.has(filter.output)).collect();
    }

    /// Holds indices that are one with the only index of another axis, or with one of an axis too large to be followed.
    fn hold_lone(&mut self, edge: &Edge, shapes: &Shapes) {
        let (slot, at, found) = match (self.slot(edge.a), self.slot(edge.b)) {
            (Some(slot), None) => (slot, edge.a, named_of_a(&edge.map, slot.1)),
            (None, Some(slot)) => (slot, edge.b, named_of_b(&edge.map, slot.1)),
            _ => return,
        };
        let other = if at == edge.a { edge.b } else { edge.a };
        let reason = match size(shapes, other) {
            Some(0 | 1) => "it is one with the only channel of another value".to_owned(),
            _ => "it is one with a channel of a value that has more than are followed".to_owned(),
        };
        let number = self.reasons.len();
        self.reasons.push(Pin { node: Some(edge.node), at, reason });
        self.lone.extend(found.into_iter().map(|index| (slot.0 + index as Position, number)));
    }

    fn pin(&mut self, graph: &Graph, shapes: &Shapes, relations: &Relations) {
        let mut pins = relations.pins.clone();
        for port in graph.fed_inputs() {
            pins.extend(self.all_of(port.value, None, "it is an axis of a model input"));
        }
        for port in graph.outputs() {
            pins.extend(self.all_of(port.value, None, "it is an axis of a model output"));
        }
        for (id, node) in graph.nodes() {
            for &value in node.captures() {
                pins.extend(self.all_of(value, Some(id), "a subgraph reads it"));
            }
        }
        for &at in self.slots.keys() {
            if let Some(reason) = unsliceable(shapes, at) {
                pins.push(Pin { node: None, at, reason });
            }
        }
        pins.extend(self.unsaid(graph, relations));
        let followed = |at: ValueAxis| self.has(at);
        let follows = |at: ValueAxis, node: NodeId| {
            let roots: BTreeSet<Position> = self.roots(at).collect();
            let outputs = graph.node(node).outputs().iter().flatten();
            outputs.flat_map(|&value| self.axes(value)).any(|out| self.roots(out).any(|root| roots.contains(&root)))
        };
        pins.extend(sizes::read_elsewhere(graph, shapes, &followed, &follows));
        for (position, number) in self.lone.clone() {
            let root = self.root(position);
            self.pins.entry(root).or_insert(number);
        }
        self.lone_reasons = self.reasons.len();
        for pin in pins {
            let Some(&(start, size)) = self.slots.get(&pin.at) else { continue };
            let number = self.reasons.len();
            self.reasons.push(pin);
            for position in start..start + size as Position {
                let root = self.root(position);
                self.pins.entry(root).or_insert(number);
            }
        }
    }

    fn all_of(&self, value: ValueId, node: Option<NodeId>, reason: &str) -> Vec<Pin> {
        self.axes(value).map(|at| Pin { node, at, reason: reason.to_owned() }).collect()
    }

    /// Axes that a node touches and whose rule says nothing of them.
    fn unsaid(&self, graph: &Graph, relations: &Relations) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (id, node) in graph.nodes() {
            for &value in node.inputs().iter().chain(node.outputs()).flatten() {
                for at in self.axes(value).filter(|&at| !relations.said.contains(&(id, at))) {
                    let reason = format!("`{}` is not known to keep its indices apart", node.op_type());
                    pins.push(Pin { node: Some(id), at, reason });
                }
            }
        }
        pins
    }

    fn roots(&self, at: ValueAxis) -> impl Iterator<Item = Position> + '_ {
        let (start, size) = self.slot(at).unwrap_or((0, 0));
        (start..start + size as Position).map(|position| self.root(position))
    }

    fn has(&self, at: ValueAxis) -> bool {
        self.slots.contains_key(&at)
    }

    /// The axes of `value` that are followed.
    pub fn axes(&self, value: ValueId) -> impl Iterator<Item = ValueAxis> + '_ {
        let range = ValueAxis { value, axis: 0 }..=ValueAxis { value, axis: usize::MAX };
        self.slots.range(range).map(|(at, _)| *at)
    }

    /// First position and size of an axis.
    pub(super) fn slot(&self, at: ValueAxis) -> Option<(Position, usize)> {
        self.slots.get(&at).copied()
    }

    /// Whether the position is one with the only index of an axis that is not followed.
    pub(super) fn is_lone(&self, position: Position) -> bool {
        self.lone.contains_key(&position)
    }

    /// All axes that are followed, with their sizes.
    pub fn followed(&self) -> impl Iterator<Item = (ValueAxis, usize)> + '_ {
        self.slots.iter().map(|(at, (_, size))| (*at, *size))
    }

    /// Axis and index of a position.
    pub(super) fn place(&self, position: Position) -> (ValueAxis, usize) {
        let at = self.starts.partition_point(|(start, _)| *start <= position) - 1;
        let (start, axis) = self.starts[at];
        (axis, (position - start) as usize)
    }

    pub(super) fn positions(&self) -> std::ops::Range<Position> {
        0..self.parent.len() as Position
    }

    /// Reads of nodes that add up over an axis.
    pub fn sums(&self) -> &[(NodeId, ValueAxis)] {
        &self.sums
    }

    /// Filters that make channels which are followed.
    pub fn filters(&self) -> &[FilterAxis] {
        &self.filters
    }

    /// Why the class of `root` is held, where it is.
    pub(super) fn pinned(&self, root: Position) -> Option<&Pin> {
        self.pins.get(&root).map(|&number| &self.reasons[number])
    }

    /// What holds the position itself, not what it is coupled with.
    pub(super) fn held_at(&self, position: Position) -> Option<&Pin> {
        let lone = self.lone.get(&position);
        let first_of_axes = self.lone_reasons;
        let (at, _) = self.place(position);
        let axis = || self.reasons[first_of_axes..].iter().find(|pin| pin.at == at);
        lone.map(|&number| &self.reasons[number]).or_else(axis)
    }

    /// The position that stands for all that go with `position`.
    pub(super) fn root(&self, mut position: Position) -> Position {
        while self.parent[position as usize] != position {
            position = self.parent[position as usize];
        }
        position
    }

    /// The lower root stands for both, so that results do not depend on the order of relations.
    fn join(&mut self, a: Position, b: Position) {
        let (a, b) = (self.shortened(a), self.shortened(b));
        let (low, high) = (a.min(b), a.max(b));
        self.parent[high as usize] = low;
    }

    fn shortened(&mut self, mut position: Position) -> Position {
        while self.parent[position as usize] != position {
            let above = self.parent[self.parent[position as usize] as usize];
            self.parent[position as usize] = above;
            position = above;
        }
        position
    }
}

/// How many positions are followed in all.
fn most_positions(graph: &Graph) -> usize {
    let stored = graph.initializers().iter().filter_map(|&value| graph.initializer(value));
    let bytes: usize = stored.filter_map(|stored| tensor::raw_length(stored)).sum();
    bytes.saturating_mul(POSITIONS_PER_BYTE).clamp(POSITIONS.start, POSITIONS.end)
}

fn size(shapes: &Shapes, at: ValueAxis) -> Option<usize> {
    shapes.fact(at.value).shape.as_ref()?.get(at.axis)?.known().filter(|&size| size <= LARGEST_AXIS)
}

/// Why a stored tensor cannot lose indices.
fn unsliceable(shapes: &Shapes, at: ValueAxis) -> Option<String> {
    let stored = shapes.fact(at.value).stored.as_ref()?;
    let bits = crate::graph::tensor::element_bits(stored.data_type());
    match bits {
        Some(bits) if bits % 8 == 0 => None,
        _ => Some("its elements are not whole bytes".to_owned()),
    }
}

/// What the rule of one node says, or why it says nothing.
pub(super) fn relations_of(graph: &Graph, shapes: &Shapes, id: NodeId) -> Result<Vec<Relation>, String> {
    let node = graph.node(id);
    if let Some(reason) = shapes.barriers().get(&id) {
        return Err(reason.clone());
    }
    let call = shapes.call(graph, id);
    let outputs: Vec<Option<&Fact>> =
        node.outputs().iter().map(|value| value.map(|value| shapes.fact(value))).collect();
    let mut coupler = Coupler::new(&call, &outputs);
    (ops::rule(graph, node)?.couple)(&mut coupler)?;
    Ok(coupler.into_relations())
}

/// The value that an axis of a node's input or output is one of.
pub(super) fn place_of(node: &Node, axis: Axis) -> Option<ValueAxis> {
    let value = match axis.end {
        End::Input(position) => node.input(position),
        End::Output(position) => node.output(position),
    };
    value.map(|value| ValueAxis { value, axis: axis.axis })
}

struct Merge {
    node: NodeId,
    whole: ValueAxis,
    parts: Vec<(ValueAxis, usize)>,
}

/// What the rules of all nodes say.
#[derive(Default)]
struct Relations {
    links: Vec<Edge>,
    merges: Vec<Merge>,
    ties: Vec<(NodeId, ValueAxis, usize)>,
    sums: Vec<(NodeId, ValueAxis)>,
    filters: Vec<FilterAxis>,
    pins: Vec<Pin>,
    /// Axes that hold channels, whatever they are linked with.
    seeds: BTreeSet<ValueAxis>,
    said: BTreeSet<(NodeId, ValueAxis)>,
}

impl Relations {
    fn collect(graph: &Graph, shapes: &Shapes, flow: &Flow) -> Self {
        let mut all = Self::default();
        for (id, _) in graph.nodes() {
            match relations_of(graph, shapes, id) {
                Ok(relations) => all.add(graph, flow, id, relations),
                Err(reason) => all.hold(shapes, graph, id, &reason),
            }
        }
        all
    }

    /// Holds every axis that the node touches.
    fn hold(&mut self, shapes: &Shapes, graph: &Graph, id: NodeId, reason: &str) {
        let node = graph.node(id);
        for &value in node.inputs().iter().chain(node.outputs()).flatten() {
            for axis in 0..shapes.fact(value).rank().unwrap_or(0) {
                let at = ValueAxis { value, axis };
                self.said.insert((id, at));
                self.pins.push(Pin { node: Some(id), at, reason: reason.to_owned() });
            }
        }
    }

    fn add(&mut self, graph: &Graph, flow: &Flow, id: NodeId, relations: Vec<Relation>) {
        let place = |axis: Axis| place_of(graph.node(id), axis);
        // The sum over two values that both depend on the input, as in attention, goes over positions of images as well.
        let weighted = flow.role(id) == Some(Role::Weighted) && super::chain::holds_weights(graph, flow, id);
        for relation in relations {
            let axes: Vec<Axis> = match &relation {
                Relation::Link { a, b, .. } => vec![*a, *b],
                Relation::Merge { whole, parts } => parts.iter().map(|(part, _)| *part).chain([*whole]).collect(),
                Relation::Filters { .. } => Vec::new(),
                Relation::Tie { at, .. } | Relation::Sum { at } | Relation::Own { at } | Relation::Pin { at, .. } => {
                    vec![*at]
                }
            };
            self.said.extend(axes.into_iter().filter_map(place).map(|at| (id, at)));
            match relation {
                Relation::Link { a, b, map } => {
                    if let (Some(a), Some(b)) = (place(a), place(b)) {
                        self.links.push(Edge { node: id, a, b, map });
                    }
                }
                Relation::Merge { whole, parts } => {
                    let parts = parts.into_iter().map(|(part, size)| Some((place(part)?, size))).collect();
                    if let (Some(whole), Some(parts)) = (place(whole), parts) {
                        self.merges.push(Merge { node: id, whole, parts });
                    }
                }
                Relation::Tie { at, size } => self.ties.extend(place(at).map(|at| (id, at, size))),
                Relation::Sum { at } => {
                    self.sums.extend(place(at).map(|at| (id, at)));
                    self.seeds.extend(place(at).filter(|_| weighted));
                }
                Relation::Filters { weight, output } => {
                    let is_weight = place(weight).is_some_and(|at| !flow.depends_on_input(at.value));
                    if let (true, Some(weight), Some(output)) = (weighted && is_weight, place(weight), place(output)) {
                        self.seeds.extend([weight, output]);
                        self.filters.push(FilterAxis { node: id, weight, output });
                    }
                }
                Relation::Own { .. } => {}
                Relation::Pin { at, reason } => {
                    self.pins.extend(place(at).map(|at| Pin { node: Some(id), at, reason }));
                }
            }
        }
    }

    /// The axes that can hold channels: the seeds, and all that are linked with them. Where an axis is rolled together
    /// from others and none of these is known to hold the channels, the innermost is taken that is no map: the last
    /// one with more than one index.
    fn followed(&self, shapes: &Shapes) -> BTreeSet<ValueAxis> {
        let mut neighbours: BTreeMap<ValueAxis, Vec<ValueAxis>> = BTreeMap::new();
        let counts = |at: ValueAxis| size(shapes, at).is_some_and(|size| size > 1);
        for edge in self.links.iter().filter(|edge| counts(edge.a) && counts(edge.b)) {
            neighbours.entry(edge.a).or_default().push(edge.b);
            neighbours.entry(edge.b).or_default().push(edge.a);
        }
        let mut whole_of: BTreeMap<ValueAxis, Vec<ValueAxis>> = BTreeMap::new();
        for merge in &self.merges {
            for &(part, _) in merge.parts.iter().filter(|(_, size)| *size > 1) {
                whole_of.entry(part).or_default().push(merge.whole);
            }
        }
        let mut followed = BTreeSet::new();
        let mut queue: VecDeque<ValueAxis> = self.seeds.iter().copied().filter(|&at| counts(at)).collect();
        loop {
            while let Some(at) = queue.pop_front() {
                if followed.insert(at) {
                    let next = neighbours.get(&at).into_iter().chain(whole_of.get(&at)).flatten();
                    queue.extend(next.copied().filter(|&next| counts(next)));
                }
            }
            let open = self.merges.iter().find(|merge| {
                followed.contains(&merge.whole)
                    && !merge.parts.iter().any(|(part, _)| followed.contains(part))
                    && merge.parts.iter().any(|(part, _)| counts(*part))
            });
            let Some(merge) = open else { return followed };
            queue.extend(merge.parts.iter().rev().map(|(part, _)| *part).find(|&part| counts(part)));
        }
    }
}

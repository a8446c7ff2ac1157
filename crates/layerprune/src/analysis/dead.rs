//! Channels that provably cannot change any output.
//!
//! A channel is dead where every node that adds up over it reads zeros there, or multiplies what it reads by zero: its
//! filter, bias and shift are zero and what lies between keeps zeros, or nothing reads it. The proof is of the stored
//! numbers, whatever the model's input is, as long as the values beside it are finite.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::channels::{Channel, Channels};
use super::coupling::{Edge, Position, ValueAxis};
use super::pairing::{paired_with_a, paired_with_b, pairs};
use crate::graph::{Graph, Node, NodeId, ValueId, tensor};
use crate::ops::level::{Level, Number};
use crate::ops::{self, Role, attribute};
use crate::shapes::Shapes;

impl Channels {
    /// Dead channels by group, those that must stay so that no axis is left empty excepted.
    #[must_use]
    pub fn dead(&self, graph: &Graph, shapes: &Shapes) -> Vec<(&str, Vec<&Channel>)> {
        let proof = Proof::of(self, graph, shapes);
        let dead = proof.dead();
        let of_group = |channels: &'_ [Channel]| -> Vec<usize> {
            (0..channels.len()).filter(|&place| dead.contains(&self.root_of(&channels[place]))).collect()
        };
        let rows = self.groups.iter().map(|group| {
            let found = of_group(&group.channels).into_iter().map(|place| &group.channels[place]).collect::<Vec<_>>();
            (group.name.as_str(), found)
        });
        rows.filter(|(_, found)| !found.is_empty()).collect()
    }
}

/// Everything that does not vary, and what reads what.
struct Proof<'a> {
    channels: &'a Channels,
    graph: &'a Graph,
    shapes: &'a Shapes,
    levels: Vec<Number>,
    /// Edges by the node that said them.
    edges: BTreeMap<NodeId, Vec<&'a Edge>>,
    /// Nodes that add up over an axis, by that axis.
    readers: BTreeMap<ValueAxis, Vec<NodeId>>,
}

impl<'a> Proof<'a> {
    fn of(channels: &'a Channels, graph: &'a Graph, shapes: &'a Shapes) -> Self {
        let coupling = &channels.coupling;
        let mut edges: BTreeMap<NodeId, Vec<&Edge>> = BTreeMap::new();
        for edge in &coupling.edges {
            edges.entry(edge.node).or_default().push(edge);
        }
        let mut readers: BTreeMap<ValueAxis, Vec<NodeId>> = BTreeMap::new();
        for &(node, at) in coupling.sums() {
            readers.entry(at).or_default().push(node);
        }
        let levels = vec![None; coupling.positions().len()];
        let mut proof = Self { channels, graph, shapes, levels, edges, readers };
        proof.read_stored();
        for (id, _) in graph.nodes() {
            proof.follow(id);
        }
        proof
    }

    /// Levels of stored tensors, index by index of every axis that is followed.
    fn read_stored(&mut self) {
        let values: BTreeSet<ValueId> = self.channels.coupling.followed().map(|(at, _)| at.value).collect();
        for value in values {
            let Some(stored) = &self.shapes.fact(value).stored else { continue };
            let (Some(numbers), Ok(dims)) = (tensor::numbers(stored), tensor::shape(stored)) else { continue };
            for at in self.channels.coupling.axes(value).collect::<Vec<_>>() {
                let Some((start, size)) = self.channels.coupling.slot(at) else { continue };
                if dims.get(at.axis) == Some(&size) {
                    let inner: usize = dims[at.axis + 1..].iter().product();
                    for (index, level) in uniform(&numbers, size, inner).into_iter().enumerate() {
                        self.levels[start as usize + index] = level;
                    }
                }
            }
        }
    }

    fn follow(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let Ok(rule) = ops::rule(self.graph, node) else { return };
        if self.shapes.barriers().contains_key(&id) {
            return;
        }
        let call = self.shapes.call(self.graph, id);
        let stored = |value: ValueId| self.shapes.fact(value).stored.is_some();
        let wholes: Vec<OnceCell<Number>> = vec![OnceCell::new(); node.inputs().len()];
        for &value in node.outputs().iter().flatten().filter(|&&value| !stored(value)) {
            for at in self.channels.coupling.axes(value).collect::<Vec<_>>() {
                let Some((start, size)) = self.channels.coupling.slot(at) else { continue };
                let sources = self.sources(id, at, size);
                let filters = self.channels.coupling.filters().iter();
                let filters = filters.copied().find(|filters| filters.node == id && filters.output == at);
                let reading = filters.and_then(|filters| self.reading(id, filters.weight));
                for (index, sources) in sources.iter().enumerate() {
                    let position = start + index as Position;
                    if self.channels.coupling.is_lone(position) {
                        continue;
                    }
                    self.levels[position as usize] = if rule.role == Role::Weighted {
                        let filter = filters.map(|filters| (filters.weight.value, index));
                        filter.and_then(|filter| self.weighted(id, filter, sources, &wholes, reading.as_ref()))
                    } else {
                        let levels: Vec<Level> =
                            (0..wholes.len()).map(|position| self.level(node, position, sources, &wholes)).collect();
                        (rule.level)(&call, &levels)
                    };
                }
            }
        }
    }

    /// For each index of an output axis, the positions of other values that the node's rule links with it.
    fn sources(&self, id: NodeId, at: ValueAxis, size: usize) -> Vec<Vec<(ValueId, Position)>> {
        let mut sources = vec![Vec::new(); size];
        for edge in self.edges.get(&id).into_iter().flatten() {
            let coupling = &self.channels.coupling;
            let (Some((a, a_size)), Some((b, b_size))) = (coupling.slot(edge.a), coupling.slot(edge.b)) else {
                continue;
            };
            for (i, j) in pairs(&edge.map, a_size, b_size) {
                if edge.a == at {
                    sources[i].push((edge.b.value, b + j as Position));
                } else if edge.b == at {
                    sources[j].push((edge.a.value, a + i as Position));
                }
            }
        }
        sources
    }

    /// The level of an input at the positions among `sources`; where none is of it, that of all of it, which is looked up
    /// once for each node.
    fn level(
        &self,
        node: &Node,
        position: usize,
        sources: &[(ValueId, Position)],
        wholes: &[OnceCell<Number>],
    ) -> Level {
        let Some(input) = node.input(position) else { return Level::Whole(None) };
        let mut own = sources.iter().filter(|(value, _)| *value == input).map(|&(_, at)| self.levels[at as usize]);
        match own.next() {
            Some(first) => Level::Own(first.filter(|&first| own.all(|other| other == Some(first)))),
            None => Level::Whole(*wholes[position].get_or_init(|| {
                let numbers = tensor::numbers(self.shapes.fact(input).stored.as_ref()?)?;
                uniform(&numbers, 1, numbers.len()).first().copied().flatten()
            })),
        }
    }

    /// A channel is its bias where its filter is zero, or where all that the filter multiplies by something else is.
    fn weighted(
        &self,
        id: NodeId,
        (weight, index): (ValueId, usize),
        sources: &[(ValueId, Position)],
        wholes: &[OnceCell<Number>],
        reading: Option<&Reading>,
    ) -> Number {
        let node = self.graph.node(id);
        let zero = |value: ValueId| {
            let mut own = sources.iter().filter(|(source, _)| *source == value).peekable();
            own.peek().is_some() && own.all(|&(_, at)| self.levels[at as usize] == Some(0.0))
        };
        let data = node.inputs().iter().flatten().find(|&&value| value != weight)?;
        if !zero(weight) && !zero(*data) && !reading.is_some_and(|reading| reading.only_zeros(index)) {
            return None;
        }
        let bias = match node.input(2) {
            None => return Some(0.0),
            Some(_) => match self.level(node, 2, sources, wholes) {
                Level::Own(level) => level?,
                // A bias of one number is spread over all channels only where it has one axis or none of more than 1.
                Level::Whole(level) => level?,
            },
        };
        let factor = if node.op_type() == "Gemm" { attribute::float(node, "beta", 1.0).ok()? } else { 1.0 };
        Some(bias * f64::from(factor))
    }

    /// The weights of a node and which of its inputs are zero; `None` where none is.
    fn reading(&self, id: NodeId, filters: ValueAxis) -> Option<Reading> {
        let (columns, start) = self.columns(id, filters)?;
        let (_, count) = self.channels.coupling.slot(columns)?;
        let zeros: Vec<bool> = (0..count).map(|c| self.levels[start as usize + c] == Some(0.0)).collect();
        let matrix = zeros.contains(&true).then(|| self.matrix(filters, columns)).flatten()?;
        Some(Reading { zeros, matrix })
    }

    /// The axis of the weight that the node adds up over, and the first position of the data axis it meets, where each of
    /// the one is the same of the other.
    fn columns(&self, id: NodeId, filters: ValueAxis) -> Option<(ValueAxis, Position)> {
        let of_weight = |at: ValueAxis| at.value == filters.value && at.axis != filters.axis;
        let node = self.graph.node(id);
        if attribute::int(node, "group", 1).ok()? != 1 {
            return None;
        }
        let edges = self.edges.get(&id)?;
        let edge = edges.iter().find(|edge| of_weight(edge.a) != of_weight(edge.b))?;
        let (weight, data) = if of_weight(edge.a) { (edge.a, edge.b) } else { (edge.b, edge.a) };
        Some((weight, self.channels.coupling.slot(data)?.0))
    }

    fn matrix(&self, filters: ValueAxis, columns: ValueAxis) -> Option<Matrix> {
        let stored = self.shapes.fact(filters.value).stored.as_ref()?;
        Matrix::of(&tensor::numbers(stored)?, &tensor::shape(stored).ok()?, filters.axis, columns.axis)
    }

    /// Roots of all dead classes.
    fn dead(&self) -> BTreeSet<Position> {
        let mut dead: BTreeSet<Position> = BTreeSet::new();
        let sources: BTreeSet<Position> = self
            .channels
            .groups
            .iter()
            .flat_map(|group| &group.channels)
            .map(|channel| self.channels.root_of(channel))
            .collect();
        loop {
            let ignored = self.dead_filters(&dead);
            let mut found: BTreeSet<Position> = self
                .channels
                .classes()
                .iter()
                .filter(|(root, _)| sources.contains(root) && !dead.contains(root))
                .filter(|(_, positions)| positions.iter().all(|&position| self.is_without_effect(position, &ignored)))
                .map(|(root, _)| *root)
                .collect();
            self.spare(&dead, &mut found);
            if found.is_empty() {
                return dead;
            }
            dead.extend(found);
        }
    }

    /// Columns of weights that only dead filters read with something else than zero, as positions.
    fn dead_filters(&self, dead: &BTreeSet<Position>) -> BTreeSet<Position> {
        let coupling = &self.channels.coupling;
        let mut unread = BTreeSet::new();
        if dead.is_empty() {
            return unread;
        }
        for filters in coupling.filters() {
            let Some((start, size)) = coupling.slot(filters.output) else { continue };
            let gone: Vec<bool> = (0..size).map(|f| dead.contains(&coupling.root(start + f as Position))).collect();
            let Some((columns, _)) = self.columns(filters.node, filters.weight).filter(|_| gone.contains(&true)) else {
                continue;
            };
            let (Some(matrix), Some((first, count))) = (self.matrix(filters.weight, columns), coupling.slot(columns))
            else {
                continue;
            };
            let mut read = vec![false; count];
            for filter in (0..size).filter(|&filter| !gone[filter]) {
                for (column, entry) in matrix.row(filter).enumerate() {
                    read[column] |= entry != Entry::Zero;
                }
            }
            unread.extend((0..count).filter(|&column| !read[column]).map(|column| first + column as Position));
        }
        unread
    }

    /// Whether no node that adds up over the position's axis gets anything from it.
    fn is_without_effect(&self, position: Position, unread: &BTreeSet<Position>) -> bool {
        let zero = |position: Position| self.levels[position as usize] == Some(0.0);
        if zero(position) {
            return true;
        }
        let (at, index) = self.channels.coupling.place(position);
        let readers = self.readers.get(&at).into_iter().flatten();
        readers.copied().all(|node| {
            let partners = self.partners(node, at, index);
            partners.iter().any(|&partner| zero(partner) || unread.contains(&partner))
        })
    }

    /// Positions of other inputs that `node` multiplies with this one.
    fn partners(&self, node: NodeId, at: ValueAxis, index: usize) -> Vec<Position> {
        let inputs = self.graph.node(node).inputs();
        let is_input = |at: ValueAxis| inputs.contains(&Some(at.value));
        let coupling = &self.channels.coupling;
        let mut partners = Vec::new();
        for edge in self.edges.get(&node).into_iter().flatten().filter(|edge| is_input(edge.a) && is_input(edge.b)) {
            let (Some((a, a_size)), Some((b, b_size))) = (coupling.slot(edge.a), coupling.slot(edge.b)) else {
                continue;
            };
            if edge.a == at {
                partners.extend(paired_with_a(&edge.map, index, b_size).into_iter().map(|j| b + j as Position));
            } else if edge.b == at {
                partners.extend(paired_with_b(&edge.map, index, a_size).into_iter().map(|i| a + i as Position));
            }
        }
        partners
    }

    /// Takes back what would leave an axis without any index.
    fn spare(&self, dead: &BTreeSet<Position>, found: &mut BTreeSet<Position>) {
        let coupling = &self.channels.coupling;
        for (at, _) in coupling.followed() {
            let Some((start, size)) = coupling.slot(at) else { continue };
            let roots = || (start..start + size as Position).map(|position| coupling.root(position));
            if roots().all(|root| dead.contains(&root) || found.contains(&root))
                && let Some(first) = roots().find(|root| found.contains(root))
            {
                found.remove(&first);
            }
        }
    }
}

/// For each index of an axis the one number that its slice holds; `None` where they differ.
fn uniform(numbers: &[f32], size: usize, inner: usize) -> Vec<Number> {
    let mut levels: Vec<Option<Number>> = vec![None; size];
    for (place, chunk) in numbers.chunks_exact(inner.max(1)).enumerate() {
        let level = &mut levels[place % size.max(1)];
        if *level == Some(None) {
            continue;
        }
        let first = level.flatten().unwrap_or_else(|| f64::from(chunk[0]));
        let same = first.is_finite() && chunk.iter().all(|&number| f64::from(number) == first);
        *level = Some(same.then_some(first));
    }
    levels.into_iter().map(Option::flatten).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Zero,
    NonZero,
    NotFinite,
}

/// What a weighted node reads.
struct Reading {
    zeros: Vec<bool>,
    matrix: Matrix,
}

impl Reading {
    /// Whether filter `index` has finite weights and its inputs are zero wherever these are not.
    fn only_zeros(&self, index: usize) -> bool {
        self.matrix.row(index).zip(&self.zeros).all(|(entry, &zero)| match entry {
            Entry::Zero => true,
            Entry::NonZero => zero,
            Entry::NotFinite => false,
        })
    }
}

/// For each filter and each column, whether any of the weights there is not zero.
struct Matrix {
    columns: usize,
    entries: Vec<Entry>,
}

impl Matrix {
    fn of(numbers: &[f32], dims: &[usize], filters: usize, columns: usize) -> Option<Self> {
        let (rows, count) = (*dims.get(filters)?, *dims.get(columns)?);
        // A size of zero elsewhere lets these claim anything.
        if rows * count > numbers.len() {
            return None;
        }
        let stride = |axis: usize| dims[axis + 1..].iter().product::<usize>().max(1);
        let (row_stride, column_stride) = (stride(filters), stride(columns));
        let mut entries = vec![Entry::Zero; rows * count];
        for (place, &number) in numbers.iter().enumerate().filter(|(_, number)| **number != 0.0) {
            let entry = &mut entries[place / row_stride % rows * count + place / column_stride % count];
            if !number.is_finite() {
                *entry = Entry::NotFinite;
            } else if *entry == Entry::Zero {
                *entry = Entry::NonZero;
            }
        }
        Some(Self { columns: count, entries })
    }

    fn row(&self, filter: usize) -> impl Iterator<Item = Entry> + '_ {
        self.entries[filter * self.columns..(filter + 1) * self.columns].iter().copied()
    }
}

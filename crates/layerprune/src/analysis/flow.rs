//! How data flows: what depends on the model's inputs, which node dominates which, what can be negative.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::sizes::gives_size;
use crate::graph::{Graph, NodeId, Uses, ValueId};
use crate::ops::{self, OpRule, Role};
use crate::shapes::Shapes;

/// Facts about the flow of data through a graph.
pub(super) struct Flow {
    pub(super) uses: Uses,
    position: BTreeMap<NodeId, usize>,
    /// Values computed from a model input, the inputs included; not from its size alone.
    flows: BTreeSet<ValueId>,
    /// The value that all data into a node passes through last, where there is one.
    gate: BTreeMap<NodeId, Option<ValueId>>,
    non_negative: BTreeSet<ValueId>,
    rules: BTreeMap<NodeId, &'static OpRule>,
}

impl Flow {
    pub(super) fn of(graph: &Graph, shapes: &Shapes) -> Self {
        let mut flow = Self {
            uses: graph.uses(),
            position: graph.nodes().enumerate().map(|(place, (id, _))| (id, place)).collect(),
            flows: graph.fed_inputs().map(|port| port.value).collect(),
            gate: BTreeMap::new(),
            non_negative: BTreeSet::new(),
            rules: BTreeMap::new(),
        };
        for (id, node) in graph.nodes() {
            if let Ok(rule) = ops::rule(graph, node)
                && !shapes.barriers().contains_key(&id)
            {
                flow.rules.insert(id, rule);
                let call = shapes.call(graph, id);
                if rule.never_negative(&call, |value| flow.non_negative.contains(&value)) {
                    flow.non_negative.extend(node.outputs().iter().flatten());
                }
            }
            let data: Vec<ValueId> = flow.data_inputs(graph, id);
            // The size of the input, which some exporters take the batch size of a later Reshape from, is none of its data.
            let is_size = gives_size(node) && !flow.is_barrier(id);
            let size_of_input = is_size && data.iter().all(|&value| flow.uses.producer(value).is_none());
            if !data.is_empty() && !size_of_input {
                let gate = flow.common(&data);
                flow.gate.insert(id, gate);
                flow.flows.extend(node.outputs().iter().flatten());
            }
        }
        flow
    }

    pub(super) fn position(&self, id: NodeId) -> usize {
        self.position[&id]
    }

    pub(super) fn role(&self, id: NodeId) -> Option<Role> {
        self.rules.get(&id).map(|rule| rule.role)
    }

    pub(super) fn is_barrier(&self, id: NodeId) -> bool {
        !self.rules.contains_key(&id)
    }

    pub(super) fn depends_on_input(&self, value: ValueId) -> bool {
        self.flows.contains(&value)
    }

    pub(super) fn is_non_negative(&self, value: ValueId) -> bool {
        self.non_negative.contains(&value)
    }

    /// Inputs of `id` that depend on the model's input, subgraph captures included, without repeats.
    pub(super) fn data_inputs(&self, graph: &Graph, id: NodeId) -> Vec<ValueId> {
        let node = graph.node(id);
        let values: BTreeSet<ValueId> = node.inputs().iter().flatten().chain(node.captures()).copied().collect();
        values.into_iter().filter(|value| self.flows.contains(value)).collect()
    }

    /// The last value through which all data into `id` passes.
    pub(super) fn gate(&self, id: NodeId) -> Option<ValueId> {
        self.gate.get(&id).copied().flatten()
    }

    pub(super) fn into_non_negative(self) -> BTreeSet<ValueId> {
        self.non_negative
    }

    /// Values that all data into some graph output passes through.
    pub(super) fn trunk(&self, graph: &Graph) -> BTreeSet<ValueId> {
        let mut trunk = BTreeSet::new();
        for port in graph.outputs() {
            let mut next = Some(port.value);
            while let Some(value) = next.filter(|&value| trunk.insert(value)) {
                next = self.uses.producer(value).and_then(|producer| self.gate(producer));
            }
        }
        trunk
    }

    /// Whether a subgraph reads `value`.
    pub(super) fn is_captured(&self, value: ValueId) -> bool {
        self.uses.consumers(value).iter().any(|reader| reader.input.is_none())
    }

    /// The only reader of `value`, where it has just one and is no graph output.
    pub(super) fn sole_reader(&self, graph: &Graph, value: ValueId) -> Option<NodeId> {
        match self.uses.consumers(value) {
            [reader] if reader.input.is_some() && !graph.is_output(value) => Some(reader.node),
            _ => None,
        }
    }

    /// Nodes on the way from `entry` to `value`: all that `value` depends on, back to `entry`. Nodes that compute
    /// constants are not on the way.
    pub(super) fn region(&self, graph: &Graph, value: ValueId, entry: ValueId) -> BTreeSet<NodeId> {
        let mut region = BTreeSet::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            if value == entry {
                continue;
            }
            if let Some(producer) = self.uses.producer(value)
                && region.insert(producer)
            {
                stack.extend(self.data_inputs(graph, producer));
            }
        }
        region
    }

    /// The nearest barrier that `value` depends on: why its shape is not known.
    pub(super) fn barrier_behind(&self, graph: &Graph, value: ValueId) -> Option<NodeId> {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([value]);
        while let Some(producer) = queue.pop_front().and_then(|value| self.uses.producer(value)) {
            if self.is_barrier(producer) {
                return Some(producer);
            }
            let inputs = graph.node(producer).inputs().iter().flatten();
            queue.extend(inputs.copied().filter(|&input| seen.insert(input) && self.uses.producer(input).is_some()));
        }
        None
    }

    /// The last value that every one of `values` comes through.
    fn common(&self, values: &[ValueId]) -> Option<ValueId> {
        let mut values = values.iter().copied();
        let mut common = values.next()?;
        for value in values {
            common = self.meet(common, value)?;
        }
        Some(common)
    }

    fn meet(&self, mut a: ValueId, mut b: ValueId) -> Option<ValueId> {
        while a != b {
            let place = |value| self.uses.producer(value).map(|producer| self.position[&producer]);
            // The later of the two steps back to the gate of its producer; an input has nowhere to step to.
            if place(a) > place(b) || (place(a) == place(b) && a > b) {
                a = self.gate(self.uses.producer(a)?)?;
            } else {
                b = self.gate(self.uses.producer(b)?)?;
            }
        }
        Some(a)
    }
}

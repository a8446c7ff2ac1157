//! Parameters and multiply-adds of a graph, counted node by node.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, NodeId, ValueId};
use crate::ops;
use crate::proto::tensor_proto::DataType;
use crate::shapes::{self, InputShapes, ShapeError, Shapes};

/// What a graph, or a part of one, costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Stored floating-point numbers that nodes read as weights; running statistics and settings are not counted.
    pub parameters: u64,
    /// Multiply-adds of one inference of one sample (1 MAC = 2 FLOPs), of convolutions and matrix products; `None`
    /// where a shape is not known or the node is a barrier.
    pub macs: Option<u64>,
}

impl Cost {
    /// The sum of both; MACs are absent where they are of either.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            parameters: self.parameters + other.parameters,
            macs: self.macs.zip(other.macs).and_then(|(a, b)| a.checked_add(b)),
        }
    }

    /// This without `other`; MACs are absent where they are of either.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            parameters: self.parameters.saturating_sub(other.parameters),
            macs: self.macs.zip(other.macs).map(|(a, b)| a.saturating_sub(b)),
        }
    }
}

/// A weighted node that gets a weight for other input channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// The node.
    pub node: NodeId,
    /// Its weight, whose size and multiply-adds go with the channels.
    pub weight: ValueId,
    /// Channels that it reads.
    pub before: usize,
    /// Channels that it reads then.
    pub after: usize,
    /// Numbers of a bias that it gets in place of what it has; 0 where its bias stays.
    pub bias: usize,
    /// Its bias as it is.
    pub old_bias: Option<ValueId>,
}

/// What stored values and nodes lose where channels go, apart from those that go as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    parameters: BTreeMap<ValueId, u64>,
    macs: BTreeMap<NodeId, u64>,
}

/// The cost of every node of a graph.
#[derive(Debug, Clone)]
pub struct Costs {
    macs: BTreeMap<NodeId, Option<u64>>,
    parameters: BTreeMap<ValueId, u64>,
    readers: BTreeMap<ValueId, Vec<NodeId>>,
}

impl Costs {
    /// Counts every node that a graph output needs.
    #[must_use]
    pub fn count(graph: &Graph, shapes: &Shapes) -> Self {
        let dead = graph.dead_nodes();
        let mut costs = Self { macs: BTreeMap::new(), parameters: BTreeMap::new(), readers: BTreeMap::new() };
        for (id, node) in graph.nodes().filter(|(id, _)| !dead.contains(id)) {
            let rule = ops::rule(graph, node).ok().filter(|_| !shapes.barriers().contains_key(&id));
            let call = shapes.call(graph, id);
            let outputs: Vec<_> =
                node.outputs().iter().map(|value| value.map(|v| shapes.fact(v).clone()).unwrap_or_default()).collect();
            costs.macs.insert(id, rule.and_then(|rule| (rule.macs)(&call, &outputs)));
            for (position, value) in node.inputs().iter().enumerate() {
                let Some(value) = *value else { continue };
                if rule.is_some_and(|rule| rule.not_parameters.contains(&position)) {
                    continue;
                }
                if let Some(elements) = stored_floats(shapes, value) {
                    costs.parameters.insert(value, elements);
                    costs.readers.entry(value).or_default().push(id);
                }
            }
        }
        costs
    }

    /// The cost of a whole graph whose inputs have the shapes that it or `given` says.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn total_of(graph: &Graph, given: &InputShapes) -> Result<Cost, ShapeError> {
        Ok(Self::count(graph, &shapes::infer(graph, given)?).total())
    }

    /// Stored values that count as parameters, with their numbers of elements.
    pub fn parameters(&self) -> impl Iterator<Item = (ValueId, u64)> {
        self.parameters.iter().map(|(value, elements)| (*value, *elements))
    }

    /// Multiply-adds of each node that does any, by its label in `graph`, which was counted; without those not known.
    #[must_use]
    pub fn macs_by_node(&self, graph: &Graph) -> BTreeMap<String, u64> {
        let known = self.macs.iter().filter_map(|(id, macs)| Some((graph.label(*id), macs.filter(|&macs| macs > 0)?)));
        known.collect()
    }

    /// The cost of the whole graph.
    #[must_use]
    pub fn total(&self) -> Cost {
        Cost {
            parameters: self.parameters.values().sum(),
            macs: self.macs.values().try_fold(0_u64, |sum, macs| sum.checked_add((*macs)?)),
        }
    }

    /// What goes with `nodes`: their multiply-adds, and the parameters that no other node reads.
    #[must_use]
    pub fn of(&self, nodes: &BTreeSet<NodeId>) -> Cost {
        let own = |value: &ValueId| self.readers[value].iter().all(|reader| nodes.contains(reader));
        Cost {
            parameters: self.parameters.iter().filter(|(value, _)| own(value)).map(|(_, elements)| elements).sum(),
            macs: nodes
                .iter()
                .filter_map(|id| self.macs.get(id))
                .try_fold(0_u64, |sum, macs| sum.checked_add((*macs)?)),
        }
    }

    /// What is lost from these costs to `after`, those of the same graph at smaller sizes.
    #[must_use]
    pub fn lost(&self, after: &Self) -> Lost {
        let left = |value: &ValueId| after.parameters.get(value).copied().unwrap_or(0);
        let parameters = self.parameters.iter().map(|(value, elements)| (*value, elements.saturating_sub(left(value))));
        let macs =
            self.macs.iter().filter_map(|(id, macs)| Some((*id, (*macs)?.saturating_sub((*after.macs.get(id)?)?))));
        Lost {
            parameters: parameters.filter(|(_, lost)| *lost > 0).collect(),
            macs: macs.filter(|(_, lost)| *lost > 0).collect(),
        }
    }

    /// What is lost by what stays where the nodes of `gone` go.
    #[must_use]
    pub fn lost_beside(&self, lost: &Lost, gone: &BTreeSet<NodeId>) -> Cost {
        let read = |value: &ValueId| self.readers[value].iter().any(|reader| !gone.contains(reader));
        Cost {
            parameters: lost.parameters.iter().filter(|(value, _)| read(value)).map(|(_, lost)| lost).sum(),
            macs: Some(lost.macs.iter().filter(|(id, _)| !gone.contains(id)).map(|(_, lost)| lost).sum()),
        }
    }

    /// The cost of the graph without the nodes of `gone` and with those of `resized` changed.
    #[must_use]
    pub fn after(&self, gone: &BTreeSet<NodeId>, resized: &[Resized]) -> Cost {
        let replaces = |reader: NodeId, value: ValueId| {
            let replaced = |it: &Resized| it.weight == value || (it.bias > 0 && it.old_bias == Some(value));
            resized.iter().any(|it| it.node == reader && replaced(it))
        };
        let read = |value: ValueId| {
            self.readers[&value].iter().any(|&reader| !gone.contains(&reader) && !replaces(reader, value))
        };
        let kept: u64 = self.parameters.iter().filter(|(value, _)| read(**value)).map(|(_, elements)| elements).sum();
        let scaled = |cost: u64, it: &Resized| cost / it.before as u64 * it.after as u64;
        let weight = |it: &Resized| self.parameters.get(&it.weight).map_or(0, |&elements| scaled(elements, it));
        let new: u64 = resized.iter().map(|it| weight(it) + it.bias as u64).sum();
        let macs = |(id, macs): (&NodeId, &Option<u64>)| match resized.iter().find(|it| it.node == *id) {
            Some(it) => macs.map(|macs| scaled(macs, it)),
            None => *macs,
        };
        let mut left = self.macs.iter().filter(|(id, _)| !gone.contains(id)).map(macs);
        Cost { parameters: kept + new, macs: left.try_fold(0_u64, |sum, macs| sum.checked_add(macs?)) }
    }
}

fn stored_floats(shapes: &Shapes, value: ValueId) -> Option<u64> {
    let fact = shapes.fact(value);
    fact.stored.as_ref()?;
    let float =
        matches!(fact.data_type, Some(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double));
    let sizes = fact.shape.as_ref()?.iter().map(|dim| dim.known().map(|size| size as u64));
    float.then(|| sizes.product()).flatten()
}

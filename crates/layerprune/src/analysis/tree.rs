//! Units in one another: layers in blocks, blocks in blocks, all of them in stages.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Kind, Outside, Unit, UnitRow, Units};
use crate::cost::Cost;
use crate::graph::{Graph, NodeId};
use crate::onnx::ModelDigest;

/// Version of the JSON form of [`UnitTree`].
pub const TREE_SCHEMA: u32 = 1;

/// All units of a model, each with those that lie in it, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitTree {
    /// Version of this form.
    pub schema: u32,
    /// The model.
    pub model: ModelDigest,
    /// Cost of the whole model.
    pub total: Cost,
    /// Units that lie in no other, in forward order.
    pub units: Vec<TreeRow>,
    /// Weighted nodes in no unit, with the reason.
    pub outside: Vec<Outside>,
    /// Nodes that no rule can follow.
    pub barriers: Vec<Outside>,
}

/// A unit with those that lie in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeRow {
    /// The unit.
    #[serde(flatten)]
    pub unit: UnitRow,
    /// Whether it is one of those that are scored and chosen among by number.
    pub scored: bool,
    /// The largest units that lie in it, in forward order.
    pub children: Vec<TreeRow>,
}

impl Units {
    /// The tree of all units: what `inspect --tree --format json` prints.
    #[must_use]
    pub fn tree(&self, graph: &Graph) -> UnitTree {
        let table = self.rows(graph);
        let mut all: Vec<(&Unit, BTreeSet<NodeId>)> =
            self.all().map(|unit| (unit, unit.nodes.iter().copied().collect())).collect();
        let outer_first = |(unit, nodes): &(&Unit, BTreeSet<NodeId>)| {
            (std::cmp::Reverse(nodes.len()), rank(unit.kind), unit.position)
        };
        all.sort_by_key(outer_first);
        // The nearest that holds it is the last of the larger ones that do.
        let holds = |outer: usize, inner: usize| all[inner].1.is_subset(&all[outer].1);
        let parents: Vec<Option<usize>> =
            (0..all.len()).map(|inner| (0..inner).rev().find(|&outer| holds(outer, inner))).collect();
        let units = self.below(graph, &all, &parents, None);
        UnitTree {
            schema: TREE_SCHEMA,
            model: table.model,
            total: table.total,
            units,
            outside: table.outside,
            barriers: table.barriers,
        }
    }

    fn below(
        &self,
        graph: &Graph,
        all: &[(&Unit, BTreeSet<NodeId>)],
        parents: &[Option<usize>],
        parent: Option<usize>,
    ) -> Vec<TreeRow> {
        let mut children: Vec<usize> = (0..all.len()).filter(|&child| parents[child] == parent).collect();
        children.sort_by_key(|&child| all[child].0.position);
        let row = |child: usize| TreeRow {
            unit: UnitRow::of(graph, all[child].0),
            scored: self.units.iter().any(|unit| unit.name == all[child].0.name),
            children: self.below(graph, all, parents, Some(child)),
        };
        children.into_iter().map(row).collect()
    }
}

/// Which of two units of the same nodes is the outer one.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Stage => 0,
        Kind::Block => 1,
        Kind::DenseLayer => 2,
        Kind::Layer => 3,
    }
}

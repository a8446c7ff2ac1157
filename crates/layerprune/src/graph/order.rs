use std::collections::BTreeSet;

use super::{Graph, NodeId, ValueId};

impl Graph {
    /// Nodes that nothing needs: no path from them reaches a graph output.
    #[must_use]
    pub fn dead_nodes(&self) -> BTreeSet<NodeId> {
        let mut live = vec![false; self.value_capacity()];
        for port in &self.outputs {
            live[port.value.index()] = true;
        }
        let mut dead = BTreeSet::new();
        for (id, node) in self.nodes().rev() {
            if node.outputs.iter().flatten().any(|value| live[value.index()]) {
                for value in node.inputs.iter().flatten().chain(&node.captures) {
                    live[value.index()] = true;
                }
            } else {
                dead.insert(id);
            }
        }
        dead
    }

    /// Initializers that no node reads and that are no graph output.
    #[must_use]
    pub fn unread_initializers(&self) -> BTreeSet<ValueId> {
        let uses = self.uses();
        self.initializers
            .iter()
            .copied()
            .filter(|&value| uses.consumers(value).is_empty() && !self.is_output(value))
            .collect()
    }
}

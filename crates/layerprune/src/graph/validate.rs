use std::collections::HashSet;

use super::{Graph, ValueId};

/// A fault of a graph, with the node or value it was found at.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphError {
    /// A node or output reads a name that nothing defines.
    #[error("{reader} reads `{value}`, which nothing produces")]
    Dangling {
        /// The reading node or `graph output`.
        reader: String,
        /// The missing value.
        value: String,
    },
    /// Two nodes, inputs or initializers define one name.
    #[error("`{value}` is produced twice: by {first} and by {second}")]
    ProducedTwice {
        /// The name.
        value: String,
        /// What defines it first.
        first: String,
        /// What defines it again.
        second: String,
    },
    /// Nodes feed each other in a circle.
    #[error("the graph has a cycle through node `{node}` (value `{value}`)")]
    Cycle {
        /// A node on the cycle.
        node: String,
        /// The value it reads of a node that depends on it.
        value: String,
    },
    /// A node stands before one that it reads.
    #[error(
        "node `{node}` reads `{value}` before node `{producer}` produces it: the nodes are not in topological order"
    )]
    Unsorted {
        /// The reading node.
        node: String,
        /// The value read.
        value: String,
        /// The node that comes too late.
        producer: String,
    },
}

impl Graph {
    /// Checks that every value read is produced once, before it is read.
    ///
    /// # Errors
    /// The first fault, naming node and value.
    pub fn validate(&self) -> Result<(), GraphError> {
        let uses = self.uses();
        let mut known = self.given()?;
        let given = known.clone();
        for (id, node) in self.nodes() {
            for &value in node.inputs.iter().flatten().chain(&node.captures) {
                if known.contains(&value) {
                    continue;
                }
                let value_name = self.value_name(value).to_owned();
                return Err(match uses.producer(value) {
                    None => GraphError::Dangling { reader: format!("node `{}`", self.label(id)), value: value_name },
                    Some(producer) if self.reaches(id, producer, &uses) => {
                        GraphError::Cycle { node: self.label(id), value: value_name }
                    }
                    Some(producer) => {
                        GraphError::Unsorted { node: self.label(id), value: value_name, producer: self.label(producer) }
                    }
                });
            }
            for &value in node.outputs.iter().flatten() {
                if !known.insert(value) {
                    let first =
                        self.nodes().find(|(_, node)| node.outputs.contains(&Some(value))).map(|(first, _)| first);
                    let first = match first.filter(|_| !given.contains(&value)) {
                        Some(first) => format!("node `{}`", self.label(first)),
                        None => "a graph input or initializer".to_owned(),
                    };
                    return Err(GraphError::ProducedTwice {
                        value: self.value_name(value).to_owned(),
                        first,
                        second: format!("node `{}`", self.label(id)),
                    });
                }
            }
        }
        for port in &self.outputs {
            if !known.contains(&port.value) {
                let value = self.value_name(port.value).to_owned();
                return Err(GraphError::Dangling { reader: "graph output".to_owned(), value });
            }
        }
        Ok(())
    }

    /// Values that are there before the first node runs. An input may have an initializer, its default.
    fn given(&self) -> Result<HashSet<ValueId>, GraphError> {
        let twice = |value, what: &str| GraphError::ProducedTwice {
            value: self.value_name(value).to_owned(),
            first: format!("{} {what}", if what.starts_with('i') { "an" } else { "a" }),
            second: format!("another {what}"),
        };
        let mut inputs = HashSet::new();
        for port in &self.inputs {
            if !inputs.insert(port.value) {
                return Err(twice(port.value, "graph input"));
            }
        }
        let mut stored: HashSet<ValueId> = self.initializers.iter().copied().collect();
        for value in self.sparse_initializer_names().filter_map(|name| self.value_named(name)) {
            if !stored.insert(value) {
                return Err(twice(value, "initializer"));
            }
        }
        stored.extend(inputs);
        Ok(stored)
    }

    pub(crate) fn sparse_initializer_names(&self) -> impl Iterator<Item = &str> {
        self.rest.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref().map(|values| values.name()))
    }

    fn reaches(&self, from: super::NodeId, to: super::NodeId, uses: &super::Uses) -> bool {
        let mut seen = HashSet::from([from]);
        let mut stack = vec![from];
        while let Some(node) = stack.pop() {
            if node == to {
                return true;
            }
            let outputs = self.node(node).outputs.iter().flatten();
            let readers = outputs.flat_map(|&value| uses.consumers(value)).map(|reader| reader.node);
            stack.extend(readers.filter(|&reader| seen.insert(reader)));
        }
        false
    }
}

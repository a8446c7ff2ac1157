use super::{Graph, NodeId, ValueId};

/// Where a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The reading node.
    pub node: NodeId,
    /// The input position, `None` where a subgraph of the node reads the value.
    pub input: Option<usize>,
}

/// Producers and consumers of every value, as of the graph they were taken from.
#[derive(Debug, Clone)]
pub struct Uses {
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<Use>>,
}

impl Uses {
    pub(super) fn new(graph: &Graph) -> Self {
        let mut producers = vec![None; graph.value_capacity()];
        let mut consumers = vec![Vec::new(); graph.value_capacity()];
        for (id, node) in graph.nodes() {
            for &value in node.outputs.iter().flatten() {
                producers[value.index()] = Some(id);
            }
            for (position, value) in node.inputs.iter().enumerate() {
                if let Some(value) = value {
                    consumers[value.index()].push(Use { node: id, input: Some(position) });
                }
            }
            for &value in &node.captures {
                consumers[value.index()].push(Use { node: id, input: None });
            }
        }
        Self { producers, consumers }
    }

    /// The node that computes `value`; `None` for inputs and initializers.
    #[must_use]
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.producers[value.index()]
    }

    /// The places that read `value`, in node order.
    #[must_use]
    pub fn consumers(&self, value: ValueId) -> &[Use] {
        &self.consumers[value.index()]
    }
}

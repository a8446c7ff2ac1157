//! Bridges: what a fitted 1x1 convolution, or a scale and shift of each channel, can stand in place of.

use std::collections::BTreeSet;

use super::flow::Flow;
use super::{Removal, Way};
use crate::cost::Cost;
use crate::graph::{Graph, NodeId, ValueId};
use crate::ops::{Dim, Fact, Role, elements_per_sample};
use crate::proto::tensor_proto::DataType;
use crate::shapes::Shapes;

/// Weights of a bridge, at most: fitting takes some sixteen bytes for each.
const LARGEST: usize = 1 << 26;

/// Where a unit can be replaced by a 1x1 convolution without padding: from its entry to the value before its own last
/// activation, which stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The value that loses its readers, and that the convolution is fitted to: the sum of a block.
    pub from: ValueId,
    /// The value that the convolution reads: the unit's entry.
    pub to: ValueId,
    /// Channels of `to`.
    pub inputs: usize,
    /// Channels of `from`.
    pub outputs: usize,
    /// Strides along height and width, which turn the map of `to` into that of `from`.
    pub strides: [usize; 2],
    /// Numbers in one channel of `from`, for one sample.
    pub positions: u64,
    /// Nodes that go.
    pub gone: BTreeSet<NodeId>,
}

impl Bridge {
    /// The bridge of kind `way` as a removal: all that reads `from` reads what the convolution gives.
    ///
    /// # Errors
    /// Why there is none.
    pub fn removal(&self, way: Way) -> Result<Removal, String> {
        match way {
            Way::ScaleShift if self.inputs != self.outputs => Err(format!(
                "a scale and shift of each channel keeps their number, and it turns {} into {}",
                self.inputs, self.outputs
            )),
            Way::Bridge | Way::ScaleShift => {
                Ok(Removal { way, from: self.from, to: self.to, relu: None, exact: false })
            }
            _ => Err("it is another way of removing it".to_owned()),
        }
    }

    /// Conv groups of the convolution: one for each channel where it only scales and shifts.
    #[must_use]
    pub fn groups(&self, way: Way) -> usize {
        if way == Way::ScaleShift { self.inputs } else { 1 }
    }

    /// What the convolution costs.
    #[must_use]
    pub fn cost(&self, way: Way) -> Cost {
        let read = (self.inputs / self.groups(way)) as u64;
        let outputs = self.outputs as u64;
        let macs = read.checked_mul(outputs).and_then(|weights| weights.checked_mul(self.positions));
        Cost { parameters: (read + 1) * outputs, macs }
    }
}

/// The bridge over what lies between `entry` and `exit`.
///
/// # Errors
/// Why there is none.
pub(super) fn between(
    graph: &Graph,
    shapes: &Shapes,
    flow: &Flow,
    entry: ValueId,
    exit: ValueId,
) -> Result<Bridge, String> {
    let from = before_activation(graph, flow, exit);
    if graph.is_output(from) {
        return Err(format!("its exit `{}` is a graph output", graph.value_name(from)));
    }
    if let Some(reader) = flow.uses.consumers(from).iter().find(|reader| reader.input.is_none()) {
        return Err(format!("a subgraph of `{}` reads its exit", graph.label(reader.node)));
    }
    let (before, behind) = (shapes.fact(entry), shapes.fact(from));
    if [before, behind].iter().any(|fact| fact.data_type != Some(DataType::Float)) {
        return Err("its values are not known to be FLOAT, and bridges are fitted in FLOAT only".to_owned());
    }
    let turns = || format!("{} into {}", before.shape_text(), behind.shape_text());
    let (Some((batch, [inputs, height, width])), Some((same_batch, [outputs, rows, columns]))) =
        (maps(before), maps(behind))
    else {
        return Err(format!("a bridge is a convolution over maps N×C×H×W of known sizes, and it turns {}", turns()));
    };
    if !batch.same(same_batch) {
        return Err(format!("it changes the batch axis: {}", turns()));
    }
    let strides = stride(height, rows).zip(stride(width, columns));
    let (down, across) = strides.ok_or_else(|| format!("no stride of a 1x1 convolution turns {}", turns()))?;
    if inputs.checked_mul(outputs).is_none_or(|weights| weights > LARGEST) {
        return Err(format!("a bridge of {inputs} channels into {outputs} is beyond what is fitted"));
    }
    let positions = elements_per_sample(&[batch.clone(), Dim::Known(rows), Dim::Known(columns)]);
    Ok(Bridge {
        from,
        to: entry,
        inputs,
        outputs,
        strides: [down, across],
        positions: positions.ok_or_else(|| format!("its maps are too large: {}", turns()))?,
        gone: gone(graph, flow, entry, from),
    })
}

/// What the activation that gives `exit` reads; `exit` itself where no activation gives it.
fn before_activation(graph: &Graph, flow: &Flow, exit: ValueId) -> ValueId {
    let last = flow.uses.producer(exit).filter(|&id| flow.role(id) == Some(Role::Activation));
    match last.map(|id| flow.data_inputs(graph, id)).as_deref() {
        Some(&[only]) => only,
        _ => exit,
    }
}

/// Batch axis, channels, height and width, where it has just these and the last three are numbers.
fn maps(fact: &Fact) -> Option<(&Dim, [usize; 3])> {
    let [batch, channels, height, width] = fact.shape.as_deref()? else { return None };
    Some((batch, [channels.known()?, height.known()?, width.known()?]))
}

/// The least stride with which a window of 1 without padding turns `size` into `kept`.
fn stride(size: usize, kept: usize) -> Option<usize> {
    let least = size.div_ceil(kept.max(1)).max(1);
    (kept > 0 && size.div_ceil(least) == kept).then_some(least)
}

/// Nodes that nothing needs once all that reads `from` reads something computed from `entry` instead.
fn gone(graph: &Graph, flow: &Flow, entry: ValueId, from: ValueId) -> BTreeSet<NodeId> {
    let mut gone = BTreeSet::new();
    for (id, node) in graph.nodes().rev() {
        let unneeded = |&value: &ValueId| {
            let mut readers = flow.uses.consumers(value).iter();
            value == from
                || (value != entry && !graph.is_output(value) && readers.all(|reader| gone.contains(&reader.node)))
        };
        let mut outputs = node.outputs().iter().flatten();
        let read =
            node.outputs().iter().flatten().any(|&value| value == from || !flow.uses.consumers(value).is_empty());
        if read && outputs.all(unneeded) {
            gone.insert(id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_is_found_where_a_convolution_gives_that_size() {
        assert_eq!(
            [stride(32, 32), stride(32, 16), stride(33, 17), stride(7, 4)],
            [Some(1), Some(2), Some(2), Some(2)]
        );
        assert_eq!([stride(8, 1), stride(9, 3), stride(5, 2)], [Some(8), Some(3), Some(3)]);
        assert_eq!([stride(8, 7), stride(8, 16), stride(8, 0)], [None, None, None]);
        for (size, kept) in (1..40).flat_map(|size| (1..40).map(move |kept| (size, kept))) {
            let fitting = (1..=size).find(|stride| (size - 1) / stride + 1 == kept);
            assert_eq!(stride(size, kept), fitting, "{size} to {kept}");
        }
    }
}

//! Inserted scales read off, and what those at zero let go.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ScaleOf;
use crate::analysis::{ChannelGroup, Channels};
use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::plan::PlannedChannels;

/// A scale that was put into a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// What it multiplies.
    pub of: ScaleOf,
    /// Name of the block or layer.
    pub name: String,
    /// The product.
    pub node: NodeId,
    /// The stored factor.
    pub factor: ValueId,
    /// What the product scales.
    pub input: ValueId,
    /// What it gives.
    pub output: ValueId,
    /// Its numbers: one of a block, one of each filter of a layer.
    pub numbers: Vec<f32>,
}

/// The scales of a graph, in forward order, known by their names; none whose numbers cannot be read.
#[must_use]
pub fn find_scales(graph: &Graph) -> Vec<Scale> {
    graph.nodes().filter(|(_, node)| node.op_type() == "Mul").filter_map(|(id, _)| scale(graph, id)).collect()
}

fn scale(graph: &Graph, id: NodeId) -> Option<Scale> {
    let node = graph.node(id);
    let (input, factor, output) = (node.input(0)?, node.input(1)?, node.output(0)?);
    let (of, name) = [ScaleOf::Block, ScaleOf::Filters]
        .into_iter()
        .find_map(|of| Some((of, graph.value_name(factor).strip_prefix(&of.prefix())?.to_owned())))?;
    let numbers = tensor::to_f32(graph.initializer(factor)?).ok()?.into_owned();
    Some(Scale { of, name, node: id, factor, input, output, numbers })
}

/// What scales at exactly zero switch off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZeroScales {
    /// Blocks whose branch is multiplied by zero, in forward order: names for [`plan::named`](crate::plan::named), with
    /// [`Way::Bypass`](crate::analysis::Way::Bypass) and [`Way::DropBranch`](crate::analysis::Way::DropBranch) allowed.
    pub blocks: Vec<String>,
    /// By layer, the filters that are multiplied by zero.
    pub filters: BTreeMap<String, Vec<usize>>,
}

/// Blocks and filters whose scale is exactly zero.
#[must_use]
pub fn zero_scales(graph: &Graph) -> ZeroScales {
    let mut zeros = ZeroScales::default();
    for scale in find_scales(graph) {
        let at: Vec<usize> = (0..scale.numbers.len()).filter(|&index| scale.numbers[index] == 0.0).collect();
        match scale.of {
            _ if at.is_empty() => {}
            ScaleOf::Block => zeros.blocks.push(scale.name),
            ScaleOf::Filters => {
                zeros.filters.insert(scale.name, at);
            }
        }
    }
    zeros
}

/// The channels that go when the filters in `zeros` do: those of which every filter that makes them is there. A group that
/// would lose all of its channels keeps the first.
///
/// What reads such channels reads zeros. A plan of these channels is exact where that is all there is to them; where a batch
/// norm, say, adds a shift to them on the way, it takes that away too.
/// [`plan::dead_channels`](crate::plan::dead_channels), for the model with its scales folded, removes only what provably
/// changes nothing.
#[must_use]
pub fn zero_channels(channels: &Channels, zeros: &ZeroScales) -> Vec<PlannedChannels> {
    let gone = |group: &ChannelGroup, filters: &[Vec<usize>]| {
        group.source_names.iter().zip(filters).all(|(layer, filters)| {
            let zero: BTreeSet<usize> = zeros.filters.get(layer).into_iter().flatten().copied().collect();
            filters.iter().all(|filter| zero.contains(filter))
        })
    };
    let planned = channels.groups.iter().map(|group| {
        let going = group.channels.iter().filter(|channel| gone(group, &channel.filters));
        let mut removed: Vec<usize> = going.map(|channel| channel.index).collect();
        if removed.len() == group.channels.len() {
            removed.remove(0);
        }
        PlannedChannels { group: group.name.clone(), channels: group.channels.len(), removed }
    });
    planned.filter(|planned| !planned.removed.is_empty()).collect()
}

//! What reads the channels of a group, and how wide an axis is as a function of the channels that groups keep.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::channels::{ChannelGroup, Channels};
use super::coupling::{Edge, Position, ValueAxis};
use super::pairing::{paired_with_a, paired_with_b};
use crate::graph::{Graph, NodeId, tensor};

/// A channel group with every weight that reads it: its channels do nothing where all of these are zero for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadGroup {
    /// The group's name.
    pub name: String,
    /// How many channels it has.
    pub channels: usize,
    /// The weights of all nodes that add up over its channels, by name.
    pub readers: Vec<Reader>,
}

/// A weight that reads the channels of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Reader {
    /// Name of the initializer.
    pub weight: String,
    /// Its axis of input channels: 1 of a convolution.
    pub axis: usize,
    /// For each channel of the group the indices on that axis that are multiplied with it.
    pub indices: Vec<Vec<usize>>,
}

impl ReadGroup {
    /// For each channel the sum of the squares of all weights that read it; `None` where one of the weights is not stored
    /// in `graph` with such an axis.
    #[must_use]
    pub fn squares(&self, graph: &Graph) -> Option<Vec<f64>> {
        let mut squares = vec![0.0; self.channels];
        for reader in &self.readers {
            let stored = graph.initializer(graph.value_named(&reader.weight)?)?;
            let (numbers, dims) = (tensor::numbers(stored)?, tensor::shape(stored).ok()?);
            reader.add_squares(&numbers, &dims, &mut squares)?;
        }
        Some(squares)
    }
}

impl Reader {
    /// Which channel each index of an axis of `size` reads; `None` where an index is beyond it.
    #[must_use]
    pub fn channel_of(&self, size: usize) -> Option<Vec<Option<usize>>> {
        let mut channel_of = vec![None; size];
        for (channel, indices) in self.indices.iter().enumerate() {
            for &index in indices {
                *channel_of.get_mut(index)? = Some(channel);
            }
        }
        Some(channel_of)
    }

    fn add_squares(&self, numbers: &[f32], dims: &[usize], squares: &mut [f64]) -> Option<()> {
        let size = *dims.get(self.axis)?;
        let channel_of = self.channel_of(size)?;
        let inner = dims[self.axis + 1..].iter().product::<usize>().max(1);
        for (place, &number) in numbers.iter().enumerate() {
            if let Some(channel) = channel_of[place / inner % size] {
                *squares.get_mut(channel)? += f64::from(number) * f64::from(number);
            }
        }
        Some(())
    }
}

/// The size of an axis: `constant + Σ times · channels` over groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Width {
    /// Indices that belong to no group.
    pub constant: f64,
    /// By the name of a group, how many indices each of its channels has.
    pub times: BTreeMap<String, f64>,
}

/// The sizes that the work of a weighted node is proportional to the product of.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeWidths {
    /// The node's name.
    pub node: String,
    /// Channels that it adds up over; one where it adds up over none, as a depthwise convolution.
    pub input: Width,
    /// Channels that it makes.
    pub output: Width,
}

impl Channels {
    /// The group with all that reads it.
    ///
    /// # Errors
    /// Which node reads it with no stored weight: its channels cannot be made to do nothing by zeros.
    pub fn read(&self, graph: &Graph, group: &ChannelGroup) -> Result<ReadGroup, String> {
        let sums = self.data_sums(graph);
        let mut readers: BTreeMap<ValueAxis, Vec<BTreeSet<usize>>> = BTreeMap::new();
        for (number, channel) in group.channels.iter().enumerate() {
            for &position in &self.classes()[&self.root_of(channel)] {
                let (at, index) = self.coupling.place(position);
                for &node in sums.get(&at).into_iter().flatten() {
                    let (weight, indices) = self.partner(graph, node, at, index).ok_or_else(|| {
                        format!("`{}` adds up over them and no stored weight stands before them", graph.label(node))
                    })?;
                    let of_weight =
                        readers.entry(weight).or_insert_with(|| vec![BTreeSet::new(); group.channels.len()]);
                    of_weight[number].extend(indices);
                }
            }
        }
        let reader = |(at, indices): (ValueAxis, Vec<BTreeSet<usize>>)| Reader {
            weight: graph.value_name(at.value).to_owned(),
            axis: at.axis,
            indices: indices.into_iter().map(|indices| indices.into_iter().collect()).collect(),
        };
        let readers = readers.into_iter().map(reader).collect();
        Ok(ReadGroup { name: group.name.clone(), channels: group.channels.len(), readers })
    }

    /// The widths of every weighted node, in forward order.
    #[must_use]
    pub fn node_widths(&self, graph: &Graph) -> Vec<NodeWidths> {
        let mut summed: BTreeMap<NodeId, ValueAxis> = BTreeMap::new();
        for (at, nodes) in self.data_sums(graph) {
            summed.extend(nodes.into_iter().map(|node| (node, at)));
        }
        let group_of = self.group_of_roots();
        let width = |at: ValueAxis| self.width(&group_of, at);
        let one = || Width { constant: 1.0, times: BTreeMap::new() };
        let nodes = self.layers.iter().filter_map(|layer| {
            let output = self.coupling.filters().iter().find(|filters| filters.node == layer.node)?.output;
            let input = summed.get(&layer.node).map_or_else(one, |&at| width(at));
            Some(NodeWidths { node: layer.name.clone(), input, output: width(output) })
        });
        nodes.collect()
    }

    /// Nodes that add up over an axis of a value that is not stored, by that axis.
    fn data_sums(&self, graph: &Graph) -> BTreeMap<ValueAxis, Vec<NodeId>> {
        let mut sums: BTreeMap<ValueAxis, Vec<NodeId>> = BTreeMap::new();
        for &(node, at) in self.coupling.sums() {
            if !graph.holds_initializer(at.value) {
                sums.entry(at).or_default().push(node);
            }
        }
        sums
    }

    /// The axis of a stored weight that `node` multiplies with axis `at`, and its indices that meet `index`.
    fn partner(&self, graph: &Graph, node: NodeId, at: ValueAxis, index: usize) -> Option<(ValueAxis, Vec<usize>)> {
        let inputs = graph.node(node).inputs();
        let is_weight = |at: ValueAxis| inputs.contains(&Some(at.value)) && graph.initializer(at.value).is_some();
        let meets = |edge: &Edge| {
            let size = |at: ValueAxis| self.coupling.slot(at).map(|(_, size)| size);
            if edge.a == at && is_weight(edge.b) {
                return Some((edge.b, paired_with_a(&edge.map, index, size(edge.b)?)));
            }
            (edge.b == at && is_weight(edge.a)).then_some(())?;
            Some((edge.a, paired_with_b(&edge.map, index, size(edge.a)?)))
        };
        self.coupling.edges.iter().filter(|edge| edge.node == node).find_map(meets)
    }

    fn group_of_roots(&self) -> BTreeMap<Position, &ChannelGroup> {
        let channels = |group| move |channel| (channel, group);
        let all = self.groups.iter().flat_map(|group| group.channels.iter().map(channels(group)));
        all.map(|(channel, group)| (self.root_of(channel), group)).collect()
    }

    fn width(&self, group_of: &BTreeMap<Position, &ChannelGroup>, at: ValueAxis) -> Width {
        let Some((start, size)) = self.coupling.slot(at) else {
            return Width { constant: 1.0, times: BTreeMap::new() };
        };
        let mut width = Width::default();
        for position in start..start + size as Position {
            match group_of.get(&self.coupling.root(position)) {
                None => width.constant += 1.0,
                Some(group) => {
                    *width.times.entry(group.name.clone()).or_default() += 1.0 / group.channels.len() as f64;
                }
            }
        }
        // Sums of fractions such as 1/3 are near the whole number that is meant.
        width.times.values_mut().for_each(|times| *times = (*times * 1e6).round() / 1e6);
        width
    }
}

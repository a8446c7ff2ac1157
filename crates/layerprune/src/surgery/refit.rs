//! Weighted nodes of a cut model whose numbers can be fitted anew to what they gave in the whole one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{SurgeryError, settings, shapes_like};
use crate::analysis::{ChannelCut, Channels, Units, ValueAxis, layer_name};
use crate::fit::Linear;
use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::onnx::Model;
use crate::ops::conv::{Conv, Window};
use crate::ops::linear::Gemm;
use crate::proto::TensorProto;
use crate::shapes::Shapes;

/// A node that gives its channels a bias, or could.
#[derive(Debug, Clone, PartialEq)]
pub struct Biased {
    /// The node, in both models.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// What it computes.
    pub output: ValueId,
    /// Which channels of the output in the whole model are those in the cut one.
    pub kept: Vec<usize>,
    /// The bias of each of these; zeros where there is none.
    pub bias: Vec<f64>,
    weight: Arc<TensorProto>,
}

/// A node that adds up over channels some of which are gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// The node and its outputs.
    pub of: Biased,
    /// The value that lost channels.
    pub entry: ValueId,
    /// Channels of a conv group that are left to read.
    pub group_channels: usize,
    /// Conv groups.
    pub groups: usize,
    /// The window that slides over the spatial axes; `None` where there are none.
    pub window: Option<Window>,
    /// Whether the weight is stored with the channels that are read before those that are made.
    transposed: bool,
}

/// A node that cannot be fitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFitted {
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// The nodes that add up over channels which `cut` removed, in the order of the graph, and those of them that cannot be
/// fitted.
#[must_use]
pub fn consumers(
    units: &Units,
    channels: &Channels,
    cut: &ChannelCut,
    pruned: &Model,
) -> (Vec<Consumer>, Vec<NotFitted>) {
    let graph = &pruned.graph;
    let shapes = shapes_like(graph, units);
    let lost = |at: &ValueAxis| cut.kept(*at).is_some() && units.shapes.fact(at.value).stored.is_none();
    let sums: BTreeSet<NodeId> =
        channels.coupling.sums().iter().filter(|(_, at)| lost(at)).map(|(node, _)| *node).collect();
    let (mut fitted, mut others) = (Vec::new(), Vec::new());
    for (id, _) in graph.nodes().filter(|(id, _)| sums.contains(id)) {
        match consumer(graph, &shapes, units, cut, id) {
            Ok(consumer) => fitted.push(consumer),
            Err(reason) => others.push(NotFitted { name: layer_name(graph, id), reason }),
        }
    }
    (fitted, others)
}

fn consumer(graph: &Graph, shapes: &Shapes, units: &Units, cut: &ChannelCut, id: NodeId) -> Result<Consumer, String> {
    let of = biased(graph, shapes, &units.shapes, cut, id)?;
    let node = graph.node(id);
    let entry = node.input(0).ok_or("it has no input")?;
    let call = shapes.call(graph, id);
    if node.op_type() == "Conv" {
        let Conv { window, groups, group_channels, .. } = Conv::read(&call)?;
        return Ok(Consumer { of, entry, group_channels, groups, window: Some(window), transposed: false });
    }
    if node.op_type() != "Gemm" {
        return Err(format!("{} is not fitted", node.op_type()));
    }
    let gemm = Gemm::read(&call)?;
    let group_channels = match shapes.fact(entry).shape.as_deref() {
        Some([_, columns]) if !gemm.trans_a => columns.known().ok_or("the size of its input is not known")?,
        _ => return Err("its input is transposed".to_owned()),
    };
    if gemm.alpha != 1.0 {
        return Err(format!("its `alpha` is {}", gemm.alpha));
    }
    Ok(Consumer { of, entry, group_channels, groups: 1, window: None, transposed: !gemm.trans_b })
}

/// The nodes of `pruned` whose outputs may differ from those in the whole model and that can hold a bias for each channel,
/// in the order of the graph. `cut` says which channels went.
#[must_use]
pub fn biased_nodes(model: &Model, units: &Units, cut: &ChannelCut, pruned: &Model) -> Vec<Biased> {
    let graph = &pruned.graph;
    let shapes = shapes_like(graph, units);
    let changed = changed(&model.graph, graph);
    let nodes = graph.nodes().filter(|(id, _)| changed.contains(id) && id.index() < model.graph.node_capacity());
    nodes.filter_map(|(id, _)| biased(graph, &shapes, &units.shapes, cut, id).ok()).collect()
}

fn biased(graph: &Graph, shapes: &Shapes, whole: &Shapes, cut: &ChannelCut, id: NodeId) -> Result<Biased, String> {
    let node = graph.node(id);
    if !["Conv", "ConvTranspose", "Gemm"].contains(&node.op_type()) || shapes.barriers().contains_key(&id) {
        return Err(format!("{} is not fitted", node.op_type()));
    }
    if node.op_type() == "Gemm" && Gemm::read(&shapes.call(graph, id))?.beta != 1.0 {
        return Err("its `beta` is not 1".to_owned());
    }
    if node.op_type() == "Gemm" && graph.opset() < 7 {
        return Err("before opset 7 its bias is broadcast in another way".to_owned());
    }
    let weight = node.input(1).and_then(|value| shapes.fact(value).stored.clone()).ok_or("its weight is computed")?;
    tensor::to_f32(&weight).map_err(|error| error.to_string())?;
    let output = node.output(0).ok_or("it has no output")?;
    let size = |shapes: &Shapes| shapes.fact(output).shape.as_ref()?.get(1)?.known();
    let (Some(before), Some(after)) = (size(whole), size(shapes)) else {
        return Err("the number of its channels is not known".to_owned());
    };
    let kept = cut.kept(ValueAxis { value: output, axis: 1 });
    let kept: Vec<usize> = kept.map_or_else(|| (0..before).collect(), <[usize]>::to_vec);
    if kept.len() != after {
        return Err("its channels are not those of the whole model".to_owned());
    }
    let bias = match node.input(2).map(|value| shapes.fact(value).stored.as_ref().ok_or("its bias is computed")) {
        None => vec![0.0; after],
        Some(stored) => match tensor::to_f32(stored?).map_err(|error| error.to_string())?.as_ref() {
            [one] => vec![f64::from(*one); after],
            numbers if numbers.len() == after => numbers.iter().copied().map(f64::from).collect(),
            numbers => return Err(format!("its bias has {} elements for {after} channels", numbers.len())),
        },
    };
    Ok(Biased { node: id, name: layer_name(graph, id), output, kept, bias, weight })
}

/// Nodes of `after` that read other values than in `before`, tensors of other sizes, or what such a node gives.
fn changed(before: &Graph, after: &Graph) -> BTreeSet<NodeId> {
    let mut values = BTreeSet::new();
    let mut nodes = BTreeSet::new();
    for (id, node) in after.nodes() {
        let known = id.index() < before.node_capacity();
        let resized = |value: ValueId| {
            let dims = |graph: &Graph| graph.initializer(value).map(|stored| stored.dims.clone());
            value.index() < before.value_capacity() && dims(before) != dims(after)
        };
        let new = !known || before.node(id).inputs() != node.inputs();
        if new || node.inputs().iter().flatten().any(|value| values.contains(value) || resized(*value)) {
            nodes.insert(id);
            values.extend(node.outputs().iter().flatten().copied());
        }
    }
    nodes
}

impl Biased {
    /// Gives the channels these biases.
    ///
    /// # Errors
    /// [`SurgeryError::Unfit`] where the numbers are not one for each channel, or the type of the weight cannot hold them.
    pub fn set_bias(&self, model: &mut Model, bias: &[f64]) -> Result<(), SurgeryError> {
        self.store(model, 2, &[self.kept.len()], bias)
    }

    fn store(&self, model: &mut Model, position: usize, dims: &[usize], numbers: &[f64]) -> Result<(), SurgeryError> {
        let unfit = || SurgeryError::Unfit { unit: self.name.clone() };
        let single: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
        let fits = single.len() == dims.iter().product::<usize>() && single.iter().all(|number| number.is_finite());
        if !fits {
            return Err(unfit());
        }
        let new = tensor::with_f32(&self.weight, dims, &single).map_err(|_| unfit())?;
        settings::set_stored(&mut model.graph, self.node, position, new);
        Ok(())
    }
}

impl Consumer {
    /// Elements that each output of a conv group is made of: channels times the area of the window.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.group_channels * self.window.as_ref().map_or(1, |window| window.kernel.iter().product())
    }

    /// The map that each conv group computed from its patches, channels outermost, when the consumer was found.
    ///
    /// # Errors
    /// [`SurgeryError::Unfit`] where the weight is of another size than the node's settings say.
    pub fn maps(&self) -> Result<Vec<Linear>, SurgeryError> {
        let (inputs, outputs) = (self.inputs(), self.of.kept.len() / self.groups);
        let stored = tensor::to_f32(&self.of.weight).ok().filter(|stored| stored.len() == inputs * self.of.kept.len());
        let stored = stored.ok_or_else(|| SurgeryError::Unfit { unit: self.of.name.clone() })?;
        let weight: Vec<f64> = stored.iter().copied().map(f64::from).collect();
        let weight = if self.transposed { transposed(&weight, outputs) } else { weight };
        let map = |group: usize| Linear {
            weight: weight[group * outputs * inputs..][..outputs * inputs].to_vec(),
            bias: self.of.bias[group * outputs..][..outputs].to_vec(),
            r2: None,
        };
        Ok((0..self.groups).map(map).collect())
    }

    /// Gives the node the numbers of `maps`, one for each conv group.
    ///
    /// # Errors
    /// [`SurgeryError::Unfit`] where they are of other sizes, or the type of the weight cannot hold them.
    pub fn set(&self, model: &mut Model, maps: &[Linear]) -> Result<(), SurgeryError> {
        let weight: Vec<f64> = maps.iter().flat_map(|map| &map.weight).copied().collect();
        let bias: Vec<f64> = maps.iter().flat_map(|map| &map.bias).copied().collect();
        let mut dims = vec![self.of.kept.len(), self.group_channels];
        dims.extend(self.window.iter().flat_map(|window| &window.kernel));
        if self.transposed {
            dims.swap(0, 1);
            self.of.store(model, 1, &dims, &transposed(&weight, self.group_channels))?;
        } else {
            self.of.store(model, 1, &dims, &weight)?;
        }
        self.of.set_bias(model, &bias)
    }
}

/// The other way round of a matrix with `columns`.
fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_matrix_is_turned() {
        assert_eq!(super::transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}

//! Scales for sparsity training: stored factors behind the branches of blocks or the filters of layers, put in, read off and
//! folded away again.

mod fold;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SurgeryError;
use crate::analysis::{Channels, FilterAxis, FilterSite, Kind, Unit, Units, ValueAxis, Way};
use crate::graph::{Graph, ValueId, tensor};
use crate::onnx::Model;
use crate::ops::Fact;
use crate::proto::tensor_proto::DataType;
use crate::proto::{NodeProto, TensorProto};

pub use fold::{FoldedScale, fold_scales};
pub use read::{Scale, ZeroScales, find_scales, zero_channels, zero_scales};

/// What the name of every inserted scale begins with; `block/NAME` or `filters/NAME` follows.
pub const SCALE_PREFIX: &str = "layerprune.scale/";

/// What a scale multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleOf {
    /// The branch of a residual block, by one number.
    Block,
    /// What the filters of a layer give, by one number for each, behind the batch norm and activation that belong to them.
    Filters,
}

impl ScaleOf {
    /// What the names of such scales begin with.
    #[must_use]
    pub fn prefix(self) -> String {
        let kind = match self {
            Self::Block => "block",
            Self::Filters => "filters",
        };
        format!("{SCALE_PREFIX}{kind}/")
    }
}

/// A place where a scale can be put in, or the reason why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleSite {
    /// What it would multiply.
    pub of: ScaleOf,
    /// Name of the block, as of [`Unit::name`], or of the layer, as of [`Channels::layers`].
    pub name: String,
    /// The axis of a value along which the numbers would lie, one of size 1 where there is one number.
    pub place: Result<ValueAxis, String>,
}

impl ScaleSite {
    /// The name of its initializer.
    #[must_use]
    pub fn scale_name(&self) -> String {
        format!("{}{}", self.of.prefix(), self.name)
    }
}

/// All places for scales, in forward order: blocks that can be bypassed or lose their branch, or layers of which filters can
/// be removed. Those that cannot have a scale say why.
#[must_use]
pub fn scale_sites(model: &Model, units: &Units, of: ScaleOf) -> Vec<ScaleSite> {
    let graph = &model.graph;
    let mut sites = match of {
        ScaleOf::Block => {
            let blocks = units.units.iter().filter(|unit| unit.kind == Kind::Block);
            blocks.map(|unit| ScaleSite { of, name: unit.name.clone(), place: branch(unit) }).collect()
        }
        ScaleOf::Filters => filters(model, units),
    };
    let read_elsewhere: Vec<ValueId> = graph.nodes().flat_map(|(_, node)| node.captures()).copied().collect();
    for site in &mut sites {
        let Ok(at) = site.place else { continue };
        let refuse = |reason: &str| Err(reason.to_owned());
        if graph.value_named(&site.scale_name()).is_some() {
            site.place = refuse("it has a scale already");
        } else if graph.is_output(at.value) || read_elsewhere.contains(&at.value) {
            site.place = refuse("what it gives is an output of the model, or read inside of a subgraph");
        } else if graph.opset() < 7 {
            site.place = refuse("products broadcast from opset 7 on; the model is of an older one");
        } else if !units.shapes.fact(at.value).data_type.is_some_and(is_float) || rank(units, at.value).is_none() {
            site.place = refuse("the rank or type of what it gives is not known");
        }
    }
    sites
}

/// The value behind the branch of a block; one number will do for all of it.
fn branch(unit: &Unit) -> Result<ValueAxis, String> {
    let ways = [Way::Bypass, Way::DropBranch];
    match unit.branch.filter(|_| ways.iter().any(|&way| unit.removal_by(way).is_some())) {
        Some(value) => Ok(ValueAxis { value, axis: 0 }),
        None => Err(unit.reason.clone().unwrap_or_else(|| "it has no branch that could go".to_owned())),
    }
}

fn filters(model: &Model, units: &Units) -> Vec<ScaleSite> {
    let graph = &model.graph;
    let channels = Channels::find(model, &units.model, &units.shapes);
    let uses = graph.uses();
    let sources: BTreeMap<_, &FilterAxis> =
        channels.groups.iter().flat_map(|group| &group.sources).map(|source| (source.node, source)).collect();
    let site = |axis: &FilterAxis| {
        let site = FilterSite::of_axis(graph, &units.shapes, &uses, *axis);
        let site = site.ok_or("the number of its filters is not known")?;
        Ok(ValueAxis { value: site.activation, axis: axis.output.axis })
    };
    let layers = channels.layers.iter().map(|layer| {
        let held = || layer.reason.clone().unwrap_or_else(|| "its filters cannot be removed".to_owned());
        let place = sources.get(&layer.node).filter(|_| layer.removable > 0).ok_or_else(held);
        ScaleSite { of: ScaleOf::Filters, name: layer.name.clone(), place: place.and_then(|axis| site(axis)) }
    });
    layers.collect()
}

fn rank(units: &Units, value: ValueId) -> Option<usize> {
    units.shapes.fact(value).shape.as_ref().map(Vec::len).filter(|&rank| rank > 0)
}

fn is_float(data_type: DataType) -> bool {
    matches!(data_type, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
}

/// A copy of `model` with a scale at each of `sites`, all of whose numbers are `start`; sites without a place are left out.
///
/// A scale is a `Mul` by a new initializer, of shape `[1, 1, …]` for a block and `[1, C, 1, …]` for the C filters of a layer,
/// which `layerprune-train` trains for its name. With a `start` of 1 the copy computes what the model does. Blocks and
/// layers with filters keep their names; with scales of filters a depthwise layer no longer is one unit with the layer behind
/// it, so fold the scales before planning.
///
/// # Errors
/// [`SurgeryError::Tensor`] where `start` cannot be stored in the type of a value; [`SurgeryError::Invalid`], a fault of this
/// program.
///
/// # Example
/// ```
/// use layerprune::analysis::Units;
/// use layerprune::surgery::{ScaleOf, find_scales, insert_scales, scale_sites};
///
/// let model = layerprune_testing::resnet(0, [3, 16, 16], 1, &[8, 16], 3, 10);
/// let units = Units::find(&model, &Default::default())?;
/// let sites = scale_sites(&model, &units, ScaleOf::Block);
/// let scaled = insert_scales(&model, &units, &sites, 1.0)?;
/// let names: Vec<String> = find_scales(&scaled.graph).into_iter().map(|scale| scale.name).collect();
/// assert_eq!(names[..2], ["layer1.0", "layer1.1"]);
/// assert!(scaled.graph.value_named("layerprune.scale/block/layer1.0").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn insert_scales(model: &Model, units: &Units, sites: &[ScaleSite], start: f32) -> Result<Model, SurgeryError> {
    let mut graph = model.graph.clone();
    for site in sites {
        let Ok(at) = site.place else { continue };
        let fact = units.shapes.fact(at.value);
        let numbers = numbers(fact, site.of, at, start)
            .map_err(|source| SurgeryError::Tensor { value: site.scale_name(), source })?;
        insert(&mut graph, &site.scale_name(), at.value, numbers);
    }
    graph.validate().map_err(SurgeryError::Invalid)?;
    Ok(model.with_graph(graph))
}

/// As many numbers as the scale has, in the type of the value.
fn numbers(fact: &Fact, of: ScaleOf, at: ValueAxis, start: f32) -> Result<TensorProto, tensor::TensorError> {
    let dims = fact.shape.as_deref().unwrap_or(&[]);
    let mut shape = vec![1; dims.len()];
    if of == ScaleOf::Filters {
        shape[at.axis] = dims[at.axis].known().unwrap_or(1);
    }
    let numbers = vec![start; shape.iter().product()];
    let typed = TensorProto {
        data_type: Some(fact.data_type.unwrap_or(DataType::Float) as i32),
        ..tensor::from_f32(&shape, &numbers)
    };
    tensor::with_f32(&typed, &shape, &numbers)
}

fn insert(graph: &mut Graph, name: &str, value: ValueId, numbers: TensorProto) {
    let before = graph.uses().producer(value);
    // In the module of what it scales: units are named after the modules that their nodes lie in.
    let module = before.map(|id| graph.node(id).name()).and_then(|name| name.rsplit_once('/'));
    let module = module.map_or(String::new(), |(module, _)| format!("{module}/"));
    let factor = graph.add_initializer(name, numbers);
    let output = graph.add_value(&format!("{name}/scaled"));
    graph.redirect(value, output);
    let proto = NodeProto {
        name: Some(format!("{module}{}", name.replace('/', "."))),
        op_type: Some("Mul".to_owned()),
        ..Default::default()
    };
    graph.insert_node(before, proto, vec![Some(value), Some(factor)], vec![Some(output)]);
}

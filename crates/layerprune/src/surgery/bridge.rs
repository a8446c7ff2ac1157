//! Bridges: convolutions put in place of units, and the numbers they hold.

use std::collections::BTreeMap;

use super::SurgeryError;
use crate::analysis::{Bridge, Units, Way};
use crate::fit::{Linear, Prior};
use crate::graph::{Graph, NodeId, ValueId, tensor};
use crate::onnx::Model;
use crate::plan::Plan;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto};

/// A convolution that stands in place of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridged {
    /// The unit.
    pub unit: String,
    /// [`Way::Bridge`] or [`Way::ScaleShift`].
    pub way: Way,
    /// Where it stands: values of the model that was cut.
    pub place: Bridge,
    /// The convolution, in the cut model.
    pub node: NodeId,
    /// What it gives.
    pub output: ValueId,
    weight: ValueId,
    bias: ValueId,
}

impl Bridged {
    /// What the convolution reads in the cut model `graph`.
    ///
    /// # Panics
    /// Where it was folded away, or `graph` is another.
    #[must_use]
    pub fn entry(&self, graph: &Graph) -> ValueId {
        graph.node(self.node).input(0).expect("a bridge reads its entry")
    }

    /// What a strong penalty draws its weights to: passing on what it reads, where the number of channels allows.
    #[must_use]
    pub fn prior(&self) -> Prior {
        if self.place.inputs == self.place.outputs { Prior::Identity } else { Prior::Zero }
    }

    /// Gives the convolution the numbers of `map`; of a scale and shift the diagonal counts.
    ///
    /// # Errors
    /// [`SurgeryError::Unfit`] where `map` is of other numbers of channels, or holds numbers that `FLOAT` cannot.
    pub fn set(&self, model: &mut Model, map: &Linear) -> Result<(), SurgeryError> {
        let Bridge { inputs, outputs, .. } = self.place;
        let numbers = match self.way {
            Way::ScaleShift => map.weight.iter().copied().step_by(inputs + 1).collect(),
            _ => map.weight.clone(),
        };
        let single = |numbers: &[f64]| numbers.iter().map(|&number| number as f32).collect::<Vec<f32>>();
        let (weight, bias) = (single(&numbers), single(&map.bias));
        let fits = map.weight.len() == inputs * outputs && bias.len() == outputs;
        if !fits || !weight.iter().chain(&bias).all(|number| number.is_finite()) {
            return Err(SurgeryError::Unfit { unit: self.unit.clone() });
        }
        let read = inputs / self.place.groups(self.way);
        model.graph.set_initializer(self.weight, tensor::from_f32(&[outputs, read, 1, 1], &weight));
        model.graph.set_initializer(self.bias, tensor::from_f32(&[outputs], &bias));
        Ok(())
    }
}

/// Puts a convolution behind each place that `plan` bridges, in forward order. Nothing reads it yet. It passes on what it
/// reads where the number of channels allows, and gives zeros elsewhere.
pub(super) fn insert(graph: &mut Graph, units: &Units, plan: &Plan) -> Vec<Bridged> {
    let ways: BTreeMap<&str, Way> = plan.removed.iter().map(|planned| (planned.unit.as_str(), planned.way)).collect();
    let mut bridges = Vec::new();
    let mut all: Vec<_> = units.all().collect();
    all.sort_by_key(|unit| unit.position);
    for unit in all {
        let Some(&way) = ways.get(unit.name.as_str()).filter(|way| way.is_fitted()) else { continue };
        let Ok(place) = &unit.bridge else { continue };
        bridges.push(insert_one(graph, &unit.name, way, place));
    }
    bridges
}

fn insert_one(graph: &mut Graph, unit: &str, way: Way, place: &Bridge) -> Bridged {
    let groups = place.groups(way);
    let dims = [place.outputs, place.inputs / groups, 1, 1];
    let diagonal = |place: usize| f32::from(u8::from(dims[1] == 1 || place / dims[1] == place % dims[1]));
    let passes_on = place.inputs == place.outputs;
    let weight: Vec<f32> = (0..dims[0] * dims[1]).map(|place| if passes_on { diagonal(place) } else { 0.0 }).collect();
    let name = free_name(graph, &format!("/{unit}/bridge/Conv"));
    let weight = graph.add_initializer(&format!("{unit}.bridge.weight"), tensor::from_f32(&dims, &weight));
    let bias = vec![0.0; place.outputs];
    let bias = graph.add_initializer(&format!("{unit}.bridge.bias"), tensor::from_f32(&[place.outputs], &bias));
    let output = graph.add_value(&format!("{name}_output_0"));
    let strides = place.strides.map(|stride| stride as i64);
    let proto = NodeProto {
        name: Some(name),
        op_type: Some("Conv".to_owned()),
        attribute: vec![
            ints("dilations", &[1, 1]),
            AttributeProto {
                name: Some("group".to_owned()),
                r#type: Some(AttributeType::Int as i32),
                i: Some(groups as i64),
                ..Default::default()
            },
            ints("kernel_shape", &[1, 1]),
            ints("pads", &[0; 4]),
            ints("strides", &strides),
        ],
        ..Default::default()
    };
    let after = graph.uses().producer(place.from);
    let node = graph.insert_node(after, proto, vec![Some(place.to), Some(weight), Some(bias)], vec![Some(output)]);
    Bridged { unit: unit.to_owned(), way, place: place.clone(), node, output, weight, bias }
}

/// `name`, with a number before its operator where a node is called so already.
fn free_name(graph: &Graph, name: &str) -> String {
    let taken = |name: &str| graph.nodes().any(|(_, node)| node.name() == name);
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken(name))
        .expect("there are more numbers than nodes")
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

//! The reference that surgery is held against: the whole graph with what a plan removes switched off by its weights.

use layerprune::analysis::{Kind, Unit, Units, Way};
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::plan::Plan;

/// `model` with every unit that `plan` removes made ineffective, its nodes all in place: the last weights of a block's
/// branch are zero, a layer's convolution passes its input on and its norm does nothing.
///
/// # Panics
/// When a unit is of a kind that cannot be masked by its weights: a fault of the test.
pub fn mask(model: &Model, units: &Units, plan: &Plan) -> Model {
    let mut masked = model.clone();
    for planned in &plan.removed {
        let unit = units.named(&planned.unit).expect("the plan was made from these units");
        switch_off(&mut masked, units, unit, planned.way);
    }
    masked
}

fn switch_off(masked: &mut Model, units: &Units, unit: &Unit, way: Way) {
    match unit.kind {
        Kind::Block => zero_branch(masked, unit),
        Kind::Layer => {
            assert_eq!(way, Way::Bypass);
            pass_through(masked, unit);
        }
        Kind::DenseLayer => panic!("no mask is known for a dense layer"),
        Kind::Stage => {
            let inside = |part: &&Unit| part.nodes.iter().all(|id| unit.nodes.contains(id));
            for part in units.units.iter().filter(inside) {
                switch_off(masked, units, part, Way::Bypass);
            }
        }
    }
}

/// Zeroes the scale and shift of the batch norm that ends the branch, or the weights of the convolution that does.
fn zero_branch(model: &mut Model, unit: &Unit) {
    let uses = model.graph.uses();
    let last = uses.producer(unit.branch.expect("a block has a branch")).expect("a branch computes something");
    for position in [1, 2] {
        scale_input(model, last, position, 0.0);
    }
}

/// Makes every convolution of the layer the identity and every batch norm leave its input as it is.
fn pass_through(model: &mut Model, unit: &Unit) {
    for &id in &unit.nodes {
        let node = model.graph.node(id).clone();
        match node.op_type() {
            "Conv" => {
                let weight = node.input(1).expect("a convolution has a weight");
                let old = model.graph.initializer(weight).expect("the weight is stored").clone();
                let dims = tensor::shape(&old).expect("a stored weight has a shape");
                let mut data = vec![0.0; dims.iter().product()];
                let (group_channels, area) = (dims[1], dims[2] * dims[3]);
                for filter in 0..dims[0] {
                    data[(filter * group_channels + filter % group_channels) * area + area / 2] = 1.0;
                }
                let new = tensor::with_f32(&old, &dims, &data).expect("the weight is floating point");
                model.graph.set_initializer(weight, new);
                scale_input(model, id, 2, 0.0);
            }
            "BatchNormalization" => {
                let epsilon = layerprune::ops::attribute::float(&node, "epsilon", 1e-5).expect("epsilon is a float");
                set_input(model, id, 1, 1.0);
                set_input(model, id, 2, 0.0);
                set_input(model, id, 3, 0.0);
                set_input(model, id, 4, 1.0 - epsilon);
            }
            "Relu" => {}
            other => panic!("no mask is known for {other}"),
        }
    }
}

fn scale_input(model: &mut Model, id: layerprune::graph::NodeId, position: usize, factor: f32) {
    change_input(model, id, position, |x| x * factor);
}

fn set_input(model: &mut Model, id: layerprune::graph::NodeId, position: usize, value: f32) {
    change_input(model, id, position, |_| value);
}

fn change_input(model: &mut Model, id: layerprune::graph::NodeId, position: usize, change: impl Fn(f32) -> f32) {
    let Some(value) = model.graph.node(id).input(position) else { return };
    let old = model.graph.initializer(value).expect("weights of a masked unit are stored").clone();
    let dims = tensor::shape(&old).expect("a stored tensor has a shape");
    let data: Vec<f32> = tensor::to_f32(&old).expect("it is floating point").iter().map(|&x| change(x)).collect();
    let new = tensor::with_f32(&old, &dims, &data).expect("it is floating point");
    model.graph.set_initializer(value, new);
}

//! Which values of a model are compared with which of its teacher.

use std::collections::BTreeSet;

use layerprune::analysis::{Kind, Units};
use layerprune::graph::{Graph, ValueId};
use layerprune::onnx::Model;
use layerprune::ops::{Dim, Fact};
use layerprune::shapes::InputShapes;

use crate::error::TrainError;
use crate::pattern::Patterns;

/// A value that model and teacher both have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPair {
    /// Its name in both.
    pub name: String,
    /// Its shape, as text.
    pub shape: String,
    /// The model's.
    pub student: ValueId,
    /// The teacher's.
    pub teacher: ValueId,
}

/// Values that can be compared between `model` and the `teacher` that it was cut from: those of one name and shape in both,
/// at which a block or stage of one of them ends, in forward order. Surgery keeps names, so that what is left finds its
/// counterpart. In models without blocks the ends of layers take their place.
///
/// `given` are shapes of inputs that the files leave open, as for [`Units::find`]. Sizes of images may stay open.
///
/// # Errors
/// [`TrainError::Shapes`] where `given` does not fit.
pub fn block_pairs(model: &Model, teacher: &Model, given: &InputShapes) -> Result<Vec<BlockPair>, TrainError> {
    let (own, whole) = (Units::find(model, given)?, Units::find(teacher, given)?);
    let mut ends = BTreeSet::new();
    for kinds in [&[Kind::Block, Kind::DenseLayer, Kind::Stage][..], &[Kind::Layer]] {
        if !ends.is_empty() {
            break;
        }
        for (units, graph) in [(&own, &model.graph), (&whole, &teacher.graph)] {
            let found = units.all().filter(|unit| kinds.contains(&unit.kind));
            ends.extend(found.map(|unit| graph.value_name(unit.exit).to_owned()));
        }
    }
    let (dead, scores) = (model.graph.dead_nodes(), last_values(&model.graph));
    let teachers_scores = last_values(&teacher.graph);
    let mut pairs = Vec::new();
    for (_, node) in model.graph.nodes().filter(|(id, _)| !dead.contains(id)) {
        for &student in node.outputs().iter().flatten() {
            let name = model.graph.value_name(student);
            let Some(value) = teacher.graph.value_named(name).filter(|_| ends.contains(name)) else { continue };
            let (fact, other) = (own.shapes.fact(student), whole.shapes.fact(value));
            if same_shape(fact, other) && !scores.contains(&student) && !teachers_scores.contains(&value) {
                pairs.push(BlockPair { name: name.to_owned(), shape: fact.shape_text(), student, teacher: value });
            }
        }
    }
    Ok(pairs)
}

/// The outputs of the graph, and what a last activation reads: the loss compares these already.
fn last_values(graph: &Graph) -> BTreeSet<ValueId> {
    let uses = graph.uses();
    let outputs = graph.outputs().iter().map(|port| port.value);
    let activated = outputs.clone().filter_map(|value| {
        let last = graph.node(uses.producer(value)?);
        last.input(0).filter(|_| matches!(last.op_type(), "Softmax" | "LogSoftmax" | "Sigmoid"))
    });
    outputs.chain(activated).collect()
}

/// Whether both are known to be of one rank above 1 and one size behind the images' axis; what is open may turn out equal.
fn same_shape(a: &Fact, b: &Fact) -> bool {
    let (Some(a), Some(b)) = (a.shape.as_deref(), b.shape.as_deref()) else { return false };
    let open_or_equal = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_none_or(|(a, b)| a == b);
    a.len() == b.len()
        && a.get(1).and_then(Dim::known).is_some()
        && a.get(1).and_then(Dim::known) == b.get(1).and_then(Dim::known)
        && a.iter().zip(b).skip(2).all(open_or_equal)
}

/// The pairs that `on` names, all where it names none.
pub(super) fn selected(
    model: &Model,
    teacher: &Model,
    given: &InputShapes,
    on: &[String],
) -> Result<Vec<BlockPair>, TrainError> {
    let pairs = block_pairs(model, teacher, given)?;
    let patterns = Patterns::read("distill.blocks", on)?;
    let names: Vec<&str> = pairs.iter().map(|pair| pair.name.as_str()).collect();
    patterns.expect_matches("distill.blocks", "end of a block in model and teacher", &names)?;
    if pairs.is_empty() {
        return Err(TrainError::NoBlockPairs);
    }
    Ok(pairs.into_iter().filter(|pair| patterns.is_empty() || patterns.matches(&pair.name)).collect())
}

//! Which tensors a regulariser acts on.

use layerprune::graph::{Graph, Use, Uses, ValueId};
use layerprune::plan::WidthBudget;
use layerprune::surgery::ScaleOf;

use super::{Ecc, Sparsity, Target};
use crate::error::TrainError;
use crate::pattern::{Patterns, listed};
use crate::session::Session;

/// Trains the stored factors that `settings` name, whatever they were before.
pub(super) fn train_named_factors(settings: &[Sparsity], session: &mut Session) -> Result<(), TrainError> {
    for sparsity in settings.iter().filter(|sparsity| takes_factors(sparsity)) {
        let patterns = Patterns::read("sparsity.on", sparsity.on())?;
        let graph = session.graph();
        let uses = graph.uses();
        let named = |value: &ValueId| patterns.matches(graph.value_name(*value));
        let factor = |value: &ValueId| uses.consumers(*value).iter().any(|&reader| is_factor(graph, reader));
        let wanted: Vec<ValueId> = graph.initializers().iter().copied().filter(named).filter(factor).collect();
        session.train_also(&wanted);
    }
    Ok(())
}

/// The tensors that `sparsity` acts on, in the order of their use.
pub(super) fn targets(sparsity: &Sparsity, session: &Session) -> Result<Vec<Target>, TrainError> {
    if let Sparsity::Ecc(Ecc { budget: Some(budget), .. }) = sparsity {
        return Ok(readers(budget, session));
    }
    let candidates = candidates(sparsity, session);
    let names: Vec<&str> = candidates.iter().map(|(target, _)| target.name.as_str()).collect();
    let (setting, what) = (sparsity.name(), what(sparsity));
    let patterns = Patterns::read("sparsity.on", sparsity.on())?;
    patterns.expect_matches(setting, what, &names)?;
    let wanted =
        |target: &Target, usual: bool| if patterns.is_empty() { usual } else { patterns.matches(&target.name) };
    let found: Vec<Target> =
        candidates.iter().filter(|(target, usual)| wanted(target, *usual)).map(|(target, _)| target.clone()).collect();
    match found.is_empty() {
        true => Err(TrainError::NothingSparse { setting, what, known: listed(&names) }),
        false => Ok(found),
    }
}

/// The trained weights that a budget names.
fn readers(budget: &WidthBudget, session: &Session) -> Vec<Target> {
    let readers = budget.groups.iter().flat_map(|group| &group.readers);
    let found = session.trained.iter().enumerate().filter_map(|(trained, &place)| {
        let weight = &session.weights.0[place];
        let named = readers.clone().any(|reader| reader.weight == weight.name);
        named.then(|| Target { name: weight.name.clone(), dims: weight.dims.clone(), place, trained })
    });
    found.collect()
}

/// What it can act on, each with whether it does where nothing is named.
fn candidates(sparsity: &Sparsity, session: &Session) -> Vec<(Target, bool)> {
    let (graph, uses) = (session.graph(), session.graph().uses());
    let found = session.trained.iter().enumerate().filter_map(|(trained, &place)| {
        let weight = &session.weights.0[place];
        let usual = kind_of(sparsity, graph, &uses, weight.value())?;
        Some((Target { name: weight.name.clone(), dims: weight.dims.clone(), place, trained }, usual))
    });
    found.collect()
}

/// Whether `value` is what the regulariser acts on where nothing is named; `None` where it cannot act on it at all.
fn kind_of(sparsity: &Sparsity, graph: &Graph, uses: &Uses, value: ValueId) -> Option<bool> {
    let readers = uses.consumers(value);
    let scale = |of: ScaleOf| {
        let factor = readers.iter().any(|&reader| is_factor(graph, reader));
        factor.then(|| graph.value_name(value).starts_with(&of.prefix()))
    };
    match sparsity {
        Sparsity::Slimming(_) => {
            let norm =
                |reader: &Use| graph.node(reader.node).op_type() == "BatchNormalization" && reader.input == Some(1);
            readers.iter().any(norm).then_some(true)
        }
        Sparsity::Sss(_) => scale(ScaleOf::Block),
        Sparsity::Masks(_) => scale(ScaleOf::Filters),
        Sparsity::Ecc(_) => match readers {
            [reader] if rank(graph, value) > 1 && reads_channels_by_axis_1(graph, *reader) => {
                let node = graph.node(reader.node);
                let reads_images = graph.fed_inputs().any(|port| node.input(0) == Some(port.value));
                Some(node.op_type() == "Conv" && !reads_images)
            }
            _ => None,
        },
    }
}

fn rank(graph: &Graph, value: ValueId) -> usize {
    graph.initializer(value).map_or(0, |stored| stored.dims.len())
}

fn takes_factors(sparsity: &Sparsity) -> bool {
    matches!(sparsity, Sparsity::Sss(_) | Sparsity::Masks(_))
}

fn is_factor(graph: &Graph, reader: Use) -> bool {
    let node = graph.node(reader.node);
    node.op_type() == "Mul" && node.domain().is_empty()
}

/// Whether axis 1 of the weight counts all channels of what the node reads.
fn reads_channels_by_axis_1(graph: &Graph, reader: Use) -> bool {
    let node = graph.node(reader.node);
    let int = |name, default| node.attribute(name).map_or(default, |attribute| attribute.i());
    let whole = match node.op_type() {
        "Conv" => int("group", 1) == 1,
        "Gemm" => int("transB", 0) == 1,
        _ => false,
    };
    whole && reader.input == Some(1)
}

fn what(sparsity: &Sparsity) -> &'static str {
    match sparsity {
        Sparsity::Slimming(_) => "scale of a batch norm",
        Sparsity::Sss(_) => "scale of a block",
        Sparsity::Masks(_) => "scale of filters",
        Sparsity::Ecc(_) => "weight of a convolution or linear layer that reads all channels",
    }
}

//! Statistics of filters that are taken of gradients.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use layerprune::analysis::{FilterLayout, FilterSite};
use layerprune::batch::{Batch, Maps};
use layerprune::evidence::{Folds, GradientSums, SiteGradients, Statistic};
use layerprune::graph::NodeId;
use layerprune::onnx::Model;
use layerprune::shapes::Shapes;

use crate::error::{DataError, TrainError};
use crate::loss::Loss;
use crate::lower::Mode;
use crate::session::{Differentiated, Marks, Session};

/// A site with what its statistics are taken of besides gradients.
struct Seen<'a> {
    site: &'a FilterSite,
    layout: Option<FilterLayout>,
    /// Places of the weight and of the batch norm's scale among the trained weights.
    weight: Option<usize>,
    scale: Option<usize>,
}

/// Those of the `wanted` statistics that need gradients, of the filters at `sites`: each averaged over the batches, the
/// gradients being those of the mean cross-entropy over a batch.
///
/// The model is frozen: batch norms use their stored statistics, nothing is dropped out, nothing moves. All statistics are
/// taken in one pass over the data; `step` is called after each batch and ends the pass by breaking.
///
/// Memory: that of a training step, of the values behind all gates of one batch, and of [`GradientSums`].
///
/// # Errors
/// Data that fails or does not fit, whatever of the model cannot be trained, and a loss that is not finite.
pub fn taylor(
    model: &Model,
    shapes: &Shapes,
    sites: &[FilterSite],
    wanted: &BTreeSet<Statistic>,
    batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    step: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<BTreeMap<Statistic, BTreeMap<NodeId, Folds>>, TrainError> {
    let loss = Loss::default();
    let gated = wanted.contains(&Statistic::TaylorGate) || wanted.contains(&Statistic::TaylorOutput);
    let gates: Vec<_> = sites.iter().filter(|_| gated).map(|site| site.gate).collect();
    let session = Session::marked(model, &loss, &Marks { gated: &gates, ..Marks::default() })?;
    let sites: Vec<Seen<'_>> = sites.iter().map(|site| seen(&session, model, shapes, site)).collect();
    let mut sums = GradientSums::new(wanted);
    let mut count = 0;
    for batch in batches {
        let batch = batch.map_err(TrainError::Data)?;
        let run = session.run(&batch, Mode::Train { frozen: true })?;
        let done = session.differentiate(&batch, &loss, run)?;
        if !done.judgement.sum.is_finite() {
            return Err(TrainError::LossNotFinite);
        }
        for (number, seen) in sites.iter().enumerate() {
            let gate = done.gates.get(number).and_then(Option::as_ref);
            let gradients = SiteGradients {
                weight: pair(&session, &done, seen.weight),
                scale: pair(&session, &done, seen.scale),
                gate: gate.map(|(data, shape)| Maps { data, shape }),
            };
            sums.add(seen.site, seen.layout.as_ref(), gradients);
        }
        count += 1;
        if step().is_break() {
            break;
        }
    }
    if count == 0 { Err(TrainError::NoBatches) } else { Ok(sums.finish()) }
}

fn seen<'a>(session: &Session, model: &Model, shapes: &Shapes, site: &'a FilterSite) -> Seen<'a> {
    let node = model.graph.node(site.axis.node);
    let position = node.inputs().iter().position(|input| *input == Some(site.axis.weight.value));
    Seen {
        site,
        layout: site.layout(&model.graph, shapes),
        weight: position.and_then(|position| session.trained_input(site.axis.node, position)),
        scale: site.batch_norm.and_then(|norm| session.trained_input(norm, 1)),
    }
}

/// A trained weight and its gradient.
fn pair<'a>(session: &'a Session, done: &'a Differentiated, trained: Option<usize>) -> Option<[&'a [f32]; 2]> {
    let gradient = done.weights.get(trained?)?.as_deref()?;
    Some([session.weights.floats(session.trained[trained?]), gradient])
}

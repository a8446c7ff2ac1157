//! Fitting bridges to what the original model gives, from images alone.

use serde::{Deserialize, Serialize};

use super::PortError;
use crate::analysis::Way;
use crate::cost::Cost;
use crate::fit::{self, FitError, Linear, Moments};
use crate::graph::ValueId;
use crate::onnx::Model;
use crate::proto::ValueInfoProto;
use crate::surgery::{Bridged, SurgeryError};

/// Which images a pair of maps is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those that are fitted to.
    Fitted,
    /// Those that only tell how well it fits.
    HeldOut,
}

/// Maps of some images, N,C,H,W, row-major.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Maps<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// N, C, H, W.
    pub shape: &'a [usize],
}

/// What [`Observe::pairs`] hands over: the maps of the first model and of the second, of the same images.
pub type Visit<'v> = dyn FnMut(Part, Maps<'_>, Maps<'_>) -> Result<(), FitError> + 'v;

/// Runs models on images without labels.
pub trait Observe {
    /// Runs both models, each of one output, on the same images, batch by batch, and hands over what they give: the
    /// images to fit to and the held-out ones, always the same.
    ///
    /// # Errors
    /// Whatever the engine or the data reports, or `visit` does.
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError>;
}

/// How well a bridge fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BridgeFit {
    /// The unit that it stands for.
    pub unit: String,
    /// What it is.
    pub way: Way,
    /// Share of the unit's output that it explains on the images it was fitted to; absent where that does not vary.
    pub r2: Option<f64>,
    /// The same on the held-out images.
    pub held_out_r2: Option<f64>,
    /// What it costs, before it is folded.
    #[serde(flatten)]
    pub cost: Cost,
    /// The node that it was folded into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folded_into: Option<String>,
}

/// Why a bridge could not be fitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// The model could not be run.
    #[error("cannot fit the bridge in place of `{unit}`")]
    Observe {
        /// The unit.
        unit: String,
        /// Why.
        source: PortError,
    },
    /// There is no fit.
    #[error("cannot fit the bridge in place of `{unit}`")]
    Fit {
        /// The unit.
        unit: String,
        /// Why.
        source: FitError,
    },
    /// The numbers could not be stored.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
}

/// Fits `bridges` of `cut` to what stood in their places in `model`, by ridge regression over all pixels of some images;
/// no label is needed. In forward order, each from what the cut model with all bridges before it gives, so that a bridge
/// also makes up for what is left of earlier errors. Takes one pass for each bridge, of both models up to there.
///
/// # Errors
/// See [`BridgeError`]; `cut` holds the bridges fitted so far then.
pub fn fit_bridges(
    model: &Model,
    cut: &mut Model,
    bridges: &[Bridged],
    penalty: f64,
    port: &mut dyn Observe,
    step: &mut dyn FnMut(&BridgeFit),
) -> Result<Vec<BridgeFit>, BridgeError> {
    let mut fits = Vec::new();
    for bridge in bridges {
        let place = &bridge.place;
        let moments = || Moments::new(place.inputs, place.outputs, place.strides);
        let (mut fitted, mut held_out) = (moments(), moments());
        let (entry, target) = (up_to(cut, bridge.entry(&cut.graph)), up_to(model, place.from));
        port.pairs(&entry, &target, &mut |part, entry, target| {
            let sums = if part == Part::Fitted { &mut fitted } else { &mut held_out };
            sums.add(entry.data, entry.shape, target.data, target.shape)
        })
        .map_err(|source| BridgeError::Observe { unit: bridge.unit.clone(), source })?;
        let map = solve(bridge, &fitted, penalty);
        let map = map.map_err(|source| BridgeError::Fit { unit: bridge.unit.clone(), source })?;
        bridge.set(cut, &map)?;
        let held_out_r2 = if held_out.count() > 0 { held_out.r2(&map) } else { None };
        let (unit, cost) = (bridge.unit.clone(), place.cost(bridge.way));
        fits.push(BridgeFit { unit, way: bridge.way, r2: map.r2, held_out_r2, cost, folded_into: None });
        step(&fits[fits.len() - 1]);
    }
    Ok(fits)
}

fn solve(bridge: &Bridged, moments: &Moments, penalty: f64) -> Result<Linear, FitError> {
    match bridge.way {
        Way::ScaleShift => fit::scale_shift(moments, penalty),
        _ => fit::ridge(moments, penalty, bridge.prior()),
    }
}

/// The part of `model` that `value` needs, its only output.
fn up_to(model: &Model, value: ValueId) -> Model {
    let mut graph = model.graph.clone();
    let name = Some(graph.value_name(value).to_owned());
    graph.set_only_output(value, ValueInfoProto { name, ..Default::default() });
    let dead = graph.dead_nodes();
    graph.remove_nodes(&dead);
    let unread = graph.unread_initializers();
    graph.remove_initializers(&unread);
    model.with_graph(graph)
}

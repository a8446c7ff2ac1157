//! Fitting bridges to what the original model gives, from images alone.

use serde::{Deserialize, Serialize};

use super::observe::{Observe, Part, RecoveryError, up_to};
use crate::analysis::Way;
use crate::cost::Cost;
use crate::fit::{self, FitError, Linear, Moments};
use crate::onnx::Model;
use crate::surgery::Bridged;

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

/// Fits `bridges` of `cut` to what stood in their places in `model`, by ridge regression over all pixels of some images;
/// no label is needed. In forward order, each from what the cut model with all bridges before it gives, so that a bridge
/// also makes up for what is left of earlier errors. Takes one pass for each bridge, of both models up to there.
///
/// # Errors
/// See [`RecoveryError`]; `cut` holds the bridges fitted so far then.
pub fn fit_bridges(
    model: &Model,
    cut: &mut Model,
    bridges: &[Bridged],
    penalty: f64,
    port: &mut dyn Observe,
    step: &mut dyn FnMut(&BridgeFit),
) -> Result<Vec<BridgeFit>, RecoveryError> {
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
        .map_err(|source| RecoveryError::Observe { what: what(bridge), source })?;
        let map = solve(bridge, &fitted, penalty);
        let map = map.map_err(|source| RecoveryError::Fit { what: what(bridge), source })?;
        bridge.set(cut, &map)?;
        let held_out_r2 = if held_out.count() > 0 { held_out.r2(&map) } else { None };
        let (unit, cost) = (bridge.unit.clone(), place.cost(bridge.way));
        fits.push(BridgeFit { unit, way: bridge.way, r2: map.r2, held_out_r2, cost, folded_into: None });
        step(&fits[fits.len() - 1]);
    }
    Ok(fits)
}

fn what(bridge: &Bridged) -> String {
    format!("the bridge in place of `{}`", bridge.unit)
}

fn solve(bridge: &Bridged, moments: &Moments, penalty: f64) -> Result<Linear, FitError> {
    match bridge.way {
        Way::ScaleShift => fit::scale_shift(moments, penalty),
        _ => fit::ridge(moments, penalty, bridge.prior()),
    }
}

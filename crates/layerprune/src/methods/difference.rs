//! What a method took out: seen by comparing what it left with the whole model, since it may have gone in many steps.

use serde::{Deserialize, Serialize};

use super::task::Parts;
use crate::cost::Cost;
use crate::onnx::Model;
use crate::shapes::{InputShapes, ShapeError};

/// What is gone of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// Units that are gone, in forward order.
    pub layers: Vec<String>,
    /// Layers with fewer filters than before, in forward order.
    pub thinner: Vec<LayerLeft>,
    /// What the whole model costs.
    pub before: Cost,
    /// What is left costs.
    pub after: Cost,
}

/// A layer that lost filters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerLeft {
    /// Its name.
    pub layer: String,
    /// How many filters it had.
    pub before: usize,
    /// How many it has.
    pub after: usize,
}

impl Removed {
    /// How many filters are gone of layers that are left.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.thinner.iter().map(|layer| layer.before - layer.after).sum()
    }
}

/// What `left` lacks that `whole` has; both are known by the names of their nodes.
///
/// # Errors
/// Where the shapes do not fit.
pub fn removed(whole: &Model, left: &Model, shapes: &InputShapes) -> Result<Removed, ShapeError> {
    let (whole, left) = (Parts::find(whole, shapes)?, Parts::find(left, shapes)?);
    let gone = whole.units.units.iter().filter(|unit| left.units.named(&unit.name).is_none());
    let thinner = whole.channels.layers.iter().filter_map(|layer| {
        let left = left.channels.layers.iter().find(|left| left.name == layer.name)?;
        let (before, after) = (layer.channels, left.channels);
        (after < before).then(|| LayerLeft { layer: layer.name.clone(), before, after })
    });
    Ok(Removed {
        layers: gone.map(|unit| unit.name.clone()).collect(),
        thinner: thinner.collect(),
        before: whole.units.costs.total(),
        after: left.units.costs.total(),
    })
}

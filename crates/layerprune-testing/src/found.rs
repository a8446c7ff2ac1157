//! What analysis finds in a model whose input shapes the file gives.

use layerprune::analysis::{Channels, Units};
use layerprune::onnx::Model;

/// Its layers and blocks.
///
/// # Panics
///
/// Where the inputs of the model leave a shape open that analysis needs.
pub fn units(model: &Model) -> Units {
    Units::find(model, &Default::default()).expect("the model gives the shapes of its inputs")
}

/// Its layers and blocks, and its channels. Panics where [`units`] does.
pub fn found(model: &Model) -> (Units, Channels) {
    let units = units(model);
    let channels = Channels::find(model, &units.model, &units.shapes);
    (units, channels)
}

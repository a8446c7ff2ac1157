//! What the model loses without each layer, tried out one by one.

use super::job::at;
use super::{JobError, PortError};
use crate::analysis::Units;
use crate::evidence::{Judged, Removals, Removed};
use crate::onnx::Model;
use crate::plan::{self, PlannedRemoval};
use crate::surgery;

/// Judges whole models, always on the same held-out images in the same order.
pub trait Judge {
    /// The model with its batch-norm statistics estimated anew; `None` where it has none.
    ///
    /// # Errors
    /// Whatever the training library or the data reports.
    fn recalibrate(&mut self, model: &Model) -> Result<Option<Model>, PortError>;

    /// What the model makes of each image.
    ///
    /// # Errors
    /// Whatever the engine or the data reports.
    fn judge(&mut self, model: &Model) -> Result<Judged, PortError>;
}

/// Removes each layer alone, in the first way that it offers without a fit, recalibrates what is left and judges it
/// against the whole model. `step` is told the name of each layer before it is tried.
///
/// # Errors
/// [`JobError::Surgery`], and [`JobError::Port`] for whatever `judge` reports.
pub fn leave_one_out(
    model: &Model,
    units: &Units,
    judge: &mut dyn Judge,
    step: &mut dyn FnMut(&str),
) -> Result<Removals, JobError> {
    let whole = judge.judge(model).map_err(at("judging the whole model"))?;
    let mut removals = Removals { images: whole.right.len() as u64, ..Removals::default() };
    for unit in &units.units {
        let Some(removal) = unit.removals.first() else { continue };
        step(&unit.name);
        let planned = PlannedRemoval { unit: unit.name.clone(), way: removal.way };
        let plan = plan::of(units, None, format!("without `{}`", unit.name), vec![planned]);
        let mut cut = surgery::apply(model, units, &plan)?;
        if let Some(recalibrated) = judge.recalibrate(&cut).map_err(at("recalibration"))? {
            cut = recalibrated;
            removals.recalibrated = true;
        }
        let without = judge.judge(&cut).map_err(at("judging a cut model"))?;
        removals.layers.insert(unit.name.clone(), Removed::between(&whole, &without));
    }
    Ok(removals)
}

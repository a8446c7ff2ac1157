use layerprune::batch::Batch;
use layerprune::onnx::Model;

use crate::error::{DataError, TrainError};
use crate::loss::Loss;
use crate::lower::Mode;
use crate::session::Session;

/// Estimates the mean and variance of every batch norm anew: their plain average over all batches, each batch normalised
/// with its own, as PyTorch does with `momentum=None`. All other weights stay as they are.
///
/// # Errors
/// [`TrainError::NoBatchNorm`] where the model has none; data that fails or does not fit; whatever of the model cannot
/// be run.
pub fn recalibrate(
    model: &Model,
    batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
) -> Result<Model, TrainError> {
    // Without one, whatever else cannot be trained does not matter.
    if model.graph.nodes().all(|(_, node)| node.op_type() != "BatchNormalization") {
        return Err(TrainError::NoBatchNorm);
    }
    let mut session = Session::new(model, &Loss::default())?;
    if session.program.statistics.is_empty() {
        return Err(TrainError::NoBatchNorm);
    }
    let mut averages: Vec<[Vec<f64>; 2]> = Vec::new();
    let mut count = 0_u32;
    for batch in batches {
        let seen = session.outputs(&batch.map_err(TrainError::Data)?, Mode::Recalibrate)?.statistics;
        count += 1;
        if averages.is_empty() {
            averages = seen.iter().map(|seen| [vec![0.0; seen.mean.len()], vec![0.0; seen.mean.len()]]).collect();
        }
        for (averages, seen) in averages.iter_mut().zip(&seen) {
            for (average, new) in averages.iter_mut().zip([&seen.mean, &seen.variance]) {
                for (average, &new) in average.iter_mut().zip(new) {
                    *average += (f64::from(new) - *average) / f64::from(count);
                }
            }
        }
    }
    if count == 0 {
        return Err(TrainError::NoBatches);
    }
    let places = session.program.statistics.clone();
    for (places, averages) in places.iter().zip(&averages) {
        for (&place, average) in places.iter().zip(averages) {
            for (stored, &average) in session.weights.floats_mut(place).iter_mut().zip(average) {
                *stored = average as f32;
            }
        }
    }
    session.model(model, None)
}

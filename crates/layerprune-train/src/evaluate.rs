use layerprune::batch::Batch;
use layerprune::onnx::Model;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, TrainError};
use crate::loss::cross_entropy;
use crate::lower::Mode;
use crate::session::Session;

/// How well a model classifies some images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evaluation {
    /// Images seen.
    pub images: usize,
    /// Images whose label has the highest score.
    pub top1: usize,
    /// Images whose label is among the five highest scores.
    pub top5: usize,
    /// The sum of their cross-entropies.
    pub loss_sum: f64,
}

/// Classifies images with stored batch-norm statistics and without dropout.
///
/// # Errors
/// Data that fails or does not fit, and whatever of the model cannot be run.
pub fn evaluate(
    model: &Model,
    batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
) -> Result<Evaluation, TrainError> {
    let session = Session::new(model)?;
    let mut evaluation = Evaluation::default();
    for batch in batches {
        let batch = batch.map_err(TrainError::Data)?;
        let (scores, _) = session.scores(&batch, Mode::Evaluate)?;
        let loss = cross_entropy(&scores, &batch.labels);
        evaluation.images += batch.labels.len();
        evaluation.top1 += loss.top1;
        evaluation.top5 += loss.top5;
        evaluation.loss_sum += loss.sum;
    }
    if evaluation.images == 0 {
        return Err(TrainError::NoBatches);
    }
    Ok(evaluation)
}

/// The class scores of one batch, row by row; those before a final `Softmax`.
///
/// # Errors
/// As [`evaluate`].
pub fn scores(model: &Model, batch: &Batch) -> Result<Vec<f32>, TrainError> {
    Ok(Session::new(model)?.scores(batch, Mode::Evaluate)?.0)
}

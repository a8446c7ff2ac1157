use layerprune::batch::Batch;
use layerprune::onnx::Model;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, TrainError};
use crate::loss::{Answers, Loss};
use crate::lower::Mode;
use crate::session::Session;

/// How well a model does on some images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evaluation {
    /// Images seen.
    pub images: usize,
    /// The sum of their losses.
    pub loss_sum: f64,
    /// Right answers, where answers can be right: images with [`Loss::CrossEntropy`], labels with
    /// [`Loss::BinaryCrossEntropy`].
    pub answers: Option<Answers>,
    /// Images whose label is among the five highest scores, where there are classes.
    pub top5: Option<usize>,
}

impl Evaluation {
    /// The mean loss.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images as f64
    }
}

/// Judges a model by `loss`, with stored batch-norm statistics and without dropout.
///
/// # Errors
/// Settings of the loss out of range, data that fails or does not fit, and whatever of the model cannot be run.
pub fn evaluate(
    model: &Model,
    loss: &Loss,
    batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
) -> Result<Evaluation, TrainError> {
    loss.check()?;
    let session = Session::new(model, loss)?;
    let mut evaluation = Evaluation::default();
    for batch in batches {
        let batch = batch.map_err(TrainError::Data)?;
        let said = session.outputs(&batch, Mode::Evaluate)?;
        let judgement = loss.judge(&said.outputs, said.width, &batch)?;
        evaluation.images += batch.labels.len();
        evaluation.loss_sum += judgement.sum;
        if let Some(answers) = judgement.answers {
            evaluation.answers.get_or_insert_default().add(answers);
        }
        if let Some(top5) = judgement.top5 {
            *evaluation.top5.get_or_insert_default() += top5;
        }
    }
    if evaluation.images == 0 {
        return Err(TrainError::NoBatches);
    }
    Ok(evaluation)
}

/// The outputs for one batch, row by row; those before a final `Softmax`.
///
/// # Errors
/// As [`evaluate`].
pub fn scores(model: &Model, batch: &Batch) -> Result<Vec<f32>, TrainError> {
    Ok(Session::new(model, &Loss::default())?.outputs(batch, Mode::Evaluate)?.outputs)
}

use std::ops::ControlFlow;

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::{DataError, TrainError};
use crate::session::Session;
use crate::settings::Settings;

/// Training data: an iterator of batches for each epoch.
pub trait Batches {
    /// The batches of epoch `epoch` from batch `first` on, both counted from 0. Called again with one epoch, it gives the
    /// same batches: a resumed run relies on it.
    fn epoch(&self, epoch: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_>;

    /// How many batches an epoch has.
    fn batches_per_epoch(&self) -> usize;
}

/// What happens during training.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was done.
    Step(StepDone),
    /// An epoch was done.
    EpochEnd(EpochDone<'a>),
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDone {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step in its epoch, from 0.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Images of the batch.
    pub images: usize,
    /// How many of them were classified right before the step.
    pub correct: usize,
    /// The mean loss over the batch before the step.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// An epoch that was done.
pub struct EpochDone<'a> {
    /// What it came to.
    pub summary: EpochSummary,
    session: &'a Session,
    model: &'a Model,
    settings: &'a Settings,
}

impl std::fmt::Debug for EpochDone<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpochDone").field("summary", &self.summary).finish_non_exhaustive()
    }
}

impl EpochDone<'_> {
    /// All that is needed to go on from here.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::take(self.session, self.model, self.settings, self.summary.epoch + 1)
    }

    /// The model as it now is.
    ///
    /// # Errors
    /// [`TrainError::Tensor`] where weights cannot be stored in the model's own element types.
    pub fn model(&self) -> Result<Model, TrainError> {
        self.session.model(self.model)
    }
}

/// What an epoch came to, over batches as they were before their step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EpochSummary {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Images seen.
    pub images: usize,
    /// The mean loss.
    pub loss: f64,
    /// The share of images classified right, in percent.
    pub top1: f64,
}

/// What training came to.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Outcome {
    /// The model with the weights of the last step.
    pub model: Model,
    /// Whether all epochs were done; `false` where the observer stopped it.
    pub finished: bool,
    /// The epochs that were done, those before a resumption left out.
    pub epochs: Vec<EpochSummary>,
}

/// Trains `model` on `data`, from the start or from a checkpoint.
///
/// Weights of convolutions, linear layers and batch norms are trained; a batch norm's mean and variance follow the
/// batches. The same model, data, settings and machine give the same bytes, for any number of threads, and a run that
/// goes on from a checkpoint ends like one that was never interrupted.
///
/// # Errors
/// All that is wrong with the model, before the first step; data that fails or does not fit; [`TrainError::NonFinite`]
/// where training diverges; a checkpoint of another run.
pub fn train(
    model: &Model,
    data: &dyn Batches,
    settings: &Settings,
    start: Option<Checkpoint>,
    observer: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    settings.check()?;
    let mut session = Session::new(model)?;
    if session.trained.is_empty() {
        return Err(TrainError::NoWeights);
    }
    let first = match start {
        Some(checkpoint) => checkpoint.restore(&mut session, model, settings)?,
        None => 0,
    };
    let steps = data.batches_per_epoch();
    let mut epochs = Vec::new();
    for epoch in first..settings.epochs {
        let Some(summary) = run_epoch(&mut session, data, settings, epoch, steps, observer)? else {
            return Ok(Outcome { model: session.model(model)?, finished: false, epochs });
        };
        epochs.push(summary.clone());
        let done = EpochDone { summary, session: &session, model, settings };
        if observer(Event::EpochEnd(done)).is_break() {
            let finished = epoch + 1 == settings.epochs;
            return Ok(Outcome { model: session.model(model)?, finished, epochs });
        }
    }
    Ok(Outcome { model: session.model(model)?, finished: true, epochs })
}

/// Single steps, for benchmarks: with this crate's kernels, or with burn's own operations in their place.
#[doc(hidden)]
pub struct Stepper(Session);

impl Stepper {
    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn new(model: &Model, reference: bool) -> Result<Self, TrainError> {
        let mut session = Session::new(model)?;
        session.reference = reference;
        Ok(Self(session))
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn step(&mut self, batch: &Batch, settings: &Settings) -> Result<f64, TrainError> {
        Ok(self.0.step(batch, settings, settings.learning_rate, (0, 0))?.sum / batch.labels.len() as f64)
    }
}

/// One epoch; `None` where the observer stopped it.
fn run_epoch(
    session: &mut Session,
    data: &dyn Batches,
    settings: &Settings,
    epoch: usize,
    steps: usize,
    observer: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Option<EpochSummary>, TrainError> {
    let (mut images, mut correct, mut loss_sum) = (0, 0, 0.0);
    let mut rate = settings.learning_rate;
    let mut last = 0;
    for (step, batch) in data.epoch(epoch, 0).enumerate() {
        let batch = batch.map_err(TrainError::Data)?;
        rate = settings.learning_rate_at(epoch, step, steps);
        let loss = session.step(&batch, settings, rate, (epoch, step))?;
        last = step;
        images += batch.labels.len();
        correct += loss.top1;
        loss_sum += loss.sum;
        let done = StepDone {
            epoch,
            step,
            steps,
            images: batch.labels.len(),
            correct: loss.top1,
            loss: loss.sum / batch.labels.len() as f64,
            learning_rate: rate,
        };
        if observer(Event::Step(done)).is_break() {
            return Ok(None);
        }
    }
    if images == 0 {
        return Err(TrainError::NoBatches);
    }
    if !session.is_finite() {
        return Err(TrainError::NonFinite { epoch, step: last, learning_rate: rate });
    }
    let images_seen = images as f64;
    Ok(Some(EpochSummary { epoch, images, loss: loss_sum / images_seen, top1: 100.0 * correct as f64 / images_seen }))
}

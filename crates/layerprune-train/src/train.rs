use std::ops::ControlFlow;

use layerprune::batch::Batch;
use layerprune::onnx::Model;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::{DataError, TrainError};
use crate::loss::Answers;
use crate::settings::Settings;
use crate::trainer::Trainer;

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
    Step(StepDone<'a>),
    /// An epoch was done.
    EpochEnd(EpochDone<'a>),
}

/// A step that was done.
pub struct StepDone<'a> {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step in its epoch, from 0.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Images of its batches.
    pub images: usize,
    /// Right answers before the step, where answers can be right.
    pub answers: Option<Answers>,
    /// The mean loss of an image before the step.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of all gradients before they were clipped, where clipping was asked for.
    pub gradient_norm: Option<f64>,
    trainer: &'a Trainer<'a>,
}

impl std::fmt::Debug for StepDone<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("StepDone");
        fields.field("epoch", &self.epoch).field("step", &self.step).field("loss", &self.loss).finish_non_exhaustive()
    }
}

impl StepDone<'_> {
    /// All that is needed to go on behind this step. Copies all weights and what the optimiser keeps of them.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint::take(self.trainer)
    }

    /// The model as it now is: the average of its weights where [`Settings::ema`] asks for one.
    ///
    /// # Errors
    /// [`TrainError::Tensor`] where weights cannot be stored in the model's own element types.
    pub fn model(&self) -> Result<Model, TrainError> {
        self.trainer.model()
    }
}

/// An epoch that was done.
pub struct EpochDone<'a> {
    /// What it came to.
    pub summary: EpochSummary,
    trainer: &'a Trainer<'a>,
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
        Checkpoint::take(self.trainer)
    }

    /// The model as it now is: the average of its weights where [`Settings::ema`] asks for one.
    ///
    /// # Errors
    /// [`TrainError::Tensor`] where weights cannot be stored in the model's own element types.
    pub fn model(&self) -> Result<Model, TrainError> {
        self.trainer.model()
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
    /// Right answers, where answers can be right: images with [`Loss::CrossEntropy`](crate::Loss::CrossEntropy), labels
    /// with [`Loss::BinaryCrossEntropy`](crate::Loss::BinaryCrossEntropy).
    pub answers: Option<Answers>,
}

/// What training came to.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Outcome {
    /// The model with the weights of the last step, or their average where [`Settings::ema`] asks for one.
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
/// goes on from a checkpoint, which may be taken behind any step, ends like one that was never interrupted.
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
    run(Trainer::new(model, None, settings, data.batches_per_epoch())?, data, start, observer)
}

/// Trains `model` as [`train`] does, and has it learn from `teacher` as [`Settings::distill`] says: mostly the model that it
/// was cut from. The teacher stays as it is.
///
/// # Errors
/// Those of [`train`]; [`TrainError::Taught`] where the settings say nothing of a teacher; what is wrong with the teacher, or
/// outputs of another number than the model's.
///
/// # Example
/// ```no_run
/// use std::ops::ControlFlow;
/// use layerprune::onnx::Model;
/// use layerprune_train::{Batches, Distill, Settings, distill};
///
/// # fn run(data: &dyn Batches) -> Result<(), Box<dyn std::error::Error>> {
/// let (whole, pruned) = (Model::read("model.onnx")?, Model::read("pruned.onnx")?);
/// let lesson = Distill { block_weight: 1.0, labels: false, ..Distill::default() };
/// let settings = Settings { distill: Some(lesson), ..Settings::default() };
/// let outcome = distill(&pruned, &whole, data, &settings, None, &mut |_| ControlFlow::Continue(()))?;
/// outcome.model.write("tuned.onnx")?;
/// # Ok(())
/// # }
/// ```
pub fn distill(
    model: &Model,
    teacher: &Model,
    data: &dyn Batches,
    settings: &Settings,
    start: Option<Checkpoint>,
    observer: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    run(Trainer::new(model, Some(teacher), settings, data.batches_per_epoch())?, data, start, observer)
}

fn run(
    mut trainer: Trainer<'_>,
    data: &dyn Batches,
    start: Option<Checkpoint>,
    observer: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    if let Some(checkpoint) = start {
        checkpoint.restore(&mut trainer)?;
    }
    let mut epochs = Vec::new();
    let mut going_on = ControlFlow::Continue(());
    while going_on.is_continue() && trainer.progress.epoch < trainer.settings.epochs {
        going_on = run_epoch(&mut trainer, data, observer)?;
        if going_on.is_continue() {
            let epoch = trainer.progress.epoch;
            let sums = trainer.end_epoch()?;
            let summary = EpochSummary { epoch, images: sums.images, loss: sums.mean_loss(), answers: sums.answers };
            epochs.push(summary.clone());
            going_on = observer(Event::EpochEnd(EpochDone { summary, trainer: &trainer }));
        }
    }
    Ok(Outcome { model: trainer.model()?, finished: trainer.progress.epoch >= trainer.settings.epochs, epochs })
}

/// What is left of an epoch; breaks where the observer stopped it.
fn run_epoch(
    trainer: &mut Trainer<'_>,
    data: &dyn Batches,
    observer: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, TrainError> {
    let (epoch, steps) = (trainer.progress.epoch, trainer.steps_per_epoch());
    let mut batches = data.epoch(epoch, trainer.progress.step * trainer.settings.accumulate);
    loop {
        let step = trainer.progress.step;
        let Some(stepped) = trainer.step(&mut *batches)? else { return Ok(ControlFlow::Continue(())) };
        let done = StepDone {
            epoch,
            step,
            steps,
            images: stepped.sums.images,
            answers: stepped.sums.answers,
            loss: stepped.sums.mean_loss(),
            learning_rate: stepped.learning_rate,
            gradient_norm: stepped.gradient_norm,
            trainer,
        };
        if observer(Event::Step(done)).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Single steps, for benchmarks: with this crate's kernels, or with burn's own operations in their place.
#[doc(hidden)]
pub struct Stepper<'a>(Trainer<'a>);

impl<'a> Stepper<'a> {
    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn new(
        model: &'a Model,
        teacher: Option<&Model>,
        settings: &'a Settings,
        reference: bool,
    ) -> Result<Self, TrainError> {
        let mut trainer = Trainer::new(model, teacher, settings, 1)?;
        trainer.session.reference = reference;
        Ok(Self(trainer))
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn step(&mut self, batch: &Batch) -> Result<f64, TrainError> {
        self.0.progress.step = 0;
        let stepped = self.0.step(&mut std::iter::once(Ok(batch.clone())))?;
        Ok(stepped.map_or(f64::NAN, |stepped| stepped.sums.mean_loss()))
    }
}

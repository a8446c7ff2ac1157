//! A model in training, and one step of it.

use layerprune::batch::Batch;
use layerprune::onnx::{Model, ModelDigest};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Section;
use crate::clip;
use crate::distill::Teacher;
use crate::ema::Average;
use crate::error::{DataError, TrainError};
use crate::loss::{Answers, Judgement};
use crate::lower::{self, Mode};
use crate::optimizer::{Moments, Step};
use crate::regularize::Regularizers;
use crate::session::{Differentiated, Marks, Session};
use crate::settings::Settings;

/// A model in training.
pub(crate) struct Trainer<'a> {
    pub(crate) model: &'a Model,
    /// Of the model; encoding it anew for each checkpoint would take longer than the checkpoint.
    pub(crate) digest: ModelDigest,
    pub(crate) settings: &'a Settings,
    pub(crate) session: Session,
    pub(crate) batches_per_epoch: usize,
    pub(crate) progress: Progress,
    moments: Moments,
    average: Option<Average>,
    regularizers: Regularizers,
    pub(crate) teacher: Option<Teacher<'a>>,
}

/// How far training has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Progress {
    /// The epoch that is going on, from 0.
    pub(crate) epoch: usize,
    /// Steps done in it.
    pub(crate) step: usize,
    /// Steps done in all epochs.
    pub(crate) steps: u64,
    /// What the epoch came to so far.
    pub(crate) sums: Sums,
}

/// What some batches came to, each as it was before its step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Sums {
    pub(crate) images: usize,
    /// Of the images' losses.
    pub(crate) loss: f64,
    pub(crate) answers: Option<Answers>,
}

/// What the batches of one step say of the weights.
struct Gathered {
    sums: Sums,
    batches: usize,
    /// The mean over the batches, for each trained weight.
    gradients: Vec<Option<Vec<f32>>>,
    statistics: Vec<lower::Batch>,
}

/// What a step came to.
pub(crate) struct Stepped {
    pub(crate) sums: Sums,
    pub(crate) learning_rate: f64,
    pub(crate) gradient_norm: Option<f64>,
}

impl<'a> Trainer<'a> {
    /// `model` before its first step; `batches_per_epoch` is what the schedule goes by.
    pub(crate) fn new(
        model: &'a Model,
        teacher: Option<&Model>,
        settings: &'a Settings,
        batches_per_epoch: usize,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        let device = settings.device.open()?;
        let teacher = match (teacher, &settings.distill) {
            (Some(teacher), Some(distill)) => Some(Teacher::new(model, teacher, distill, &settings.loss, &device)?),
            (None, None) => None,
            (given, _) => return Err(TrainError::Taught { given: given.is_some() }),
        };
        let tapped = teacher.as_ref().map(Teacher::tapped).unwrap_or_default();
        let mut session = Session::marked(model, &settings.loss, &Marks { tapped: &tapped, ..Marks::default() })?;
        session.device = device;
        let steps = settings.epochs.saturating_mul(settings.steps_per_epoch(batches_per_epoch));
        let regularizers = Regularizers::new(&settings.sparsity, &mut session, steps)?;
        if session.trained.is_empty() {
            return Err(TrainError::NoWeights);
        }
        let moments = Moments::new(settings.optimizer.rule(), &session.weights, &session.trained);
        let average = settings.ema.map(|decay| Average::new(decay, &session.weights));
        let progress = Progress::default();
        let digest = model.digest();
        Ok(Self {
            model,
            digest,
            settings,
            session,
            batches_per_epoch,
            progress,
            moments,
            average,
            regularizers,
            teacher,
        })
    }

    /// Moves the weights by the next batches; `None` where there are no more. Behind an error of numbers that are not finite
    /// the trainer is of no use; what was taken of it before is.
    pub(crate) fn step(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Option<Stepped>, TrainError> {
        let learning_rate = self.learning_rate();
        let Some(Gathered { sums, mut gradients, statistics, .. }) = self.gather(batches)? else { return Ok(None) };
        let norm = clip::norm(&gradients);
        if !norm.is_finite() {
            return Err(self.diverged("a gradient"));
        }
        if let Some(greatest) = self.settings.clip_norm {
            clip::bound_norm(&mut gradients, norm, greatest);
        }
        // Behind the clipping: a proximal step takes what is clipped, and penalties are as strong as they are set.
        self.regularizers.before(&mut self.session.weights, &mut gradients, learning_rate);
        self.progress.steps += 1;
        self.move_weights(&gradients, learning_rate);
        self.regularizers.after(&mut self.session.weights, learning_rate);
        self.move_statistics(&statistics);
        if !self.session.is_finite() {
            return Err(self.diverged("a weight"));
        }
        if let Some(average) = &mut self.average {
            average.follow(&self.session.weights, self.progress.steps == 1);
        }
        self.progress.step += 1;
        self.progress.sums.add(&sums);
        let gradient_norm = self.settings.clip_norm.map(|_| norm);
        Ok(Some(Stepped { sums, learning_rate, gradient_norm }))
    }

    /// The learning rate of the next step.
    pub(crate) fn learning_rate(&self) -> f64 {
        self.settings.learning_rate_at(self.progress.epoch, self.progress.step, self.steps_per_epoch())
    }

    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.settings.steps_per_epoch(self.batches_per_epoch)
    }

    /// Runs the batches of one step and averages their gradients.
    fn gather(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Option<Gathered>, TrainError> {
        let mut gathered: Option<Gathered> = None;
        for (number, batch) in batches.take(self.settings.accumulate).enumerate() {
            let batch = batch.map_err(TrainError::Data)?;
            let done = self.differentiate(&batch, self.progress.step * self.settings.accumulate + number)?;
            match &mut gathered {
                None => gathered = Some(Gathered::of(done, batch.labels.len())),
                Some(gathered) => gathered.add(done, batch.labels.len()),
            }
        }
        if let Some(gathered) = gathered.as_mut().filter(|gathered| gathered.batches > 1) {
            clip::scale(&mut gathered.gradients, 1.0 / gathered.batches as f32);
        }
        Ok(gathered)
    }

    /// Runs batch `number` of the epoch.
    fn differentiate(&mut self, batch: &Batch, number: usize) -> Result<Differentiated, TrainError> {
        let mode = Mode::Train { frozen: self.settings.freeze_batch_norm_stats };
        let run = self.session.run(batch, mode)?.with_dropout(self.settings.seed, self.progress.epoch, number);
        let loss = &self.settings.loss;
        let done = match &mut self.teacher {
            None => self.session.differentiate(batch, loss, run)?,
            Some(teacher) => {
                let said = teacher.lesson(batch)?;
                self.session.differentiate_by(batch, run, &|outputs, width, taps| {
                    teacher.judge(&said, loss, batch, outputs, width, taps)
                })?
            }
        };
        if done.judgement.sum.is_finite() { Ok(done) } else { Err(self.diverged("the loss")) }
    }

    fn move_weights(&mut self, gradients: &[Option<Vec<f32>>], rate: f64) {
        let rule = self.settings.optimizer.rule();
        let count = self.progress.steps;
        let trained = self.session.trained.iter().zip(&mut self.moments.of).zip(gradients);
        for ((&place, moments), gradient) in trained {
            let Some(gradient) = gradient else { continue };
            let decays = self.settings.decay_norms_and_biases || self.session.weights.0[place].is_kernel;
            let decays = decays && !self.regularizers.spares(place);
            let decay = if decays { self.settings.weight_decay } else { 0.0 };
            rule.update(Step { rate, decay, count }, self.session.weights.floats_mut(place), moments, gradient);
        }
    }

    fn move_statistics(&mut self, seen: &[lower::Batch]) {
        for seen in seen {
            for (place, new) in seen.places.into_iter().zip([&seen.mean, &seen.variance]) {
                mix(self.session.weights.floats_mut(place), new, seen.momentum);
            }
        }
    }

    /// The model as training hands it out: the average where there is one.
    pub(crate) fn model(&self) -> Result<Model, TrainError> {
        self.session.model(self.model, self.average.as_ref())
    }

    /// Ends the epoch; gives its sums.
    pub(crate) fn end_epoch(&mut self) -> Result<Sums, TrainError> {
        let sums = self.progress.sums;
        if sums.images == 0 {
            return Err(TrainError::NoBatches);
        }
        self.progress = Progress { epoch: self.progress.epoch + 1, steps: self.progress.steps, ..Progress::default() };
        Ok(sums)
    }

    fn diverged(&self, what: &'static str) -> TrainError {
        let (epoch, step) = (self.progress.epoch, self.progress.step);
        TrainError::NonFinite { what, epoch, step, learning_rate: self.learning_rate() }
    }

    /// All numbers that a checkpoint keeps and that are as many all along, section by section.
    pub(crate) fn sections(&self) -> Vec<Section<'_>> {
        let weights = &self.session.weights;
        let mut sections = vec![weights.section()];
        sections.extend(self.moments.sections(weights, &self.session.trained));
        sections.extend(self.average.as_ref().map(|average| average.section(weights)));
        sections.extend(self.regularizers.sections());
        sections
    }

    /// The numbers behind [`Trainer::sections`], in their order.
    pub(crate) fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        let mut numbers = self.session.weights.numbers_mut();
        numbers.extend(self.moments.numbers_mut());
        numbers.extend(self.average.iter_mut().flat_map(|average| &mut average.values).map(|values| &mut values[..]));
        numbers.extend(self.regularizers.numbers_mut());
        numbers
    }
}

impl Sums {
    fn of(judgement: &Judgement, images: usize) -> Self {
        Self { images, loss: judgement.sum, answers: judgement.answers }
    }

    fn add(&mut self, other: &Self) {
        self.images = self.images.saturating_add(other.images);
        self.loss += other.loss;
        if let Some(other) = other.answers {
            self.answers.get_or_insert_default().add(other);
        }
    }

    /// The mean loss of an image.
    pub(crate) fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }
}

impl Gathered {
    fn of(done: Differentiated, images: usize) -> Self {
        let sums = Sums::of(&done.judgement, images);
        Self { sums, batches: 1, gradients: done.weights, statistics: done.statistics }
    }

    fn add(&mut self, done: Differentiated, images: usize) {
        self.sums.add(&Sums::of(&done.judgement, images));
        self.batches += 1;
        self.statistics.extend(done.statistics);
        for (sum, new) in self.gradients.iter_mut().zip(done.weights) {
            match (sum, new) {
                (Some(sum), Some(new)) => clip::add(sum, &new),
                (sum @ None, new) => *sum = new,
                (Some(_), None) => {}
            }
        }
    }
}

/// `stored = momentum · stored + (1 - momentum) · new`.
fn mix(stored: &mut [f32], new: &[f32], momentum: f32) {
    for (stored, new) in stored.iter_mut().zip(new) {
        *stored = momentum * *stored + (1.0 - momentum) * new;
    }
}

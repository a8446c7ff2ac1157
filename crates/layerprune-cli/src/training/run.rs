//! A training run from its start, or from where it was broken off, to the model that counts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune::record::EpochRow;
use layerprune_data::{BatchOptions, Dataset};
use layerprune_infer::Session;
use layerprune_train::{Answers, Batches, Checkpoint, CheckpointError, DataError, Event, TrainError};

use super::folder::{self, Folder, State};
use super::settings::Chosen;
use super::watch::Watch;
use super::{choice, measure, scratch, sparsity};
use crate::args::{Global, GoingOnArgs, Keep, KeepingArgs};
use crate::commands::eval;
use crate::data::{self, Data};
use crate::{CannotBeDone, model, progress};

/// Minutes between checkpoints where not given.
const CHECKPOINT_EVERY: f64 = 5.0;

/// A training run that leaves checkpoints and goes on from one that it finds.
pub(crate) struct Run<'a> {
    pub(crate) data: &'a Data,
    pub(crate) chosen: Chosen,
    /// What it is for, such as `fine-tuning`.
    pub(crate) stage: &'a str,
    pub(crate) global: &'a Global,
    /// The folder of the checkpoint.
    pub(crate) checkpoint: PathBuf,
    pub(crate) checkpoint_every: Duration,
    /// A line of JSON for each epoch.
    pub(crate) log: PathBuf,
    /// The folder for event files.
    pub(crate) tensorboard: Option<PathBuf>,
    /// Where to begin.
    pub(crate) going_on: GoingOnArgs,
}

/// What a model came to on the held-out part.
pub(super) struct HeldOut {
    /// Right answers, in percent, where answers can be right.
    pub(super) answers: Option<f64>,
    pub(super) loss: Option<f64>,
}

/// What a run came to.
pub(crate) struct Trained {
    pub(crate) model: Model,
    /// The epochs; the one whose model this is says so.
    pub(crate) rows: Vec<EpochRow>,
}

impl<'a> Run<'a> {
    /// A run for the model file `output`, whose checkpoint and records stand beside it.
    pub(crate) fn new(
        data: &'a Data,
        chosen: Chosen,
        output: &Path,
        keeping: &KeepingArgs,
        global: &'a Global,
    ) -> Self {
        let minutes = keeping.checkpoint_every.unwrap_or(CHECKPOINT_EVERY);
        Self {
            data,
            chosen,
            stage: "fine-tuning",
            global,
            checkpoint: beside(output, ".checkpoint"),
            checkpoint_every: Duration::try_from_secs_f64(60.0 * minutes).unwrap_or(Duration::MAX),
            log: beside(output, ".epochs.jsonl"),
            tensorboard: keeping.tensorboard.clone(),
            going_on: GoingOnArgs::default(),
        }
    }

    /// With the epochs that cost `model` as much as the settings' epochs would cost the model in file `whole`.
    pub(crate) fn at_equal_compute(mut self, model: (&Model, &Path), whole: (&Model, &Path)) -> Result<Self> {
        let image = self.data.preprocess.output_shape(self.data.train.image_shape())?;
        let macs = |(model, path)| scratch::macs(model, path, image);
        let (own, whole) = (macs(model)?, macs(whole)?);
        let scaled = scratch::at_equal_compute(&self.chosen.settings, whole, own);
        progress::note(self.global, &scratch::text(&self.chosen.settings, &scaled, whole, own));
        self.chosen.settings = scaled;
        Ok(self)
    }

    /// Trains `model`; the checkpoint stays until [`Run::forget`].
    pub(crate) fn train(&self, model: &Model) -> Result<Trained> {
        let trained = self.train_as_it_is(&sparsity::with_scales(model, &self.chosen.settings)?)?;
        Ok(Trained { model: sparsity::without_scales(trained.model, self.global)?, ..trained })
    }

    /// Trains `model` without putting scales in or folding them away.
    pub(crate) fn train_as_it_is(&self, model: &Model) -> Result<Trained> {
        if self.chosen.has_labels() {
            self.data.expect_mixable(&self.chosen.augment)?;
        }
        let teacher = self.chosen.teacher.as_deref().map(model::read).transpose()?;
        let epochs = Epochs {
            set: self.data.train.clone(),
            options: self.data.training(self.chosen.settings.batch_size, self.chosen.augment),
            waited: Cell::default(),
        };
        let steps = self.chosen.settings.steps_per_epoch(epochs.batches_per_epoch());
        if steps == 0 {
            let (images, batch) = (self.data.train.len(), self.chosen.settings.batch_size);
            return Err(CannotBeDone(format!("{images} training images do not fill a batch of {batch}")).into());
        }
        let folder = Folder::take(&self.checkpoint)?;
        let (state, start) = self.found(&folder, (model, teacher.as_ref()), epochs.batches_per_epoch())?;
        let done = start.as_ref().map_or((0, 0), |checkpoint| (checkpoint.epochs_done(), checkpoint.steps_done()));
        let mut watch = Watch::begin(self, model, folder, state, done, steps)?;
        if watch.is_over() {
            return watch.result(None);
        }
        let settings = &self.chosen.settings;
        let mut observer = |event: Event<'_>| watch.see(event, epochs.waited.get());
        let outcome = match &teacher {
            Some(teacher) => layerprune_train::distill(model, teacher, &epochs, settings, start, &mut observer),
            None => layerprune_train::train(model, &epochs, settings, start, &mut observer),
        };
        watch.fault()?;
        let outcome = outcome?;
        if watch.is_over() {
            return watch.result(Some(outcome.model));
        }
        Err(watch.interrupted().into())
    }

    /// As [`Run::train`]; a checkpoint of another model is left behind, since a cut that is searched for may come out
    /// otherwise the second time.
    pub(crate) fn train_or_restart(&self, model: &Model) -> Result<Trained> {
        let other = |error: &anyhow::Error| {
            let is_other = |cause: &(dyn std::error::Error + 'static)| {
                matches!(cause.downcast_ref(), Some(CheckpointError::OtherModel { .. }))
            };
            error.chain().any(is_other)
        };
        match self.train(model) {
            Err(error) if other(&error) => {
                progress::note(self.global, "the checkpoint is of another cut; fine-tuning begins anew");
                self.forget();
                self.train(model)
            }
            trained => trained,
        }
    }

    /// Removes the checkpoint, once what it led to is written.
    pub(crate) fn forget(&self) {
        // Where another run has taken it by now, it is that one's.
        let _ = folder::remove(&self.checkpoint);
    }

    /// The state to go on from, where there is one, with the library's checkpoint. Where all begins anew, an older one stays
    /// until the first step has shown that training is possible.
    fn found(
        &self,
        folder: &Folder,
        (model, teacher): (&Model, Option<&Model>),
        batches_per_epoch: usize,
    ) -> Result<(State, Option<Checkpoint>)> {
        let circumstances = self.circumstances();
        if self.going_on.restart {
            return Ok((State::new(circumstances), None));
        }
        let elsewhere = self.going_on.resume.as_ref().and_then(Option::as_ref);
        let from = match elsewhere {
            _ if Folder::holds_state(&self.checkpoint) => &self.checkpoint,
            Some(from) => from,
            None => &self.checkpoint,
        };
        if !Folder::holds_state(from) {
            if self.going_on.resume.is_some() {
                let text = format!("there is nothing to resume: `{}` holds no checkpoint", from.display());
                return Err(CannotBeDone(text).into());
            }
            return Ok((State::new(circumstances), None));
        }
        let (state, checkpoint) = Folder::load(from, &circumstances)?;
        checkpoint.check(model, teacher, &self.chosen.settings, batches_per_epoch).map_err(TrainError::from)?;
        if *from != self.checkpoint {
            folder.adopt(from, &state)?;
        }
        Ok((state, Some(checkpoint)))
    }

    /// Looks at a batch of the held-out part, so that what cannot be done there shows at once and not behind an epoch.
    pub(super) fn try_held_out(&self, model: &Model) -> Result<()> {
        let fixed = match self.chosen.has_labels() && self.chosen.is_classification() {
            true => {
                Session::load(model, &data::session_options(self.global)).context("cannot run the model")?.fixed_batch()
            }
            false => None,
        };
        let images = fixed.unwrap_or(data::BATCH).min(self.data.held_out.len());
        if let Some(size) = fixed.filter(|&size| size > images) {
            let text = format!(
                "the model is fixed to batches of {size}, and {images} images are held out; `--held-out` sets their share"
            );
            return Err(CannotBeDone(text).into());
        }
        let few = self.data.held_out.subset(&(0..images).collect::<Vec<_>>())?;
        self.judged(model, &few).map(drop)
    }

    /// What a model comes to on the held-out part.
    pub(super) fn held_out(&self, model: &Model) -> Result<HeldOut> {
        self.judged(model, &self.data.held_out)
    }

    fn judged(&self, model: &Model, set: &Dataset) -> Result<HeldOut> {
        let data = self.data;
        if !self.chosen.has_labels() {
            return Ok(HeldOut { answers: None, loss: None });
        }
        let quiet = Global { quiet: true, ..self.global.clone() };
        if self.chosen.is_classification() {
            let accuracy = eval::accuracy(model, data, set, "held-out", &quiet)?;
            return Ok(HeldOut { answers: Some(accuracy.top1.percent), loss: accuracy.loss });
        }
        let found = measure::evaluated(model, data, set, &self.chosen.settings.loss, &quiet)?;
        Ok(HeldOut { answers: found.answers.map(Answers::percent), loss: Some(found.loss()) })
    }

    /// What the result depends on and the library's checkpoint does not hold.
    fn circumstances(&self) -> BTreeMap<String, String> {
        let (data, chosen) = (self.data, &self.chosen);
        [
            ("data", data.source.clone()),
            ("training images", format!("{} of {:?}", data.train.len(), data.train.image_shape())),
            ("preprocessing", data.preprocessing()),
            ("augmentation", format!("{:?}", chosen.augment)),
            ("keep", format!("{:?}", chosen.keep)),
            ("patience", chosen.patience.map_or("none".to_owned(), |patience| patience.to_string())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Trained {
    /// The epoch whose model this is.
    pub(crate) fn kept(&self) -> Option<&EpochRow> {
        self.rows.iter().find(|row| row.kept)
    }

    /// Marks the epoch that counts.
    pub(super) fn new(model: Model, mut rows: Vec<EpochRow>, keep: Keep) -> Self {
        let last = rows.len().checked_sub(1);
        let kept = match keep {
            Keep::Best => choice::best(&rows).or(last),
            Keep::Last => last,
        };
        if let Some(kept) = kept {
            rows[kept].kept = true;
        }
        Self { model, rows }
    }
}

/// A data set as the training library asks for it.
struct Epochs {
    set: Dataset,
    options: BatchOptions,
    /// How long the last pass waited for images so far.
    waited: Cell<Duration>,
}

/// A pass that says how long it waited.
struct Timed<'a> {
    batches: layerprune_data::Batches,
    waited: &'a Cell<Duration>,
}

impl Iterator for Timed<'_> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next();
        self.waited.set(self.batches.waited());
        Some(batch?.map_err(Into::into))
    }
}

impl Batches for Epochs {
    fn epoch(&self, epoch: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        let options = BatchOptions { epoch: epoch as u64, first_batch: first, ..self.options.clone() };
        match self.set.batches(&options) {
            Ok(batches) => Box::new(Timed { batches, waited: &self.waited }),
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        }
    }

    fn batches_per_epoch(&self) -> usize {
        self.set.len() / self.options.batch_size.max(1)
    }
}

/// `tuned.onnx` with `ending` behind its whole name.
fn beside(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    output.with_file_name(name)
}

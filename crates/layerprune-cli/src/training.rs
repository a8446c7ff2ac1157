//! Training, recalibration and evaluation on the data of a command.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use layerprune::batch::Batch;
use layerprune::onnx::Model;
use layerprune::record::{Accuracy, EpochRow};
use layerprune_data::{Augment, BatchOptions, Dataset};
use layerprune_train::{
    Answers, Batches, Checkpoint, CheckpointError, DataError, Event, Loss, Optimizer, Schedule, Settings, Sgd,
    TrainError,
};
use serde::{Deserialize, Serialize};

use crate::args::{Global, SettingArgs};
use crate::commands::eval;
use crate::data::{self, Data};
use crate::{CannotBeDone, Usage, interrupt, output, progress};

/// A data set as the training library asks for it.
struct Epochs {
    set: Dataset,
    options: BatchOptions,
}

impl Batches for Epochs {
    fn epoch(&self, epoch: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        let options = BatchOptions { epoch: epoch as u64, first_batch: first, ..self.options.clone() };
        match self.set.batches(&options) {
            Ok(batches) => Box::new(batches.map(|batch| batch.map_err(Into::into))),
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        }
    }

    fn batches_per_epoch(&self) -> usize {
        self.set.len() / self.options.batch_size.max(1)
    }
}

/// The settings on the command line; `learning_rate` where none is given.
pub(crate) fn settings(args: &SettingArgs, learning_rate: f64, seed: u64) -> Result<Settings> {
    if args.batch_size == 0 {
        return Err(Usage("`--batch-size` is above 0".to_owned()).into());
    }
    let settings = Settings {
        epochs: args.epochs,
        batch_size: args.batch_size,
        learning_rate: args.learning_rate.unwrap_or(learning_rate),
        optimizer: Optimizer::Sgd(Sgd { momentum: args.momentum, nesterov: args.nesterov }),
        weight_decay: args.weight_decay,
        schedule: schedule(&args.schedule)?,
        warm_up_epochs: args.warm_up,
        seed,
        ..Settings::default()
    };
    settings.check().map_err(|error| Usage(error.to_string()))?;
    Ok(settings)
}

/// The augmentation on the command line.
pub(crate) fn augment(args: &SettingArgs) -> Augment {
    Augment { pad_crop: (args.pad_crop > 0).then_some(args.pad_crop), flip: args.flip, ..Augment::default() }
}

fn schedule(text: &str) -> Result<Schedule> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        ["cosine"] => Ok(Schedule::Cosine),
        ["constant"] => Ok(Schedule::Constant),
        ["step", every, gamma] => match (every.parse(), gamma.parse()) {
            (Ok(every), Ok(gamma)) => Ok(Schedule::Step { every, gamma }),
            _ => Err(Usage(format!("`--schedule {text}` is not step:EVERY:FACTOR")).into()),
        },
        _ => Err(Usage(format!("`--schedule {text}` is none of cosine, constant, step:EVERY:FACTOR")).into()),
    }
}

/// What stands beside a checkpoint.
#[derive(Serialize, Deserialize)]
struct Log {
    circumstances: BTreeMap<String, String>,
    epochs: Vec<EpochRow>,
}

/// A training run that leaves a checkpoint after every epoch and goes on from one that it finds.
pub(crate) struct Run<'a> {
    pub(crate) data: &'a Data,
    pub(crate) settings: Settings,
    pub(crate) augment: Augment,
    pub(crate) stage: &'a str,
    pub(crate) checkpoint: PathBuf,
    pub(crate) global: &'a Global,
}

impl Run<'_> {
    /// Trains `model`; the checkpoint stays until [`Run::forget`].
    pub(crate) fn train(&self, model: &Model) -> Result<(Model, Vec<EpochRow>)> {
        let (start, rows) = self.found()?.unzip();
        let mut rows: Vec<EpochRow> = rows.unwrap_or_default();
        let epochs = Epochs {
            set: self.data.train.clone(),
            options: self.data.training(self.settings.batch_size, self.augment),
        };
        let steps = epochs.batches_per_epoch();
        if steps == 0 {
            let (images, batch) = (self.data.train.len(), self.settings.batch_size);
            return Err(CannotBeDone(format!("{images} training images do not fill a batch of {batch}")).into());
        }
        let first = start.as_ref().map_or(0, Checkpoint::epochs_done);
        let bar = progress::bar(self.global, self.stage, (steps * self.settings.epochs) as u64);
        bar.set_position((first * steps) as u64);
        bar.reset_eta();
        let mut going_on = start.is_some().then(|| {
            let (all, from) = (self.settings.epochs, self.checkpoint.display());
            format!("going on after {first} of {all} epochs, from `{from}`")
        });
        let mut fault = None;
        let mut began = Instant::now();
        let (mut loss, mut rate) = (0.0, self.settings.learning_rate);
        let outcome = layerprune_train::train(model, &epochs, &self.settings, start, &mut |event| {
            if let Some(text) = going_on.take() {
                bar.suspend(|| progress::note(self.global, &text));
            }
            match event {
                Event::Step(step) => {
                    loss = if step.step == 0 { step.loss } else { 0.9 * loss + 0.1 * step.loss };
                    rate = step.learning_rate;
                    let seconds = began.elapsed().as_secs_f64();
                    let speed = ((step.step + 1) * step.images) as f64 / seconds.max(1e-9);
                    bar.set_position((step.epoch * steps + step.step + 1) as u64);
                    bar.set_message(format!(
                        "epoch {}/{}, loss {loss:.3}, {speed:.0} images/s,",
                        step.epoch + 1,
                        self.settings.epochs
                    ));
                }
                Event::EpochEnd(done) => {
                    let seconds = began.elapsed().as_secs_f64();
                    let held_out = done.model().map_err(anyhow::Error::from).and_then(|model| self.held_out(&model));
                    let held_out = match held_out {
                        Ok(top1) => Some(top1),
                        // The epoch itself was done.
                        Err(_) if interrupt::asked() => None,
                        Err(error) => {
                            fault = Some(error);
                            None
                        }
                    };
                    rows.push(EpochRow {
                        stage: self.stage.to_owned(),
                        epoch: done.summary.epoch + 1,
                        loss: done.summary.loss,
                        train_top1: done.summary.answers.map(Answers::percent),
                        held_out_top1: held_out,
                        learning_rate: Some(rate),
                        seconds: Some(seconds),
                    });
                    if held_out.is_some() {
                        bar.suspend(|| progress::note(self.global, &line(&rows[rows.len() - 1])));
                    }
                    let log = Log { circumstances: self.circumstances(), epochs: rows.clone() };
                    // The log first: a checkpoint is only used with its log.
                    let saved = serde_json::to_string(&log).map_err(anyhow::Error::from);
                    let saved = saved.and_then(|log| output::write_file(&self.log(), &log));
                    let saved = saved.and_then(|()| Ok(done.checkpoint().save(&self.checkpoint)?));
                    fault = fault.take().or(saved.err());
                    if fault.is_some() {
                        return ControlFlow::Break(());
                    }
                    began = Instant::now();
                }
                _ => {}
            }
            interrupt::check()
        });
        bar.finish_and_clear();
        if let Some(fault) = fault {
            return Err(fault);
        }
        let outcome = outcome?;
        if outcome.finished {
            return Ok((outcome.model, rows));
        }
        if rows.is_empty() {
            let text = "interrupted before the first epoch was done; nothing was written";
            return Err(CannotBeDone(text.to_owned()).into());
        }
        Err(CannotBeDone(format!(
            "interrupted after {} of {} epochs; the same command goes on from `{}`",
            rows.len(),
            self.settings.epochs,
            self.checkpoint.display()
        ))
        .into())
    }

    /// As [`Run::train`]; a checkpoint of another model is left behind, since a cut that is searched for may come out
    /// otherwise the second time.
    pub(crate) fn train_or_restart(&self, model: &Model) -> Result<(Model, Vec<EpochRow>)> {
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
        for path in [&self.checkpoint, &self.log()] {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The checkpoint of an interrupted run and the epochs that led to it.
    fn found(&self) -> Result<Option<(Checkpoint, Vec<EpochRow>)>> {
        if !self.checkpoint.exists() {
            return Ok(None);
        }
        let checkpoint = Checkpoint::load(&self.checkpoint)?;
        let mut rows = self.rows_so_far()?;
        rows.truncate(checkpoint.epochs_done());
        Ok(Some((checkpoint, rows)))
    }

    fn rows_so_far(&self) -> Result<Vec<EpochRow>> {
        let context = || {
            format!("cannot use `{}`, which belongs to the checkpoint; `--restart` begins anew", self.log().display())
        };
        let log: Log =
            serde_json::from_str(&std::fs::read_to_string(self.log()).with_context(context)?).with_context(context)?;
        for (setting, expected) in self.circumstances() {
            let found = log.circumstances.get(&setting).cloned().unwrap_or_default();
            if found != expected {
                return Err(TrainError::from(CheckpointError::OtherSettings { setting, found, expected }).into());
            }
        }
        Ok(log.epochs)
    }

    /// What the epochs depend on and the checkpoint does not hold.
    fn circumstances(&self) -> BTreeMap<String, String> {
        let data = self.data;
        [
            ("data", data.source.clone()),
            ("training images", format!("{} of {:?}", data.train.len(), data.train.image_shape())),
            ("preprocessing", data.preprocessing()),
            ("augmentation", format!("{:?}", self.augment)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn log(&self) -> PathBuf {
        self.checkpoint.with_extension("epochs.json")
    }

    fn held_out(&self, model: &Model) -> Result<f64> {
        let quiet = Global { quiet: true, ..self.global.clone() };
        let accuracy = eval::accuracy(model, self.data, &self.data.held_out, "held-out", &quiet)?;
        Ok(accuracy.top1.percent)
    }
}

/// Where the checkpoint of a run that writes `output` stands.
pub(crate) fn checkpoint_beside(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".checkpoint");
    output.with_file_name(name)
}

fn line(row: &EpochRow) -> String {
    format!(
        "{} epoch {}: loss {:.4}, training top-1 {:.2} %, held-out top-1 {:.2} %, learning rate {:.4}, {:.1} s",
        row.stage,
        row.epoch,
        row.loss,
        row.train_top1.unwrap_or(f64::NAN),
        row.held_out_top1.unwrap_or(f64::NAN),
        row.learning_rate.unwrap_or(f64::NAN),
        row.seconds.unwrap_or(f64::NAN)
    )
}

/// The model with batch-norm statistics of about `samples` training images; `None` where it has no batch norm.
pub(crate) fn recalibrate(model: &Model, data: &Data, samples: usize, global: &Global) -> Result<Option<Model>> {
    recalibrate_on(model, data, &data.sample(samples)?, global)
}

/// The model with batch-norm statistics of the images of `set`; `None` where it has no batch norm.
pub(crate) fn recalibrate_on(model: &Model, data: &Data, set: &Dataset, global: &Global) -> Result<Option<Model>> {
    let bar = progress::bar(global, "recalibrating", set.len() as u64);
    let batches = set.batches(&BatchOptions {
        shuffle: true,
        drop_last: set.len() >= data::BATCH,
        ..data.training(data::BATCH.min(set.len()), Augment::default())
    })?;
    let mut stopped = false;
    let mut counted = batches
        .map(|batch| {
            let batch = batch?;
            bar.inc(batch.labels.len() as u64);
            Ok(batch)
        })
        .take_while(|_| {
            stopped = interrupt::asked();
            !stopped
        });
    let done = layerprune_train::recalibrate(model, &mut counted);
    bar.finish_and_clear();
    if stopped {
        return Err(interrupt::ended());
    }
    match done {
        Err(TrainError::NoBatchNorm) => Ok(None),
        done => done.map(Some).context("cannot recalibrate"),
    }
}

/// Accuracy on `set` through the training library's forward pass.
pub(crate) fn accuracy(model: &Model, data: &Data, set: &Dataset, global: &Global) -> Result<Accuracy> {
    let bar = progress::bar(global, "evaluating", set.len() as u64);
    let mut batches = data.plain(set, data::BATCH)?.map(|batch| {
        let batch = batch?;
        bar.inc(batch.labels.len() as u64);
        if interrupt::asked() { Err("interrupted".into()) } else { Ok(batch) }
    });
    let found = layerprune_train::evaluate(model, &Loss::default(), &mut batches)?;
    bar.finish_and_clear();
    let images = found.images as u64;
    let top5 = found.top5.filter(|_| set.classes().len() > 5).map(|top5| top5 as u64);
    let top1 = found.answers.map_or(0, |answers| answers.right as u64);
    Ok(Accuracy::from_counts(images, top1, top5, Some(found.loss())))
}

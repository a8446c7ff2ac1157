//! Recalibration and evaluation on the data of a command.

use anyhow::{Context, Result};
use layerprune::onnx::Model;
use layerprune::record::{Accuracy, Proportion};
use layerprune_data::{Dataset, TargetKind};
use layerprune_train::{Evaluation, Loss, TrainError};
use serde::Serialize;

use super::settings;
use crate::args::{Global, LossName};
use crate::data::{self, Data};
use crate::{interrupt, progress};

/// The model with batch-norm statistics of about `samples` training images; `None` where it has no batch norm.
pub(crate) fn recalibrate(model: &Model, data: &Data, samples: usize, global: &Global) -> Result<Option<Model>> {
    recalibrate_on(model, data, &data.sample(samples)?, global)
}

/// The model with batch-norm statistics of the images of `set`; `None` where it has no batch norm.
pub(crate) fn recalibrate_on(model: &Model, data: &Data, set: &Dataset, global: &Global) -> Result<Option<Model>> {
    let bar = progress::bar(global, "recalibrating", set.len() as u64);
    let batches = data.shuffled(set, data::BATCH.min(set.len()), set.len() >= data::BATCH, 0)?;
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

/// What a model comes to by a loss that knows no top-1.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) images: u64,
    /// The name of the loss, and its mean over the images.
    pub(crate) loss: &'static str,
    pub(crate) mean_loss: f64,
    /// The share of labels that are right, where an image has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) right_labels: Option<Proportion>,
}

/// A loss on `set` through the training library's forward pass.
pub(crate) fn judged(model: &Model, data: &Data, set: &Dataset, loss: LossName, global: &Global) -> Result<Judged> {
    let loss = settings::loss(Some(loss), 0.0)?;
    let found = evaluated(model, data, set, &loss, global)?;
    Ok(Judged {
        images: found.images as u64,
        loss: loss.name(),
        mean_loss: found.loss(),
        right_labels: found.answers.map(|answers| Proportion::of(answers.right as u64, answers.of as u64)),
    })
}

/// The loss that suits what the data set gives for each image: a class, several labels, or numbers.
pub(crate) fn told_loss(set: &Dataset) -> LossName {
    match set.target_kind() {
        None => LossName::CrossEntropy,
        Some(TargetKind::MultiLabel) => LossName::BinaryCrossEntropy,
        Some(TargetKind::Regression) => LossName::MeanSquared,
    }
}

/// Accuracy on `set` through the training library's forward pass.
pub(crate) fn accuracy(model: &Model, data: &Data, set: &Dataset, global: &Global) -> Result<Accuracy> {
    let found = evaluated(model, data, set, &Loss::default(), global)?;
    let images = found.images as u64;
    let top5 = found.top5.filter(|_| set.classes().len() > 5).map(|top5| top5 as u64);
    let top1 = found.answers.map_or(0, |answers| answers.right as u64);
    Ok(Accuracy::from_counts(images, top1, top5, Some(found.loss())))
}

/// What the training library's forward pass comes to on `set` by `loss`.
pub(super) fn evaluated(model: &Model, data: &Data, set: &Dataset, loss: &Loss, global: &Global) -> Result<Evaluation> {
    let bar = progress::bar(global, "evaluating", set.len() as u64);
    let mut batches = data.plain(set, data::BATCH)?.map(|batch| {
        let batch = batch?;
        bar.inc(batch.labels.len() as u64);
        if interrupt::asked() { Err("interrupted".into()) } else { Ok(batch) }
    });
    let found = layerprune_train::evaluate(model, loss, &mut batches);
    bar.finish_and_clear();
    Ok(found?)
}

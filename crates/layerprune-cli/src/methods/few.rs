//! Training on a few batches: too short for checkpoints.

use std::ops::ControlFlow;

use anyhow::{Context, Result};
use layerprune::batch::Batch;
use layerprune::methods::Stage;
use layerprune::onnx::Model;
use layerprune_data::BatchOptions;
use layerprune_train::{Batches, DataError, Event, Settings};

use super::ports::Training;
use crate::args::Global;
use crate::data::Data;
use crate::{interrupt, progress};

/// Some batches of the training images, other ones in each round.
pub(super) struct Few<'a> {
    pub(super) data: &'a Data,
    pub(super) training: &'a Training,
    pub(super) count: usize,
    pub(super) round: usize,
}

impl Batches for Few<'_> {
    fn epoch(&self, _: usize, first: usize) -> Box<dyn Iterator<Item = Result<Batch, DataError>> + '_> {
        let options = self.data.training(self.training.batch_size, self.training.augment);
        let options = BatchOptions { epoch: self.round as u64, first_batch: first, ..options };
        match self.data.train.batches(&options) {
            Ok(batches) => Box::new(batches.take(self.count - first).map(|batch| batch.map_err(Into::into))),
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        }
    }

    fn batches_per_epoch(&self) -> usize {
        self.count.min(self.data.train.len() / self.training.batch_size.max(1))
    }
}

pub(super) fn train_few(
    model: &Model,
    stage: &Stage<'_>,
    few: &Few<'_>,
    settings: &Settings,
    global: &Global,
) -> Result<Model> {
    let bar = progress::bar(global, stage.what, few.batches_per_epoch() as u64);
    let mut observe = |event: Event<'_>| {
        if matches!(event, Event::Step(_)) {
            bar.inc(1);
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let done = match stage.teacher {
        Some(teacher) => layerprune_train::distill(model, teacher, few, settings, None, &mut observe),
        None => layerprune_train::train(model, few, settings, None, &mut observe),
    };
    bar.finish_and_clear();
    if interrupt::asked() {
        return Err(interrupt::ended());
    }
    Ok(done.context("cannot train")?.model)
}

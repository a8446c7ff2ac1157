//! Training, recalibration and evaluation on the data of a command.

mod bar;
mod choice;
mod folder;
mod log;
mod measure;
pub(crate) mod preset;
mod run;
mod scratch;
mod settings;
mod sparsity;
mod tensorboard;
mod watch;

pub(crate) use folder::remove as remove_checkpoint;
pub(crate) use measure::{Judged, accuracy, judged, recalibrate, recalibrate_on, told_loss};
pub(crate) use run::{Run, Trained};
pub(crate) use settings::{Chosen, FINETUNE, TRAIN, chosen, filled, keys, over};

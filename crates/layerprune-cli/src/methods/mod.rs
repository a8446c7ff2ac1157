//! Published methods with engines and data behind their ports.

mod few;
mod journal;
mod ports;

pub(crate) use journal::Journal;
pub(crate) use ports::{Ports, Training};

use std::path::Path;

use anyhow::Result;
use layerprune::analysis::Channels;
use layerprune::methods::{self, METHODS, Method, Pruned, Task};
use layerprune::onnx::Model;
use layerprune::plan::{Budgets, ChannelConstraints, Constraints};
use layerprune::shapes::InputShapes;
use layerprune_data::Augment;

use crate::args::{CriterionArgs, Global, LimitArgs, MethodSettingArgs};
use crate::data::Data;
use crate::latency::Timer;
use crate::{CannotBeDone, Usage, interrupt, model};

/// A method, and all that it works on.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'static Method,
    pub(crate) settings: &'a MethodSettingArgs,
    pub(crate) criterion: Option<&'a str>,
    pub(crate) options: &'a CriterionArgs,
    pub(crate) budgets: Budgets,
    pub(crate) constraints: Constraints,
    pub(crate) filters: ChannelConstraints,
    pub(crate) shapes: &'a InputShapes,
    pub(crate) data: Option<&'a Data>,
    pub(crate) timer: Timer,
    pub(crate) global: &'a Global,
}

impl Asked<'_> {
    /// Does it; what is finished on the way stands in `folder`, whose journal is handed back to be forgotten once the result
    /// is written.
    pub(crate) fn run(self, model: &Model, folder: &Path) -> Result<(Pruned, Journal)> {
        let data = self.data.map(|data| format!("{}, {}, {}", data.source, data.train.len(), data.preprocessing()));
        let engine = self.global.engine.identity();
        let Timer { batch, threads, .. } = self.timer;
        let timed = format!("{engine}, {threads} threads, batch {batch}");
        let circumstances = format!("{data:?}, seed {}, {:?}, {timed}", self.global.seed(), self.shapes);
        let journal = Journal::open(folder.to_owned(), circumstances)?;
        let mut ports = Ports {
            name: self.method.name,
            data: self.data,
            options: self.options,
            shapes: self.shapes,
            training: self.settings.training(),
            journal: &journal,
            timer: self.timer,
            global: self.global,
        };
        let mut task = Task {
            model,
            shapes: self.shapes,
            budgets: self.budgets,
            constraints: self.constraints,
            filters: self.filters,
            settings: self.settings.settings(self.criterion),
            ports: &mut ports,
        };
        match self.method.run(&mut task) {
            Ok(pruned) => Ok((pruned, journal)),
            Err(_) if interrupt::asked() => {
                let text =
                    format!("interrupted; the same command goes on from what is finished in `{}`", folder.display());
                Err(CannotBeDone(text).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Which filters may go, by globs, and how far; 10 % of a layer stay where no floor is given.
pub(crate) fn limits(
    limits: &LimitArgs,
    channels: &Channels,
    floor: Option<f64>,
    round_to: Option<usize>,
) -> Result<ChannelConstraints> {
    let default = ChannelConstraints::default();
    Ok(ChannelConstraints {
        protected: model::protected_groups(limits, channels)?,
        floor: floor.map_or(default.floor, |percent| percent / 100.0),
        round_to: round_to.unwrap_or(default.round_to),
        ..default
    })
}

/// The method that a recipe calls `name` under `key`.
pub(crate) fn called(name: &str, key: &str) -> Result<&'static Method> {
    let known = || METHODS.iter().map(|method| method.name).collect::<Vec<_>>().join(", ");
    let unknown = || Usage(format!("`{key}`: there is no method `{name}`; known are {}", known()));
    Ok(methods::named(name).ok_or_else(unknown)?)
}

impl MethodSettingArgs {
    fn training(&self) -> Training {
        let pad_crop = self.method_pad_crop.filter(|&pixels| pixels > 0);
        let augment = Augment { pad_crop, flip: self.method_flip.unwrap_or(false), ..Augment::default() };
        Training { batch_size: self.method_batch_size.unwrap_or(64), augment }
    }
}

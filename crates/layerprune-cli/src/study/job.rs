//! One job of a study, from the whole model to a measured small one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use layerprune::analysis::Channels;
use layerprune::methods::{Then, removed};
use layerprune::onnx::Model;
use layerprune::record::{LatencyComparison, StudyRow};

use super::recipe::{Job, StudyRecipe};
use crate::args::{Global, KeepingArgs, SettingArgs};
use crate::commands::eval;
use crate::data::{self, Data};
use crate::methods::{self, Asked};
use crate::model;
use crate::output::write_file;
use crate::training::{self, Run, Trained};

/// A study's model and recipe.
pub(crate) struct Workshop<'a> {
    pub(crate) recipe: &'a StudyRecipe,
    pub(crate) model: &'a Model,
    pub(crate) folder: PathBuf,
    pub(crate) global: &'a Global,
}

impl Workshop<'_> {
    /// The file that says what a job came to.
    pub(crate) fn row_file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    /// The file that says why a job came to nothing.
    pub(crate) fn failure_file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.failure.json"))
    }

    /// Does a job, and writes what it came to. What it did so far is kept when it ends early.
    pub(crate) fn make(&self, job: &Job, key: &str) -> Result<StudyRow> {
        let global = Global { seed: Some(job.seed), ..self.global.clone() };
        let recipe = self.recipe;
        let data = data::open(&recipe.data.args(), &recipe.model, self.model, true, &global)?;
        let test = data.test()?;
        let shapes = Default::default();
        let units = model::units(self.model, &shapes)?;
        let channels = Channels::find(self.model, &units.model, &units.shapes);
        let mut settings = recipe.method.clone();
        settings.removes = job.arm.removes;
        let (options, limits) = (recipe.score.args(), recipe.limits.args());
        let mut timer = recipe.latency.timer(recipe.latency.batch[0], &global);
        timer.options.samples = recipe.latency.samples;
        let began = Instant::now();
        let asked = Asked {
            method: job.arm.method,
            settings: &settings,
            criterion: job.arm.criterion.as_deref(),
            options: &options,
            budgets: job.budgets,
            constraints: model::constraints(&limits, &units)?,
            filters: methods::limits(&limits, &channels, Some(recipe.limits.floor), Some(recipe.limits.round_to))?,
            shapes: &shapes,
            data: Some(&data),
            timer,
            global: &global,
        };
        let (pruned, journal) = asked.run(self.model, &self.folder.join(format!("{key}.method")))?;
        let method_seconds = began.elapsed().as_secs_f64();
        let quiet = Global { quiet: true, ..global.clone() };
        let after_cut = eval::accuracy(&pruned.model, &data, &test, "test images", &quiet)?;
        let began = Instant::now();
        let path = self.folder.join(format!("{key}.onnx"));
        let run = self.run(job, &pruned.model, &path, &data, &global)?;
        let trained = match run.chosen.settings.epochs {
            0 => Trained { model: pruned.model, rows: Vec::new() },
            _ => run.train_or_restart(&pruned.model)?,
        };
        let training_seconds = began.elapsed().as_secs_f64();
        trained.model.write(&path)?;
        let gone = removed(self.model, &trained.model, &shapes)?;
        let row = StudyRow {
            arm: job.arm.name.clone(),
            removes: job.arm.removes().to_owned(),
            budget: job.budgets.to_string(),
            seed: job.seed,
            file: format!("jobs/{key}.onnx"),
            digest: trained.model.digest().to_string(),
            filters: gone.filters(),
            layers: gone.layers,
            parameters: gone.after.parameters,
            macs: gone.after.macs,
            after_cut: Some(after_cut),
            accuracy: Some(eval::accuracy(&trained.model, &data, &test, "test images", &quiet)?),
            epochs: trained.rows.len(),
            latency: self.latency(&trained.model, &global)?,
            seconds: [method_seconds, training_seconds],
        };
        write_file(&self.row_file(key), &serde_json::to_string_pretty(&row)?)?;
        run.forget();
        journal.forget();
        let _ = std::fs::remove_file(self.failure_file(key));
        Ok(row)
    }

    /// How a job is trained behind its cut: as the method says, by settings that are the same for all.
    fn run<'a>(&self, job: &Job, cut: &Model, path: &Path, data: &'a Data, global: &'a Global) -> Result<Run<'a>> {
        let recipe = self.recipe;
        let settings = match job.arm.method.then {
            Then::FineTuning => recipe.finetune.clone(),
            Then::Distillation => SettingArgs { teacher: Some(recipe.model.clone()), ..recipe.finetune.clone() },
            Then::Scratch => training::over(&recipe.scratch, &recipe.finetune),
        };
        let chosen = training::chosen(&settings, training::FINETUNE, job.seed)?;
        let run = Run::new(data, chosen, path, &KeepingArgs::default(), global);
        match job.arm.method.then {
            Then::Scratch => run.at_equal_compute((cut, path), (self.model, &recipe.model)),
            Then::FineTuning | Then::Distillation => Ok(run),
        }
    }

    /// Against the whole model, without the single samples, which would make records large.
    fn latency(&self, model: &Model, global: &Global) -> Result<Vec<LatencyComparison>> {
        let mut all = self.recipe.latency.measure(self.model, model, global)?;
        for latency in &mut all {
            latency.baseline.samples_ms.clear();
            latency.candidate.samples_ms.clear();
        }
        Ok(all)
    }
}

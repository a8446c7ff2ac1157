//! One model of a study: cut, trained and measured.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use layerprune::analysis::{Channels, Units};
use layerprune::criteria::{self, Scores, Scoring};
use layerprune::methods::{Then, removed};
use layerprune::onnx::Model;
use layerprune::plan::{self, Budgets, Constraints, Plan};
use layerprune::record::{Accuracy, StudyRow};
use layerprune::stats::SplitMix;
use layerprune::surgery;

use super::Workshop;
use super::work::{Cut, Goal};
use crate::args::{Global, KeepingArgs, SettingArgs};
use crate::commands::eval;
use crate::data::{self, Data};
use crate::methods::{self, Asked, Journal};
use crate::scoring::{self, Gather};
use crate::training::{self, Run, Trained};
use crate::{job, model};

/// Makes a seed that of another stream: how many layers go must not hang together with which.
const OTHER: u64 = 1 << 63;

/// What training behind a cut came to; nothing where there is none.
#[derive(Default)]
struct Learned {
    after_cut: Option<Accuracy>,
    accuracy: Option<Accuracy>,
    epochs: usize,
    /// Of the cut and of the training.
    seconds: [f64; 2],
}

impl Workshop<'_> {
    /// Makes a model, and writes it and what it came to. What is done so far is kept when it ends early.
    pub(super) fn make(&self, cut: &Cut, key: &str) -> Result<()> {
        let global = Global { seed: Some(cut.seed), ..self.global.clone() };
        let path = self.folder.join(format!("{key}.onnx"));
        if let Goal::Lot { trained: false } = cut.goal {
            let began = Instant::now();
            let model = self.by_lot(cut, &global)?;
            let seconds = [began.elapsed().as_secs_f64(), 0.0];
            model.write(&path)?;
            let row = self.row(cut, key, &model, Learned { seconds, ..Learned::default() }, &global)?;
            return self.write(key, &row);
        }
        let quiet = Global { quiet: true, ..global.clone() };
        let data = data::open(&self.recipe.data.args(), &self.recipe.model, self.model, true, &global)?;
        let test = data.test()?;
        let judged = |model: &Model| eval::accuracy(model, &data, &test, "test images", &quiet);
        let began = Instant::now();
        let (less, journal) = match cut.goal {
            Goal::Within(budgets) => self.by_method(cut, budgets, key, &data, &global)?,
            Goal::Layers(count) => (self.without_layers(cut, count, &data, &global)?, None),
            Goal::Lot { .. } => (self.by_lot(cut, &global)?, None),
        };
        let method_seconds = began.elapsed().as_secs_f64();
        let after_cut = judged(&less)?;
        let began = Instant::now();
        let run = self.training(cut, &less, &path, &data, &global)?;
        let Trained { model, rows } = match run.chosen.settings.epochs {
            0 => Trained { model: less, rows: Vec::new() },
            _ => run.train_or_restart(&less)?,
        };
        let seconds = [method_seconds, began.elapsed().as_secs_f64()];
        model.write(&path)?;
        let accuracy = Some(judged(&model)?);
        let learned = Learned { after_cut: Some(after_cut), accuracy, epochs: rows.len(), seconds };
        self.write(key, &self.row(cut, key, &model, learned, &global)?)?;
        run.forget();
        journal.into_iter().for_each(Journal::forget);
        Ok(())
    }

    /// What `model` came to, timed against the whole one.
    fn row(&self, cut: &Cut, key: &str, model: &Model, learned: Learned, global: &Global) -> Result<StudyRow> {
        let gone = removed(self.model, model, &Default::default())?;
        Ok(StudyRow {
            arm: cut.arm.name.clone(),
            removes: cut.arm.removes().to_owned(),
            budget: cut.goal.to_string(),
            seed: cut.seed,
            file: format!("jobs/{key}.onnx"),
            digest: model.digest().to_string(),
            filters: gone.filters(),
            layers: gone.layers,
            parameters: gone.after.parameters,
            macs: gone.after.macs,
            after_cut: learned.after_cut,
            accuracy: learned.accuracy,
            epochs: learned.epochs,
            latency: self.latency(model, Vec::new(), global)?,
            cpu: job::machine().cpu,
            seconds: learned.seconds,
        })
    }

    /// As the arm's method does it, until `budgets` are met.
    fn by_method(
        &self,
        cut: &Cut,
        budgets: Budgets,
        key: &str,
        data: &Data,
        global: &Global,
    ) -> Result<(Model, Option<Journal>)> {
        let recipe = self.recipe;
        let shapes = Default::default();
        let units = model::units(self.model, &shapes)?;
        let channels = Channels::find(self.model, &units.model, &units.shapes);
        let mut settings = recipe.method.clone();
        settings.removes = cut.arm.removes;
        let (options, limits) = (recipe.score.args(), recipe.limits.args());
        let mut timer = recipe.latency.timer(recipe.latency.batch[0], global);
        timer.options.samples = recipe.latency.samples;
        let asked = Asked {
            method: cut.arm.method,
            settings: &settings,
            criterion: cut.arm.criterion.as_deref(),
            options: &options,
            budgets,
            constraints: model::constraints(&limits, &units)?,
            filters: methods::limits(&limits, &channels, Some(recipe.limits.floor), Some(recipe.limits.round_to))?,
            shapes: &shapes,
            data: Some(data),
            timer,
            global,
        };
        let (pruned, journal) = asked.run(self.model, &self.folder.join(format!("{key}.method")))?;
        Ok((pruned.model, Some(journal)))
    }

    /// Without the `count` least important layers, by the arm's criterion or by lot.
    fn without_layers(&self, cut: &Cut, count: usize, data: &Data, global: &Global) -> Result<Model> {
        let by = match &cut.arm.criterion {
            _ if cut.arm.removes.is_some() => Scoring::from(&criteria::RANDOM),
            Some(criterion) => scoring::parse(std::slice::from_ref(criterion), &self.recipe.score.args())?.remove(0),
            None => Scoring::from(&criteria::IMPRINT),
        };
        let units = model::units(self.model, &Default::default())?;
        let (scores, constraints) = self.ranked(&units, by, Some(data), global)?;
        Ok(surgery::apply(self.model, &units, &plan::lowest(&units, &scores, &constraints, count)?)?)
    }

    /// Without as many layers, and which, as the lot says; or every channel group thinned to a width by lot.
    fn by_lot(&self, cut: &Cut, global: &Global) -> Result<Model> {
        let units = model::units(self.model, &Default::default())?;
        let plan = match cut.arm.removes() {
            "filters" => self.thinned(&units, cut.seed)?,
            _ => {
                let (scores, constraints) = self.ranked(&units, Scoring::from(&criteria::RANDOM), None, global)?;
                plan::random_layers(&units, &scores, &constraints, &mut SplitMix::new(cut.seed ^ OTHER))?
            }
        };
        Ok(surgery::apply(self.model, &units, &plan)?)
    }

    /// What layers are worth, and which of them may go.
    fn ranked(
        &self,
        units: &Units,
        by: Scoring,
        data: Option<&Data>,
        global: &Global,
    ) -> Result<(Scores, Constraints)> {
        let options = self.recipe.score.args();
        let scores = Gather { model: self.model, units, data, options: &options, global }.score(&[by])?.remove(0);
        Ok((scores, model::constraints(&self.recipe.limits.args(), units)?))
    }

    fn thinned(&self, units: &Units, seed: u64) -> Result<Plan> {
        let channels = Channels::find(self.model, &units.model, &units.shapes);
        let limits =
            methods::limits(&self.recipe.limits.args(), &channels, Some(0.0), Some(self.recipe.limits.round_to))?;
        Ok(plan::random_filters(&self.model.graph, units, &channels, &limits, &mut SplitMix::new(seed)))
    }

    /// How a model is trained behind its cut: as the method says, by settings that are the same for all.
    fn training<'a>(
        &self,
        cut: &Cut,
        less: &Model,
        path: &Path,
        data: &'a Data,
        global: &'a Global,
    ) -> Result<Run<'a>> {
        let recipe = self.recipe;
        let settings = match cut.arm.method.then {
            Then::FineTuning => recipe.finetune.clone(),
            Then::Distillation => SettingArgs { teacher: Some(recipe.model.clone()), ..recipe.finetune.clone() },
            Then::Scratch => training::over(&recipe.scratch, &recipe.finetune),
        };
        let chosen = training::chosen(&settings, training::FINETUNE, cut.seed)?;
        let run = Run::new(data, chosen, path, &KeepingArgs::default(), global);
        match cut.arm.method.then {
            Then::Scratch => run.at_equal_compute((less, path), (self.model, &recipe.model)),
            Then::FineTuning | Then::Distillation => Ok(run),
        }
    }
}

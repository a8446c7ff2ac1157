//! The engines and data behind the ports of methods, each call kept in the journal.

use std::path::Path;

use anyhow::Result;
use layerprune::analysis::{Channels, Units};
use layerprune::criteria::{FilterScores, Scores, Scoring};
use layerprune::methods::{Length, MethodPorts, Sight, Sparse, Stage};
use layerprune::onnx::Model;
use layerprune::pipeline::{MeasureLatency, Observe, Parts, PortError, Visit};
use layerprune::record::{LatencyComparison, LatencyProfile};
use layerprune::shapes::InputShapes;
use layerprune_data::Augment;
use layerprune_train::{Distill, Ecc, Schedule, Settings, Slimming, Sparsity, Sss};

use super::few::{Few, train_few};
use super::journal::Journal;
use crate::args::{CriterionArgs, Global, Keep, KeepingArgs, ProfileFileArgs};
use crate::clock::Clock;
use crate::commands::eval;
use crate::data::Data;
use crate::latency::Timer;
use crate::recovery::Images;
use crate::scoring::Gather;
use crate::training::{Chosen, Run};
use crate::{Usage, interrupt, model, progress};

/// Images that reconstruction fits to.
const FITTED: usize = 500;

/// Images of a batch, and what is done to them, in training that is a part of a method.
#[derive(Debug, Clone)]
pub(crate) struct Training {
    pub(crate) batch_size: usize,
    pub(crate) augment: Augment,
}

/// Everything behind the ports.
pub(crate) struct Ports<'a> {
    pub(crate) name: &'static str,
    pub(crate) data: Option<&'a Data>,
    pub(crate) options: &'a CriterionArgs,
    pub(crate) shapes: &'a InputShapes,
    pub(crate) training: Training,
    pub(crate) journal: &'a Journal,
    pub(crate) timer: Timer,
    pub(crate) global: &'a Global,
}

impl<'a> Ports<'a> {
    fn data(&self) -> Result<&'a Data> {
        let text = || Usage(format!("`--method {}` needs labelled images: give `--data KIND:PATH`", self.name));
        Ok(self.data.ok_or_else(text)?)
    }

    fn settings(&self, stage: &Stage<'_>) -> Settings {
        let sparsity = stage.sparsity.as_ref().map(|sparse| match *sparse {
            Sparse::BatchNormScales { strength } => Sparsity::Slimming(Slimming { strength, ..Slimming::default() }),
            Sparse::Channels { ref budget } => Sparsity::Ecc(Ecc { budget: Some(budget.clone()), ..Ecc::default() }),
            Sparse::BlockScales { strength } => Sparsity::Sss(Sss { strength, ..Sss::default() }),
        });
        let (epochs, schedule) = match stage.length {
            Length::Epochs(epochs) => (epochs, Schedule::Cosine),
            Length::Batches { .. } => (1, Schedule::Constant),
        };
        let remember = self.training.augment.repeats_images();
        Settings {
            epochs,
            batch_size: self.training.batch_size,
            learning_rate: stage.learning_rate,
            schedule,
            sparsity: sparsity.into_iter().collect(),
            distill: stage.teacher.map(|_| Distill { remember, ..Distill::default() }),
            seed: self.global.seed(),
            ..Settings::default()
        }
    }

    /// A stage of whole epochs leaves checkpoints at `path`.
    fn train_epochs(&self, model: &Model, stage: &Stage<'_>, settings: Settings, path: &Path) -> Result<Model> {
        let teacher = stage
            .teacher
            .map(|teacher| {
                let path = path.with_extension("teacher.onnx");
                teacher.write(&path).map(|()| path)
            })
            .transpose()?;
        let augment = self.training.augment;
        let chosen = Chosen { settings, augment, keep: Keep::Last, patience: None, teacher };
        let run =
            Run { stage: stage.what, ..Run::new(self.data()?, chosen, path, &KeepingArgs::default(), self.global) };
        let trained = run.train_as_it_is(model)?;
        run.forget();
        Ok(trained.model)
    }
}

impl MethodPorts for Ports<'_> {
    fn layer_scores(&mut self, model: &Model, units: &Units, by: &Scoring) -> Result<Scores, PortError> {
        let key = format!("layers by {} {:?} of {}, {:?}", by.id(), by.normalize, units.model, self.options);
        let gather = Gather { model, units, data: self.data, options: self.options, global: self.global };
        Ok(self.journal.value(&key, || {
            self.expect_data_for(by)?;
            Ok(gather.score(std::slice::from_ref(by))?.remove(0))
        })?)
    }

    fn filter_scores(&mut self, model: &Model, by: &Scoring, sight: Sight) -> Result<FilterScores, PortError> {
        let units = model::units(model, self.shapes)?;
        let channels = Channels::find(model, &units.model, &units.shapes);
        let mut options = self.options.clone();
        if let Sight::Batches { count, round } = sight {
            (options.batches, options.pass) = (Some(count), round as u64);
        }
        let key = format!("filters by {} of {}, {options:?}, pass {}", by.id(), units.model, options.pass);
        let gather = Gather { model, units: &units, data: self.data, options: &options, global: self.global };
        Ok(self.journal.value(&key, || {
            self.expect_data_for(by)?;
            gather.filter_scores(by, &channels)
        })?)
    }

    fn train(&mut self, model: &Model, stage: &Stage<'_>) -> Result<Model, PortError> {
        let settings = self.settings(stage);
        let (training, teacher) = (&self.training, stage.teacher.map(Model::digest));
        let length = stage.length;
        let key = format!("{} of {}, {settings:?}, {length:?}, {training:?}, {teacher:?}", stage.what, model.digest());
        Ok(self.journal.model(&key, |path| match stage.length {
            Length::Epochs(_) => self.train_epochs(model, stage, settings, path),
            Length::Batches { count, round } => {
                let few = Few { data: self.data()?, training: &self.training, count, round };
                train_few(model, stage, &few, &settings, self.global)
            }
        })?)
    }

    fn fresh(&mut self, model: &Model) -> Result<Model, PortError> {
        Ok(layerprune_train::initialize(model, self.global.seed())?)
    }

    fn held_out(&mut self, model: &Model, images: usize) -> Result<f64, PortError> {
        let key = format!("held out, {images} of {}", model.digest());
        Ok(self.journal.value(&key, || {
            let data = self.data()?;
            let few = data.unlabelled(&data.held_out, images)?;
            let quiet = Global { quiet: true, ..self.global.clone() };
            Ok(eval::accuracy(model, data, &few, "held out", &quiet)?.top1.percent)
        })?)
    }

    fn tell(&mut self, text: &str) {
        progress::note(self.global, text);
    }
}

impl Ports<'_> {
    fn expect_data_for(&self, by: &Scoring) -> Result<()> {
        if by.needs().is_empty() { Ok(()) } else { self.data().map(drop) }
    }
}

impl MeasureLatency for Ports<'_> {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        Ok(self.compare_all(baseline, &[candidate])?.remove(0))
    }

    fn compare_all(&mut self, baseline: &Model, candidates: &[&Model]) -> Result<Vec<LatencyComparison>, PortError> {
        let brief = self.timer.clone().brief();
        Ok(self.timed("brief", baseline, candidates, || Ok(brief.all_against(baseline, candidates)?))?)
    }

    fn confirm(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        let measure = || Ok(self.timer.all_against(baseline, &[candidate])?);
        Ok(self.timed("long", baseline, &[candidate], measure)?.remove(0))
    }

    fn profile(&mut self, model: &Model, units: &Units, parts: Parts<'_>) -> Result<LatencyProfile, PortError> {
        let files = ProfileFileArgs { no_cache: true, ..ProfileFileArgs::default() };
        Ok(self.journal.value(&format!("profile of {}", units.model), || {
            let mut clock = Clock::open(self.timer.clone(), model, &units.model, &files)?;
            clock.profile(model, units, parts).map_err(anyhow::Error::from_boxed)
        })?)
    }
}

impl Ports<'_> {
    fn timed(
        &self,
        how: &str,
        baseline: &Model,
        candidates: &[&Model],
        measure: impl FnOnce() -> Result<Vec<LatencyComparison>>,
    ) -> Result<Vec<LatencyComparison>> {
        if interrupt::asked() {
            return Err(interrupt::ended());
        }
        let digests: Vec<String> = candidates.iter().map(|model| model.digest().to_string()).collect();
        self.journal.value(&format!("{how} times of {} and {}", baseline.digest(), digests.join(", ")), measure)
    }
}

impl Observe for Ports<'_> {
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError> {
        let data = self.data()?;
        let fitted = data.unlabelled(&data.train, FITTED)?;
        let held_out = data.unlabelled(&data.held_out, FITTED.div_ceil(5))?;
        let images = Images { data, fitted: &fitted, held_out: &held_out, global: self.global };
        let (mut port, bar) = images.port("reconstructing", 1);
        let done = port.pairs(first, second, visit);
        bar.finish_and_clear();
        done
    }
}

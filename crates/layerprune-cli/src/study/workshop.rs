//! Where the jobs of a study are done, each with a file of its own for what it came to.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use layerprune::onnx::Model;
use layerprune::record::{Handcrafted, LatencyComparison, StudyFailure, StudyRow, TimedBy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::recipe::StudyRecipe;
use super::work::Job;
use crate::args::Global;
use crate::latency::Timer;
use crate::output::write_file;
use crate::{data, interrupt, model};

/// A study's model and recipe, and the folder of its jobs.
pub(crate) struct Workshop<'a> {
    pub(crate) recipe: &'a StudyRecipe,
    pub(crate) model: &'a Model,
    pub(crate) folder: PathBuf,
    pub(crate) global: &'a Global,
}

impl Workshop<'_> {
    fn result_file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    fn failure_file(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.failure.json"))
    }

    /// Whether a job is done, and its model timed in every way that the recipe asks for.
    pub(crate) fn is_done(&self, job: &Job, key: &str) -> bool {
        let is_timed =
            |latency: &[LatencyComparison]| self.untimed(latency, self.global).is_ok_and(|left| left.is_empty());
        match job {
            Job::Whole => self.result_file(key).exists(),
            Job::Cut(_) => self.result::<StudyRow>(key).is_some_and(|row| is_timed(&row.latency)),
            Job::Handcrafted(_) => self.result::<Handcrafted>(key).is_some_and(|one| is_timed(&one.latency)),
        }
    }

    /// What a job came to, where it is done.
    pub(crate) fn result<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(&fs::read_to_string(self.result_file(key)).ok()?).ok()
    }

    /// Why a job came to nothing, where it did.
    pub(crate) fn failure(&self, key: &str) -> Option<StudyFailure> {
        serde_json::from_str(&fs::read_to_string(self.failure_file(key)).ok()?).ok()
    }

    /// Does a job; why it came to nothing is written down, except that it was interrupted.
    pub(crate) fn attempt(&self, job: &Job, key: &str) -> Result<()> {
        let Err(error) = self.do_job(job, key) else { return Ok(()) };
        if !interrupt::asked() {
            let [arm, budget, _] = job.columns();
            let seed = if let Job::Cut(cut) = job { cut.seed } else { self.global.seed() };
            let failure = StudyFailure { arm, budget, seed, reason: format!("{error:#}") };
            write_file(&self.failure_file(key), &serde_json::to_string_pretty(&failure)?)?;
        }
        Err(error)
    }

    fn do_job(&self, job: &Job, key: &str) -> Result<()> {
        match job {
            Job::Whole => self.look_at_whole(key),
            Job::Cut(cut) => match self.result::<StudyRow>(key) {
                Some(row) => self.time_again(row, key),
                None => self.make(cut, key),
            },
            Job::Handcrafted(one) => self.judge(one, key),
        }
    }

    /// Times a model that is made already in the ways that the recipe asked for since.
    fn time_again(&self, mut row: StudyRow, key: &str) -> Result<()> {
        let model = model::read(&self.folder.join(format!("{key}.onnx")))?;
        let global = Global { seed: Some(row.seed), ..self.global.clone() };
        row.latency = self.latency(&model, row.latency, &global)?;
        self.write(key, &row)
    }

    /// Writes what a job came to, which is the end of it.
    pub(super) fn write(&self, key: &str, result: &impl Serialize) -> Result<()> {
        write_file(&self.result_file(key), &serde_json::to_string_pretty(result)?)?;
        let _ = fs::remove_file(self.failure_file(key));
        Ok(())
    }

    /// `model` against the whole one in every way that the recipe asks for and that is not `known`, and what is; without the single
    /// samples, which would make records large.
    pub(super) fn latency(
        &self,
        model: &Model,
        known: Vec<LatencyComparison>,
        global: &Global,
    ) -> Result<Vec<LatencyComparison>> {
        let mut all = known;
        for timer in self.untimed(&all, global)? {
            if interrupt::asked() {
                return Err(interrupt::ended());
            }
            let mut latency = timer.against(self.model, model)?;
            latency.baseline.samples_ms.clear();
            latency.candidate.samples_ms.clear();
            all.push(latency);
        }
        Ok(all)
    }

    fn untimed(&self, known: &[LatencyComparison], global: &Global) -> Result<Vec<Timer>> {
        let by = |timer: &Timer| TimedBy {
            engine: data::engine(&timer.global).name().to_owned(),
            batch: timer.batch,
            threads: timer.threads,
        };
        let timers = self.recipe.latency.timers(global)?;
        Ok(timers.into_iter().filter(|timer| by(timer).find(known).is_none()).collect())
    }
}

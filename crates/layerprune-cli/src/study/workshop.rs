//! Where the jobs of a study are done, each with a file of its own for what it came to.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use layerprune::onnx::Model;
use layerprune::record::{LatencyComparison, StudyFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::recipe::StudyRecipe;
use super::work::Job;
use crate::args::Global;
use crate::interrupt;
use crate::output::write_file;

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

    /// Whether a job is done.
    pub(crate) fn is_done(&self, key: &str) -> bool {
        self.result_file(key).exists()
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
            Job::Cut(cut) => self.make(cut, key),
            Job::Handcrafted(one) => self.judge(one, key),
        }
    }

    /// Writes what a job came to, which is the end of it.
    pub(super) fn write(&self, key: &str, result: &impl Serialize) -> Result<()> {
        write_file(&self.result_file(key), &serde_json::to_string_pretty(result)?)?;
        let _ = fs::remove_file(self.failure_file(key));
        Ok(())
    }

    /// `model` against the whole one, without the single samples, which would make records large.
    pub(super) fn latency(&self, model: &Model, global: &Global) -> Result<Vec<LatencyComparison>> {
        let mut all = self.recipe.latency.measure(self.model, model, global)?;
        for latency in &mut all {
            latency.baseline.samples_ms.clear();
            latency.candidate.samples_ms.clear();
        }
        Ok(all)
    }
}

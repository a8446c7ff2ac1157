//! The clock behind the library's searches, and the file that keeps what it said.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use layerprune::analysis::Units;
use layerprune::onnx::{Model, ModelDigest};
use layerprune::pipeline::{self, MeasureLatency, Parts, PortError, ProfileProgress};
use layerprune::record::{
    Candidate, Circumstances, Conditions, LatencyComparison, LatencyProfile, PROFILE_SCHEMA, Warning,
};
use layerprune_infer::{InferError, Session, SessionOptions, bind_shapes, pinned};

use crate::args::ProfileFileArgs;
use crate::latency::{FEWEST_WARM_UP, Timer};
use crate::output::{read_json, write_file};
use crate::{CannotBeDone, data, interrupt, job, progress};

/// Samples of each model in each run of a profile.
const PART_SAMPLES: usize = 15;

/// Times models, and keeps each time in the profile of the whole model as soon as it is known.
pub(crate) struct Clock {
    timer: Timer,
    profile: LatencyProfile,
    file: Option<PathBuf>,
    /// Measured elsewhere: nothing may be added, and nothing can be timed.
    foreign: bool,
}

impl Clock {
    /// Goes on with what `files` or the user's cache folder holds of `model` under the timer's conditions.
    pub(crate) fn open(timer: Timer, model: &Model, digest: &ModelDigest, files: &ProfileFileArgs) -> Result<Self> {
        let conditions = Conditions { circumstances: circumstances(&timer, model)?, cpu: job::machine().cpu };
        let fresh = LatencyProfile::new(digest.clone(), conditions.clone());
        let file = match (&files.profile, files.no_cache) {
            (Some(path), _) => Some(path.clone()),
            (None, true) => None,
            (None, false) => cached(&fresh),
        };
        let found = file.as_deref().filter(|path| path.exists());
        let profile = match (found, &files.profile) {
            (None, _) => fresh,
            (Some(path), Some(_)) => read(path, digest)?,
            // What stands in the cache is worth no more than the time to measure it.
            (Some(path), None) => read(path, digest).ok().filter(|it| it.conditions == conditions).unwrap_or(fresh),
        };
        let foreign = is_foreign(&profile.conditions, &conditions);
        if profile.conditions != conditions && !foreign {
            let (of, here) = (told(&profile.conditions), told(&conditions));
            let text = format!("the profile is of {of}; here it would be {here}: give another file");
            return Err(CannotBeDone(text).into());
        }
        if foreign {
            let text = format!("the profile decides in place of the clock: it is of {}", told(&profile.conditions));
            progress::note(&timer.global, &text);
        }
        Ok(Self { timer, profile, file, foreign })
    }

    /// Under what conditions it times.
    pub(crate) fn conditions(&self) -> &Conditions {
        &self.profile.conditions
    }

    /// Whether the profile was measured under other conditions than this machine's.
    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
    }

    fn expect_complete(&self, parts: Parts<'_>) -> Result<(), PortError> {
        let untimed = parts.units.iter().filter(|planned| self.profile.unit(&planned.unit, planned.way).is_none());
        let mut missing: Vec<&str> = untimed.map(|planned| planned.unit.as_str()).collect();
        // Single groups may have no times: one of two channels that another value needs, or what the board cannot run.
        if let Some(channels) = parts.channels.filter(|_| self.profile.groups.is_empty()) {
            missing.extend(channels.groups.iter().map(|group| group.name.as_str()));
        }
        match missing.as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                let of = told(&self.profile.conditions);
                let text =
                    format!("the profile, of {of}, has no times of `{first}`{more}, and these cannot be taken here");
                Err(CannotBeDone(text).into())
            }
        }
    }
}

impl MeasureLatency for Clock {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        let digest = candidate.digest();
        if let Some(known) = self.profile.candidates.iter().find(|known| known.model == digest) {
            return Ok(known.latency.clone());
        }
        let latency = self.timer.clone().brief().against(baseline, candidate)?;
        if latency
            .warnings
            .iter()
            .all(|warning| matches!(warning, Warning::FewSamples { .. } | Warning::ManyCalls { .. }))
        {
            let mut kept = latency.clone();
            kept.baseline.samples_ms.clear();
            kept.candidate.samples_ms.clear();
            self.profile.candidates.push(Candidate { model: digest, latency: kept });
            save(self.file.as_deref(), &self.profile)?;
        }
        Ok(latency)
    }

    fn confirm(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        Ok(self.timer.against(baseline, candidate)?)
    }

    fn profile(&mut self, model: &Model, units: &Units, parts: Parts<'_>) -> Result<LatencyProfile, PortError> {
        if self.foreign {
            self.expect_complete(parts)?;
            return Ok(self.profile.clone());
        }
        let global = &self.timer.global;
        let bar = progress::bar(global, "profiling", 0);
        let file = self.file.as_deref();
        let mut keep = |profile: &LatencyProfile, at: ProfileProgress| {
            bar.set_length(at.all as u64);
            bar.set_position(at.done as u64);
            save(file, profile)
        };
        // One bar is enough.
        let mut quiet = self.timer.clone().brief();
        quiet.global.quiet = true;
        quiet.options.samples = quiet.options.samples.min(PART_SAMPLES);
        quiet.options.warm_up_calls = quiet.options.warm_up_calls.min(FEWEST_WARM_UP);
        // A program that times models by itself does so as well as it can, and takes its time.
        let runs = if data::engine(global).tells_times() { 1 } else { parts.runs };
        let parts = Parts { runs, ..parts };
        let done = pipeline::profile(model, units, parts, &mut self.profile, &mut Profiling(quiet), &mut keep);
        bar.finish_and_clear();
        for untimed in done? {
            progress::note(global, &format!("{} cannot be timed: {}", untimed.part, untimed.reason));
        }
        Ok(self.profile.clone())
    }
}

/// The timer for many short measurements.
struct Profiling(Timer);

impl MeasureLatency for Profiling {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        Ok(self.0.against(baseline, candidate)?)
    }

    fn compare_all(&mut self, baseline: &Model, candidates: &[&Model]) -> Result<Vec<LatencyComparison>, PortError> {
        if interrupt::asked() {
            return Err(interrupt::ended().into());
        }
        Ok(self.0.all_against(baseline, candidates)?)
    }
}

fn circumstances(timer: &Timer, model: &Model) -> Result<Circumstances, InferError> {
    let options = SessionOptions { threads: timer.threads, engine: data::engine(&timer.global) };
    pinned(timer.threads, || {
        let session = Session::load(model, &options)?;
        let shapes = bind_shapes(session.inputs(), &timer.shapes, Some(timer.batch))?;
        Ok(session.circumstances(shapes.first().cloned().unwrap_or_default()))
    })
}

/// The profile in file `path`, which is to be of the model that has this digest.
pub(crate) fn read(path: &Path, digest: &ModelDigest) -> Result<LatencyProfile> {
    let context = || format!("cannot use the latency profile `{}`", path.display());
    let profile: LatencyProfile = read_json(path, "latency profile", PROFILE_SCHEMA)?;
    if profile.model != *digest {
        let text = format!("it is of another model (digest {}, this one has {digest})", profile.model);
        return Err(CannotBeDone(text)).with_context(context);
    }
    profile.check().map_err(CannotBeDone).with_context(context)?;
    Ok(profile)
}

fn save(file: Option<&Path>, profile: &LatencyProfile) -> Result<(), PortError> {
    let Some(path) = file else { return Ok(()) };
    Ok(write_file(path, &serde_json::to_string_pretty(profile)?)?)
}

/// The file for what is measured of a model under conditions, in the user's cache folder; `None` where there is no such folder.
fn cached(profile: &LatencyProfile) -> Option<PathBuf> {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&profile.conditions).ok()?.hash(&mut hasher);
    let folder = etcetera::choose_base_strategy().ok()?.cache_dir().join("layerprune").join("profiles");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join(format!("{}-{:016x}.json", profile.model, hasher.finish())))
}

/// Whether a profile is of another processor or another engine; the same one under other conditions is neither that nor of use.
fn is_foreign(of: &Conditions, here: &Conditions) -> bool {
    of.cpu != here.cpu || of.circumstances.engine.name != here.circumstances.engine.name
}

/// `onnxruntime 1.32 on ARM Cortex-A72, 4 thread(s), batch 1, 1x3x224x224`.
fn told(conditions: &Conditions) -> String {
    let of = &conditions.circumstances;
    let cpu = conditions.cpu.as_deref().unwrap_or("an unnamed processor");
    let shape = of.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
    format!("{} {} on {cpu}, {} thread(s), batch {}, {shape}", of.engine.name, of.engine.version, of.threads, of.batch)
}

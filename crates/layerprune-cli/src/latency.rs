//! Timing of models against each other.

use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use layerprune::onnx::Model;
use layerprune::record::LatencyComparison;
use layerprune::shapes::InputShapes;
use layerprune_infer::{
    InferError, LatencyOptions, LatencyProgress, Measurement, Session, SessionOptions, bind_shapes, measure, pinned,
    random_inputs,
};

use crate::args::Global;
use crate::{data, interrupt, progress};

/// Samples after which models are loaded anew, at least, and how often they are loaded at most.
const SITTING: usize = 15;
const MOST_SITTINGS: usize = 8;
/// Untimed calls before, where time is short.
pub(crate) const FEWEST_WARM_UP: usize = 3;

/// How a latency is measured.
#[derive(Debug, Clone)]
pub(crate) struct Timer {
    pub(crate) batch: usize,
    pub(crate) threads: usize,
    pub(crate) shapes: InputShapes,
    pub(crate) options: LatencyOptions,
    pub(crate) global: Global,
}

impl Timer {
    /// One thread unless asked for otherwise: the steadier measurement. How often to time is up to the engine.
    pub(crate) fn new(global: &Global, batch: usize, shapes: &InputShapes) -> Self {
        Self {
            batch,
            threads: global.threads.map_or(1, usize::from),
            shapes: shapes.clone(),
            options: LatencyOptions { seed: global.seed(), ..LatencyOptions::of(data::engine(global)) },
            global: global.clone(),
        }
    }

    /// Samples enough to steer by, in about a second for a small model.
    pub(crate) fn brief(self) -> Self {
        self.paced(|options| {
            options.samples = 60;
            options.warm_up = Duration::from_millis(150);
            options.min_time = Duration::from_millis(400);
            options.max_time = Duration::from_secs(15);
        })
    }

    /// Samples as many as asked for within `time`, but five in any case, and with a tenth of it to warm up.
    pub(crate) fn within(self, time: Duration) -> Self {
        self.paced(|options| {
            options.warm_up = options.warm_up.min(time / 10);
            options.warm_up_calls = options.warm_up_calls.min(FEWEST_WARM_UP);
            options.min_time = Duration::ZERO;
            options.max_time = time;
        })
    }

    /// At another pace, but for an engine that tells times: that is left to its own.
    fn paced(mut self, change: impl FnOnce(&mut LatencyOptions)) -> Self {
        if !data::engine(&self.global).tells_times() {
            change(&mut self.options);
        }
        self
    }

    /// Times all `models` in one interleaved run, the first being the baseline, on as many processors as threads. They are
    /// loaded several times on the way, since where a model comes to lie in memory is a part of the noise.
    pub(crate) fn measure(&self, models: &[&Model]) -> Result<Measurement, InferError> {
        pinned(self.threads, || self.measure_here(models))
    }

    fn measure_here(&self, models: &[&Model]) -> Result<Measurement, InferError> {
        let bar = progress::bar(&self.global, "timing", self.options.samples as u64);
        bar.set_message(format!("{}, batch {}, {} thread(s)", self.global.engine, self.batch, self.threads));
        let tells_times = data::engine(&self.global).tells_times();
        let sittings = if tells_times { 1 } else { (self.options.samples / SITTING).clamp(1, MOST_SITTINGS) };
        let mut whole: Option<Measurement> = None;
        for sitting in 0..sittings {
            match (self.sit(models, sitting, sittings, &bar), whole.as_mut()) {
                (Ok(measured), Some(whole)) => whole.extend(measured),
                (Ok(measured), None) => whole = Some(measured),
                (Err(error), Some(whole)) if !matches!(error, InferError::Interrupted) => {
                    whole.stop(&error);
                    break;
                }
                (Err(error), _) => return Err(error),
            }
        }
        bar.finish_and_clear();
        whole.ok_or(InferError::NoModels)
    }

    /// One part of the samples, with the models loaded anew.
    fn sit(
        &self,
        models: &[&Model],
        sitting: usize,
        sittings: usize,
        bar: &ProgressBar,
    ) -> Result<Measurement, InferError> {
        let options = SessionOptions { threads: self.threads, engine: data::engine(&self.global) };
        let sessions: Vec<Session> =
            models.iter().map(|model| Session::load(model, &options)).collect::<Result<_, _>>()?;
        let shapes = bind_shapes(sessions[0].inputs(), &self.shapes, Some(self.batch))?;
        let inputs = random_inputs(sessions[0].inputs(), &shapes, self.options.seed);
        let sessions: Vec<&Session> = sessions.iter().collect();
        let before = |sitting: usize| self.options.samples * sitting / sittings;
        let share = sittings as u32;
        let options = LatencyOptions {
            warm_up: self.options.warm_up / share,
            warm_up_calls: self.options.warm_up_calls.div_ceil(sittings),
            samples: before(sitting + 1) - before(sitting),
            min_time: self.options.min_time / share,
            max_time: self.options.max_time / share,
            seed: self.options.seed.wrapping_add(sitting as u64),
        };
        measure(&sessions, &inputs, &options, |at| {
            if let LatencyProgress::Sampling { done, .. } = at {
                bar.set_position((before(sitting) + done) as u64);
            }
            interrupt::check()
        })
    }

    /// Each of `candidates` against the baseline, all in one interleaved run.
    pub(crate) fn all_against(
        &self,
        baseline: &Model,
        candidates: &[&Model],
    ) -> Result<Vec<LatencyComparison>, InferError> {
        let models: Vec<&Model> = [baseline].into_iter().chain(candidates.iter().copied()).collect();
        let measured = self.measure(&models)?;
        (1..models.len()).map(|place| measured.comparison(place)).collect()
    }

    /// The candidate against the baseline.
    pub(crate) fn against(&self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, InferError> {
        self.measure(&[baseline, candidate])?.comparison(1)
    }
}

//! Timing models against each other.

use std::ops::ControlFlow;
use std::time::Duration;

use layerprune::record::{Circumstances, LatencyComparison, LatencyStats, Side, Timing, Warning};
use layerprune::stats::{SplitMix, median};

use crate::clock::{Clock, SystemClock};
use crate::engine::Engine;
use crate::error::InferError;
use crate::input::Input;
use crate::machine::{Usage, frequency_scaling};
use crate::progress::LatencyProgress;
use crate::session::Session;

/// A call shorter than this is timed together with others.
const SHORTEST_SAMPLE: Duration = Duration::from_micros(50);
const MOST_CALLS_PER_SAMPLE: usize = 10_000;
/// However slow the models, quartiles need so many rounds.
const FEWEST_ROUNDS: usize = 5;

/// How long and how often to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyOptions {
    /// Untimed calls last at least this long, all models together ...
    pub warm_up: Duration,
    /// ... and are at least so many of each model.
    pub warm_up_calls: usize,
    /// Samples to take of each model.
    pub samples: usize,
    /// Sampling goes on beyond `samples` until this has passed.
    pub min_time: Duration,
    /// Sampling stops before `samples` when this has passed, but not before five rounds.
    pub max_time: Duration,
    /// Seed of the order within rounds and of the interval.
    pub seed: u64,
}

impl Default for LatencyOptions {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_millis(500),
            warm_up_calls: 10,
            samples: 200,
            min_time: Duration::from_secs(2),
            max_time: Duration::from_secs(60),
            seed: 0,
        }
    }
}

impl LatencyOptions {
    /// The defaults for an engine: an engine that tells times is asked ten times, after one untimed call.
    #[must_use]
    pub fn of(engine: &dyn Engine) -> Self {
        if !engine.tells_times() {
            return Self::default();
        }
        Self {
            warm_up: Duration::ZERO,
            warm_up_calls: 1,
            samples: 10,
            min_time: Duration::ZERO,
            max_time: Duration::from_secs(600),
            seed: 0,
        }
    }
}

/// Raw latencies of models that were timed in turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// For each model, milliseconds per call of each sample; entry `i` of all models belongs to round `i`.
    pub samples_ms: Vec<Vec<f64>>,
    /// How many calls each sample is the mean of.
    pub calls_per_sample: usize,
    /// The smallest step of the clock in milliseconds; zero where the engine tells times itself.
    pub resolution_ms: f64,
    /// Engine, threads, batch and shape of the first input, and whether this thread was bound ([`pinned`](crate::pinned)).
    pub circumstances: Circumstances,
    /// What is to be said against the measurement as a whole.
    notes: Vec<Warning>,
    seed: u64,
}

/// Times `sessions` in turns on the same `inputs`: the first is the baseline, the others are candidates.
///
/// After the warm-up each round takes one sample of each model, in an order drawn from the seed, so that a drift of the
/// machine meets all models alike. A sample is one call, or the mean of several where one is shorter than 50 µs.
///
/// A call that fails after five complete rounds ends the measurement early; what was sampled until then counts, and
/// [`Warning::StoppedEarly`] says so.
///
/// # Errors
/// Where the sessions are of different engines or numbers of threads, the inputs do not fit one of them, a call fails
/// before, or `observer`, called between rounds, breaks.
pub fn measure(
    sessions: &[&Session],
    inputs: &[Input<'_>],
    options: &LatencyOptions,
    observer: impl FnMut(LatencyProgress) -> ControlFlow<()>,
) -> Result<Measurement, InferError> {
    measure_with(&SystemClock::default(), sessions, inputs, options, observer)
}

/// [`measure`] by a given clock.
///
/// # Errors
/// As [`measure`].
pub fn measure_with(
    clock: &dyn Clock,
    sessions: &[&Session],
    inputs: &[Input<'_>],
    options: &LatencyOptions,
    mut observer: impl FnMut(LatencyProgress) -> ControlFlow<()>,
) -> Result<Measurement, InferError> {
    let circumstances = circumstances(sessions, inputs)?;
    let tells_times = sessions[0].tells_times();
    let before = Usage::read();
    let fastest = warm_up(clock, sessions, inputs, options, &mut observer)?;
    let calls_per_sample = if tells_times { 1 } else { calls_per_sample(fastest) };
    let mut random = SplitMix::new(options.seed);
    let mut order: Vec<usize> = (0..sessions.len()).collect();
    let mut samples_ms = vec![Vec::with_capacity(options.samples); sessions.len()];
    let mut notes = Vec::new();
    let start = clock.now();
    for done in 0.. {
        let elapsed = clock.now().saturating_sub(start);
        let enough = done >= options.samples.max(1) && elapsed >= options.min_time;
        if enough || (done >= FEWEST_ROUNDS && elapsed >= options.max_time) {
            break;
        }
        check(observer(LatencyProgress::Sampling { done, asked: options.samples }))?;
        shuffle(&mut order, &mut random);
        match round(clock, sessions, inputs, calls_per_sample, &order) {
            Ok(round) => samples_ms.iter_mut().zip(round).for_each(|(samples, sample)| samples.push(sample)),
            Err(InferError::Interrupted) => return Err(InferError::Interrupted),
            Err(error) if done < FEWEST_ROUNDS => return Err(error),
            Err(error) => {
                notes.push(Warning::StoppedEarly { samples: done, reason: chain(&error) });
                break;
            }
        }
    }
    // Another machine may be the one that was timed.
    if !tells_times {
        notes.extend(frequency_scaling());
        notes.extend(before.zip(Usage::read()).and_then(|(before, after)| Usage::warning(&before, &after)));
    }
    let resolution_ms = if tells_times { 0.0 } else { 1e3 * clock.resolution().as_secs_f64() };
    Ok(Measurement { samples_ms, calls_per_sample, resolution_ms, circumstances, notes, seed: options.seed })
}

impl Measurement {
    /// Adds the rounds of a `later` measurement of the same models, loaded anew. Where the memory of a loaded model lies
    /// makes a small difference, which no number of rounds with the same sessions shows.
    pub fn extend(&mut self, later: Self) {
        self.samples_ms.iter_mut().zip(later.samples_ms).for_each(|(samples, more)| samples.extend(more));
        self.calls_per_sample = self.calls_per_sample.max(later.calls_per_sample);
        for note in later.notes {
            let same = |known: &Warning| std::mem::discriminant(known) == std::mem::discriminant(&note);
            if !self.notes.iter().any(same) {
                self.notes.push(note);
            }
        }
    }

    /// Notes that a later measurement, which was to be added, failed with `error`.
    pub fn stop(&mut self, error: &InferError) {
        let samples = self.samples_ms.first().map_or(0, Vec::len);
        self.notes.push(Warning::StoppedEarly { samples, reason: chain(error) });
    }

    /// The latencies of model `index` summed up; 0 is the baseline.
    ///
    /// # Errors
    /// Where there are no samples, or the clock stood still during one.
    ///
    /// # Panics
    /// Where fewer models were timed.
    pub fn stats(&self, index: usize) -> Result<LatencyStats, InferError> {
        Ok(LatencyStats::from_ms(&self.samples_ms[index])?)
    }

    /// Model `index` against the baseline, model 0.
    ///
    /// # Errors
    /// Where there are no samples, or the clock stood still during one.
    ///
    /// # Panics
    /// Where fewer models were timed.
    pub fn comparison(&self, index: usize) -> Result<LatencyComparison, InferError> {
        let (baseline, candidate) = (self.timing(0), self.timing(index));
        let mut comparison = LatencyComparison::new(self.circumstances.clone(), &baseline, &candidate, self.seed)?;
        comparison.warnings.extend_from_slice(&self.notes);
        Ok(comparison)
    }

    /// What is to be said against the baseline's samples, for a measurement of one model.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Warning::of(&[(Side::Baseline, self.timing(0))]);
        warnings.extend_from_slice(&self.notes);
        warnings
    }

    fn timing(&self, index: usize) -> Timing<'_> {
        Timing {
            samples_ms: &self.samples_ms[index],
            calls_per_sample: self.calls_per_sample,
            resolution_ms: self.resolution_ms,
        }
    }
}

fn circumstances(sessions: &[&Session], inputs: &[Input<'_>]) -> Result<Circumstances, InferError> {
    let first = sessions.first().ok_or(InferError::NoModels)?;
    for session in sessions {
        session.check(inputs)?;
        if session.is_tapped() {
            return Err(InferError::Tapped);
        }
        if session.engine() != first.engine() || session.threads() != first.threads() {
            let name = |session: &Session| {
                format!("{} {} ({} threads)", session.engine().name, session.engine().version, session.threads())
            };
            return Err(InferError::UnlikeSessions { a: name(first), b: name(session) });
        }
    }
    Ok(first.circumstances(inputs.first().map_or_else(Vec::new, |input| input.shape.to_vec())))
}

/// Calls the models in turns without keeping times; returns the seconds that a call of the fastest takes.
fn warm_up(
    clock: &dyn Clock,
    sessions: &[&Session],
    inputs: &[Input<'_>],
    options: &LatencyOptions,
    observer: &mut impl FnMut(LatencyProgress) -> ControlFlow<()>,
) -> Result<f64, InferError> {
    let start = clock.now();
    let mut seconds = vec![Vec::new(); sessions.len()];
    for calls in 0.. {
        if calls >= options.warm_up_calls.max(1) && clock.now().saturating_sub(start) >= options.warm_up {
            break;
        }
        check(observer(LatencyProgress::WarmUp { calls }))?;
        for (session, seconds) in sessions.iter().zip(&mut seconds) {
            seconds.push(session.time(inputs, 1, clock)?.as_secs_f64());
        }
    }
    Ok(seconds.iter().filter_map(|seconds| median(seconds)).fold(f64::INFINITY, f64::min))
}

/// One sample of each model in milliseconds per call, in the order of the models; taken in the order of `order`.
fn round(
    clock: &dyn Clock,
    sessions: &[&Session],
    inputs: &[Input<'_>],
    calls: usize,
    order: &[usize],
) -> Result<Vec<f64>, InferError> {
    let mut samples = vec![0.0; sessions.len()];
    for &model in order {
        let took = sessions[model].time(inputs, calls, clock)?;
        samples[model] = 1e3 * took.as_secs_f64() / calls as f64;
    }
    Ok(samples)
}

fn calls_per_sample(call_seconds: f64) -> usize {
    let calls = (SHORTEST_SAMPLE.as_secs_f64() / call_seconds).ceil();
    // A call of no time gives infinity, which the cast saturates.
    (calls as usize).clamp(1, MOST_CALLS_PER_SAMPLE)
}

fn check(flow: ControlFlow<()>) -> Result<(), InferError> {
    if flow.is_break() { Err(InferError::Interrupted) } else { Ok(()) }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], random: &mut SplitMix) {
    for place in (1..order.len()).rev() {
        order.swap(place, random.below(place + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_calls_are_timed_together() {
        assert_eq!(calls_per_sample(1e-3), 1);
        assert_eq!(calls_per_sample(50e-6), 1);
        assert_eq!(calls_per_sample(20e-6), 3);
        assert_eq!(calls_per_sample(0.0), MOST_CALLS_PER_SAMPLE);
    }

    #[test]
    fn one_seed_gives_one_order() {
        let orders = |seed| {
            let mut random = SplitMix::new(seed);
            let mut order = [0, 1, 2];
            (0..20)
                .map(|_| {
                    shuffle(&mut order, &mut random);
                    order
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(orders(1), orders(1));
        assert_ne!(orders(1), orders(2));
    }
}

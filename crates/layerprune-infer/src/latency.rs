//! Timing models against each other.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use layerprune::record::{Circumstances, LatencyComparison, LatencyStats, Side, Timing, Warning};
use layerprune::stats::{SplitMix, median};

use crate::error::InferError;
use crate::input::Input;
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

/// Raw latencies of models that were timed in turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// For each model, milliseconds per call of each sample; entry `i` of all models belongs to round `i`.
    pub samples_ms: Vec<Vec<f64>>,
    /// How many calls each sample is the mean of.
    pub calls_per_sample: usize,
    /// The smallest step of the clock in milliseconds.
    pub resolution_ms: f64,
    /// Engine, threads, batch and shape of the first input.
    pub circumstances: Circumstances,
    seed: u64,
}

/// Times `sessions` in turns on the same `inputs`: the first is the baseline, the others are candidates.
///
/// After the warm-up each round takes one sample of each model, in an order drawn from the seed, so that a drift of the
/// machine meets all models alike. A sample is one call, or the mean of several where one is shorter than 50 µs.
///
/// # Errors
/// Where the sessions are of different engines or numbers of threads, the inputs do not fit one of them, a call fails,
/// or `observer`, called between rounds, breaks.
pub fn measure(
    sessions: &[&Session],
    inputs: &[Input<'_>],
    options: &LatencyOptions,
    mut observer: impl FnMut(LatencyProgress) -> ControlFlow<()>,
) -> Result<Measurement, InferError> {
    let circumstances = circumstances(sessions, inputs)?;
    let calls_per_sample = warm_up(sessions, inputs, options, &mut observer)?;
    let mut random = SplitMix::new(options.seed);
    let mut order: Vec<usize> = (0..sessions.len()).collect();
    let mut samples_ms = vec![Vec::with_capacity(options.samples); sessions.len()];
    let start = Instant::now();
    for done in 0.. {
        let enough = done >= options.samples.max(1) && start.elapsed() >= options.min_time;
        if enough || (done >= FEWEST_ROUNDS && start.elapsed() >= options.max_time) {
            break;
        }
        check(observer(LatencyProgress::Sampling { done, asked: options.samples }))?;
        shuffle(&mut order, &mut random);
        for &model in &order {
            let took = time(sessions[model], inputs, calls_per_sample)?;
            samples_ms[model].push(1e3 * took.as_secs_f64() / calls_per_sample as f64);
        }
    }
    Ok(Measurement { samples_ms, calls_per_sample, resolution_ms: resolution_ms(), circumstances, seed: options.seed })
}

impl Measurement {
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
        Ok(LatencyComparison::new(self.circumstances.clone(), &baseline, &candidate, self.seed)?)
    }

    /// What is to be said against the baseline's samples, for a measurement of one model.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        Warning::of(&[(Side::Baseline, self.timing(0))])
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
    let shape = inputs.first().map_or_else(Vec::new, |input| input.shape.to_vec());
    Ok(Circumstances {
        engine: first.engine().clone(),
        threads: first.threads(),
        batch: shape.first().copied().unwrap_or(1),
        shape,
    })
}

/// Calls the models in turns without keeping times; returns how many calls a sample needs.
fn warm_up(
    sessions: &[&Session],
    inputs: &[Input<'_>],
    options: &LatencyOptions,
    observer: &mut impl FnMut(LatencyProgress) -> ControlFlow<()>,
) -> Result<usize, InferError> {
    let start = Instant::now();
    let mut seconds = vec![Vec::new(); sessions.len()];
    for calls in 0.. {
        if calls >= options.warm_up_calls.max(1) && start.elapsed() >= options.warm_up {
            break;
        }
        check(observer(LatencyProgress::WarmUp { calls }))?;
        for (session, seconds) in sessions.iter().zip(&mut seconds) {
            seconds.push(time(session, inputs, 1)?.as_secs_f64());
        }
    }
    let fastest = seconds.iter().filter_map(|seconds| median(seconds)).fold(f64::INFINITY, f64::min);
    Ok(calls_per_sample(fastest))
}

fn calls_per_sample(call_seconds: f64) -> usize {
    let calls = (SHORTEST_SAMPLE.as_secs_f64() / call_seconds).ceil();
    // A call of no time gives infinity, which the cast saturates.
    (calls as usize).clamp(1, MOST_CALLS_PER_SAMPLE)
}

fn time(session: &Session, inputs: &[Input<'_>], calls: usize) -> Result<Duration, InferError> {
    let mut last = None;
    let start = Instant::now();
    for _ in 0..calls {
        last = Some(session.call(inputs)?);
    }
    let took = start.elapsed();
    drop(last);
    Ok(took)
}

fn check(flow: ControlFlow<()>) -> Result<(), InferError> {
    if flow.is_break() { Err(InferError::Interrupted) } else { Ok(()) }
}

/// Fisher and Yates.
fn shuffle(order: &mut [usize], random: &mut SplitMix) {
    for place in (1..order.len()).rev() {
        order.swap(place, random.below(place + 1));
    }
}

/// The smallest step seen between readings of the clock.
fn resolution_ms() -> f64 {
    let mut smallest = f64::INFINITY;
    for _ in 0..100 {
        let start = Instant::now();
        let step = loop {
            let elapsed = start.elapsed();
            if !elapsed.is_zero() {
                break elapsed;
            }
        };
        smallest = smallest.min(1e3 * step.as_secs_f64());
    }
    smallest
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

//! Measuring by a clock that is made up: what is timed takes exactly as long as a noise says.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use layerprune::onnx::Model;
use layerprune::record::{EngineInfo, Verdict, Warning};
use layerprune::stats::SplitMix;
use layerprune_infer::{
    Array, Clock, Engine, Executable, InferError, Input, LatencyOptions, LatencyProgress, LoadOptions, Measurement,
    Session, SessionOptions, measure_with,
};

use crate::models::{IMAGES, classifier, load};

/// A machine of its own, with a clock that only calls move on.
struct Simulated(Arc<Mutex<State>>);

struct State {
    now: Duration,
    calls: usize,
    /// Nominal seconds and number of the call to seconds.
    took: Box<dyn FnMut(f64, usize) -> Option<f64> + Send>,
}

struct Loaded {
    state: Arc<Mutex<State>>,
    seconds: f64,
}

impl Simulated {
    fn new(took: impl FnMut(f64, usize) -> Option<f64> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State { now: Duration::ZERO, calls: 0, took: Box::new(took) })))
    }

    /// A model with `seconds` of nominal latency.
    fn session(&self, seconds: f64) -> Session {
        let engine = Nominal { machine: self, seconds };
        Session::load(&classifier(-2.0), &SessionOptions { threads: 1, engine: &engine }).unwrap()
    }

    fn measure(&self, seconds: &[f64], options: &LatencyOptions) -> Result<Measurement, InferError> {
        let sessions: Vec<Session> = seconds.iter().map(|&seconds| self.session(seconds)).collect();
        measure_with(self, &sessions.iter().collect::<Vec<_>>(), &images(), options, |_| ControlFlow::Continue(()))
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }
}

impl Clock for Simulated {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().now
    }

    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
}

struct Nominal<'m> {
    machine: &'m Simulated,
    seconds: f64,
}

impl Engine for Nominal<'_> {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn info(&self) -> EngineInfo {
        EngineInfo { name: self.name().to_owned(), version: "1".to_owned() }
    }

    fn load(&self, _: &Model, _: LoadOptions) -> Result<Box<dyn Executable>, InferError> {
        Ok(Box::new(Loaded { state: self.machine.0.clone(), seconds: self.seconds }))
    }
}

impl Executable for Loaded {
    fn run(&self, _: &[Input<'_>]) -> Result<Vec<Array>, InferError> {
        let mut state = self.state.lock().unwrap();
        let call = state.calls;
        state.calls += 1;
        let seconds = (state.took)(self.seconds, call);
        let seconds = seconds.ok_or_else(|| InferError::OnnxRuntime { reason: format!("call {call} crashed") })?;
        state.now += Duration::from_secs_f64(seconds);
        Ok(Vec::new())
    }
}

fn images() -> [Input<'static>; 1] {
    [Input::f32(vec![2, 1, 2, 2], &IMAGES[..])]
}

fn options(samples: usize) -> LatencyOptions {
    LatencyOptions {
        warm_up: Duration::ZERO,
        warm_up_calls: 1,
        samples,
        min_time: Duration::ZERO,
        max_time: Duration::from_secs(1_000),
        seed: 0,
    }
}

#[test]
fn the_warm_up_lasts_as_long_as_asked_and_no_call_less() {
    let machine = Simulated::new(|seconds, _| Some(seconds));
    let long = LatencyOptions { warm_up: Duration::from_millis(35), ..options(6) };
    let measured = machine.measure(&[0.01, 0.01], &long).unwrap();
    assert_eq!((machine.calls(), &measured.samples_ms[1]), (2 * (2 + 6), &vec![10.0; 6]));
    let machine = Simulated::new(|seconds, _| Some(seconds));
    machine.measure(&[0.01], &LatencyOptions { warm_up_calls: 9, ..options(6) }).unwrap();
    assert_eq!(machine.calls(), 9 + 6);
}

#[test]
fn samples_and_time_limits_decide_the_number_of_rounds() {
    let rounds = |options: LatencyOptions| {
        let machine = Simulated::new(|seconds, _| Some(seconds));
        machine.measure(&[0.01, 0.03], &options).unwrap().samples_ms[0].len()
    };
    assert_eq!(rounds(options(7)), 7);
    // A round takes 40 ms.
    assert_eq!(rounds(LatencyOptions { min_time: Duration::from_millis(390), ..options(7) }), 10);
    assert_eq!(rounds(LatencyOptions { max_time: Duration::from_millis(300), ..options(90) }), 8);
    assert_eq!(rounds(LatencyOptions { max_time: Duration::ZERO, ..options(90) }), 5);
}

#[test]
fn short_calls_are_timed_together_and_long_ones_alone() {
    let machine = Simulated::new(|seconds, _| Some(seconds));
    let measured = machine.measure(&[20e-6, 1e-3], &options(10)).unwrap();
    assert_eq!(measured.calls_per_sample, 3);
    assert!(measured.samples_ms[0].iter().all(|sample| (sample - 0.02).abs() < 1e-9), "{measured:?}");
    assert_eq!(machine.calls(), 2 + 3 * 20);
    assert!((measured.resolution_ms - 1e-6).abs() < 1e-15);
}

#[test]
fn statistics_are_those_of_the_made_up_times() {
    let machine = Simulated::new(|seconds, call| Some(seconds * (call % 100 + 1) as f64));
    let stats = machine.measure(&[1e-3], &options(100)).unwrap().stats(0).unwrap();
    let expected = [50.5, 90.1, 95.05, 99.01, 25.0, 49.5];
    let found =
        [stats.median_ms, stats.p90_ms, stats.p95_ms.unwrap(), stats.p99_ms, stats.mad_ms, stats.iqr_ms.unwrap()];
    assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
    assert_eq!(stats.samples_ms.len(), 100);
}

#[test]
fn complete_rounds_before_a_crash_are_kept_once_there_are_five() {
    // Warm-up: calls 0 and 1; round 7 breaks at its second call.
    let crashing = |at: usize| Simulated::new(move |seconds, call| (call < at).then_some(seconds));
    let measured = crashing(2 + 2 * 7 + 1).measure(&[0.01, 0.02], &options(30)).unwrap();
    assert_eq!(measured.samples_ms, [vec![10.0; 7], vec![20.0; 7]]);
    let reason = "ONNX Runtime cannot be used: call 17 crashed".to_owned();
    let stopped = Warning::StoppedEarly { samples: 7, reason };
    assert!(measured.warnings().contains(&stopped), "{:?}", measured.warnings());
    let comparison = measured.comparison(1).unwrap();
    assert!(comparison.warnings.contains(&stopped));
    assert_eq!((comparison.verdict, comparison.speedup), (Verdict::Slower, 0.5));

    assert_eq!(crashing(2 + 2 * 5).measure(&[0.01, 0.02], &options(30)).unwrap().samples_ms[0].len(), 5);
    let lost = crashing(2 + 2 * 5 - 1).measure(&[0.01, 0.02], &options(30)).unwrap_err();
    assert_eq!(lost.to_string(), "ONNX Runtime cannot be used: call 11 crashed");
}

#[test]
fn who_interrupts_gets_nothing_however_much_was_sampled() {
    let machine = Simulated::new(|seconds, _| Some(seconds));
    let session = machine.session(0.01);
    let stopped = measure_with(&machine, &[&session], &images(), &options(30), |at| match at {
        LatencyProgress::Sampling { done: 20, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(InferError::Interrupted)));
}

#[test]
fn what_ran_bound_to_its_processors_says_so() {
    let session = load(&classifier(-2.0));
    let measure = || layerprune_infer::measure(&[&session], &images(), &options(5), |_| ControlFlow::Continue(()));
    let pinned = layerprune_infer::pinned(1, || measure().unwrap().circumstances.pinned);
    assert_eq!(pinned, cfg!(target_os = "linux"));
}

/// Latencies as a shared machine gives them, relative to the nominal one.
#[derive(Clone, Copy)]
struct Noise {
    /// How much of a call's disturbance the next one has: that of an AR(1) process.
    memory: f64,
    /// Standard deviation of that process.
    slow: f64,
    /// Rise over 1000 calls.
    drift: f64,
    /// Share of calls that take up to four times as long.
    spikes: f64,
}

impl Noise {
    fn machine(self, seed: u64) -> Simulated {
        let mut random = SplitMix::new(seed);
        let mut slow = random.normal();
        Simulated::new(move |seconds, call| {
            slow = self.memory * slow + (1.0 - self.memory * self.memory).sqrt() * random.normal();
            let spike = if random.uniform() < self.spikes { 1.0 + 3.0 * random.uniform() } else { 1.0 };
            let factor = 1.0 + self.slow * slow + self.drift * call as f64 / 1e3 + 0.005 * random.normal();
            Some(seconds * factor.max(0.1) * spike)
        })
    }

    /// How many of `trials` comparisons of a model with one that takes `ratio` as long end with `verdict`.
    fn count(self, trials: u64, ratio: f64, verdict: impl Fn(Verdict) -> bool) -> u64 {
        let compare = |seed| {
            let options = LatencyOptions { seed, ..options(30) };
            let measured = self.machine(1_000 + seed).measure(&[0.01, 0.01 * ratio], &options).unwrap();
            measured.comparison(1).unwrap().verdict
        };
        (0..trials).filter(|&seed| verdict(compare(seed))).count() as u64
    }
}

const NOISES: [Noise; 4] = [
    Noise { memory: 0.0, slow: 0.01, drift: 0.0, spikes: 0.0 },
    Noise { memory: 0.5, slow: 0.02, drift: 0.0, spikes: 0.02 },
    Noise { memory: 0.9, slow: 0.02, drift: 1.0, spikes: 0.05 },
    Noise { memory: 0.99, slow: 0.05, drift: 0.0, spikes: 0.02 },
];

/// Of 200 comparisons at a rate of 5 % ten are expected; more than 19 come about once in 260 times (binomial), and the seeds
/// are fixed.
#[test]
fn a_model_against_its_copy_is_called_different_at_most_as_often_as_stated() {
    let mut all = 0;
    for (place, noise) in NOISES.into_iter().enumerate() {
        let different = noise.count(200, 1.0, |verdict| verdict != Verdict::NotFaster);
        assert!(different <= 19, "noise {place}: {different} of 200");
        all += different;
    }
    // Of all 800: 40 expected, more than 57 once in 250 times.
    assert!(all <= 57, "{all} of 800");
}

#[test]
fn a_model_that_is_ten_percent_faster_is_found_under_the_same_noises() {
    for (place, noise) in NOISES.into_iter().enumerate() {
        let found = noise.count(40, 0.9, |verdict| verdict == Verdict::Faster);
        assert!(found >= 38, "noise {place}: {found} of 40");
    }
}

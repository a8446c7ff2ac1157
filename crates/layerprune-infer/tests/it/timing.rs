use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use layerprune::onnx::Model;
use layerprune::record::{EngineInfo, Verdict, Warning};
use layerprune_infer::{
    Array, Engine, Executable, InferError, Input, LatencyOptions, LatencyProgress, LoadOptions, Session,
    SessionOptions, measure,
};

use crate::models::{IMAGES, classifier, load, one_thread, reshape};

/// Who was called: the number of nodes of the model, which tells the models apart.
struct Noting {
    calls: Mutex<Vec<usize>>,
}

struct Noted {
    engine: &'static Noting,
    nodes: usize,
}

/// An engine that notes every call.
struct NotingEngine(&'static Noting);

impl Engine for NotingEngine {
    fn name(&self) -> &'static str {
        "noting"
    }

    fn info(&self) -> EngineInfo {
        EngineInfo { name: self.name().to_owned(), version: "1".to_owned() }
    }

    fn load(&self, model: &Model, _: LoadOptions) -> Result<Box<dyn Executable>, InferError> {
        Ok(Box::new(Noted { engine: self.0, nodes: model.graph.node_count() }))
    }
}

impl Executable for Noted {
    fn run(&self, _: &[Input<'_>]) -> Result<Vec<Array>, InferError> {
        self.engine.calls.lock().unwrap().push(self.nodes);
        // Longer than the time below which calls are timed together.
        std::thread::sleep(Duration::from_micros(100));
        Ok(vec![Array { shape: vec![1], data: vec![0.0] }])
    }
}

fn noting() -> (&'static Noting, SessionOptions<'static>) {
    let noting: &'static Noting = Box::leak(Box::new(Noting { calls: Mutex::new(Vec::new()) }));
    (noting, SessionOptions { threads: 1, engine: Box::leak(Box::new(NotingEngine(noting))) })
}

fn brief(samples: usize) -> LatencyOptions {
    LatencyOptions {
        warm_up: Duration::ZERO,
        warm_up_calls: 3,
        samples,
        min_time: Duration::ZERO,
        max_time: Duration::from_secs(60),
        seed: 5,
    }
}

fn images() -> [Input<'static>; 1] {
    [Input::f32(vec![2, 1, 2, 2], &IMAGES[..])]
}

fn go_on<T>(_: T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn models_take_turns_in_an_order_drawn_anew_each_round() {
    let (noting, options) = noting();
    let full = Session::load(&classifier(-2.0), &options).unwrap();
    let mut cut = classifier(-2.0);
    let flatten = cut.graph.nodes().last().map(|(id, _)| id).unwrap();
    cut.graph.remove_nodes(&[flatten].into());
    let cut = Session::load(&cut, &options).unwrap();

    let measured = measure(&[&full, &cut], &images(), &brief(40), go_on).unwrap();
    let calls = noting.calls.lock().unwrap().clone();
    assert_eq!(measured.calls_per_sample, 1);
    assert_eq!(calls.len(), 2 * (3 + 40));
    let rounds: Vec<_> = calls.chunks(2).collect();
    assert!(rounds.iter().all(|round| *round == [4, 3] || *round == [3, 4]), "{rounds:?}");
    assert!(rounds[..3].iter().all(|round| *round == [4, 3]));
    let first = rounds[3..].iter().filter(|round| round[0] == 4).count();
    assert!((10..=30).contains(&first), "the baseline came first in {first} of 40 rounds");
}

#[test]
fn samples_are_as_many_as_asked_for_and_positive() {
    let (a, b) = (load(&classifier(-2.0)), load(&classifier(-1.0)));
    let measured = measure(&[&a, &b], &images(), &brief(31), go_on).unwrap();
    assert_eq!(measured.samples_ms.iter().map(Vec::len).collect::<Vec<_>>(), [31, 31]);
    assert!(measured.samples_ms.iter().flatten().all(|&sample| sample > 0.0));
    assert!(measured.calls_per_sample >= 1 && measured.resolution_ms > 0.0);

    let comparison = measured.comparison(1).unwrap();
    assert_eq!((comparison.engine.name.as_str(), comparison.threads, comparison.batch), ("rten", 1, 2));
    assert_eq!(comparison.shape, [2, 1, 2, 2]);
    assert_eq!(comparison.baseline, measured.stats(0).unwrap());
    assert_eq!(measured.comparison(1).unwrap(), comparison);
}

#[test]
fn a_model_against_its_own_samples_is_not_faster() {
    let measured = measure(&[&load(&classifier(-2.0))], &images(), &brief(10), go_on).unwrap();
    let comparison = measured.comparison(0).unwrap();
    assert_eq!((comparison.verdict, comparison.speedup), (Verdict::NotFaster, 1.0));
    assert!(measured.warnings().contains(&Warning::FewSamples { samples: 10, needed: 30 }));
}

#[test]
fn time_limits_add_and_cut_rounds() {
    let session = load(&classifier(-2.0));
    let longer = LatencyOptions { min_time: Duration::from_millis(20), ..brief(1) };
    assert!(measure(&[&session], &images(), &longer, go_on).unwrap().samples_ms[0].len() > 1);
    let shorter = LatencyOptions { max_time: Duration::ZERO, ..brief(1000) };
    assert_eq!(measure(&[&session], &images(), &shorter, go_on).unwrap().samples_ms[0].len(), 5);
}

#[test]
fn progress_is_told_and_can_stop_the_measurement() {
    let session = load(&classifier(-2.0));
    let mut seen = Vec::new();
    measure(&[&session], &images(), &brief(2), |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    let expected = [
        LatencyProgress::WarmUp { calls: 0 },
        LatencyProgress::WarmUp { calls: 1 },
        LatencyProgress::WarmUp { calls: 2 },
        LatencyProgress::Sampling { done: 0, asked: 2 },
        LatencyProgress::Sampling { done: 1, asked: 2 },
    ];
    assert_eq!(seen, expected);
    let stopped = measure(&[&session], &images(), &brief(2), |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(InferError::Interrupted)));
}

#[test]
fn what_cannot_be_compared_is_not_timed() {
    let session = load(&classifier(-2.0));
    assert!(matches!(measure(&[], &images(), &brief(1), go_on), Err(InferError::NoModels)));
    let refused = measure(&[&session, &load(&reshape())], &images(), &brief(1), go_on);
    assert!(matches!(refused, Err(InferError::InputShape { .. })));
    let model = classifier(-2.0);
    let tapped = Session::with_taps(&model, &[model.graph.value_named("pooled").unwrap()], &one_thread()).unwrap();
    assert!(matches!(measure(&[&tapped], &images(), &brief(1), go_on), Err(InferError::Tapped)));
    let two = Session::load(&classifier(-2.0), &SessionOptions { threads: 2, ..one_thread() }).unwrap();
    let message = measure(&[&session, &two], &images(), &brief(1), go_on).unwrap_err().to_string();
    assert_eq!(
        message,
        "models are timed against each other on one engine and equally many threads, \
         not on rten 0.27 (1 threads) and rten 0.27 (2 threads)"
    );
}

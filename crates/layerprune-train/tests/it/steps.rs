//! Whole runs of small steps, and the learning rates of whole runs, against PyTorch's.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use layerprune::batch::{Batch, Targets};
use layerprune::onnx::Model;
use layerprune_train::{Event, Settings, train};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::golden::{Fixed, golden};
use crate::models::weight;

fn read<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Schedules {
    cases: Vec<Schedule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Schedule {
    settings: Settings,
    steps_per_epoch: usize,
    rates: Vec<f64>,
}

#[test]
fn the_learning_rate_of_every_step_agrees_with_pytorch() {
    let golden: Schedules = read("train_schedules.json");
    assert_eq!(golden.cases.len(), 9);
    for Schedule { settings, steps_per_epoch, rates } in golden.cases {
        settings.check().unwrap();
        assert_eq!(rates.len(), settings.epochs * steps_per_epoch);
        for (at, expected) in rates.into_iter().enumerate() {
            let found = settings.learning_rate_at(at / steps_per_epoch, at % steps_per_epoch, steps_per_epoch);
            assert!((found - expected).abs() < 1e-9 * expected, "{settings:?}, {at}: {found} instead of {expected}");
        }
    }
}

#[derive(Deserialize)]
struct Steps {
    dims: [usize; 4],
    images: Vec<Vec<f32>>,
    labels: Vec<Vec<usize>>,
    targets: BTreeMap<String, Vec<Vec<f32>>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    targets: String,
    settings: Settings,
    losses: Vec<f64>,
    norms: Vec<f64>,
    after: BTreeMap<String, Vec<f32>>,
}

impl Steps {
    /// The batches with targets of a kind; their labels alone where it is `labels`.
    fn batches(&self, kind: &str) -> Fixed {
        let batch = |(at, images): (usize, &Vec<f32>)| {
            if kind == "labels" {
                return Batch::new(images.clone(), self.dims, self.labels[at].clone());
            }
            let targets = Targets { values: self.targets[kind][at].clone(), width: 3 };
            Batch { targets: Some(targets), ..Batch::new(images.clone(), self.dims, vec![0; self.dims[0]]) }
        };
        Fixed(self.images.iter().enumerate().map(batch).collect())
    }
}

#[test]
fn ten_steps_of_each_kind_agree_with_pytorch() {
    let model = Model::read(golden("step_net.onnx")).unwrap();
    let golden: Steps = read("train_steps.json");
    assert_eq!(golden.cases.len(), 15);
    for case in &golden.cases {
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        let data = golden.batches(&case.targets);
        let outcome = train(&model, &data, &case.settings, None, &mut |event| {
            if let Event::Step(step) = event {
                losses.push(step.loss);
                norms.extend(step.gradient_norm);
            }
            ControlFlow::Continue(())
        });
        let outcome = outcome.unwrap();
        let compare = |what: &str, found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{}: {what}", case.name);
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let close = (found - expected).abs() < 1e-5 * expected.abs().max(0.1);
                assert!(close, "{}: {what}[{at}]: {found} instead of {expected}", case.name);
            }
        };
        compare("loss", &losses, &case.losses);
        compare("gradient norm", &norms, &case.norms);
        let double = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        for (name, expected) in &case.after {
            compare(name, &double(&weight(&outcome.model, name)), &double(expected));
        }
    }
}

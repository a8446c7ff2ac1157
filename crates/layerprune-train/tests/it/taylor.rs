//! Taylor criteria against PyTorch; generator and version in fixtures/generate/criteria_data.py.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use layerprune::analysis::FilterSite;
use layerprune::batch::Batch;
use layerprune::criteria::{
    self, Criterion, CriterionError, FEATURE_MAPS, Scores, Scoring, TAYLOR_BATCH_NORM, TAYLOR_GATE, TAYLOR_WEIGHT,
};
use layerprune::evidence::{Evidence, Statistic};
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::stats::SplitMix;
use layerprune_testing::{Builder, resnet, units};
use layerprune_train::{DataError, TrainError, taylor};
use serde::Deserialize;

const BATCH: usize = 8;
const ALL: [Statistic; 4] =
    [Statistic::TaylorWeight, Statistic::TaylorGate, Statistic::TaylorBatchNorm, Statistic::TaylorOutput];

#[derive(Deserialize)]
struct Golden {
    scores: BTreeMap<String, BTreeMap<String, f64>>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

/// Batches as the generator draws them: noise, more in the channel of the image's label.
fn batches(count: usize, [channels, height, width]: [usize; 3]) -> Vec<Batch> {
    let mut random = SplitMix::new(11);
    let area = height * width;
    let image = |number: usize, random: &mut SplitMix| -> Vec<f32> {
        let noise = (0..channels * area).map(|at| (2.0 * random.uniform() - 1.0, at / area == number % 3));
        noise.map(|(noise, more)| noise as f32 + if more { 0.5 } else { 0.0 }).collect()
    };
    (0..count)
        .map(|batch| {
            let numbers = batch * BATCH..(batch + 1) * BATCH;
            Batch {
                images: numbers.clone().flat_map(|number| image(number, &mut random)).collect(),
                shape: [BATCH, channels, height, width],
                labels: numbers.map(|number| number % 3).collect(),
                targets: None,
            }
        })
        .collect()
}

fn evidence(model: &Model, batches: &[Batch], wanted: &[Statistic]) -> Result<Evidence, TrainError> {
    let units = units(model);
    let sites = criteria::sites(&model.graph, &units);
    let wanted: BTreeSet<Statistic> = wanted.iter().copied().collect();
    let mut batches = batches.iter().cloned().map(Ok::<_, DataError>);
    let go_on = &mut || ControlFlow::Continue(());
    let filters = taylor(model, &units.shapes, &sites, &wanted, &mut batches, go_on)?;
    Ok(Evidence { filters, ..Evidence::default() })
}

fn score(criterion: &'static Criterion, model: &Model, evidence: &Evidence) -> Result<Scores, CriterionError> {
    Scoring::from(criterion).score(&model.graph, &units(model), evidence)
}

#[test]
fn taylor_criteria_agree_with_torch() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden("criteria_data.json")).unwrap()).unwrap();
    let evidence = evidence(&model, &batches(3, [3, 6, 6]), &ALL).unwrap();
    for criterion in [&TAYLOR_WEIGHT, &TAYLOR_GATE, &TAYLOR_BATCH_NORM, &FEATURE_MAPS] {
        let scores = score(criterion, &model, &evidence).unwrap();
        let expected = &golden.scores[criterion.id];
        assert_eq!(scores.rows.len(), expected.len());
        for row in &scores.rows {
            let (found, expected) = (row.score, expected[&row.unit]);
            let apart = (found - expected).abs() / expected;
            assert!(apart < 1e-4, "{} of {}: {found} is not {expected}", criterion.id, row.unit);
            let [low, high] = row.interval.unwrap();
            assert!(low < found && found < high, "three batches differ");
        }
    }
}

/// `∂L/∂z` of a gate behind `y = γx̂ + β` is `γ ∂L/∂γ + β ∂L/∂β`: with shifts of zero, gate and scale say the same.
#[test]
fn without_shifts_the_gate_is_the_scale() {
    let mut model = Model::read(golden("criteria_net.onnx")).unwrap();
    let images = batches(2, [3, 6, 6]);
    let statistics = [Statistic::TaylorGate, Statistic::TaylorBatchNorm];
    let apart = |model: &Model| -> f64 {
        let evidence = evidence(model, &images, &statistics).unwrap();
        let [gate, scale] = statistics.map(|statistic| &evidence.filters[&statistic]);
        let pairs = gate.iter().flat_map(|(node, folds)| {
            folds.means(None).unwrap().into_iter().zip(scale[node].means(None).unwrap()).collect::<Vec<_>>()
        });
        pairs.map(|(gate, scale)| (gate - scale).abs() / gate.max(1e-9)).fold(0.0, f64::max)
    };
    assert!(apart(&model) > 0.01, "shifts matter");
    for value in model.graph.initializers().to_vec() {
        if model.graph.value_name(value).ends_with("bn.bias") {
            let old = model.graph.initializer(value).unwrap().clone();
            let shape = tensor::shape(&old).unwrap();
            let zeros = vec![0.0; shape.iter().product()];
            model.graph.set_initializer(value, tensor::with_f32(&old, &shape, &zeros).unwrap());
        }
    }
    assert!(apart(&model) < 1e-3, "{}", apart(&model));
}

/// The net is frozen: neither the statistics of the batch nor dropout come in, and a repeated batch changes nothing.
#[test]
fn the_model_is_frozen() {
    let mut net = Builder::new(3);
    let x = net.input("x", &[3, 6, 6]);
    let x = net.conv("/a/Conv", &x, [3, 4], 3, 1, 1);
    let x = net.batch_norm("/a/bn", &x, 4);
    let x = net.node("Relu", "/a/Relu", &[&x], vec![]);
    let x = net.node("Dropout", "/drop/Dropout", &[&x], vec![]);
    let x = net.conv("/b/Conv", &x, [4, 3], 3, 1, 1);
    let x = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let x = net.node("Flatten", "/flat", &[&x], vec![]);
    net.output(&x);
    let model = net.build();
    let one = batches(1, [3, 6, 6]);
    let twice = [one[0].clone(), one[0].clone()];
    let once = evidence(&model, &one, &ALL).unwrap().filters;
    let again = evidence(&model, &twice, &ALL).unwrap().filters;
    assert_eq!(once.len(), 4);
    for (statistic, nodes) in &once {
        assert!(!nodes.is_empty(), "{statistic:?}");
        for (node, folds) in nodes {
            assert_eq!(folds.means(None), again[statistic][node].means(None), "{statistic:?}");
        }
    }
}

#[test]
fn a_model_without_batch_norms_has_no_scales_and_its_gates_stand_behind_the_convolutions() {
    let mut net = Builder::new(1);
    let mut x = net.input("input", &[3, 6, 6]);
    for (name, channels) in [("/one", [3, 4]), ("/two", [4, 4])] {
        let y = net.conv(&format!("{name}/Conv"), &x, channels, 3, 1, 1);
        x = net.node("Relu", &format!("{name}/Relu"), &[&y], vec![]);
    }
    let x = net.conv("/head/Conv", &x, [4, 3], 1, 1, 1);
    let x = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let x = net.node("Flatten", "/flat", &[&x], vec![]);
    net.output(&x);
    let model = net.build();
    let evidence = evidence(&model, &batches(2, [3, 6, 6]), &ALL).unwrap();
    assert_eq!(
        score(&TAYLOR_BATCH_NORM, &model, &evidence).unwrap_err(),
        CriterionError::NoBatchNorm { criterion: "taylor-batch-norm" }
    );
    assert!(score(&TAYLOR_GATE, &model, &evidence).unwrap().rows.iter().all(|row| row.score > 0.0));
}

#[test]
fn a_planted_useless_filter_comes_last() {
    // The second convolution does not read channel 2 of the first.
    let mut model = resnet(0, [3, 6, 6], 1, &[4], 2, 3);
    let weight = model.graph.value_named("layer1.0.conv2.weight").unwrap();
    let old = model.graph.initializer(weight).unwrap().clone();
    let shape = tensor::shape(&old).unwrap();
    let mut numbers = tensor::to_f32(&old).unwrap().into_owned();
    let area: usize = shape[2..].iter().product();
    for (place, number) in numbers.iter_mut().enumerate() {
        if place / area % shape[1] == 2 {
            *number = 0.0;
        }
    }
    model.graph.set_initializer(weight, tensor::with_f32(&old, &shape, &numbers).unwrap());
    let units = units(&model);
    let evidence = evidence(&model, &batches(2, [3, 6, 6]), &ALL).unwrap();
    let block = units.named("layer1.0").unwrap();
    let uses = model.graph.uses();
    let site = FilterSite::of_node(&model.graph, &units.shapes, &uses, block.scored[0]).unwrap();
    for statistic in ALL {
        let scores = evidence.filters[&statistic][&site.axis.node].means(None).unwrap();
        assert!(scores[2] < 1e-12, "{statistic:?}: {scores:?}");
        assert!(
            scores.iter().enumerate().all(|(filter, &score)| filter == 2 || score > 1e-12),
            "{statistic:?}: {scores:?}"
        );
    }
}

#[test]
fn a_pass_can_be_ended_and_needs_a_batch() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let units = units(&model);
    let sites = criteria::sites(&model.graph, &units);
    let wanted = BTreeSet::from([Statistic::TaylorGate]);
    let seen = std::cell::Cell::new(0);
    let mut batches = batches(3, [3, 6, 6]).into_iter().inspect(|_| seen.set(seen.get() + 1)).map(Ok::<_, DataError>);
    let stop = &mut || ControlFlow::Break(());
    taylor(&model, &units.shapes, &sites, &wanted, &mut batches, stop).unwrap();
    assert_eq!(seen.get(), 1);
    let error = taylor(&model, &units.shapes, &sites, &wanted, &mut std::iter::empty(), stop).unwrap_err();
    assert!(matches!(error, TrainError::NoBatches), "{error}");
}

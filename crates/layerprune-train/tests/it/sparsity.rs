//! Training towards sparsity, against PyTorch and on problems with a known answer.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::ops::ControlFlow;

use layerprune::analysis::{Units, Way};
use layerprune::batch::Batch;
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::plan::{self, Constraints};
use layerprune::surgery::{self, ScaleOf, fold_scales, insert_scales, scale_sites, zero_scales};
use layerprune_testing::Builder;
use layerprune_train::{
    Batches, Checkpoint, Ecc, Event, Masks, Optimizer, Settings, Sgd, Slimming, Sparsity, Sss, TrainError, scores,
    train,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

use crate::distill::{batches, model, plain};
use crate::golden::{Fixed, golden};
use crate::models::{around, floats, int, node, weight};

#[derive(Deserialize)]
struct Golden {
    slimming: GoldenSlimming,
    masks: GoldenMasks,
}

#[derive(Deserialize)]
struct GoldenSlimming {
    strength: f64,
    after: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct GoldenMasks {
    strength: f64,
    masks: Vec<Vec<f32>>,
    after: BTreeMap<String, Vec<f32>>,
}

fn load() -> Golden {
    serde_json::from_slice(&fs::read(golden("sparsity.json")).unwrap()).unwrap()
}

fn trained(model: &Model, data: &dyn Batches, settings: &Settings) -> Model {
    train(model, data, settings, None, &mut |_| ControlFlow::Continue(())).unwrap().model
}

fn scaled(model: &Model, of: ScaleOf, names: &[&str]) -> Model {
    let units = Units::find(model, &Default::default()).unwrap();
    let mut sites = scale_sites(model, &units, of);
    sites.retain(|site| names.contains(&site.name.as_str()));
    assert_eq!(sites.len(), names.len());
    insert_scales(model, &units, &sites, 1.0).unwrap()
}

fn assert_close(found: &Model, expected: &BTreeMap<String, Vec<f32>>) {
    for (name, expected) in expected {
        for (index, (found, expected)) in weight(found, name).iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 1e-4, "{name}[{index}]: {found} instead of {expected}");
        }
    }
}

pub(crate) fn momentum(learning_rate: f64) -> Settings {
    let optimizer = Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: false });
    Settings { optimizer, weight_decay: 5e-4, ..plain(learning_rate) }
}

#[test]
fn slimming_agrees_with_pytorch() {
    let golden = load().slimming;
    let slimming = Slimming { strength: golden.strength, ..Slimming::default() };
    let settings = Settings { sparsity: vec![Sparsity::Slimming(slimming)], ..momentum(0.05) };
    assert_close(&trained(&model("student"), &Fixed(batches()), &settings), &golden.after);
}

#[test]
fn slimming_acts_on_what_is_named() {
    let student = model("student");
    let on = vec!["block1.*".to_owned()];
    let settings = |sparsity| Settings { sparsity, ..plain(0.1) };
    let slimming = Slimming { on, strength: 0.5 };
    let plain = trained(&student, &Fixed(batches()[..1].to_vec()), &settings(Vec::new()));
    let slim = trained(&student, &Fixed(batches()[..1].to_vec()), &settings(vec![Sparsity::Slimming(slimming)]));
    for name in ["bn.weight", "block2.bn1.weight", "block1.bn1.bias", "block1.conv1.weight"] {
        assert_eq!(weight(&slim, name), weight(&plain, name), "{name}");
    }
    for (a, b) in weight(&slim, "block1.bn2.weight").iter().zip(weight(&plain, "block1.bn2.weight")) {
        assert!((a - (b - 0.05)).abs() < 1e-6, "all scales are above 0: {a}, {b}");
    }
}

#[test]
fn masks_agree_with_pytorch() {
    let golden = load().masks;
    let layers = ["block1.conv1", "block2.conv1"];
    let masked = scaled(&model("student"), ScaleOf::Filters, &layers);
    let masks = Masks { strength: golden.strength, ..Masks::default() };
    let settings = Settings { sparsity: vec![Sparsity::Masks(masks)], ..momentum(0.2) };
    let after = trained(&masked, &Fixed(batches()), &settings);
    for (layer, expected) in layers.iter().zip(&golden.masks) {
        assert_eq!(&weight(&after, &format!("layerprune.scale/filters/{layer}")), expected);
    }
    assert_close(&after, &golden.after);
    let zeros = zero_scales(&after.graph);
    assert_eq!(zeros.filters["block2.conv1"], [0, 2]);
    let (folded, _) = fold_scales(&after, &Default::default()).unwrap();
    for (a, b) in scores(&folded, &batches()[0]).unwrap().iter().zip(scores(&after, &batches()[0]).unwrap()) {
        assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
    }
}

/// Zero-mean noise, quiet in class 0 and loud in class 1: the mean of what is above zero tells them apart.
pub(crate) struct Loudness;

impl Batches for Loudness {
    fn epoch(
        &self,
        epoch: usize,
        first: usize,
    ) -> Box<dyn Iterator<Item = Result<Batch, Box<dyn Error + Send + Sync>>> + '_> {
        let batch = move |step: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64((epoch * 100 + step) as u64);
            let labels: Vec<usize> = (0..16).map(|image| image % 2).collect();
            let loud = |label: usize| if label == 0 { 0.3 } else { 1.0 };
            let images = labels.iter().flat_map(|&label| vec![loud(label); 64]);
            let images = images.map(|loud| loud * rng.random_range(-1.0..1.0_f32)).collect();
            Ok(Batch::new(images, [16, 1, 8, 8], labels))
        };
        Box::new((first..10).map(batch))
    }

    fn batches_per_epoch(&self) -> usize {
        10
    }
}

/// Two residual blocks, of which the first alone finds what is above zero and hands it to the classifier.
fn needed_and_useless() -> Model {
    let mut net = Builder::new(1);
    let x = net.input("input", &[1, 8, 8]);
    let mut x = net.conv("/stem", &x, [1, 2], 1, 1, 1);
    for module in ["/needed", "/useless"] {
        let y = net.conv(&format!("{module}/conv1"), &x, [2, 2], 1, 1, 1);
        let y = net.node("Relu", &format!("{module}/Relu"), &[&y], vec![]);
        let y = net.conv(&format!("{module}/conv2"), &y, [2, 2], 1, 1, 1);
        x = net.node("Add", &format!("{module}/Add"), &[&y, &x], vec![]);
    }
    let x = net.node("GlobalAveragePool", "/GlobalAveragePool", &[&x], vec![]);
    let x = net.node("Flatten", "/Flatten", &[&x], vec![]);
    let scores = net.gemm("/fc", &x, 2, 2);
    net.output(&scores);
    let mut model = net.build();
    for (name, dims, numbers) in [
        ("stem.weight", &[2, 1, 1, 1][..], &[1.0, 0.0][..]),
        ("needed.conv1.weight", &[2, 2, 1, 1], &[1.0, 0.0, 0.0, 0.0]),
        ("needed.conv2.weight", &[2, 2, 1, 1], &[0.0, 0.0, 1.0, 0.0]),
        ("useless.conv1.weight", &[2, 2, 1, 1], &[0.1, 0.1, -0.1, 0.1]),
        ("useless.conv2.weight", &[2, 2, 1, 1], &[0.05, -0.05, 0.02, -0.02]),
        ("fc.weight", &[2, 2], &[0.0, -8.0, 0.0, 8.0]),
        ("fc.bias", &[2], &[1.3, -1.3]),
    ] {
        let value = model.graph.value_named(name).unwrap();
        model.graph.set_initializer(value, tensor::from_f32(dims, numbers));
    }
    model
}

#[test]
fn a_useless_block_reaches_exactly_zero_and_goes_without_a_trace() {
    let model = scaled(&needed_and_useless(), ScaleOf::Block, &["needed", "useless"]);
    let sss = Sss { strength: 0.2, ..Sss::default() };
    let settings = Settings { sparsity: vec![Sparsity::Sss(sss)], epochs: 8, ..momentum(0.02) };
    let after = trained(&model, &Loudness, &settings);
    let needed = weight(&after, "layerprune.scale/block/needed")[0];
    assert!(needed > 0.1, "{needed}");
    let zeros = zero_scales(&after.graph);
    assert_eq!(zeros.blocks, ["useless"]);

    let (folded, _) = fold_scales(&after, &Default::default()).unwrap();
    let units = Units::find(&folded, &Default::default()).unwrap();
    let ways = BTreeSet::from([Way::Bypass, Way::DropBranch]);
    let plan = plan::named(&units, &zeros.blocks, &Constraints { ways, ..Constraints::default() }).unwrap();
    let cut = surgery::apply(&folded, &units, &plan).unwrap();
    assert!(cut.graph.node_count() + 4 == folded.graph.node_count(), "two convolutions, a ReLU and the Add go");
    let batch = Loudness.epoch(9, 0).next().unwrap().unwrap();
    for (a, b) in scores(&cut, &batch).unwrap().iter().zip(scores(&after, &batch).unwrap()) {
        assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
    }
}

#[test]
fn input_channels_go_down_to_their_limit() {
    let student = model("student");
    let ecc = Ecc { on: vec!["block*.conv2.weight".to_owned()], keep: 0.5, ..Ecc::default() };
    let settings = Settings { sparsity: vec![Sparsity::Ecc(ecc)], epochs: 10, ..momentum(0.02) };
    let after = trained(&student, &Fixed(batches()), &settings);
    for name in ["block1.conv2.weight", "block2.conv2.weight"] {
        let numbers = weight(&after, name);
        let zero =
            |channel: &usize| numbers.chunks_exact(9).skip(*channel).step_by(4).flatten().all(|&number| number == 0.0);
        assert_eq!((0..4).filter(zero).count(), 2, "{name}: 2 of 4 input channels stay");
    }
    assert!(weight(&after, "block1.conv1.weight").iter().all(|&number| number != 0.0));
}

/// A run from its start or from `start`: what it ends with, and a checkpoint behind each step.
pub(crate) fn run_of(model: &Model, settings: &Settings, start: Option<Checkpoint>) -> (Vec<u8>, Vec<Checkpoint>) {
    let mut checkpoints = Vec::new();
    let outcome = train(model, &Fixed(batches()), settings, start, &mut |event| {
        if let Event::Step(step) = event {
            checkpoints.push(step.checkpoint());
        }
        ControlFlow::Continue(())
    });
    (outcome.unwrap().model.to_bytes(), checkpoints)
}

#[test]
fn a_resumed_run_goes_on_with_momentum_masks_and_duals() {
    let blocks = scaled(&model("student"), ScaleOf::Block, &["block1", "block2"]);
    let both = scaled(&blocks, ScaleOf::Filters, &["block1.conv1"]);
    let settings = Settings {
        epochs: 2,
        sparsity: vec![
            Sparsity::Sss(Sss { strength: 0.05, ..Sss::default() }),
            Sparsity::Masks(Masks { strength: 0.05, ..Masks::default() }),
            Sparsity::Ecc(Ecc::default()),
            Sparsity::Slimming(Slimming::default()),
        ],
        ..momentum(0.1)
    };
    let run = |start| run_of(&both, &settings, start);
    let (whole, checkpoints) = run(None);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    for checkpoint in [&checkpoints[0], &checkpoints[2], &checkpoints[5]] {
        checkpoint.save(&path).unwrap();
        assert!(run(Some(Checkpoint::load(&path).unwrap())).0 == whole, "the run ends differently");
    }
}

#[test]
fn scales_are_trained_for_their_name_and_other_factors_when_named() {
    let student = scaled(&model("student"), ScaleOf::Block, &["block1"]);
    let name = "layerprune.scale/block/block1";
    let after = trained(&student, &Fixed(batches()[..1].to_vec()), &plain(0.1));
    assert_ne!(weight(&after, name), [1.0], "a scale follows its gradient");

    let mut net = Builder::new(2);
    let x = net.input("input", &[1, 8, 8]);
    let x = net.conv("/conv", &x, [1, 4], 3, 1, 1);
    let gamma = net.tensor("gamma", tensor::from_f32(&[1, 1, 1, 1], &[1.0]));
    let x = net.node("Mul", "/Mul", &[&x, &gamma], vec![]);
    let x = net.node("Relu", "/Relu", &[&x], vec![]);
    let x = net.node("GlobalAveragePool", "/GlobalAveragePool", &[&x], vec![]);
    let x = net.node("Flatten", "/Flatten", &[&x], vec![]);
    let scores = net.gemm("/fc", &x, 4, 2);
    net.output(&scores);
    let other = net.build();
    let after = trained(&other, &Loudness, &plain(0.1));
    assert_eq!(weight(&after, "gamma"), [1.0], "any other factor is a constant");
    let sss = Sss { on: vec!["gamma".to_owned()], ..Sss::default() };
    let settings = Settings { sparsity: vec![Sparsity::Sss(sss)], ..plain(0.1) };
    let after = trained(&other, &Loudness, &settings);
    assert_ne!(weight(&after, "gamma"), [1.0], "unless it is named");
}

#[test]
fn the_norm_of_the_loss_alone_is_clipped_and_a_proximal_step_takes_what_is_clipped() {
    let name = "layerprune.scale/block/block1";
    let student = scaled(&model("student"), ScaleOf::Block, &["block1"]);
    let data = Fixed(batches()[..1].to_vec());
    let mut norms = Vec::new();
    let mut step = |clip_norm: Option<f64>, strength: f64| {
        let sparsity = vec![Sparsity::Sss(Sss { strength, momentum: 0.0, ..Sss::default() })];
        let settings = Settings { sparsity, clip_norm, ..plain(0.1) };
        let outcome = train(&student, &data, &settings, None, &mut |event| {
            if let Event::Step(step) = event {
                norms.extend(step.gradient_norm);
            }
            ControlFlow::Continue(())
        });
        f64::from(weight(&outcome.unwrap().model, name)[0]) - 1.0
    };
    let whole = step(None, 0.0);
    assert!(whole.abs() > 1e-4, "{whole}");
    step(Some(1e6), 0.0);
    let clipped = step(Some(1e-3), 0.0);
    let penalised = step(Some(1e-3), 0.5);
    assert!((clipped - whole * 1e-3 / norms[0]).abs() < 2e-7, "{clipped} of {whole}, norm {norms:?}");
    assert!((penalised - clipped + 0.05).abs() < 2e-7, "the penalty is as strong as it is set: {penalised}");
    assert_eq!(norms[0], norms[2]);
}

#[test]
fn masks_begin_as_zeros_and_ones() {
    let mut net = Builder::new(2);
    let x = net.input("input", &[1, 8, 8]);
    let x = net.conv("/conv", &x, [1, 2], 3, 1, 1);
    let gamma = net.tensor("gamma", tensor::from_f32(&[1, 2, 1, 1], &[0.0, 0.75]));
    let x = net.node("Mul", "/Mul", &[&x, &gamma], vec![]);
    let x = net.node("GlobalAveragePool", "/GlobalAveragePool", &[&x], vec![]);
    let x = net.node("Flatten", "/Flatten", &[&x], vec![]);
    let scores = net.gemm("/fc", &x, 2, 2);
    net.output(&scores);
    let masks = Masks { on: vec!["gamma".to_owned()], ..Masks::default() };
    let settings = Settings { sparsity: vec![Sparsity::Masks(masks)], ..plain(0.1) };
    let error = train(&net.build(), &Loudness, &settings, None, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`gamma` holds 0.75, and a mask is 0 or 1: put scales of 1 in, or leave it out of `sparsity.on`"
    );
}

#[test]
fn a_weight_of_one_axis_has_no_channels() {
    let nodes =
        vec![node("Flatten", &["x"], &["f"], vec![]), node("Gemm", &["f", "w"], &["y"], vec![int("transB", 1)])];
    let model = around(13, nodes, vec![floats("w", &[16], &[0.5; 16])]);
    let ecc = Ecc { on: vec!["*".to_owned()], ..Ecc::default() };
    let settings = Settings { sparsity: vec![Sparsity::Ecc(ecc)], ..plain(0.1) };
    let error = train(&model, &Loudness, &settings, None, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, TrainError::NoSuchTensor { .. }), "{error}");
}

#[test]
fn what_there_is_not_is_refused_with_what_there_is() {
    let student = scaled(&model("student"), ScaleOf::Block, &["block1"]);
    let message = |sparsity: Vec<Sparsity>, ema: Option<f64>| {
        let settings = Settings { sparsity, ema, ..plain(0.1) };
        let outcome = train(&student, &Fixed(batches()), &settings, None, &mut |_| ControlFlow::Continue(()));
        let error: TrainError = outcome.unwrap_err();
        error.to_string()
    };
    let on = |name: &str| vec![name.to_owned()];
    assert_eq!(
        message(vec![Sparsity::Slimming(Slimming { on: on("fc*"), ..Slimming::default() })], None),
        "`slimming` names `fc*`, which is no scale of a batch norm; there are: `bn.weight`, `block1.bn1.weight`, \
         `block1.bn2.weight`, `block2.bn1.weight`, `block2.bn2.weight`"
    );
    assert_eq!(
        message(vec![Sparsity::Masks(Masks::default())], None),
        "`masks` acts on every scale of filters and the model has none: put scales in, or name tensors; \
         there are: `layerprune.scale/block/block1`"
    );
    assert_eq!(
        message(vec![Sparsity::Sss(Sss::default()), Sparsity::Masks(Masks { on: on("*"), ..Masks::default() })], None),
        "`layerprune.scale/block/block1` is named by two regularisers: leave it to one of them"
    );
    assert_eq!(
        message(vec![Sparsity::Ecc(Ecc { on: on("[").clone(), ..Ecc::default() })], None),
        "setting `sparsity.on` is [, a pattern of names such as `layer1.*` is needed"
    );
    assert_eq!(
        message(vec![Sparsity::Sss(Sss::default())], Some(0.9)),
        "setting `ema` is 0.9, none beside sss, masks and ecc, whose zeros an average loses, is needed"
    );
    assert_eq!(
        message(vec![Sparsity::Ecc(Ecc { keep: 0.0, ..Ecc::default() })], None),
        "setting `sparsity.keep` is 0, a number above 0, at most 1, is needed"
    );
}

#[test]
fn settings_have_a_json_form() {
    let read = serde_json::from_str::<Settings>;
    let found = read(r#"{"sparsity": [{"kind": "sss", "strength": 0.02}, {"kind": "masks", "on": ["a*"]}]}"#).unwrap();
    let sss = Sparsity::Sss(Sss { strength: 0.02, ..Sss::default() });
    let masks = Sparsity::Masks(Masks { on: vec!["a*".to_owned()], ..Masks::default() });
    assert_eq!(found.sparsity, [sss, masks]);
    let error = read(r#"{"sparsity": [{"kind": "slimming", "momentum": 0.9}]}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field"), "{error}");
}

//! Criteria that read what a model computes, against PyTorch; generator and version in fixtures/generate/criteria_data.py.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use layerprune::analysis::{FilterSite, Units};
use layerprune::batch::Maps;
use layerprune::criteria::{
    self, APOZ, BLOCK_INFLUENCE, CKA, Criterion, CriterionError, HRANK, LEAVE_ONE_OUT, LEAVE_ONE_OUT_LOSS,
    LINEAR_PROBE, MEAN_ACTIVATION, Scoring, Unscored,
};
use layerprune::evidence::{Evidence, FeaturePass, Judged, Need, Removals, Removed, Statistic, TapCounts};
use layerprune::onnx::Model;
use layerprune::pipeline::{Calibrate, Judge, PortError, leave_one_out, prune_iteratively};
use layerprune::plan::Constraints;
use layerprune::stats::SplitMix;
use layerprune_infer::{Array, Session, SessionOptions};
use layerprune_testing::{Builder, resnet};
use serde::Deserialize;

const BATCH: usize = 8;
const EPOCHS: usize = 4;

#[derive(Deserialize)]
struct Golden {
    scores: BTreeMap<String, BTreeMap<String, f64>>,
    probe: BTreeMap<String, [u64; 3]>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

/// Images as the generator draws them: noise, more in the channel of the image's label, which is its number modulo 3.
fn images(count: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    let at = |at: usize| if at / 36 % 3 == at / 108 % 3 { 0.5 } else { 0.0 };
    (0..count * 108).map(|place| (2.0 * random.uniform() - 1.0) as f32 + at(place)).collect()
}

/// Calls `visit` with what each batch of `images` gives at the taps.
fn look(session: &Session, images: &[f32], mut visit: impl FnMut(&[Maps<'_>], &[usize])) {
    for (batch, images) in images.chunks(BATCH * 108).enumerate() {
        let count = images.len() / 108;
        let outputs = session.run(images, [count, 3, 6, 6]).unwrap();
        let taps: Vec<Maps<'_>> = outputs.taps().map(Array::maps).collect();
        let labels: Vec<usize> = (batch * BATCH..batch * BATCH + count).map(|image| image % 3).collect();
        visit(&taps, &labels);
    }
}

fn gathered(model: &Model, units: &Units) -> Evidence {
    let needs = [
        Need::Imprint,
        Need::Probes,
        Need::Cosines,
        Need::Kernels,
        Need::Filters(Statistic::Rank),
        Need::Filters(Statistic::NonZero),
        Need::Filters(Statistic::Mean),
    ];
    let sites: Vec<FilterSite> = criteria::sites(&model.graph, units);
    let mut pass = FeaturePass::new(units, &sites, &BTreeSet::from(needs), 3, 16);
    let options = SessionOptions { threads: 1, ..Default::default() };
    let session = Session::with_taps(model, pass.taps(), &options).unwrap();
    let train = images(24, 11);
    look(&session, &train, |taps, labels| pass.add(taps, labels).unwrap());
    for _ in 1..EPOCHS {
        look(&session, &train, |taps, labels| pass.train(taps, labels).unwrap());
    }
    let mut evidence = Evidence::default();
    let mut classifiers = pass.finish(&mut evidence).unwrap();
    let session = Session::with_taps(model, classifiers.taps(), &options).unwrap();
    look(&session, &images(24, 12), |taps, labels| classifiers.classify(taps, labels).unwrap());
    classifiers.finish(&mut evidence);
    evidence
}

#[test]
fn criteria_of_behaviour_agree_with_torch_and_share_one_pass() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let units = Units::find(&model, &Default::default()).unwrap();
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden("criteria_data.json")).unwrap()).unwrap();
    let evidence = gathered(&model, &units);
    for criterion in [&HRANK, &APOZ, &MEAN_ACTIVATION, &BLOCK_INFLUENCE, &CKA] {
        let scores = Scoring::from(criterion).score(&model.graph, &units, &evidence).unwrap();
        let expected = &golden.scores[criterion.id];
        assert_eq!(scores.rows.len(), expected.len(), "{}", criterion.id);
        for row in &scores.rows {
            let (found, expected) = (row.score, expected[&row.unit]);
            let apart = (found - expected).abs() / expected.abs();
            assert!(apart < 1e-4, "{} of {}: {found} is not {expected}", criterion.id, row.unit);
            assert!(row.interval.is_some(), "three batches have a spread");
        }
    }
    let of = |unit: &str| Unscored {
        unit: unit.to_owned(),
        reason: "its output is not of the shape of its input".to_owned(),
    };
    let influence = Scoring::from(&BLOCK_INFLUENCE).score(&model.graph, &units, &evidence).unwrap();
    assert_eq!(influence.unscored, [of("plain.conv"), of("depthwise.conv")]);

    let probes = evidence.probes.as_ref().unwrap();
    let expected = golden.probe.clone();
    for (unit, found) in units.units.iter().filter(|unit| unit.tapped).zip(&probes.taps) {
        let [correct, gained, lost] = expected[&unit.name];
        assert_eq!(*found, TapCounts { correct, gained, lost }, "{}", unit.name);
    }
    let scores = Scoring::from(&LINEAR_PROBE).score(&model.graph, &units, &evidence).unwrap();
    let [correct, ..] = expected["basic"];
    assert!((scores.rows[0].score - 100.0 * correct as f64 / 24.0).abs() < 1e-9);
}

#[test]
fn taps_that_give_no_map_for_each_image_are_refused() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let units = Units::find(&model, &Default::default()).unwrap();
    let mut pass = FeaturePass::new(&units, &[], &BTreeSet::from([Need::Imprint]), 3, 64);
    let maps = Maps { data: &[0.0; 8], shape: &[1, 2, 4] };
    let taps = vec![maps; pass.taps().len()];
    assert_eq!(pass.add(&taps, &[0, 1]).unwrap_err().to_string(), "tap 0 gives 1 maps for 2 images");
}

#[test]
fn without_images_a_criterion_says_which_it_needs() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let units = Units::find(&model, &Default::default()).unwrap();
    let error = |criterion: &'static Criterion| {
        Scoring::from(criterion).score(&model.graph, &units, &Evidence::default()).unwrap_err().to_string()
    };
    assert_eq!(error(&HRANK), "criterion `hrank` needs images");
    assert_eq!(error(&CKA), "criterion `cka` needs images");
    assert_eq!(error(&BLOCK_INFLUENCE), "criterion `block-influence` needs images");
    assert_eq!(error(&criteria::TAYLOR_GATE), "criterion `taylor-gate` needs labelled images");
    assert_eq!(error(&LINEAR_PROBE), "criterion `linear-probe` needs labelled images");
    assert_eq!(error(&LEAVE_ONE_OUT), "criterion `leave-one-out` needs labelled images");
}

#[test]
fn leaving_out_is_scored_by_what_it_costs() {
    let model = resnet(0, [3, 8, 8], 1, &[4], 3, 4);
    let units = Units::find(&model, &Default::default()).unwrap();
    let removed = |lost, gained, loss_rise| Removed { lost, gained, loss_rise, loss_error: 0.01 };
    let layers = [("layer1.0", removed(30, 5, 0.5)), ("layer1.2", removed(4, 6, -0.02))];
    let layers = layers.map(|(name, removed)| (name.to_owned(), removed)).into();
    let removals = Some(Removals { images: 100, recalibrated: true, layers });
    let evidence = Evidence { removals, ..Evidence::default() };
    let scores = Scoring::from(&LEAVE_ONE_OUT).score(&model.graph, &units, &evidence).unwrap();
    let rows: Vec<(&str, f64)> = scores.rows.iter().map(|row| (row.unit.as_str(), row.score)).collect();
    assert_eq!(rows, [("layer1.0", 25.0), ("layer1.2", -2.0)]);
    // Agresti and Min: centre 25 / 102, half width 1.96 · √(36 − 25² / 102) / 102.
    let [low, high] = scores.rows[0].interval.unwrap();
    let (center, half) = (100.0 * 25.0 / 102.0, 100.0 * 1.959_964 * (36.0 - 625.0 / 102.0_f64).sqrt() / 102.0);
    assert!((low - center + half).abs() < 1e-4 && (high - center - half).abs() < 1e-4, "{low} {high}");
    assert_eq!(scores.unscored[0].reason, "it cannot be removed alone");
    let loss = Scoring::from(&LEAVE_ONE_OUT_LOSS).score(&model.graph, &units, &evidence).unwrap();
    assert_eq!(loss.rows[0].score, 0.5);
    assert!((loss.rows[0].interval.unwrap()[1] - 0.519_6).abs() < 1e-4);
}

/// Judges a model by how many nodes it has left, and notes what it was asked.
#[derive(Default)]
struct Counting {
    nodes: Vec<usize>,
    recalibrated: usize,
}

impl Judge for Counting {
    fn recalibrate(&mut self, model: &Model) -> Result<Option<Model>, PortError> {
        self.recalibrated += 1;
        Ok(Some(model.clone()))
    }

    fn judge(&mut self, model: &Model) -> Result<Judged, PortError> {
        let nodes = model.graph.nodes().count();
        self.nodes.push(nodes);
        Ok(Judged { right: vec![self.nodes.len() == 1; 4], loss: vec![100.0 - nodes as f32; 4] })
    }
}

#[test]
fn every_layer_that_can_go_is_left_out_once_and_recalibrated_first() {
    let model = resnet(0, [3, 16, 16], 1, &[4, 8], 3, 4);
    let units = Units::find(&model, &Default::default()).unwrap();
    let mut judge = Counting::default();
    let mut told = Vec::new();
    let removals = leave_one_out(&model, &units, &mut judge, &mut |name| told.push(name.to_owned())).unwrap();
    // layer2.0 goes by dropping its branch.
    assert_eq!(told, ["layer1.0", "layer1.1", "layer1.2", "layer2.0", "layer2.1", "layer2.2"]);
    assert_eq!((judge.recalibrated, judge.nodes.len()), (6, 7));
    assert!(judge.nodes[1..].iter().all(|&nodes| nodes < judge.nodes[0]), "{:?}", judge.nodes);
    assert_eq!(removals.images, 4);
    assert!(removals.recalibrated);
    let one = removals.layers["layer1.0"];
    assert_eq!((one.lost, one.gained), (4, 0));
    assert!(one.loss_rise > 0.0);
}

/// Evidence by a planted rule: the block after one that is gone becomes the least important.
struct Planted;

impl Calibrate for Planted {
    fn evidence(&mut self, _: &Model, units: &Units) -> Result<Evidence, PortError> {
        let gone = |name: &str| units.named(name).is_none();
        let rise = |name: &str| match name {
            "layer1.1" => 1.0,
            "layer1.2" if gone("layer1.1") => 0.5,
            "layer1.2" => 9.0,
            "layer2.1" if gone("layer1.2") => 7.0,
            "layer2.1" => 2.0,
            _ => 5.0,
        };
        let removed = |name: &str| Removed { loss_rise: rise(name), ..Removed::default() };
        let layers = units.units.iter().map(|unit| (unit.name.clone(), removed(&unit.name))).collect();
        let removals = Some(Removals { images: 1, recalibrated: false, layers });
        Ok(Evidence { removals, ..Evidence::default() })
    }
}

#[test]
fn iterating_scores_what_is_left_anew_after_each_removal() {
    let model = resnet(0, [3, 16, 16], 1, &[4, 8], 3, 4);
    let units = Units::find(&model, &Default::default()).unwrap();
    let scoring = Scoring::from(&LEAVE_ONE_OUT_LOSS);
    let mut steps = Vec::new();
    let shapes = Default::default();
    let constraints = Constraints::plain();
    let mut iterate = |count| {
        steps.clear();
        let mut step = |iteration: &layerprune::pipeline::Iteration| steps.push(iteration.scores.rows.len());
        prune_iteratively(&model, &units, &scoring, &constraints, count, &shapes, &mut Planted, &mut step)
    };
    let plan = iterate(3).unwrap();
    let removed: Vec<&str> = plan.removed.iter().map(|planned| planned.unit.as_str()).collect();
    // In one shot it would be layer1.1, layer2.1 and layer1.0.
    assert_eq!(removed, ["layer1.1", "layer1.2", "layer1.0"]);
    assert_eq!(plan.criterion.as_deref(), Some("leave-one-out-loss"));
    assert!(iterate(0).unwrap().removed.is_empty());
    let error = iterate(9).unwrap_err();
    assert_eq!(error.to_string(), "9 layers are to be removed, only 5 can be");
    assert_eq!(steps.len(), 5);
    assert!(steps.is_sorted_by(|a, b| a > b), "{steps:?}");
}

#[test]
fn a_layer_that_reads_the_images_themselves_is_compared_with_them() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[3, 6, 6]);
    let x = net.conv("/a/Conv", &x, [3, 3], 3, 1, 1);
    let x = net.node("Relu", "/a/Relu", &[&x], vec![]);
    let x = net.conv("/b/Conv", &x, [3, 3], 3, 1, 1);
    let x = net.node("Relu", "/b/Relu", &[&x], vec![]);
    let x = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let x = net.node("Flatten", "/flat", &[&x], vec![]);
    net.output(&x);
    let model = net.build();
    let units = Units::find(&model, &Default::default()).unwrap();
    let evidence = gathered(&model, &units);
    let scores = Scoring::from(&BLOCK_INFLUENCE).score(&model.graph, &units, &evidence).unwrap();
    assert_eq!(scores.rows.first().map(|row| row.unit.as_str()), Some("a.Conv"));
}

#[test]
fn a_spread_of_one_batch_is_not_known() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let units = Units::find(&model, &Default::default()).unwrap();
    let mut evidence = gathered(&model, &units);
    for folds in evidence.filters.values_mut().flat_map(|nodes| nodes.values_mut()) {
        let means = folds.means(Some(0)).unwrap();
        *folds = layerprune::evidence::Folds::default();
        folds.add(&means, 1.0);
    }
    let scores = Scoring::from(&APOZ).score(&model.graph, &units, &evidence).unwrap();
    assert!(scores.rows.iter().all(|row| row.interval.is_none()));
    assert!(matches!(
        Scoring::parse("apoz+nonsense", Default::default()).unwrap_err(),
        CriterionError::Unknown { name, .. } if name == "nonsense"
    ));
}

//! Scores against numpy and PyTorch; generators and versions in fixtures/generate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use layerprune::batch::Maps;
use layerprune::criteria::{
    BATCH_NORM_SCALE, CRITERIA, Criterion, CriterionError, FPGM, IMPRINT, LAMP, Normalize, RANDOM, ScoreRow, Scores,
    Scoring, WEIGHT_NORM, WEIGHT_NORM_L1, WEIGHT_NORM_L2,
};
use layerprune::evidence::{ClassSums, Classified, Evidence, TapCounts};
use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::proto::TensorProto;
use layerprune::proto::tensor_proto::DataType;
use layerprune::stats::SplitMix;
use layerprune_testing::{Builder, resnet, units};
use serde::Deserialize;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn json<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    serde_json::from_str(&fs::read_to_string(golden(name)).unwrap()).unwrap()
}

fn score(criterion: &'static Criterion, model: &Model) -> Result<Scores, CriterionError> {
    Scoring::from(criterion).score(&model.graph, &units(model), &Evidence::default())
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found} is not {expected}");
}

#[test]
fn criteria_of_weights_agree_with_numpy() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let golden: BTreeMap<String, BTreeMap<String, f64>> = json("criteria.json");
    for criterion in [&WEIGHT_NORM, &WEIGHT_NORM_L1, &WEIGHT_NORM_L2, &BATCH_NORM_SCALE, &FPGM, &LAMP] {
        let scores = score(criterion, &model).unwrap();
        let expected = &golden[criterion.id];
        let names: Vec<&str> = scores.rows.iter().map(|row| row.unit.as_str()).collect();
        assert_eq!(
            names,
            ["basic", "bottleneck", "plain.conv", "depthwise.conv"],
            "the stem and the classifier have no score"
        );
        for row in &scores.rows {
            close(row.score, expected[&row.unit], &format!("{} of {}", criterion.id, row.unit));
            assert_eq!((row.interval, row.accuracy.clone()), (None, None));
        }
    }
}

#[test]
fn scores_are_normalized_as_asked_for() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let golden: BTreeMap<String, BTreeMap<String, f64>> = json("criteria.json");
    let by = |normalize| {
        let scoring = Scoring::parse("weight-norm", normalize).unwrap();
        scoring.score(&model.graph, &units(&model), &Evidence::default()).unwrap()
    };
    for (name, normalize) in [("per-param", Normalize::PerParam), ("max", Normalize::Max)] {
        let scores = by(normalize);
        assert_eq!(scores.normalize, normalize);
        for row in &scores.rows {
            close(row.score, golden[&format!("weight-norm {name}")][&row.unit], &format!("{name} of {}", row.unit));
        }
    }
    let ranked = by(Normalize::Rank);
    assert!(ranked.rows.iter().all(|row| (0.0..=1.0).contains(&row.score)), "{:?}", ranked.rows);
    // 19 filters are ranked from 0 to 1: 4 + 2 + 2 of blocks, 5 and 6 of layers; the mean of all ranks is one half.
    let filters = [4.0, 2.0, 5.0, 6.0];
    let of_bottleneck = 2.0;
    let sum: f64 = ranked.rows.iter().zip(filters).map(|(row, filters)| row.score * filters).sum();
    let sum = sum + ranked.rows[1].score * of_bottleneck;
    close(sum / 19.0, 0.5, "mean rank");
}

#[test]
fn an_ensemble_sums_ranks_and_leaves_out_what_one_member_does_not_score() {
    let model = blocks(true);
    let of = |text: &str| {
        let scoring = Scoring::parse(text, Normalize::None).unwrap();
        scoring.score(&model.graph, &units(&model), &Evidence { seed: 3, ..Evidence::default() }).unwrap()
    };
    let both = of("weight-norm+random");
    assert_eq!(both.criterion, "weight-norm+random");
    let ranks = [of("weight-norm").ranks(), of("random").ranks()];
    let sums: Vec<f64> = (0..2).map(|row| (ranks[0][row] + ranks[1][row]) as f64).collect();
    assert_eq!(both.rows.iter().map(|row| row.score).collect::<Vec<_>>(), sums);
    let partial = of("weight-norm+batch-norm-scale");
    assert_eq!(partial.rows.len(), 1);
    assert_eq!(partial.unscored[0].unit, "two");
    assert_eq!(partial.unscored[0].reason, "`batch-norm-scale` gives it no score");
    let published = Scoring::parse("ensemble", Normalize::None).unwrap();
    assert_eq!(published.id(), "taylor-weight+weight-norm+feature-maps+taylor-gate+batch-norm-scale");
}

#[test]
fn random_scores_follow_the_seed() {
    let model = resnet(0, [3, 8, 8], 1, &[4, 8], 3, 4);
    let by = |seed| {
        let evidence = Evidence { seed, ..Evidence::default() };
        Scoring::from(&RANDOM).score(&model.graph, &units(&model), &evidence).unwrap().rows
    };
    assert_eq!(by(1), by(1));
    assert_ne!(by(1), by(2));
    assert!(by(1).iter().all(|row| (0.0..1.0).contains(&row.score)));
}

/// On equal filters every ranking of filters is a tie, and the geometric median is any of them.
#[test]
fn equal_filters_have_equal_scores() {
    let mut net = Builder::new(1);
    let x = net.input("x", &[2, 4, 4]);
    let filter = [1.0, -2.0];
    let weight = net.tensor("a.weight", tensor::from_f32(&[3, 2, 1, 1], &[filter, filter, filter].concat()));
    let y = net.node("Conv", "/a/Conv", &[&x, &weight], vec![]);
    let y = net.conv("/b/Conv", &y, [3, 2], 1, 1, 1);
    net.output(&y);
    let model = net.build();
    let of = |criterion| score(criterion, &model).unwrap().rows[0].score;
    assert_eq!(of(&FPGM), 0.0);
    assert_eq!(of(&WEIGHT_NORM), 5.0);
    assert_eq!(of(&WEIGHT_NORM_L1), 3.0);
    close(of(&LAMP), 1.0 / 3.0, "three equal filters share");
}

#[test]
fn names_of_criteria_are_unique_and_plain() {
    let names: Vec<&str> = CRITERIA.iter().map(|criterion| criterion.id).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')));
    assert!(CRITERIA.iter().all(|criterion| criterion.filters.is_some() || criterion.layers.is_some()));
}

/// `model` with every floating-point tensor changed.
fn converted(mut model: Model, change: impl Fn(&TensorProto, &[f32]) -> TensorProto) -> Model {
    for value in model.graph.initializers().to_vec() {
        let old = model.graph.initializer(value).unwrap().clone();
        if let Ok(data) = tensor::to_f32(&old) {
            model.graph.set_initializer(value, change(&old, &data));
        }
    }
    model
}

#[test]
fn half_precision_weights_score_as_the_numbers_they_hold() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let rounded = converted(model.clone(), |old, data| {
        let data: Vec<f32> = data.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
        tensor::with_f32(old, &tensor::shape(old).unwrap(), &data).unwrap()
    });
    let half = |typed: bool| {
        converted(model.clone(), move |old, data| {
            let bits: Vec<u16> = data.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
            let mut new =
                TensorProto { dims: old.dims.clone(), data_type: Some(DataType::Float16 as i32), ..Default::default() };
            if typed {
                new.int32_data = bits.iter().map(|&x| i32::from(x)).collect();
            } else {
                new.raw_data = Some(bits.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into());
            }
            new
        })
    };
    for criterion in [&WEIGHT_NORM, &BATCH_NORM_SCALE] {
        let expected = score(criterion, &rounded).unwrap().rows;
        assert_ne!(expected, score(criterion, &model).unwrap().rows, "rounding shows");
        assert_eq!(score(criterion, &half(false)).unwrap().rows, expected);
        assert_eq!(score(criterion, &half(true)).unwrap().rows, expected);
    }
}

/// Two blocks of two convolutions; the first block has a batch norm where asked for.
fn blocks(batch_norm: bool) -> Model {
    let mut net = Builder::new(1);
    let mut x = net.input("input", &[4, 8, 8]);
    for block in ["/one", "/two"] {
        let mut y = net.conv(&format!("{block}/conv1"), &x, [4, 4], 3, 1, 1);
        if batch_norm && block == "/one" {
            y = net.batch_norm(&format!("{block}/bn1"), &y, 4);
        }
        let y = net.node("Relu", &format!("{block}/relu"), &[&y], vec![]);
        let y = net.conv(&format!("{block}/conv2"), &y, [4, 4], 3, 1, 1);
        x = net.node("Add", &format!("{block}/Add"), &[&y, &x], vec![]);
    }
    let out = net.conv("/head", &x, [4, 2], 1, 1, 1);
    net.output(&out);
    net.build()
}

#[test]
fn batch_norm_scale_refuses_a_model_whose_batch_norms_are_folded() {
    assert_eq!(
        score(&BATCH_NORM_SCALE, &blocks(false)).unwrap_err().to_string(),
        "criterion `batch-norm-scale` needs a batch norm behind the weights of a layer, and no layer has one: \
         they were probably folded into the convolutions when the model was exported"
    );
    let names = |scores: Scores| scores.rows.into_iter().map(|row| row.unit).collect::<Vec<_>>();
    assert_eq!(names(score(&WEIGHT_NORM, &blocks(false)).unwrap()), ["one", "two"]);
    // A layer without one among others has no score.
    assert_eq!(names(score(&BATCH_NORM_SCALE, &blocks(true)).unwrap()), ["one"]);
}

#[test]
fn weights_that_are_no_numbers_have_no_score() {
    let mut model = resnet(0, [3, 8, 8], 1, &[4], 2, 3);
    let weight = model.graph.value_named("layer1.0.conv1.weight").unwrap();
    let old = model.graph.initializer(weight).unwrap().clone();
    let mut data = tensor::to_f32(&old).unwrap().into_owned();
    data[0] = f32::NAN;
    model.graph.set_initializer(weight, tensor::with_f32(&old, &tensor::shape(&old).unwrap(), &data).unwrap());
    assert_eq!(
        score(&WEIGHT_NORM, &model).unwrap_err().to_string(),
        "criterion `weight-norm` gives `layer1.0` a score that is not finite: its weights, or what they compute, hold NaN or infinity"
    );
}

#[derive(Deserialize)]
struct ImprintGolden {
    seed: u64,
    classes: usize,
    embedding: usize,
    train: usize,
    test: usize,
    taps: Vec<TapGolden>,
}

#[derive(Deserialize)]
struct TapGolden {
    shape: Vec<usize>,
    strength: f64,
    correct: u64,
    gained: u64,
    lost: u64,
    score: f64,
    interval: [f64; 2],
    accuracy_interval: [f64; 2],
}

/// Features as the generator draws them: random numbers, more in the channels of the image's class.
fn features(random: &mut SplitMix, labels: &[usize], tap: &TapGolden, classes: usize) -> Vec<f32> {
    let area: usize = tap.shape[1..].iter().product();
    let mut features = Vec::new();
    for &label in labels {
        for channel in 0..tap.shape[0] {
            let more = if channel % classes == label { tap.strength } else { 0.0 };
            features.extend((0..area).map(|_| (random.uniform() + more) as f32));
        }
    }
    features
}

/// Calls `give` with what all taps give for each batch of at most 16 images, and their labels.
fn batches(all: &[Vec<f32>], taps: &[TapGolden], labels: &[usize], mut give: impl FnMut(&[Maps<'_>], &[usize])) {
    for start in (0..labels.len()).step_by(16) {
        let batch = start..labels.len().min(start + 16);
        let shapes: Vec<Vec<usize>> = taps.iter().map(|tap| [&[batch.len()], &tap.shape[..]].concat()).collect();
        let maps = taps.iter().zip(all).zip(&shapes).map(|((tap, data), shape)| {
            let size: usize = tap.shape.iter().product();
            Maps { data: &data[batch.start * size..batch.end * size], shape }
        });
        give(&maps.collect::<Vec<_>>(), &labels[batch.clone()]);
    }
}

#[test]
fn imprinted_classifiers_get_right_what_those_of_torch_do() {
    let golden: ImprintGolden = json("imprint.json");
    let train: Vec<usize> = (0..golden.train).map(|image| image % golden.classes).collect();
    let test: Vec<usize> = (0..golden.test).map(|image| (3 * image + 1) % golden.classes).collect();
    let mut random = SplitMix::new(golden.seed);
    let (mut to_train, mut to_test) = (Vec::new(), Vec::new());
    for tap in &golden.taps {
        to_train.push(features(&mut random, &train, tap, golden.classes));
        to_test.push(features(&mut random, &test, tap, golden.classes));
    }
    let mut sums = ClassSums::new(golden.taps.len(), golden.classes, golden.embedding);
    batches(&to_train, &golden.taps, &train, |taps, labels| sums.add(taps, labels).unwrap());
    let mut imprinted = sums.imprint().unwrap();
    batches(&to_test, &golden.taps, &test, |taps, labels| imprinted.classify(taps, labels).unwrap());
    let counts = imprinted.counts();
    assert_eq!(counts.images, golden.test as u64);
    for (found, expected) in counts.taps.iter().zip(&golden.taps) {
        assert_eq!((found.correct, found.gained, found.lost), (expected.correct, expected.gained, expected.lost));
    }

    let model = resnet(0, [3, 8, 8], 1, &[4], 3, 4);
    let evidence = Evidence { imprint: Some(counts), ..Evidence::default() };
    let scores = Scoring::from(&IMPRINT).score(&model.graph, &units(&model), &evidence).unwrap();
    assert_eq!(scores.rows.len(), 3);
    assert!(scores.rows[2].score < 0.0, "the golden has a tap that loses accuracy");
    for (row, expected) in scores.rows.iter().zip(&golden.taps) {
        close(row.score, expected.score, "gain");
        let [low, high] = row.interval.unwrap();
        close(low, expected.interval[0], "lower end");
        close(high, expected.interval[1], "upper end");
        let accuracy = row.accuracy.clone().unwrap();
        close(accuracy.percent, 100.0 * expected.correct as f64 / golden.test as f64, "accuracy");
        close(accuracy.interval[0], expected.accuracy_interval[0], "lower end of the accuracy");
        close(accuracy.interval[1], expected.accuracy_interval[1], "upper end of the accuracy");
    }
}

#[test]
fn a_class_without_an_image_cannot_be_imprinted() {
    let mut sums = ClassSums::new(1, 3, 4);
    sums.add(&[Maps { data: &[1.0, 2.0], shape: &[2, 1] }], &[0, 2]).unwrap();
    assert_eq!(
        sums.imprint().unwrap_err().to_string(),
        "class 1 has no image among those that were looked at, so nothing can be imprinted for it"
    );
}

#[test]
fn a_label_beyond_the_classes_is_an_error_wherever_it_comes() {
    let message = "label 3 is out of range: there are 3 classes";
    let mut sums = ClassSums::new(1, 3, 4);
    assert_eq!(sums.add(&[Maps { data: &[1.0, 2.0], shape: &[2, 1] }], &[0, 3]).unwrap_err().to_string(), message);
    let mut sums = ClassSums::new(1, 3, 4);
    sums.add(&[Maps { data: &[1.0, 2.0, 3.0], shape: &[3, 1] }], &[0, 1, 2]).unwrap();
    let mut imprinted = sums.imprint().unwrap();
    assert_eq!(imprinted.classify(&[Maps { data: &[1.0], shape: &[1, 1] }], &[3]).unwrap_err().to_string(), message);
}

#[test]
fn a_tap_that_changes_its_shape_is_an_error_in_both_passes() {
    let message = "tap 0 gave embeddings of 3 numbers after 2";
    let mut sums = ClassSums::new(1, 1, 4);
    sums.add(&[Maps { data: &[1.0, 2.0], shape: &[1, 2] }], &[0]).unwrap();
    assert_eq!(sums.add(&[Maps { data: &[1.0; 3], shape: &[1, 3] }], &[0]).unwrap_err().to_string(), message);
    let mut imprinted = sums.imprint().unwrap();
    assert_eq!(imprinted.classify(&[Maps { data: &[1.0; 3], shape: &[1, 3] }], &[0]).unwrap_err().to_string(), message);
}

#[test]
fn features_that_are_no_numbers_are_an_error_in_both_passes() {
    let message = "tap 0 gives numbers that are not finite";
    let sums = || ClassSums::new(1, 2, 4);
    assert_eq!(
        sums().add(&[Maps { data: &[1.0, f32::INFINITY], shape: &[2, 1] }], &[0, 1]).unwrap_err().to_string(),
        message
    );
    let mut sums = sums();
    sums.add(&[Maps { data: &[1.0, 2.0], shape: &[2, 1] }], &[0, 1]).unwrap();
    let mut imprinted = sums.imprint().unwrap();
    assert_eq!(
        imprinted.classify(&[Maps { data: &[f32::NAN], shape: &[1, 1] }], &[0]).unwrap_err().to_string(),
        message
    );
}

#[test]
fn imprinting_without_images_or_at_other_taps_is_refused() {
    let model = resnet(0, [3, 8, 8], 1, &[4], 3, 4);
    let with = |imprint| {
        let evidence = Evidence { imprint, ..Evidence::default() };
        Scoring::from(&IMPRINT).score(&model.graph, &units(&model), &evidence).unwrap_err().to_string()
    };
    let no_images = "criterion `imprint` needs labelled images";
    assert_eq!(with(None), no_images);
    assert_eq!(with(Some(Classified { images: 0, taps: vec![TapCounts::default(); 3] })), no_images);
    assert_eq!(
        with(Some(Classified { images: 1, taps: vec![TapCounts::default(); 2] })),
        "criterion `imprint` needs evidence of 3 taps, 2 were given"
    );
}

fn scores(rows: &[(f64, Option<[f64; 2]>)]) -> Scores {
    let model = resnet(0, [3, 8, 8], 1, &[4], 1, 2);
    let row = |(number, &(score, interval)): (usize, &(f64, Option<[f64; 2]>))| ScoreRow {
        unit: number.to_string(),
        score,
        interval,
        accuracy: None,
    };
    let rows = rows.iter().enumerate().map(row).collect();
    let (model, criterion) = (model.digest(), "test".to_owned());
    Scores { schema: 1, model, criterion, normalize: Normalize::None, rows, unscored: Vec::new() }
}

#[test]
fn a_score_is_tied_with_the_next_higher_one_where_their_intervals_overlap() {
    let tied = scores(&[(5.0, Some([4.0, 6.0])), (-1.0, Some([-2.0, 0.5])), (1.0, Some([0.5, 1.5])), (9.0, None)]);
    assert_eq!(tied.ties(), [false, true, false, false]);
    let exact = scores(&[(2.0, None), (1.0, None), (2.0, None), (3.0, None)]);
    assert_eq!(exact.ties(), [true, false, false, false]);
    assert!(scores(&[]).ties().is_empty());
}

#[test]
fn scores_survive_json() {
    let model = Model::read(golden("criteria_net.onnx")).unwrap();
    let plain = score(&WEIGHT_NORM, &model).unwrap();
    let text = serde_json::to_string(&plain).unwrap();
    assert!(!text.contains("interval"), "{text}");
    assert_eq!(serde_json::from_str::<Scores>(&text).unwrap(), plain);
    let full = scores(&[(0.1 + 0.2, Some([-0.1, 1e-300]))]);
    assert_eq!(serde_json::from_str::<Scores>(&serde_json::to_string(&full).unwrap()).unwrap(), full);
}

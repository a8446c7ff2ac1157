use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use crate::nets;
use crate::place::Place;

fn number(json: &Value, path: &str) -> f64 {
    json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {path} in {json}"))
}

#[test]
fn accuracy_comes_with_its_interval_and_the_number_of_images() {
    let place = Place::with_data(&nets::residual());
    let json = place.ok("eval net.onnx --data idx:data --normalize none --format json").json();
    assert_eq!(json["images"], 30);
    let percent = number(&json, "/top1/percent");
    assert!((percent * 30.0 / 100.0).fract().min(1.0 - (percent * 30.0 / 100.0).fract()) < 1e-9, "{json}");
    let (low, high) = (number(&json, "/top1/interval/0"), number(&json, "/top1/interval/1"));
    assert!(0.0 <= low && low <= percent && percent <= high && high <= 100.0, "{json}");
    assert!(number(&json, "/loss") > 0.0);
    assert_eq!(json["top5"], Value::Null, "of three classes, the best five are all");
}

#[test]
fn text_says_the_same() {
    let place = Place::with_data(&nets::residual());
    let done = place.ok("eval net.onnx --data idx:data --normalize none");
    let lines: Vec<_> = done.stdout.lines().collect();
    assert!(lines[0].starts_with("top-1  ") && lines[0].ends_with(", 30 images)"), "{done}");
    assert!(lines[1].starts_with("loss   "), "{done}");
    assert_eq!((lines.len(), done.stderr.as_str()), (2, ""));
}

#[test]
fn both_engines_agree() {
    let place = Place::with_data(&nets::residual());
    let [rten, burn] = ["--engine rten", "--training-library"]
        .map(|flag| place.ok(&format!("eval net.onnx --data idx:data --normalize none --format json {flag}")).json());
    assert_eq!((&rten["images"], &rten["top1"]), (&burn["images"], &burn["top1"]));
    assert!((number(&rten, "/loss") - number(&burn, "/loss")).abs() < 1e-4, "{rten} {burn}");
}

#[test]
fn parts_of_the_training_set_are_evaluated_when_asked_for() {
    let place = Place::with_data(&nets::residual());
    let images = |flags: &str| {
        place.ok(&format!("eval net.onnx --data idx:data --normalize none --format json {flags}")).json()["images"]
            .clone()
    };
    assert_eq!(images("--split held-out"), 6);
    assert_eq!(images("--split train"), 54);
    assert_eq!(images("--split held-out --held-out 0.5"), 30);
}

#[test]
fn data_without_a_test_part_says_what_was_looked_for() {
    let place = Place::with_data(&nets::residual());
    fs::remove_file(place.path("data/t10k-images-idx3-ubyte")).unwrap();
    assert_snapshot!(place.run("eval net.onnx --data idx:data --normalize none"), @r#"
    exit status: 1
    ----- stderr
    error: cannot use the data `idx:data`
      because: `data` has no test split: looked for t10k-images-idx3-ubyte, t10k-images-idx3-ubyte.gz, t10k-images.idx3-ubyte, t10k-images.idx3-ubyte.gz
    "#);
    place.ok("eval net.onnx --data idx:data --normalize none --split held-out");
}

#[test]
fn the_kind_of_data_is_told_from_the_folder() {
    let place = Place::with_data(&nets::residual());
    let named = place.ok("eval net.onnx --data idx:data --normalize none").stdout;
    assert_eq!(place.ok("eval net.onnx --data data --normalize none").stdout, named);
    assert_snapshot!(place.run("eval net.onnx --data nothing"), @r#"
    exit status: 1
    ----- stderr
    error: cannot use `--data nothing`
      because: `nothing` is neither a data set (expected idx:DIR, cifar10:DIR, cifar100:DIR, imagefolder:DIR, npz:FILE, csv:FILE, parquet:FILE_OR_DIR, webdataset:FILES_OR_DIR, demo) nor an existing path
    "#);
    assert_snapshot!(place.run("eval net.onnx --data idx:nothing"), @r#"
    exit status: 1
    ----- stderr
    error: cannot use the data `idx:nothing`
      because: `nothing` has no train split: looked for train-images-idx3-ubyte, train-images-idx3-ubyte.gz, train-images.idx3-ubyte, train-images.idx3-ubyte.gz
    "#);
    fs::create_dir(place.path("empty")).unwrap();
    place.run("eval net.onnx --data empty").fails(1, &["cannot tell what kind of data `empty` holds"]);
}

#[test]
fn normalisation_goes_by_name_or_by_numbers() {
    let place = Place::with_data(&nets::residual());
    let loss = |normalize: &str| {
        let done = place.ok(&format!("eval net.onnx --data idx:data --format json --normalize {normalize}"));
        assert_eq!(done.stderr, "");
        number(&done.json(), "/loss")
    };
    assert_eq!(loss("mnist"), loss("0.1307/0.3081"));
    assert_eq!(loss("none"), loss("0/1"));
    assert_ne!(loss("none"), loss("mnist"));
}

#[test]
fn a_normalisation_that_is_none_is_refused_with_the_known_ones() {
    let place = Place::with_data(&nets::residual());
    assert_snapshot!(place.run("eval net.onnx --data idx:data --normalize bright"), @r#"
    exit status: 2
    ----- stderr
    error: cannot use `--normalize bright`
      because: cannot read the normalisation `bright`: expected one of imagenet, cifar10, mnist, fashion-mnist, or `MEAN,…/STD,…`
    hint: means and standard deviations are of pixels scaled to 0..1
    "#);
    assert_snapshot!(place.run("eval net.onnx --data idx:data --normalize imagenet"), @r#"
    exit status: 2
    ----- stderr
    error: `--normalize imagenet` does not fit the images
      because: mean has 3 values, expected 1 or 1 (one for each channel)
    "#);
    assert_snapshot!(place.run("eval net.onnx --data idx:data --normalize 0.5/0"), @r#"
    exit status: 2
    ----- stderr
    error: cannot use `--normalize 0.5/0`
      because: std of the normalisation is 0, expected a finite number more than 0
    "#);
}

#[test]
fn without_a_normalisation_the_best_is_taken_and_named() {
    let place = Place::with_data(&nets::residual());
    let done = place.ok("eval net.onnx --data idx:data");
    let taken = done.stderr.strip_prefix("normalisation: `").unwrap().split('`').next().unwrap();
    assert_eq!(place.ok(&format!("eval net.onnx --data idx:data --normalize {taken}")).stdout, done.stdout);
}

#[test]
fn the_embedded_images_are_data_too() {
    let place = Place::with(&layerprune_testing::resnet(1, [1, 28, 28], 4, &[4], 1, 10));
    let json = place.ok("eval net.onnx --data demo --format json").json();
    assert_eq!(json["images"], 2000);
    assert!(number(&json, "/top5/percent") >= number(&json, "/top1/percent"));
}

#[test]
fn a_loss_that_needs_targets_is_refused_where_the_data_has_none() {
    let place = Place::with_data(&nets::residual());
    for loss in ["mean-squared", "mean-absolute", "binary-cross-entropy"] {
        let done = place.run(&format!("eval net.onnx --data idx:data --normalize none --loss {loss}"));
        done.fails(1, &["error: ", loss, "target"]);
    }
    let command = "eval net.onnx --data idx:data --normalize none";
    assert_eq!(place.ok(&format!("{command} --loss cross-entropy")).stdout, place.ok(command).stdout);
}

use insta::assert_snapshot;
use serde_json::Value;

use crate::place::Place;
use crate::{images, nets};

fn top1(place: &Place, model: &str) -> f64 {
    let json = place.ok(&format!("eval {model} --data idx:data --normalize none --format json")).json();
    json["top1"]["percent"].as_f64().unwrap()
}

#[test]
fn fine_tuning_writes_a_model_that_can_be_evaluated() {
    let place = Place::with_data(&nets::residual());
    let command = "finetune net.onnx --data idx:data --normalize none --epochs 2 --batch-size 16 -o tuned.onnx";
    let done = place.ok(&format!("{command} --format json"));
    let rows = done.json();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    for (place, row) in rows.as_array().unwrap().iter().enumerate() {
        assert_eq!((&row["stage"], &row["epoch"]), (&Value::from("fine-tuning"), &Value::from(place + 1)));
        for share in ["train_top1", "held_out_top1"] {
            assert!((0.0..=100.0).contains(&row[share].as_f64().unwrap()), "{row}");
        }
        assert!(row["loss"].as_f64().unwrap().is_finite(), "{row}");
    }
    assert_eq!(done.stderr.lines().count(), 2, "{done}");
    assert!(done.stderr.starts_with("fine-tuning epoch 1: loss "), "{done}");
    assert!((0.0..=100.0).contains(&top1(&place, "tuned.onnx")));
    assert_eq!(place.names(), ["data", "net.onnx", "tuned.onnx", "tuned.onnx.epochs.jsonl"]);
}

#[test]
fn training_from_initial_weights_learns() {
    let place = Place::with_data(&nets::residual());
    let command = "train net.onnx --data idx:data --epochs 12 --batch-size 16 --learning-rate 0.1 -o trained.onnx";
    let done = place.ok(command);
    assert!(done.stdout.starts_with("12 epochs, kept epoch "), "{done}");
    assert!(done.stdout.ends_with("; written: trained.onnx\n"), "{done}");
    assert!(top1(&place, "trained.onnx") > 80.0);
}

#[test]
fn one_seed_gives_the_same_bytes_for_any_number_of_threads_and_another_seed_others() {
    let place = Place::with_data(&nets::residual());
    let command = "train net.onnx --data idx:data --epochs 2 --batch-size 16 --pad-crop 1 --flip";
    place.ok(&format!("{command} --seed 1 --threads 1 -o one.onnx"));
    place.ok(&format!("{command} --seed 1 --threads 2 -o again.onnx"));
    place.ok(&format!("{command} --seed 2 --threads 1 -o two.onnx"));
    assert_eq!(place.bytes("one.onnx"), place.bytes("again.onnx"));
    assert_ne!(place.bytes("one.onnx"), place.bytes("two.onnx"));
}

#[test]
fn every_setting_changes_what_is_learned() {
    let place = Place::with_data(&nets::residual());
    let command = "finetune net.onnx --data idx:data --normalize none --keep last";
    place.ok(&format!("{command} --epochs 2 --batch-size 16 -o plain.onnx"));
    let plain = place.bytes("plain.onnx");
    let mut seen = vec![plain];
    for flags in [
        "--pad-crop 2",
        "--flip",
        "--nesterov",
        "--schedule constant",
        "--schedule step:1:0.1",
        "--schedule milestones:1:0.2",
        "--schedule one-cycle",
        "--warm-up 1",
        "--optimizer adam-w",
        "--optimizer adam-w --betas 0.5,0.9",
        "--spare-norms-and-biases --weight-decay 0.1",
        "--clip-norm 0.01",
        "--accumulate 2",
        "--ema 0.9",
        "--label-smoothing 0.1",
        "--random-resized-crop 0.3,1",
        "--vertical-flip",
        "--rotation 30",
        "--rand-augment 2,9",
        "--color-jitter 0.5",
        "--random-erasing 1",
        "--mixup 1",
        "--cutmix 1",
        "--preset layerprune-cifar --epochs 2 --batch-size 16",
    ] {
        let flags =
            if flags.contains("preset") { flags.to_owned() } else { format!("--epochs 2 --batch-size 16 {flags}") };
        place.ok(&format!("{command} {flags} -o other.onnx"));
        let learned = place.bytes("other.onnx");
        assert!(!seen.contains(&learned), "{flags}");
        seen.push(learned);
    }
}

#[test]
fn labels_that_the_model_has_no_class_for_are_refused() {
    let place = Place::with(&nets::residual());
    let labels: Vec<u8> = (0..40).map(|image| image % 4).collect();
    for part in ["train", "t10k"] {
        images::write_labelled(&place.path("data"), part, &labels, 1);
    }
    assert_snapshot!(place.run("finetune net.onnx --data idx:data --normalize none --batch-size 16 -o tuned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: label 3 is out of range: the model has 3 classes
    "#);
    assert_snapshot!(place.run("eval net.onnx --data idx:data --normalize none"), @r#"
    exit status: 1
    ----- stderr
    error: image 3 has label 3, but the model knows 3 classes, 0 to 2
    "#);
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[test]
fn classes_that_the_model_has_no_score_for_are_not_mixed() {
    let place = Place::with(&nets::residual());
    let labels: Vec<u8> = (0..40).map(|image| image % 4).collect();
    for part in ["train", "t10k"] {
        images::write_labelled(&place.path("data"), part, &labels, 1);
    }
    let command = "finetune net.onnx --data idx:data --normalize none --batch-size 16 --epochs 1 -o tuned.onnx";
    for flag in ["--mixup 1", "--cutmix 1"] {
        let done = place.run(&format!("{command} {flag}"));
        let text = "mixup and cutmix need a score for every class: the model scores 3 classes, `idx:data` has 4";
        done.fails(1, &["error: ", text]);
        assert_eq!(place.names(), ["data", "net.onnx"]);
    }
    // Without labels nothing is mixed but images.
    place.ok(&format!("{command} --mixup 1 --teacher net.onnx --without-labels"));
}

#[test]
fn images_of_another_size_than_the_model_takes_are_refused() {
    let place = Place::with_data(&layerprune_testing::resnet(1, [1, 16, 16], 1, &[4], 1, 3));
    let data = "--data idx:data --normalize none";
    assert_snapshot!(place.run(&format!("finetune net.onnx {data} --batch-size 16 -o tuned.onnx")), @r#"
    exit status: 1
    ----- stderr
    error: the model takes images of 1x16x16, those of `idx:data` are 1x8x8 (channels x height x width)
    hint: `--resize HxW` changes the size of images, `--gray-to-rgb` makes three channels of one
    "#);
    assert_snapshot!(place.run(&format!("eval net.onnx {data}")), @r#"
    exit status: 1
    ----- stderr
    error: the model takes images of 1x16x16, those of `idx:data` are 1x8x8 (channels x height x width)
    hint: `--resize HxW` changes the size of images, `--gray-to-rgb` makes three channels of one
    "#);
    assert_snapshot!(place.run(&format!("score net.onnx {data}")), @r#"
    exit status: 1
    ----- stderr
    error: the model takes images of 1x16x16, those of `idx:data` are 1x8x8 (channels x height x width)
    hint: `--resize HxW` changes the size of images, `--gray-to-rgb` makes three channels of one
    "#);
    assert_snapshot!(place.run("eval net.onnx --data idx:data"), @r#"
    exit status: 1
    ----- stderr
    error: the model takes images of 1x16x16, those of `idx:data` are 1x8x8 (channels x height x width)
    hint: `--resize HxW` changes the size of images, `--gray-to-rgb` makes three channels of one
    "#);
    place.ok(&format!("eval net.onnx {data} --resize 16"));
    place.ok(&format!("eval net.onnx {data} --resize 16x16"));
}

#[test]
fn gray_images_for_a_model_of_three_channels_are_refused_until_told_to_be_copied() {
    let place = Place::with_data(&nets::chain());
    assert_snapshot!(place.run("eval net.onnx --data idx:data --normalize none"), @r#"
    exit status: 1
    ----- stderr
    error: the model takes images of 3x8x8, those of `idx:data` are 1x8x8 (channels x height x width)
    hint: `--resize HxW` changes the size of images, `--gray-to-rgb` makes three channels of one
    "#);
    place.ok("eval net.onnx --data idx:data --normalize none --gray-to-rgb");
    place.ok(
        "finetune net.onnx --data idx:data --normalize none --gray-to-rgb --epochs 1 --batch-size 16 -o tuned.onnx",
    );
}

#[test]
fn settings_that_cannot_train_are_wrong_usage() {
    let place = Place::with_data(&nets::residual());
    let cases = [
        ("--learning-rate 0", "learning-rate"),
        ("--learning-rate=-0.1", "learning-rate"),
        ("--momentum 1", "momentum"),
        ("--weight-decay=-1", "weight-decay"),
        ("--nesterov --momentum 0", "nesterov"),
        ("--batch-size 0", "above 0"),
        ("--epochs 0", "above 0"),
        ("--schedule linear", "--schedule linear"),
        ("--schedule step:x:0.1", "--schedule step:x:0.1"),
        ("--schedule step:0:0.1", "`--schedule`: setting `schedule.every` is 0"),
        ("--schedule milestones:one:0.1", "--schedule milestones:one:0.1"),
        ("--schedule one-cycle:1", "`--schedule`: setting `schedule.rise` is 1"),
        ("--schedule one-cycle --warm-up 1", "`--warm-up`: "),
        ("--betas 0.9,0.99", "`--betas` are of `--optimizer adam-w`"),
        ("--optimizer adam-w --betas 0.9", "--betas"),
        ("--optimizer adam-w --betas 0.9,1", "`--betas`: "),
        ("--optimizer adam-w --momentum 0.5", "`--momentum` and `--nesterov` are of `--optimizer sgd`"),
        ("--optimizer adam", "adam-w"),
        ("--clip-norm 0", "`--clip-norm`: "),
        ("--accumulate 0", "--accumulate"),
        ("--ema 1", "`--ema`: "),
        ("--label-smoothing 1", "`--label-smoothing`: "),
        ("--loss mean-squared --label-smoothing 0.1", "`--label-smoothing` is of `--loss cross-entropy`"),
        ("--preset cifar", "layerprune-cifar"),
        ("--random-resized-crop 1", "`--random-resized-crop 1`: "),
        ("--random-resized-crop 0.5,1 --pad-crop 1", "pad-crop and random-resized-crop"),
        ("--rand-augment 2", "`--rand-augment 2`: "),
        ("--color-jitter red", "`--color-jitter red`: "),
        ("--random-erasing 2", "`--random-erasing 2`: "),
        ("--mixup 0", "augmentation: mixup"),
        ("--slimming=-1", "--slimming"),
        ("--ecc 2", "`--ecc`: "),
        ("--patience 0", "--patience"),
        ("--keep first", "--keep"),
        ("--checkpoint-every=-1", "--checkpoint-every"),
        ("--resume --restart", "--restart"),
        ("--held-out 1", "--held-out 1"),
        ("--resize 8x", "--resize 8x"),
        ("--resize 0", "--resize 0"),
        ("--normalize bright", "bright"),
        ("--normalize 0.5/0", "std"),
        ("--normalize 0.5,0.5/1,1", "mean"),
    ];
    for (flags, named) in cases {
        let normalize = if flags.starts_with("--normalize") { "" } else { "--normalize none" };
        let done = place.run(&format!("finetune net.onnx --data idx:data {normalize} {flags} -o tuned.onnx"));
        done.fails(2, &["error: ", named]);
        assert!(!done.stderr.contains("panicked"), "{done}");
    }
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[test]
fn a_model_that_no_normalisation_suits_is_trained_on_only_with_one_given() {
    let place = Place::with_data(&nets::residual());
    for command in ["finetune net.onnx --epochs 1 --batch-size 16", "recalibrate net.onnx"] {
        let done = place.run(&format!("{command} --data idx:data -o tuned.onnx"));
        done.fails(1, &["error: the model is near chance under every normalisation (none ", "; give `--normalize`"]);
    }
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[test]
fn a_scratch_control_has_the_normalisation_of_the_unpruned_model() {
    let place = Place::with_data(&nets::residual());
    let command = "train net.onnx --data idx:data --batch-size 16";
    let done = place.ok(&format!("{command} --epochs 12 --normalize mnist -o whole.onnx"));
    assert!(!done.stderr.contains("normalisation"), "{done}");
    let done = place.ok(&format!("{command} --epochs 1 --as-much-as whole.onnx -o scratch.onnx"));
    assert!(done.stderr.contains("under which the model is right most often on "), "{done}");
}

#[test]
fn what_the_look_at_the_held_out_part_cannot_do_shows_at_once() {
    let place = Place::with_data(&nets::batch_of(&nets::residual(), 16));
    let command = "finetune net.onnx --data idx:data --normalize none --epochs 2 --batch-size 16 -o tuned.onnx";
    let done = place.run(command);
    done.fails(
        1,
        &["error: the model is fixed to batches of 16, and 6 images are held out; `--held-out` sets their share"],
    );
    assert!(!done.stderr.contains("epoch"), "{done}");
    assert_eq!(place.names(), ["data", "net.onnx"]);
    place.ok(&format!("{command} --held-out 0.3"));
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
#[test]
fn a_device_that_is_not_built_in_is_refused_before_anything_is_opened() {
    let place = Place::new();
    for (device, feature) in [("wgpu", "wgpu"), ("wgpu:1", "wgpu"), ("cuda", "cuda")] {
        let done = place.run(&format!("finetune none.onnx --data idx:none --device {device} -o tuned.onnx"));
        done.fails(2, &[&format!("error: `--device {device}`: "), &format!("`cargo install … --features {feature}`")]);
    }
}

#[test]
fn a_batch_that_the_images_do_not_fill_is_refused() {
    let place = Place::with_data(&nets::residual());
    assert_snapshot!(place.run("finetune net.onnx --data idx:data --normalize none --batch-size 55 -o tuned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: 54 training images do not fill a batch of 55
    "#);
}

#[test]
fn a_rate_at_which_training_diverges_is_told_and_writes_no_model() {
    let place = Place::with_data(&nets::residual());
    let command = "finetune net.onnx --data idx:data --normalize none --epochs 3 --batch-size 16 --learning-rate 1e30";
    place.run(&format!("{command} -o tuned.onnx")).fails(1, &["error: the loss is not finite at epoch "]);
    assert!(!place.path("tuned.onnx").exists());
}

#[test]
fn nodes_that_cannot_be_trained_are_named() {
    let place = Place::with_data(&nets::mysterious());
    let done = place.run("train net.onnx --data idx:data --epochs 1 --batch-size 16 -o trained.onnx");
    assert_snapshot!(done, @r#"
    exit status: 1
    ----- stderr
    normalisation: none, pixels are only scaled to 0..1, as no trained model tells one; `--normalize` sets it
    error: training does not support node `/middle/Mystery` (Mystery): the operator is not supported
    "#);
}

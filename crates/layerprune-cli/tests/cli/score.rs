use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::place::Place;
use crate::{images, nets};

const TAPPED: [&str; 4] = ["layer1.0", "layer1.1", "layer2.0", "layer2.1"];

fn units(scores: &Value) -> Vec<&str> {
    scores["rows"].as_array().unwrap().iter().map(|row| row["unit"].as_str().unwrap()).collect()
}

#[test]
fn weight_norms_are_shown_as_a_table_with_ranks() {
    let done = Place::with(&nets::residual()).ok("score net.onnx --criterion weight-norm");
    assert_eq!(done.stderr, "");
    let mut lines = done.stdout.lines();
    assert_eq!(lines.next().unwrap().split(':').next(), Some("weight-norm"));
    assert!(done.stdout.contains("the least important has rank 1"), "{done}");
    let head = lines.nth(1).unwrap();
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["layer", "score", "rank", "tie", "removable"]);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), TAPPED);
    let mut ranks: Vec<usize> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    ranks.sort_unstable();
    assert_eq!(ranks, [1, 2, 3, 4]);
    // The last word of `branch only`.
    let removable: Vec<_> = rows.iter().map(|row| *row.last().unwrap()).collect();
    assert_eq!(removable, ["yes", "yes", "only", "yes"]);
}

#[test]
fn weight_norms_in_json_are_those_of_the_weights() {
    let json = Place::with(&nets::residual()).ok("score net.onnx --criterion weight-norm --format json").json();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!((&json[0]["schema"], &json[0]["criterion"]), (&json!(1), &json!("weight-norm")));
    assert_eq!(units(&json[0]), TAPPED);
    for row in json[0]["rows"].as_array().unwrap() {
        let score = row["score"].as_f64().unwrap();
        assert!(score > 0.0 && score.is_finite(), "{row}");
        assert_eq!((&row["interval"], &row["accuracy"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn imprinting_gives_an_accuracy_with_its_interval_for_each_tapped_layer() {
    let place = Place::with_data(&nets::residual());
    let json = place.ok("score net.onnx --data idx:data --format json").json();
    assert_eq!(units(&json[0]), TAPPED);
    for row in json[0]["rows"].as_array().unwrap() {
        let percent = row["accuracy"]["percent"].as_f64().unwrap();
        let [low, high] = [0, 1].map(|end| row["accuracy"]["interval"][end].as_f64().unwrap());
        assert!(0.0 <= low && low <= percent && percent <= high && high <= 100.0 && low < high, "{row}");
    }
    // Brightness tells the classes apart, and random layers do not lose it.
    assert!(json[0]["rows"][0]["accuracy"]["percent"].as_f64().unwrap() > 60.0, "{json}");
}

#[test]
fn imprinting_shows_accuracies_in_the_table_and_says_which_normalisation_it_took() {
    let done = Place::with_data(&nets::residual()).ok("score net.onnx --data idx:data");
    assert!(done.stdout.contains("accuracy behind it (95 %)"), "{done}");
    assert_eq!(done.stdout.lines().count(), 3 + TAPPED.len(), "{done}");
    assert!(done.stderr.starts_with("normalisation: `"), "{done}");
    assert!(
        done.stderr.trim_end().ends_with("; `--normalize` sets it; the model is near chance under all of them"),
        "{done}"
    );
    assert_eq!(done.stderr.lines().count(), 1, "{done}");
}

#[test]
fn fewer_images_and_a_shorter_embedding_are_taken_at_their_word() {
    let place = Place::with(&nets::residual());
    images::write_unrelated(&place.path("data"), 60);
    let command = "score net.onnx --data idx:data --normalize none --held-out 0.5 --format json";
    let all = place.ok(command).stdout;
    for flags in ["--samples 6", "--embedding 1", "--seed 5"] {
        assert_ne!(place.ok(&format!("{command} {flags}")).stdout, all, "{flags}");
    }
    place.run(&format!("{command} --embedding 0")).fails(2, &["--embedding"]);
    place.run(&format!("{command} --samples 0")).fails(2, &["--samples"]);
}

#[test]
fn several_criteria_are_scored_in_one_go() {
    let place = Place::with_data(&nets::residual());
    let command = "score net.onnx --data data --criterion weight-norm,imprint,batch-norm-scale --format json";
    let json = place.ok(command).json();
    let criteria: Vec<_> = json.as_array().unwrap().iter().map(|scores| &scores["criterion"]).collect();
    assert_eq!(criteria, ["weight-norm", "imprint", "batch-norm-scale"]);
}

#[test]
fn batch_norm_scales_of_a_folded_net_are_refused_with_a_way_out() {
    assert_snapshot!(Place::with(&nets::folded()).run("score net.onnx --criterion batch-norm-scale"), @r#"
    exit status: 1
    ----- stderr
    error: criterion `batch-norm-scale` needs a batch norm behind the weights of a layer, and no layer has one: they were probably folded into the convolutions when the model was exported
    hint: use `--criterion imprint` or `weight-norm`, or export the model with its batch norms kept
    "#);
}

#[test]
fn an_unknown_criterion_is_wrong_usage_and_the_known_ones_are_named() {
    assert_snapshot!(Place::with(&nets::residual()).run("score net.onnx --criterion taylor"), @r#"
    exit status: 2
    ----- stderr
    error: there is no criterion `taylor`; there are imprint, linear-probe, block-influence, cka, leave-one-out, leave-one-out-loss, weight-norm, weight-norm-l1, weight-norm-l2, batch-norm-scale, taylor-weight, taylor-gate, taylor-batch-norm, feature-maps, hrank, apoz, mean-activation, fpgm, lamp, random, and sums of their ranks such as `imprint+weight-norm`
    "#);
}

#[test]
fn imprinting_without_data_says_what_to_do() {
    assert_snapshot!(Place::with(&nets::residual()).run("score net.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: criterion `imprint` needs labelled images
    hint: give labelled images with `--data KIND:PATH`, or use `--criterion weight-norm`
    "#);
}

#[test]
fn a_model_without_layers_cannot_be_scored() {
    let place = Place::with(&nets::without_layers());
    place.run("score net.onnx --criterion weight-norm").fails(1, &["error: ", "no layer"]);
}

#[test]
fn written_scores_are_those_printed_and_prune_takes_them() {
    let place = Place::with_data(&nets::residual());
    let json = place.ok("score net.onnx --data idx:data -o scores.json --format json").json();
    assert_eq!(place.json("scores.json"), json[0]);
    let mut removable: Vec<_> = json[0]["rows"].as_array().unwrap().iter().collect();
    removable.retain(|row| ["layer1.0", "layer1.1", "layer2.1"].contains(&row["unit"].as_str().unwrap()));
    removable.sort_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap()));
    let pruned = place.ok("prune net.onnx --scores scores.json --layers 2 -o pruned.onnx --format json").json();
    let removed: Vec<_> = pruned["plan"]["removed"].as_array().unwrap().iter().map(|row| &row["unit"]).collect();
    assert_eq!(removed, [&removable[0]["unit"], &removable[1]["unit"]]);
    assert_eq!(pruned["plan"]["criterion"], "imprint");
}

#[test]
fn scores_for_another_model_are_refused() {
    let place = Place::with(&nets::residual());
    place.add("other.onnx", &nets::deep());
    place.ok("score other.onnx --criterion weight-norm -o scores.json");
    assert_snapshot!(place.run("prune net.onnx --scores scores.json --layers 1 -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: the scores are for another model (digest [DIGEST], this one has [DIGEST])
    hint: score or plan anew for this model
    "#);
    assert!(!place.path("pruned.onnx").exists());
}

#[test]
fn a_file_that_holds_no_scores_is_refused() {
    let place = Place::with(&nets::residual());
    place.write("scores.json", "{}");
    assert_snapshot!(place.run("prune net.onnx --scores scores.json --layers 1 -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: `scores.json` holds no scores that this program knows
      because: missing field `schema`
    "#);
    place
        .run("prune net.onnx --scores none.json --layers 1 -o pruned.onnx")
        .fails(1, &["error: cannot read the scores `none.json`"]);
}

#[test]
fn a_file_for_two_criteria_is_wrong_usage() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("score net.onnx --criterion weight-norm,batch-norm-scale -o scores.json"), @r#"
    exit status: 2
    ----- stderr
    error: `--output` holds the scores of one criterion; `--report` holds several
    "#);
    assert_eq!(place.names(), ["net.onnx"]);
}

//! Criteria of every kind, alone, together and side by side.

use insta::assert_snapshot;
use serde_json::Value;

use crate::place::Place;
use crate::{images, nets};

const TAPPED: [&str; 4] = ["layer1.0", "layer1.1", "layer2.0", "layer2.1"];
const DATA: &str = "--data idx:data --normalize none";

fn scores(json: &Value) -> Vec<f64> {
    json["rows"].as_array().unwrap().iter().map(|row| row["score"].as_f64().unwrap()).collect()
}

#[test]
fn criteria_that_read_images_score_every_layer_with_an_interval() {
    let place = Place::with_data(&nets::residual());
    let all = "hrank,apoz,mean-activation,cka,taylor-weight,taylor-gate,taylor-batch-norm,feature-maps";
    let command = format!("score net.onnx {DATA} --score-batch 8 --format json --criterion {all}");
    let json = place.ok(&command).json();
    assert_eq!(json.as_array().unwrap().len(), 8);
    for table in json.as_array().unwrap() {
        let units: Vec<&str> =
            table["rows"].as_array().unwrap().iter().map(|row| row["unit"].as_str().unwrap()).collect();
        assert_eq!(units, TAPPED, "{}", table["criterion"]);
        for row in table["rows"].as_array().unwrap() {
            let [low, high] = [0, 1].map(|end| row["interval"][end].as_f64().unwrap());
            let score = row["score"].as_f64().unwrap();
            assert!(low <= score && score <= high && low < high, "{} {row}", table["criterion"]);
        }
    }
    // Alone or together, a criterion says the same.
    for (place_in, criterion) in all.split(',').enumerate().skip(4) {
        let command = format!("score net.onnx {DATA} --score-batch 8 --format json --criterion {criterion}");
        assert_eq!(place.ok(&command).json()[0], json[place_in], "{criterion}");
    }
}

#[test]
fn block_influence_names_what_it_does_not_score() {
    let done = Place::with_data(&nets::residual()).ok(&format!("score net.onnx {DATA} --criterion block-influence"));
    let last = done.stdout.lines().last().unwrap();
    assert_eq!(last, "no score: layer2.0 (its output is not of the shape of its input)");
}

#[test]
fn leaving_out_scores_what_can_go_and_shares_its_work() {
    let place = Place::with_data(&nets::residual());
    let command = format!("score net.onnx {DATA} --criterion leave-one-out,leave-one-out-loss --format json");
    let json = place.ok(&command).json();
    for table in [&json[0], &json[1]] {
        assert_eq!(scores(table).len(), 4, "{table}");
    }
    assert!(json[1]["rows"][0]["interval"][0].is_number());
    let command = "score net.onnx --data idx:data --normalize none --criterion leave-one-out-loss --format json";
    assert_eq!(place.ok(command).json()[0], json[1]);
}

#[test]
fn batches_and_samples_bound_a_pass() {
    let place = Place::with_data(&nets::residual());
    let by = |flags: &str| place.ok(&format!("score net.onnx {DATA} --format json {flags}")).json();
    let one = by("--criterion apoz,taylor-gate --score-batch 4 --batches 1");
    assert_eq!(one[0]["rows"][0]["interval"], Value::Null, "one batch has no spread");
    assert_eq!(one[1]["rows"][0]["interval"], Value::Null);
    let all = by("--criterion apoz,taylor-gate --score-batch 4");
    assert!(all[0]["rows"][0]["interval"].is_array() && all[0] != one[0]);
    assert_eq!(by("--samples 6"), by("--samples-per-class 2"), "three classes");
    let apoz = |flags: &str| by(&format!("--criterion apoz {flags}"));
    assert_ne!(apoz("--samples-per-class 1"), apoz("--samples-per-class 2"));
    place.run("score net.onnx --samples 3 --samples-per-class 1").fails(2, &["--samples-per-class"]);
    place.run(&format!("score net.onnx {DATA} --samples-per-class 1000")).fails(1, &["1000"]);
}

#[test]
fn images_without_labels_do_for_criteria_that_need_none() {
    let place = Place::with_data(&nets::residual());
    let command = format!("score net.onnx {DATA} --criterion hrank,cka --samples 20 --format json");
    let before = place.ok(&command).stdout;
    // The labels of the training part, all the same now.
    let path = place.path("data/train-labels-idx1-ubyte");
    let mut labels = std::fs::read(&path).unwrap();
    labels[8..].fill(0);
    std::fs::write(&path, labels).unwrap();
    assert_eq!(place.ok(&command).stdout, before);
}

#[test]
fn normalizing_changes_scores_of_filters_and_is_kept_with_them() {
    let place = Place::with(&nets::residual());
    let by = |how: &str| {
        let command = format!("score net.onnx --criterion weight-norm --normalize-scores {how} --format json");
        place.ok(&command).json()[0].clone()
    };
    assert_eq!(by("none")["normalize"], Value::Null);
    assert_eq!(by("per-param")["normalize"], "per-param");
    for how in ["per-param", "max", "rank"] {
        assert_ne!(scores(&by(how)), scores(&by("none")), "{how}");
    }
    place.run("score net.onnx --normalize-scores most").fails(2, &["none, per-param, max, rank"]);
}

#[test]
fn an_ensemble_is_scored_and_pruned_by() {
    let place = Place::with_data(&nets::residual());
    let command = format!("score net.onnx {DATA} --criterion weight-norm+imprint --format json -o scores.json");
    let json = place.ok(&command).json();
    assert_eq!(json[0]["criterion"], "weight-norm+imprint");
    let sum: f64 = scores(&json[0]).iter().sum();
    assert_eq!(sum, 12.0, "twice 0 + 1 + 2 + 3");
    let pruned = place.ok("prune net.onnx --scores scores.json --layers 1 -o out.onnx --format json").json();
    assert_eq!(pruned["plan"]["criterion"], "weight-norm+imprint");
    let command = format!("prune net.onnx {DATA} --criterion weight-norm+imprint --layers 1 -o two.onnx --format json");
    assert_eq!(place.ok(&command).json()["plan"]["removed"], pruned["plan"]["removed"]);
}

#[test]
fn comparing_puts_all_criteria_side_by_side() {
    let place = Place::with_data(&nets::residual());
    place.ok("score net.onnx --criterion random --seed 9 -o other.json");
    let command = format!("score net.onnx {DATA} --compare --with other.json --score-batch 8 --report all.html");
    let json = place.ok(&format!("{command} --format json")).json();
    assert_eq!(json["refused"], serde_json::json!([]));
    let criteria: Vec<&str> =
        json["agreement"]["criteria"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(criteria.len(), 21);
    assert_eq!((criteria[0], criteria[20]), ("imprint", "random of other"));
    let tau = |a: usize, b: usize| json["agreement"]["tau"][a][b].as_f64();
    for at in 0..21 {
        // Where all scores are equal they order nothing.
        assert!(tau(at, at).is_none_or(|tau| (tau - 1.0).abs() < 1e-12), "{at}");
        assert_eq!(tau(at, 0), tau(0, at));
    }
    let page = String::from_utf8(place.bytes("all.html")).unwrap();
    assert!(page.contains("Agreement of the criteria") && page.contains("Accuracy along the depth (imprint)"));
    let text =
        place.ok(&format!("score net.onnx {DATA} --compare --criterion weight-norm,lamp,random --report all.md"));
    for part in ["[1] weight-norm", "rank of each layer", "Kendall's τ", "layer2.1"] {
        assert!(text.stdout.contains(part), "`{part}` is not in\n{text}");
    }
    let page = String::from_utf8(place.bytes("all.md")).unwrap();
    assert!(page.contains("## Agreement of the criteria"), "{page}");
}

#[test]
fn what_cannot_be_computed_is_left_out_of_a_comparison_with_the_reason() {
    let place = Place::with(&nets::folded());
    let command = "score net.onnx --compare --criterion weight-norm,batch-norm-scale,imprint,hrank";
    let done = place.ok(command);
    let (_, left_out) = done.stdout.split_once("\n\nleft out: ").unwrap();
    assert_snapshot!(left_out, @"
    batch-norm-scale
      criterion `batch-norm-scale` needs a batch norm behind the weights of a layer, and no layer has one: they were probably folded into the convolutions when the model was exported

    left out: imprint
      criterion `imprint` needs labelled images

    left out: hrank
      criterion `hrank` needs images
    ");
    assert_eq!(done.stderr, "");
}

#[test]
fn labels_that_do_not_fit_leave_the_criteria_that_need_none() {
    let place = Place::with(&nets::residual());
    for class in ["a", "b"] {
        let folder = place.path(format!("images/train/{class}"));
        std::fs::create_dir_all(&folder).unwrap();
        for image in 1..5_u8 {
            let pixels: Vec<u8> = (0..64).map(|at| at * image % 251).collect();
            images::write_png(&folder.join(format!("{image}.png")), &pixels);
        }
    }
    let command = "score net.onnx --data imagefolder:images --normalize none --compare --criterion imprint,hrank,lamp";
    let json = place.ok(&format!("{command} --format json")).json();
    assert_eq!(json["agreement"]["criteria"], serde_json::json!(["hrank", "lamp"]));
    let reason = json["refused"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("scores 3 classes") && reason.contains("2 folders"), "{reason}");
}

#[test]
fn a_class_without_images_stops_only_what_needs_it() {
    let place = Place::with(&nets::residual());
    let labels: Vec<u8> = (0..20).map(|image| 2 * (image % 2)).collect();
    images::write_labelled(&place.path("data"), "train", &labels, 1);
    let command = format!("score net.onnx {DATA} --compare --criterion imprint,hrank,taylor-gate --format json");
    let json = place.ok(&command).json();
    assert_eq!(json["agreement"]["criteria"], serde_json::json!(["hrank", "taylor-gate"]));
    assert_eq!(json["refused"].as_array().unwrap().len(), 1);
    assert!(json["refused"][0]["reason"].as_str().unwrap().contains("1"), "{json}");
}

#[test]
fn the_help_names_every_criterion() {
    let help = Place::new().ok("score --help").stdout;
    let words: Vec<&str> = help.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
    for criterion in layerprune::criteria::CRITERIA {
        assert!(words.contains(&criterion.id), "`{}` is not in the help of `score`", criterion.id);
    }
}

#[test]
fn reports_are_of_forms_that_there_are() {
    let place = Place::with(&nets::residual());
    place.ok("score net.onnx --criterion weight-norm,lamp --report record.json");
    place.ok("report record.json -o page.html");
    place.ok("score net.onnx --criterion weight-norm,lamp --report page2.html");
    assert_eq!(place.bytes("page.html"), place.bytes("page2.html"));
    place.ok("score net.onnx --criterion weight-norm,lamp --layers 2 --report marked.json");
    let marked = |table: usize| {
        let record = place.json("marked.json");
        let rows = record["scores"][table]["rows"].as_array().unwrap().clone();
        let removed = rows.into_iter().filter(|row| row["removed"] == true);
        removed.map(|row| row["layer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let planned = place.ok("prune net.onnx --criterion lamp --layers 2 --dry-run --format json").json();
    let planned: std::collections::BTreeSet<_> =
        planned["plan"]["removed"].as_array().unwrap().iter().map(|row| row["unit"].as_str().unwrap()).collect();
    assert_eq!((marked(0).len(), marked(1).len()), (2, 2));
    assert!(marked(1).iter().all(|layer| planned.contains(layer.as_str())), "{:?} {planned:?}", marked(1));
    place.run("score net.onnx --criterion lamp --layers 99 --report x.md").fails(1, &["99 layers"]);
    place.run("score net.onnx --criterion random --normalize-scores max").fails(2, &["none of those given"]);
    place.run("score net.onnx --criterion lamp --report page.txt").fails(2, &["`page.txt` should end in"]);
    place.run("score net.onnx --criterion lamp --with x.json").fails(2, &["--compare"]);
    place.run("score net.onnx --criterion lamp --compare --with x.json").fails(1, &["`x.json`"]);
}

#[test]
fn filters_go_by_what_gradients_and_maps_say() {
    let place = Place::with_data(&nets::residual());
    let by = |criterion: &str| {
        let command = format!("prune net.onnx {DATA} --filters 30% --criterion {criterion} -o {criterion}.onnx");
        place.ok(&command);
        place.bytes(&format!("{criterion}.onnx"))
    };
    let [taylor, hrank, weights] = ["taylor-gate", "hrank", "weight-norm"].map(by);
    assert!(taylor != weights && hrank != weights);
    place
        .run("prune net.onnx --filters 30% --criterion taylor-gate -o x.onnx")
        .fails(1, &["criterion `taylor-gate` needs labelled images", "hint: give"]);
    place
        .run("prune net.onnx --filters 30% --criterion weight-norm+lamp -o x.onnx")
        .fails(1, &["criterion `weight-norm+lamp` scores layers, not filters"]);
    place
        .run(&format!("prune net.onnx {DATA} --filters 30% --criterion leave-one-out -o x.onnx"))
        .fails(1, &["criterion `leave-one-out` scores layers, not filters"]);
    assert!(!place.path("x.onnx").exists());
}

#[test]
fn iterating_removes_one_layer_at_a_time() {
    let place = Place::with_data(&nets::deep());
    let command = format!("prune net.onnx {DATA} --layers 2 --iterative -o out.onnx --format json");
    let done = place.ok(&command);
    let removed = done.json()["plan"]["removed"].as_array().unwrap().len();
    assert_eq!(removed, 2);
    let steps = done.stderr.lines().filter(|line| line.starts_with("next to go: `")).count();
    assert_eq!(steps, 2, "{done}");
    // The first removal is that of one shot.
    let once = place.ok(&format!("prune net.onnx {DATA} --layers 1 -o one.onnx --format json")).json();
    assert_eq!(done.json()["plan"]["removed"][0], once["plan"]["removed"][0]);
    place.run("prune net.onnx --iterative --filters 10% -o x.onnx").fails(2, &["--layers"]);
    place.run(&format!("prune net.onnx {DATA} --layers 99 --iterative -o x.onnx")).fails(1, &["99 layers"]);
    let both = format!("prune net.onnx {DATA} --layers 1 --iterative --recover bridge -o x.onnx");
    place.run(&both).fails(2, &["a bridge is fitted only at the end"]);
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    let place = Place::with_data(&nets::residual());
    let done = place.run(&format!("eval net.onnx {DATA} --engine onnxruntime --ort-lib none.so"));
    done.fails(1, &["ONNX Runtime cannot be used", "none.so", "hint: "]);
}

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::nets;
use crate::place::Place;

const BRIEF: &str = "--samples 10 --warm-up 0";

#[test]
fn one_model_is_timed() {
    let place = Place::with(&nets::residual());
    let done = place.ok(&format!("latency net.onnx {BRIEF}"));
    let lines: Vec<_> = done.stdout.lines().collect();
    let head =
        "model engine threads batch median p90 p95 p99 spread (MAD) samples per second latency reduction speed-up";
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), head.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines[1].split_whitespace().take(5).collect::<Vec<_>>(), ["net.onnx", "rten", "0.27", "1", "1"]);
    assert!(lines[2..].iter().all(|line| line.starts_with("note: ")), "{done}");
    assert_eq!(done.stderr, "");
}

#[test]
fn numbers_of_one_model_are_in_order() {
    let place = Place::with(&nets::residual());
    let json = place.ok(&format!("latency net.onnx --format json {BRIEF}")).json();
    assert_eq!((&json[0]["batch"], &json[0]["threads"]), (&json!(1), &json!(1)));
    let timed = &json[0]["models"][0];
    assert_eq!(timed["model"], "net.onnx");
    assert_eq!(timed["against_first"], Value::Null);
    let stats = |name: &str| timed["stats"][name].as_f64().unwrap();
    assert_eq!(timed["stats"]["samples"], 10);
    assert_eq!(timed["stats"]["samples_ms"].as_array().unwrap().len(), 10);
    assert_eq!(json[0]["pinned"], cfg!(target_os = "linux"));
    assert!(stats("p90_ms") <= stats("p95_ms") && stats("p95_ms") <= stats("p99_ms"), "{timed}");
    assert!(0.0 < stats("min_ms") && stats("min_ms") <= stats("median_ms"), "{timed}");
    assert!(stats("median_ms") <= stats("p90_ms") && stats("p90_ms") <= stats("p99_ms"), "{timed}");
    let per_second = timed["throughput_per_second"].as_f64().unwrap();
    assert!((per_second * stats("median_ms") / 1e3 - 1.0).abs() < 1e-9, "{timed}");
}

#[test]
fn others_are_timed_against_the_first() {
    let place = Place::with(&nets::deep());
    place.ok("prune net.onnx --remove layer1.0,layer1.1,layer1.2,layer1.3 -o pruned.onnx");
    let json = place.ok(&format!("latency net.onnx pruned.onnx net.onnx --format json {BRIEF}")).json();
    let models = json[0]["models"].as_array().unwrap();
    assert_eq!(models.len(), 3);
    let against = &models[1]["against_first"];
    let (t0, t) = (&against["baseline"]["median_ms"], &against["candidate"]["median_ms"]);
    let reduction = 100.0 * (1.0 - t.as_f64().unwrap() / t0.as_f64().unwrap());
    assert!((against["latency_reduction_percent"].as_f64().unwrap() - reduction).abs() < 1e-9, "{against}");
    let speedup = against["speedup"].as_f64().unwrap();
    assert!((speedup - t0.as_f64().unwrap() / t.as_f64().unwrap()).abs() < 1e-9, "{against}");
    assert!(["faster", "slower", "not-faster"].contains(&against["verdict"].as_str().unwrap()));
    let [low, high] = [0, 1].map(|end| against["speedup_interval"][end].as_f64().unwrap());
    assert!(low <= high, "{against}");
}

#[test]
fn batch_sizes_and_thread_counts_make_a_matrix() {
    let place = Place::with(&nets::residual());
    let json = place.ok(&format!("latency net.onnx --batch 1,2 --thread-counts 1,2 --format json {BRIEF}")).json();
    let cells: Vec<_> = json.as_array().unwrap().iter().map(|block| (&block["batch"], &block["threads"])).collect();
    let [one, two] = [&json!(1), &json!(2)];
    assert_eq!(cells, [(one, one), (one, two), (two, one), (two, two)]);
}

#[test]
fn a_matrix_is_one_table_with_the_range_of_gains_below() {
    let place = Place::with(&nets::residual());
    let done = place.ok(&format!("latency net.onnx net.onnx --batch 1,2 --thread-counts 1,2 {BRIEF}"));
    let rows: Vec<_> = done.stdout.lines().skip(1).take_while(|line| line.starts_with("net.onnx  ")).collect();
    let cell = |row: &&str| row.split_whitespace().skip(3).take(2).map(str::to_owned).collect::<Vec<_>>();
    let cells: Vec<_> = rows.iter().step_by(2).map(cell).collect();
    assert_eq!(cells, [["1", "1"], ["2", "1"], ["1", "2"], ["2", "2"]]);
    assert_eq!(rows.len(), 8);
    let range = done.stdout.lines().nth(9).unwrap();
    let (least, most) = range.strip_prefix("net.onnx: latency reduction from ").unwrap().split_once(" to ").unwrap();
    let gain = |text: &str| text.split_once(" % (rten, batch ").unwrap().0.parse::<f64>().unwrap();
    assert!(gain(least) <= gain(most), "{done}");
}

#[test]
fn nothing_is_timed_zero_times_or_by_nobody() {
    let place = Place::with(&nets::residual());
    for flags in ["--batch 0", "--batch 1,0", "--thread-counts 0", "--samples 0"] {
        let done = place.run(&format!("latency net.onnx {flags}"));
        done.fails(2, &["it has to be above 0"]);
    }
    for warm_up in ["-1", "NaN", "1e9"] {
        let done = place.run(&format!("latency net.onnx --warm-up={warm_up}"));
        done.fails(2, &[" is no number of seconds up to 3600"]);
    }
    place.run("latency net.onnx --threads 0").fails(2, &["--threads"]);
}

#[test]
fn a_model_fixed_to_one_batch_size_is_not_timed_at_another() {
    let place = Place::with(&nets::batch_of_one(&nets::residual()));
    place.ok(&format!("latency net.onnx {BRIEF}"));
    assert_snapshot!(place.run(&format!("latency net.onnx --batch 2 {BRIEF}")), @r#"
    exit status: 1
    ----- stderr
    error: nothing was timed with rten, batch 2, 1 thread(s)
      because: the model takes batches of 1 only (input `input`), 2 was asked for
    "#);
}

#[test]
fn cells_that_were_timed_are_printed_although_another_fails() {
    let place = Place::with(&nets::batch_of_one(&nets::residual()));
    let done = place.run(&format!("latency net.onnx --batch 2,1,3 {BRIEF}"));
    done.fails(
        1,
        &["error: nothing was timed with rten, batch 2, 1", "error: nothing was timed with rten, batch 3, 1"],
    );
    assert_eq!(done.stdout.lines().filter(|line| line.starts_with("net.onnx ")).count(), 1, "{done}");
    let json = place.run(&format!("latency net.onnx --batch 1,2 --format json {BRIEF}")).json();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["batch"]), (1, &json!(1)));
}

#[test]
fn models_with_different_inputs_are_not_compared() {
    let place = Place::with(&nets::residual());
    place.add("chain.onnx", &nets::chain());
    let done = place.run(&format!("latency net.onnx chain.onnx {BRIEF}"));
    assert_snapshot!(done, @r#"
    exit status: 1
    ----- stderr
    error: nothing was timed with rten, batch 1, 1 thread(s)
      because: input `input` is declared as N×3×8×8, which [1, 1, 8, 8] does not fit
    "#);
}

#[test]
fn a_missing_second_model_is_named() {
    let place = Place::with(&nets::residual());
    place.run("latency net.onnx none.onnx").fails(1, &["error: cannot use the model `none.onnx`"]);
}

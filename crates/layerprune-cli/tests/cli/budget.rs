//! Budgets, searched for with a command of the shell as clock, so that every number is known.
#![cfg(unix)]

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::nets;
use crate::place::{Done, Place};

/// A microsecond for each byte of the model; every call is noted in `calls`.
const BYTES: &str = "command:echo x >> calls; echo latency_us: $(wc -c < {model})";

/// `net.onnx` with six blocks alike, of which the scores say what each is worth.
fn place() -> Place {
    let place = Place::with(&nets::deep());
    place.ok("score net.onnx --criterion weight-norm -o scores.json");
    let mut scores = place.json("scores.json");
    for row in scores["rows"].as_array_mut().unwrap() {
        let number: f64 = row["unit"].as_str().unwrap().split('.').next_back().unwrap().parse().unwrap();
        row["score"] = json!(number + 1.0);
    }
    place.write("scores.json", scores.to_string());
    place
}

fn prune(place: &Place, flags: &str, engine: &str) -> Done {
    place.run_with(&format!("prune net.onnx {flags} -o pruned.onnx"), &["--engine", engine])
}

fn calls(place: &Place) -> usize {
    place.bytes("calls").split(|&byte| byte == b'\n').count() - 1
}

/// How much smaller the pruned file is, in percent.
fn smaller(place: &Place) -> f64 {
    let [whole, pruned] = ["net.onnx", "pruned.onnx"].map(|name| place.bytes(name).len() as f64);
    100.0 * (1.0 - pruned / whole)
}

fn removed(json: &Value) -> Vec<String> {
    json["plan"]["removed"].as_array().unwrap().iter().map(|it| it["unit"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_search_says_what_is_within_reach_then_what_it_tries() {
    let place = place();
    assert_snapshot!(prune(&place, "--scores scores.json --latency-reduction 30%", BYTES), @"
    exit status: 0
    ----- stdout
    removed 2 layers:
      layer1.0
      layer1.1
    parameters: 28.3 k → 18.9 k (-33.1 %)
    MACs: 1.78 M → 1.19 M (-33.2 %)
    latency at batch 1, 1 thread(s), command: 125.077 → 84.019 ms, 32.8 % (32.8 to 32.8)
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    ----- stderr
    latency reduction 30 % is within reach: 6 layers gone, 98.5 % lower latency (98.5 at least)
    without layer1.0: 16.4 % lower latency (16.4 at least)
    without layer1.1: 32.8 % lower latency (32.8 at least)
    measured again, it holds: 32.8 % lower latency (32.8 at least)
    ");
    assert!((30.0..46.0).contains(&smaller(&place)), "{}", smaller(&place));
}

#[test]
fn the_exact_search_times_every_layer_first_and_says_how_right_that_was() {
    let place = place();
    assert_snapshot!(prune(&place, "--scores scores.json --speedup 1.5x --search exact", BYTES), @"
    exit status: 0
    ----- stdout
    removed 3 layers:
      layer1.0
      layer1.1
      layer1.2
    parameters: 28.3 k → 14.2 k (-49.6 %)
    MACs: 1.78 M → 894.0 k (-49.7 %)
    latency at batch 1, 1 thread(s), command: 125.077 → 63.490 ms, 49.2 % (49.2 to 49.2)
    predicted latency reduction: 49.2 % (the clock says +0.0 points)
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    ----- stderr
    speed-up 1.5x is within reach: 6 layers gone, 98.5 % lower latency (98.5 at least, 98.5 predicted)
    3 layers gone: 49.2 % lower latency (49.2 at least, 49.2 predicted)
    2 layers gone: 32.8 % lower latency (32.8 at least, 32.8 predicted)
    measured again, it holds: 49.2 % lower latency (49.2 at least, 49.2 predicted)
    ");
}

#[test]
fn every_way_of_asking_for_a_latency_is_met_by_the_clock() {
    let place = place();
    let whole = place.bytes("net.onnx").len() as f64 / 1e3;
    let half = format!("--max-latency {}us", 500.0 * whole);
    for asked in ["--latency-reduction 50%", "--speedup 2x", &half] {
        for search in ["greedy", "exact"] {
            let done = prune(&place, &format!("--scores scores.json {asked} --search {search} --format json"), BYTES);
            let json = done.json();
            let percent = json["latency"]["latency_reduction_percent"].as_f64().unwrap();
            assert!(percent >= 50.0 && (percent - smaller(&place)).abs() < 1e-6, "{asked}: {done}");
            assert_eq!(json["search"]["search"], search);
            assert!(json["search"]["trials"].as_array().unwrap().iter().any(|trial| trial["met"] == true), "{done}");
        }
    }
}

#[test]
fn costs_are_budgets_without_a_clock() {
    let place = place();
    let done = place.ok("prune net.onnx --scores scores.json --macs 60% --params 70% -o pruned.onnx --format json");
    let json = done.json();
    let share =
        |cost: &str| json["plan"]["after"][cost].as_f64().unwrap() / json["plan"]["before"][cost].as_f64().unwrap();
    assert!(share("macs") <= 0.6 && share("parameters") <= 0.7, "{done}");
    assert_eq!(json["plan"]["target"], "60 % of the MACs, 70 % of the parameters");
    assert_eq!(json["latency"], Value::Null);
    assert_eq!(removed(&json).len(), 3);
    place
        .run("prune net.onnx --scores scores.json --macs 0.1% -o other.onnx")
        .fails(1, &["error: 0.1 % of the MACs cannot be met: with all 6 removable layers gone, ", "hint: "]);
}

#[test]
fn filters_and_both_are_searched_for_too() {
    let place = place();
    for (by, search) in [("filters", "greedy"), ("filters", "exact"), ("both", "exact")] {
        let flags = format!("--by {by} --search {search} --latency-reduction 25% --format json");
        let done = prune(&place, &flags, BYTES);
        assert_eq!(done.code, Some(0), "{done}");
        let json = done.json();
        assert!((25.0..40.0).contains(&smaller(&place)), "{by} {search}: {} {done}", smaller(&place));
        if by == "filters" {
            assert!(removed(&json).is_empty() && json["plan"]["channels"] != Value::Null, "{done}");
        }
    }
    let plan = prune(&place, "--by both --params 40% --macs 70% --save-plan plan.json", BYTES);
    assert_eq!(plan.code, Some(0), "{plan}");
    place.ok("prune net.onnx --plan plan.json -o again.onnx");
    assert_eq!(place.bytes("again.onnx"), place.bytes("pruned.onnx"));
}

#[test]
fn what_filters_cannot_reach_says_what_would_help() {
    let place = place();
    // To this engine all models are alike.
    let constant = "command:: {model}; echo latency_ms: 5";
    let done = prune(&place, "--by filters --latency-reduction 10%", constant);
    assert_snapshot!(done, @"
    exit status: 1
    ----- stderr
    latency reduction 10 % is out of reach: 98 channels gone, 0.0 % lower latency (0.0 at least)
    error: latency reduction 10 % cannot be met: with 98 channels gone, the latency reduction is at least 0.0 %
    hint: fewer filters need not be faster: keep multiples of 8 with `--round-to 8`, or let whole layers go with `--by layers` or `--by both`; `--floor` says how many filters of a layer stay
    ");
    assert!(!place.path("pruned.onnx").exists());
}

#[test]
fn a_profile_is_kept_and_never_timed_twice() {
    let place = place();
    let profile =
        |flags: &str| place.run_with(&format!("profile net.onnx -o profile.json {flags}"), &["--engine", BYTES]);
    let first = profile("");
    assert_snapshot!(first, @"
    exit status: 0
    ----- stdout
    command echo x >> calls; echo latency_us: $(wc -c < {model}), batch 1, 1 thread(s): 125.077 ms
    without         with     without  latency reduction
    conv1                             stays: it is the stem: it changes channels: N×1×8×8 into N×16×8×8
    layer1.0  125.077 ms  104.548 ms  16.4 % (16.4 to 16.4)
    layer1.1  125.077 ms  104.548 ms  16.4 % (16.4 to 16.4)
    layer1.2  125.077 ms  104.548 ms  16.4 % (16.4 to 16.4)
    layer1.3  125.077 ms  104.548 ms  16.4 % (16.4 to 16.4)
    layer1.4  125.077 ms  104.548 ms  16.4 % (16.4 to 16.4)
    layer1.5  125.077 ms  104.548 ms  16.4 % (16.4 to 16.4)
    fc                                stays: its exit `/fc/Gemm_output_0` is a graph output
    all of these together: 98.5 %, if they add up
    ");
    let so_far = calls(&place);
    assert_eq!(profile("").stdout, first.stdout);
    // The program is called once, to see whether the model fits it, at most.
    assert!(calls(&place) <= so_far + 1, "{} calls", calls(&place) - so_far);
    let json = profile("--channels --counts 3 --format json").json();
    assert_eq!(json["units"].as_array().unwrap().len(), 6);
    let counts: Vec<u64> =
        json["groups"][1]["counts"].as_array().unwrap().iter().map(|row| row["kept"].as_u64().unwrap()).collect();
    assert_eq!(counts, [4, 8, 12]);
    let row = &json["groups"][1]["counts"][0];
    assert!(row["without_ms"].as_f64().unwrap() < row["with_ms"].as_f64().unwrap(), "{row}");
}

#[test]
fn a_profile_of_another_machine_decides_in_place_of_the_clock() {
    let place = place();
    place.run_with("profile net.onnx -o board.json", &["--engine", BYTES]);
    let before = calls(&place);
    let flags = "prune net.onnx --scores scores.json --latency-reduction 30% --profile board.json -o pruned.onnx";
    let done = place.ok(flags);
    assert!(done.stderr.contains("the profile decides in place of the clock: it is of command "), "{done}");
    assert!(done.stdout.contains("(decided by the profile, not by the clock)"), "{done}");
    assert_eq!(calls(&place), before);
    assert!((28.0..46.0).contains(&smaller(&place)), "{}", smaller(&place));
    let done = place.run(&flags.replace("--scores scores.json", "--by filters"));
    done.fails(1, &["has no times of `", "and these cannot be taken here"]);
    let done = place.ok("prune net.onnx --layers 2 --scores scores.json --profile board.json --dry-run");
    assert!(done.stdout.contains("predicted latency reduction: "), "{done}");
    place.add("other.onnx", &nets::residual());
    let done = place.run("prune other.onnx --criterion weight-norm --speedup 1.1 --profile board.json -o pruned.onnx");
    done.fails(1, &["cannot use the latency profile `board.json`", "it is of another model"]);
}

#[test]
fn an_engine_that_fails_on_the_way_loses_no_time_that_was_taken() {
    let place = place();
    // Seven cuts in turns with the whole model, eleven times; after 85 calls ten rounds are complete, and the three cuts of the
    // second run cannot be timed any more.
    let switched = "command:test ! -e off || exit 3; echo x >> calls; test $(wc -l < calls) -ne 85 || touch off; \
                    echo latency_us: $(wc -c < {model})";
    let run = || {
        let more = ["--engine", switched, "--command-retries", "0"];
        place.run_with("profile net.onnx -o profile.json --format json", &more)
    };
    run().fails(1, &["error: timing the parts failed", "exit status: 3"]);
    let rows = |json: &Value| ["units", "joint"].map(|rows| json[rows].as_array().unwrap().len());
    assert_eq!(rows(&place.json("profile.json")), [6, 1]);
    std::fs::remove_file(place.path("off")).unwrap();
    let before = calls(&place);
    assert_eq!(rows(&run().json()), [6, 4]);
    assert_eq!(calls(&place) - before, 4 * 11);
}

#[test]
fn a_cut_that_the_engine_cannot_run_costs_no_other_its_times() {
    let place = place();
    // The smallest of all cuts has all blocks gone.
    let picky = "command:test $(wc -c < {model}) -gt 20000 || exit 3; echo latency_us: $(wc -c < {model})";
    let more = ["--engine", picky, "--command-retries", "0"];
    let done = place.run_with("profile net.onnx -o profile.json --format json", &more);
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stderr.contains("6 layers at once cannot be timed: "), "{done}");
    assert_eq!(
        (done.json()["units"].as_array().unwrap().len(), done.json()["joint"].as_array().unwrap().len()),
        (6, 3)
    );
}

#[test]
fn a_plan_of_layers_and_channels_is_held_to_what_is_protected_and_to_what_can_be_fitted() {
    let place = Place::with_data(&nets::deep());
    place.ok("prune net.onnx --remove layer1.0 --save-plan plan.json --dry-run");
    place.ok("prune net.onnx --filters 20% --scope uniform --save-plan filters.json --dry-run");
    let (mut plan, filters) = (place.json("plan.json"), place.json("filters.json"));
    let of_last = |group: &&Value| group["group"].as_str().unwrap().starts_with("layer1.5");
    plan["channels"] = filters["channels"].as_array().unwrap().iter().filter(of_last).cloned().collect();
    assert_eq!(plan["channels"].as_array().unwrap().len(), 1);
    place.write("plan.json", plan.to_string());
    place
        .run("prune net.onnx --plan plan.json --protect layer1.0 -o pruned.onnx")
        .fails(1, &["`layer1.0` cannot be removed: it is protected"]);
    for step in ["compensate", "bias"] {
        let flags = format!("--plan plan.json --recover {step} --data idx:data --normalize none -o pruned.onnx");
        place.run(&format!("prune net.onnx {flags}")).fails(2, &["`--recover recalibrate` is the only step"]);
    }
    place.ok("prune net.onnx --plan plan.json --recover recalibrate --data idx:data --normalize none -o pruned.onnx");
    place.run("prune net.onnx --layers 1 --by both -o pruned.onnx").fails(2, &["say how budgets are met"]);
}

#[test]
fn a_search_that_was_broken_off_goes_on_with_the_times_it_has() {
    let place = place();
    let flags = "prune net.onnx --scores scores.json --latency-reduction 30% -o pruned.onnx --profile times.json";
    let run = |engine: &str| place.run_with(flags, &["--engine", engine, "--command-retries", "0"]);
    // The command is what a profile is kept under, so it fails by a file, not by other words.
    let switched = "command:test ! -e off || exit 3; echo x >> calls; test $(wc -l < calls) -ne 50 || touch off; \
                    echo latency_us: $(wc -c < {model})";
    run(switched).fails(1, &["error: cannot measure the latency", "because: "]);
    let kept = place.json("times.json")["candidates"].as_array().unwrap().len();
    assert_eq!(kept, 2, "what can be reached at most, and the first layer gone");
    std::fs::remove_file(place.path("off")).unwrap();
    let before = calls(&place);
    let done = run(switched);
    assert_eq!(done.code, Some(0), "{done}");
    assert_eq!(place.json("times.json")["candidates"].as_array().unwrap().len(), 3);
    // The third candidate and the last word, each of two models eleven times.
    assert_eq!(calls(&place) - before, 2 * 2 * 11);
}

#[test]
fn accuracy_is_a_budget_on_held_out_images() {
    let place = Place::with_data(&nets::residual());
    place.ok(
        "train net.onnx --data idx:data --normalize none --epochs 12 --batch-size 8 --learning-rate 0.02 -o tuned.onnx",
    );
    let flags =
        "prune tuned.onnx --data idx:data --normalize none --held-out 0.3 --criterion weight-norm -o pruned.onnx";
    let done = place.ok(&format!("{flags} --max-drop 100 --format json"));
    assert_eq!(removed(&done.json()).len(), 3, "all may go where all accuracy may: {done}");
    let drop = done.json()["search"]["drop"].as_f64().unwrap();
    assert!(drop <= 100.0, "{drop}");
    place
        .run("prune tuned.onnx --criterion weight-norm --max-drop 1 -o pruned.onnx")
        .fails(2, &["give `--data KIND:PATH`"]);
}

#[test]
fn budgets_that_contradict_each_other_or_mean_nothing_are_wrong_usage() {
    let place = place();
    for flags in [
        "--latency-reduction 10% --speedup 2x",
        "--max-latency 5ms --speedup 2x",
        "--layers 2 --macs 50%",
        "--filters 10% --latency-reduction 10%",
    ] {
        place.run(&format!("prune net.onnx {flags} -o pruned.onnx")).fails(2, &["cannot be used with"]);
    }
    place.run("prune net.onnx -o pruned.onnx").fails(2, &["--max-latency <TIME>"]);
    for (flag, said) in [
        ("--speedup 1", "`1` is no factor above 1"),
        ("--speedup fast", "`fast` is no factor above 1"),
        ("--max-latency 0ms", "`0ms` is no time"),
        ("--max-latency 5m", "`5m` is no time"),
        ("--macs 100%", "`100%` is no percentage"),
        ("--max-drop=-1", "it is no number of at least 0"),
    ] {
        place.run(&format!("prune net.onnx {flag} -o pruned.onnx")).fails(2, &[said]);
    }
}

//! Studies with a command of the shell as clock, so that every number but seconds is known.
#![cfg(unix)]

use serde_json::Value;

use crate::nets;
use crate::place::Place;

const BYTES: &str = "command:echo latency_us: $(wc -c < {model})";

const RECIPE: &str = r#"
model = "net.onnx"
output = "study"
arms = ["layerprune:block-influence", "random:filters", "halp", "scratch:block-influence"]
latency-reductions = [10]
seeds = [0, 1]
[data]
source = "idx:data"
normalize = "none"
[method]
method-batches = 1
method-batch-size = 8
[finetune]
epochs = 1
batch-size = 8
[latency]
samples = 5
"#;

fn place() -> Place {
    let place = Place::with_data(&nets::residual());
    place.write("study.toml", RECIPE);
    place
}

fn study(place: &Place, flags: &str) -> crate::place::Done {
    place.run_with(&format!("study study.toml --threads 1 {flags}"), &["--engine", BYTES])
}

/// The record without how long things took.
fn record(place: &Place) -> Value {
    let mut record = place.json("study/study.json");
    for row in record["rows"].as_array_mut().unwrap() {
        row["seconds"] = Value::Null;
    }
    record
}

#[test]
fn every_arm_is_trained_and_measured_alike_and_jobs_at_once_give_the_same() {
    let place = place();
    let done = study(&place, "");
    assert_eq!(done.code, Some(0), "{done}");
    let whole = record(&place);
    let rows = whole["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8, "{done}");
    for row in rows {
        assert!(row["latency"][0]["latency_reduction_percent"].as_f64().unwrap() >= 10.0, "{row}");
        assert_eq!(row["accuracy"]["images"], 30);
        let scratch = row["arm"] == "scratch:block-influence";
        assert_eq!(row["epochs"].as_u64().unwrap() == 1, !scratch || row["epochs"] == 1, "{row}");
    }
    assert!(done.stdout.contains("| layerprune:block-influence | layers | 2 | "), "{done}");
    let csv = String::from_utf8(place.bytes("study/study.csv")).unwrap();
    assert_eq!(csv.lines().count(), 9);

    // Another folder, two jobs at once.
    place.write("study.toml", RECIPE.replace("\"study\"", "\"again\""));
    assert_eq!(study(&place, "--jobs 2").code, Some(0));
    let mut again = place.json("again/study.json");
    again["rows"].as_array_mut().unwrap().iter_mut().for_each(|row| row["seconds"] = Value::Null);
    assert_eq!(again["rows"], whole["rows"]);
}

#[test]
fn a_study_that_was_killed_goes_on_and_ends_with_the_same_record() {
    let place = place();
    let list = study(&place, "--list-jobs").stdout;
    let keys: Vec<&str> = list.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(keys.len(), 8, "{list}");
    assert!(list.contains("\thalp\tlatency reduction 10 %\tseed 1\n"), "{list}");
    for wait in [50, 200, 400, 100, 700] {
        let running = place.start_with("study study.toml --threads 1", &["--engine", BYTES]);
        std::thread::sleep(std::time::Duration::from_millis(wait));
        if place.path("study/study.json").exists() {
            break;
        }
        running.kill();
    }
    // One job by its key, as a queue would.
    assert_eq!(study(&place, &format!("--job {}", keys[7])).code, Some(0));
    assert_eq!(study(&place, "").code, Some(0));
    let broken = record(&place);
    let other = self::place();
    assert_eq!(study(&other, "").code, Some(0));
    assert_eq!(broken, record(&other));
}

#[test]
fn failures_are_told_and_do_not_stop_the_rest() {
    let place = place();
    let recipe = RECIPE.replace("\"halp\"", "\"layerprune:no-such\"").replace("[0, 1]", "[0]");
    place.write("study.toml", &recipe);
    let done = study(&place, "");
    assert_eq!(done.code, Some(0), "{done}");
    let record = record(&place);
    assert_eq!(record["rows"].as_array().unwrap().len(), 3);
    assert_eq!(record["failures"][0]["arm"], "layerprune:no-such");
    assert!(record["failures"][0]["reason"].as_str().unwrap().contains("no-such"), "{record}");
    assert!(done.stdout.contains("## No model"), "{done}");
    let unknown = study(&place, "--job 0123");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("has no job `0123`"), "{unknown}");
}

#[test]
fn the_example_is_printed_and_faults_of_a_recipe_are_named() {
    let place = place();
    assert!(place.ok("study --example").stdout.contains("latency-reductions = [25]"));
    for (old, new, said) in [
        ("seeds = [0, 1]", "sedes = [0, 1]", "unknown field `sedes`"),
        ("\"halp\"", "\"help\"", "there is no method `help`"),
        ("[10]", "[110]", "percentages between 0 and 100"),
        ("epochs = 1", "epocs = 1", "unknown field `epocs`"),
        ("method-batches = 1", "method-batchs = 1", "unknown field `method-batchs`"),
        ("seeds = [0, 1]", "seeds = []", "nothing is to be done"),
    ] {
        place.write("study.toml", RECIPE.replace(old, new));
        let done = study(&place, "--list-jobs");
        assert_ne!(done.code, Some(0), "{new}");
        assert!(done.stderr.contains(said), "{new}: {done}");
    }
}

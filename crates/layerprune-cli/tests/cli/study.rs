//! Studies with a command of the shell as clock, so that every number but seconds is known.
#![cfg(unix)]

use serde_json::Value;

use crate::nets;
use crate::place::Place;

pub(crate) const BYTES: &str = "command:echo latency_us: $(wc -c < {model})";

pub(crate) const RECIPE: &str = r#"
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

pub(crate) fn study(place: &Place, flags: &str) -> crate::place::Done {
    place.run_with(&format!("study study.toml --threads 1 {flags}"), &["--engine", BYTES])
}

/// The record without how long things took.
pub(crate) fn record(place: &Place) -> Value {
    timeless(place.json("study/study.json"))
}

fn timeless(mut record: Value) -> Value {
    for of in ["rows", "random"] {
        record[of].as_array_mut().unwrap().iter_mut().for_each(|row| row["seconds"] = Value::Null);
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
    for form in ["html", "md", "csv"] {
        place.ok(&format!("report study/study.json -o again.{form}"));
        assert_eq!(place.bytes(&format!("again.{form}")), place.bytes(&format!("study/study.{form}")));
    }

    // Another folder, two jobs at once.
    place.write("study.toml", RECIPE.replace("\"study\"", "\"again\""));
    assert_eq!(study(&place, "--jobs 2").code, Some(0));
    let again = timeless(place.json("again/study.json"));
    for part in ["baseline", "layers", "scores", "savings", "rows"] {
        assert_eq!(again[part], whole[part], "{part}");
    }
}

#[test]
fn a_study_that_was_killed_goes_on_and_ends_with_the_same_record() {
    let place = place();
    let list = study(&place, "--list-jobs").stdout;
    let keys: Vec<&str> = list.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(keys.len(), 9, "{list}");
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
    let recipe = RECIPE.replace("[10]", "[10, 99]").replace("[0, 1]", "[0]");
    place.write("study.toml", &recipe);
    let done = study(&place, "");
    assert_eq!(done.code, Some(0), "{done}");
    let record = record(&place);
    assert_eq!(record["rows"].as_array().unwrap().len(), 4);
    let failures = record["failures"].as_array().unwrap();
    assert_eq!((failures.len(), &failures[0]["arm"]), (4, &record["rows"][0]["arm"]));
    for failure in failures {
        assert_eq!(failure["budget"], "latency reduction 99 %");
        let whole = if failure["arm"] == "halp" { "latency reduction 74.3 %" } else { "latency reduction 99 %" };
        assert!(failure["reason"].as_str().unwrap().starts_with(&format!("{whole} cannot be met: ")), "{failure}");
    }
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
        (
            "seeds = [0, 1]",
            "seeds = [0]\n[random]\nmodels = 1\ntrained = 2",
            "`random.trained` is at most `random.models`",
        ),
        ("\"halp\"", "\"layerprune:no-such\"", "there is no criterion `no-such`; there are "),
        ("\"halp\"", "\"taylor:imprint\"", "`:imprint` of `taylor` would do nothing here"),
        ("method-batches = 1", "method-strength = 1", "`method.method-strength` would do nothing here"),
        ("samples = 5", "samples = 5\nengines = [\"torch\"]", "there is no engine `torch`; known are "),
        ("seeds = [0, 1]", "seeds = [0]\nlayers = [0]", "`layers` are numbers above 0"),
    ] {
        place.write("study.toml", RECIPE.replace(old, new));
        let done = study(&place, "--list-jobs");
        assert_ne!(done.code, Some(0), "{new}");
        assert!(done.stderr.contains(said), "{new}: {done}");
    }
}

/// Numbers of layers, models by lot, another network, and what the whole model is.
const WIDE: &str = r#"
model = "net.onnx"
output = "study"
arms = ["layerprune:block-influence", "random:layers", "halp"]
layers = [1, 2]
[random]
models = 3
trained = 1
[[handcrafted]]
name = "another"
model = "other.onnx"
[[handcrafted]]
name = "stated"
model = "other.onnx"
top-1 = 12.5
[data]
source = "idx:data"
normalize = "none"
[score]
criteria = ["block-influence", "imprint"]
[finetune]
epochs = 1
batch-size = 8
[latency]
batch = [1, 4]
samples = 5
"#;

#[test]
fn layers_by_number_models_by_lot_and_other_networks_stand_beside_the_arms() {
    let place = place();
    place.add("other.onnx", &nets::deep());
    place.write("study.toml", WIDE);
    let done = study(&place, "");
    assert_eq!(done.code, Some(0), "{done}");
    let record = record(&place);
    assert_eq!(record["failures"], serde_json::json!([]), "{record:#}");

    let removable: Vec<&str> = record["layers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|layer| layer["way"].is_string())
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    let rows = record["rows"].as_array().unwrap();
    let told: Vec<(&str, &str, usize)> = rows
        .iter()
        .map(|row| {
            (row["arm"].as_str().unwrap(), row["budget"].as_str().unwrap(), row["layers"].as_array().unwrap().len())
        })
        .collect();
    let expected = [
        ("layerprune:block-influence", "1 layer", 1),
        ("random:layers", "1 layer", 1),
        ("layerprune:block-influence", "2 layers", 2),
        ("random:layers", "2 layers", 2),
    ];
    assert_eq!(told, expected, "`halp` does not remove layers by number");
    // The least important one by the scores of the record.
    let scores = record["scores"][0]["rows"].as_array().unwrap();
    let of = |layer: &&Value| removable.contains(&layer["layer"].as_str().unwrap());
    let least =
        scores.iter().filter(of).min_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap()));
    assert_eq!(rows[0]["layers"][0], least.unwrap()["layer"]);

    let random = record["random"].as_array().unwrap();
    assert_eq!(random.len(), 6);
    for (place, row) in random.iter().enumerate() {
        let (kind, number) = (["random:layers", "random:filters"][place / 3], place % 3);
        assert_eq!((row["arm"].as_str(), row["seed"].as_u64()), (Some(kind), Some(number as u64)));
        assert_eq!(row["accuracy"].is_object(), number == 0, "{row}");
        assert_eq!(row["epochs"], u64::from(number == 0));
        let (layers, filters) = (row["layers"].as_array().unwrap().len(), row["filters"].as_u64().unwrap());
        assert_eq!((layers > 0, filters > 0), (kind == "random:layers", kind == "random:filters"), "{row}");
        assert!(layers <= removable.len());
        assert_eq!(row["latency"].as_array().unwrap().len(), 2);
    }

    let others = record["handcrafted"].as_array().unwrap();
    assert_eq!(others[0]["accuracy"]["images"], 30);
    assert_eq!((&others[1]["accuracy"], others[1]["stated_top1"].as_f64()), (&Value::Null, Some(12.5)));
    assert_eq!(record["baseline"]["accuracy"]["images"], 30);
    let saved = record["savings"]["rows"].as_array().unwrap();
    assert_eq!(saved.iter().map(|row| row["layer"].as_str().unwrap()).collect::<Vec<_>>(), removable);
    // The clock counts bytes, so that every file without a layer is quicker.
    assert!(saved.iter().all(|row| row["reduction_percent"].as_f64().unwrap() > 0.0), "{saved:#?}");
    assert_eq!(record["scores"][1]["criterion"], "imprint");
}

#[test]
fn what_is_made_is_timed_in_more_ways_without_being_made_again() {
    let place = place();
    let recipe = RECIPE.replace("[0, 1]", "[0]");
    place.write("study.toml", &recipe);
    assert_eq!(study(&place, "").code, Some(0));
    let before = place.json("study/study.json");
    place.write("study.toml", recipe.replace("samples = 5", "samples = 5\nbatch = [1, 4]\nengines = [\"rten\"]"));
    let done = study(&place, "");
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stderr.contains("5 jobs, 1 of them done"), "the look at the whole model stands: {done}");
    let after = place.json("study/study.json");
    for (before, after) in before["rows"].as_array().unwrap().iter().zip(after["rows"].as_array().unwrap()) {
        assert_eq!(after["digest"], before["digest"]);
        assert_eq!(after["seconds"], before["seconds"], "not made again");
        let timed: Vec<(&str, u64)> = after["latency"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["engine"]["name"].as_str().unwrap(), one["batch"].as_u64().unwrap()))
            .collect();
        assert_eq!(timed, [("command", 1), ("command", 8), ("rten", 1), ("rten", 4)]);
    }
    // A model that is gone cannot be timed; what is known of it stays.
    let key = after["rows"][0]["file"].as_str().unwrap().to_owned();
    std::fs::remove_file(place.path("study").join(&key)).unwrap();
    place.write("study.toml", recipe.replace("samples = 5", "samples = 5\nbatch = [1, 2]\nengines = [\"rten\"]"));
    let done = study(&place, "");
    assert_eq!(done.code, Some(0), "{done}");
    let last = record(&place);
    assert_eq!(last["rows"][0]["latency"], after["rows"][0]["latency"]);
    assert!(last["failures"][0]["reason"].as_str().unwrap().contains(".onnx"), "{last}");
    assert_eq!(last["rows"][1]["latency"].as_array().unwrap().len(), 5);
}

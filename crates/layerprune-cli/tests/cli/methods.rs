//! Published methods on nets in which something useless was planted, and what they keep when they are stopped.
#![cfg(unix)]

use layerprune::graph::tensor;
use layerprune::methods::{self, Setting};
use layerprune::onnx::Model;

use crate::nets;
use crate::place::{Done, Place};

/// A microsecond for each byte of the model.
const BYTES: &str = "command:echo latency_us: $(wc -c < {model})";
const FLAGS: &str = "--data idx:data --normalize none --threads 1";

/// Sets numbers of a stored tensor.
fn change(model: &mut Model, name: &str, to: impl Fn(usize, f32) -> f32) {
    let value = model.graph.value_named(name).unwrap_or_else(|| panic!("no `{name}`"));
    let old = model.graph.initializer(value).unwrap().clone();
    let numbers = tensor::to_f32(&old).unwrap().into_owned();
    let numbers: Vec<f32> = numbers.into_iter().enumerate().map(|(place, number)| to(place, number)).collect();
    let dims = tensor::shape(&old).unwrap();
    model.graph.set_initializer(value, tensor::with_f32(&old, &dims, &numbers).unwrap());
}

/// A folder with a trained model in which something is then made useless.
fn trained(plant: impl Fn(&mut Model)) -> Place {
    let place = Place::with_data(&nets::residual());
    place.ok(
        "train net.onnx --init given --data idx:data --normalize none --epochs 20 --batch-size 9 --learning-rate 0.05 --keep last \
         --threads 1 -o net.onnx",
    );
    std::fs::remove_file(place.path("net.onnx.epochs.jsonl")).unwrap();
    let mut model = Model::read(place.path("net.onnx")).unwrap();
    plant(&mut model);
    place.add("net.onnx", &model);
    place
}

/// Filter 2 of `layer1.0.conv1` does nothing.
fn useless_filter(model: &mut Model) {
    let each = 4 * 9;
    change(model, "layer1.0.conv1.weight", |place, number| if place / each == 2 { 0.0 } else { number });
    for part in ["weight", "bias", "running_mean"] {
        change(model, &format!("layer1.0.bn1.{part}"), |place, number| if place == 2 { 0.0 } else { number });
    }
}

/// The branch of `layer1.1` gives nothing.
fn useless_block(model: &mut Model) {
    for part in ["weight", "bias"] {
        change(model, &format!("layer1.1.bn2.{part}"), |_, _| 0.0);
    }
}

fn prune(place: &Place, method: &str, flags: &str) -> Done {
    let reads = methods::named(method).unwrap().reads;
    let batches = if reads.contains(&Setting::Batches) { "--method-batches 2" } else { "" };
    let batch_size = if reads.contains(&Setting::LearningRate) { "--method-batch-size 8" } else { "" };
    let done = place.run_with(
        &format!("prune net.onnx --method {method} {FLAGS} {batches} {batch_size} {flags} -o pruned.onnx"),
        &["--engine", BYTES],
    );
    assert_eq!(done.code, Some(0), "{method}: {done}");
    done
}

#[test]
fn methods_of_filters_take_out_a_filter_that_does_nothing() {
    for (method, budget) in [
        ("weight-norm", "--macs 95%"),
        ("slimming", "--macs 95%"),
        ("bn-scale", "--macs 95%"),
        ("taylor", "--macs 95%"),
        ("feature-maps", "--macs 95%"),
        ("channel-pruning", "--macs 80%"),
        ("thinet", "--macs 80%"),
        ("hrank", "--macs 80%"),
        ("halp", "--latency-reduction 4%"),
    ] {
        let place = trained(useless_filter);
        let done = prune(&place, method, budget);
        assert!(done.stdout.contains("layer1.0.conv1 4 → "), "{method}: {done}");
        let pruned = Model::read(place.path("pruned.onnx")).unwrap();
        let weight = pruned.graph.value_named("layer1.0.conv1.weight").unwrap();
        let weight = pruned.graph.initializer(weight).unwrap();
        let filter = tensor::shape(weight).unwrap()[1..].iter().product();
        let numbers = tensor::to_f32(weight).unwrap();
        assert!(numbers.chunks(filter).all(|filter| filter.iter().any(|number| *number != 0.0)), "{method}: {done}");
        assert_eq!(place.names(), ["data", "net.onnx", "pruned.onnx"], "{method}");
    }
}

#[test]
fn methods_of_layers_take_out_a_block_that_gives_nothing() {
    for method in ["layerprune", "layerprune-iterative", "scratch"] {
        let place = trained(useless_block);
        let done = prune(&place, method, "--criterion block-influence --macs 80%");
        assert!(done.stdout.contains("removed layers: layer1.1\n"), "{method}: {done}");
        let same = |name: &str| {
            let weights = ["net.onnx", "pruned.onnx"].map(|file| {
                let model = Model::read(place.path(file)).unwrap();
                let value = model.graph.value_named(name).unwrap();
                tensor::to_f32(model.graph.initializer(value).unwrap()).unwrap().into_owned()
            });
            weights[0] == weights[1]
        };
        // Only `layerprune` leaves weights as they are.
        assert_eq!(same("layer2.1.conv1.weight"), ["layerprune", "layerprune-iterative"].contains(&method), "{method}");
    }
}

#[test]
fn the_scale_of_a_block_that_gives_nothing_goes_to_zero() {
    let place = trained(useless_block);
    let flags = "--macs 60% --method-epochs 10 --method-strength 0.5 --method-learning-rate 0.05";
    let done = prune(&place, "sss", flags);
    assert!(done.stderr.contains("layer1.1 0.000, "), "{done}");
    assert!(!done.stderr.contains("\n0 of 4 scales are zero"), "{done}");
    assert!(done.stdout.lines().next().unwrap().contains("layer1.1"), "{done}");
}

#[test]
fn chen_takes_the_layer_that_a_trained_probe_gains_least_by() {
    let place = Place::with_data(&nets::residual());
    let scores =
        place.ok("score net.onnx --criterion linear-probe --data idx:data --normalize none --threads 1 --format json");
    let scores: serde_json::Value = serde_json::from_str(&scores.stdout).unwrap();
    let rows = scores["rows"].as_array().or_else(|| scores[0]["rows"].as_array()).unwrap();
    let removable = ["layer1.0", "layer1.1", "layer2.1"];
    let of = rows.iter().filter(|row| removable.contains(&row["unit"].as_str().unwrap()));
    let least = of.min_by(|a, b| a["score"].as_f64().unwrap().total_cmp(&b["score"].as_f64().unwrap())).unwrap();
    let done = prune(&place, "chen", "--macs 90%");
    assert!(done.stdout.contains(&format!("removed layers: {}", least["unit"].as_str().unwrap())), "{scores}\n{done}");
    assert!(done.stdout.contains("the method goes on by learning from the whole model"), "{done}");
}

#[test]
fn a_lot_is_drawn_by_the_seed() {
    let place = Place::with(&nets::deep());
    let removed = |seed: usize, what: &str| {
        let done = place
            .ok(&format!("prune net.onnx --method random --removes {what} --macs 70% --seed {seed} -o pruned.onnx"));
        done.stdout.lines().next().unwrap().to_owned()
    };
    assert_eq!(removed(1, "layers"), removed(1, "layers"));
    let all: std::collections::BTreeSet<String> = (0..6).map(|seed| removed(seed, "layers")).collect();
    assert!(all.len() > 1, "{all:?}");
    assert!(removed(1, "filters").starts_with("removed filters: "));
}

#[test]
fn a_method_that_was_killed_goes_on_and_ends_alike() {
    let command = |output: &str| {
        format!(
            "prune net.onnx --method taylor {FLAGS} --method-batch-size 8 --method-batches 6 --method-step 4% --macs 40% -o {output}"
        )
    };
    let place = Place::with_data(&nets::residual());
    place.ok(&command("whole.onnx"));
    let mut kills = 0;
    for wait in [120, 250, 180, 320, 90] {
        let mut running = place.start(&command("pruned.onnx"));
        running.wait_for(&place.path("pruned.onnx.taylor"));
        std::thread::sleep(std::time::Duration::from_millis(wait));
        if place.path("pruned.onnx").exists() {
            break;
        }
        running.kill();
        kills += 1;
    }
    assert!(kills > 0);
    let kept = place.path("pruned.onnx.taylor").read_dir().unwrap().count();
    assert!(kept > 0, "nothing was kept");
    place.ok(&command("pruned.onnx"));
    assert_eq!(place.bytes("pruned.onnx"), place.bytes("whole.onnx"));
    assert!(!place.path("pruned.onnx.taylor").exists());
}

#[test]
fn what_a_method_cannot_do_is_said() {
    let place = Place::with_data(&nets::folded());
    for (flags, said) in [
        ("--method taylor -o pruned.onnx", "--latency-reduction <P%>"),
        (
            "--method taylor --macs 50% -o pruned.onnx",
            "`--method taylor` needs labelled images: give `--data KIND:PATH`",
        ),
        ("--method bn-scale --macs 50% --data idx:data --normalize none -o pruned.onnx", "batch norm"),
        ("--method slimming --macs 50% --data idx:data --normalize none -o pruned.onnx", "batch norm"),
        ("--method halp --macs 50% --data idx:data --normalize none -o pruned.onnx", "chooses by latency; limit that"),
        (
            "--method random --removes filters --macs 1% -o pruned.onnx",
            "`--floor` says how many filters of a layer stay",
        ),
        ("--method tailor --macs 50% -o pruned.onnx", "invalid value 'tailor'"),
        (
            "--method hrank --criterion imprint --macs 50% -o pruned.onnx",
            "`--criterion` would do nothing here; methods that",
        ),
        (
            "--method slimming --method-rounds 2 --macs 50% -o pruned.onnx",
            "`--method-rounds` would do nothing here; methods that read it: halp",
        ),
        ("--method hrank --method-flip --macs 50% -o pruned.onnx", "`--method-flip` would do nothing here"),
        ("--layers 1 --method-epochs 3 -o pruned.onnx", "`--method-epochs` would do nothing here"),
    ] {
        let done = place.run(&format!("prune net.onnx {flags}"));
        assert_ne!(done.code, Some(0), "{flags}");
        assert!(done.stderr.contains(said), "{flags}: {done}");
        assert!(!place.path("pruned.onnx").exists());
    }
}

#[test]
fn a_recipe_can_name_a_method_and_its_record_says_what_went() {
    let place = trained(useless_filter);
    let recipe = crate::run::RECIPE
        .replace("layers = 1\nprotect = [\"layer1.0\", \"layer2.1\"]", "method = \"taylor\"\nmacs = 80\nround-to = 2")
        + "[method]\nmethod-batches = 2\nmethod-batch-size = 8\n";
    place.write("recipe.toml", &recipe);
    let done = place.ok("run recipe.toml");
    let record = place.json("out/record.json");
    let plan = &record["plan"];
    assert_eq!(plan["criterion"], "taylor");
    assert_eq!(plan["met"], true);
    let filters = plan["filters_removed"].as_u64().unwrap();
    assert!(filters > 1 && done.stdout.contains(&format!("\nremoved: {filters} filters\n")), "{done}");
    assert_eq!(record["training"].as_array().unwrap().len(), 2);
    assert!(record["complete"].as_bool().unwrap());
    let page = String::from_utf8(place.bytes("out/report.md")).unwrap();
    assert!(page.contains(&format!("{filters} filters removed: ")), "{page}");
    let cost = |of: &str| record[of]["file"]["macs"].as_f64().unwrap();
    assert!(cost("pruned") <= 0.8 * cost("baseline"));
    assert!(!place.path("out/method").exists());

    place.write("recipe.toml", recipe.replace("\"taylor\"", "\"tailor\""));
    let done = place.run("run recipe.toml");
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("`prune.method`: there is no method `tailor`; known are layerprune, "), "{done}");
    place.write("recipe.toml", recipe.replace("method = \"taylor\"\n", ""));
    let done = place.run("run recipe.toml");
    assert!(done.stderr.contains("`prune.method` names none"), "{done}");
}

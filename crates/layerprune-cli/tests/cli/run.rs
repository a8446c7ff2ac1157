use insta::assert_snapshot;
use layerprune::record::Record;

use crate::data::CONFIG;
use crate::nets;
use crate::place::Place;

/// The whole job in about a second, latency aside.
pub(crate) const RECIPE: &str = r#"
model = "net.onnx"
output = "out"
seed = 3

[data]
source = "idx:data"
normalize = "none"

[score]
criteria = ["imprint", "weight-norm"]

[prune]
layers = 1
protect = ["layer1.0", "layer2.1"]

[recover]
recalibrate = 30
epochs = 2
batch-size = 16

[latency]
batch = [1]
samples = 10
"#;

pub(crate) fn recipe(place: &Place, name: &str, text: &str) {
    place.write(name, text);
}

#[test]
fn a_recipe_is_done_from_the_model_to_the_report() {
    let place = Place::with_data(&nets::residual());
    recipe(&place, "recipe.toml", RECIPE);
    place.write("preprocessor_config.json", CONFIG);
    let done = place.ok("run recipe.toml");
    assert!(done.stdout.contains("\nremoved: layer1.1\n"), "{done}");
    assert!(
        done.stdout.ends_with("\nin out: pruned.onnx, record.json, report.html, report.md, recipe.toml\n"),
        "{done}"
    );
    let mut files: Vec<_> =
        std::fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort_unstable();
    assert_eq!(
        files,
        ["pruned.onnx", "pruned.onnx.epochs.jsonl", "recipe.toml", "record.json", "report.html", "report.md"]
    );

    let record = Record::from_json(&String::from_utf8(place.bytes("out/record.json")).unwrap()).unwrap();
    assert!(record.complete);
    let told = record.data.unwrap().preprocessing;
    assert_eq!(told.as_deref(), Some("stretched to 8x8 (bicubic); pixels / 255, mean 0, std 1"));
    assert_eq!(record.plan.unwrap().removed, ["layer1.1"]);
    assert_eq!(record.scores.len(), 2);
    assert_eq!(record.training.len(), 2);
    assert_eq!(record.latency.len(), 1);
    let pruned = record.pruned.unwrap();
    assert!(pruned.after_cut.is_some() && pruned.after_recalibration.is_some() && pruned.after_finetune.is_some());
    let (found, baseline) = (pruned.file.parameters.unwrap(), record.baseline.unwrap().file.parameters.unwrap());
    // Two convolutions of 4x4x3x3 and their batch norms.
    assert_eq!(baseline - found, 2 * (4 * 4 * 9 + 2 * 4));

    let evaluated = place.ok("eval out/pruned.onnx --data idx:data --normalize none --format json").json();
    assert_eq!(evaluated["top1"]["percent"], pruned.after_finetune.unwrap().top1.percent);
}

#[test]
fn json_on_standard_output_is_the_record() {
    let place = Place::with_data(&nets::residual());
    recipe(
        &place,
        "recipe.toml",
        &RECIPE.replace("epochs = 2", "epochs = 0").replace("recalibrate = 30", "recalibrate = 0"),
    );
    let done = place.ok("run recipe.toml --format json --quiet");
    assert_eq!(done.stderr, "");
    assert_eq!(done.json(), place.json("out/record.json"));
    let pruned = &done.json()["pruned"];
    assert!(pruned["after_cut"].is_object());
    assert!(pruned["after_recalibration"].is_null() && pruned["after_finetune"].is_null(), "{pruned}");
}

#[test]
fn the_recipe_written_back_gives_the_same_model_again() {
    let place = Place::with_data(&nets::residual());
    recipe(&place, "recipe.toml", RECIPE);
    place.ok("run recipe.toml --threads 1");
    let written = String::from_utf8(place.bytes("out/recipe.toml")).unwrap();
    recipe(&place, "again.toml", &written.replace("output = \"out\"", "output = \"again\""));
    place.ok("run again.toml --threads 1");
    assert_eq!(place.bytes("out/pruned.onnx"), place.bytes("again/pruned.onnx"));
}

#[test]
fn the_example_is_a_recipe() {
    let place = Place::with_data(&nets::residual());
    let done = place.ok("run --example");
    assert_eq!(done.stderr, "");
    recipe(&place, "recipe.toml", &done.stdout);
    place.run("run recipe.toml").fails(1, &["error: cannot use the model `model.onnx`"]);
}

#[test]
fn a_key_that_no_recipe_has_is_named_with_its_place() {
    let place = Place::with_data(&nets::residual());
    recipe(&place, "recipe.toml", &RECIPE.replace("batch-size = 16", "batchsize = 16"));
    assert_snapshot!(place.run("run recipe.toml"), @r#"
    exit status: 1
    ----- stderr
    error: the recipe cannot be read
      because: TOML parse error at line 20, column 1
       |
    20 | batchsize = 16
       | ^^^^^^^^^
    unknown field `batchsize`, expected `recalibrate`, `tensorboard`, `checkpoint-every`, or a setting of training, named like the flags in `layerprune finetune --help`
    "#);
    assert_eq!(place.names(), ["data", "net.onnx", "recipe.toml"]);
}

#[test]
fn faults_of_a_recipe_are_found_before_anything_is_done() {
    let place = Place::with_data(&nets::residual());
    let faults = [
        ("layers = 1", "layers = 1\nlatency-reduction = 10", "`prune` needs one of"),
        ("layers = 1", "", "`prune` needs one of"),
        ("layers = 1", "latency-reduction = 100", "100"),
        ("layers = 1", "layers = -1", "-1"),
        ("layers = 1", "remove = [\"layer9\"]", "layer9"),
        ("layers = 1", "layers = 99", "99 layers are to be removed"),
        ("\"weight-norm\"", "\"taylor\"", "there is no criterion `taylor`"),
        ("[\"layer1.0\", ", "[\"stage*\", ", "no layer matches `stage*`"),
        ("epochs = 2", "epochs = 2\nschedule = \"linear\"", "linear"),
        ("epochs = 2", "epochs = 2\nlearning-rate = 0.0", "learning-rate"),
        ("batch-size = 16", "batch-size = 0", "batch-size"),
        ("epochs = 2", "epochs = 2\npatience = 0", "--patience"),
        ("epochs = 2", "epochs = 2\ncheckpoint-every = -1.0", "`recover.checkpoint-every` is -1"),
        ("normalize = \"none\"", "normalize = \"bright\"", "bright"),
        ("normalize = \"none\"", "held-out = 2.0", "held-out"),
        ("samples = 10", "samples = 0", "`latency` needs"),
        ("source = \"idx:data\"", "source = \"idx:nothing\"", "nothing"),
        ("model = \"net.onnx\"", "model = \"none.onnx\"", "none.onnx"),
        ("model = \"net.onnx\"", "", "model"),
    ];
    for (from, to, named) in faults {
        assert!(RECIPE.contains(from), "{from}");
        recipe(&place, "recipe.toml", &RECIPE.replacen(from, to, 1));
        let done = place.run("run recipe.toml");
        assert!(matches!(done.code, Some(1 | 2)), "{from} -> {to}\n{done}");
        assert!(done.stderr.contains(named), "{from} -> {to}\n{done}");
        assert!(!place.path("out/record.json").exists(), "{from} -> {to}\n{done}");
    }
}

#[test]
fn layers_are_removed_by_name_and_by_glob() {
    let place = Place::with_data(&nets::residual());
    let brief = RECIPE.replace("epochs = 2", "epochs = 0").replace("protect = [\"layer1.0\", \"layer2.1\"]", "");
    recipe(&place, "recipe.toml", &brief.replace("layers = 1", "remove = [\"layer1.*\"]"));
    let done = place.ok("run recipe.toml --format json");
    assert_eq!(done.json()["plan"]["removed"], serde_json::json!(["layer1.0", "layer1.1"]));
}

#[test]
fn a_seed_on_the_command_line_goes_over_that_of_the_recipe() {
    let place = Place::with_data(&nets::residual());
    recipe(&place, "recipe.toml", RECIPE);
    let done = place.ok("run recipe.toml --seed 9 --format json");
    assert_eq!(done.json()["data"]["seed"], 9);
    assert!(String::from_utf8(place.bytes("out/recipe.toml")).unwrap().contains("seed = 9"));
}

#[test]
fn a_missing_recipe_is_named() {
    Place::new().run("run none.toml").fails(1, &["error: cannot read the recipe `none.toml`"]);
    Place::new().run("run").fails(2, &["<RECIPE>"]);
}

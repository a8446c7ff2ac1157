use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::nets;
use crate::place::{Done, Place};

/// Names of the layers of a model.
fn layers(place: &Place, model: &str) -> Vec<String> {
    let json = place.ok(&format!("inspect {model} --format json")).json();
    json["units"].as_array().unwrap().iter().map(|unit| unit["name"].as_str().unwrap().to_owned()).collect()
}

fn removed(done: &Done) -> Vec<String> {
    let json = done.json();
    let rows = json["plan"]["removed"].as_array().unwrap();
    rows.iter().map(|row| row["unit"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_named_block_goes_and_the_rest_stays() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --remove layer1.1 -o pruned.onnx"), @r#"
    exit status: 0
    ----- stdout
    removed 1 layer:
      layer1.1
    parameters: 2.8 k → 2.5 k (-10.8 %)
    MACs: 72.0 k → 53.5 k (-25.6 %)
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    "#);
    assert_eq!(layers(&place, "pruned.onnx"), ["conv1", "layer1.0", "layer2.0", "layer2.1", "fc"]);
}

#[test]
fn predicted_cost_is_that_of_the_file_written() {
    let place = Place::with(&nets::residual());
    let plan = place.ok("prune net.onnx --remove layer1.0,layer2.1 -o pruned.onnx --format json").json();
    let counted = place.ok("inspect pruned.onnx --format json").json();
    assert_eq!(plan["plan"]["after"], counted["total"]);
    assert_eq!(plan["output"], "pruned.onnx");
    assert_eq!(plan["latency"], Value::Null);
}

#[test]
fn the_least_important_layers_go() {
    let place = Place::with(&nets::residual());
    let done = place.ok("prune net.onnx --criterion weight-norm --layers 2 -o pruned.onnx --format json");
    let gone = removed(&done);
    assert_eq!(gone.len(), 2);
    let left = layers(&place, "pruned.onnx");
    assert_eq!(left.len(), 4);
    assert!(gone.iter().all(|gone| !left.contains(gone)), "{gone:?} {left:?}");
}

#[test]
fn imprinting_chooses_with_data_on_the_command_line() {
    let place = Place::with_data(&nets::residual());
    let done = place.ok("prune net.onnx --data idx:data --layers 1 -o pruned.onnx --format json");
    assert_eq!(done.json()["plan"]["criterion"], "imprint");
    assert_eq!(layers(&place, "pruned.onnx").len(), 5);
}

#[test]
fn a_layer_of_a_chain_goes_with_a_note_that_it_is_not_exact() {
    let place = Place::with(&nets::chain());
    assert_snapshot!(place.run("prune net.onnx --remove features.1 -o pruned.onnx"), @r#"
    exit status: 0
    ----- stdout
    removed 1 layer:
      features.1 (plain layer: what follows sees inputs of another kind)
    parameters: 4.4 k → 3.8 k (-13.5 %)
    MACs: 106.0 k → 69.2 k (-34.8 %)
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    "#);
    assert_eq!(layers(&place, "pruned.onnx").len(), layers(&place, "net.onnx").len() - 1);
}

#[test]
fn a_layer_that_changes_channels_goes_when_shrinking_is_allowed() {
    let place = Place::with(&nets::chain());
    assert_snapshot!(place.run("prune net.onnx --remove features.3 --shrink-chains -o pruned.onnx"), @"
    exit status: 0
    ----- stdout
    removed 1 layer:
      features.3 (shrunk: the next layer reads its input, by a weight composed of both)
    parameters: 4.4 k → 2.1 k (-52.8 %)
    MACs: 106.0 k → 69.2 k (-34.8 %)
    written: pruned.onnx
    its accuracy has changed: `recalibrate` or `finetune` it, then `eval`
    ");
    let json = place.ok("prune net.onnx --remove features.3 --shrink-chains -o pruned.onnx --format json").json();
    assert_eq!(json["plan"]["removed"], json!([{ "unit": "features.3", "way": "shrink-chain" }]));
    assert_eq!(json["plan"]["after"], place.ok("inspect pruned.onnx --format json").json()["total"]);
}

#[test]
fn any_name_of_the_tree_can_go_and_takes_along_what_lies_in_it() {
    let place = Place::with(&nets::residual());
    let done = place.ok("prune net.onnx --remove layer1,layer1.0,layer2.1.conv2 -o pruned.onnx --format json");
    assert_eq!(removed(&done), ["layer1", "layer2.1.conv2"]);
    assert_eq!(done.stderr, "`layer1.0` goes with what holds it\n");
    assert_eq!(layers(&place, "pruned.onnx"), ["conv1", "layer2.0", "layer2.1", "fc"]);
    assert_snapshot!(place.run("prune net.onnx --remove layer2.1.conv1,layer2.1.conv2 -o pruned.onnx"), @"
    exit status: 1
    ----- stderr
    error: `layer2.1.conv1` and `layer2.1.conv2` cannot go together: they are the whole branch of `layer2.1`, which can only go as one
    hint: leave one of them out
    ");
}

#[test]
fn a_glob_takes_what_can_go() {
    let place = Place::with(&nets::residual());
    let done = place.ok("prune net.onnx --remove layer* -o pruned.onnx --format json");
    assert_eq!(removed(&done), ["layer1.0", "layer1.1", "layer2.1"]);
    let done = place.ok("prune net.onnx --remove layer1.* -o pruned.onnx --format json");
    assert_eq!(removed(&done), ["layer1.0", "layer1.1"]);
}

#[test]
fn a_glob_under_which_nothing_can_go_is_refused() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --remove layer2.0* -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: none of the layers that match `layer2.0*` can be removed
    "#);
    assert_eq!(place.names(), ["net.onnx"]);
}

#[test]
fn a_misspelt_name_gets_the_nearest_one() {
    assert_snapshot!(Place::with(&nets::residual()).run("prune net.onnx --remove layer1_1 -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: there is no layer `layer1_1`; did you mean `layer1.1`?
    hint: `layerprune inspect MODEL` lists the layers by name
    "#);
}

#[test]
fn a_layer_that_cannot_go_says_why() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --remove layer2.0 -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: `layer2.0` cannot be removed: it changes channels and resolution: N×4×8×8 into N×8×4×4 (shortcut: Conv + BatchNormalization) (its branch alone could be dropped)
    hint: `layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains` and `--recover bridge` allow more
    "#);
    assert_snapshot!(place.run("prune net.onnx --remove fc -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: `fc` cannot be removed: its exit `/fc/Gemm_output_0` is a graph output
    hint: `layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains` and `--recover bridge` allow more
    "#);
    assert_eq!(place.names(), ["net.onnx"]);
}

#[test]
fn the_branch_of_a_projecting_block_goes_when_that_is_allowed() {
    let place = Place::with(&nets::residual());
    let done = place.ok("prune net.onnx --remove layer2.0 --drop-branches -o pruned.onnx --format json");
    assert_eq!(done.json()["plan"]["removed"], json!([{ "unit": "layer2.0", "way": "drop-branch" }]));
    let [before, after] = ["net.onnx", "pruned.onnx"].map(|model| {
        place.ok(&format!("inspect {model} --format json")).json()["total"]["parameters"].as_u64().unwrap()
    });
    // Two convolutions and their batch norms; the projection stays.
    assert_eq!(before - after, 4 * 8 * 9 + 8 * 8 * 9 + 2 * 2 * 8);
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --remove layer1.0 --dry-run"), @r#"
    exit status: 0
    ----- stdout
    removed 1 layer:
      layer1.0
    parameters: 2.8 k → 2.5 k (-10.8 %)
    MACs: 72.0 k → 53.5 k (-25.6 %)
    dry run: nothing was written
    "#);
    place.ok("prune net.onnx --remove layer1.0 --dry-run -o pruned.onnx");
    assert_eq!(place.names(), ["net.onnx"]);
}

#[test]
fn a_saved_plan_gives_the_same_model_again() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --criterion weight-norm --layers 2 -o first.onnx --save-plan plan.json");
    place.ok("prune net.onnx --plan plan.json -o second.onnx");
    assert_eq!(place.bytes("first.onnx"), place.bytes("second.onnx"));
    assert_eq!(place.json("plan.json")["removed"].as_array().unwrap().len(), 2);
}

#[test]
fn a_plan_for_another_model_is_refused() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0 -o pruned.onnx --save-plan plan.json");
    assert_snapshot!(place.run("prune pruned.onnx --plan plan.json -o again.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: the plan was made for another model (digest [DIGEST], this one has [DIGEST])
    "#);
    assert_eq!(place.names(), ["net.onnx", "plan.json", "pruned.onnx"]);
}

#[test]
fn a_file_that_holds_no_plan_is_refused() {
    let place = Place::with(&nets::residual());
    place.write("plan.json", "[1, 2");
    assert_snapshot!(place.run("prune net.onnx --plan plan.json -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: `plan.json` holds no plan that this program knows
      because: EOF while parsing a list at line 1 column 5
    "#);
}

#[test]
fn a_plan_of_another_version_is_refused() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0 --dry-run --save-plan plan.json");
    let mut plan = place.json("plan.json");
    plan["schema"] = json!(99);
    place.write("plan.json", plan.to_string());
    place.run("prune net.onnx --plan plan.json -o pruned.onnx").fails(1, &["plan.json", "99"]);
}

#[test]
fn protected_layers_stay() {
    let place = Place::with(&nets::residual());
    let base = "prune net.onnx --criterion weight-norm --dry-run --format json";
    let gone = removed(&place.ok(&format!("{base} --layers 1 --protect layer1.*")));
    assert_eq!(gone, ["layer2.1"]);
    let mut gone = removed(&place.ok(&format!("{base} --layers 2 --protect layer1.0,conv*")));
    gone.sort_unstable();
    assert_eq!(gone, ["layer1.1", "layer2.1"]);
    let gone = removed(&place.ok(&format!("{base} --remove layer* --protect layer1.1")));
    assert_eq!(gone, ["layer1.0", "layer2.1"]);
    assert_snapshot!(place.run("prune net.onnx --remove layer1.1 --protect layer1.* --dry-run"), @r#"
    exit status: 1
    ----- stderr
    error: `layer1.1` cannot be removed: it is protected
    hint: `layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains` and `--recover bridge` allow more
    "#);
}

#[test]
fn only_what_is_named_goes() {
    let place = Place::with(&nets::residual());
    let base = "prune net.onnx --criterion weight-norm --dry-run --format json";
    assert_eq!(removed(&place.ok(&format!("{base} --layers 1 --only layer2.*"))), ["layer2.1"]);
    let done = place.run(&format!("{base} --layers 2 --only layer2.*"));
    done.fails(1, &["error: 2 layers are to be removed, only 1 can be"]);
}

#[test]
fn a_plan_does_not_go_over_what_is_protected() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0 --dry-run --save-plan plan.json");
    place.run("prune net.onnx --plan plan.json --protect layer1.* -o pruned.onnx").fails(1, &["layer1.0", "protected"]);
    assert!(!place.path("pruned.onnx").exists());
}

#[test]
fn a_glob_that_matches_nothing_is_wrong_usage() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --remove layer1.0 --protect stage* --dry-run"), @r#"
    exit status: 2
    ----- stderr
    error: no layer matches `stage*`; `layerprune inspect MODEL` lists them
    "#);
    for flags in ["--remove layer1.0 --only block?", "--remove stage*", "--layers 1 --criterion weight-norm --only x"] {
        place.run(&format!("prune net.onnx {flags} --dry-run")).fails(2, &["error: no layer matches `"]);
    }
    place.run("prune net.onnx --remove layer[1 --dry-run").fails(2, &["error: `layer[1` is no glob"]);
}

#[test]
fn no_target_and_two_targets_are_wrong_usage() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx -o pruned.onnx"), @"
    exit status: 2
    ----- stderr
    error: the following required arguments were not provided:
      <--layers <K>|--filters <P%>|--dead-channels|--remove <NAME>|--plan <FILE>|--latency-reduction <P%>|--max-latency <TIME>|--speedup <Nx>|--macs <P%>|--params <P%>|--max-drop <POINTS>>

    Usage: layerprune prune --output <FILE> <--layers <K>|--filters <P%>|--dead-channels|--remove <NAME>|--plan <FILE>|--latency-reduction <P%>|--max-latency <TIME>|--speedup <Nx>|--macs <P%>|--params <P%>|--max-drop <POINTS>> <MODEL>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run("prune net.onnx --layers 1 --remove layer1.0 -o pruned.onnx"), @"
    exit status: 2
    ----- stderr
    error: the argument '--layers <K>' cannot be used with '--remove <NAME>'

    Usage: layerprune prune --output <FILE> <--layers <K>|--filters <P%>|--dead-channels|--remove <NAME>|--plan <FILE>|--latency-reduction <P%>|--max-latency <TIME>|--speedup <Nx>|--macs <P%>|--params <P%>|--max-drop <POINTS>> <MODEL>

    For more information, try '--help'.
    ");
    place.run("prune net.onnx --layers 1").fails(2, &["--output <FILE>"]);
}

#[test]
fn more_layers_than_can_go_are_refused() {
    let place = Place::with(&nets::residual());
    assert_snapshot!(place.run("prune net.onnx --criterion weight-norm --layers 99 -o pruned.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: 99 layers are to be removed, only 3 can be
    hint: `layerprune inspect MODEL` says of every layer why it cannot go; `--drop-branches`, `--shrink-chains` and `--recover bridge` allow more
    "#);
    assert_eq!(place.names(), ["net.onnx"]);
}

#[test]
fn no_layers_at_all_leave_the_model_as_it_is() {
    let place = Place::with(&nets::residual());
    let done = place.ok("prune net.onnx --criterion weight-norm --layers 0 -o pruned.onnx");
    assert!(done.stdout.starts_with("nothing is removed\n"), "{done}");
    assert_eq!(place.bytes("pruned.onnx"), place.bytes("net.onnx"));
}

#[test]
fn a_latency_target_out_of_reach_says_how_far_it_got_and_writes_nothing() {
    let place = Place::with(&nets::residual());
    let done = place.run("prune net.onnx --criterion weight-norm --latency-reduction 99.9% -o pruned.onnx");
    done.fails(
        1,
        &[
            "error: latency reduction 99.9 % cannot be met: with all 3 removable layers gone, the latency reduction is at least ",
            "latency reduction 99.9 % is out of reach: ",
        ],
    );
    assert_eq!(done.stdout, "");
    assert_eq!(place.names(), ["net.onnx"]);
}

#[test]
fn a_latency_target_within_reach_writes_a_smaller_model() {
    let place = Place::with(&nets::deep());
    let done = place.ok("prune net.onnx --criterion weight-norm --latency-reduction 1% -o pruned.onnx --format json");
    let json = done.json();
    assert!(json["latency"]["latency_reduction_percent"].as_f64().unwrap() >= 1.0, "{done}");
    assert_eq!((&json["latency"]["batch"], &json["latency"]["threads"]), (&json!(1), &json!(1)));
    let gone = removed(&done).len();
    assert!(gone >= 1);
    assert_eq!(layers(&place, "pruned.onnx").len() + gone, layers(&place, "net.onnx").len());
    assert!(place.bytes("pruned.onnx").len() < place.bytes("net.onnx").len());
}

#[test]
fn a_latency_target_is_a_percentage_between_0_and_100() {
    let place = Place::with(&nets::residual());
    for target in ["0", "100%", "-5", "fast", "NaN", "inf"] {
        let done = place.run(&format!("prune net.onnx --latency-reduction={target} -o pruned.onnx"));
        done.fails(2, &[&format!("`{target}` is no percentage between 0 and 100")]);
    }
    place
        .run("prune net.onnx --latency-reduction 5 --batch 0 --criterion weight-norm -o pruned.onnx")
        .fails(2, &["--batch"]);
}

#[test]
fn an_existing_file_is_replaced_only_by_a_finished_one() {
    let place = Place::with(&nets::residual());
    place.write("pruned.onnx", "old");
    for fault in ["--remove layer9", "--criterion weight-norm --layers 99", "--layers 1"] {
        place.run(&format!("prune net.onnx {fault} -o pruned.onnx")).fails(1, &[]);
        assert_eq!(place.bytes("pruned.onnx"), b"old", "{fault}");
    }
    place.ok("prune net.onnx --remove layer1.0 -o pruned.onnx");
    assert_eq!(layers(&place, "pruned.onnx").len(), 5);
    assert_eq!(place.names(), ["net.onnx", "pruned.onnx"]);
}

#[test]
fn a_model_may_be_pruned_in_place() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0 -o net.onnx");
    assert_eq!(layers(&place, "net.onnx").len(), 5);
}

use insta::assert_snapshot;

use crate::nets;
use crate::place::Place;

#[test]
fn a_model_gives_the_same_outputs_as_itself() {
    assert_snapshot!(Place::with(&nets::residual()).run("verify net.onnx net.onnx"), @r#"
    exit status: 0
    ----- stdout
    output             largest difference  relative
    /fc/Gemm_output_0              0.00e0    0.00e0  same
    (tolerance 1e-4, relative to the largest value)
    "#);
}

#[test]
fn a_pruned_model_does_not_give_the_same_outputs() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0 -o pruned.onnx");
    let done = place.run("verify net.onnx pruned.onnx --format json");
    done.fails(1, &["error: the models do not give the same outputs\n"]);
    let json = done.json();
    assert_eq!(json["same"], false);
    assert!(json["outputs"][0]["relative"].as_f64().unwrap() > json["tolerance"].as_f64().unwrap());
    let text = place.run("verify net.onnx pruned.onnx");
    assert!(text.stdout.contains(" differs\n"), "{text}");
}

#[test]
fn a_wide_tolerance_lets_it_pass() {
    let place = Place::with(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0 -o pruned.onnx");
    assert_eq!(place.ok("verify net.onnx pruned.onnx --tolerance 1e9 --format json").json()["same"], true);
    for tolerance in ["-1", "NaN"] {
        place.run(&format!("verify net.onnx net.onnx --tolerance={tolerance}")).fails(2, &["--tolerance"]);
    }
}

#[test]
fn models_that_take_different_inputs_are_not_compared() {
    let place = Place::with(&nets::residual());
    place.add("chain.onnx", &nets::chain());
    assert_snapshot!(place.run("verify net.onnx chain.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: input `input` is declared as N×3×8×8, which [1, 1, 8, 8] does not fit
    "#);
}

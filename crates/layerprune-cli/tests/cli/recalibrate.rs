use std::collections::BTreeMap;

use insta::assert_snapshot;
use layerprune::graph::{Value, tensor};
use layerprune::onnx::Model;

use crate::nets;
use crate::place::Place;

fn weights(place: &Place, model: &str) -> BTreeMap<String, Vec<f32>> {
    let model = Model::read(place.path(model)).unwrap();
    let stored = model.graph.initializers().iter().map(|&id| model.graph.value(id));
    let numbers = |value: &Value| tensor::to_f32(value.initializer().unwrap()).unwrap().into_owned();
    stored.map(|value| (value.name().to_owned(), numbers(value))).collect()
}

#[test]
fn recalibration_changes_the_statistics_of_batch_norms_and_nothing_else() {
    let place = Place::with_data(&nets::residual());
    let done = place.ok("recalibrate net.onnx --data idx:data --normalize none -o new.onnx");
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("written: new.onnx\n", ""));
    let (before, after) = (weights(&place, "net.onnx"), weights(&place, "new.onnx"));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, values) in &before {
        let statistic = name.ends_with("running_mean") || name.ends_with("running_var");
        assert_eq!(*values != after[name], statistic, "{name}");
    }
}

#[test]
fn the_number_of_images_is_taken_at_its_word() {
    let place = Place::with_data(&nets::residual());
    let command = "recalibrate net.onnx --data idx:data --normalize none";
    place.ok(&format!("{command} -o all.onnx"));
    place.ok(&format!("{command} --samples 6 -o few.onnx"));
    assert_ne!(weights(&place, "all.onnx"), weights(&place, "few.onnx"));
    place.run(&format!("{command} --samples 0 -o none.onnx")).fails(2, &["--samples"]);
}

#[test]
fn a_folded_net_has_nothing_to_recalibrate() {
    let place = Place::with_data(&nets::folded());
    assert_snapshot!(place.run("recalibrate net.onnx --data idx:data --normalize none -o new.onnx"), @r#"
    exit status: 1
    ----- stderr
    error: the model has no batch norms; they were probably folded when it was exported
    "#);
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

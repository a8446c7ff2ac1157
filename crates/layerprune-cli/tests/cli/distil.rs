//! Learning from a teacher, and training towards sparsity.

use layerprune::onnx::Model;
use serde_json::Value;

use crate::images;
use crate::nets;
use crate::place::Place;

const FINETUNE: &str = "finetune net.onnx --data idx:data --normalize none --batch-size 16 --epochs 2 --keep last";

#[test]
fn a_teacher_changes_what_is_learned_by_what_counts() {
    let place = Place::with_data(&nets::residual());
    place.ok("prune net.onnx --remove layer1.1 -o pruned.onnx");
    let command = FINETUNE.replace("net.onnx", "pruned.onnx");
    place.ok(&format!("{command} -o plain.onnx"));
    let mut seen = vec![place.bytes("plain.onnx")];
    for flags in [
        "",
        "--distill-temperature 2",
        "--distill-weight 0.5",
        "--distill-block-weight 1",
        "--distill-mirrored",
        "--without-labels",
    ] {
        place.ok(&format!("{command} --teacher net.onnx {flags} -o taught.onnx"));
        let taught = place.bytes("taught.onnx");
        assert!(!seen.contains(&taught), "{flags}");
        seen.push(taught);
    }
    // A teacher that does not count.
    place.ok(&format!("{command} --teacher net.onnx --distill-block-weight 1e-30 --distill-weight 0 -o alone.onnx"));
    assert_eq!(place.bytes("alone.onnx"), seen[0]);
}

#[test]
fn without_labels_none_is_looked_at_and_the_last_epoch_is_kept() {
    let place = Place::with_data(&nets::residual());
    place.ok("prune net.onnx --remove layer1.1 -o pruned.onnx");
    let command = "finetune pruned.onnx --data idx:data --normalize none --batch-size 16 --epochs 2 --teacher net.onnx --without-labels";
    let done = place.ok(&format!("{command} -o taught.onnx --format json"));
    assert_eq!(done.json()[1]["kept"], true);
    assert_eq!(done.json()[1]["held_out_top1"], Value::Null);
    let labels: Vec<u8> = vec![0; 60];
    let other = Place::with(&nets::residual());
    other.ok("prune net.onnx --remove layer1.1 -o pruned.onnx");
    images::write(&other.path("data"), 20, 10);
    let mut file = vec![0, 0, 8, 1, 0, 0, 0, 60];
    file.extend(labels);
    other.write("data/train-labels-idx1-ubyte", file);
    other.ok(&format!("{command} -o taught.onnx"));
    assert_eq!(place.bytes("taught.onnx"), other.bytes("taught.onnx"));
}

#[test]
fn what_needs_a_teacher_says_so() {
    let place = Place::with_data(&nets::residual());
    for flag in [
        "--distill-temperature 2",
        "--distill-weight 0.5",
        "--distill-block-weight 1",
        "--distill-blocks x",
        "--distill-mirrored",
        "--without-labels",
    ] {
        let name = flag.split(' ').next().unwrap();
        place
            .run(&format!("{FINETUNE} {flag} -o x.onnx"))
            .fails(2, &[&format!("`{name}` needs `--teacher MODEL.onnx`")]);
    }
    let taught = format!("{FINETUNE} --teacher net.onnx -o x.onnx");
    place.run(&format!("{taught} --distill-temperature 0")).fails(2, &["`--distill-temperature`: "]);
    place.run(&format!("{taught} --distill-weight 2")).fails(2, &["`--distill-weight`: "]);
    place.run(&format!("{taught} --without-labels --patience 2")).fails(2, &["`--patience` says nothing"]);
    place.run(&format!("{FINETUNE} --teacher none.onnx -o x.onnx")).fails(1, &["cannot use the model `none.onnx`"]);
}

#[test]
fn a_checkpoint_of_another_teacher_is_refused() {
    let place = Place::with_data(&nets::residual());
    place.add("other.onnx", &nets::folded());
    let command = FINETUNE.replace("--epochs 2", "--epochs 100000");
    let mut running = place.start(&format!("{command} --teacher net.onnx -o tuned.onnx"));
    running.wait_for(&place.path(crate::interrupt::STATE));
    running.kill();
    place.run(&format!("{command} --teacher other.onnx -o tuned.onnx")).fails(1, &["another teacher"]);
}

#[test]
fn slimming_draws_the_scales_of_batch_norms_to_zero() {
    let place = Place::with_data(&nets::residual());
    let sum = |name: &str| {
        let scores = place.ok(&format!("score {name} --criterion batch-norm-scale --format json")).json();
        let rows = scores["rows"].as_array().or_else(|| scores[0]["rows"].as_array()).unwrap().clone();
        rows.iter().filter_map(|row| row["score"].as_f64()).sum::<f64>()
    };
    place.ok(&format!("{FINETUNE} --learning-rate 0.1 --weight-decay 0 -o plain.onnx"));
    place.ok(&format!("{FINETUNE} --learning-rate 0.1 --weight-decay 0 --slimming 0.5 -o slim.onnx"));
    assert!(sum("slim.onnx") < 0.8 * sum("plain.onnx"));
}

#[test]
fn blocks_whose_scales_reach_zero_are_told_and_can_go_without_a_trace() {
    let place = Place::with_data(&nets::residual());
    let command = "train net.onnx --data idx:data --epochs 20 --batch-size 16 --learning-rate 0.1 --sss 0.5";
    let done = place.ok(&format!("{command} -o sparse.onnx"));
    let said = done
        .stderr
        .lines()
        .find(|line| line.starts_with("at zero: the branches of "))
        .unwrap_or_else(|| panic!("{done}"));
    let (_, names) = said.split_once("--remove ").unwrap();
    let names = names.split('`').next().unwrap();
    let model = Model::read(place.path("sparse.onnx")).unwrap();
    assert!(model.graph.nodes().all(|(_, node)| node.op_type() != "Mul"));
    let pruned = place.run(&format!("prune sparse.onnx --remove {names} --drop-branches -o pruned.onnx"));
    assert_eq!(pruned.code, Some(0), "{pruned}");
    place.ok("verify sparse.onnx pruned.onnx");
}

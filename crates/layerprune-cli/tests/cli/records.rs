//! What training writes beside its result, and which epoch that is.

use layerprune::cost::Costs;
use layerprune::onnx::Model;
use layerprune::shapes;
use serde_json::Value;

use crate::nets;
use crate::place::Place;

const FINETUNE: &str = "finetune net.onnx --data idx:data --normalize none --batch-size 16";

fn lines(place: &Place, name: &str) -> Vec<Value> {
    let text = String::from_utf8(place.bytes(name)).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn held_out(place: &Place, model: &str) -> (f64, f64) {
    let found =
        place.ok(&format!("eval {model} --data idx:data --normalize none --split held-out --format json")).json();
    (found["top1"]["percent"].as_f64().unwrap(), found["loss"].as_f64().unwrap())
}

#[test]
fn each_epoch_is_a_line_of_json() {
    let place = Place::with_data(&nets::residual());
    let done = place.ok(&format!("{FINETUNE} --epochs 3 --log epochs.jsonl -o tuned.onnx --format json"));
    let lines = lines(&place, "epochs.jsonl");
    let mut rows = done.json();
    for (line, row) in lines.iter().zip(rows.as_array_mut().unwrap()) {
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "stage",
            "epoch",
            "loss",
            "train_top1",
            "held_out_top1",
            "learning_rate",
            "seconds",
            "held_out_loss",
            "images",
            "waited",
        ];
        let mut keys = keys;
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(line["images"], 48);
        row.as_object_mut().unwrap().remove("kept");
        assert_eq!(line, row);
    }
    assert_eq!(lines.len(), 3);
    assert!(!place.path("tuned.onnx.epochs.jsonl").exists());
}

#[test]
fn the_epoch_that_is_best_on_the_held_out_part_is_kept_unless_told_otherwise() {
    let place = Place::with_data(&nets::residual());
    let better = |a: &Value, b: &Value| {
        let of = |row: &Value| (row["held_out_top1"].as_f64().unwrap(), -row["held_out_loss"].as_f64().unwrap());
        of(a).partial_cmp(&of(b)).unwrap()
    };
    // At this rate epochs go up and down, so that the last one is not the best for all of these seeds.
    let mut was_not_last = 0;
    for seed in 0..3 {
        let flags = format!("--epochs 6 --learning-rate 0.4 --schedule constant --seed {seed}");
        let rows = place.ok(&format!("{FINETUNE} {flags} -o best.onnx --format json")).json();
        let rows = rows.as_array().unwrap();
        let kept: Vec<&Value> = rows.iter().filter(|row| row["kept"] == true).collect();
        assert_eq!(kept.len(), 1);
        assert!(rows.iter().all(|row| better(row, kept[0]).is_le()), "{rows:?}");
        was_not_last += usize::from(kept[0]["epoch"] != 6);
        let eval = format!("--data idx:data --normalize none --split held-out --seed {seed} --format json");
        let found = place.ok(&format!("eval best.onnx {eval}")).json();
        assert_eq!(found["top1"]["percent"], kept[0]["held_out_top1"]);
        assert_eq!(found["loss"], kept[0]["held_out_loss"]);
        place.ok(&format!("{FINETUNE} {flags} --keep last -o last.onnx"));
        let found = place.ok(&format!("eval last.onnx {eval}")).json();
        assert_eq!(found["loss"], rows[5]["held_out_loss"]);
    }
    assert!(was_not_last > 0);
}

#[test]
fn training_stops_when_patience_is_at_its_end() {
    let place = Place::with_data(&nets::residual());
    let command = format!("{FINETUNE} --epochs 400 --learning-rate 0.4 --schedule constant --patience 2");
    let done = place.ok(&format!("{command} -o tuned.onnx"));
    let rows = lines(&place, "tuned.onnx.epochs.jsonl");
    assert!(rows.len() < 400);
    assert!(done.stdout.contains(&format!(" epochs, kept epoch {}: ", rows.len() - 2)), "{done}");
    let said = format!("stopped after {} of 400 epochs: the last 2 were not better\n", rows.len());
    assert!(done.stderr.ends_with(&said), "{done}");
    let kept = &rows[rows.len() - 3];
    assert_eq!(held_out(&place, "tuned.onnx").1, kept["held_out_loss"].as_f64().unwrap());
    place.ok(&format!("{command} --keep last -o last.onnx"));
    assert_eq!(held_out(&place, "last.onnx").1, rows.last().unwrap()["held_out_loss"].as_f64().unwrap());
}

#[test]
fn a_preset_is_what_its_flags_are_and_other_flags_override_it() {
    let place = Place::with_data(&nets::residual());
    let help = place.ok("finetune --help").stdout;
    let help: Vec<&str> = help.split_whitespace().collect();
    let help = help.join(" ");
    let flags = "--batch-size 128 --epochs 30 --flip --learning-rate 0.001 --momentum 0.9 --pad-crop 4 --schedule step:10:0.1 \
                 --weight-decay 0.0005";
    assert!(help.contains(flags), "{help}");
    let shorter = flags.replace("--batch-size 128 --epochs 30", "--batch-size 16 --epochs 2");
    let command = FINETUNE.replace("--batch-size 16", "");
    place.ok(&format!("{command} --preset layerprune-cifar --epochs 2 --batch-size 16 -o preset.onnx"));
    place.ok(&format!("{command} {shorter} -o flags.onnx"));
    assert_eq!(place.bytes("preset.onnx"), place.bytes("flags.onnx"));
}

fn macs(model: &Model) -> u64 {
    let shapes = shapes::infer(&model.graph, &Default::default()).unwrap();
    Costs::count(&model.graph, &shapes).total().macs.unwrap()
}

#[test]
fn the_scratch_control_trains_as_many_epochs_as_the_whole_model_would_cost() {
    let place = Place::with_data(&nets::residual());
    place.ok("prune net.onnx --remove layer1.0,layer1.1 -o pruned.onnx");
    let pruned = Model::read(place.path("pruned.onnx")).unwrap();
    let expected = (4.0 * macs(&nets::residual()) as f64 / macs(&pruned) as f64).round() as usize;
    assert!(expected > 4);
    let command = "train pruned.onnx --data idx:data --normalize none --epochs 4 --batch-size 16 --as-much-as net.onnx -o scratch.onnx";
    let done = place.ok(command);
    assert_eq!(lines(&place, "scratch.onnx.epochs.jsonl").len(), expected);
    assert!(done.stderr.starts_with("equal compute: 4 epochs at "), "{done}");
    assert!(done.stderr.contains(&format!(" MACs an image are {expected} at ")), "{done}");
    place.run("finetune net.onnx --data idx:data --as-much-as net.onnx -o x.onnx").fails(2, &["--as-much-as"]);
}

#[test]
fn training_from_given_weights_is_fine_tuning() {
    let place = Place::with_data(&nets::residual());
    let flags = "--data idx:data --normalize none --epochs 1 --batch-size 16 --learning-rate 0.05";
    place.ok(&format!("train net.onnx {flags} --init given -o given.onnx"));
    place.ok(&format!("finetune net.onnx {flags} -o tuned.onnx"));
    place.ok(&format!("train net.onnx {flags} -o random.onnx"));
    assert_eq!(place.bytes("given.onnx"), place.bytes("tuned.onnx"));
    assert_ne!(place.bytes("random.onnx"), place.bytes("tuned.onnx"));
}

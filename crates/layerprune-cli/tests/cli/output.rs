//! Where output goes, and where it cannot.

use std::fs;

use crate::nets;
use crate::place::Place;

/// Each command that writes a file, without `-o`.
const WRITING: [&str; 6] = [
    "score net.onnx --criterion weight-norm",
    "prune net.onnx --remove layer1.0",
    "finetune net.onnx --data idx:data --normalize none --epochs 1 --batch-size 16",
    "train net.onnx --data idx:data --epochs 1 --batch-size 16",
    "recalibrate net.onnx --data idx:data --normalize none",
    "prune net.onnx --criterion weight-norm --latency-reduction 1",
];

#[test]
fn a_folder_that_is_not_there_is_named_before_anything_is_done() {
    let place = Place::with_data(&nets::residual());
    for command in WRITING {
        let done = place.run(&format!("{command} -o none/out.onnx"));
        done.fails(1, &["error: cannot write `none/out.onnx`"]);
        assert_eq!(done.stdout, "", "{command}");
        assert_eq!(done.stderr.lines().count(), 2, "{command}\n{done}");
    }
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[test]
fn a_folder_in_place_of_the_file_is_named_before_anything_is_done() {
    let place = Place::with_data(&nets::residual());
    for command in WRITING {
        let done = place.run(&format!("{command} -o data"));
        done.fails(1, &["error: cannot write `data`"]);
        assert_eq!(done.stdout, "", "{command}");
    }
    assert_eq!(place.names(), ["data", "net.onnx"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_data(&nets::residual());
    fs::create_dir(place.path("locked")).unwrap();
    fs::set_permissions(place.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(place.path("locked/probe"), "").is_ok() {
        eprintln!("skipped: this user may write into a read-only folder");
        return;
    }
    for command in WRITING {
        place.run(&format!("{command} -o locked/out.onnx")).fails(1, &["error: ", "`locked/out.onnx"]);
    }
    assert_eq!(fs::read_dir(place.path("locked")).unwrap().count(), 0);
}

#[test]
fn a_report_and_a_run_name_the_folder_that_they_cannot_write() {
    let place = Place::with_data(&nets::residual());
    place.write("out", "a file, no folder");
    place.write("recipe.toml", crate::run::RECIPE);
    place.run("run recipe.toml").fails(1, &["error: cannot make the folder `out`"]);
    assert_eq!(place.bytes("out"), b"a file, no folder");
}

#[test]
fn quiet_says_nothing_on_standard_error_when_all_goes_well() {
    let place = Place::with_data(&nets::residual());
    place.add("deep.onnx", &nets::deep());
    place.write("recipe.toml", crate::run::RECIPE);
    let commands = [
        "inspect net.onnx",
        "score net.onnx --data idx:data",
        "prune net.onnx --data idx:data --layers 1 -o pruned.onnx",
        "prune deep.onnx --criterion weight-norm --latency-reduction 0.0001 -o pruned.onnx",
        "finetune net.onnx --data idx:data --normalize none --epochs 1 --batch-size 16 -o tuned.onnx",
        "train net.onnx --data idx:data --epochs 1 --batch-size 16 -o tuned.onnx",
        "recalibrate net.onnx --data idx:data --normalize none -o new.onnx",
        "eval net.onnx --data idx:data",
        "latency net.onnx --samples 5 --warm-up 0",
        "verify net.onnx net.onnx",
        "run recipe.toml",
        "report out/record.json -o report.md",
    ];
    for command in commands {
        let done = place.ok(&format!("{command} --quiet"));
        assert_eq!(done.stderr, "", "{command}");
        assert_ne!(done.stdout, "", "{command}");
    }
    let done = place.run("inspect none.onnx --quiet");
    done.fails(1, &["error: cannot use the model `none.onnx`"]);
}

#[test]
fn nothing_is_coloured_where_no_terminal_is() {
    let place = Place::with_data(&nets::residual());
    for command in [
        "--help",
        "inspect net.onnx",
        "finetune net.onnx --data idx:data --normalize none --epochs 1 --batch-size 16 -o t.onnx",
    ] {
        let done = place.ok(command);
        assert!(!done.stdout.contains('\u{1b}') && !done.stderr.contains(['\u{1b}', '\r']), "{done}");
    }
}

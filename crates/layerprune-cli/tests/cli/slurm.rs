//! Studies through Slurm: one that is played by a script, and a real one where it runs.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::nets;
use crate::place::Place;
use crate::study::{BYTES, RECIPE, record, study};

/// Keeps what it was called with, and is then the one that the guide's commands meet.
const PLAYED: &str = concat!(
    "#!/bin/sh\nprintf '%s\\n' \"$@\" > called.txt\nexec '",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/cli/guides/bin/sbatch' \"$@\"\n"
);

fn place(recipe: &str) -> Place {
    let place = Place::with_data(&nets::residual());
    place.write("study.toml", recipe);
    place
}

/// Makes `script` the `sbatch` of the folder `bin`.
fn play(place: &Place, script: &str) {
    fs::create_dir_all(place.path("bin")).unwrap();
    place.write("bin/sbatch", script);
    fs::set_permissions(place.path("bin/sbatch"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_array_of_jobs_gives_what_a_local_study_gives() {
    let recipe = RECIPE.replace("[0, 1]", "[0]");
    let place = place(&recipe);
    play(&place, PLAYED);
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let arguments = "study study.toml --threads 1 --slurm --jobs 3 --sbatch=--partition=short --sbatch --exclusive";
    let done = place.command(arguments).args(["--engine", BYTES]).env("PATH", path).output().unwrap();
    let done = crate::place::Done::from(done);
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.starts_with("5 jobs are Slurm's 42\n`squeue -j 42` shows them"), "{done}");
    let called = String::from_utf8(place.bytes("called.txt")).unwrap();
    let called: Vec<&str> = called.lines().collect();
    let expected = [
        "--parsable",
        "--job-name=layerprune",
        "--array=1-5%3",
        "--output=study/slurm/%A_%a.log",
        "--partition=short",
        "--exclusive",
    ];
    assert_eq!(called[..6], expected);
    assert!(!place.path("study/study.json").exists(), "that is for `--collect`");
    assert_eq!(study(&place, "--collect").code, Some(0));

    let local = self::place(&recipe);
    assert_eq!(study(&local, "").code, Some(0));
    assert_eq!(record(&place), record(&local));
}

#[test]
fn without_slurm_it_says_so_and_what_slurm_says_is_passed_on() {
    let place = place(RECIPE);
    fs::create_dir(place.path("bin")).unwrap();
    let submit = || {
        let path = place.path("bin");
        let command = ["study", "study.toml", "--slurm", "--engine", BYTES];
        crate::place::Done::from(place.command("").args(command).env("PATH", path).output().unwrap())
    };
    let done = submit();
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stderr.contains("`sbatch` is not installed here"), "{done}");
    play(&place, "#!/bin/sh\necho 'sbatch: error: invalid partition specified: short' >&2\nexit 1\n");
    let done = submit();
    assert_eq!(done.code, Some(1), "{done}");
    let said = "sbatch did not take the jobs: sbatch: error: invalid partition specified: short";
    assert!(done.stderr.contains(said), "{done}");
}

#[test]
fn names_reach_slurm_as_they_are_or_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let place = place(&RECIPE.replace("\"study\"", "\"it's 50% less\""));
    play(&place, "#!/bin/sh\nfor word; do echo \"$word\"; done > called.txt\necho 7\n");
    let submit = |recipe: &std::ffi::OsStr| {
        let mut command = place.command("study");
        command.arg(recipe).args(["--slurm", "--engine", BYTES]).env("PATH", place.path("bin"));
        crate::place::Done::from(command.output().unwrap())
    };
    let done = submit("study.toml".as_ref());
    assert_eq!(done.code, Some(0), "{done}");
    let called = String::from_utf8(place.bytes("called.txt")).unwrap();
    assert_eq!(called.lines().nth(3), Some("--output=it's 50%% less/slurm/%A_%a.log"));
    let script = fs::read_to_string(called.lines().last().map(|path| place.path(path)).unwrap()).unwrap();
    assert!(script.contains(r"/it'\''s 50% less/slurm/"), "{script}");

    if cfg!(target_os = "macos") {
        eprintln!("skipped: file systems here take no name that is not UTF-8");
        return;
    }
    let odd = std::ffi::OsString::from_vec(b"\xff.toml".to_vec());
    fs::copy(place.path("study.toml"), place.path(&odd)).unwrap();
    let done = submit(&odd);
    assert_eq!(done.code, Some(1), "{done}");
    assert!(done.stderr.contains(".toml` is not UTF-8"), "{done}");
}

/// Forty jobs, as many at once as there are processors; `tools/slurm-on-one-machine` sets a Slurm up.
#[test]
fn forty_jobs_through_a_real_slurm_give_what_a_local_study_gives() {
    let up = Command::new("sinfo").arg("--noheader").output().is_ok_and(|done| done.status.success());
    if !up {
        eprintln!("skipped: no Slurm runs here");
        return;
    }
    let arms = r#"["layerprune:block-influence", "random:filters", "random:layers"]"#;
    let recipe = RECIPE
        .replace(r#"["layerprune:block-influence", "random:filters", "halp", "scratch:block-influence"]"#, arms)
        .replace("[0, 1]", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]");
    let place = place(&recipe);
    let done = study(&place, "--slurm");
    assert_eq!(done.code, Some(0), "{done}");
    assert!(done.stdout.starts_with("40 jobs are Slurm's "), "{done}");
    let array = done.stdout.split_whitespace().nth(4).unwrap();
    let began = Instant::now();
    loop {
        let queue = Command::new("squeue").args(["--noheader", "--jobs", array]).output().unwrap();
        if queue.stdout.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(600), "{}", String::from_utf8_lossy(&queue.stdout));
        std::thread::sleep(Duration::from_secs(1));
    }
    let collected = study(&place, "--collect");
    assert_eq!(collected.code, Some(0), "{collected}");
    let through_slurm = record(&place);
    assert_eq!(through_slurm["rows"].as_array().unwrap().len(), 39);

    let local = self::place(&recipe);
    assert_eq!(study(&local, "").code, Some(0));
    assert_eq!(through_slurm, record(&local));
}

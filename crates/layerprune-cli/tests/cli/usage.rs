//! Help, versions and what is no command.

use insta::assert_snapshot;

use crate::nets;
use crate::place::Place;

const VERBS: [&str; 13] = [
    "inspect",
    "score",
    "prune",
    "train",
    "finetune",
    "recalibrate",
    "eval",
    "latency",
    "verify",
    "report",
    "study",
    "run",
    "demo",
];

/// Arguments and flags of a help page, each with the text that explains it.
fn explained(help: &str) -> Vec<(String, String)> {
    let mut items: Vec<(String, String)> = Vec::new();
    let depth = |line: &str| line.len() - line.trim_start().len();
    for line in help.lines() {
        let word = line.trim_start();
        let begins =
            (2..=6).contains(&depth(line)) && word.starts_with(['-', '<', '[']) && !word.starts_with("[default");
        if begins && !word.starts_with("[possible") {
            let (name, text) = word.split_once("  ").unwrap_or((word, ""));
            items.push((name.to_owned(), text.trim().to_owned()));
        } else if let Some((_, text)) = items.last_mut().filter(|_| depth(line) >= 8 || line.is_empty()) {
            text.push_str(word);
        }
    }
    items
}

#[test]
fn every_argument_and_flag_of_every_verb_is_explained() {
    let place = Place::new();
    for verb in VERBS {
        let done = place.ok(&format!("{verb} --help"));
        assert_eq!(done.stderr, "");
        let items = explained(&done.stdout);
        for (name, text) in &items {
            let text = text.split("[default").next().unwrap().split("[possible").next().unwrap();
            assert!(text.len() > 5, "`{verb}` says nothing of `{name}`\n{done}");
        }
        let names: Vec<_> = items.iter().map(|(name, _)| name.as_str()).collect();
        let common = ["-q, --quiet", "--seed <SEED>", "--format <FORMAT>", "--threads <THREADS>", "--engine <ENGINE>"];
        for common in common.into_iter().chain(["--ort-lib <FILE>", "-h, --help"]) {
            assert!(names.contains(&common), "{verb}: {names:?}");
        }
    }
}

#[test]
fn the_flags_of_each_verb_are_these() {
    let place = Place::new();
    let mut all = String::new();
    for verb in VERBS {
        let items = explained(&place.ok(&format!("{verb} --help")).stdout);
        let own = items.iter().map(|(name, _)| name.as_str()).filter(|name| {
            let machine = ["--threads ", "--engine ", "--command-", "--ort-lib "];
            let common = ["--quiet", "--seed ", "--format ", "--help", "--version"];
            !common.iter().chain(&machine).any(|common| name.contains(common))
        });
        all.push_str(&format!("{verb}: {}\n", own.collect::<Vec<_>>().join(" | ")));
    }
    assert_snapshot!(all, @"
    inspect: <MODEL> | --tree | --channels | --why <NAME> | --input-shape <[NAME=]SIZES>
    score: <MODEL> | --criterion <CRITERION> | --compare | --with <FILE> | --report <FILE> | --layers <K> | --data <KIND:PATH> | --normalize <NAME|MEANS/STDS> | --resize <HxW|N|shorter:N> | --crop <HxW|N> | --interpolation <NAME> | --preprocess <FILE|none> | --gray-to-rgb | --held-out <SHARE> | --samples <N> | --samples-per-class <N> | --batches <N> | --score-batch <N> | --embedding <N> | --probe-epochs <N> | --recalibrate-samples <N> | --normalize-scores <HOW> | --input-shape <[NAME=]SIZES> | -o, --output <FILE>
    prune: <MODEL> | -o, --output <FILE> | --layers <K> | --filters <P%> | --dead-channels | --remove <NAME> | --plan <FILE> | --latency-reduction <P%> | --max-latency <TIME> | --speedup <Nx> | --macs <P%> | --params <P%> | --max-drop <POINTS> | --method <NAME> | --removes <WHAT> | --method-epochs <N> | --method-batches <N> | --method-step <P%> | --method-rounds <N> | --method-strength <X> | --method-learning-rate <X> | --method-images <N> | --method-batch-size <N> | --method-pad-crop <N> | --method-flip[=<BOOL>] | --by <WHAT> | --search <HOW> | --profile <FILE> | --no-cache | --criterion <CRITERION> | --scores <FILE> | --scope <SCOPE> | --floor <P%> | --round-to <N> | --protect <GLOB> | --only <GLOB> | --drop-branches | --shrink-chains | --samples <N> | --samples-per-class <N> | --batches <N> | --score-batch <N> | --embedding <N> | --probe-epochs <N> | --recalibrate-samples <N> | --normalize-scores <HOW> | --input-shape <[NAME=]SIZES> | --batch <N> | --recover <STEP> | --recover-samples <N> | --iterative | --dry-run | --save-plan <FILE> | --data <KIND:PATH> | --normalize <NAME|MEANS/STDS> | --resize <HxW|N|shorter:N> | --crop <HxW|N> | --interpolation <NAME> | --preprocess <FILE|none> | --gray-to-rgb | --held-out <SHARE>
    train: <MODEL> | -o, --output <FILE> | --data <KIND:PATH> | --normalize <NAME|MEANS/STDS> | --resize <HxW|N|shorter:N> | --crop <HxW|N> | --interpolation <NAME> | --preprocess <FILE|none> | --gray-to-rgb | --held-out <SHARE> | --preset <PRESET> | --epochs <N> | --batch-size <N> | --device <cpu|wgpu[:N]|cuda[:N]> | --keep <KEEP> | --patience <N> | --optimizer <OPTIMIZER> | --learning-rate <RATE> | --momentum <SHARE> | --nesterov[=<BOOL>] | --betas <B1,B2> | --weight-decay <FACTOR> | --spare-norms-and-biases[=<BOOL>] | --clip-norm <NORM> | --accumulate <N> | --ema <SHARE> | --schedule <SCHEDULE> | --warm-up <EPOCHS> | --loss <LOSS> | --label-smoothing <SHARE> | --teacher <MODEL.onnx> | --distill-temperature <T> | --distill-weight <SHARE> | --distill-block-weight <WEIGHT> | --distill-blocks <GLOB> | --distill-mirrored[=<BOOL>] | --without-labels[=<BOOL>] | --slimming <STRENGTH> | --sss <STRENGTH> | --masks <STRENGTH> | --ecc <SHARE> | --pad-crop <N> | --random-resized-crop <LEAST,GREATEST> | --flip[=<BOOL>] | --vertical-flip[=<BOOL>] | --rotation <DEGREES> | --rand-augment <OPS,MAGNITUDE> | --color-jitter <B[,C[,S[,H]]]> | --random-erasing <PROBABILITY> | --mixup <ALPHA> | --cutmix <ALPHA> | --log <FILE> | --tensorboard <FOLDER> | --checkpoint-every <MINUTES> | --resume[=<FOLDER>] | --restart | --init <INIT> | --as-much-as <UNPRUNED.onnx>
    finetune: <MODEL> | -o, --output <FILE> | --data <KIND:PATH> | --normalize <NAME|MEANS/STDS> | --resize <HxW|N|shorter:N> | --crop <HxW|N> | --interpolation <NAME> | --preprocess <FILE|none> | --gray-to-rgb | --held-out <SHARE> | --preset <PRESET> | --epochs <N> | --batch-size <N> | --device <cpu|wgpu[:N]|cuda[:N]> | --keep <KEEP> | --patience <N> | --optimizer <OPTIMIZER> | --learning-rate <RATE> | --momentum <SHARE> | --nesterov[=<BOOL>] | --betas <B1,B2> | --weight-decay <FACTOR> | --spare-norms-and-biases[=<BOOL>] | --clip-norm <NORM> | --accumulate <N> | --ema <SHARE> | --schedule <SCHEDULE> | --warm-up <EPOCHS> | --loss <LOSS> | --label-smoothing <SHARE> | --teacher <MODEL.onnx> | --distill-temperature <T> | --distill-weight <SHARE> | --distill-block-weight <WEIGHT> | --distill-blocks <GLOB> | --distill-mirrored[=<BOOL>] | --without-labels[=<BOOL>] | --slimming <STRENGTH> | --sss <STRENGTH> | --masks <STRENGTH> | --ecc <SHARE> | --pad-crop <N> | --random-resized-crop <LEAST,GREATEST> | --flip[=<BOOL>] | --vertical-flip[=<BOOL>] | --rotation <DEGREES> | --rand-augment <OPS,MAGNITUDE> | --color-jitter <B[,C[,S[,H]]]> | --random-erasing <PROBABILITY> | --mixup <ALPHA> | --cutmix <ALPHA> | --log <FILE> | --tensorboard <FOLDER> | --checkpoint-every <MINUTES> | --resume[=<FOLDER>] | --restart
    recalibrate: <MODEL> | -o, --output <FILE> | --data <KIND:PATH> | --normalize <NAME|MEANS/STDS> | --resize <HxW|N|shorter:N> | --crop <HxW|N> | --interpolation <NAME> | --preprocess <FILE|none> | --gray-to-rgb | --held-out <SHARE> | --samples <N>
    eval: <MODEL> | --data <KIND:PATH> | --normalize <NAME|MEANS/STDS> | --resize <HxW|N|shorter:N> | --crop <HxW|N> | --interpolation <NAME> | --preprocess <FILE|none> | --gray-to-rgb | --held-out <SHARE> | --split <SPLIT> | --loss <LOSS> | --training-library
    latency: <MODEL> | [OTHERS]... | --batch <N> | --thread-counts <N> | --engines <NAME,...> | --samples <N> | --warm-up <SECONDS> | --input-shape <[NAME=]SIZES>
    verify: <A> | <B> | --tolerance <SHARE> | --samples <N> | --input-shape <[NAME=]SIZES>
    report: <RECORD> | -o, --output <FILE>
    study: [RECIPE] | --example | --jobs <N> | --list-jobs | --slurm | --sbatch <OPTION> | --job <KEY> | --collect
    run: [RECIPE] | --example
    demo: -o, --output <FOLDER>
    ");
}

#[test]
fn every_verb_stands_in_the_help_with_a_line_of_its_own() {
    let done = Place::new().ok("--help");
    for verb in VERBS {
        let line = done.stdout.lines().find(|line| line.trim_start().starts_with(&format!("{verb} ")));
        let text = line.unwrap_or_else(|| panic!("{verb}\n{done}")).trim_start().strip_prefix(verb).unwrap();
        assert!(text.trim().len() > 10, "{verb}\n{done}");
    }
    assert!(done.stdout.contains("Exit status: 0 done, 1 cannot be done as asked, 2 wrong usage."));
    assert_eq!(Place::new().ok("help prune").stdout, Place::new().ok("prune --help").stdout);
}

#[test]
fn the_version_is_that_of_the_package() {
    let expected = format!("layerprune {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Place::new().ok("--version").stdout, expected);
    assert_eq!(Place::new().ok("-V").stdout, expected);
}

#[test]
fn a_verb_that_there_is_not_is_wrong_usage() {
    assert_snapshot!(Place::new().run("purne net.onnx"), @r#"
    exit status: 2
    ----- stderr
    error: unrecognized subcommand 'purne'

      tip: a similar subcommand exists: 'prune'

    Usage: layerprune [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
}

#[test]
fn no_verb_at_all_shows_the_help_and_is_wrong_usage() {
    let done = Place::new().run("");
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""));
    assert!(done.stderr.contains("Usage: layerprune"), "{done}");
}

#[test]
fn missing_and_unknown_arguments_are_wrong_usage() {
    let place = Place::with(&nets::residual());
    for verb in VERBS.iter().filter(|verb| **verb != "demo") {
        place.run(verb).fails(2, &["required"]);
    }
    for verb in VERBS {
        place.run(&format!("{verb} --no-such-flag")).fails(2, &["--no-such-flag"]);
    }
    place.run("inspect net.onnx --format yaml").fails(2, &["text", "json"]);
    place.run("inspect net.onnx --seed -1").fails(2, &["-1"]);
    place.run("eval net.onnx").fails(2, &["--data <KIND:PATH>"]);
}

#[test]
fn options_of_every_command_may_stand_before_the_verb() {
    let place = Place::with(&nets::residual());
    let behind = place.ok("inspect net.onnx --format json").stdout;
    assert_eq!(place.ok("--format json inspect net.onnx").stdout, behind);
}

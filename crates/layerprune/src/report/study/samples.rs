//! A made-up study of the size of a real one.

use std::fs;
use std::path::Path;

use super::super::samples::{accuracy, comparison, realistic};
use crate::record::{
    Accuracy, Circumstances, EngineInfo, Handcrafted, LatencyComparison, STUDY_SCHEMA, SavingRow, Savings, Study,
    StudyFailure, StudyRow, SweepBaseline, Verdict, Warning,
};
use crate::stats::SplitMix;

/// The records of real studies, by their files.
pub(super) fn real() -> Vec<(String, Study)> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results");
    let names = ["methods/study", "layers-or-filters/resnet56-random", "layers-or-filters/resnet56-table"];
    let more = ["layers-or-filters/vgg19-random", "layers-or-filters/vgg19-table"];
    let read = |name: &str| {
        let text = fs::read_to_string(results.join(format!("{name}.json"))).unwrap();
        (name.to_owned(), serde_json::from_str(&text).unwrap())
    };
    names.into_iter().chain(more).map(read).collect()
}

/// A study in which nothing was made.
pub(super) fn empty() -> Study {
    Study {
        schema: STUDY_SCHEMA,
        tool: realistic().tool,
        machine: realistic().machine,
        model: realistic().model,
        settings: serde_json::Value::Null,
        commands: Vec::new(),
        baseline: SweepBaseline { accuracy: None, parameters: 853_018, macs: None },
        layers: Vec::new(),
        scores: Vec::new(),
        savings: None,
        rows: Vec::new(),
        random: Vec::new(),
        handcrafted: Vec::new(),
        failures: Vec::new(),
    }
}

/// A model of an arm with a top-1 and a latency reduction, timed in one way.
pub(super) fn row(arm: &str, removes: &str, seed: u64, top1: f64, reduction: f64) -> StudyRow {
    StudyRow {
        arm: arm.to_owned(),
        removes: removes.to_owned(),
        budget: "latency reduction 25 %".to_owned(),
        seed,
        file: format!("models/{}-{seed}.onnx", arm.replace(':', "-")),
        digest: format!("blake3:{seed:032x}"),
        layers: Vec::new(),
        filters: 0,
        parameters: 600_000 + seed,
        macs: Some(90_000_000),
        after_cut: None,
        accuracy: Some(exact(top1)),
        epochs: 2,
        latency: vec![timed("rten", 1, reduction)],
        cpu: None,
        seconds: [12.0, 90.0],
    }
}

fn exact(top1: f64) -> Accuracy {
    Accuracy::from_counts(10_000, (100.0 * top1).round() as u64, None, None)
}

fn timed(engine: &str, batch: usize, reduction: f64) -> LatencyComparison {
    let verdict = if reduction > 0.5 { Verdict::Faster } else { Verdict::NotFaster };
    let mut one = comparison(batch, verdict, reduction, [reduction - 0.6, reduction + 0.7]);
    one.engine = EngineInfo { name: engine.to_owned(), version: "1.0".to_owned() };
    one
}

const WAYS: [(&str, usize, f64); 6] = [
    ("rten", 1, 1.0),
    ("rten", 8, 0.93),
    ("rten", 64, 0.88),
    ("onnxruntime", 1, 1.1),
    ("onnxruntime", 8, 0.9),
    ("onnxruntime", 64, 0.8),
];

/// Layers save alike everywhere, filters less where the engine's own work weighs more.
fn everywhere(removes: &str, reduction: f64, draw: &mut SplitMix) -> Vec<LatencyComparison> {
    let of = |(engine, batch, factor): (&str, usize, f64), noise: f64| {
        let factor = if removes == "layers" {
            factor
        } else {
            factor * 0.8 - 0.15 * f64::from(u8::from(engine == "onnxruntime"))
        };
        timed(engine, batch, reduction * factor + noise)
    };
    WAYS.map(|way| of(way, 0.8 * draw.normal())).to_vec()
}

/// Three budgets, sixteen arms with three seeds, six ways of timing, a hundred models by lot of each kind.
pub(super) fn full() -> Study {
    let record = realistic();
    let mut draw = SplitMix::new(7);
    let blocks: Vec<String> = record.layers.iter().skip(1).map(|layer| layer.name.clone()).collect();
    let mut study = Study {
        settings: record.settings,
        commands: vec![
            "layerprune study recipe.toml --output study".to_owned(),
            "layerprune report study/study.json --output study.html".to_owned(),
        ],
        baseline: SweepBaseline { accuracy: Some(exact(93.4)), parameters: 853_018, macs: Some(125_485_706) },
        layers: record.layers,
        scores: record.scores,
        savings: Some(savings(&blocks)),
        ..empty()
    };
    study.layers.iter_mut().for_each(|layer| layer.removed = false);
    let layer_arms = [
        "layerprune",
        "layerprune-iterative",
        "layerprune:weight-norm",
        "layerprune:batch-norm-scale",
        "layerprune:taylor-gate",
        "layerprune:feature-maps",
        "sss",
        "random:layers",
    ];
    let filter_arms = ["weight-norm", "slimming", "taylor", "feature-maps", "hrank", "thinet", "ecc", "random:filters"];
    for budget in [15.0, 25.0, 40.0] {
        for (removes, arms) in [("layers", layer_arms), ("filters", filter_arms)] {
            for (nth, arm) in arms.iter().enumerate() {
                for seed in 0..3 {
                    let top1 = 93.3
                        - 0.0012 * budget * budget
                        - 0.25 * nth as f64
                        - 0.1 * f64::from(u8::from(removes == "filters"))
                        + 0.12 * draw.normal();
                    let mut one = row(arm, removes, seed, top1, 0.0);
                    one.budget = format!("latency reduction {budget} %");
                    one.file = format!("models/{}-{budget}-{seed}.onnx", arm.replace(':', "-"));
                    one.after_cut = Some(exact(top1 - 0.9 * budget));
                    one.latency = everywhere(removes, budget + 1.5 + draw.normal(), &mut draw);
                    cut(&mut one, &blocks, (budget / 4.0) as usize, &mut draw);
                    study.rows.push(one);
                }
            }
        }
    }
    for (removes, count) in [("layers", 100), ("filters", 100)] {
        for seed in 0..count {
            let reduction = 5.0 + 55.0 * draw.below(1000) as f64 / 1000.0;
            let top1 = 92.5 - 0.003 * reduction * reduction - 1.5 * f64::from(u8::from(removes == "filters"))
                + 0.8 * draw.normal();
            let mut one = row(&format!("random:{removes}"), removes, seed, top1, 0.0);
            one.file = format!("models/random-{removes}-{seed}.onnx");
            one.budget = String::new();
            one.accuracy = one.accuracy.filter(|_| seed < 40);
            one.latency = everywhere(removes, reduction, &mut draw);
            cut(&mut one, &blocks, (reduction / 4.0) as usize, &mut draw);
            study.random.push(one);
        }
    }
    study.rows[0].latency[0].warnings = vec![Warning::FewSamples { samples: 12, needed: 30 }];
    study.handcrafted = vec![
        Handcrafted {
            name: "ResNet-20".to_owned(),
            file: "others/resnet20.onnx".to_owned(),
            accuracy: Some(accuracy(91.9)),
            stated_top1: None,
            parameters: 269_722,
            macs: Some(40_551_040),
            latency: everywhere("layers", 61.0, &mut draw),
        },
        Handcrafted {
            name: "MobileNet-v2 0.5".to_owned(),
            file: "others/mobilenet.onnx".to_owned(),
            accuracy: None,
            stated_top1: Some(90.1),
            parameters: 700_000,
            macs: None,
            latency: everywhere("layers", 33.0, &mut draw),
        },
    ];
    study.failures = vec![StudyFailure {
        arm: "halp".to_owned(),
        budget: "latency reduction 40 %".to_owned(),
        seed: 2,
        reason: "the budget was not met: 31.2 % is the most that this method reaches".to_owned(),
    }];
    study
}

/// Takes `count` of the blocks, or filters in their place.
fn cut(one: &mut StudyRow, blocks: &[String], count: usize, draw: &mut SplitMix) {
    if one.removes != "layers" {
        one.filters = 20 * count;
        return;
    }
    let mut left = blocks.to_vec();
    for _ in 0..count.min(blocks.len() - 1).max(1) {
        one.layers.push(left.remove(draw.below(left.len())));
    }
}

fn savings(blocks: &[String]) -> Savings {
    let circumstances = Circumstances {
        engine: EngineInfo { name: "rten".to_owned(), version: "1.0".to_owned() },
        threads: 2,
        batch: 1,
        shape: vec![1, 3, 32, 32],
        pinned: true,
    };
    let rows = blocks.iter().enumerate().map(|(nth, layer)| {
        let percent = 3.9 - 0.05 * nth as f64;
        SavingRow {
            layer: layer.clone(),
            with_ms: 1.2,
            without_ms: 1.2 * (1.0 - percent / 100.0),
            reduction_percent: percent,
            reduction_interval: [percent - 0.3, percent + 0.4],
        }
    });
    Savings { circumstances, rows: rows.collect() }
}

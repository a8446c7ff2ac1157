//! Made-up records for the tests of the reports.

use crate::record::{
    Accuracy, Baseline, DataInfo, EngineInfo, EpochRow, InputInfo, LatencyComparison, LatencyStats, LayerRow, Machine,
    ModelFile, ModelInfo, PlanStep, PlanSummary, Proportion, Pruned, Record, ScoreRow, ScoreTable, Tool, Verdict,
};

pub(super) fn accuracy(percent: f64) -> Accuracy {
    Accuracy { images: 1000, top1: proportion(percent, 1.5), top5: None, loss: Some(0.31) }
}

fn proportion(percent: f64, half: f64) -> Proportion {
    Proportion { percent, interval: [percent - half, percent + half] }
}

fn stats(median_ms: f64) -> LatencyStats {
    LatencyStats {
        samples: 200,
        median_ms,
        mean_ms: median_ms * 1.02,
        min_ms: median_ms * 0.97,
        p90_ms: median_ms * 1.08,
        p95_ms: Some(median_ms * 1.15),
        p99_ms: median_ms * 1.3,
        mad_ms: median_ms * 0.01,
        iqr_ms: Some(median_ms * 0.02),
        samples_ms: Vec::new(),
    }
}

pub(super) fn comparison(batch: usize, verdict: Verdict, percent: f64, interval: [f64; 2]) -> LatencyComparison {
    let baseline = 1.2 * batch as f64;
    let ratio = 1.0 - percent / 100.0;
    LatencyComparison {
        engine: EngineInfo { name: "rten".to_owned(), version: "0.27.0".to_owned() },
        threads: 2,
        batch,
        shape: vec![batch, 3, 32, 32],
        pinned: true,
        baseline: stats(baseline),
        candidate: stats(baseline * ratio),
        latency_reduction_percent: percent,
        latency_reduction_interval: interval,
        speedup: ratio.recip(),
        speedup_interval: interval.map(|end| (1.0 - end / 100.0).recip()),
        verdict,
        warnings: Vec::new(),
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Three layers, one of which went.
pub(super) fn small() -> Record {
    let block = |name: &str, removed| LayerRow {
        name: name.to_owned(),
        kind: "block".to_owned(),
        way: text("bypass"),
        reason: None,
        exact: true,
        parameters: Some(4_672),
        macs: Some(4_718_592),
        shape: text("16 x 32 x 32"),
        removed,
    };
    let stem = LayerRow {
        name: "stem".to_owned(),
        kind: "conv-layer".to_owned(),
        way: None,
        reason: text("the first layer"),
        exact: false,
        parameters: Some(448),
        macs: Some(442_368),
        shape: text("16 x 32 x 32"),
        removed: false,
    };
    let score = |layer: &str, score, accuracy, removed| ScoreRow {
        layer: layer.to_owned(),
        score,
        accuracy: Some(proportion(accuracy, 2.5)),
        tied_with_next: removed,
        removed,
        ..ScoreRow::default()
    };
    Record {
        tool: Tool { name: "layerprune".to_owned(), version: "0.1.0".to_owned() },
        complete: true,
        machine: Machine { cpu: text("A CPU"), os: None, cores: Some(2) },
        model: ModelInfo { path: "net_a|b.onnx".to_owned(), opset: Some(17), ..ModelInfo::default() },
        warnings: vec!["the machine was <busy>".to_owned()],
        layers: vec![stem, block("layer1.0", true), block("layer1.1", false)],
        scores: vec![ScoreTable {
            criterion: "imprinting".to_owned(),
            meaning: "Points of accuracy that the layer adds to the one before".to_owned(),
            rows: vec![score("layer1.0", -0.5, 40.5, true), score("layer1.1", 1.25, 41.75, false)],
        }],
        plan: Some(PlanSummary {
            criterion: "imprinting".to_owned(),
            target: text("1 layer"),
            removed: vec!["layer1.0".to_owned()],
            ..PlanSummary::default()
        }),
        baseline: Some(Baseline {
            file: ModelFile { macs: Some(9_879_552), parameters: Some(9_792), ..ModelFile::default() },
            accuracy: Some(accuracy(92.0)),
        }),
        pruned: Some(Pruned {
            file: ModelFile { macs: Some(5_160_960), parameters: Some(5_120), ..ModelFile::default() },
            after_cut: Some(accuracy(80.0)),
            after_recalibration: None,
            after_finetune: Some(accuracy(89.0)),
        }),
        latency: vec![comparison(1, Verdict::Faster, 37.5, [36.1, 38.9])],
        ..Record::default()
    }
}

const DEPTH: usize = 27;

fn name(index: usize) -> String {
    let (stage, block) = (index / 9 + 1, index % 9);
    match index {
        13 => "/backbone/model/features/stage2/stage2.4/BasicBlockWithAVeryLongName/conv2/Conv".to_owned(),
        _ => format!("/backbone/layer{stage}/layer{stage}.{block}"),
    }
}

fn gone(index: usize) -> bool {
    [7, 12, 13, 16, 25].contains(&index)
}

/// A ResNet-56 pruned to a latency, with all that a run can find.
pub(super) fn realistic() -> Record {
    let wobble = |index: usize, size: f64| size * ((index * 7919 % 17) as f64 / 8.0 - 1.0);
    let accuracies: Vec<f64> =
        (0..DEPTH).map(|index| 22.0 + 68.0 * (index as f64 / 26.0).powf(0.8) + wobble(index, 1.9)).collect();
    let imprinting = (0..DEPTH).map(|index| ScoreRow {
        layer: name(index),
        score: accuracies[index] - if index == 0 { 0.0 } else { accuracies[index - 1] },
        accuracy: Some(proportion(accuracies[index], 1.3)),
        tied_with_next: index % 3 == 0,
        removed: gone(index),
        interval: (index % 2 == 0).then(|| {
            [accuracies[index] - 1.0, accuracies[index] + 1.5]
                .map(|end| end - if index == 0 { 0.0 } else { accuracies[index - 1] })
        }),
    });
    let norms = (0..DEPTH).map(|index| ScoreRow {
        layer: name(index),
        score: 0.002 * (1.0 + index as f64 / 9.0) + wobble(index, 0.0009),
        removed: gone(index),
        ..ScoreRow::default()
    });
    let mut record = small();
    record.created = text("2026-03-01T09:30:00Z");
    record.machine = Machine { cpu: text("Some CPU @ 2.60 GHz"), os: text("Linux 6.8"), cores: Some(2) };
    record.model = ModelInfo {
        path: "models/resnet56_cifar10.onnx".to_owned(),
        digest: text("blake3:5d41402abc4b2a76b9719d911017c592ae2f1c0de0b1"),
        opset: Some(17),
        producer: text("pytorch 2.9"),
        inputs: vec![InputInfo { name: "input".to_owned(), shape: "N x 3 x 32 x 32".to_owned() }],
    };
    record.data = Some(DataInfo {
        source: "cifar10:data/cifar".to_owned(),
        preprocessing: text("sizes as they are; pixels / 255, mean 0.5, std 0.25"),
        train: Some(45_000),
        held_out: Some(5_000),
        test: Some(10_000),
        evaluated_on: text("test images"),
        classes: ["airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
            .map(ToOwned::to_owned)
            .to_vec(),
        seed: Some(7),
    });
    record.settings = serde_json::json!({
        "criterion": "imprinting",
        "budget": { "latency_reduction_percent": 20 },
        "finetune": { "epochs": 8, "learning_rate": 0.001, "momentum": 0.9, "note": "</script><b>" },
    });
    record.warnings = vec!["the processor's clock changed by 12 % while timing".to_owned()];
    let mut stem = record.layers.remove(0);
    stem.name = "/backbone/conv1".to_owned();
    record.layers = vec![stem];
    record.layers.extend((0..DEPTH).map(|index| LayerRow {
        name: name(index),
        kind: "block".to_owned(),
        way: if index == 9 || index == 18 { text("drop-branch") } else { text("bypass") },
        reason: if index == 9 || index == 18 { text("changes resolution; the projection stays") } else { None },
        exact: index != 9 && index != 18,
        parameters: Some(4_672 << (2 * (index / 9))),
        macs: Some(4_718_592),
        shape: text(["16 x 32 x 32", "32 x 16 x 16", "64 x 8 x 8"][index / 9]),
        removed: gone(index),
    }));
    record.scores = vec![
        ScoreTable {
            criterion: "imprinting".to_owned(),
            meaning: "Points of accuracy that the layer adds to the one before".to_owned(),
            rows: imprinting.collect(),
        },
        ScoreTable {
            criterion: "magnitude-l2".to_owned(),
            meaning: "Mean squared norm of the filters".to_owned(),
            rows: norms.collect(),
        },
    ];
    let removed: Vec<String> = [13, 7, 16, 25, 12].map(name).to_vec();
    record.plan = Some(PlanSummary {
        filters_removed: None,
        criterion: "imprinting".to_owned(),
        target: text("latency reduction 20 %"),
        met: Some(false),
        target_reduction_percent: Some(20.0),
        target_batch: Some(1),
        steps: removed
            .iter()
            .zip([3.4, 7.7, 10.1, 14.6, 18.9])
            .map(|(removed, percent)| PlanStep {
                removed: removed.clone(),
                latency_ms: 1.2 * (1.0 - percent / 100.0),
                latency_reduction_percent: percent,
                predicted_percent: None,
            })
            .collect(),
        removed,
    });
    let file = |path: &str, parameters, macs, file_bytes| ModelFile {
        path: text(path),
        digest: None,
        parameters: Some(parameters),
        macs: Some(macs),
        file_bytes: Some(file_bytes),
    };
    let accuracy = |percent: f64, top5: f64| Accuracy {
        images: 10_000,
        top1: proportion(percent, 0.5),
        top5: Some(proportion(top5, 0.1)),
        loss: Some(0.3),
    };
    record.baseline = Some(Baseline {
        file: file("models/resnet56_cifar10.onnx", 853_018, 125_485_706, 3_467_123),
        accuracy: Some(accuracy(93.4, 99.8)),
    });
    record.pruned = Some(Pruned {
        file: file("pruned.onnx", 701_338, 101_892_746, 2_859_000),
        after_cut: Some(accuracy(84.1, 98.9)),
        after_recalibration: Some(accuracy(89.7, 99.5)),
        after_finetune: Some(accuracy(92.6, 99.7)),
    });
    record.training = (1..=8)
        .map(|epoch| EpochRow {
            stage: "fine-tuning".to_owned(),
            epoch,
            loss: 0.1 + 0.5 / epoch as f64,
            train_top1: Some(99.0 - 9.0 / epoch as f64),
            held_out_top1: Some(93.0 - 4.0 / epoch as f64 + wobble(epoch, 0.4)),
            learning_rate: Some(if epoch < 5 { 0.001 } else { 0.0001 }),
            seconds: Some(81.2),
            ..EpochRow::default()
        })
        .collect();
    record.latency = vec![
        comparison(1, Verdict::Faster, 18.7, [18.1, 19.4]),
        comparison(8, Verdict::Faster, 16.0, [15.1, 16.6]),
        comparison(64, Verdict::NotFaster, 0.4, [-0.9, 1.6]),
    ];
    record.latency[2].baseline.p99_ms = 540.0;
    record.latency[1].warnings = vec![crate::record::Warning::FewSamples { samples: 12, needed: 30 }];
    record
}

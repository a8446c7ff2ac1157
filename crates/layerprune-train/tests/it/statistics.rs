//! Batch-norm statistics, initial weights, and how weights are found in a file.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;

use layerprune::batch::Batch;
use layerprune_train::{Loss, Settings, evaluate, initialize, recalibrate, scores, train};
use serde::Deserialize;

use crate::golden::{Fixed, GoldenBatch, golden, settings};
use crate::gradients::{GoldenNode, GoldenTensor, graph};
use crate::models::{Noise, around, floats, int, ints, node, small, weight};

const DATA: Noise = Noise { batches: 2, images: 4, classes: 3 };

#[test]
fn recalibrating_averages_mean_and_unbiased_variance_over_batches() {
    let model = around(
        13,
        vec![
            node("BatchNormalization", &["x", "scale", "shift", "mean", "variance"], &["b"], vec![]),
            node("GlobalAveragePool", &["b"], &["g"], vec![]),
            node("Flatten", &["g"], &["y"], vec![]),
        ],
        vec![
            floats("scale", &[1], &[2.0]),
            floats("shift", &[1], &[0.5]),
            floats("mean", &[1], &[9.0]),
            floats("variance", &[1], &[9.0]),
        ],
    );
    // 16 pixels, half 1 and half 3: mean 2, squared deviations sum to 16, 16 / 15.
    let mut first = vec![1.0; 8];
    first.extend([3.0; 8]);
    // One pixel 16: mean 1, squared deviations 225 + 15, 240 / 15 = 16.
    let mut second = vec![0.0; 15];
    second.push(16.0);
    let batch = |images| Ok(Batch::new(images, [1, 1, 4, 4], vec![0]));
    let tuned = recalibrate(&model, &mut [batch(first), batch(second)].into_iter()).unwrap();
    assert!((weight(&tuned, "mean")[0] - 1.5).abs() < 1e-6);
    assert!((weight(&tuned, "variance")[0] - (16.0 / 15.0 + 16.0) / 2.0).abs() < 1e-5);
    assert_eq!(weight(&tuned, "scale"), [2.0]);
    assert_eq!(weight(&tuned, "shift"), [0.5]);
}

#[derive(Deserialize)]
struct Running {
    nodes: Vec<GoldenNode>,
    tensors: BTreeMap<String, GoldenTensor>,
    batches: Vec<GoldenBatch>,
    /// Means and variances behind each batch.
    after: Vec<BTreeMap<String, Vec<f32>>>,
}

#[test]
fn running_statistics_are_pytorchs_behind_every_step() {
    let running: Running = serde_json::from_slice(&fs::read(golden("train_statistics.json")).unwrap()).unwrap();
    let model = graph(13, &running.nodes, &running.tensors);
    let batches: Vec<_> = running.batches.iter().map(GoldenBatch::batch).collect();
    for (step, expected) in running.after.iter().enumerate() {
        let data = Fixed(batches[..=step].to_vec());
        let outcome = train(&model, &data, &settings(), None, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(expected.len(), 6, "mean and variance of three batch norms");
        for (name, expected) in expected {
            let found = weight(&outcome.model, name);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs() / expected.abs().max(1.0);
                assert!(error < 1e-4, "{name} behind step {step}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn frozen_statistics_stay_while_weights_move() {
    let model = small();
    let settings = Settings { epochs: 1, freeze_batch_norm_stats: true, ..Settings::default() };
    let outcome = train(&model, &DATA, &settings, None, &mut |_| ControlFlow::Continue(())).unwrap();
    for (name, moves) in [("mean", false), ("variance", false), ("ratio", false), ("scale", true), ("w", true)] {
        assert_eq!(weight(&outcome.model, name) != weight(&model, name), moves, "{name}");
    }
}

#[test]
fn statistics_that_an_exporter_merged_are_trained_apart() {
    let norm = |input: &str, output: &str| {
        node("BatchNormalization", &[input, "one", "zero", "zero", "copy"], &[output], vec![])
    };
    let model = around(
        13,
        vec![
            node("Identity", &["one"], &["copy"], vec![]),
            norm("x", "a"),
            norm("a", "b"),
            node("Flatten", &["b"], &["f"], vec![]),
            node("Gemm", &["f", "fc"], &["y"], vec![int("transB", 1)]),
        ],
        vec![
            floats("one", &[1], &[1.0]),
            floats("zero", &[1], &[0.0]),
            floats("fc", &[3, 16], &(0..48).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<_>>()),
        ],
    );
    let batch = DATA.batch(3);
    let before = scores(&model, &batch).unwrap();
    let outcome =
        train(&model, &DATA, &Settings { epochs: 1, ..Settings::default() }, None, &mut |_| ControlFlow::Continue(()));
    let trained = outcome.unwrap().model;
    trained.graph.validate().unwrap();
    assert_eq!(trained.graph.initializers().len(), 9, "four of each batch norm and the linear layer's");
    assert!(trained.graph.nodes().all(|(_, node)| node.op_type() != "Identity"));
    assert_ne!(scores(&trained, &batch).unwrap(), before);
}

#[test]
fn initial_weights_have_the_spread_of_their_kind() {
    let model = around(
        13,
        vec![
            node("Conv", &["x", "w", "b"], &["c"], vec![]),
            node("BatchNormalization", &["c", "scale", "shift", "mean", "variance"], &["n"], vec![]),
            node("Flatten", &["n"], &["f"], vec![]),
            node("Gemm", &["f", "fc", "bias"], &["y"], vec![int("transB", 1)]),
        ],
        vec![
            floats("w", &[400, 1, 3, 3], &[7.0; 3600]),
            floats("b", &[400], &[7.0; 400]),
            floats("scale", &[400], &[7.0; 400]),
            floats("shift", &[400], &[7.0; 400]),
            floats("mean", &[400], &[7.0; 400]),
            floats("variance", &[400], &[7.0; 400]),
            floats("fc", &[3, 1600], &[7.0; 4800]),
            floats("bias", &[3], &[7.0; 3]),
        ],
    );
    let fresh = initialize(&model, 4).unwrap();
    let w = weight(&fresh, "w");
    let deviation = (w.iter().map(|x| x * x).sum::<f32>() / 3600.0).sqrt();
    let expected = (2.0_f32 / 3600.0).sqrt();
    assert!((deviation / expected - 1.0).abs() < 0.05, "{deviation} instead of {expected}");
    let fc = weight(&fresh, "fc");
    let (bound, greatest) = (1.0 / 40.0, fc.iter().fold(0.0_f32, |a, b| a.max(b.abs())));
    assert!(greatest <= bound && greatest > 0.99 * bound, "{greatest}");
    assert!(weight(&fresh, "bias").iter().all(|x| x.abs() <= bound));
    for (name, number) in [("b", 0.0), ("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("variance", 1.0)] {
        assert!(weight(&fresh, name).iter().all(|&x| x == number), "{name}");
    }
    assert_eq!(initialize(&model, 4).unwrap().to_bytes(), fresh.to_bytes());
    assert_ne!(weight(&initialize(&model, 5).unwrap(), "w"), w);
}

#[test]
fn no_trained_weight_keeps_its_numbers() {
    let model = around(
        13,
        vec![
            node("Conv", &["x", "w"], &["c"], vec![]),
            node("Add", &["c", "conv_bias"], &["a"], vec![]),
            node("Mul", &["a", "layerprune.scale/filters/c"], &["s"], vec![]),
            node("GlobalAveragePool", &["s"], &["g"], vec![]),
            node("Flatten", &["g"], &["f"], vec![]),
            node("MatMul", &["f", "m"], &["p"], vec![]),
            node("Add", &["bias", "p"], &["q"], vec![]),
            node("Transpose", &["q"], &["t"], vec![ints("perm", &[1, 0])]),
            node("MatMul", &["left", "t"], &["u"], vec![]),
            node("Transpose", &["u"], &["v"], vec![ints("perm", &[1, 0])]),
            node("Gemm", &["v", "fc"], &["z"], vec![]),
            node("Add", &["z", "last"], &["y"], vec![]),
        ],
        vec![
            floats("w", &[4, 1, 3, 3], &[7.0; 36]),
            floats("conv_bias", &[4, 1, 1], &[7.0; 4]),
            floats("layerprune.scale/filters/c", &[1, 4, 1, 1], &[7.0; 4]),
            floats("m", &[4, 400], &[7.0; 1600]),
            floats("bias", &[400], &[7.0; 400]),
            floats("left", &[100, 400], &[7.0; 40000]),
            floats("fc", &[100, 3], &[7.0; 300]),
            floats("last", &[3], &[7.0; 3]),
        ],
    );
    let fresh = initialize(&model, 4).unwrap();
    for (name, bound) in [("m", 0.5), ("bias", 0.5), ("left", 0.05), ("fc", 0.1), ("last", 0.1)] {
        let numbers = weight(&fresh, name);
        let greatest = numbers.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        assert!(greatest <= bound && greatest > 0.0, "{name}: {greatest}");
    }
    assert_eq!(weight(&fresh, "conv_bias"), [0.0; 4]);
    assert_eq!(weight(&fresh, "layerprune.scale/filters/c"), [1.0; 4]);
    assert!(weight(&fresh, "w").iter().all(|&x| x != 7.0));
}

#[test]
fn training_lowers_the_loss_and_evaluation_counts() {
    let model = initialize(&small(), 1).unwrap();
    // Three images that stay the same can be learnt by heart.
    let same = Noise { batches: 1, images: 3, classes: 3 };
    struct Same(Batch);
    impl layerprune_train::Batches for Same {
        fn epoch(
            &self,
            _: usize,
            first: usize,
        ) -> Box<dyn Iterator<Item = Result<Batch, Box<dyn std::error::Error + Send + Sync>>> + '_> {
            Box::new((first..10).map(|_| Ok(self.0.clone())))
        }

        fn batches_per_epoch(&self) -> usize {
            10
        }
    }
    let batch = same.batch(2);
    let before = evaluate(&model, &Loss::default(), &mut std::iter::once(Ok(batch.clone()))).unwrap();
    let settings = Settings { epochs: 20, learning_rate: 0.1, ..Settings::default() };
    let outcome = train(&model, &Same(batch.clone()), &settings, None, &mut |_| ControlFlow::Continue(())).unwrap();
    let after = evaluate(&outcome.model, &Loss::default(), &mut std::iter::once(Ok(batch))).unwrap();
    assert!(after.loss_sum < 0.5 * before.loss_sum, "{after:?} behind {before:?}");
    assert_eq!((after.images, after.top5), (3, Some(3)));
}

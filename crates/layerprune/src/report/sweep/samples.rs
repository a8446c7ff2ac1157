//! A made-up sweep for the tests.

use super::super::samples::{accuracy, comparison};
use crate::record::{Machine, ModelInfo, Sweep, SweepBaseline, SweepFailure, SweepPoint, Tool, Verdict};

fn point(budget: &str, reduction: f64, half: f64, top1: Option<f64>, layers: &[&str]) -> SweepPoint {
    let verdict = if reduction > half { Verdict::Faster } else { Verdict::NotFaster };
    SweepPoint {
        budget: budget.to_owned(),
        file: format!("{}.onnx", budget.chars().filter(char::is_ascii_digit).collect::<String>()),
        digest: "blake3:5d41402abc4b2a76".to_owned(),
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        channels_removed: 16 * layers.len(),
        accuracy: top1.map(accuracy),
        latency: comparison(1, verdict, reduction, [reduction - half, reduction + half]),
        parameters: 853_018 - 80_000 * layers.len() as u64,
        macs: Some(125_485_706 - 10_000_000 * layers.len() as u64),
    }
}

/// Four models, of which one is dominated and one has no accuracy, and a budget without a model.
pub(super) fn small() -> Sweep {
    Sweep {
        tool: Tool { name: "layerprune".to_owned(), version: "0.1.0".to_owned() },
        machine: Machine { cpu: Some("A CPU".to_owned()), os: None, cores: Some(2) },
        model: ModelInfo { path: "net_a|b.onnx".to_owned(), ..ModelInfo::default() },
        evaluated_on: "held-out part of the training set".to_owned(),
        baseline: SweepBaseline { accuracy: Some(accuracy(93.4)), parameters: 853_018, macs: Some(125_485_706) },
        points: vec![
            point("latency reduction 25 %", 25.0, 0.5, Some(93.0), &["layer1.0"]),
            point("latency reduction 30 %", 30.4, 0.9, Some(89.0), &["layer1.0", "layer2.1"]),
            point("latency reduction 40 %", 41.2, 1.1, Some(90.5), &["layer1.0", "layer3.1"]),
            point("latency reduction 50 %", 50.0, 1.0, None, &["layer1.0", "layer2.1", "layer3.1"]),
        ],
        failures: vec![SweepFailure {
            budget: "latency reduction 90 %".to_owned(),
            reason: "without all removable layers it is 62.1 % at most".to_owned(),
        }],
        ..Sweep::default()
    }
}

/// Many models, some of which lie close together.
pub(super) fn crowded() -> Sweep {
    let points = (1..=9).flat_map(|step| {
        let budget = format!("latency reduction {} %", 10 * step);
        let asked = 10.0 * f64::from(step);
        let best = 94.0 - (asked / 25.0).powi(2);
        let layers = vec!["layer1.0"; step as usize];
        [
            point(&format!("{budget} by imprinting"), asked + 0.4, 0.9, Some(best), &layers),
            point(&format!("{budget} by random"), asked + 1.5, 1.4, Some(best - 1.3 - asked / 30.0), &layers),
        ]
    });
    Sweep { points: points.collect(), ..small() }
}

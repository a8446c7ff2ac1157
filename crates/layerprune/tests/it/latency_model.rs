//! What reads channels, how wide nodes are, and a latency fitted to thinned networks.

use std::collections::{BTreeMap, BTreeSet};

use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::pipeline::{JobError, LatencyModel, MeasureLatency, PortError, fit_latency};
use layerprune::plan::{self, cost_terms};
use layerprune::record::{Circumstances, LatencyComparison, Timing};
use layerprune::stats::SplitMix;
use layerprune::surgery;
use layerprune_testing::{bottleneck_net, densenet, found, mobilenet_v1, mobilenet_v2, resnet, vgg};

fn nets() -> Vec<Model> {
    vec![
        resnet(0, [3, 8, 8], 1, &[4, 8], 2, 3),
        bottleneck_net(0, 8, 4, 2),
        vgg(0, 8, &[6, 0, 8, 8], 3),
        mobilenet_v1(0, 8, &[(8, 1), (12, 2)]),
        mobilenet_v2(0, 8, &[(8, 1), (8, 1), (12, 2)]),
        densenet(0, 8, 4, 3),
    ]
}

#[test]
fn channels_are_dead_once_all_that_reads_them_is_zero() {
    let mut checked = 0;
    for model in nets() {
        let (_, channels) = found(&model);
        for group in channels.groups.iter().filter(|group| group.channels.len() > 1) {
            let read = channels.read(&model.graph, group).unwrap();
            let mut masked = model.clone();
            for reader in &read.readers {
                let value = masked.graph.value_named(&reader.weight).unwrap();
                let stored = masked.graph.initializer(value).unwrap();
                let (mut numbers, dims) = (tensor::numbers(stored).unwrap().to_vec(), tensor::shape(stored).unwrap());
                let inner: usize = dims[reader.axis + 1..].iter().product();
                for (place, number) in numbers.iter_mut().enumerate() {
                    if reader.indices[1].contains(&(place / inner % dims[reader.axis])) {
                        *number = 0.0;
                    }
                }
                masked.graph.set_initializer(value, tensor::from_f32(&dims, &numbers));
            }
            let squares = read.squares(&masked.graph).unwrap();
            let zeros: Vec<usize> = (0..squares.len()).filter(|&channel| squares[channel] == 0.0).collect();
            assert_eq!(zeros, [1], "{}: {squares:?}", group.name);
            let (units, found) = found(&masked);
            let plan = plan::dead_channels(&masked.graph, &units, &found, &BTreeSet::new());
            let gone: Vec<(&str, &[usize])> =
                plan.channels.iter().map(|planned| (planned.group.as_str(), planned.removed.as_slice())).collect();
            assert_eq!(gone, [(group.name.as_str(), &[group.channels[1].index][..])]);
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked} groups");
}

#[test]
fn readers_of_a_trunk_are_all_blocks_and_those_of_features_all_layers_behind() {
    let readers = |model: &Model, group: &str| {
        let (_, channels) = found(model);
        let read = channels.read(&model.graph, channels.named(group).unwrap()).unwrap();
        read.readers.into_iter().map(|reader| (reader.weight, reader.indices[0].clone())).collect::<Vec<_>>()
    };
    let model = resnet(0, [3, 8, 8], 1, &[4, 8], 2, 3);
    let names = |found: &[(String, Vec<usize>)]| found.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let expected = ["layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0"].map(weight_of);
    assert_eq!(names(&readers(&model, "conv1")), BTreeSet::from(expected));

    let features = readers(&densenet(0, 8, 4, 3), "features.denseblock1.denselayer1.conv2");
    assert!(features.len() > 2 && features.iter().all(|(_, indices)| indices[0] > 0), "behind others: {features:?}");
}

fn weight_of(module: &str) -> String {
    format!("{module}.weight")
}

#[test]
fn terms_are_the_share_of_multiply_adds_that_is_left() {
    for model in nets() {
        let (units, channels) = found(&model);
        let whole: BTreeMap<&str, f64> =
            channels.groups.iter().map(|group| (group.name.as_str(), group.channels.len() as f64)).collect();
        let terms = cost_terms(&channels.node_widths(&model.graph), |group| whole[group]);
        assert!(!terms.is_empty());
        let before = units.costs.macs_by_node(&model.graph);
        for seed in 0..5 {
            let plan = plan::random_widths(&model.graph, &units, &channels, &mut SplitMix::new(seed));
            let cut = surgery::apply(&model, &units, &plan).unwrap();
            let after = found(&cut).0.costs.macs_by_node(&cut.graph);
            let gone = |group: &str| {
                let planned = plan.channels.iter().find(|planned| planned.group == group);
                planned.map_or(0.0, |planned| planned.removed.len() as f64)
            };
            for term in &terms {
                let share = term.work.at(|group| whole[group] - gone(group));
                for node in &term.nodes {
                    let macs = |costs: &BTreeMap<String, u64>| {
                        let named = costs.iter().find(|(label, _)| dotted(label).starts_with(&format!("{node}.")));
                        named.map(|(_, macs)| *macs as f64)
                    };
                    let (Some(before), Some(after)) = (macs(&before), macs(&after)) else {
                        panic!("`{node}` is not among {:?}", before.keys())
                    };
                    assert!((share - after / before).abs() < 1e-9, "{node}: {share}, {after} of {before}");
                }
            }
        }
    }
}

/// A label such as `/layer1/layer1.0/conv1/Conv` as modules are called, with a dot behind.
fn dotted(label: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in label.trim_matches('/').split('/') {
        if parts.last().is_some_and(|last| part.starts_with(&format!("{last}."))) {
            parts.pop();
        }
        parts.push(part);
    }
    format!("{}.", parts.join("."))
}

/// A clock of a hundredth of a millisecond for each thousand multiply-adds, whose every run is slowed down by as much as
/// `slower` says.
struct Clock {
    slower: Vec<f64>,
    runs: usize,
}

impl Clock {
    fn ms(model: &Model) -> f64 {
        0.2 + 1e-5 * found(model).0.costs.total().macs.unwrap() as f64
    }
}

impl MeasureLatency for Clock {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        Ok(self.compare_all(baseline, &[candidate])?.remove(0))
    }

    fn compare_all(&mut self, baseline: &Model, candidates: &[&Model]) -> Result<Vec<LatencyComparison>, PortError> {
        let slower = self.slower[self.runs % self.slower.len()];
        self.runs += 1;
        let compared = |candidate: &&Model| {
            let (before, after) = ([slower * Self::ms(baseline); 5], [slower * Self::ms(candidate); 5]);
            let timing = |samples_ms| Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-6 };
            let circumstances = Circumstances { threads: 3, ..Circumstances::default() };
            Ok(LatencyComparison::new(circumstances, &timing(&before), &timing(&after), 0)?)
        };
        candidates.iter().map(compared).collect()
    }
}

#[test]
fn a_latency_is_foretold_from_thinned_networks() {
    let model = resnet(0, [3, 8, 8], 1, &[8, 16], 2, 3);
    let (units, channels) = found(&model);
    let mut latency = LatencyModel::new(&channels, 7);
    // A machine that is now and then half as fast slows whole models too.
    let mut clock = Clock { slower: vec![1.0, 1.0, 2.0], runs: 0 };
    let mut kept = Vec::new();
    let keep = &mut |latency: &LatencyModel| {
        kept.push(latency.clone());
        Ok(())
    };
    fit_latency(&model, &units, &channels, 40, &mut latency, &mut clock, keep).unwrap();
    assert_eq!((latency.shares.len(), latency.samples().len()), (40, 41));
    assert_eq!(latency.circumstances.as_ref().unwrap().threads, 3);
    let fit = latency.fit.as_ref().unwrap();
    assert!(fit.error.median_percent < 0.5 && fit.error.r2.unwrap() > 0.999, "{:?}", fit.error);
    assert!((fit.cost.at(|group| latency.whole(group)) - Clock::ms(&model)).abs() < 0.01);

    let plan = plan::random_widths(&model.graph, &units, &channels, &mut SplitMix::new(1234));
    let other = surgery::apply(&model, &units, &plan).unwrap();
    let left = |group: &str| {
        let planned = plan.channels.iter().find(|planned| planned.group == group);
        latency.whole(group) - planned.map_or(0.0, |planned| planned.removed.len() as f64)
    };
    let (foretold, ms) = (fit.cost.at(left), Clock::ms(&other));
    assert!((foretold / ms - 1.0).abs() < 0.01, "{foretold} instead of {ms}");

    // What was kept half-way is gone on with, to the same end.
    let json = serde_json::to_string(&kept[2]).unwrap();
    let mut again: LatencyModel = serde_json::from_str(&json).unwrap();
    assert!(again.fit.is_none() && again.shares.len() < 40);
    clock.runs = kept[2].whole_ms.len();
    fit_latency(&model, &units, &channels, 40, &mut again, &mut clock, &mut |_| Ok(())).unwrap();
    assert_eq!(again, latency);

    let (_, others) = found(&other);
    let mut others = LatencyModel::new(&others, 7);
    let error = fit_latency(&model, &units, &channels, 1, &mut others, &mut clock, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, JobError::OtherLatencyModel { .. }), "{error}");
}

//! Channels chosen by what the next layer makes of them: planted ones go first, and least squares make up for them.

use std::collections::BTreeSet;

use layerprune::analysis::{Channels, Units};
use layerprune::cost::Cost;
use layerprune::criteria::{FilterScores, Scores, Scoring};
use layerprune::fit;
use layerprune::graph::tensor;
use layerprune::methods::{self, MethodError, MethodPorts, MethodSettings, Sight, Stage};
use layerprune::onnx::Model;
use layerprune::pipeline::{
    Chooser, MeasureLatency, Observe, PortError, Reconstruct, Reconstruction, Visit, reconstruct,
};
use layerprune::plan::{Budgets, ChannelConstraints, Constraints};
use layerprune::record::LatencyComparison;
use layerprune::surgery;
use layerprune_testing::{Builder, found, int, ints, mobilenet_v1, resnet, units};

use crate::bridge::{Images, distance, run};

const SHAPE: [usize; 3] = [3, 9, 9];
const BOTH: [Chooser; 2] = [Chooser::Lasso, Chooser::Greedy];

struct Task {
    model: Model,
    units: Units,
    channels: Channels,
    constraints: ChannelConstraints,
}

impl Task {
    fn of(model: Model) -> Self {
        let (units, channels) = found(&model);
        Self { model, units, channels, constraints: ChannelConstraints::default() }
    }

    fn with(&self, chooser: Chooser, penalty: f64) -> Reconstruct<'_> {
        let Self { model, units, channels, constraints } = self;
        Reconstruct { model, units, channels, constraints, chooser, penalty }
    }

    /// What is left with so many channels of these groups, and all of the others.
    fn keeping(&self, chooser: Chooser, penalty: f64, kept: &[(&str, usize)]) -> Reconstruction {
        let wanted = |name: &str| kept.iter().find(|(group, _)| *group == name).map(|(_, kept)| *kept);
        let mut seen = Vec::new();
        let done = reconstruct(
            &self.with(chooser, penalty),
            &|group| wanted(&group.name).unwrap_or(group.channels.len()),
            &mut Images::new(SHAPE),
            &mut |group| seen.push(group.clone()),
        );
        let done = done.unwrap();
        assert_eq!(seen, done.groups);
        done
    }
}

/// Six channels behind a ReLU, of which the last is half of channel 2.
fn stem(net: &mut Builder) -> String {
    let x = net.input("input", &SHAPE);
    let mut filters: Vec<f32> = (0..6 * 27).map(|place| ((place * 37 % 101) as f32 - 50.0) / 100.0).collect();
    for place in 0..27 {
        filters[5 * 27 + place] = filters[2 * 27 + place] / 2.0;
    }
    let weight = net.tensor("stem.weight", tensor::from_f32(&[6, 3, 3, 3], &filters));
    let bias = net.tensor("stem.bias", tensor::from_f32(&[6], &[0.1, 0.2, -0.4, 0.3, 0.2, -0.2]));
    let x = net.node("Conv", "/stem/Conv", &[&x, &weight, &bias], vec![ints("pads", &[1; 4])]);
    net.node("Relu", "/stem/Relu", &[&x], vec![])
}

/// Filters of five outputs that read channel 5 as channel 2, only less, and of channel `unread` nothing.
fn reading(net: &mut Builder, name: &str, kernel: usize, unread: usize) -> String {
    let area = kernel * kernel;
    let number = |place: usize| ((place * 53 % 97) as f32 - 48.0) / 100.0;
    let mut weight: Vec<f32> = (0..5 * 6 * area).map(number).collect();
    for filter in weight.chunks_exact_mut(6 * area) {
        for place in 0..area {
            filter[5 * area + place] = filter[2 * area + place] / 5.0;
        }
        filter[unread * area..(unread + 1) * area].fill(0.0);
    }
    net.tensor(name, tensor::from_f32(&[5, 6, kernel, kernel], &weight))
}

#[test]
fn what_adds_nothing_and_what_follows_from_another_go_first_and_nothing_is_lost() {
    for kernel in [1, 3] {
        for chooser in BOTH {
            let mut net = Builder::new(7);
            let x = stem(&mut net);
            let weight = reading(&mut net, "next.weight", kernel, 4);
            let pads = vec![ints("pads", &[kernel as i64 / 2; 4])];
            let x = net.node("Conv", "/next/Conv", &[&x, &weight], pads);
            let x = net.node("Relu", "/next/Relu", &[&x], vec![]);
            let out = net.conv("/head", &x, [5, 4], 3, 1, 1);
            net.output(&out);
            let task = Task::of(net.build());
            let one = task.keeping(chooser, 1e-9, &[("stem", 5)]);
            assert_eq!(one.plan.channels[0].removed, [4], "{chooser:?}");
            let done = task.keeping(chooser, 1e-9, &[("stem", 4)]);
            assert_eq!(done.plan.channels.len(), 1);
            assert_eq!(done.plan.channels[0].removed, [4, 5], "{chooser:?}");
            let whole = run(&task.model, SHAPE);
            let plain = surgery::apply(&task.model, &task.units, &done.plan).unwrap();
            assert!(distance(&run(&plain, SHAPE), &whole) > 5e-3, "channel 5 mattered");
            let apart = distance(&run(&done.model, SHAPE), &whole);
            assert!(apart <= 1e-4, "{chooser:?}: {apart}");
            assert_eq!(done.groups[0].fits[0].node, "next");
            assert!(done.groups[0].fits[0].r2.unwrap() > 0.999_999 && done.whole.is_empty());
        }
    }
}

/// What one layer does not read another does, and what stands beside the channels is not theirs.
#[test]
fn contributions_to_all_readers_count() {
    let mut net = Builder::new(8);
    let x = stem(&mut net);
    let weight = reading(&mut net, "a.weight", 3, 4);
    let a = net.node("Conv", "/a/Conv", &[&x, &weight], vec![ints("pads", &[1; 4])]);
    let other = net.conv("/other", "input", [3, 3], 1, 1, 1);
    let both = net.node("Concat", "/both", &[&other, &x, &other], vec![int("axis", 1)]);
    let mut weight: Vec<f32> = (0..5 * 12).map(|place| ((place * 31 % 89) as f32 - 44.0) / 100.0).collect();
    weight.chunks_exact_mut(12).for_each(|filter| (filter[3 + 1], filter[3 + 5]) = (0.0, filter[3 + 2] / 5.0));
    let weight = net.tensor("b.weight", tensor::from_f32(&[5, 12, 1, 1], &weight));
    let b = net.node("Conv", "/b/Conv", &[&both, &weight], vec![]);
    let sum = net.node("Add", "/sum", &[&a, &b], vec![]);
    net.output(&sum);
    let task = Task::of(net.build());
    let whole = run(&task.model, SHAPE);
    for chooser in BOTH {
        // Neither 4, which `b` reads, nor 1, which `a` reads.
        let done = task.keeping(chooser, 1e-9, &[("stem", 5)]);
        assert_eq!(done.plan.channels[0].removed, [5], "{chooser:?}");
        let nodes: Vec<&str> = done.groups[0].fits.iter().map(|fit| fit.node.as_str()).collect();
        assert_eq!(nodes, ["a", "b"]);
        let apart = distance(&run(&done.model, SHAPE), &whole);
        assert!(apart <= 1e-4, "{chooser:?}: {apart}");
    }
}

#[test]
fn inner_channels_of_blocks_go_and_the_trunk_stays() {
    let task = Task::of(resnet(3, SHAPE, 2, &[6, 8], 2, 4));
    let whole = run(&task.model, SHAPE);
    for chooser in BOTH {
        let done = reconstruct(
            &task.with(chooser, fit::DEFAULT_PENALTY),
            &|group| group.channels.len() / 2,
            &mut Images::new(SHAPE),
            &mut |_| {},
        );
        let done = done.unwrap();
        let inner: Vec<&str> = done.groups.iter().map(|group| group.lost.group.as_str()).collect();
        assert_eq!(inner, ["layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.1.conv1"]);
        assert!(!done.whole.is_empty() && done.groups.len() + done.whole.len() == task.channels.groups.len());
        for left in &done.whole {
            assert!(left.reason.starts_with("its channels are made by several layers together: "), "{left:?}");
        }
        // The plan is one of the model as it was, and says what was cut.
        let plain = surgery::apply(&task.model, &task.units, &done.plan).unwrap();
        assert_eq!(units(&plain).costs.total(), done.plan.after);
        assert_eq!(units(&done.model).costs.total().macs, done.plan.after.macs);
        assert!(done.plan.after.parameters < done.plan.before.parameters);
        let stays = |model: &Model, name: &str| {
            tensor::to_f32(model.graph.initializer(model.graph.value_named(name).unwrap()).unwrap())
                .unwrap()
                .into_owned()
        };
        for name in ["layer1.0.conv1.weight", "layer2.1.conv1.weight"] {
            assert_eq!(stays(&plain, name), stays(&done.model, name));
        }
        let (fitted, plain) = (distance(&run(&done.model, SHAPE), &whole), distance(&run(&plain, SHAPE), &whole));
        assert!(fitted < 0.8 * plain, "{chooser:?}: {fitted} is not much below {plain}");
    }
}

#[test]
fn depthwise_convolutions_pass_channels_on() {
    let task = Task::of(mobilenet_v1(5, 9, &[(8, 1), (8, 2)]));
    for chooser in BOTH {
        let done = reconstruct(
            &task.with(chooser, fit::DEFAULT_PENALTY),
            &|group| group.channels.len() - 2,
            &mut Images::new(SHAPE),
            &mut |_| {},
        );
        let done = done.unwrap();
        assert!(done.whole.is_empty(), "{:?}", done.whole);
        assert_eq!(done.groups.len(), task.channels.groups.len());
        assert_eq!(units(&done.model).costs.total().macs, done.plan.after.macs);
    }
}

#[test]
fn what_stays_whole_says_why() {
    let mut net = Builder::new(11);
    let x = stem(&mut net);
    let x = net.conv("/next", &x, [6, 5], 3, 1, 1);
    let pooled = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let flat = net.node("Flatten", "/flatten", &[&pooled], vec![]);
    let weight = net.random("fc.weight", &[5, 4], 0.5);
    let out = net.node("MatMul", "/fc/MatMul", &[&flat, &weight], vec![]);
    net.output(&out);
    let mut task = Task::of(net.build());
    task.constraints.protected = BTreeSet::from(["stem".to_owned()]);
    let done = task.keeping(Chooser::Lasso, 1e-3, &[("stem", 3), ("next", 3)]);
    let whole: Vec<String> = done.whole.iter().map(|left| format!("{}: {}", left.group, left.reason)).collect();
    assert_eq!(
        whole,
        ["stem: it is protected", "next: `fc` reads its channels and cannot be fitted: MatMul is not fitted"]
    );
    assert_eq!(done.model.to_bytes(), task.model.to_bytes());
    assert!(done.plan.channels.is_empty() && done.groups.is_empty());
}

struct Stopped;

impl Observe for Stopped {
    fn pairs(&mut self, _: &Model, _: &Model, _: &mut Visit<'_>) -> Result<(), PortError> {
        Err("stopped".into())
    }
}

#[test]
fn what_the_port_reports_is_passed_on() {
    let task = Task::of(resnet(3, SHAPE, 1, &[4], 2, 4));
    let task = task.with(Chooser::Greedy, 1e-3);
    let error = reconstruct(&task, &|_| 2, &mut Stopped, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "cannot fit what channels contribute to `layer1.0.conv2`");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "stopped");
}

/// Ports of which only the images are there.
struct OnlyImages {
    images: Images,
    told: Vec<String>,
}

impl Observe for OnlyImages {
    fn pairs(&mut self, first: &Model, second: &Model, visit: &mut Visit<'_>) -> Result<(), PortError> {
        self.images.pairs(first, second, visit)
    }
}

impl MeasureLatency for OnlyImages {
    fn compare(&mut self, _: &Model, _: &Model) -> Result<LatencyComparison, PortError> {
        Err("no clock".into())
    }
}

impl MethodPorts for OnlyImages {
    fn layer_scores(&mut self, _: &Model, _: &Units, _: &Scoring) -> Result<Scores, PortError> {
        Err("no scores".into())
    }

    fn filter_scores(&mut self, _: &Model, _: &Scoring, _: Sight) -> Result<FilterScores, PortError> {
        Err("no scores".into())
    }

    fn train(&mut self, _: &Model, _: &Stage<'_>) -> Result<Model, PortError> {
        Err("no training".into())
    }

    fn fresh(&mut self, _: &Model) -> Result<Model, PortError> {
        Err("no training".into())
    }

    fn held_out(&mut self, _: &Model, _: usize) -> Result<f64, PortError> {
        Err("no labels".into())
    }

    fn tell(&mut self, text: &str) {
        self.told.push(text.to_owned());
    }
}

fn method(model: &Model, name: &str, budgets: Budgets) -> Result<(Model, Vec<String>), MethodError> {
    let mut ports = OnlyImages { images: Images::new(SHAPE), told: Vec::new() };
    let mut task = methods::Task {
        model,
        shapes: &Default::default(),
        budgets,
        constraints: Constraints::plain(),
        filters: ChannelConstraints::default(),
        settings: MethodSettings::default(),
        ports: &mut ports,
    };
    let pruned = methods::named(name).unwrap().run(&mut task)?;
    Ok((pruned.model, ports.told))
}

#[test]
fn the_methods_take_out_the_least_share_that_meets_the_budgets() {
    let model = resnet(3, SHAPE, 2, &[16, 16], 2, 4);
    let before = units(&model).costs.total();
    let share = |after: Cost| {
        let macs = |cost: Cost| cost.macs.unwrap() as f64;
        [100.0 * macs(after) / macs(before), 100.0 * after.parameters as f64 / before.parameters as f64]
    };
    for name in ["channel-pruning", "thinet"] {
        for (place, budgets) in [
            Budgets { macs: Some(70.0), ..Budgets::default() },
            Budgets { parameters: Some(70.0), ..Budgets::default() },
        ]
        .into_iter()
        .enumerate()
        {
            let (left, told) = method(&model, name, budgets).unwrap();
            // A channel of each of four groups of 16 more would be within 7 % of it.
            let reached = share(units(&left).costs.total())[place];
            assert!((63.0..=70.0).contains(&reached), "{name}: {reached}");
            assert_eq!(
                told.iter().filter(|text| text.contains("channels gone; the fit explains")).count(),
                4,
                "{told:?}"
            );
            run(&left, SHAPE);
        }
        let error = method(&model, name, Budgets { macs: Some(1.0), ..Budgets::default() }).unwrap_err();
        assert!(error.to_string().contains("cannot be met"), "{error}");
    }
}

#[test]
fn a_model_of_which_all_stays_whole_is_refused() {
    let mut net = Builder::new(11);
    let x = stem(&mut net);
    let pooled = net.node("GlobalAveragePool", "/pool", &[&x], vec![]);
    let flat = net.node("Flatten", "/flatten", &[&pooled], vec![]);
    let weight = net.random("fc.weight", &[6, 4], 0.5);
    let out = net.node("MatMul", "/fc/MatMul", &[&flat, &weight], vec![]);
    net.output(&out);
    let error = method(&net.build(), "thinet", Budgets { macs: Some(50.0), ..Budgets::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`thinet` finds nothing to work on: `stem` stays whole: `fc` reads its channels and cannot be fitted: MatMul is not \
         fitted"
    );
}

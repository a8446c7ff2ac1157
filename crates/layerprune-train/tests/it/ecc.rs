//! Channels under a budget.

use std::ops::ControlFlow;

use layerprune::graph::tensor;
use layerprune::onnx::Model;
use layerprune::plan::{self, Bilinear, Product, WidthBudget};
use layerprune::surgery;
use layerprune_testing::{Builder, found, resnet};
use layerprune_train::{Batches, Checkpoint, Ecc, Settings, Sparsity, TrainError, scores, train};

use crate::distill::{batches, model, plain};
use crate::golden::Fixed;
use crate::models::weight;
use crate::sparsity::{Loudness, momentum, run_of};

/// Two branches of four channels beside each other, added up: the first finds what is loud, of the second nothing is heard.
fn needed_and_useless() -> Model {
    let mut net = Builder::new(3);
    let x = net.input("input", &[1, 8, 8]);
    let mut branch = |module: &str| {
        let y = net.conv(&format!("/{module}/conv1"), &x, [1, 4], 1, 1, 1);
        let y = net.node("Relu", &format!("/{module}/Relu"), &[&y], vec![]);
        net.conv(&format!("/{module}/conv2"), &y, [4, 2], 1, 1, 1)
    };
    let (a, b) = (branch("needed"), branch("useless"));
    let x = net.node("Add", "/Add", &[&a, &b], vec![]);
    let x = net.node("GlobalAveragePool", "/GlobalAveragePool", &[&x], vec![]);
    let x = net.node("Flatten", "/Flatten", &[&x], vec![]);
    let scores = net.gemm("/fc", &x, 2, 2);
    net.output(&scores);
    let mut model = net.build();
    for (name, dims, numbers) in [
        ("needed.conv1.weight", &[4, 1, 1, 1][..], &[1.0, -1.0, 0.9, -1.1][..]),
        ("needed.conv2.weight", &[2, 4, 1, 1], &[0.5, 0.5, 0.4, 0.6, -0.5, -0.4, -0.5, -0.6]),
        ("useless.conv1.weight", &[4, 1, 1, 1], &[0.1, -0.1, 0.05, 0.02]),
        ("useless.conv2.weight", &[2, 4, 1, 1], &[0.03, -0.02, 0.05, 0.01, -0.02, 0.02, 0.04, -0.03]),
        ("fc.weight", &[2, 2], &[-2.0, 2.0, 2.0, -2.0]),
        ("fc.bias", &[2], &[1.3, -1.3]),
    ] {
        let value = model.graph.value_named(name).unwrap();
        model.graph.set_initializer(value, tensor::from_f32(dims, numbers));
    }
    model
}

/// A budget for the groups called `names`, which may all go down to one channel.
fn budget(model: &Model, names: &[&str], cost: Bilinear, limit: f64) -> WidthBudget {
    let (_, channels) = found(model);
    let group = |name: &&str| (channels.read(&model.graph, channels.named(name).unwrap()).unwrap(), 1);
    WidthBudget::new(names.iter().map(group).collect(), &cost, |_| 1.0, limit)
}

/// One for each channel.
fn each(names: &[&str]) -> Bilinear {
    Bilinear { linear: names.iter().map(|&name| (name.to_owned(), 1.0)).collect(), ..Bilinear::default() }
}

fn with(ecc: Ecc, settings: Settings) -> Settings {
    Settings { sparsity: vec![Sparsity::Ecc(ecc)], ..settings }
}

fn trained(model: &Model, data: &dyn Batches, settings: &Settings) -> Result<Model, TrainError> {
    train(model, data, settings, None, &mut |_| ControlFlow::Continue(())).map(|outcome| outcome.model)
}

const BRANCHES: [&str; 2] = ["needed.conv1", "useless.conv1"];

#[test]
fn the_budget_is_met_and_what_is_useless_goes_first() {
    let model = needed_and_useless();
    let budget = budget(&model, &BRANCHES, each(&BRANCHES), 5.0);
    assert_eq!(budget.spent(&model.graph).unwrap().cost, 8.0);
    let ecc = Ecc { budget: Some(budget.clone()), ..Ecc::default() };
    let after = trained(&model, &Loudness, &with(ecc, Settings { epochs: 6, ..momentum(0.02) })).unwrap();
    let spent = budget.spent(&after.graph).unwrap();
    let left = BRANCHES.map(|name| spent.left[name]);
    assert!(spent.within && spent.cost <= 5.0, "{spent:?}");
    assert_eq!(left, [4, 1], "the four channels that hear stay");

    // The zeros are channels that can be cut without a trace.
    let (units, channels) = found(&after);
    let plan = plan::dead_channels(&after.graph, &units, &channels, &Default::default());
    let cut = surgery::apply(&after, &units, &plan).unwrap();
    let filters = |name: &str| weight(&cut, &format!("{name}.weight")).len();
    assert_eq!(BRANCHES.map(filters), [4, 1], "of one weight each");
    let batch = Loudness.epoch(9, 0).next().unwrap().unwrap();
    for (a, b) in scores(&cut, &batch).unwrap().iter().zip(scores(&after, &batch).unwrap()) {
        assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
    }
}

#[test]
fn what_costs_more_goes_where_both_count_as_much() {
    let mut model = needed_and_useless();
    for (name, other) in
        [("useless.conv1.weight", "needed.conv1.weight"), ("useless.conv2.weight", "needed.conv2.weight")]
    {
        let value = |name| model.graph.value_named(name).unwrap();
        let stored = model.graph.initializer(value(other)).unwrap().as_ref().clone();
        let at = value(name);
        model.graph.set_initializer(at, stored);
    }
    let mut cost = each(&BRANCHES);
    *cost.linear.get_mut(BRANCHES[0]).unwrap() = 8.0;
    let budget = budget(&model, &BRANCHES, cost, 20.0);
    let ecc = Ecc { budget: Some(budget.clone()), ..Ecc::default() };
    let after = trained(&model, &Loudness, &with(ecc, Settings { epochs: 6, ..momentum(0.01) })).unwrap();
    let spent = budget.spent(&after.graph).unwrap();
    assert!(spent.within && spent.left[BRANCHES[0]] == 2 && spent.left[BRANCHES[1]] > 2, "{spent:?}");
}

#[test]
fn a_residual_net_comes_down_to_three_fifths_and_not_much_further() {
    let model = resnet(0, [1, 8, 8], 1, &[8, 16], 2, 2);
    let (_, channels) = found(&model);
    let whole = |name: &str| channels.named(name).map_or(0.0, |group| group.channels.len() as f64);
    let terms = plan::cost_terms(&channels.node_widths(&model.graph), whole);
    let cost = Bilinear::sum(terms.iter().map(|term| (term.nodes.len() as f64, &term.work)));
    let groups = channels.groups.iter().map(|group| (channels.read(&model.graph, group).unwrap(), 2));
    let mut budget = WidthBudget::new(groups.collect(), &cost, whole, 0.0);
    assert!(budget.groups.len() > 5);
    budget.limit = 0.6 * cost.at(whole);
    let ecc = Ecc { budget: Some(budget.clone()), ..Ecc::default() };
    let after = trained(&model, &Loudness, &with(ecc, Settings { epochs: 8, ..momentum(0.02) })).unwrap();
    let spent = budget.spent(&after.graph).unwrap();
    assert!(spent.within && spent.cost > 0.8 * budget.limit, "{spent:?} of {}", budget.limit);
    assert!(spent.left.values().all(|&left| left >= 2), "{spent:?}");
    let lost = |name: &str| whole(name) - spent.left[name] as f64;
    assert!(channels.groups.iter().filter(|group| lost(&group.name) > 0.0).count() > 2, "{spent:?}");
}

#[test]
fn a_budget_that_is_kept_to_from_the_start_changes_nothing() {
    let model = needed_and_useless();
    let budget = budget(&model, &BRANCHES, each(&BRANCHES), 8.0);
    let ecc = Ecc { budget: Some(budget), ..Ecc::default() };
    let limited = trained(&model, &Loudness, &with(ecc, momentum(0.02))).unwrap();
    assert_eq!(limited, trained(&model, &Loudness, &momentum(0.02)).unwrap());
}

#[test]
fn a_run_too_short_for_its_budget_shows_it() {
    let model = needed_and_useless();
    let budget = budget(&model, &BRANCHES, each(&BRANCHES), 2.0);
    let ecc = Ecc { budget: Some(budget.clone()), within: 1.0, ..Ecc::default() };
    let after = trained(&model, &Fixed(vec![Loudness.epoch(0, 0).next().unwrap().unwrap()]), &with(ecc, plain(1e-4)));
    let spent = budget.spent(&after.unwrap().graph).unwrap();
    assert!(!spent.within && spent.cost > 2.0, "{spent:?}");
}

/// The first stage of a residual net: what is inside of its blocks.
fn blocks() -> (Model, WidthBudget) {
    let student = model("student");
    let names = ["block1.conv1", "block2.conv1"];
    let product = Product { a: names[0].to_owned(), b: names[1].to_owned(), factor: 0.25 };
    let cost = Bilinear { constant: 3.0, products: vec![product], ..each(&names) };
    let budget = budget(&student, &names, cost, 9.0);
    (student, budget)
}

#[test]
fn readers_of_all_groups_are_found_by_name() {
    let (student, budget) = blocks();
    let readers: Vec<&str> =
        budget.groups.iter().flat_map(|group| &group.readers).map(|reader| reader.weight.as_str()).collect();
    assert_eq!(readers, ["block1.conv2.weight", "block2.conv2.weight"]);
    let squares = budget.groups[0].squares(&student.graph).unwrap();
    let numbers = weight(&student, "block1.conv2.weight");
    let second: f64 = numbers.chunks_exact(9).skip(1).step_by(4).flatten().map(|&x| f64::from(x * x)).sum();
    assert!((squares[1] - second).abs() < 1e-6, "{squares:?}, {second}");
}

#[test]
fn a_resumed_run_goes_on_with_limits_duals_and_price() {
    let (student, budget) = blocks();
    let ecc = Ecc { budget: Some(budget), rho: 1.0, ..Ecc::default() };
    let settings = with(ecc, Settings { epochs: 3, ..momentum(0.05) });
    let run = |start| run_of(&student, &settings, start);
    let (whole, checkpoints) = run(None);
    assert!(
        whole != trained(&student, &Fixed(batches()), &Settings { epochs: 3, ..momentum(0.05) }).unwrap().to_bytes()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.checkpoint");
    for checkpoint in &checkpoints {
        checkpoint.save(&path).unwrap();
        assert!(run(Some(Checkpoint::load(&path).unwrap())).0 == whole, "the run ends differently");
    }
}

#[test]
fn settings_with_a_budget_have_a_json_form() {
    let settings = with(Ecc { budget: Some(blocks().1), ..Ecc::default() }, Settings::default());
    let json = serde_json::to_string(&settings).unwrap();
    assert!(json.contains(r#""readers":[{"weight":"block1.conv2.weight","axis":1,"#), "{json}");
    assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    let plain = serde_json::to_string(&with(Ecc::default(), Settings::default())).unwrap();
    assert!(!plain.contains("\"budget\""), "{plain}");
}

type Change<'a> = &'a dyn Fn(&mut WidthBudget, &mut Ecc);

#[test]
fn budgets_that_cannot_be_kept_to_are_refused() {
    let (student, good) = blocks();
    let message = |change: Change<'_>| {
        let (mut budget, mut ecc) = (good.clone(), Ecc::default());
        change(&mut budget, &mut ecc);
        let ecc = Ecc { budget: Some(budget), ..ecc };
        trained(&student, &Fixed(batches()), &with(ecc, plain(0.1))).unwrap_err().to_string()
    };
    let cases: [(Change<'_>, &str); 6] = [
        (&|budget, _| budget.limit = 5.0, "`sparsity.budget.limit` is 5, at least what the fewest channels cost"),
        (&|budget, _| budget.groups.clear(), "`sparsity.budget.groups` is empty, at least one group"),
        (&|budget, _| budget.least = vec![1, 5], "`sparsity.budget.least` is [1, 5], for each group a number"),
        (&|budget, _| budget.cost.constant = -1.0, "a cost that rises with the channels"),
        (&|_, ecc| ecc.on = vec!["a*".to_owned()], "`sparsity.on` is a*, none beside a budget"),
        (&|_, ecc| ecc.within = 0.0, "`sparsity.within` is 0, a number above 0, at most 1,"),
    ];
    for (change, expected) in cases {
        let found = message(change);
        assert!(found.contains(expected), "{found}");
    }
    let found = message(&|budget, _| budget.groups[0].readers[0].weight = "none".to_owned());
    assert!(found.starts_with("`ecc` names `none`, which is no trained weight; there are: `stem.weight`"), "{found}");
}

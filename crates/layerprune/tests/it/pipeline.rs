//! Pruning to budgets with a clock that answers as it is told.

use std::collections::BTreeMap;

use layerprune::analysis::{Channels, Units, Way};
use layerprune::criteria::{FilterScores, Normalize, Scoring};
use layerprune::evidence::Evidence;
use layerprune::onnx::Model;
use layerprune::pipeline::{
    self, Cutting, Found, HeldOut, MeasureLatency, Outcome, Parts, PortError, Ports, SearchError, Strategy, proposer,
    search,
};
use layerprune::plan::{
    self, Budgets, ChannelConstraints, Constraints, Droppable, Filters, LatencyBudget, Plan, PlannedRemoval, Scope,
};
use layerprune::record::{Circumstances, Conditions, LatencyComparison, LatencyProfile, Timing};
use layerprune::stats::SplitMix;
use layerprune::surgery;
use layerprune_testing::resnet;

/// A clock of made-up times: what a model takes is the sum over what is still there of its layers, and of its channels.
#[derive(Default)]
struct Told {
    /// Milliseconds of each layer, by its name.
    layers: BTreeMap<String, f64>,
    /// Milliseconds of each parameter of the rest.
    per_parameter: f64,
    /// Milliseconds that the first of two neighbours saves less when both are gone.
    overlap: f64,
    /// Points by which the last, longer measurement says less.
    optimism: f64,
    /// Calls until it fails.
    fails_after: Option<usize>,
    shown: Vec<Model>,
}

impl Told {
    fn ms(&self, model: &Model) -> f64 {
        let units = Units::find(model, &Default::default()).unwrap();
        let there = |name: &str| units.named(name).is_some();
        let names: Vec<&String> = self.layers.keys().collect();
        let pairs = names.windows(2).filter(|pair| !there(pair[0]) && !there(pair[1])).count();
        let layers: f64 = self.layers.iter().filter(|(name, _)| there(name)).map(|(_, ms)| ms).sum();
        2.0 + layers + self.overlap * pairs as f64 + self.per_parameter * units.costs.total().parameters as f64
    }

    fn compared(&self, baseline: f64, candidate: f64) -> LatencyComparison {
        let (before, after) = ([baseline; 40], [candidate; 40]);
        let timing = |samples_ms| Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-6 };
        LatencyComparison::new(Circumstances::default(), &timing(&before), &timing(&after), 0).unwrap()
    }
}

impl MeasureLatency for Told {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        if self.fails_after.is_some_and(|calls| self.shown.len() >= calls) {
            return Err("the board does not answer".into());
        }
        self.shown.push(candidate.clone());
        Ok(self.compared(self.ms(baseline), self.ms(candidate)))
    }

    fn confirm(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        let whole = self.ms(baseline);
        Ok(self.compared(whole, self.ms(candidate) + self.optimism / 100.0 * whole))
    }
}

/// A net of four removable blocks, with importances and times of each.
struct Net {
    model: Model,
    units: Units,
    layers: Vec<Droppable>,
}

const NO_SHAPES: &layerprune::shapes::InputShapes = &layerprune::shapes::InputShapes::new();

fn net(losses: [f64; 4]) -> Net {
    let model = resnet(0, [3, 8, 8], 1, &[4], 4, 3);
    let units = Units::find(&model, &Default::default()).unwrap();
    let mut layers: Vec<Droppable> = losses
        .iter()
        .enumerate()
        .map(|(number, &loss)| Droppable {
            planned: PlannedRemoval { unit: format!("layer1.{number}"), way: Way::Bypass },
            loss,
        })
        .collect();
    layers.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    Net { model, units, layers }
}

fn clock(times: [f64; 4]) -> Told {
    let layers = times.iter().enumerate().map(|(number, &ms)| (format!("layer1.{number}"), ms));
    Told { layers: layers.collect(), ..Told::default() }
}

impl Net {
    fn cutting<'a>(&'a self, profile: Option<&'a LatencyProfile>) -> Cutting<'a> {
        let (model, units, layers) = (&self.model, &self.units, self.layers.clone());
        Cutting { model, units, shapes: NO_SHAPES, criterion: "test", layers, filters: None, profile }
    }

    fn profile(&self, clock: &mut Told, channels: Option<&Channels>) -> LatencyProfile {
        let mut profile = LatencyProfile::new(self.units.model.clone(), Conditions::default());
        let units: Vec<_> = self.layers.iter().map(|unit| unit.planned.clone()).collect();
        let parts = Parts { units: &units, channels, counts: 7, runs: 1 };
        pipeline::profile(&self.model, &self.units, parts, &mut profile, clock, &mut |_, _| Ok(())).unwrap();
        profile
    }
}

fn reduction(percent: f64) -> Budgets {
    Budgets { latency: Some(LatencyBudget::Reduction(percent)), ..Budgets::default() }
}

fn run<'p>(
    cutting: &Cutting<'_>,
    strategy: Strategy,
    budgets: &Budgets,
    clock: Option<&'p mut Told>,
    held_out: Option<&'p mut dyn HeldOut>,
) -> Result<Found, SearchError> {
    let timer = clock.map(|clock| clock as &mut dyn MeasureLatency);
    let mut propose = proposer(cutting, strategy, budgets)?;
    search(cutting, budgets, &mut *propose, &mut Ports { timer, held_out }, &mut |_| {})
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.removed.iter().map(|planned| planned.unit.as_str()).collect()
}

#[test]
fn greedy_removes_the_least_important_until_the_clock_says_enough() {
    let net = net([3.0, 1.0, 4.0, 2.0]);
    let mut clock = clock([1.0, 2.0, 3.0, 2.0]);
    let cutting = net.cutting(None);
    let mut told = Vec::new();
    let mut step = |outcome: Outcome<'_>| {
        told.push(match outcome {
            Outcome::Reach(trial) => format!("reach {}", names(&trial.plan).len()),
            Outcome::Tried(trial) => format!("tried {} {}", names(&trial.plan).join(" "), trial.met),
            Outcome::Confirmed(trial) => format!("confirmed {}", trial.met),
        });
    };
    let budgets = reduction(40.0);
    let mut propose = proposer(&cutting, Strategy::Greedy, &budgets).unwrap();
    let mut ports = Ports { timer: Some(&mut clock), held_out: None };
    let found = search(&cutting, &budgets, &mut *propose, &mut ports, &mut step).unwrap();
    assert_eq!(told, ["reach 4", "tried layer1.1 false", "tried layer1.1 layer1.3 true", "confirmed true"]);
    let plan = &found.trial.plan;
    assert_eq!((plan.criterion.as_deref(), plan.target.as_str()), (Some("test"), "latency reduction 40 %"));
    assert_eq!(found.trial.loss, 3.0);
    assert_eq!(found.trial.latency.unwrap().latency_reduction_percent.round(), 40.0);
    // Every candidate is the model that was really cut.
    let so_far = |count: usize| {
        let removed = net.layers[..count].iter().map(|unit| unit.planned.clone()).collect();
        surgery::apply(&net.model, &net.units, &plan::of(&net.units, None, String::new(), removed)).unwrap()
    };
    assert_eq!(clock.shown, [so_far(4), so_far(1), so_far(2)]);
}

#[test]
fn the_exact_search_takes_the_one_slow_layer_for_two_quick_ones() {
    let net = net([1.0, 1.5, 2.0, 9.0]);
    let mut clock = clock([1.0, 2.0, 3.0, 2.0]);
    let profile = net.profile(&mut clock, None);
    let found = |strategy, clock: &mut Told| {
        run(&net.cutting(Some(&profile)), strategy, &reduction(30.0), Some(clock), None).unwrap()
    };
    let greedy = found(Strategy::Greedy, &mut clock);
    assert_eq!((names(&greedy.trial.plan), greedy.trial.loss), (vec!["layer1.0", "layer1.1"], 2.5));
    let exact = found(Strategy::Exact, &mut clock);
    assert_eq!((names(&exact.trial.plan), exact.trial.loss), (vec!["layer1.2"], 2.0));
    assert!((exact.trial.predicted_percent.unwrap() - 30.0).abs() < 1e-9);
}

#[test]
fn the_exact_search_never_loses_more_than_the_greedy_one() {
    let mut random = SplitMix::new(7);
    let mut better = 0;
    for round in 0..40 {
        let net = net([(); 4].map(|()| random.uniform()));
        let mut clock = clock([(); 4].map(|()| 4.0 * random.uniform()));
        // What the profile lets expect is wrong where neighbours go together.
        clock.overlap = 0.5 * random.uniform();
        clock.optimism = if round % 3 == 0 { 0.3 } else { 0.0 };
        let profile = net.profile(&mut clock, None);
        let budgets = reduction(10.0 + 40.0 * random.uniform());
        let found =
            |strategy, clock: &mut Told| run(&net.cutting(Some(&profile)), strategy, &budgets, Some(clock), None);
        match (found(Strategy::Greedy, &mut clock), found(Strategy::Exact, &mut clock)) {
            (Ok(greedy), Ok(exact)) => {
                assert!(
                    exact.trial.loss <= greedy.trial.loss,
                    "round {round}: {} {}",
                    exact.trial.loss,
                    greedy.trial.loss
                );
                assert!(exact.trial.met && exact.trial.confirmed);
                better += usize::from(exact.trial.loss < greedy.trial.loss);
            }
            (Err(_), _) => {}
            (Ok(greedy), Err(error)) => panic!("round {round}: greedy removes {}, {error}", greedy.trial.loss),
        }
    }
    assert!(better > 6, "the exact search was better {better} times");
}

#[test]
fn a_cut_that_the_longer_measurement_does_not_confirm_is_not_taken() {
    let net = net([1.0, 2.0, 3.0, 4.0]);
    let mut clock = clock([2.0; 4]);
    clock.optimism = 1.0;
    let found = run(&net.cutting(None), Strategy::Greedy, &reduction(19.5), Some(&mut clock), None).unwrap();
    assert_eq!(names(&found.trial.plan), ["layer1.0", "layer1.1"]);
    assert_eq!(
        found.trials.iter().map(|trial| (trial.met, trial.confirmed)).collect::<Vec<_>>(),
        [(false, true), (true, true)]
    );
}

#[test]
fn what_cannot_be_met_says_how_far_it_went() {
    let net = net([1.0, 2.0, 3.0, 4.0]);
    let mut clock = clock([1.0, 2.0, 3.0, 2.0]);
    let error = run(&net.cutting(None), Strategy::Greedy, &reduction(85.0), Some(&mut clock), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "latency reduction 85 % cannot be met: with all 4 removable layers gone, the latency reduction is at least 80.0 %"
    );
    assert_eq!(clock.shown.len(), 1, "what is out of reach is known after one measurement");
    let budgets = Budgets { macs: Some(1.0), parameters: Some(1.0), ..Budgets::default() };
    let error = run(&net.cutting(None), Strategy::Greedy, &budgets, None, None).unwrap_err().to_string();
    assert!(error.starts_with("1 % of the MACs, 1 % of the parameters cannot be met: with all 4 "), "{error}");
    assert!(error.contains(" % of the MACs are left, ") && error.ends_with(" % of the parameters are left"), "{error}");
    let none = Cutting { layers: Vec::new(), ..net.cutting(None) };
    let error = run(&none, Strategy::Greedy, &reduction(10.0), Some(&mut clock), None).unwrap_err();
    assert_eq!(error.to_string(), "nothing can be removed");
}

#[test]
fn a_measurement_that_fails_ends_the_search_with_its_cause() {
    let net = net([1.0, 2.0, 3.0, 4.0]);
    let mut clock = Told { fails_after: Some(2), ..clock([1.0; 4]) };
    let error = run(&net.cutting(None), Strategy::Greedy, &reduction(40.0), Some(&mut clock), None).unwrap_err();
    assert_eq!(error.to_string(), "cannot measure the latency");
    let SearchError::Measure(source) = error else { panic!("{error} is no fault of measuring") };
    assert_eq!(source.to_string(), "the board does not answer");
}

#[test]
fn several_budgets_hold_at_once() {
    let net = net([1.0, 1.5, 2.0, 9.0]);
    let mut clock = clock([1.0, 2.0, 3.0, 2.0]);
    let profile = net.profile(&mut clock, None);
    let budgets = Budgets { macs: Some(60.0), ..reduction(30.0) };
    for strategy in [Strategy::Greedy, Strategy::Exact] {
        let found = run(&net.cutting(Some(&profile)), strategy, &budgets, Some(&mut clock), None).unwrap();
        let plan = &found.trial.plan;
        assert_eq!(names(plan), ["layer1.0", "layer1.1"], "{strategy:?}");
        assert!(plan.after.macs.unwrap() * 10 <= plan.before.macs.unwrap() * 6);
        assert_eq!(plan.target, "latency reduction 30 %, 60 % of the MACs");
    }
}

#[test]
fn a_speed_up_and_a_time_are_budgets_too() {
    let net = net([1.0, 2.0, 3.0, 4.0]);
    let mut clock = clock([2.0; 4]);
    let mut removed = |latency| {
        let budgets = Budgets { latency: Some(latency), ..Budgets::default() };
        let found = run(&net.cutting(None), Strategy::Greedy, &budgets, Some(&mut clock), None).unwrap();
        found.trial.plan.removed.len()
    };
    assert_eq!(removed(LatencyBudget::Speedup(1.2)), 1);
    assert_eq!(removed(LatencyBudget::Speedup(1.5)), 2);
    assert_eq!(removed(LatencyBudget::AtMost(8.0)), 1);
    assert_eq!(removed(LatencyBudget::AtMost(7.9)), 2);
    // The whole model takes 10 ms.
    assert_eq!(removed(LatencyBudget::AtMost(10.5)), 0);
}

#[test]
fn a_time_is_searched_for_from_what_the_whole_model_takes_now() {
    let net = net([1.0, 2.0, 3.0, 4.0]);
    let mut clock = clock([2.0; 4]);
    let at_most = |ms| Budgets { latency: Some(LatencyBudget::AtMost(ms)), ..Budgets::default() };
    let mut profile = net.profile(&mut clock, None);
    // By the profile, the whole model is quick enough.
    for timed in &mut profile.units {
        timed.saving.with_ms = 9.0;
    }
    let found = run(&net.cutting(Some(&profile)), Strategy::Exact, &at_most(9.5), Some(&mut clock), None).unwrap();
    assert_eq!(names(&found.trial.plan), ["layer1.0"]);
    // Without a clock the profile's own time counts.
    let quick = run(&net.cutting(Some(&profile)), Strategy::Exact, &at_most(9.5), None, None).unwrap();
    assert!(quick.trial.plan.removed.is_empty());
    let half = run(&net.cutting(Some(&profile)), Strategy::Exact, &at_most(5.5), None, None).unwrap();
    assert_eq!(names(&half.trial.plan), ["layer1.0", "layer1.1"]);
}

#[test]
fn without_a_clock_the_profile_decides() {
    let net = net([1.0, 1.5, 2.0, 9.0]);
    let profile = net.profile(&mut clock([1.0, 2.0, 3.0, 2.0]), None);
    let found = run(&net.cutting(Some(&profile)), Strategy::Greedy, &reduction(29.5), None, None).unwrap();
    assert_eq!(names(&found.trial.plan), ["layer1.0", "layer1.1"]);
    assert_eq!((found.trial.latency, found.trial.confirmed), (None, false));
    let error = run(&net.cutting(None), Strategy::Exact, &reduction(30.0), None, None).unwrap_err();
    assert!(matches!(error, SearchError::NoProfile));
}

/// Each layer costs a point of accuracy.
struct PointEach;

impl HeldOut for PointEach {
    fn drop(&mut self, plan: &Plan) -> Result<f64, PortError> {
        Ok(plan.removed.len() as f64)
    }
}

#[test]
fn a_limit_on_the_accuracy_lost_ends_the_cut_or_refuses_it() {
    let net = net([1.0, 2.0, 3.0, 4.0]);
    let mut clock = clock([2.0; 4]);
    let drop_only = Budgets { max_drop: Some(2.5), ..Budgets::default() };
    let all = Budgets { max_drop: Some(4.0), ..Budgets::default() };
    let found = run(&net.cutting(None), Strategy::Greedy, &all, None, Some(&mut PointEach)).unwrap();
    assert_eq!(found.trial.plan.removed.len(), 4);
    let found = run(&net.cutting(None), Strategy::Greedy, &drop_only, None, Some(&mut PointEach)).unwrap();
    assert_eq!((found.trial.plan.removed.len(), found.trial.drop), (2, Some(2.0)));
    let both = Budgets { max_drop: Some(2.5), ..reduction(40.0) };
    let found = run(&net.cutting(None), Strategy::Greedy, &both, Some(&mut clock), Some(&mut PointEach)).unwrap();
    assert_eq!((found.trial.plan.removed.len(), found.trial.drop), (2, Some(2.0)));
    let both = Budgets { max_drop: Some(1.5), ..reduction(40.0) };
    let error = run(&net.cutting(None), Strategy::Greedy, &both, Some(&mut clock), Some(&mut PointEach)).unwrap_err();
    assert_eq!(error.to_string(), "with 2 layers gone, 2.00 points of held-out accuracy are lost, 1.5 are allowed");
    let none = Budgets { max_drop: Some(0.5), ..Budgets::default() };
    let error = run(&net.cutting(None), Strategy::Greedy, &none, None, Some(&mut PointEach)).unwrap_err();
    assert!(matches!(error, SearchError::TooCostly { drop: 1.0, limit: 0.5, .. }), "{error}");
}

#[test]
fn a_profile_keeps_what_was_timed_before_a_failure_and_goes_on_from_there() {
    let model = resnet(0, [3, 8, 8], 1, &[4], 9, 3);
    let units = Units::find(&model, &Default::default()).unwrap();
    let all = units.units.iter().filter(|unit| !unit.removals.is_empty());
    let all: Vec<_> = all.map(|unit| PlannedRemoval { unit: unit.name.clone(), way: unit.removals[0].way }).collect();
    assert_eq!(all.len(), 9);
    let parts = Parts { units: &all, channels: None, counts: 7, runs: 1 };
    let mut clock = Told { per_parameter: 1e-3, fails_after: Some(8), ..Told::default() };
    let mut profile = LatencyProfile::new(units.model.clone(), Conditions::default());
    let mut kept = Vec::new();
    let mut keep = |profile: &LatencyProfile, _| {
        kept.push(profile.units.len());
        Ok(())
    };
    let error = pipeline::profile(&model, &units, parts, &mut profile, &mut clock, &mut keep).unwrap_err();
    assert_eq!(error.to_string(), "timing the parts failed");
    assert_eq!((kept, profile.units.len()), (vec![7], 7));
    clock.fails_after = None;
    pipeline::profile(&model, &units, parts, &mut profile, &mut clock, &mut |_, _| Ok(())).unwrap();
    assert_eq!((profile.units.len(), profile.joint.len(), clock.shown.len()), (9, 4, 8 + 2 + 4));
    // A second run of each is added to the first.
    let twice = Parts { runs: 2, ..parts };
    pipeline::profile(&model, &units, twice, &mut profile, &mut clock, &mut |_, _| Ok(())).unwrap();
    assert!(profile.units.iter().all(|timed| timed.saving.runs.len() == 2));
    let order: Vec<&str> = profile.units.iter().map(|timed| timed.unit.as_str()).collect();
    assert_eq!(order, all.iter().map(|planned| planned.unit.as_str()).collect::<Vec<_>>());
    let saving = &profile.unit("layer1.3", Way::Bypass).unwrap().saving;
    let whole = 2.0 + 1e-3 * units.costs.total().parameters as f64;
    let goes = all.iter().find(|planned| planned.unit == "layer1.3").unwrap().clone();
    let left = plan::of(&units, None, String::new(), vec![goes]).after.parameters;
    let block = whole - 2.0 - 1e-3 * left as f64;
    assert!((saving.with_ms - whole).abs() < 1e-9 && (whole - saving.without_ms - block).abs() < 1e-9, "{saving:?}");
}

/// Filters of the net scored by their weights.
fn filters(model: &Model, units: &Units) -> (Channels, FilterScores) {
    let channels = Channels::find(model, &units.model, &units.shapes);
    let by = Scoring::parse("weight-norm", Normalize::None).unwrap();
    let scores = FilterScores::of(&by, &model.graph, units, &channels, &Evidence::default()).unwrap();
    (channels, scores)
}

#[test]
fn filters_go_by_a_share_or_by_the_knapsack_until_the_clock_says_enough() {
    let model = resnet(3, [3, 8, 8], 1, &[8, 16], 2, 3);
    let units = Units::find(&model, &Default::default()).unwrap();
    let (channels, scores) = filters(&model, &units);
    let constraints = ChannelConstraints::default();
    let view = Filters { channels: &channels, scores: &scores, constraints: &constraints, scope: Scope::Global };
    let mut clock = Told { per_parameter: 1e-3, ..Told::default() };
    let net = Net { model, units, layers: Vec::new() };
    let profile = net.profile(&mut clock, Some(&channels));
    assert_eq!(profile.groups.len(), channels.groups.len());
    let cutting = Cutting { filters: Some(view), ..net.cutting(Some(&profile)) };
    for strategy in [Strategy::Greedy, Strategy::Exact] {
        let found = run(&cutting, strategy, &reduction(30.0), Some(&mut clock), None).unwrap();
        let reached = found.trial.latency.as_ref().unwrap().latency_reduction_percent;
        assert!((30.0..36.0).contains(&reached), "{strategy:?}: {reached}");
        let predicted = found.trial.predicted_percent.unwrap();
        assert!((predicted - reached).abs() < 6.0, "{strategy:?}: {predicted} was predicted, {reached} it is");
        assert!(found.trial.plan.removed.is_empty() && !found.trial.plan.channels.is_empty());
    }
    let error = run(&cutting, Strategy::Exact, &reduction(99.0), Some(&mut clock), None).unwrap_err().to_string();
    assert!(error.contains(" channels gone, the latency reduction is at least "), "{error}");
}

#[test]
fn layers_and_channels_go_together_in_one_plan() {
    let model = resnet(3, [3, 8, 8], 1, &[8, 16], 3, 3);
    let units = Units::find(&model, &Default::default()).unwrap();
    let (channels, scores) = filters(&model, &units);
    let constraints = ChannelConstraints::default();
    let view = Filters { channels: &channels, scores: &scores, constraints: &constraints, scope: Scope::Global };
    let layers = plan::droppable_by_filters(&units, &Constraints::plain(), view);
    assert_eq!(layers.len(), 5, "all blocks but the one that changes the resolution");
    // The first blocks cost time by being there, the others by their weights.
    let first = ["layer1.0", "layer1.1", "layer1.2"].map(|name| (name.to_owned(), 2.0)).into();
    let mut clock = Told { layers: first, per_parameter: 1e-3, ..Told::default() };
    let net = Net { model, units, layers };
    let profile = net.profile(&mut clock, Some(&channels));
    let cutting = Cutting { filters: Some(view), ..net.cutting(Some(&profile)) };
    let budgets = Budgets { parameters: Some(65.0), ..reduction(35.0) };
    let found = run(&cutting, Strategy::Exact, &budgets, Some(&mut clock), None).unwrap();
    let plan = &found.trial.plan;
    assert!(!plan.removed.is_empty() && !plan.channels.is_empty(), "{plan:?}");
    let cut = surgery::apply(&net.model, &net.units, plan).unwrap();
    assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);
    // The same in two steps.
    let first = plan::of(&net.units, None, String::new(), plan.removed.clone());
    let left = surgery::apply(&net.model, &net.units, &first).unwrap();
    let (left_units, left_channels) = layerprune_testing::found(&left);
    let planned = plan.channels.clone();
    let second = plan::of_channels(&left.graph, &left_units, &left_channels, None, String::new(), planned);
    assert_eq!(surgery::apply(&left, &left_units, &second).unwrap(), cut);
    // A plan survives its JSON form.
    let json = serde_json::to_string(plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), *plan);
}

//! Pruning to a latency with an engine that answers as it is told.

use layerprune::analysis::{Units, Way};
use layerprune::onnx::Model;
use layerprune::pipeline::{BudgetError, MeasureLatency, PortError, prune_to_latency};
use layerprune::plan::{self, PlannedRemoval};
use layerprune::record::{Circumstances, LatencyComparison, Timing};
use layerprune::surgery;
use layerprune_testing::resnet;

/// Gives one reduction in percent after another, and keeps what it was shown.
#[derive(Default)]
struct Told {
    reductions: Vec<Result<f64, &'static str>>,
    shown: Vec<(Model, Model)>,
}

impl MeasureLatency for Told {
    fn compare(&mut self, baseline: &Model, candidate: &Model) -> Result<LatencyComparison, PortError> {
        let reduction = self.reductions[self.shown.len()]?;
        self.shown.push((baseline.clone(), candidate.clone()));
        let (before, after) = ([10.0; 40], [10.0 - reduction / 10.0; 40]);
        let timing = |samples_ms| Timing { samples_ms, calls_per_sample: 1, resolution_ms: 1e-6 };
        Ok(LatencyComparison::new(Circumstances::default(), &timing(&before), &timing(&after), 0)?)
    }
}

fn net() -> (Model, Units, Vec<PlannedRemoval>) {
    let model = resnet(0, [3, 8, 8], 1, &[4], 4, 3);
    let units = Units::find(&model, &Default::default()).unwrap();
    let order = ["layer1.2", "layer1.0", "layer1.3"];
    let ranking = order.map(|unit| PlannedRemoval { unit: unit.to_owned(), way: Way::Bypass }).to_vec();
    (model, units, ranking)
}

#[test]
fn the_search_stops_at_the_first_step_that_reaches_the_target() {
    let (model, units, ranking) = net();
    let mut port = Told { reductions: vec![Ok(12.0), Ok(25.0), Ok(99.0)], ..Told::default() };
    let mut told = Vec::new();
    let mut step = |step: &layerprune::pipeline::BudgetStep| told.push(step.removal.unit.clone());
    let (plan, steps) = prune_to_latency(&model, &units, "test", &ranking, 25.0, &mut port, &mut step).unwrap();
    assert_eq!(plan.removed, ranking[..2]);
    assert_eq!((plan.criterion.as_deref(), plan.target.as_str()), (Some("test"), "latency reduction 25 %"));
    assert_eq!(told, ["layer1.2", "layer1.0"]);
    let reductions: Vec<f64> = steps.iter().map(|step| step.latency.latency_reduction_percent.round()).collect();
    assert_eq!(reductions, [12.0, 25.0]);
    assert_eq!(steps[1].removal, ranking[1]);
}

#[test]
fn every_candidate_is_the_model_that_was_really_cut() {
    let (model, units, ranking) = net();
    let mut port = Told { reductions: vec![Ok(1.0), Ok(2.0), Ok(50.0)], ..Told::default() };
    let (plan, _) = prune_to_latency(&model, &units, "test", &ranking, 40.0, &mut port, &mut |_| {}).unwrap();
    assert_eq!(port.shown.len(), 3);
    for (number, (baseline, candidate)) in port.shown.iter().enumerate() {
        assert_eq!(baseline, &model);
        let so_far = plan::of(&units, None, String::new(), ranking[..=number].to_vec());
        assert_eq!(candidate, &surgery::apply(&model, &units, &so_far).unwrap());
        let left = Units::find(candidate, &Default::default()).unwrap();
        assert!(ranking[..=number].iter().all(|planned| left.named(&planned.unit).is_none()));
        assert_eq!(left.costs.total(), so_far.after);
    }
    assert_eq!(port.shown[2].1, surgery::apply(&model, &units, &plan).unwrap());
}

#[test]
fn a_target_out_of_reach_says_how_far_it_went() {
    let (model, units, ranking) = net();
    let mut port = Told { reductions: vec![Ok(1.0), Ok(-3.0), Ok(20.04)], ..Told::default() };
    let error = prune_to_latency(&model, &units, "test", &ranking, 40.5, &mut port, &mut |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a latency reduction of 40.5 % cannot be met: with all 3 removable layers gone it is at least 20.0 %"
    );
    let error = prune_to_latency(&model, &units, "test", &[], 10.0, &mut port, &mut |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a latency reduction of 10 % cannot be met: with all 0 removable layers gone it is at least 0.0 %"
    );
}

#[test]
fn a_measurement_that_fails_ends_the_search_with_its_cause() {
    let (model, units, ranking) = net();
    let mut port = Told { reductions: vec![Ok(1.0), Err("the board does not answer")], ..Told::default() };
    let error = prune_to_latency(&model, &units, "test", &ranking, 40.0, &mut port, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "cannot measure the latency");
    let BudgetError::Measure(source) = error else { panic!("{error} is no fault of measuring") };
    assert_eq!(source.to_string(), "the board does not answer");
}

#[test]
fn a_ranking_of_another_model_ends_the_search() {
    let (model, units, _) = net();
    let ranking = [PlannedRemoval { unit: "features.1".to_owned(), way: Way::Bypass }];
    let mut port = Told::default();
    let error = prune_to_latency(&model, &units, "test", &ranking, 40.0, &mut port, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "the plan removes `features.1` by Bypass, which this model does not offer");
    assert!(port.shown.is_empty());
}

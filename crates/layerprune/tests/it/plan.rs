//! Plans: what is chosen, what is refused, and with which words.

use std::collections::BTreeSet;

use layerprune::analysis::{Units, Way};
use layerprune::criteria::{ScoreRow, Scores};
use layerprune::onnx::Model;
use layerprune::plan::{self, ChannelConstraints, Constraints, Plan, PlanError, PlannedRemoval};
use layerprune::stats::SplitMix;
use layerprune::surgery;
use layerprune_testing::{densenet, found, resnet, vgg};

/// Blocks layer1.0 to layer1.2 and layer2.1, layer2.2 can be bypassed; the branch of layer2.0 can be dropped.
fn net() -> (Model, Units) {
    let model = resnet(0, [3, 8, 8], 1, &[4, 8], 3, 3);
    let units = Units::find(&model, &Default::default()).unwrap();
    (model, units)
}

fn scores(units: &Units, rows: &[(&str, f64)]) -> Scores {
    let row = |&(unit, score): &(&str, f64)| ScoreRow { unit: unit.to_owned(), score, interval: None, accuracy: None };
    let rows = rows.iter().map(row).collect();
    Scores {
        schema: 1,
        model: units.model.clone(),
        criterion: "test".to_owned(),
        normalize: Default::default(),
        rows,
        unscored: Vec::new(),
    }
}

const ALL: [(&str, f64); 6] = [
    ("layer1.0", 2.0),
    ("layer1.1", 1.0),
    ("layer1.2", 2.0),
    ("layer2.0", -5.0),
    ("layer2.1", 1.0),
    ("layer2.2", -0.5),
];

fn any_way() -> Constraints {
    Constraints { ways: BTreeSet::from([Way::Bypass, Way::DropBranch]), ..Constraints::default() }
}

fn removed(plan: &Plan) -> Vec<(&str, Way)> {
    plan.removed.iter().map(|planned| (planned.unit.as_str(), planned.way)).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn the_least_important_go_first_and_equals_in_forward_order() {
    let (_, units) = net();
    let ranking = plan::ranking(&units, &scores(&units, &ALL), &Constraints::bypass_only()).unwrap();
    let order: Vec<&str> = ranking.iter().map(|planned| planned.unit.as_str()).collect();
    assert_eq!(order, ["layer2.2", "layer1.1", "layer2.1", "layer1.0", "layer1.2"]);
    for count in 0..=5 {
        let plan = plan::lowest(&units, &scores(&units, &ALL), &Constraints::bypass_only(), count).unwrap();
        assert_eq!(plan.removed, ranking[..count]);
        assert_eq!((plan.criterion.as_deref(), plan.target.as_str()), (Some("test"), &*format!("{count} layers")));
    }
}

#[test]
fn the_branch_of_a_projection_block_goes_only_where_that_is_allowed() {
    let (_, units) = net();
    let lowest = |ways: &[Way]| {
        let constraints = Constraints { ways: ways.iter().copied().collect(), ..Constraints::default() };
        plan::lowest(&units, &scores(&units, &ALL), &constraints, 1).unwrap()
    };
    assert_eq!(removed(&lowest(&[Way::Bypass])), [("layer2.2", Way::Bypass)]);
    assert_eq!(removed(&lowest(&[Way::Bypass, Way::DropBranch])), [("layer2.0", Way::DropBranch)]);
    assert_eq!(removed(&lowest(&[Way::DropBranch])), [("layer2.0", Way::DropBranch)]);
}

#[test]
fn protected_units_stay() {
    let (_, units) = net();
    let protected = names(&["layer2.2", "layer1.1", "no such unit"]).into_iter().collect();
    let constraints = Constraints { protected, ..Constraints::bypass_only() };
    let plan = plan::lowest(&units, &scores(&units, &ALL), &constraints, 2).unwrap();
    assert_eq!(removed(&plan), [("layer2.1", Way::Bypass), ("layer1.0", Way::Bypass)]);
    assert_eq!(
        plan::named(&units, &names(&["layer2.2"]), &constraints).unwrap_err().to_string(),
        "`layer2.2` cannot be removed: it is protected"
    );
}

#[test]
fn more_layers_than_can_go_are_refused() {
    let (_, units) = net();
    let scores = scores(&units, &ALL);
    assert_eq!(
        plan::lowest(&units, &scores, &Constraints::bypass_only(), 6).unwrap_err().to_string(),
        "6 layers are to be removed, only 5 can be"
    );
    assert_eq!(plan::lowest(&units, &scores, &any_way(), 6).unwrap().removed.len(), 6);
    assert_eq!(
        plan::lowest(&units, &scores, &Constraints::default(), 1).unwrap_err().to_string(),
        "1 layers are to be removed, only 0 can be"
    );
}

#[test]
fn a_unit_scored_twice_is_one_unit() {
    let (model, units) = net();
    let twice = scores(&units, &[("layer1.1", 1.0), ("layer1.1", 0.0), ("layer1.2", 2.0), ("none", -1.0)]);
    let plan = plan::lowest(&units, &twice, &Constraints::bypass_only(), 2).unwrap();
    assert_eq!(removed(&plan), [("layer1.1", Way::Bypass), ("layer1.2", Way::Bypass)]);
    let cut = surgery::apply(&model, &units, &plan).unwrap();
    assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after);

    let planned = PlannedRemoval { unit: "layer1.1".to_owned(), way: Way::Bypass };
    let repeated = plan::of(&units, None, "twice".to_owned(), vec![planned.clone(); 40]);
    assert_eq!(repeated.after, plan::of(&units, None, "once".to_owned(), vec![planned]).after);
}

#[test]
fn scores_of_another_model_are_refused() {
    let (_, units) = net();
    let other = Scores { model: vgg(1, 8, &[4, 4], 3).digest(), ..scores(&units, &ALL) };
    assert_eq!(
        plan::lowest(&units, &other, &Constraints::bypass_only(), 1).unwrap_err().to_string(),
        format!("the scores are for another model (digest {}, this one has {})", other.model, units.model)
    );
}

#[test]
fn units_are_named_and_a_name_given_twice_counts_once() {
    let (_, units) = net();
    let plan = plan::named(&units, &names(&["layer2.0", "layer1.1", "layer2.0"]), &any_way()).unwrap();
    assert_eq!(removed(&plan), [("layer2.0", Way::DropBranch), ("layer1.1", Way::Bypass)]);
    assert_eq!((plan.criterion, plan.target.as_str()), (None, "layer2.0, layer1.1, layer2.0"));
}

#[test]
fn a_name_that_does_not_exist_is_answered_with_the_most_similar_one() {
    let (_, units) = net();
    let message = |name: &str| plan::named(&units, &names(&[name]), &any_way()).unwrap_err().to_string();
    assert_eq!(message("layer2.11"), "there is no layer `layer2.11`; did you mean `layer2.1`?");
    assert_eq!(message("Layer1.2"), "there is no layer `Layer1.2`; did you mean `layer1.2`?");
    assert_eq!(message("fd"), "there is no layer `fd`; did you mean `fc`?");
    assert_eq!(message("encoder.attention"), "there is no layer `encoder.attention`");
    let nothing = Units { units: Vec::new(), nested: Vec::new(), ..units.clone() };
    assert_eq!(plan::named(&nothing, &names(&["fc"]), &any_way()).unwrap_err().to_string(), "there is no layer `fc`");
}

#[test]
fn a_unit_that_cannot_go_is_refused_with_its_reason() {
    let (_, units) = net();
    let message = |name: &str, ways: &[Way]| {
        let constraints = Constraints { ways: ways.iter().copied().collect(), ..Constraints::default() };
        plan::named(&units, &names(&[name]), &constraints).unwrap_err().to_string()
    };
    assert_eq!(
        message("fc", &[Way::Bypass, Way::DropBranch]),
        "`fc` cannot be removed: its exit `/fc/Gemm_output_0` is a graph output"
    );
    assert_eq!(
        message("layer2.0", &[Way::Bypass]),
        "`layer2.0` cannot be removed: it changes channels and resolution: N×4×8×8 into N×8×4×4 \
         (shortcut: Conv + BatchNormalization) (its branch alone could be dropped)"
    );
    assert_eq!(
        message("layer1.1", &[Way::DropBranch]),
        "`layer1.1` cannot be removed: no way of removing it is allowed"
    );
}

#[test]
fn what_lies_in_another_unit_goes_with_it() {
    let (model, units) = net();
    let stage = plan::named(&units, &names(&["layer1"]), &Constraints::bypass_only()).unwrap();
    for inner in [&["layer1.0", "layer1"][..], &["layer1", "layer1.2", "layer1.1.conv2"]] {
        let plan = plan::named(&units, &names(inner), &Constraints::bypass_only()).unwrap();
        assert_eq!(removed(&plan), [("layer1", Way::Bypass)]);
        assert_eq!(plan.after, stage.after);
    }
    let blocks =
        plan::named(&units, &names(&["layer1.0", "layer1.1", "layer1.2"]), &Constraints::bypass_only()).unwrap();
    assert_eq!(stage.after, blocks.after);
    let cut = |plan: &Plan| surgery::apply(&model, &units, plan).unwrap().to_bytes();
    assert_eq!(cut(&stage), cut(&blocks));
}

#[test]
fn removals_that_do_not_go_together_are_refused() {
    let (_, units) = net();
    let message =
        |given: &[&str]| plan::named(&units, &names(given), &Constraints::bypass_only()).unwrap_err().to_string();
    assert_eq!(
        message(&["layer1.0.conv1", "layer1.0.conv2"]),
        "`layer1.0.conv1` and `layer1.0.conv2` cannot go together: they are the whole branch of `layer1.0`, which can only go \
         as one"
    );
    let protected = names(&["layer1.1"]).into_iter().collect();
    let constraints = Constraints { protected, ..Constraints::bypass_only() };
    for name in ["layer1", "layer1.1.conv2"] {
        assert_eq!(
            plan::named(&units, &names(&[name]), &constraints).unwrap_err().to_string(),
            format!("`{name}` cannot be removed: `layer1.1`, which it shares nodes with, is protected")
        );
    }
}

#[test]
fn a_dense_layer_goes_where_that_way_is_allowed() {
    let model = densenet(0, 8, 4, 2);
    let units = Units::find(&model, &Default::default()).unwrap();
    let name = "features.denseblock1.denselayer2";
    let planned = PlannedRemoval { unit: name.to_owned(), way: Way::DropFeatures };
    let row = [(name, 0.0)];
    assert_eq!(
        plan::ranking(&units, &scores(&units, &row), &Constraints::plain()).unwrap(),
        std::slice::from_ref(&planned)
    );
    assert_eq!(plan::named(&units, &names(&[name]), &Constraints::plain()).unwrap().removed, [planned]);
    assert_eq!(
        plan::named(&units, &names(&[name]), &Constraints::bypass_only()).unwrap_err().to_string(),
        format!("`{name}` cannot be removed: it adds features: N×4×8×8 to N×12×8×8")
    );
    assert_eq!(
        plan::named(&units, &names(&[name]), &crate::bridge::by(Way::Bridge)).unwrap_err().to_string(),
        format!("`{name}` cannot be removed: its features are joined to others, a bridge cannot stand for them")
    );
}

#[test]
fn chains_are_shrunk_only_where_that_is_allowed() {
    let units = Units::find(&vgg(0, 8, &[4, 4, 6, 0, 8, 8], 3), &Default::default()).unwrap();
    let plan = |removed: &[&str], ways: &[Way]| {
        let constraints = Constraints { ways: ways.iter().copied().collect(), ..Constraints::default() };
        plan::named(&units, &names(removed), &constraints)
    };
    assert_eq!(
        plan(&["features.2"], &[Way::Bypass, Way::DropBranch]).unwrap_err().to_string(),
        "`features.2` cannot be removed: it changes channels: N×4×8×8 into N×6×8×8 (the next layer could be made to read its \
         input)"
    );
    let both = plan(&["features.4", "features.2"], &[Way::ShrinkChain]).unwrap();
    assert_eq!(removed(&both), [("features.4", Way::ShrinkChain), ("features.2", Way::ShrinkChain)]);
    // The last layer reads 4 channels then, not 8.
    let kernels = 4 * 6 * 9 + 6 * 8 * 9 + (8 - 4) * 8 * 9;
    // Both batch norms go, and their constants give the layer behind a bias.
    assert_eq!(both.before.parameters - both.after.parameters, kernels + 2 * 6 + 2 * 8 - 8);
}

#[test]
fn the_predicted_cost_is_what_the_cut_model_costs() {
    let (model, units) = net();
    for count in 0..=6 {
        let plan = plan::lowest(&units, &scores(&units, &ALL), &any_way(), count).unwrap();
        let cut = surgery::apply(&model, &units, &plan).unwrap();
        assert_eq!(Units::find(&cut, &Default::default()).unwrap().costs.total(), plan.after, "{count} layers");
        assert_eq!(plan.before, units.costs.total());
    }
}

#[test]
fn plans_survive_json() {
    let (model, units) = net();
    let plan = plan::lowest(&units, &scores(&units, &ALL), &any_way(), 2).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert!(text.contains(r#"{"unit":"layer2.0","way":"drop-branch"}"#), "{text}");
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plan);
    assert_eq!(surgery::apply(&model, &units, &read).unwrap(), surgery::apply(&model, &units, &plan).unwrap());
}

#[test]
fn a_plan_that_asks_for_what_the_model_does_not_offer_is_refused() {
    let (model, units) = net();
    let planned = |unit: &str, way| vec![PlannedRemoval { unit: unit.to_owned(), way }];
    let message = |removed| {
        let plan = plan::of(&units, None, "by hand".to_owned(), removed);
        surgery::apply(&model, &units, &plan).unwrap_err().to_string()
    };
    assert_eq!(
        message(planned("none", Way::Bypass)),
        "the plan removes `none` by Bypass, which this model does not offer"
    );
    assert_eq!(
        message(planned("layer1.0", Way::DropBranch)),
        "the plan removes `layer1.0` by DropBranch, which this model does not offer"
    );
}

#[test]
fn by_lot_one_to_all_layers_go_each_number_as_often() {
    let (_, units) = net();
    let removable = ["layer1.0", "layer1.1", "layer2.1"];
    let mut counts = [0; 4];
    for seed in 0..600 {
        let mut random = SplitMix::new(seed);
        let rows: Vec<(&str, f64)> = removable.iter().map(|name| (*name, random.uniform())).collect();
        let plan = plan::random_layers(&units, &scores(&units, &rows), &Constraints::plain(), &mut random).unwrap();
        counts[plan.removed.len()] += 1;
    }
    assert_eq!(counts[0], 0);
    // 200 each, with a standard deviation of 11.5.
    assert!(counts[1..].iter().all(|count| (150..=250).contains(count)), "{counts:?}");
    let none = Constraints { protected: removable.map(str::to_owned).into(), ..Constraints::plain() };
    let error = plan::random_layers(&units, &scores(&units, &[]), &none, &mut SplitMix::new(0)).unwrap_err();
    assert!(matches!(error, PlanError::TooFew { asked: 1, available: 0 }), "{error}");
}

#[test]
fn by_lot_every_group_keeps_a_tenth_to_all_of_its_filters_and_which_is_drawn() {
    let model = vgg(0, 8, &[40, 40, 40], 3);
    let (units, channels) = found(&model);
    let held = channels.groups[0].name.clone();
    let constraints =
        ChannelConstraints { floor: 0.0, protected: BTreeSet::from([held.clone()]), ..ChannelConstraints::default() };
    let (mut least, mut most, mut firsts) = (40, 0, BTreeSet::new());
    for seed in 0..200 {
        let mut random = SplitMix::new(seed);
        let plan = plan::random_filters(&model.graph, &units, &channels, &constraints, &mut random);
        assert!(plan.removed.is_empty());
        for planned in &plan.channels {
            assert_ne!(planned.group, held);
            least = least.min(40 - planned.removed.len());
            most = most.max(40 - planned.removed.len());
            firsts.insert(planned.removed[0]);
        }
        surgery::apply(&model, &units, &plan).unwrap();
    }
    assert_eq!((least, most), (4, 39));
    assert!(firsts.len() > 5, "{firsts:?}");
}

//! What the fuzz targets do with bytes, here so that tests can go through their seeds as well.

use layerprune::analysis::{Channels, Units};
use layerprune::criteria::{CRITERIA, FilterScores, Scoring};
use layerprune::evidence::Evidence;
use layerprune::onnx::Model;
use layerprune::plan::{self, Constraints, Plan};
use layerprune::stats::SplitMix;
use layerprune::surgery::{self, SurgeryError};

/// Bytes of memory that a file of `length` bytes may take: protobuf turns two bytes of an empty message into a few hundred,
/// and axes may claim sizes up to a limit.
#[must_use]
pub fn memory(length: usize) -> usize {
    512 * length + (192 << 20)
}

/// Reads a model; what is written of it reads back as the same.
///
/// # Panics
/// Where it does not.
pub fn read(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    let written = model.to_bytes();
    let again = Model::from_bytes(&written).expect("what was written is a model");
    assert!(again.to_bytes() == written, "it reads back as something else");
}

/// Finds all that `inspect` tells of a model.
///
/// # Panics
/// Where what is found contradicts itself.
pub fn inspect(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    let Ok(units) = Units::find(&model, &Default::default()) else { return };
    assert_eq!(units.rows(&model.graph).units.len(), units.units.len());
    let _ = units.tree(&model.graph);
    let channels = Channels::find(&model, &units.model, &units.shapes);
    let _ = channels.rows(&units.costs);
    for layer in channels.layers.iter().take(8) {
        assert!(channels.why(&model.graph, &layer.name).is_some(), "`{}` is listed and not found", layer.name);
    }
    let _ = channels.dead(&model.graph, &units.shapes);
    let evidence = Evidence::default();
    for scoring in CRITERIA.iter().map(|&criterion| Scoring::from(criterion)) {
        if let Ok(scores) = FilterScores::of(&scoring, &model.graph, &units, &channels, &evidence) {
            assert_eq!(scores.model, units.model);
        }
        if let Ok(scores) = scoring.score(&model.graph, &units, &evidence) {
            assert!(scores.rows.iter().all(|row| row.score.is_finite()));
        }
    }
}

/// Cuts a model by a plan that the sum of its bytes chooses.
///
/// # Panics
/// Where what is left is no sound model, does not cost what was predicted, or surgery says that it went wrong.
pub fn prune(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    let Ok(units) = Units::find(&model, &Default::default()) else { return };
    let choice: u64 = bytes.iter().copied().map(u64::from).sum();
    let mut random = SplitMix::new(choice);
    let plan =
        if choice.is_multiple_of(2) { layers(&units, &mut random) } else { channels(&model, &units, &mut random) };
    let pruned = match surgery::apply(&model, &units, &plan) {
        Ok(pruned) => pruned,
        Err(
            fault @ (SurgeryError::Invalid(_) | SurgeryError::Mispredicted { .. } | SurgeryError::OutputChanged { .. }),
        ) => panic!("{fault}"),
        Err(_) => return,
    };
    let again = Model::from_bytes(&pruned.to_bytes()).expect("what was written is a model");
    let left = Units::find(&again, &Default::default()).expect("the inputs are those that were");
    assert_eq!(left.costs.total(), plan.after, "predicted cost is counted cost");
}

fn layers(units: &Units, random: &mut SplitMix) -> Plan {
    let allowed = Constraints::plain();
    let mut names = Vec::new();
    for unit in units.all().filter(|unit| unit.removal(&allowed.ways).is_some()) {
        if random.below(3) == 0 {
            names.push(unit.name.clone());
        }
    }
    plan::named(units, &names, &allowed).unwrap_or_else(|_| plan::of(units, None, "nothing".to_owned(), Vec::new()))
}

fn channels(model: &Model, units: &Units, random: &mut SplitMix) -> Plan {
    let found = Channels::find(model, &units.model, &units.shapes);
    plan::random_channels(&model.graph, units, &found, random)
}

//! Training from scratch at equal compute.

use std::path::Path;

use anyhow::{Context, Result};
use layerprune::cost::Costs;
use layerprune::onnx::Model;
use layerprune::shapes::InputShapes;
use layerprune_train::{Schedule, Settings};

use crate::CannotBeDone;
use crate::output::count;

/// `settings`, which are those of training a model of `whole` MACs for each image, for one of `own`: as many more epochs as it
/// costs fewer MACs, rounded to the nearest whole number and at least one, and a schedule stretched alike.
pub(super) fn at_equal_compute(settings: &Settings, whole: u64, own: u64) -> Settings {
    let times = whole as f64 / own.max(1) as f64;
    let stretched = |epochs: usize| (epochs as f64 * times).round() as usize;
    let schedule = match settings.schedule.clone() {
        Schedule::Step { every, gamma } => Schedule::Step { every: stretched(every).max(1), gamma },
        Schedule::Milestones { epochs, gamma } => {
            Schedule::Milestones { epochs: epochs.into_iter().map(stretched).collect(), gamma }
        }
        other => other,
    };
    let epochs = stretched(settings.epochs).max(1);
    Settings {
        epochs,
        // By what the epochs came to, so that it stays shorter than the run.
        warm_up_epochs: settings.warm_up_epochs * epochs as f64 / settings.epochs.max(1) as f64,
        schedule,
        ..settings.clone()
    }
}

/// `equal compute: 30 epochs of 11.53 M MACs are 62 of 5.54 M`.
pub(super) fn text(settings: &Settings, scaled: &Settings, whole: u64, own: u64) -> String {
    let (before, after) = (settings.epochs, scaled.epochs);
    format!("equal compute: {before} epochs at {} MACs an image are {after} at {}", count(whole), count(own))
}

/// Multiply-adds of `model`, read from `path`, for one image of this shape (channels, height, width).
pub(super) fn macs(model: &Model, path: &Path, image: [usize; 3]) -> Result<u64> {
    let context = || format!("cannot count the multiply-adds of `{}`", path.display());
    let mut given = InputShapes::new();
    for port in model.graph.fed_inputs() {
        given.insert(model.graph.value_name(port.value).to_owned(), vec![1, image[0], image[1], image[2]]);
    }
    let cost = Costs::total_of(&model.graph, &given).with_context(context)?;
    let text = "`layerprune inspect` lists the nodes whose costs are not known";
    let macs = cost.macs.filter(|&macs| macs > 0);
    macs.ok_or_else(|| CannotBeDone(text.to_owned())).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_the_schedule_stretch_with_the_macs_saved() {
        let settings = Settings {
            epochs: 30,
            warm_up_epochs: 1.0,
            schedule: Schedule::Step { every: 10, gamma: 0.1 },
            ..Settings::default()
        };
        let scaled = at_equal_compute(&settings, 300, 200);
        assert_eq!((scaled.epochs, scaled.warm_up_epochs), (45, 1.5));
        assert_eq!(scaled.schedule, Schedule::Step { every: 15, gamma: 0.1 });
        let milestones = Schedule::Milestones { epochs: vec![3, 7], gamma: 0.5 };
        let scaled = at_equal_compute(&Settings { schedule: milestones, ..settings }, 160, 100);
        // 3 · 1.6 = 4.8 and 7 · 1.6 = 11.2.
        assert_eq!(scaled.schedule, Schedule::Milestones { epochs: vec![5, 11], gamma: 0.5 });
        assert_eq!(scaled.epochs, 48);
    }

    #[test]
    fn a_model_that_costs_more_gets_fewer_epochs_but_at_least_one() {
        let settings = Settings { epochs: 2, schedule: Schedule::Cosine, ..Settings::default() };
        assert_eq!(at_equal_compute(&settings, 100, 200).epochs, 1);
        assert_eq!(at_equal_compute(&settings, 100, 2000).epochs, 1);
        assert_eq!(at_equal_compute(&settings, 100, 100), settings);
    }
}

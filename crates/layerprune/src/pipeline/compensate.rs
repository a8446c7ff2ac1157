//! Consumers of channels that are gone, fitted anew to what they gave, from images alone.

use serde::{Deserialize, Serialize};

use super::observe::{Observe, Part, RecoveryError, up_to};
use super::patches::PatchSums;
use crate::batch::Maps;
use crate::fit::{self, FitError, Linear};
use crate::onnx::Model;
use crate::stats::SplitMix;
use crate::surgery::Consumer;

/// How well a consumer fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compensation {
    /// The node.
    pub node: String,
    /// Share of its output on held-out images that it explained with the weights that the cut left, over conv groups the
    /// mean; absent where the output does not vary.
    pub r2_before: Option<f64>,
    /// The same with what was fitted.
    pub r2: Option<f64>,
    /// Whether the fitted weights were taken: they are not where they explain less of the held-out images.
    pub taken: bool,
}

/// Fits the weights of `consumers` of `cut` to what the same nodes give in `model`, by ridge regression over patches of some
/// images, drawn to the weights that the cut left; no label is needed. In forward order, each from what the cut model gives
/// with all consumers before it fitted, so that a consumer also makes up for what is left of earlier errors (the least
/// squares of He, Zhang and Sun, ICCV 2017, eq. 4, and of ThiNet, ICCV 2017, eq. 7, here with an intercept).
///
/// Takes one pass for each consumer, of both models up to there. Memory: 24 bytes times the square of the elements that one
/// output is made of; time: half that square for each place that is looked at.
///
/// # Errors
/// See [`RecoveryError`]; `cut` holds what was fitted so far then.
pub fn compensate(
    model: &Model,
    cut: &mut Model,
    consumers: &[Consumer],
    penalty: f64,
    port: &mut dyn Observe,
    step: &mut dyn FnMut(&Compensation),
) -> Result<Vec<Compensation>, RecoveryError> {
    let mut done = Vec::new();
    for consumer in consumers {
        let what = || format!("the weights of `{}`", consumer.of.name);
        let left = consumer.maps()?;
        let mut sums = Sums::new(consumer);
        let (entry, target) = (up_to(cut, consumer.entry), up_to(model, consumer.of.output));
        port.pairs(&entry, &target, &mut |part, entry, target| sums.add(part, entry, target))
            .map_err(|source| RecoveryError::Observe { what: what(), source })?;
        let fitted: Result<Vec<Linear>, FitError> = sums
            .fitted
            .groups
            .iter()
            .zip(&left)
            .map(|(moments, left)| fit::ridge_towards(moments, penalty, left.weight.clone()))
            .collect();
        let fitted = fitted.map_err(|source| RecoveryError::Fit { what: what(), source })?;
        let (r2_before, r2) = (sums.held_out_r2(&left), sums.held_out_r2(&fitted));
        let taken = r2_before.zip(r2).is_none_or(|(before, after)| after >= before);
        if taken {
            consumer.set(cut, &fitted)?;
        }
        done.push(Compensation { node: consumer.of.name.clone(), r2_before, r2, taken });
        step(&done[done.len() - 1]);
    }
    Ok(done)
}

/// Sums of the images to fit to, and of those that tell how well it fits.
struct Sums<'c> {
    random: SplitMix,
    fitted: PatchSums<'c>,
    held_out: PatchSums<'c>,
}

impl<'c> Sums<'c> {
    fn new(consumer: &'c Consumer) -> Self {
        let sums = PatchSums::new(consumer);
        Self { random: SplitMix::new(0), fitted: sums.clone(), held_out: sums }
    }

    fn add(&mut self, part: Part, entry: Maps<'_>, target: Maps<'_>) -> Result<(), FitError> {
        let sums = if part == Part::Fitted { &mut self.fitted } else { &mut self.held_out };
        sums.add(entry, target, &mut self.random)
    }

    /// The mean over conv groups.
    fn held_out_r2(&self, maps: &[Linear]) -> Option<f64> {
        let shares = self.held_out.groups.iter().zip(maps).filter(|(moments, _)| moments.count() > 0);
        let shares: Vec<f64> = shares.filter_map(|(moments, map)| moments.r2(map)).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }
}

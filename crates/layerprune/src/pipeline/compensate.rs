//! Consumers of channels that are gone, fitted anew to what they gave, from images alone.

use serde::{Deserialize, Serialize};

use super::observe::{Observe, Part, RecoveryError, up_to};
use super::patches::Places;
use crate::batch::Maps;
use crate::fit::{self, FitError, Linear, Moments};
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

/// The moments of each conv group.
struct Sums<'c> {
    consumer: &'c Consumer,
    random: SplitMix,
    fitted: Vec<Moments>,
    held_out: Vec<Moments>,
}

impl<'c> Sums<'c> {
    fn new(consumer: &'c Consumer) -> Self {
        let outputs = consumer.of.kept.len() / consumer.groups;
        let moments = vec![Moments::new(consumer.inputs(), outputs, [1, 1]); consumer.groups];
        Self { consumer, random: SplitMix::new(0), fitted: moments.clone(), held_out: moments }
    }

    fn add(&mut self, part: Part, entry: Maps<'_>, target: Maps<'_>) -> Result<(), FitError> {
        let Consumer { of, group_channels, groups, window, .. } = self.consumer;
        if entry.shape.get(1) != Some(&(group_channels * groups)) {
            return Err(FitError::OtherNode { found: entry.shape.to_vec() });
        }
        let places = Places::choose(window.as_ref(), entry, target, &mut self.random)?;
        let filters = of.kept.len() / groups;
        let all = if part == Part::Fitted { &mut self.fitted } else { &mut self.held_out };
        for (group, moments) in all.iter_mut().enumerate() {
            let patches = places.patches(entry, group * group_channels..(group + 1) * group_channels);
            let outputs = places.outputs(target, &of.kept[group * filters..(group + 1) * filters]);
            let count = places.count();
            moments.add(&patches, &[1, self.consumer.inputs(), count, 1], &outputs, &[1, filters, count, 1])?;
        }
        Ok(())
    }

    /// The mean over conv groups.
    fn held_out_r2(&self, maps: &[Linear]) -> Option<f64> {
        let shares = self.held_out.iter().zip(maps).filter(|(moments, _)| moments.count() > 0);
        let shares: Vec<f64> = shares.filter_map(|(moments, map)| moments.r2(map)).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }
}

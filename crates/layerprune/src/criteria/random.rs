use super::{Criterion, FilterRule, LayerRule, ScoreRow, Scores, scored_units};
use crate::stats::SplitMix;

/// Chance, the control that every other criterion has to beat.
///
/// # Measures
/// Nothing: a number from 0 to 1 for each filter, and one for each layer (not the mean over its filters, which would lie
/// close to one half for all wide layers), drawn from `--seed`.
/// # Needs
/// Nothing.
/// # Reference
/// Mittal et al., "Recovering from Random Pruning: On the Plasticity of Deep Convolutional Neural Networks", WACV 2018.
pub static RANDOM: Criterion = Criterion {
    id: "random",
    measures: "a random number, by the seed",
    filters: Some(FilterRule::Stored(|stored| {
        let stream = (stored.site.axis.node.index() as u64 + 1) << 32;
        let mut random = SplitMix::new(stored.seed ^ stream);
        Some((0..stored.site.count).map(|_| random.uniform()).collect())
    })),
    layers: Some(LayerRule {
        need: None,
        score: |layers| {
            let mut random = SplitMix::new(layers.evidence.seed);
            let rows = scored_units(layers.units).map(|unit| (unit, Ok(ScoreRow::plain(unit, random.uniform()))));
            Scores::collect(&layers.units.model, "random", rows)
        },
    }),
    batch_norm: false,
};

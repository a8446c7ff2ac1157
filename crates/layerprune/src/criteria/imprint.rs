use super::{Criterion, CriterionError, LayerRule, Layers, ScoreRow, Scores, tapped_units};
use crate::evidence::{Classified, Need};
use crate::record::Proportion;
use crate::stats::Z_95;

/// Accuracy gain of a classifier imprinted behind each layer.
///
/// # Measures
/// How many percentage points of accuracy a layer adds: `s_l = acc_l − acc_{l−1}`, `acc_0 = 0`, where `acc_l` is the
/// held-out accuracy of the classifier whose weight vectors are the class means, brought to unit length, of the
/// layer's output, adaptively average-pooled to d×d with d = √(N / channels). Each accuracy carries its Wilson
/// interval, each gain the interval of a paired difference.
/// # Needs
/// Labelled images of every class: one pass over a training part for the means, and a held-out part for the accuracies.
/// # Reference
/// Elkerdawy et al., "To Filter Prune, or to Layer Prune, That Is The Question", ACCV 2020, section 3.2; imprinting:
/// Qi et al., "Low-Shot Learning with Imprinted Weights", CVPR 2018.
pub static IMPRINT: Criterion = Criterion {
    id: "imprint",
    measures: "accuracy gained over the layer before, in percentage points",
    filters: None,
    layers: Some(LayerRule {
        need: Some(Need::Imprint),
        score: |layers| gains("imprint", layers, layers.evidence.imprint.as_ref()),
    }),
    batch_norm: false,
};

/// The gain of each tapped unit over the one before.
pub(super) fn gains(
    criterion: &'static str,
    layers: &Layers<'_>,
    counts: Option<&Classified>,
) -> Result<Scores, CriterionError> {
    let counts = counts.filter(|counts| counts.images > 0);
    let counts = counts.ok_or(CriterionError::NoEvidence { criterion, labels: true })?;
    let tapped: Vec<_> = tapped_units(layers.units).collect();
    if tapped.len() != counts.taps.len() {
        return Err(CriterionError::OtherTaps { criterion, expected: tapped.len(), found: counts.taps.len() });
    }
    let rows = tapped.iter().zip(&counts.taps).map(|(&unit, tap)| {
        let (gain, interval) = paired_difference(tap.gained, tap.lost, counts.images);
        let row = ScoreRow {
            unit: unit.name.clone(),
            score: gain,
            interval: Some(interval),
            accuracy: Some(Proportion::of(tap.correct, counts.images)),
        };
        (unit, Ok(row))
    });
    Scores::collect(&layers.units.model, criterion, rows)
}

/// How many percentage points more are right where `gained` of `images` became so and `lost` did not stay so, and the 95 %
/// interval of that: half an image is added to each of the four cells of the table of pairs, so that no pair that differs
/// does not mean no uncertainty.
///
/// Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24, 2005.
pub(super) fn paired_difference(gained: u64, lost: u64, images: u64) -> (f64, [f64; 2]) {
    let (gained, lost, count) = (gained as f64, lost as f64, images as f64);
    let difference = gained - lost;
    let adjusted = count + 2.0;
    let variance = (gained + lost + 1.0 - difference * difference / adjusted) / (adjusted * adjusted);
    let (center, half) = (difference / adjusted, Z_95 * variance.max(0.0).sqrt());
    (100.0 * difference / count, [100.0 * (center - half), 100.0 * (center + half)])
}

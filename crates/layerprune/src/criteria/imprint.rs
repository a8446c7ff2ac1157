use super::{Criterion, CriterionError, LayerRule, Layers, ScoreRow, Scores, tapped_units};
use crate::evidence::{Classified, Need};
use crate::record::Proportion;

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
        let (gain, half_width) = paired_difference(tap.gained, tap.lost, counts.images);
        let row = ScoreRow {
            unit: unit.name.clone(),
            score: gain,
            interval: Some([gain - half_width, gain + half_width]),
            accuracy: Some(Proportion::of(tap.correct, counts.images)),
        };
        (unit, Ok(row))
    });
    Scores::collect(&layers.units.model, criterion, rows)
}

/// How many percentage points more are right where `gained` of `images` became so and `lost` did not stay so, and half the
/// width of the 95 % interval: the variance of a paired difference of proportions (McNemar),
/// `((g + l) − (g − l)² / n) / n²`.
pub(super) fn paired_difference(gained: u64, lost: u64, images: u64) -> (f64, f64) {
    let (gained, lost, images) = (gained as f64, lost as f64, images as f64);
    let difference = gained - lost;
    let variance = (gained + lost - difference * difference / images) / (images * images);
    (100.0 * difference / images, 100.0 * 1.959_964 * variance.max(0.0).sqrt())
}

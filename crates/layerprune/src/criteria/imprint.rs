use super::{Criterion, CriterionError, ScoreRow, tapped_units};
use crate::analysis::{FilterAxis, Units};
use crate::evidence::{Evidence, TapCounts};
use crate::graph::Graph;
use crate::record::Proportion;
use crate::shapes::Shapes;

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
pub struct Imprint;

const ID: &str = "imprint";

impl Criterion for Imprint {
    fn id(&self) -> &'static str {
        ID
    }

    fn measures(&self) -> &'static str {
        "accuracy gained over the layer before, in percentage points"
    }

    fn needs_imprint(&self) -> bool {
        true
    }

    fn score(&self, _: &Graph, units: &Units, evidence: &Evidence) -> Result<Vec<ScoreRow>, CriterionError> {
        let counts = evidence.imprint.as_ref().filter(|counts| counts.images > 0);
        let counts = counts.ok_or(CriterionError::NoEvidence { criterion: ID })?;
        let tapped: Vec<_> = tapped_units(units).collect();
        if tapped.len() != counts.taps.len() {
            return Err(CriterionError::OtherTaps { criterion: ID, expected: tapped.len(), found: counts.taps.len() });
        }
        let row = |(unit, tap): (&&crate::analysis::Unit, &TapCounts)| {
            let (gain, half_width) = paired_difference(tap, counts.images);
            ScoreRow {
                unit: unit.name.clone(),
                score: gain,
                interval: Some([gain - half_width, gain + half_width]),
                accuracy: Some(Proportion::of(tap.correct, counts.images)),
            }
        };
        Ok(tapped.iter().zip(&counts.taps).map(row).collect())
    }

    fn score_filters(&self, _: &Graph, _: &Shapes, _: &FilterAxis) -> Result<Option<Vec<f64>>, CriterionError> {
        Err(CriterionError::NoFilters { criterion: ID })
    }
}

/// Gain over the tap before in percentage points, and half the width of its 95 % interval: the variance of a paired
/// difference of proportions (McNemar), `((g + l) − (g − l)² / n) / n²`.
fn paired_difference(tap: &TapCounts, images: u64) -> (f64, f64) {
    let (gained, lost, images) = (tap.gained as f64, tap.lost as f64, images as f64);
    let difference = gained - lost;
    let variance = (gained + lost - difference * difference / images) / (images * images);
    (100.0 * difference / images, 100.0 * 1.959_964 * variance.max(0.0).sqrt())
}

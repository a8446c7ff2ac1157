use super::imprint::paired_difference;
use super::{Criterion, CriterionError, LayerRule, Layers, ScoreRow, Scores, scored_units};
use crate::analysis::Unit;
use crate::evidence::{Need, Removed};
use crate::stats::Z_95;

/// Accuracy lost without a layer: the expensive yardstick.
///
/// # Measures
/// How many percentage points of held-out accuracy go with the layer alone, after the batch norms that are left were
/// recalibrated on training images, with the interval of a paired difference.
/// # Needs
/// Labelled images; one cut, one recalibration and one evaluation for each layer that can be removed. Where batch norms
/// were folded away, nothing is recalibrated.
/// # Reference
/// The yardstick that layer rankings are held against; recalibration before it: Li et al., "EagleEye: Fast Sub-net
/// Evaluation for Efficient Neural Network Pruning", ECCV 2020.
pub static LEAVE_ONE_OUT: Criterion = Criterion {
    id: "leave-one-out",
    measures: "held-out accuracy lost without the layer, in percentage points",
    filters: None,
    layers: Some(LayerRule {
        need: Some(Need::Removals),
        score: |layers| {
            tried("leave-one-out", layers, |unit, removed, images| {
                let (loss, interval) = paired_difference(removed.lost, removed.gained, images);
                ScoreRow { interval: Some(interval), ..ScoreRow::plain(unit, loss) }
            })
        },
    }),
    batch_norm: false,
};

/// Loss that rises without a layer: the expensive yardstick, in a finer measure than right or wrong.
///
/// # Measures
/// How much the mean held-out cross-entropy rises with the layer alone gone, after recalibration as for `leave-one-out`,
/// with the interval of the mean of paired differences.
/// # Needs
/// As `leave-one-out`, and shares the work with it.
/// # Reference
/// As `leave-one-out`.
pub static LEAVE_ONE_OUT_LOSS: Criterion = Criterion {
    id: "leave-one-out-loss",
    measures: "rise of the held-out loss without the layer",
    filters: None,
    layers: Some(LayerRule {
        need: Some(Need::Removals),
        score: |layers| {
            tried("leave-one-out-loss", layers, |unit, removed, _| {
                let half_width = Z_95 * removed.loss_error;
                let interval = [removed.loss_rise - half_width, removed.loss_rise + half_width];
                ScoreRow { interval: Some(interval), ..ScoreRow::plain(unit, removed.loss_rise) }
            })
        },
    }),
    batch_norm: false,
};

fn tried(
    criterion: &'static str,
    layers: &Layers<'_>,
    row: impl Fn(&Unit, &Removed, u64) -> ScoreRow,
) -> Result<Scores, CriterionError> {
    let removals = layers.evidence.removals.as_ref().filter(|removals| removals.images > 0);
    let removals = removals.ok_or(CriterionError::NoEvidence { criterion, labels: true })?;
    let rows = scored_units(layers.units).map(|unit| {
        let found = removals.layers.get(&unit.name).map(|removed| row(unit, removed, removals.images));
        (unit, found.ok_or_else(|| "it cannot be removed alone".to_owned()))
    });
    Scores::collect(&layers.units.model, criterion, rows)
}

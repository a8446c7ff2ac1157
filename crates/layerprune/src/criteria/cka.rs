use super::{Criterion, CriterionError, LayerRule, ScoreRow, Scores, scored_units};
use crate::evidence::{Folds, Need};

/// How much a layer changes which images are alike.
///
/// # Measures
/// `s_l = 1 − CKA(x_in, x_out)`, linear centred kernel alignment
/// `CKA = HSIC(K, L) / √(HSIC(K, K) · HSIC(L, L))` with K and L the inner products of the images of a batch; the unbiased
/// estimates of HSIC are averaged over batches, so that memory does not grow with the number of images. Input and output
/// may be of different shapes.
/// # Needs
/// Images without labels, in batches of four or more.
/// # Reference
/// Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019; in batches: Nguyen et al., "Do
/// Wide and Deep Networks Learn the Same Things?", ICLR 2021.
pub static CKA: Criterion = Criterion {
    id: "cka",
    measures: "1 - linear CKA of input and output",
    filters: None,
    layers: Some(LayerRule {
        need: Some(Need::Kernels),
        score: |layers| {
            let kernels = layers.evidence.kernels.as_ref();
            let kernels = kernels.ok_or(CriterionError::NoEvidence { criterion: "cka", labels: false })?;
            let rows = scored_units(layers.units).map(|unit| {
                let score = kernels
                    .get(&unit.name)
                    .and_then(|folds| ScoreRow::of_parts(unit, folds.len(), |part| distance(folds, part)));
                let reason = "its input or output is the same for all images, or a batch holds fewer than four";
                (unit, score.ok_or_else(|| reason.to_owned()))
            });
            Scores::collect(&layers.units.model, "cka", rows)
        },
    }),
    batch_norm: false,
};

fn distance(folds: &Folds, part: Option<usize>) -> Option<f64> {
    let means = folds.means(part)?;
    let squares = means[1] * means[2];
    (means[1] > 0.0 && squares > 0.0).then(|| 1.0 - means[0] / squares.sqrt())
}

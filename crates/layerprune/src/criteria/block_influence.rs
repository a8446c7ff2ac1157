use super::{Criterion, CriterionError, LayerRule, ScoreRow, Scores, scored_units};
use crate::evidence::Need;

/// How much a layer turns what it reads.
///
/// # Measures
/// `s_l = 1 − E[x_in · x_out / (‖x_in‖ ‖x_out‖)]` over images, each map taken as one vector.
/// # Needs
/// Images without labels, and a layer whose output has the shape of its input; others are not scored.
/// # Reference
/// Block influence of Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
/// arXiv 2403.03853, 2024, on maps in place of tokens.
pub static BLOCK_INFLUENCE: Criterion = Criterion {
    id: "block-influence",
    measures: "1 - cosine of input and output",
    filters: None,
    layers: Some(LayerRule {
        need: Some(Need::Cosines),
        score: |layers| {
            let cosines = layers.evidence.cosines.as_ref();
            let cosines = cosines.ok_or(CriterionError::NoEvidence { criterion: "block-influence", labels: false })?;
            let rows = scored_units(layers.units).map(|unit| {
                let score = cosines
                    .get(&unit.name)
                    .and_then(|folds| ScoreRow::of_parts(unit, folds.len(), |part| Some(1.0 - folds.means(part)?[0])));
                (unit, score.ok_or_else(|| "its output is not of the shape of its input".to_owned()))
            });
            Scores::collect(&layers.units.model, "block-influence", rows)
        },
    }),
    batch_norm: false,
};

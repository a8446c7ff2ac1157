use super::{Criterion, CriterionError, ScoreRow, finite, mean, scored_units};
use crate::analysis::{FilterAxis, Units, batch_norm_behind};
use crate::evidence::Evidence;
use crate::graph::{Graph, tensor};
use crate::shapes::Shapes;

/// Scale of the batch norm behind a layer's filters.
///
/// # Measures
/// The mean over filters of `|γ_f|`, γ the scale of the batch norm behind the convolution. A block is scored by the
/// convolutions whose channels end inside it (all but the last of its branch), a bottleneck by the mean of its two.
/// # Needs
/// Batch norms that were not folded into the convolutions; a layer without one is not scored.
/// # Reference
/// Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017; for layers: Elkerdawy
/// et al., ACCV 2020, section 3.1.
pub struct BatchNormScale;

const ID: &str = "batch-norm-scale";

impl Criterion for BatchNormScale {
    fn id(&self) -> &'static str {
        ID
    }

    fn measures(&self) -> &'static str {
        "mean absolute batch-norm scale of the filters"
    }

    fn needs_imprint(&self) -> bool {
        false
    }

    fn score(&self, graph: &Graph, units: &Units, _: &Evidence) -> Result<Vec<ScoreRow>, CriterionError> {
        let uses = graph.uses();
        let mut rows = Vec::new();
        for unit in scored_units(units) {
            let mut layers = Vec::new();
            for &id in &unit.scored {
                let Some(scale) = batch_norm_behind(graph, &units.shapes, &uses, id) else { continue };
                let scale = tensor::to_f32(&scale).map_err(|source| CriterionError::Weight {
                    criterion: ID,
                    unit: unit.name.clone(),
                    source,
                })?;
                layers.push(mean(&scale.iter().map(|&gamma| f64::from(gamma).abs()).collect::<Vec<_>>()));
            }
            if layers.len() == unit.scored.len() {
                rows.push(finite(ID, unit, mean(&layers))?);
            }
        }
        if rows.is_empty() { Err(CriterionError::NoBatchNorm { criterion: ID }) } else { Ok(rows) }
    }

    fn score_filters(
        &self,
        graph: &Graph,
        shapes: &Shapes,
        source: &FilterAxis,
    ) -> Result<Option<Vec<f64>>, CriterionError> {
        let scale = batch_norm_behind(graph, shapes, &graph.uses(), source.node);
        let numbers = scale.and_then(|scale| tensor::numbers(&scale));
        Ok(numbers.map(|scale| scale.into_iter().map(|gamma| f64::from(gamma).abs()).collect()))
    }
}

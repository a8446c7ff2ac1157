use super::{Criterion, CriterionError, ScoreRow, finite, mean, scored_units};
use crate::analysis::{FilterAxis, Units, filters_of, sums_of_filters};
use crate::evidence::Evidence;
use crate::graph::{Graph, tensor};
use crate::shapes::Shapes;

/// Squared L2 norm of a layer's filters.
///
/// # Measures
/// The mean over filters of the sum of squared weights, `(1/|F|) Σ_f Σ_{i∈f} w_i²`. A block is scored by the
/// convolutions whose channels end inside it (all but the last of its branch), a bottleneck by the mean of its two.
/// The sum grows with a filter's size, so that wide late layers look more important.
/// # Needs
/// The weights alone.
/// # Reference
/// Elkerdawy et al., "To Filter Prune, or to Layer Prune, That Is The Question", ACCV 2020, section 3.1.
pub struct WeightNorm;

const ID: &str = "weight-norm";

impl Criterion for WeightNorm {
    fn id(&self) -> &'static str {
        ID
    }

    fn measures(&self) -> &'static str {
        "mean squared L2 norm of the filters"
    }

    fn needs_imprint(&self) -> bool {
        false
    }

    fn score(&self, graph: &Graph, units: &Units, _: &Evidence) -> Result<Vec<ScoreRow>, CriterionError> {
        let mut rows = Vec::new();
        let mut without = Vec::new();
        for unit in scored_units(units) {
            let mut layers = Vec::new();
            for &id in &unit.scored {
                let Some(filters) = filters_of(graph, &units.shapes, id) else { continue };
                let weights = tensor::to_f32(&filters.weight).map_err(|source| CriterionError::Weight {
                    criterion: ID,
                    unit: unit.name.clone(),
                    source,
                })?;
                let sum: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
                layers.push(sum / filters.count.max(1) as f64);
            }
            if layers.len() < unit.scored.len() {
                without.push(unit.name.clone());
            }
            rows.push(finite(ID, unit, mean(&layers))?);
        }
        if without.is_empty() {
            Ok(rows)
        } else {
            Err(CriterionError::NoStoredWeight { criterion: ID, units: without })
        }
    }

    fn score_filters(
        &self,
        graph: &Graph,
        shapes: &Shapes,
        source: &FilterAxis,
    ) -> Result<Option<Vec<f64>>, CriterionError> {
        Ok(sums_of_filters(graph, shapes, source, |weight| weight * weight))
    }
}

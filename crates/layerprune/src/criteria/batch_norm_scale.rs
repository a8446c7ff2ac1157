use super::{Criterion, FilterRule};
use crate::graph::tensor;

/// Scale of the batch norm behind a layer's filters.
///
/// # Measures
/// `s_f = |γ_f|`, γ the scale of the batch norm behind the convolution; for a layer the mean over its filters.
/// # Needs
/// Batch norms that were not folded into the convolutions; a layer without one is not scored.
/// # Reference
/// Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017; for layers: Elkerdawy
/// et al., ACCV 2020, section 3.1.
pub static BATCH_NORM_SCALE: Criterion = Criterion {
    id: "batch-norm-scale",
    measures: "mean absolute batch-norm scale of the filters",
    filters: Some(FilterRule::Stored(|stored| {
        let scale = stored.site.norm_scale(stored.graph, stored.shapes)?;
        let scale = tensor::numbers(&scale)?.into_iter().map(|gamma| f64::from(gamma).abs()).collect::<Vec<_>>();
        (scale.len() == stored.site.count).then_some(scale)
    })),
    layers: None,
    batch_norm: true,
};

use super::{Criterion, FilterRule};
use crate::evidence::Statistic;

/// First-order Taylor expansion of the loss in a filter's feature map.
///
/// # Measures
/// `v_f = mean_{n,h,w} |y · ∂L/∂y|`, y the filter's map behind the batch norm, and `s_f = v_f / (‖v‖₂ + 1e-8)` within each
/// layer and batch, averaged over batches with the model frozen; for a layer the mean over its filters. By the division
/// that mean lies between `1/n` and `1/√n` for n filters, so that wide layers look less important.
/// # Needs
/// Labelled images, and gradients: a model that can be trained here.
/// # Reference
/// Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017.
pub static FEATURE_MAPS: Criterion = Criterion {
    id: "feature-maps",
    measures: "mean over filters of the absolute (map x gradient), of unit length within the layer",
    filters: Some(FilterRule::Statistic(Statistic::TaylorOutput)),
    layers: None,
    batch_norm: false,
};

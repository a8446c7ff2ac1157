use super::{Criterion, FilterRule};
use crate::evidence::Statistic;

/// First-order Taylor expansion of the loss in a filter's weights.
///
/// # Measures
/// `s_f = Σ_{i∈f} (w_i · ∂L/∂w_i)²`, L the mean cross-entropy over a batch, averaged over batches with the model frozen;
/// for a layer the mean over its filters. It grows with a filter's size, and falls with the square of the batch size.
/// # Needs
/// Labelled images, and gradients: a model that can be trained here.
/// # Reference
/// Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.
pub static TAYLOR_WEIGHT: Criterion = Criterion {
    id: "taylor-weight",
    measures: "mean over filters of the summed squared (weight x gradient)",
    filters: Some(FilterRule::Statistic(Statistic::TaylorWeight)),
    layers: None,
    batch_norm: false,
};

/// First-order Taylor expansion of the loss in a gate on each filter.
///
/// # Measures
/// `s_f = (∂L/∂z_f)²`, z_f = 1 a factor on the filter's map behind the batch norm, so that
/// `∂L/∂z_f = Σ_{n,h,w} y · ∂L/∂y`; L the mean cross-entropy over a batch, averaged over batches with the model frozen. For
/// a layer the mean over its filters. Without a batch norm the gate stands behind the convolution with its bias.
/// # Needs
/// Labelled images, and gradients: a model that can be trained here.
/// # Reference
/// Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019: its best variant.
pub static TAYLOR_GATE: Criterion = Criterion {
    id: "taylor-gate",
    measures: "mean over filters of the squared gradient of a gate behind the batch norm",
    filters: Some(FilterRule::Statistic(Statistic::TaylorGate)),
    layers: None,
    batch_norm: false,
};

/// First-order Taylor expansion of the loss in the scale of the batch norm.
///
/// # Measures
/// `s_f = (γ_f · ∂L/∂γ_f)²`, γ the scale of the batch norm behind the convolution, L the mean cross-entropy over a batch,
/// averaged over batches with the model frozen; for a layer the mean over its filters. With the shift's term,
/// `(γ ∂L/∂γ + β ∂L/∂β)²`, it would be `taylor-gate`.
/// # Needs
/// Labelled images, gradients, and batch norms that were not folded into the convolutions.
/// # Reference
/// The batch-norm variant of Molchanov et al., CVPR 2019, as Elkerdawy et al., ACCV 2020, use it.
pub static TAYLOR_BATCH_NORM: Criterion = Criterion {
    id: "taylor-batch-norm",
    measures: "mean over filters of the squared (batch-norm scale x gradient)",
    filters: Some(FilterRule::Statistic(Statistic::TaylorBatchNorm)),
    layers: None,
    batch_norm: true,
};

use super::{Criterion, FilterRule};
use crate::evidence::Statistic;

/// Share of a filter's activations that are not zero.
///
/// # Measures
/// `s_f = 1 − APoZ_f`, APoZ the average percentage of zeros in the map behind the activation; for a layer the mean over
/// its filters. It says something only where the activation gives exact zeros, as ReLU does; the branch of a residual
/// block ends before its ReLU.
/// # Needs
/// Images without labels.
/// # Reference
/// Hu et al., "Network Trimming: A Data-Driven Neuron Pruning Approach towards Efficient Deep Architectures",
/// arXiv 1607.03250, 2016.
pub static APOZ: Criterion = Criterion {
    id: "apoz",
    measures: "mean share of the filters' activations that are not zero",
    filters: Some(FilterRule::Statistic(Statistic::NonZero)),
    layers: None,
    batch_norm: false,
};

/// Mean activation of a filter.
///
/// # Measures
/// `s_f = mean_{n,h,w} a`, a the map behind the activation; for a layer the mean over its filters.
/// # Needs
/// Images without labels.
/// # Reference
/// A baseline of Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017.
pub static MEAN_ACTIVATION: Criterion = Criterion {
    id: "mean-activation",
    measures: "mean activation of the filters",
    filters: Some(FilterRule::Statistic(Statistic::Mean)),
    layers: None,
    batch_norm: false,
};

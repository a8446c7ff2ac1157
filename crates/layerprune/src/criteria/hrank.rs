use super::{Criterion, FilterRule};
use crate::evidence::Statistic;

/// Rank of a filter's feature map.
///
/// # Measures
/// `s_f = (1/N) Σ_n rank(O_f(x_n))`, O_f the map behind the activation as a matrix of H×W, averaged over the first
/// batches that hold 500 images; for a layer the mean over its filters. A larger map can have a higher rank, so that early layers look more
/// important.
/// # Needs
/// Images without labels.
/// # Reference
/// Lin et al., "HRank: Filter Pruning using High-Rank Feature Map", CVPR 2020.
pub static HRANK: Criterion = Criterion {
    id: "hrank",
    measures: "mean rank of the filters' feature maps",
    filters: Some(FilterRule::Statistic(Statistic::Rank)),
    layers: None,
    batch_norm: false,
};

use super::{Criterion, FilterRule};

/// Squared L2 norm of a layer's filters.
///
/// # Measures
/// `s_f = Σ_{i∈f} w_i²`, for a layer the mean over its filters. The sum grows with a filter's size, so that wide late
/// layers look more important.
/// # Needs
/// The weights alone.
/// # Reference
/// Elkerdawy et al., "To Filter Prune, or to Layer Prune, That Is The Question", ACCV 2020, section 3.1.
pub static WEIGHT_NORM: Criterion = Criterion {
    id: "weight-norm",
    measures: "mean squared L2 norm of the filters",
    filters: Some(FilterRule::Stored(|stored| stored.site.sums(stored.graph, stored.shapes, |weight| weight * weight))),
    layers: None,
    batch_norm: false,
};

/// L1 norm of a layer's filters.
///
/// # Measures
/// `s_f = Σ_{i∈f} |w_i|`, for a layer the mean over its filters.
/// # Needs
/// The weights alone.
/// # Reference
/// Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017.
pub static WEIGHT_NORM_L1: Criterion = Criterion {
    id: "weight-norm-l1",
    measures: "mean L1 norm of the filters",
    filters: Some(FilterRule::Stored(|stored| stored.site.sums(stored.graph, stored.shapes, f64::abs))),
    layers: None,
    batch_norm: false,
};

/// L2 norm of a layer's filters.
///
/// # Measures
/// `s_f = √(Σ_{i∈f} w_i²)`, for a layer the mean over its filters.
/// # Needs
/// The weights alone.
/// # Reference
/// The usual variant of Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017.
pub static WEIGHT_NORM_L2: Criterion = Criterion {
    id: "weight-norm-l2",
    measures: "mean L2 norm of the filters",
    filters: Some(FilterRule::Stored(|stored| {
        let squares = stored.site.sums(stored.graph, stored.shapes, |weight| weight * weight)?;
        Some(squares.into_iter().map(f64::sqrt).collect())
    })),
    layers: None,
    batch_norm: false,
};

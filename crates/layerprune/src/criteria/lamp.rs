use super::{Criterion, FilterRule};

/// Layer-adaptive magnitude of a filter.
///
/// # Measures
/// `s_f = ‖w_f‖² / Σ_{g: ‖w_g‖ ≥ ‖w_f‖} ‖w_g‖²` over the filters g of the same layer: the published score of single weights,
/// taken of whole filters. The greatest filter of each layer scores 1. For a layer the mean over its filters, which falls
/// with their number.
/// # Needs
/// The weights alone.
/// # Reference
/// Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021.
pub static LAMP: Criterion = Criterion {
    id: "lamp",
    measures: "mean share of the filters' squared norm in that of all that are no smaller",
    filters: Some(FilterRule::Stored(|stored| {
        let squares = stored.site.sums(stored.graph, stored.shapes, |weight| weight * weight)?;
        let mut order: Vec<usize> = (0..squares.len()).collect();
        order.sort_by(|&a, &b| squares[b].total_cmp(&squares[a]));
        let mut scores = vec![0.0; squares.len()];
        let mut sum = 0.0;
        for equal in order.chunk_by(|&a, &b| squares[a] == squares[b]) {
            sum += squares[equal[0]] * equal.len() as f64;
            for &filter in equal {
                scores[filter] = if sum > 0.0 { squares[filter] / sum } else { 0.0 };
            }
        }
        Some(scores)
    })),
    layers: None,
    batch_norm: false,
};

use super::{Criterion, FilterRule};

/// Distance of a filter to the others of its layer.
///
/// # Measures
/// `s_f = Σ_{g} ‖w_f − w_g‖₂` over the filters g of the same layer: one near their geometric median can be made up for by
/// the others. For a layer the mean over its filters.
/// # Needs
/// The weights alone.
/// # Reference
/// He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration", CVPR 2019.
pub static FPGM: Criterion = Criterion {
    id: "fpgm",
    measures: "mean summed distance of the filters to the others of their layer",
    filters: Some(FilterRule::Stored(|stored| {
        let vectors = stored.site.vectors(stored.graph, stored.shapes)?;
        let mut sums = vec![0.0; vectors.len()];
        // However many filters are claimed, those without weights are all the same.
        if vectors.first().is_none_or(Vec::is_empty) {
            return Some(sums);
        }
        for (place, one) in vectors.iter().enumerate() {
            for (other, vector) in vectors.iter().enumerate().skip(place + 1) {
                let apart = one.iter().zip(vector).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
                let distance = apart.sum::<f64>().sqrt();
                sums[place] += distance;
                sums[other] += distance;
            }
        }
        Some(sums)
    })),
    layers: None,
    batch_norm: false,
};

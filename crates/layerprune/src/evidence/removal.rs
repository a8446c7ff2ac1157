//! What the model loses without each layer, tried out.

use std::collections::BTreeMap;

/// What a model makes of some images. 5 bytes for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    /// Whether each image is classified right.
    pub right: Vec<bool>,
    /// The cross-entropy of each image.
    pub loss: Vec<f32>,
}

/// The model without one layer, against the whole one on the same images.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Removed {
    /// Images that only the whole model classifies right.
    pub lost: u64,
    /// Images that only the model without the layer classifies right.
    pub gained: u64,
    /// How much the mean loss rises.
    pub loss_rise: f64,
    /// The standard error of that mean.
    pub loss_error: f64,
}

/// What was tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Removals {
    /// Images that were judged on.
    pub images: u64,
    /// Whether the batch norms of each cut model were recalibrated first.
    pub recalibrated: bool,
    /// One entry for each layer that was tried, by name.
    pub layers: BTreeMap<String, Removed>,
}

impl Removed {
    /// Compares the model without a layer with the whole one; both judged the same images in the same order.
    #[must_use]
    pub fn between(whole: &Judged, without: &Judged) -> Self {
        let pairs = || whole.right.iter().zip(&without.right);
        let losses = || whole.loss.iter().zip(&without.loss);
        let rises = || losses().map(|(&whole, &without)| f64::from(without) - f64::from(whole));
        let count = whole.loss.len().max(1) as f64;
        let mean = rises().sum::<f64>() / count;
        let squares: f64 = rises().map(|rise| (rise - mean).powi(2)).sum();
        Self {
            lost: pairs().filter(|(whole, without)| **whole && !**without).count() as u64,
            gained: pairs().filter(|(whole, without)| !**whole && **without).count() as u64,
            loss_rise: mean,
            loss_error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_model_is_compared_image_by_image() {
        let whole = Judged { right: vec![true, true, false, true], loss: vec![0.0, 1.0, 2.0, 0.5] };
        let without = Judged { right: vec![true, false, true, false], loss: vec![1.0, 1.0, 1.0, 1.5] };
        let removed = Removed::between(&whole, &without);
        assert_eq!((removed.lost, removed.gained), (2, 1));
        assert!((removed.loss_rise - 0.25).abs() < 1e-12);
        // numpy.std([1, 0, -1, 1], ddof=1) / 2
        assert!((removed.loss_error - 0.478_713_6).abs() < 1e-6, "{}", removed.loss_error);
    }
}

//! Softmax cross-entropy, and what a batch counts for.

use layerprune::batch::Batch;

use crate::error::TrainError;

/// The loss of a batch, with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loss {
    /// Over the images.
    pub(crate) sum: f64,
    pub(crate) top1: usize,
    pub(crate) top5: usize,
    /// Of the mean loss, at the class scores.
    pub(crate) gradient: Vec<f32>,
}

/// `-ln softmax(scores)[label]` of each row of `scores`, computed in `f64`.
pub(crate) fn cross_entropy(scores: &[f32], labels: &[usize]) -> Loss {
    let classes = scores.len() / labels.len().max(1);
    let mut loss = Loss { sum: 0.0, top1: 0, top5: 0, gradient: Vec::with_capacity(scores.len()) };
    for (row, &label) in scores.chunks_exact(classes.max(1)).zip(labels) {
        let greatest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let powers: Vec<f64> = row.iter().map(|&score| (f64::from(score) - greatest).exp()).collect();
        let total: f64 = powers.iter().sum();
        loss.sum += total.ln() + greatest - f64::from(row[label]);
        let images = labels.len() as f64;
        loss.gradient.extend(powers.iter().enumerate().map(|(class, power)| {
            let target = if class == label { 1.0 } else { 0.0 };
            ((power / total - target) / images) as f32
        }));
        let rank = rank(row, label);
        loss.top1 += usize::from(rank == 0);
        loss.top5 += usize::from(rank < 5);
    }
    loss
}

/// How many classes stand before `label`; of equal scores the first class does. A score that is no number is last.
fn rank(row: &[f32], label: usize) -> usize {
    let own = row[label];
    if own.is_nan() {
        return row.len().max(5);
    }
    let before = |(class, &score): (usize, &f32)| score > own || (score == own && class < label);
    row.iter().enumerate().filter(|&entry| before(entry)).count()
}

/// Refuses labels that have no score.
pub(crate) fn check_labels(batch: &Batch, classes: usize) -> Result<(), TrainError> {
    match batch.labels.iter().find(|&&label| label >= classes) {
        Some(&label) => Err(TrainError::Label { label, classes }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_agrees_with_hand_arithmetic() {
        let ln2 = 2.0_f32.ln();
        let loss = cross_entropy(&[0.0, ln2, 0.0, 0.0], &[1, 0]);
        let expected = (3.0_f64 / 2.0).ln() + 2.0_f64.ln();
        assert!((loss.sum - expected).abs() < 1e-6);
        assert_eq!((loss.top1, loss.top5), (2, 2));
        let expected = [1.0 / 6.0, -1.0 / 6.0, -0.25, 0.25];
        assert!(loss.gradient.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", loss.gradient);
    }

    #[test]
    fn a_score_that_is_no_number_is_never_right() {
        let loss = cross_entropy(&[f32::NAN, 0.0], &[0]);
        assert_eq!((loss.top1, loss.top5), (0, 0));
        assert!(!loss.sum.is_finite());
    }

    #[test]
    fn top5_counts_labels_among_the_first_five() {
        let row = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(cross_entropy(&row, &[4]).top5, 1);
        assert_eq!(cross_entropy(&row, &[5]).top5, 0);
    }
}

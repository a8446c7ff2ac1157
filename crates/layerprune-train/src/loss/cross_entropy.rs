use layerprune::batch::Batch;
use serde::{Deserialize, Serialize};

use super::{Answers, Judgement, targets};
use crate::error::TrainError;
use crate::settings::refuse;

/// Softmax cross-entropy: `-Σ t · ln softmax(scores)` over the classes, as PyTorch's `cross_entropy`.
///
/// The target `t` of a class is 1 for the image's label and 0 for others, or the batch's own share; label smoothing makes
/// it `(1 - label-smoothing) · t + label-smoothing / classes` (Szegedy et al., "Rethinking the Inception Architecture for
/// Computer Vision", CVPR 2016, section 7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// The share of each target that is spread over all classes.
    pub label_smoothing: f64,
}

impl CrossEntropy {
    pub(super) fn check(&self) -> Result<(), TrainError> {
        match (0.0..1.0).contains(&self.label_smoothing) {
            true => Ok(()),
            false => refuse("loss.label-smoothing", self.label_smoothing, "a number from 0 to below 1"),
        }
    }

    pub(super) fn judge(&self, scores: &[f32], classes: usize, batch: &Batch) -> Result<Judgement, TrainError> {
        if let Some(&label) = batch.labels.iter().find(|&&label| label >= classes) {
            return Err(TrainError::Label { label, classes });
        }
        let shares = targets(classes, batch)?;
        if let Some(shares) = shares {
            check_shares(super::shares("cross-entropy", shares)?, classes)?;
        }
        let images = batch.labels.len();
        let smooth = |share: f64| (1.0 - self.label_smoothing) * share + self.label_smoothing / classes as f64;
        let (mut sum, mut top1, mut top5) = (0.0, 0, 0);
        let mut gradient = Vec::with_capacity(scores.len());
        for (image, (row, &label)) in scores.chunks_exact(classes).zip(&batch.labels).enumerate() {
            let greatest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let powers: Vec<f64> = row.iter().map(|&score| (f64::from(score) - greatest).exp()).collect();
            let total: f64 = powers.iter().sum();
            let target = |class: usize| {
                smooth(match shares {
                    Some(shares) => f64::from(shares[image * classes + class]),
                    None if class == label => 1.0,
                    None => 0.0,
                })
            };
            let mut mass = 0.0;
            for (class, &score) in row.iter().enumerate() {
                let target = target(class);
                mass += target;
                // A score of minus infinity is no fault where nothing is asked of its class.
                if target != 0.0 {
                    sum += target * (total.ln() + greatest - f64::from(score));
                }
            }
            let slopes = powers.iter().enumerate().map(|(class, power)| mass * power / total - target(class));
            gradient.extend(slopes.map(|slope| (slope / images as f64) as f32));
            let rank = rank(row, label);
            top1 += usize::from(rank == 0);
            top5 += usize::from(rank < 5);
        }
        Ok(Judgement { sum, answers: Some(Answers { right: top1, of: images }), top5: Some(top5), gradient })
    }
}

/// Refuses rows that do not sum to 1, rounding aside.
fn check_shares(shares: &[f32], classes: usize) -> Result<(), TrainError> {
    let sums = shares.chunks_exact(classes).map(|row| row.iter().sum::<f32>());
    match sums.enumerate().find(|(_, sum)| (sum - 1.0).abs() > 0.02) {
        Some((image, sum)) => Err(TrainError::TargetSum { image, sum }),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use layerprune::batch::Targets;

    use super::*;

    fn judge(scores: &[f32], labels: &[usize]) -> Judgement {
        let batch = Batch::new(Vec::new(), [labels.len(), 0, 0, 0], labels.to_vec());
        CrossEntropy::default().judge(scores, scores.len() / labels.len(), &batch).unwrap()
    }

    #[test]
    fn cross_entropy_agrees_with_hand_arithmetic() {
        let ln2 = 2.0_f32.ln();
        let judged = judge(&[0.0, ln2, 0.0, 0.0], &[1, 0]);
        let expected = (3.0_f64 / 2.0).ln() + 2.0_f64.ln();
        assert!((judged.sum - expected).abs() < 1e-6);
        assert_eq!((judged.answers, judged.top5), (Some(Answers { right: 2, of: 2 }), Some(2)));
        let expected = [1.0 / 6.0, -1.0 / 6.0, -0.25, 0.25];
        assert!(judged.gradient.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", judged.gradient);
    }

    #[test]
    fn smoothed_labels_are_shares() {
        let scores = [0.3, -1.0, 2.0];
        let batch = Batch::new(Vec::new(), [1, 0, 0, 0], vec![2]);
        let smoothed = CrossEntropy { label_smoothing: 0.3 }.judge(&scores, 3, &batch).unwrap();
        let targets = Some(Targets { values: vec![0.1, 0.1, 0.8], width: 3 });
        let shares = CrossEntropy::default().judge(&scores, 3, &Batch { targets, ..batch }).unwrap();
        assert!((smoothed.sum - shares.sum).abs() < 1e-6);
        assert!(smoothed.gradient.iter().zip(&shares.gradient).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn a_score_that_is_no_number_is_never_right() {
        let judged = judge(&[f32::NAN, 0.0], &[0]);
        assert_eq!((judged.answers, judged.top5), (Some(Answers { right: 0, of: 1 }), Some(0)));
        assert!(!judged.sum.is_finite());
    }

    #[test]
    fn top5_counts_labels_among_the_first_five() {
        let row = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(judge(&row, &[4]).top5, Some(1));
        assert_eq!(judge(&row, &[5]).top5, Some(0));
    }
}

//! What is made small: one file for each loss.

mod binary_cross_entropy;
mod cross_entropy;
pub(crate) mod mean_absolute;
pub(crate) mod mean_squared;

use layerprune::batch::Batch;
use serde::{Deserialize, Serialize};

pub use cross_entropy::CrossEntropy;

use crate::error::TrainError;

/// How far the outputs of a model are from what they should be.
///
/// Values and gradients are those of PyTorch's functions with their default `reduction="mean"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Loss {
    /// One class for each image, or shares of classes: softmax cross-entropy, the mean over the images. A `Softmax` or
    /// `LogSoftmax` at the end of the model is left to the loss.
    CrossEntropy(CrossEntropy),
    /// Several labels for each image, each there (1) or not (0): the cross-entropy of each label's sigmoid, the mean over
    /// all labels of all images. A `Sigmoid` at the end of the model is left to the loss.
    #[serde(deserialize_with = "crate::settings::no_settings")]
    BinaryCrossEntropy,
    /// Numbers: the squared difference, the mean over all numbers of all images.
    #[serde(deserialize_with = "crate::settings::no_settings")]
    MeanSquared,
    /// Numbers: the absolute difference, the mean over all numbers of all images. Where it is 0, so is the gradient.
    #[serde(deserialize_with = "crate::settings::no_settings")]
    MeanAbsolute,
}

impl Default for Loss {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropy::default())
    }
}

/// Right answers among those that were asked for: images whose class has the highest score, or labels whose sigmoid is on
/// the right side of 0.5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Answers {
    /// Those that were right.
    pub right: usize,
    /// All.
    pub of: usize,
}

impl Answers {
    /// The share of right answers, in percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        100.0 * self.right as f64 / self.of as f64
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.right = self.right.saturating_add(other.right);
        self.of = self.of.saturating_add(other.of);
    }
}

/// What a loss says of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    /// The sum over images of each image's loss; divided by the images, the loss of the batch.
    pub(crate) sum: f64,
    /// `None` where answers are neither right nor wrong.
    pub(crate) answers: Option<Answers>,
    /// Images whose label is among the five highest scores, where there are classes.
    pub(crate) top5: Option<usize>,
    /// Of the loss of the batch, at the outputs.
    pub(crate) gradient: Vec<f32>,
}

impl Loss {
    /// Its name in recipes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy(_) => "cross-entropy",
            Self::BinaryCrossEntropy => "binary-cross-entropy",
            Self::MeanSquared => "mean-squared",
            Self::MeanAbsolute => "mean-absolute",
        }
    }

    /// Operators that the loss itself does where one of them is a model's last.
    pub(crate) fn last_operators(&self) -> &'static [&'static str] {
        match self {
            // The loss of scores and of the logarithms of their softmax is the same, gradients included.
            Self::CrossEntropy(_) => &["Softmax", "LogSoftmax"],
            Self::BinaryCrossEntropy => &["Sigmoid"],
            Self::MeanSquared | Self::MeanAbsolute => &[],
        }
    }

    /// Judges `outputs`, `width` of each image of `batch`, row by row.
    pub(crate) fn judge(&self, outputs: &[f32], width: usize, batch: &Batch) -> Result<Judgement, TrainError> {
        match self {
            Self::CrossEntropy(cross_entropy) => cross_entropy.judge(outputs, width, batch),
            Self::BinaryCrossEntropy => {
                let targets = shares(self.name(), self.targets(width, batch)?)?;
                Ok(binary_cross_entropy::judge(outputs, targets, batch.labels.len()))
            }
            Self::MeanSquared => Ok(mean_squared::judge(outputs, self.targets(width, batch)?, batch.labels.len())),
            Self::MeanAbsolute => Ok(mean_absolute::judge(outputs, self.targets(width, batch)?, batch.labels.len())),
        }
    }

    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match self {
            Self::CrossEntropy(cross_entropy) => cross_entropy.check(),
            Self::BinaryCrossEntropy | Self::MeanSquared | Self::MeanAbsolute => Ok(()),
        }
    }

    /// The targets that the loss cannot do without.
    fn targets<'a>(&self, width: usize, batch: &'a Batch) -> Result<&'a [f32], TrainError> {
        targets(width, batch)?.ok_or(TrainError::NoTargets { loss: self.name(), outputs: width })
    }
}

/// The targets of a batch, one for each output, where it has any.
fn targets(width: usize, batch: &Batch) -> Result<Option<&[f32]>, TrainError> {
    let Some(targets) = &batch.targets else { return Ok(None) };
    if targets.width != width {
        return Err(TrainError::TargetWidth { found: targets.width, outputs: width });
    }
    let images = batch.labels.len();
    if targets.values.len() != images * width {
        return Err(TrainError::TargetLength { values: targets.values.len(), width, images });
    }
    Ok(Some(&targets.values))
}

/// The targets of `loss`, which must be from 0 to 1.
fn shares<'a>(loss: &'static str, targets: &'a [f32]) -> Result<&'a [f32], TrainError> {
    let rounded = -1e-3..=1.0 + 1e-3;
    match targets.iter().find(|target| !rounded.contains(*target)) {
        Some(&found) => Err(TrainError::TargetRange { loss, found }),
        None => Ok(targets),
    }
}

/// Sums `value` over all pairs of output and target, with the gradient of the mean: losses that take each output for itself.
pub(crate) fn elementwise(
    outputs: &[f32],
    targets: &[f32],
    images: usize,
    of: impl Fn(f64, f64) -> (f64, f64),
) -> Judgement {
    let count = outputs.len() as f64;
    let mut sum = 0.0;
    let gradient = outputs.iter().zip(targets).map(|(&output, &target)| {
        let (value, slope) = of(f64::from(output), f64::from(target));
        sum += value;
        (slope / count) as f32
    });
    let gradient = gradient.collect();
    Judgement { sum: sum * images as f64 / count, answers: None, top5: None, gradient }
}

#[cfg(test)]
mod tests {
    use layerprune::batch::Targets;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        loss: Loss,
        images: usize,
        width: usize,
        outputs: Vec<f32>,
        labels: Vec<usize>,
        targets: Option<Vec<f32>>,
        value: f64,
        gradient: Vec<f32>,
    }

    #[test]
    fn values_and_gradients_agree_with_pytorch() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden/train_losses.json");
        let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(golden.cases.len(), 8);
        for Case { loss, images, width, outputs, labels, targets, value, gradient } in golden.cases {
            let targets = targets.map(|values| Targets { values, width });
            let batch = Batch { targets, ..Batch::new(Vec::new(), [images, 0, 0, 0], labels) };
            let judged = loss.judge(&outputs, width, &batch).unwrap();
            let found = judged.sum / images as f64;
            assert!((found - value).abs() < 1e-6 * value, "{loss:?}: {found} instead of {value}");
            assert_eq!(judged.gradient.len(), gradient.len());
            for (found, expected) in judged.gradient.iter().zip(&gradient) {
                let close = (found - expected).abs() <= 1e-6 * expected.abs() + 1e-8;
                assert!(close, "{loss:?}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn targets_that_do_not_fit_are_refused() {
        let batch = Batch::new(Vec::new(), [2, 0, 0, 0], vec![0; 2]);
        let with = |values: usize, width| Batch {
            targets: Some(Targets { values: vec![0.0; values], width }),
            ..batch.clone()
        };
        let message = |loss: Loss, batch: &Batch| loss.judge(&[0.0; 6], 3, batch).unwrap_err().to_string();
        for loss in [Loss::BinaryCrossEntropy, Loss::MeanSquared, Loss::MeanAbsolute] {
            let expected = format!(
                "the loss `{}` needs targets, 3 numbers for each image, and the data has labels alone: \
                 give data with targets, or train with `cross-entropy`",
                loss.name()
            );
            assert_eq!(message(loss, &batch), expected);
        }
        let expected = "the data has 4 targets for each image, the model has 3 outputs";
        assert_eq!(message(Loss::MeanSquared, &with(8, 4)), expected);
        assert_eq!(message(Loss::default(), &with(8, 4)), expected);
        let expected = "a batch of 2 images has 5 targets, 3 for each image are needed";
        assert_eq!(message(Loss::BinaryCrossEntropy, &with(5, 3)), expected);
        let holding =
            |values: [f32; 6]| Batch { targets: Some(Targets { values: values.to_vec(), width: 3 }), ..batch.clone() };
        let expected = "the targets of `binary-cross-entropy` are from 0 to 1, the data has 3";
        assert_eq!(message(Loss::BinaryCrossEntropy, &holding([0.0, 1.0, 3.0, 0.0, 0.0, 0.0])), expected);
        let expected = "the targets of `cross-entropy` are from 0 to 1, the data has -0.5";
        assert_eq!(message(Loss::default(), &holding([1.0, 0.5, -0.5, 0.0, 0.0, 1.0])), expected);
        let expected = "the targets of image 1 of a batch sum to 2, `cross-entropy` needs shares that sum to 1: \
                        where images have several labels, `binary-cross-entropy` is the loss";
        assert_eq!(message(Loss::default(), &holding([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])), expected);
    }
}

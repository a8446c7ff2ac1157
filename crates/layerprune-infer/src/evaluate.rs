//! Accuracy and loss of a classifier.

use std::ops::ControlFlow;

use layerprune::batch::Batch;
use layerprune::evidence::Judged;
use layerprune::record::Accuracy;
use serde::{Deserialize, Serialize};

use crate::error::InferError;
use crate::progress::Progress;
use crate::session::{Array, Session};

/// How far a row may sum to from 1 and still be probabilities.
const PROBABILITY_TOLERANCE: f64 = 1e-3;

/// What a classifier's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Scores before a softmax; the loss is computed from their softmax.
    Logits,
    /// All rows lie within 0 and 1 and sum to 1; the loss is computed from their logarithm.
    Probabilities,
}

/// What [`evaluate`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Top-1, top-5 (where there are more than five classes) and mean cross-entropy.
    pub accuracy: Accuracy,
    /// What the loss was computed from, told from the values seen.
    pub output: OutputKind,
    /// How many classes the model scores.
    pub classes: usize,
}

/// Counts what a classifier gets right.
///
/// The model's first output holds a score for each image and class: N,K or N,K,1,1. Of equal scores the class with the
/// lower number counts as higher, as in numpy's `argmax`.
///
/// # Errors
/// Where a label is no class of the model, the output is not of that shape or not finite, the data fails or holds no
/// images, or `observer` breaks.
pub fn evaluate<E>(
    session: &Session,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    mut observer: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Evaluation, InferError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let output = session.output_names().first().map_or("", String::as_str);
    let mut tally = Tally::new(output);
    count(session, batches, &mut tally, &mut observer)?;
    tally.finish()
}

/// Says of each image whether it is classified right, and its loss, as [`evaluate`] counts them.
///
/// # Errors
/// As [`evaluate`].
pub fn judge<E>(
    session: &Session,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    mut observer: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Judged, InferError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let output = session.output_names().first().map_or("", String::as_str);
    let mut tally = Tally { rows: Some(Vec::new()), ..Tally::new(output) };
    count(session, batches, &mut tally, &mut observer)?;
    let rows = tally.rows.take().unwrap_or_default();
    let kind = tally.finish()?.output;
    let loss = |row: &Row| match kind {
        OutputKind::Logits => row.loss_of_logits,
        OutputKind::Probabilities => row.loss_of_probability,
    };
    Ok(Judged { right: rows.iter().map(|row| row.right).collect(), loss: rows.iter().map(loss).collect() })
}

fn count<E>(
    session: &Session,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
    tally: &mut Tally<'_>,
    observer: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), InferError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    for batch in batches {
        let batch = batch.map_err(|source| InferError::Data(source.into()))?;
        check_batch(&batch)?;
        let outputs = session.run(&batch.images, batch.shape)?;
        let scores = outputs.outputs().first().ok_or_else(|| tally.not_class_scores(&[], batch.labels.len()))?;
        tally.add(scores, &batch.labels)?;
        if observer(Progress { images: tally.images }).is_break() {
            return Err(InferError::Interrupted);
        }
    }
    Ok(())
}

pub(crate) fn check_batch(batch: &Batch) -> Result<(), InferError> {
    let images = batch.shape[0];
    if batch.labels.len() == images {
        Ok(())
    } else {
        Err(InferError::LabelCount { images, labels: batch.labels.len() })
    }
}

struct Tally<'a> {
    output: &'a str,
    images: u64,
    top1: u64,
    top5: u64,
    classes: usize,
    probabilities: bool,
    loss_of_logits: f64,
    loss_of_probabilities: f64,
    /// Image by image, where that is wanted.
    rows: Option<Vec<Row>>,
}

struct Row {
    right: bool,
    loss_of_logits: f32,
    loss_of_probability: f32,
}

impl<'a> Tally<'a> {
    fn new(output: &'a str) -> Self {
        Self {
            output,
            images: 0,
            top1: 0,
            top5: 0,
            classes: 0,
            probabilities: true,
            loss_of_logits: 0.0,
            loss_of_probabilities: 0.0,
            rows: None,
        }
    }

    fn not_class_scores(&self, shape: &[usize], images: usize) -> InferError {
        InferError::NotClassScores { output: self.output.to_owned(), shape: shape.to_vec(), images }
    }

    fn add(&mut self, scores: &Array, labels: &[usize]) -> Result<(), InferError> {
        let classes = match scores.shape[..] {
            [images, classes, ref rest @ ..]
                if images == labels.len()
                    && classes > 1
                    && rest.iter().all(|&size| size == 1)
                    && (self.images == 0 || classes == self.classes) =>
            {
                classes
            }
            _ => return Err(self.not_class_scores(&scores.shape, labels.len())),
        };
        self.classes = classes;
        for (row, &label) in scores.data.chunks_exact(classes).zip(labels) {
            self.add_row(row, label)?;
        }
        Ok(())
    }

    fn add_row(&mut self, row: &[f32], label: usize) -> Result<(), InferError> {
        let image = self.images;
        let Some(&score) = row.get(label) else {
            return Err(InferError::Label { image, label, classes: self.classes });
        };
        if let Some(&found) = row.iter().find(|score| !score.is_finite()) {
            return Err(InferError::NotFinite { output: self.output.to_owned(), found, image });
        }
        let better = row[..label].iter().filter(|&&other| other >= score).count()
            + row[label + 1..].iter().filter(|&&other| other > score).count();
        self.images += 1;
        self.top1 += u64::from(better == 0);
        self.top5 += u64::from(better < 5);
        let loss_of_logits = log_sum_exp(row) - f64::from(score);
        // The smallest positive number instead of 0 keeps the loss finite.
        let loss_of_probability = -f64::from(score.max(f32::MIN_POSITIVE)).ln();
        self.loss_of_logits += loss_of_logits;
        self.loss_of_probabilities += loss_of_probability;
        if let Some(rows) = &mut self.rows {
            let (loss_of_logits, loss_of_probability) = (loss_of_logits as f32, loss_of_probability as f32);
            rows.push(Row { right: better == 0, loss_of_logits, loss_of_probability });
        }
        self.probabilities &= is_distribution(row);
        Ok(())
    }

    fn finish(self) -> Result<Evaluation, InferError> {
        if self.images == 0 {
            return Err(InferError::NoImages);
        }
        let (output, loss) = match self.probabilities {
            true => (OutputKind::Probabilities, self.loss_of_probabilities),
            false => (OutputKind::Logits, self.loss_of_logits),
        };
        let top5 = (self.classes > 5).then_some(self.top5);
        let accuracy = Accuracy::from_counts(self.images, self.top1, top5, Some(loss / self.images as f64));
        Ok(Evaluation { accuracy, output, classes: self.classes })
    }
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + row.iter().map(|&score| (f64::from(score) - largest).exp()).sum::<f64>().ln()
}

fn is_distribution(row: &[f32]) -> bool {
    let sum: f64 = row.iter().copied().map(f64::from).sum();
    (sum - 1.0).abs() <= PROBABILITY_TOLERANCE && row.iter().all(|score| (0.0..=1.0).contains(score))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(shape: &[usize], scores: &[f32], labels: &[usize]) -> Result<Evaluation, InferError> {
        let mut tally = Tally::new("scores");
        tally.add(&Array { shape: shape.to_vec(), data: scores.to_vec() }, labels)?;
        tally.finish()
    }

    #[test]
    fn loss_of_logits_is_stable_and_right() {
        // ln(1 + e^-1 + e^-2) for the first row, whatever is added to it; 10_000 for the second.
        let scores = [1002.0, 1001.0, 1000.0, 0.0, 10_000.0, 0.0];
        let found = tally(&[2, 3], &scores, &[0, 0]).unwrap();
        let expected = ((1.0 + (-1.0_f64).exp() + (-2.0_f64).exp()).ln() + 10_000.0) / 2.0;
        assert!((found.accuracy.loss.unwrap() - expected).abs() < 1e-9, "{found:?}");
        assert_eq!((found.output, found.classes, found.accuracy.images), (OutputKind::Logits, 3, 2));
        assert_eq!(found.accuracy.top1.percent, 50.0);
        assert_eq!(found.accuracy.top5, None);
    }

    #[test]
    fn probabilities_are_told_from_logits() {
        let found = tally(&[2, 2, 1, 1], &[0.75, 0.25, 0.5, 0.5], &[0, 0]).unwrap();
        assert_eq!(found.output, OutputKind::Probabilities);
        let expected = -(0.75_f64.ln() + 0.5_f64.ln()) / 2.0;
        assert!((found.accuracy.loss.unwrap() - expected).abs() < 1e-9);
        assert_eq!(tally(&[1, 2], &[0.75, 0.5], &[0]).unwrap().output, OutputKind::Logits);
        let certain = tally(&[1, 2], &[1.0, 0.0], &[1]).unwrap();
        assert!(certain.accuracy.loss.unwrap().is_finite());
    }

    #[test]
    fn top_five_counts_ranks_and_breaks_ties_by_class_number() {
        let row = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        for (label, top1, top5) in [(0, 100.0, 100.0), (4, 0.0, 100.0), (5, 0.0, 0.0)] {
            let accuracy = tally(&[1, 6], &row, &[label]).unwrap().accuracy;
            assert_eq!((accuracy.top1.percent, accuracy.top5.unwrap().percent), (top1, top5), "{label}");
        }
        assert_eq!(tally(&[1, 6], &[0.0; 6], &[0]).unwrap().accuracy.top1.percent, 100.0);
        assert_eq!(tally(&[1, 6], &[0.0; 6], &[1]).unwrap().accuracy.top1.percent, 0.0);
        assert_eq!(tally(&[1, 6], &[0.0; 6], &[5]).unwrap().accuracy.top5.unwrap().percent, 0.0);
    }

    #[test]
    fn faults_are_named() {
        let refused =
            |shape: &[usize], scores: &[f32], labels: &[usize]| tally(shape, scores, labels).unwrap_err().to_string();
        assert_eq!(refused(&[1, 2], &[0.0, 1.0], &[2]), "image 0 has label 2, but the model knows 2 classes, 0 to 1");
        assert!(refused(&[1, 2], &[0.0, f32::NAN], &[0]).starts_with("output `scores` holds NaN for image 0"));
        assert!(refused(&[1, 1], &[0.0], &[0]).contains("shape [1, 1]"));
        assert!(refused(&[1, 2, 2, 1], &[0.0; 4], &[0]).contains("shape [1, 2, 2, 1]"));
        assert!(refused(&[2, 2], &[0.0; 4], &[0]).contains("expected 1 rows"));
        assert!(matches!(Tally::new("scores").finish(), Err(InferError::NoImages)));
    }
}

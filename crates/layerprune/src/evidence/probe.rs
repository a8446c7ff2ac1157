//! Linear classifiers trained at the taps.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::imprint::{check, finite};
use super::pooling::Pooling;
use super::tally::Tally;
use super::{Classified, EvidenceError};
use crate::batch::Maps;

/// Adam's settings: step size, decay of both means, and what keeps the denominator from zero.
const STEP: f32 = 1e-3;
const DECAY: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;

/// One linear classifier for each tap, trained by softmax regression on the pooled output, which is brought to a mean
/// square of one. Adam (Kingma and Ba, ICLR 2015) with its published settings, from zero.
///
/// Memory: 12 · taps · classes · (embedding length + 1) bytes.
#[derive(Debug, Clone)]
pub struct Probes {
    embedding: usize,
    classes: usize,
    taps: Vec<Probe>,
    tally: Tally,
}

#[derive(Debug, Clone)]
struct Probe {
    /// Weights and bias of each class, with Adam's two means of their gradient.
    weights: DMatrix<f32>,
    means: [DMatrix<f32>; 2],
    steps: i32,
}

impl Probes {
    /// Untrained classifiers for `taps` taps and `classes` classes, embeddings of about `embedding` numbers.
    #[must_use]
    pub fn new(taps: usize, classes: usize, embedding: usize) -> Self {
        let empty = || DMatrix::zeros(0, 0);
        let probe = Probe { weights: empty(), means: [empty(), empty()], steps: 0 };
        Self { embedding, classes, taps: vec![probe; taps], tally: Tally::new(taps) }
    }

    /// One step on what each tap gave for a batch: N,C,(H,W) each.
    ///
    /// # Errors
    /// [`EvidenceError::LabelOutOfRange`], [`EvidenceError::NotBatched`], [`EvidenceError::ShapeChanged`],
    /// [`EvidenceError::NotFinite`].
    pub fn train(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        check(taps, labels, self.classes)?;
        let (classes, embedding) = (self.classes, self.embedding);
        let train = |(tap, (probe, maps)): (usize, (&mut Probe, &Maps<'_>))| {
            let inputs = probe.inputs(tap, *maps, embedding)?;
            if probe.weights.is_empty() {
                let zeros = DMatrix::zeros(inputs.nrows(), classes);
                *probe = Probe { weights: zeros.clone(), means: [zeros.clone(), zeros], steps: 0 };
            }
            // Classes × images: the gradient of the mean cross-entropy at the scores.
            let mut gradient = probe.weights.tr_mul(&inputs);
            for (mut scores, &label) in gradient.column_iter_mut().zip(labels) {
                softmax(scores.as_mut_slice());
                scores[label] -= 1.0;
            }
            gradient /= labels.len() as f32;
            probe.step(&(inputs * gradient.transpose()));
            Ok(())
        };
        self.taps.par_iter_mut().zip(taps).enumerate().try_for_each(train)
    }

    /// Classifies what all taps gave for a batch and counts what is right.
    ///
    /// # Errors
    /// As [`Probes::train`].
    pub fn classify(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        check(taps, labels, self.classes)?;
        let (classes, embedding) = (self.classes, self.embedding);
        let right = |(tap, (probe, maps)): (usize, (&mut Probe, &Maps<'_>))| {
            let inputs = probe.inputs(tap, *maps, embedding)?;
            if probe.weights.is_empty() {
                probe.weights = DMatrix::zeros(inputs.nrows(), classes);
            }
            let scores = probe.weights.tr_mul(&inputs);
            let pairs = scores.column_iter().zip(labels);
            Ok(pairs.map(|(scores, &label)| first_largest(scores.as_slice()) == label).collect())
        };
        let taps = self.taps.par_iter_mut().zip(taps).enumerate();
        let right: Vec<Vec<bool>> = taps.map(right).collect::<Result<_, EvidenceError>>()?;
        right.iter().enumerate().for_each(|(tap, right)| self.tally.add(tap, right));
        Ok(())
    }

    /// What was counted.
    #[must_use]
    pub fn counts(self) -> Classified {
        self.tally.counts()
    }
}

impl Probe {
    /// One column for each image: its embedding of mean square one, and a one for the bias.
    fn inputs(&self, tap: usize, maps: Maps<'_>, embedding: usize) -> Result<DMatrix<f32>, EvidenceError> {
        let pooling = Pooling::of(maps.shape, embedding);
        let length = pooling.length();
        let expected = self.weights.nrows();
        if expected > 0 && expected != length + 1 {
            return Err(EvidenceError::ShapeChanged { tap, expected: expected - 1, found: length });
        }
        let mut inputs = DMatrix::from_element(length + 1, maps.shape[0], 1.0);
        for (mut column, image) in inputs.column_iter_mut().zip(maps.data.chunks_exact(pooling.input_length())) {
            let embedding = &mut column.as_mut_slice()[..length];
            pooling.pool(image, embedding);
            finite(tap, embedding)?;
            let square = embedding.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / length as f64;
            let factor = if square > 0.0 { (1.0 / square.sqrt()) as f32 } else { 0.0 };
            embedding.iter_mut().for_each(|x| *x *= factor);
        }
        Ok(inputs)
    }

    fn step(&mut self, gradient: &DMatrix<f32>) {
        self.steps += 1;
        let [first, second] = &mut self.means;
        let corrections = DECAY.map(|decay| 1.0 - f64::from(decay).powi(self.steps));
        let rate = (f64::from(STEP) / corrections[0]) as f32;
        let root = corrections[1].sqrt() as f32;
        let means = first.iter_mut().zip(second.iter_mut());
        for ((weight, gradient), (first, second)) in self.weights.iter_mut().zip(gradient.iter()).zip(means) {
            *first += (1.0 - DECAY[0]) * (gradient - *first);
            *second += (1.0 - DECAY[1]) * (gradient * gradient - *second);
            *weight -= rate * *first / (second.sqrt() / root + EPSILON);
        }
    }
}

fn softmax(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - greatest).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn first_largest(scores: &[f32]) -> usize {
    let better = |best: usize, (place, score): (usize, &f32)| if *score > scores[best] { place } else { best };
    scores.iter().enumerate().fold(0, better)
}

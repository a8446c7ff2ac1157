//! Classifiers imprinted at the taps: class means in place of training.

use rayon::prelude::*;

use super::pooling::Pooling;
use super::tally::Tally;
use super::{Classified, EvidenceError};
use crate::batch::Maps;

/// Sums of embeddings by class, one set for each tap: the first half of imprinting.
///
/// Memory: 8 · taps · classes · embedding length bytes.
#[derive(Debug, Clone)]
pub struct ClassSums {
    embedding: usize,
    classes: usize,
    counts: Vec<u64>,
    taps: Vec<Vec<f64>>,
}

/// Imprinted classifiers, one for each tap: class means of unit length.
#[derive(Debug, Clone)]
pub struct Imprinted {
    embedding: usize,
    classes: usize,
    taps: Vec<Vec<f32>>,
    tally: Tally,
}

impl ClassSums {
    /// Sums for `taps` taps and `classes` classes, embeddings of about `embedding` numbers.
    #[must_use]
    pub fn new(taps: usize, classes: usize, embedding: usize) -> Self {
        Self { embedding, classes, counts: vec![0; classes], taps: vec![Vec::new(); taps] }
    }

    /// Adds what all taps gave for a batch: N,C,(H,W) each.
    ///
    /// # Errors
    /// [`EvidenceError::LabelOutOfRange`], [`EvidenceError::NotBatched`], [`EvidenceError::ShapeChanged`],
    /// [`EvidenceError::NotFinite`].
    pub fn add(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        check(taps, labels, self.classes)?;
        labels.iter().for_each(|&label| self.counts[label] += 1);
        let (classes, embedding) = (self.classes, self.embedding);
        let add = |(tap, (sums, maps)): (usize, (&mut Vec<f64>, &Maps<'_>))| {
            let pooling = Pooling::of(maps.shape, embedding);
            let length = pooling.length();
            if sums.is_empty() {
                sums.resize(classes * length, 0.0);
            }
            if sums.len() != classes * length {
                return Err(EvidenceError::ShapeChanged { tap, expected: sums.len() / classes, found: length });
            }
            let mut embedding = vec![0.0; length];
            for (image, &label) in maps.data.chunks_exact(pooling.input_length()).zip(labels) {
                pooling.pool(image, &mut embedding);
                finite(tap, &embedding)?;
                for (sum, &x) in sums[label * length..][..length].iter_mut().zip(&embedding) {
                    *sum += f64::from(x);
                }
            }
            Ok(())
        };
        self.taps.par_iter_mut().zip(taps).enumerate().try_for_each(add)
    }

    /// Imprints: the mean of each class, brought to unit length, becomes its weight vector.
    ///
    /// # Errors
    /// [`EvidenceError::MissingClass`].
    pub fn imprint(self) -> Result<Imprinted, EvidenceError> {
        if let Some(class) = self.counts.iter().position(|&count| count == 0) {
            return Err(EvidenceError::MissingClass { class });
        }
        let normalise = |sums: Vec<f64>| -> Vec<f32> {
            let length = sums.len() / self.classes.max(1);
            sums.chunks_exact(length.max(1))
                .flat_map(|sum| {
                    let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
                    sum.iter().map(move |x| if norm > 0.0 { (x / norm) as f32 } else { 0.0 })
                })
                .collect()
        };
        let taps: Vec<Vec<f32>> = self.taps.into_iter().map(normalise).collect();
        Ok(Imprinted { embedding: self.embedding, classes: self.classes, tally: Tally::new(taps.len()), taps })
    }
}

impl Imprinted {
    /// Classifies what all taps gave for a batch and counts what is right.
    ///
    /// # Errors
    /// As [`ClassSums::add`].
    pub fn classify(&mut self, taps: &[Maps<'_>], labels: &[usize]) -> Result<(), EvidenceError> {
        check(taps, labels, self.classes)?;
        let (classes, embedding) = (self.classes, self.embedding);
        let right = |(tap, (weights, maps)): (usize, (&Vec<f32>, &Maps<'_>))| {
            let pooling = Pooling::of(maps.shape, embedding);
            let length = pooling.length();
            if weights.len() != classes * length {
                return Err(EvidenceError::ShapeChanged { tap, expected: weights.len() / classes, found: length });
            }
            let mut embedding = vec![0.0; length];
            let images = maps.data.chunks_exact(pooling.input_length()).zip(labels);
            let right = images.map(|(image, &label)| {
                pooling.pool(image, &mut embedding);
                finite(tap, &embedding)?;
                Ok(nearest(weights, &embedding) == label)
            });
            right.collect::<Result<Vec<bool>, _>>()
        };
        let right: Vec<Vec<bool>> = self.taps.par_iter().zip(taps).enumerate().map(right).collect::<Result<_, _>>()?;
        right.iter().enumerate().for_each(|(tap, right)| self.tally.add(tap, right));
        Ok(())
    }

    /// What was counted.
    #[must_use]
    pub fn counts(self) -> Classified {
        self.tally.counts()
    }
}

/// Refuses labels beyond the classes, and taps that do not give one map for each of them.
pub(super) fn check(taps: &[Maps<'_>], labels: &[usize], classes: usize) -> Result<(), EvidenceError> {
    if let Some(&label) = labels.iter().find(|&&label| label >= classes) {
        return Err(EvidenceError::LabelOutOfRange { label, classes });
    }
    let images = labels.len();
    let found = |maps: &Maps<'_>| maps.shape.first().copied().unwrap_or(0);
    match taps.iter().enumerate().find(|(_, maps)| found(maps) != images) {
        Some((tap, maps)) => Err(EvidenceError::NotBatched { tap, found: found(maps), images }),
        None => Ok(()),
    }
}

pub(super) fn finite(tap: usize, embedding: &[f32]) -> Result<(), EvidenceError> {
    if embedding.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(EvidenceError::NotFinite { tap }) }
}

/// The class whose weight vector has the largest inner product with `embedding`; the first of equals.
fn nearest(weights: &[f32], embedding: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, weight) in weights.chunks_exact(embedding.len()).enumerate() {
        let similarity = dot(weight, embedding);
        if similarity > best.1 {
            best = (class, similarity);
        }
    }
    best.0
}

/// The inner product, in eight sums that a processor takes at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f32>()
}

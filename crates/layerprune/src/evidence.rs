//! What criteria read of a model's behaviour on data: plain sums, filled batch by batch by whoever runs the model.
//!
//! Memory does not grow with the number of samples.

use serde::{Deserialize, Serialize};

/// Length that the embedding of a tap aims at, unless asked for otherwise.
pub const DEFAULT_EMBEDDING: usize = 2048;

/// All that criteria may ask for.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What imprinted classifiers got right, for each tapped unit in forward order.
    pub imprint: Option<ImprintCounts>,
}

/// How often the classifier imprinted at each tap was right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImprintCounts {
    /// Images that were classified.
    pub images: u64,
    /// One entry for each tap, in forward order.
    pub taps: Vec<TapCounts>,
}

/// Counts of one tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TapCounts {
    /// Images classified right.
    pub correct: u64,
    /// Images classified right here and wrong at the tap before; all that are right at the first tap.
    pub gained: u64,
    /// Images classified wrong here and right at the tap before.
    pub lost: u64,
}

/// A fault of the data that evidence is gathered on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A class without a sample has no mean.
    #[error("class {class} has no training image, so nothing can be imprinted for it")]
    MissingClass {
        /// The class index.
        class: usize,
    },
    /// A label beyond the number of classes.
    #[error("label {label} is out of range: there are {classes} classes")]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A tap gave NaN or infinity.
    #[error("tap {tap} gives numbers that are not finite")]
    NotFinite {
        /// The tap.
        tap: usize,
    },
    /// A tap changed its shape between batches.
    #[error("tap {tap} gave embeddings of {found} numbers after {expected}")]
    ShapeChanged {
        /// The tap.
        tap: usize,
        /// Numbers expected for each image.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
}

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
    images: u64,
    counts: Vec<TapCounts>,
    right_before: Vec<bool>,
}

impl ClassSums {
    /// Sums for `taps` taps and `classes` classes, embeddings of about `embedding` numbers.
    #[must_use]
    pub fn new(taps: usize, classes: usize, embedding: usize) -> Self {
        Self { embedding, classes, counts: vec![0; classes], taps: vec![Vec::new(); taps] }
    }

    /// Adds the labels of a batch. Call once for each batch, before its taps.
    ///
    /// # Errors
    /// [`EvidenceError::LabelOutOfRange`].
    pub fn add_labels(&mut self, labels: &[usize]) -> Result<(), EvidenceError> {
        for &label in labels {
            *self.counts.get_mut(label).ok_or(EvidenceError::LabelOutOfRange { label, classes: self.classes })? += 1;
        }
        Ok(())
    }

    /// Adds what `tap` gave for a batch: `features` of `shape` N,C,(H,W) row-major.
    ///
    /// # Errors
    /// [`EvidenceError::ShapeChanged`], [`EvidenceError::LabelOutOfRange`].
    pub fn add(
        &mut self,
        tap: usize,
        features: &[f32],
        shape: &[usize],
        labels: &[usize],
    ) -> Result<(), EvidenceError> {
        let pooling = Pooling::of(shape, self.embedding);
        let length = pooling.length();
        let sums = &mut self.taps[tap];
        if sums.is_empty() {
            sums.resize(self.classes * length, 0.0);
        }
        if sums.len() != self.classes * length {
            return Err(EvidenceError::ShapeChanged { tap, expected: sums.len() / self.classes, found: length });
        }
        let mut embedding = vec![0.0; length];
        for (image, &label) in features.chunks_exact(pooling.input_length()).zip(labels) {
            if label >= self.classes {
                return Err(EvidenceError::LabelOutOfRange { label, classes: self.classes });
            }
            pooling.pool(image, &mut embedding);
            finite(tap, &embedding)?;
            for (sum, &x) in sums[label * length..][..length].iter_mut().zip(&embedding) {
                *sum += f64::from(x);
            }
        }
        Ok(())
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
        Ok(Imprinted {
            embedding: self.embedding,
            classes: self.classes,
            images: 0,
            counts: vec![TapCounts::default(); taps.len()],
            taps,
            right_before: Vec::new(),
        })
    }
}

impl Imprinted {
    /// Classifies what `tap` gave for a batch and counts what is right. The taps of a batch come in forward order.
    ///
    /// # Errors
    /// [`EvidenceError::ShapeChanged`], [`EvidenceError::LabelOutOfRange`].
    pub fn classify(
        &mut self,
        tap: usize,
        features: &[f32],
        shape: &[usize],
        labels: &[usize],
    ) -> Result<(), EvidenceError> {
        let pooling = Pooling::of(shape, self.embedding);
        let length = pooling.length();
        let weights = &self.taps[tap];
        if weights.len() != self.classes * length {
            return Err(EvidenceError::ShapeChanged { tap, expected: weights.len() / self.classes, found: length });
        }
        if let Some(&label) = labels.iter().find(|&&label| label >= self.classes) {
            return Err(EvidenceError::LabelOutOfRange { label, classes: self.classes });
        }
        if tap == 0 {
            self.images += labels.len() as u64;
            self.right_before = vec![false; labels.len()];
        }
        let mut embedding = vec![0.0; length];
        let images = features.chunks_exact(pooling.input_length()).zip(labels);
        for ((image, &label), before) in images.zip(&mut self.right_before) {
            pooling.pool(image, &mut embedding);
            finite(tap, &embedding)?;
            let right = nearest(weights, &embedding) == label;
            let counts = &mut self.counts[tap];
            counts.correct += u64::from(right);
            counts.gained += u64::from(right && !*before);
            counts.lost += u64::from(!right && *before);
            *before = right;
        }
        Ok(())
    }

    /// What was counted.
    #[must_use]
    pub fn counts(self) -> ImprintCounts {
        ImprintCounts { images: self.images, taps: self.counts }
    }
}

fn finite(tap: usize, embedding: &[f32]) -> Result<(), EvidenceError> {
    if embedding.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(EvidenceError::NotFinite { tap }) }
}

/// The class whose weight vector has the largest inner product with `embedding`; the first of equals.
fn nearest(weights: &[f32], embedding: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, weight) in weights.chunks_exact(embedding.len()).enumerate() {
        let similarity: f32 = weight.iter().zip(embedding).map(|(w, x)| w * x).sum();
        if similarity > best.1 {
            best = (class, similarity);
        }
    }
    best.0
}

/// Adaptive average pooling of C×H×W maps to C×d×d, d = √(N / C) rounded, at least 1 and at most the map.
struct Pooling {
    channels: usize,
    map: [usize; 2],
    pooled: [usize; 2],
}

impl Pooling {
    fn of(shape: &[usize], embedding: usize) -> Self {
        let channels = shape.get(1).copied().unwrap_or(1);
        let height = shape.get(2).copied().unwrap_or(1);
        let width = shape.iter().skip(3).product();
        let side = ((embedding as f64 / channels.max(1) as f64).sqrt().round() as usize).max(1);
        Self { channels, map: [height, width], pooled: [side.min(height), side.min(width)] }
    }

    fn length(&self) -> usize {
        self.channels * self.pooled[0] * self.pooled[1]
    }

    fn input_length(&self) -> usize {
        (self.channels * self.map[0] * self.map[1]).max(1)
    }

    fn pool(&self, image: &[f32], embedding: &mut [f32]) {
        if self.map == self.pooled {
            embedding.copy_from_slice(image);
            return;
        }
        let ([height, width], [rows, columns]) = (self.map, self.pooled);
        let bounds =
            |place: usize, size: usize, pooled: usize| (place * size / pooled, ((place + 1) * size).div_ceil(pooled));
        for (channel, map) in image.chunks_exact(height * width).enumerate() {
            for row in 0..rows {
                let (top, bottom) = bounds(row, height, rows);
                for column in 0..columns {
                    let (left, right) = bounds(column, width, columns);
                    let sum: f32 = (top..bottom).flat_map(|y| &map[y * width + left..y * width + right]).sum();
                    let area = ((bottom - top) * (right - left)) as f32;
                    embedding[(channel * rows + row) * columns + column] = sum / area;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix;

    #[derive(Deserialize)]
    struct Golden {
        pool: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        shape: [usize; 3],
        embedding: usize,
        length: usize,
        pooled: Vec<f32>,
    }

    #[test]
    fn pooling_agrees_with_torch() {
        let text = include_str!("../../../fixtures/golden/imprint.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        for (seed, case) in golden.pool.into_iter().enumerate() {
            let [channels, height, width] = case.shape;
            let pooling = Pooling::of(&[1, channels, height, width], case.embedding);
            assert_eq!(pooling.length(), case.length, "{:?}", case.shape);
            let mut random = SplitMix::new(seed as u64);
            let image: Vec<f32> = (0..channels * height * width).map(|_| random.uniform() as f32).collect();
            let mut pooled = vec![0.0; case.length];
            pooling.pool(&image, &mut pooled);
            let every = if case.length > 500 { 97 } else { 1 };
            let kept: Vec<f32> = pooled.iter().copied().step_by(every).collect();
            assert_eq!(kept.len(), case.pooled.len());
            for (found, expected) in kept.iter().zip(&case.pooled) {
                assert!((found - expected).abs() < 1e-6, "{:?}: {found} is not {expected}", case.shape);
            }
        }
    }

    #[test]
    fn the_pooled_side_is_at_least_one_and_at_most_the_map() {
        let pooled = |shape: &[usize], embedding| Pooling::of(shape, embedding).pooled;
        assert_eq!(pooled(&[1, 512, 14, 14], 64), [1, 1]);
        assert_eq!(pooled(&[1, 4, 3, 20], 4 * 49), [3, 7]);
        assert_eq!(pooled(&[1, 16, 32, 32], 2048), [11, 11]);
        assert_eq!(pooled(&[1, 10], 2048), [1, 1]);
    }
}

//! Mixup and cutmix: images of a batch put together, with the shares of their classes.

use std::ops::RangeInclusive;

use layerprune::batch::{Batch, Targets};
use rand::{Rng, RngExt};
use rand_distr::Beta;

use super::{Augment, AugmentError};

/// What alpha may be: beyond, shares are as good as always whole or always a half.
const ALPHAS: RangeInclusive<f64> = 0.01..=100.0;

/// The two ways of mixing; with both, one is drawn for each batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mix {
    mixup: Option<f64>,
    cutmix: Option<f64>,
}

/// How the images of one batch are mixed, each with the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mixture {
    /// The share of the image itself in every pixel.
    Everywhere(f64),
    /// Top, bottom, left and right of what is taken from the other image.
    Rectangle([usize; 4]),
}

impl Mix {
    pub(crate) fn of(augment: &Augment) -> Mix {
        Mix { mixup: augment.mixup, cutmix: augment.cutmix }
    }

    pub(super) fn check(&self) -> Result<(), AugmentError> {
        for (field, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if let Some(alpha) = alpha
                && !ALPHAS.contains(&alpha)
            {
                return Err(AugmentError::range(field, alpha, "0.01 to 100 (alpha of its distribution)"));
            }
        }
        Ok(())
    }

    /// Mixes the images of a batch as drawn, and with them its targets: those that it has, or else the shares of `classes`
    /// classes; without classes, images alone.
    pub(crate) fn apply(&self, batch: &mut Batch, classes: usize, random: &mut impl Rng) {
        if let Some(mixture) = self.draw(batch.shape, random) {
            mixture.apply(batch, classes);
        }
    }

    /// `shape` is N, C, H, W.
    fn draw(&self, [_, _, height, width]: [usize; 4], random: &mut impl Rng) -> Option<Mixture> {
        let (alpha, cut) = match (self.mixup, self.cutmix) {
            (Some(mixup), Some(cutmix)) => {
                let cut = random.random();
                (if cut { cutmix } else { mixup }, cut)
            }
            (mixup, cutmix) => (mixup.or(cutmix)?, cutmix.is_some()),
        };
        let share = random.sample(distribution(alpha)?);
        if !cut {
            return Some(Mixture::Everywhere(share));
        }
        // Equation 2 of the paper: the rectangle's sides are √(1 − share) of the image's.
        let mut span = |side: usize| {
            let half = (0.5 * (1.0 - share).sqrt() * side as f64) as usize;
            let middle = random.random_range(0..side);
            [middle.saturating_sub(half), (middle + half).min(side)]
        };
        let [left, right] = span(width);
        let [top, bottom] = span(height);
        Some(Mixture::Rectangle([top, bottom, left, right]))
    }
}

fn distribution(alpha: f64) -> Option<Beta<f64>> {
    Beta::new(alpha, alpha).ok()
}

impl Mixture {
    /// The share of each image itself, the other's being the rest, for images of this height and width.
    pub(super) fn share(&self, [height, width]: [usize; 2]) -> f64 {
        match *self {
            Mixture::Everywhere(share) => share,
            Mixture::Rectangle([top, bottom, left, right]) => {
                1.0 - ((bottom - top) * (right - left)) as f64 / (height * width) as f64
            }
        }
    }

    /// Mixes each image and its targets with those before it, the first with the last, as torchvision's references do.
    pub(super) fn apply(&self, batch: &mut Batch, classes: usize) {
        let [images, channels, height, width] = batch.shape;
        let share = self.share([height, width]);
        let blend = |own: &mut [f32], other: &[f32]| {
            let (share, rest) = (share as f32, (1.0 - share) as f32);
            own.iter_mut().zip(other).for_each(|(own, other)| *own = *own * share + other * rest);
        };
        with_the_one_before(&mut batch.images, channels * height * width, |own, other| match *self {
            Mixture::Everywhere(_) => blend(own, other),
            Mixture::Rectangle([top, bottom, left, right]) => {
                let rows = own.chunks_exact_mut(width).zip(other.chunks_exact(width));
                for (_, (own, other)) in rows.enumerate().filter(|(row, _)| (top..bottom).contains(&(row % height))) {
                    own[left..right].copy_from_slice(&other[left..right]);
                }
            }
        });
        batch.targets = batch.targets.take().or_else(|| (classes > 0).then(|| one_by_one(&batch.labels, classes)));
        if let Some(targets) = &mut batch.targets {
            with_the_one_before(&mut targets.values, targets.width, blend);
        }
        if share < 0.5 && images > 0 {
            batch.labels.rotate_right(1);
        }
    }
}

/// A row for each label: 1 for the class, 0 for the others.
fn one_by_one(labels: &[usize], classes: usize) -> Targets {
    let mut values = vec![0.0; labels.len() * classes];
    values.chunks_exact_mut(classes).zip(labels).for_each(|(row, &label)| row[label] = 1.0);
    Targets { values, width: classes }
}

/// Changes each row, given the row before it as it was; the first's is the last.
fn with_the_one_before(values: &mut [f32], width: usize, change: impl Fn(&mut [f32], &[f32])) {
    let rows = values.len() / width;
    if rows == 0 {
        return;
    }
    let last = values[(rows - 1) * width..].to_vec();
    for row in (1..rows).rev() {
        let (before, own) = values.split_at_mut(row * width);
        change(&mut own[..width], &before[(row - 1) * width..]);
    }
    change(&mut values[..width], &last);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    fn batch() -> Batch {
        let images = [1.0, 2.0, 3.0].iter().flat_map(|&value| [value; 2 * 2 * 4]).collect();
        Batch::new(images, [3, 2, 2, 4], vec![0, 1, 3])
    }

    #[test]
    fn mixup_takes_shares_of_pixels_and_classes() {
        let mut mixed = batch();
        Mixture::Everywhere(0.25).apply(&mut mixed, 4);
        for (image, value) in mixed.images.chunks_exact(16).zip([0.25 + 2.25, 0.5 + 0.75, 0.75 + 1.5]) {
            assert_eq!(image, [value; 16]);
        }
        let expected = [[0.25, 0.0, 0.0, 0.75], [0.75, 0.25, 0.0, 0.0], [0.0, 0.75, 0.0, 0.25]];
        assert_eq!(mixed.targets, Some(Targets { values: expected.concat(), width: 4 }));
        assert_eq!(mixed.labels, [3, 0, 1]);
    }

    #[test]
    fn cutmix_puts_a_rectangle_of_the_image_before_into_every_channel() {
        let mut mixed = batch();
        let mixture = Mixture::Rectangle([0, 1, 1, 4]);
        assert_eq!(mixture.share([2, 4]), 0.625);
        mixture.apply(&mut mixed, 4);
        assert_eq!(mixed.images[16..32], [[2.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]; 2].concat());
        assert_eq!(mixed.images[..8], [1.0, 3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(mixed.targets.unwrap().values[4..8], [0.375, 0.625, 0.0, 0.0]);
        assert_eq!(mixed.labels, [0, 1, 3]);
    }

    #[test]
    fn targets_that_a_batch_has_are_mixed_in_place_of_classes() {
        let mut mixed = batch();
        mixed.targets = Some(Targets { values: vec![4.0, 8.0, 0.0], width: 1 });
        Mixture::Everywhere(0.75).apply(&mut mixed, 4);
        assert_eq!(mixed.targets, Some(Targets { values: vec![3.0, 7.0, 2.0], width: 1 }));
        let mut without_classes = batch();
        Mixture::Everywhere(0.75).apply(&mut without_classes, 0);
        assert_eq!((without_classes.images[16], without_classes.targets), (1.75, None));
    }

    #[test]
    fn a_batch_of_one_keeps_its_image_and_class() {
        let mut mixed = Batch::new(vec![1.0, 2.0], [1, 1, 1, 2], vec![1]);
        Mixture::Rectangle([0, 1, 0, 1]).apply(&mut mixed, 2);
        assert_eq!((mixed.images, mixed.targets.unwrap().values), (vec![1.0, 2.0], vec![0.0, 1.0]));
    }

    #[test]
    fn shares_have_the_spread_of_their_distribution_and_both_ways_come() {
        let count = 20_000;
        let draw = |mix: Mix| {
            (0..count)
                .map(move |number| mix.draw([64, 3, 400, 400], &mut generator(1, Purpose::Mix, 0, number)).unwrap())
        };
        for alpha in [0.01, 0.2, 1.0, 4.0, 100.0] {
            let shares: Vec<f64> =
                draw(Mix { mixup: Some(alpha), cutmix: None }).map(|mixture| mixture.share([400, 400])).collect();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            let mean = shares.iter().sum::<f64>() / count as f64;
            let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / count as f64;
            // The variance of Beta(α, α) is 1 / (4 (2α + 1)).
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.012 && (variance / expected - 1.0).abs() < 0.04, "{mean} {variance}");
        }
        let both: Vec<Mixture> = draw(Mix { mixup: Some(1.0), cutmix: Some(1.0) }).collect();
        let cut = both.iter().filter(|mixture| matches!(mixture, Mixture::Rectangle(_))).count();
        assert!((9_700..10_300).contains(&cut), "{cut}");
        // A rectangle that reaches beyond the image is clipped, which leaves more to the image itself: the mean share of the
        // rectangle is ∫ (s − s²/4)² ds² for s² even in 0..1.
        let shares = draw(Mix { mixup: None, cutmix: Some(1.0) }).map(|mixture| mixture.share([400, 400]));
        let taken = 1.0 - shares.sum::<f64>() / count as f64;
        let expected = (0..10_000)
            .map(|step| ((f64::from(step) + 0.5) / 10_000.0).sqrt())
            .map(|side| (side - side * side / 4.0).powi(2))
            .sum::<f64>()
            / 10_000.0;
        assert!((taken - expected).abs() < 0.008, "{taken} {expected}");
    }
}

//! A random rectangle of the normalised image, overwritten.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::resized_crop::draw_sides;
use super::{AugmentError, check_range, unreadable};

/// How often a rectangle is drawn that may not fit, before the image stays as it is.
const TRIES: usize = 10;

/// Overwrites a random rectangle after normalisation, as torchvision's `RandomErasing` (Zhong et al., "Random Erasing Data
/// Augmentation", AAAI 2020). As text, the probability: `0.25`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RandomErasing {
    /// How probably an image is changed: more than 0, at most 1. 0.5 by default.
    pub probability: f64,
    /// Least and greatest area as a share of the image, drawn evenly; 0 to 1. 0.02 to 0.33 by default.
    pub area: [f64; 2],
    /// Least and greatest height ÷ width, whose logarithm is drawn evenly; more than 0. 0.3 to 3.3 by default.
    pub ratio: [f64; 2],
    /// What is written; 0 by default.
    pub fill: ErasingFill,
}

/// What an erased rectangle holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErasingFill {
    /// 0, which after normalisation by the data set's mean is the mean colour.
    #[default]
    Zero,
    /// Normal noise of mean 0 and standard deviation 1 in each pixel and channel.
    Noise,
}

impl Default for RandomErasing {
    fn default() -> RandomErasing {
        RandomErasing { probability: 0.5, area: [0.02, 0.33], ratio: [0.3, 3.3], fill: ErasingFill::Zero }
    }
}

impl RandomErasing {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            let expected = "more than 0 and at most 1";
            return Err(AugmentError::range("probability of random-erasing", self.probability, expected));
        }
        let expected = "two ascending numbers from 0 to 1";
        check_range("area of random-erasing", self.area, 0.0..=1.0, expected)?;
        let expected = "two ascending numbers, more than 0";
        check_range("ratio of random-erasing", self.ratio, f64::MIN_POSITIVE..=f64::MAX, expected)
    }

    /// Changes an image in CHW order, or doesn't, as drawn.
    pub(crate) fn apply(&self, image: &mut [f32], [height, width]: [usize; 2], random: &mut impl Rng) {
        let Some([top, left, high, wide]) = self.draw([height, width], random) else { return };
        for plane in image.chunks_exact_mut(height * width) {
            for row in plane.chunks_exact_mut(width).skip(top).take(high) {
                let row = &mut row[left..][..wide];
                match self.fill {
                    ErasingFill::Zero => row.fill(0.0),
                    ErasingFill::Noise => row.iter_mut().for_each(|value| *value = random.sample(StandardNormal)),
                }
            }
        }
    }

    /// Top, left, height and width of what is erased, if anything is.
    fn draw(&self, [height, width]: [usize; 2], random: &mut impl Rng) -> Option<[usize; 4]> {
        if random.random::<f64>() >= self.probability {
            return None;
        }
        for _ in 0..TRIES {
            let [high, wide] = draw_sides(random, height * width, self.area, self.ratio);
            if high < height && wide < width {
                let top = random.random_range(0..=height - high);
                return Some([top, random.random_range(0..=width - wide), high, wide]);
            }
        }
        None
    }
}

impl FromStr for RandomErasing {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<RandomErasing, AugmentError> {
        let read = text.parse().map_err(|_| unreadable("random-erasing", text, "PROBABILITY, such as 0.25"));
        let erasing = RandomErasing { probability: read?, ..RandomErasing::default() };
        erasing.check().map(|()| erasing)
    }
}

impl fmt::Display for RandomErasing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RandomErasing { probability, area, ratio, fill } = self;
        write!(f, "{probability}")?;
        if *area != RandomErasing::default().area {
            write!(f, " area {},{}", area[0], area[1])?;
        }
        if *ratio != RandomErasing::default().ratio {
            write!(f, " ratio {},{}", ratio[0], ratio[1])?;
        }
        f.write_str(if *fill == ErasingFill::Noise { " by noise" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn the_rectangle_is_overwritten_in_every_channel_and_nothing_else() {
        let erasing = RandomErasing { probability: 1.0, ..RandomErasing::default() };
        for image in 0..200 {
            let random = || generator(5, Purpose::Augment, 0, image);
            let [top, left, high, wide] = erasing.draw([9, 7], &mut random()).unwrap();
            let mut pixels = vec![1.0; 3 * 9 * 7];
            erasing.apply(&mut pixels, [9, 7], &mut random());
            for (place, &pixel) in pixels.iter().enumerate() {
                let (row, column) = (place / 7 % 9, place % 7);
                let inside = (top..top + high).contains(&row) && (left..left + wide).contains(&column);
                assert_eq!(pixel, if inside { 0.0 } else { 1.0 });
            }
        }
    }

    #[test]
    fn areas_and_probability_are_as_asked() {
        let erasing = RandomErasing { probability: 0.25, area: [0.1, 0.2], ratio: [0.5, 2.0], ..Default::default() };
        let drawn: Vec<[usize; 4]> = (0..20_000)
            .filter_map(|image| erasing.draw([400, 400], &mut generator(6, Purpose::Augment, 0, image)))
            .collect();
        // Standard deviation of the count is 61.
        assert!((4_750..5_250).contains(&drawn.len()), "{}", drawn.len());
        let shares: Vec<f64> = drawn.iter().map(|[_, _, high, wide]| (high * wide) as f64 / 160_000.0).collect();
        assert!(shares.iter().all(|share| (0.099..0.201).contains(share)));
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((mean - 0.15).abs() < 0.002, "{mean}");
        let upright = drawn.iter().filter(|[_, _, high, wide]| high > wide).count() as f64 / drawn.len() as f64;
        assert!((0.47..0.53).contains(&upright), "{upright}");
        assert!(drawn.iter().all(|[top, left, high, wide]| top + high <= 400 && left + wide <= 400));
    }

    #[test]
    fn noise_is_normal() {
        let erasing = RandomErasing { probability: 1.0, area: [0.5, 0.5], ratio: [1.0, 1.0], fill: ErasingFill::Noise };
        let mut pixels = vec![100.0_f32; 200 * 200];
        erasing.apply(&mut pixels, [200, 200], &mut generator(7, Purpose::Augment, 0, 0));
        let noise: Vec<f64> = pixels.into_iter().filter(|pixel| *pixel != 100.0).map(f64::from).collect();
        assert_eq!(noise.len(), 141 * 141);
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let variance = noise.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / noise.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}

//! A part of random area and shape, resized.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{AugmentError, check_range, numbers, unreadable};
use crate::resize::{Interpolation, Region, resize};

/// How often a part is drawn that may not fit, before the middle is taken.
const TRIES: usize = 10;

/// Takes a part of random area and shape and resizes it to the set's image size, as torchvision's `RandomResizedCrop`
/// with bilinear interpolation and antialiasing.
///
/// Image files are cropped as decoded, before any resizing. As text, the least and the greatest area: `0.08,1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ResizedCrop {
    /// Least and greatest area of the part as a share of the image, drawn evenly; more than 0, at most 1. 0.08 to 1 by
    /// default.
    pub scale: [f64; 2],
    /// Least and greatest width ÷ height of the part, whose logarithm is drawn evenly; more than 0. 3/4 to 4/3 by default.
    pub ratio: [f64; 2],
}

impl Default for ResizedCrop {
    fn default() -> ResizedCrop {
        ResizedCrop { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Part {
    /// This part of an image of `shape` (C, H, W), resized to `size` (H, W).
    pub(crate) fn resized(&self, image: &[u8], shape: [usize; 3], size: [usize; 2], output: &mut Vec<u8>) {
        let [channels, height, width] = shape;
        // Cut out first: what lies beside the part has no share in its edge.
        let mut part = Vec::with_capacity(channels * self.height * self.width);
        for plane in image.chunks_exact(height * width) {
            for row in plane.chunks_exact(width).skip(self.top).take(self.height) {
                part.extend_from_slice(&row[self.left..][..self.width]);
            }
        }
        let size_of_part = [self.height, self.width];
        let shape = [channels, self.height, self.width];
        *output = resize(&part, shape, Region::whole(size_of_part), size, Interpolation::Bilinear);
    }
}

/// Draws the height and width of a rectangle by its area and its ratio of one to the other: `ratio` is what the first
/// that comes back is divided by the second.
pub(super) fn draw_sides(
    random: &mut impl Rng,
    area: usize,
    [least, greatest]: [f64; 2],
    ratio: [f64; 2],
) -> [usize; 2] {
    let area = area as f64 * random.random_range(least..=greatest);
    let ratio = random.random_range(ratio[0].ln()..=ratio[1].ln()).exp();
    [(area * ratio).sqrt(), (area / ratio).sqrt()].map(|side| side.round_ties_even() as usize)
}

impl ResizedCrop {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        let expected = "two ascending numbers, more than 0 and at most 1";
        check_range("scale of random-resized-crop", self.scale, f64::MIN_POSITIVE..=1.0, expected)?;
        let expected = "two ascending numbers, more than 0";
        check_range("ratio of random-resized-crop", self.ratio, f64::MIN_POSITIVE..=f64::MAX, expected)
    }

    pub(crate) fn draw(&self, [height, width]: [usize; 2], random: &mut impl Rng) -> Part {
        for _ in 0..TRIES {
            let [wide, high] = draw_sides(random, height * width, self.scale, self.ratio);
            if (1..=width).contains(&wide) && (1..=height).contains(&high) {
                let top = random.random_range(0..=height - high);
                return Part { top, left: random.random_range(0..=width - wide), height: high, width: wide };
            }
        }
        self.middle([height, width])
    }

    /// The greatest part in the middle whose shape is allowed.
    fn middle(&self, [height, width]: [usize; 2]) -> Part {
        let ratio = width as f64 / height as f64;
        let rounded = |side: f64| (side.round_ties_even() as usize).max(1);
        let [high, wide] = if ratio < self.ratio[0] {
            [rounded(width as f64 / self.ratio[0]).min(height), width]
        } else if ratio > self.ratio[1] {
            [height, rounded(height as f64 * self.ratio[1]).min(width)]
        } else {
            [height, width]
        };
        Part { top: (height - high) / 2, left: (width - wide) / 2, height: high, width: wide }
    }
}

impl FromStr for ResizedCrop {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<ResizedCrop, AugmentError> {
        let (field, expected) = ("random-resized-crop", "LEAST,GREATEST area, such as 0.08,1");
        let scale = numbers::<f64>(field, text, expected)?;
        let scale = scale.try_into().map_err(|_| unreadable(field, text, expected))?;
        let crop = ResizedCrop { scale, ..ResizedCrop::default() };
        crop.check().map(|()| crop)
    }
}

impl fmt::Display for ResizedCrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.scale[0], self.scale[1])?;
        let [least, greatest] = self.ratio;
        if self.ratio == ResizedCrop::default().ratio { Ok(()) } else { write!(f, " ratio {least},{greatest}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn areas_ratios_and_places_are_spread_as_asked() {
        let crop = ResizedCrop { scale: [0.25, 0.75], ratio: [0.5, 2.0] };
        let size = [600, 800];
        let (mut area, mut wide, mut top, mut ratios, count) = (0.0, 0, 0.0, vec![], 20_000);
        for image in 0..count {
            let part = crop.draw(size, &mut generator(1, Purpose::Augment, 0, image));
            assert!(part.top + part.height <= 600 && part.left + part.width <= 800);
            let share = (part.height * part.width) as f64 / (600.0 * 800.0);
            let ratio = part.width as f64 / part.height as f64;
            assert!((0.248..0.752).contains(&share) && (0.49..2.01).contains(&ratio), "{part:?}");
            area += share;
            wide += usize::from(ratio > 1.0);
            ratios.push(ratio);
            if part.height < 600 {
                top += part.top as f64 / (600 - part.height) as f64 - 0.5;
            }
        }
        // Parts that do not fit are drawn again, which shifts the means: 40,000 draws of torchvision's `get_params` have a mean
        // area of 0.4661 and 62.8 % wide parts. Standard deviations of the means here are 0.001 and 0.35 %.
        assert!((area / count as f64 - 0.4661).abs() < 0.005, "{area}");
        assert!((wide as f64 / count as f64 - 0.628).abs() < 0.015, "{wide}");
        assert!((top / count as f64).abs() < 0.01, "{top}");
        ratios.sort_by(f64::total_cmp);
        assert!(ratios[0] < 0.52 && ratios[19_999] > 1.95);
    }

    #[test]
    fn the_mean_area_and_ratio_are_those_of_even_draws_where_every_part_fits() {
        let crop = ResizedCrop { scale: [0.1, 0.3], ratio: [0.5, 2.0] };
        let (mut area, mut log_ratio, count) = (0.0, 0.0, 20_000);
        for image in 0..count {
            let part = crop.draw([1000, 1000], &mut generator(2, Purpose::Augment, 0, image));
            area += (part.height * part.width) as f64 / 1e6;
            log_ratio += (part.width as f64 / part.height as f64).ln();
        }
        // Standard deviations of these means are 0.0004 and 0.0028.
        assert!((area / count as f64 - 0.2).abs() < 0.0016, "{area}");
        assert!((log_ratio / count as f64).abs() < 0.011, "{log_ratio}");
    }

    #[test]
    fn the_middle_is_taken_where_no_part_fits() {
        let crop = ResizedCrop { scale: [1.0, 1.0], ratio: [1.0, 1.0] };
        let draw = |size| crop.draw(size, &mut generator(1, Purpose::Augment, 0, 0));
        assert_eq!(draw([10, 31]), Part { top: 0, left: 10, height: 10, width: 10 });
        assert_eq!(draw([31, 10]), Part { top: 10, left: 0, height: 10, width: 10 });
        assert_eq!(draw([10, 10]), Part { top: 0, left: 0, height: 10, width: 10 });
        assert_eq!(ResizedCrop::default().middle([40, 100]), Part { top: 0, left: 23, height: 40, width: 53 });
    }
}

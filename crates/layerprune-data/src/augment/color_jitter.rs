//! Random brightness, contrast, saturation and hue.

use std::fmt;
use std::str::FromStr;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::picture::Picture;
use super::{AugmentError, color, numbers, unreadable};

/// Changes colours as torchvision's `ColorJitter`: what is not 0 is done with a factor drawn evenly, in random order.
///
/// As text, the four in this order, those left out being 0: `0.4,0.4,0.4,0.1`. Saturation and hue leave gray images as
/// they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ColorJitter {
    /// The factor is drawn from 1 − this, at least 0, to 1 + this; 0 or more.
    pub brightness: f64,
    /// As for brightness.
    pub contrast: f64,
    /// As for brightness.
    pub saturation: f64,
    /// The turn of the colour circle is drawn from −this to this; 0 to 0.5.
    pub hue: f64,
}

/// One of the four, with its factor.
type Change = (fn(&mut Picture, f64), f64);

impl ColorJitter {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        let expected = "a finite number, at least 0";
        for (field, value) in [
            ("brightness of color-jitter", self.brightness),
            ("contrast of color-jitter", self.contrast),
            ("saturation of color-jitter", self.saturation),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(AugmentError::range(field, value, expected));
            }
        }
        if !(0.0..=0.5).contains(&self.hue) {
            return Err(AugmentError::range("hue of color-jitter", self.hue, "0 to 0.5"));
        }
        if *self == ColorJitter::default() {
            return Err(AugmentError::range("color-jitter", self, "at least one number more than 0"));
        }
        Ok(())
    }

    pub(super) fn apply(&self, picture: &mut Picture, random: &mut impl Rng) {
        for (change, factor) in self.draw(random).into_iter().flatten() {
            change(picture, factor);
        }
    }

    fn draw(&self, random: &mut impl Rng) -> [Option<Change>; 4] {
        let mut factor = |strength: f64| random.random_range((1.0 - strength).max(0.0)..=1.0 + strength);
        let mut changes: [Option<Change>; 4] = [
            (self.brightness > 0.0).then(|| (color::brightness as _, factor(self.brightness))),
            (self.contrast > 0.0).then(|| (color::contrast as _, factor(self.contrast))),
            (self.saturation > 0.0).then(|| (color::saturation as _, factor(self.saturation))),
            (self.hue > 0.0).then(|| (color::hue as _, factor(self.hue) - 1.0)),
        ];
        changes.shuffle(random);
        changes
    }
}

impl FromStr for ColorJitter {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<ColorJitter, AugmentError> {
        let (field, expected) = ("color-jitter", "BRIGHTNESS[,CONTRAST[,SATURATION[,HUE]]], such as 0.4,0.4,0.4,0.1");
        let mut values = numbers::<f64>(field, text, expected)?;
        if values.len() > 4 {
            return Err(unreadable(field, text, expected));
        }
        values.resize(4, 0.0);
        let jitter = ColorJitter { brightness: values[0], contrast: values[1], saturation: values[2], hue: values[3] };
        jitter.check().map(|()| jitter)
    }
}

impl fmt::Display for ColorJitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{}", self.brightness, self.contrast, self.saturation, self.hue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn factors_are_drawn_evenly_and_the_order_is_random() {
        let jitter = ColorJitter { brightness: 0.4, contrast: 1.5, saturation: 0.0, hue: 0.1 };
        let (mut brightness, mut contrast, mut hue, mut brightness_first) = (vec![], vec![], vec![], 0);
        for image in 0..20_000 {
            let drawn = jitter.draw(&mut generator(3, Purpose::Augment, 0, image));
            let order: Vec<Change> = drawn.into_iter().flatten().collect();
            assert_eq!(order.len(), 3);
            let of = |wanted: fn(&mut Picture, f64)| {
                let at = order.iter().position(|(change, _)| std::ptr::fn_addr_eq(*change, wanted)).unwrap();
                (at, order[at].1)
            };
            let (at, factor) = of(color::brightness);
            brightness_first += usize::from(at == 0);
            brightness.push(factor);
            contrast.push(of(color::contrast).1);
            hue.push(of(color::hue).1);
        }
        let check = |mut factors: Vec<f64>, low: f64, high: f64| {
            factors.sort_by(f64::total_cmp);
            // Standard deviation of the mean is about 0.002 of the range, of a quartile about 0.003.
            for (share, part) in [(0, 0.0), (5_000, 0.25), (10_000, 0.5), (15_000, 0.75), (19_999, 1.0)] {
                let expected = low + part * (high - low);
                assert!((factors[share] - expected).abs() < 0.015 * (high - low), "{} for {expected}", factors[share]);
            }
            assert!(factors[0] >= low && factors[19_999] <= high);
        };
        check(brightness, 0.6, 1.4);
        // 1 − 1.5 is less than 0.
        check(contrast, 0.0, 2.5);
        check(hue, -0.1, 0.1);
        assert!((6_400..6_950).contains(&brightness_first), "{brightness_first}");
    }
}

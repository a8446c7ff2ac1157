//! RandAugment: some operations of a list, all of one strength.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::affine::nearest;
use super::picture::Picture;
use super::rotation::rotate;
use super::{AugmentError, color, numbers, tone, unreadable};
use crate::resize::Interpolation;

/// Greatest magnitude; torchvision has 31 levels.
const STEPS: u32 = 30;

/// Makes some operations drawn from a list of 14 (Cubuk et al., "RandAugment", NeurIPS 2020), as torchvision's `RandAugment`
/// with nearest interpolation and black fill. As text, operations and magnitude: `2,9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RandAugment {
    /// How many operations, one after the other, at least 1; the same one may come again. 2 by default.
    pub ops: u32,
    /// Strength of all of them, 0 to 30. 9 by default.
    pub magnitude: u32,
}

impl Default for RandAugment {
    fn default() -> RandAugment {
        RandAugment { ops: 2, magnitude: 9 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Op {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

const OPS: [Op; 14] = [
    Op::Identity,
    Op::ShearX,
    Op::ShearY,
    Op::TranslateX,
    Op::TranslateY,
    Op::Rotate,
    Op::Brightness,
    Op::Color,
    Op::Contrast,
    Op::Sharpness,
    Op::Posterize,
    Op::Solarize,
    Op::AutoContrast,
    Op::Equalize,
];

impl RandAugment {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        if self.ops == 0 {
            return Err(AugmentError::range("ops of rand-augment", self.ops, "at least 1"));
        }
        if self.magnitude > STEPS {
            return Err(AugmentError::range("magnitude of rand-augment", self.magnitude, "0 to 30"));
        }
        Ok(())
    }

    pub(super) fn apply(&self, picture: &mut Picture, random: &mut impl Rng) {
        for _ in 0..self.ops {
            let (op, strength) = self.draw([picture.height, picture.width], random);
            op.apply(picture, strength);
        }
    }

    fn draw(&self, size: [usize; 2], random: &mut impl Rng) -> (Op, f64) {
        let op = OPS[random.random_range(0..OPS.len())];
        let strength = op.strength(self.magnitude, size);
        let negative = op.signed() && random.random();
        (op, if negative { -strength } else { strength })
    }
}

impl Op {
    /// What a magnitude means for this operation on an image of this height and width.
    pub(super) fn strength(self, magnitude: u32, [height, width]: [usize; 2]) -> f64 {
        // torchvision computes these in f32, which decides a whole pixel of a translation.
        let upto = |most: f64| f64::from(most as f32 / STEPS as f32 * magnitude as f32);
        match self {
            Op::Identity | Op::AutoContrast | Op::Equalize => 0.0,
            Op::ShearX | Op::ShearY => upto(0.3),
            Op::TranslateX => upto(150.0 / 331.0 * width as f64),
            Op::TranslateY => upto(150.0 / 331.0 * height as f64),
            Op::Rotate => upto(30.0),
            Op::Brightness | Op::Color | Op::Contrast | Op::Sharpness => upto(0.9),
            Op::Posterize => 8.0 - (f64::from(magnitude) / 7.5).round_ties_even(),
            Op::Solarize => 255.0 - upto(255.0),
        }
    }

    /// Whether it is done either way, as drawn.
    fn signed(self) -> bool {
        Op::ShearX <= self && self <= Op::Sharpness
    }

    pub(super) fn apply(self, picture: &mut Picture, strength: f64) {
        let mut shift = |matrix| nearest(picture, matrix, 0);
        match self {
            Op::Identity => {}
            Op::ShearX => shift([1.0, strength, 0.0, 0.0, 1.0, 0.0]),
            Op::ShearY => shift([1.0, 0.0, 0.0, strength, 1.0, 0.0]),
            Op::TranslateX => shift([1.0, 0.0, -strength.trunc(), 0.0, 1.0, 0.0]),
            Op::TranslateY => shift([1.0, 0.0, 0.0, 0.0, 1.0, -strength.trunc()]),
            Op::Rotate => rotate(picture, strength, Interpolation::Nearest, 0),
            Op::Brightness => color::brightness(picture, 1.0 + strength),
            Op::Color => color::saturation(picture, 1.0 + strength),
            Op::Contrast => color::contrast(picture, 1.0 + strength),
            Op::Sharpness => color::sharpness(picture, 1.0 + strength),
            Op::Posterize => tone::posterize(picture, strength as u32),
            Op::Solarize => tone::solarize(picture, strength),
            Op::AutoContrast => tone::autocontrast(picture),
            Op::Equalize => tone::equalize(picture),
        }
    }
}

impl FromStr for RandAugment {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<RandAugment, AugmentError> {
        let (field, expected) = ("rand-augment", "OPS,MAGNITUDE, such as 2,9");
        let [ops, magnitude] = numbers::<u32>(field, text, expected)?[..] else {
            return Err(unreadable(field, text, expected));
        };
        let rand_augment = RandAugment { ops, magnitude };
        rand_augment.check().map(|()| rand_augment)
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.ops, self.magnitude)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn every_operation_is_drawn_equally_often_and_either_way() {
        let rand_augment = RandAugment::default();
        let mut counts: BTreeMap<Op, [usize; 2]> = BTreeMap::new();
        for image in 0..28_000 {
            let (op, strength) = rand_augment.draw([32, 32], &mut generator(1, Purpose::Augment, 0, image));
            counts.entry(op).or_default()[usize::from(strength < 0.0)] += 1;
        }
        assert_eq!(counts.len(), 14);
        for (op, [positive, negative]) in counts {
            // Standard deviations of these counts are 43 and 31.
            assert!((1_800..2_200).contains(&(positive + negative)), "{op:?} {positive} {negative}");
            let expected = if op.signed() { 850..1150 } else { 0..1 };
            assert!(expected.contains(&negative), "{op:?} {positive} {negative}");
        }
    }
}

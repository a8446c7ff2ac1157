//! Random changes of the images that are trained on, one file for each.
//!
//! What an operation does to 8-bit pixels is what Pillow and torchvision 0.14 do to an image of Pillow, to the byte;
//! `fixtures/golden/augment.json` holds their results.

mod affine;
mod color;
mod color_jitter;
#[cfg(test)]
mod goldens;
mod mix;
mod picture;
mod rand_augment;
mod random_erasing;
mod resized_crop;
mod rotation;
mod tone;
mod window;

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};

pub use color_jitter::ColorJitter;
pub(crate) use mix::Mix;
pub(crate) use picture::Picture;
pub use rand_augment::RandAugment;
pub use random_erasing::{ErasingFill, RandomErasing};
pub use resized_crop::ResizedCrop;
pub use rotation::Rotation;
pub(crate) use window::Window;

/// Random changes of the images that are trained on; the default is none.
///
/// They are made in the order of the fields: crop, flips, rotation, RandAugment and colour jitter on pixels of 0 to 255,
/// then normalisation ([`Preprocess`](crate::Preprocess)), then erasing, and last mixup or cutmix over the batch.
/// All is drawn anew for each image and epoch, from the seed, the epoch and the image's place in the set alone; mixup and
/// cutmix for each batch, from the seed, the epoch and the batch's number.
///
/// ```
/// use layerprune_data::Augment;
///
/// let augment = Augment { pad_crop: Some(4), flip: true, color_jitter: Some("0.4,0.4,0.4,0.1".parse()?), ..Augment::default() };
/// augment.check()?;
/// assert_eq!(augment.to_string(), "pad-crop 4, flip, color-jitter 0.4,0.4,0.4,0.1");
/// # Ok::<(), layerprune_data::AugmentError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Augment {
    /// Pads each side with so many black pixels (value 0 before normalising) and takes a window of the image's size
    /// at a random place. At least 1, and less than the image's shorter side.
    pub pad_crop: Option<usize>,
    /// Takes a part of random area and shape, and resizes it to the set's image size; not together with `pad_crop`.
    pub random_resized_crop: Option<ResizedCrop>,
    /// Mirrors left and right with probability 1/2, after cropping.
    pub flip: bool,
    /// Mirrors top and bottom with probability 1/2, after cropping.
    pub vertical_flip: bool,
    /// Turns by a random angle.
    pub rotation: Option<Rotation>,
    /// Some operations drawn from a list of 14.
    pub rand_augment: Option<RandAugment>,
    /// Changes brightness, contrast, saturation and hue.
    pub color_jitter: Option<ColorJitter>,
    /// Overwrites a rectangle, after normalisation.
    pub random_erasing: Option<RandomErasing>,
    /// Mixes each image with another of its batch, in shares drawn from the distribution Beta(alpha, alpha); this is
    /// alpha, 0.01 to 100. Small ones mix little: 0.2 is usual. With `cutmix` too, one of both is drawn for each batch.
    pub mixup: Option<f64>,
    /// Puts a rectangle of another image of the batch into each, with a share of the area drawn from Beta(alpha, alpha);
    /// this is alpha, 0.01 to 100. 1 is usual.
    pub cutmix: Option<f64>,
}

impl Augment {
    /// Refuses what is out of its range, by the field's name, and what does not go together.
    pub fn check(&self) -> Result<(), AugmentError> {
        if self.pad_crop == Some(0) {
            return Err(AugmentError::range("pad-crop", 0, "at least 1"));
        }
        if self.pad_crop.is_some() && self.random_resized_crop.is_some() {
            return Err(AugmentError::Together { first: "pad-crop", second: "random-resized-crop" });
        }
        self.random_resized_crop.map_or(Ok(()), |crop| crop.check())?;
        self.rotation.map_or(Ok(()), |rotation| rotation.check())?;
        self.rand_augment.map_or(Ok(()), |rand_augment| rand_augment.check())?;
        self.color_jitter.map_or(Ok(()), |jitter| jitter.check())?;
        self.random_erasing.map_or(Ok(()), |erasing| erasing.check())?;
        Mix::of(self).check()
    }

    /// Whether each image comes as one of a few, again and again: as it is, or only flipped.
    #[must_use]
    pub fn repeats_images(&self) -> bool {
        *self == Self { flip: self.flip, vertical_flip: self.vertical_flip, ..Self::default() }
    }

    /// The name of the first augmentation that computes new pixels, and so takes pixels of 0 to 255 only.
    pub(crate) fn rewrites(&self) -> Option<&'static str> {
        [
            (self.random_resized_crop.is_some(), "random-resized-crop"),
            (self.rotation.is_some(), "rotation"),
            (self.rand_augment.is_some(), "rand-augment"),
            (self.color_jitter.is_some(), "color-jitter"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// The name of the first augmentation that needs to know what gray and colour are.
    pub(crate) fn needs_color(&self) -> Option<&'static str> {
        [(self.rand_augment.is_some(), "rand-augment"), (self.color_jitter.is_some(), "color-jitter")]
            .into_iter()
            .find_map(|(given, name)| given.then_some(name))
    }

    /// Rotation, RandAugment and colour jitter, as drawn.
    pub(crate) fn rewrite(&self, picture: &mut Picture, random: &mut impl Rng) {
        if let Some(rotation) = &self.rotation {
            rotation.apply(picture, random);
        }
        if let Some(rand_augment) = &self.rand_augment {
            rand_augment.apply(picture, random);
        }
        if let Some(jitter) = &self.color_jitter {
            jitter.apply(picture, random);
        }
    }
}

/// The augmentations that are on, with the names of their fields, as `none` where there are none.
impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn named(name: &str, value: Option<impl fmt::Display>) -> Option<String> {
            value.map(|value| format!("{name} {value}"))
        }
        let parts: Vec<String> = [
            named("pad-crop", self.pad_crop),
            named("random-resized-crop", self.random_resized_crop),
            self.flip.then(|| "flip".to_owned()),
            self.vertical_flip.then(|| "vertical-flip".to_owned()),
            named("rotation", self.rotation),
            named("rand-augment", self.rand_augment),
            named("color-jitter", self.color_jitter),
            named("random-erasing", self.random_erasing),
            named("mixup", self.mixup),
            named("cutmix", self.cutmix),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(if parts.is_empty() { "none" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Why images cannot be augmented as asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentError {
    /// A setting is out of its range.
    #[error("{field} is {found}, expected {expected}")]
    Range {
        /// The setting, as it stands in a recipe.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Text says no setting.
    #[error("cannot read {field} `{text}`: expected {expected}")]
    Text {
        /// The setting.
        field: &'static str,
        /// The text.
        text: String,
        /// How it is written.
        expected: &'static str,
    },
    /// Two settings exclude each other.
    #[error("{first} and {second} are given, but an image is cropped once: take one of them")]
    Together {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// The operation is one on pixels of 0 to 255.
    #[error("{field} changes 8-bit pixels, but these images are stored as floats: leave it out, or store bytes")]
    Floats {
        /// The setting.
        field: &'static str,
    },
    /// The operation is one on colours.
    #[error("{field} takes gray or RGB images, but these have {channels} channels: leave it out")]
    Channels {
        /// The setting.
        field: &'static str,
        /// What the images have.
        channels: usize,
    },
}

impl AugmentError {
    fn range(field: &'static str, found: impl fmt::Display, expected: &'static str) -> AugmentError {
        AugmentError::Range { field, found: found.to_string(), expected }
    }
}

/// Refuses a range that is not two ascending numbers within `limits`.
fn check_range(
    field: &'static str,
    [low, high]: [f64; 2],
    limits: std::ops::RangeInclusive<f64>,
    expected: &'static str,
) -> Result<(), AugmentError> {
    let right = limits.contains(&low) && limits.contains(&high) && low <= high;
    if right { Ok(()) } else { Err(AugmentError::range(field, format!("{low} to {high}"), expected)) }
}

/// Numbers between commas.
fn numbers<T: FromStr>(field: &'static str, text: &str, expected: &'static str) -> Result<Vec<T>, AugmentError> {
    let number = |text: &str| text.trim().parse().ok();
    text.split(',').map(number).collect::<Option<_>>().ok_or_else(|| unreadable(field, text, expected))
}

fn unreadable(field: &'static str, text: &str, expected: &'static str) -> AugmentError {
    AugmentError::Text { field, text: text.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpolation;

    fn some() -> Augment {
        Augment {
            random_resized_crop: Some(ResizedCrop { ratio: [1.0, 2.0], ..ResizedCrop::default() }),
            flip: true,
            rotation: Some(Rotation { degrees: 15.0, interpolation: Interpolation::Bilinear, fill: 128 }),
            rand_augment: Some(RandAugment { ops: 1, magnitude: 5 }),
            random_erasing: Some(RandomErasing { area: [0.1, 0.2], fill: ErasingFill::Noise, ..Default::default() }),
            mixup: Some(0.2),
            ..Augment::default()
        }
    }

    #[test]
    fn flips_alone_repeat_images() {
        let flips = Augment { flip: true, vertical_flip: true, ..Augment::default() };
        assert!(flips.repeats_images() && Augment::default().repeats_images());
        let mixed = Augment { mixup: Some(0.2), ..flips };
        let cropped = Augment { pad_crop: Some(4), ..flips };
        assert!(!mixed.repeats_images() && !cropped.repeats_images() && !some().repeats_images());
    }

    #[test]
    fn what_is_on_is_shown() {
        let expected = "random-resized-crop 0.08,1 ratio 1,2, flip, rotation 15 bilinear filled with 128, \
             rand-augment 1,5, random-erasing 0.5 area 0.1,0.2 by noise, mixup 0.2";
        assert_eq!(some().to_string(), expected);
        assert_eq!(Augment::default().to_string(), "none");
    }

    #[test]
    fn settings_are_kebab_case_have_defaults_and_come_back() {
        let text = serde_json::to_string(&some()).unwrap();
        assert_eq!(serde_json::from_str::<Augment>(&text).unwrap(), some());
        let text = r#"{"vertical-flip": true, "rotation": {"degrees": 10}, "color-jitter": {"hue": 0.1},
            "random-resized-crop": {}, "rand-augment": {"magnitude": 7}, "random-erasing": {"fill": "noise"}}"#;
        let expected = Augment {
            vertical_flip: true,
            rotation: Some("10".parse().unwrap()),
            color_jitter: Some("0,0,0,0.1".parse().unwrap()),
            random_resized_crop: Some("0.08,1".parse().unwrap()),
            rand_augment: Some("2,7".parse().unwrap()),
            random_erasing: Some(RandomErasing { fill: ErasingFill::Noise, ..RandomErasing::default() }),
            ..Augment::default()
        };
        assert_eq!(serde_json::from_str::<Augment>(text).unwrap(), expected);
        assert!(serde_json::from_str::<Augment>(r#"{"pad_crop": 4}"#).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let crop = ResizedCrop::default();
        let jitter = ColorJitter { brightness: 0.4, ..ColorJitter::default() };
        let erasing = RandomErasing::default();
        let none = Augment::default();
        for (augment, expected) in [
            (Augment { pad_crop: Some(0), ..none }, "pad-crop is 0, expected at least 1"),
            (
                Augment { pad_crop: Some(4), random_resized_crop: Some(crop), ..none },
                "pad-crop and random-resized-crop are given, but an image is cropped once: take one of them",
            ),
            (
                Augment { random_resized_crop: Some(ResizedCrop { scale: [0.5, 1.5], ..crop }), ..none },
                "scale of random-resized-crop is 0.5 to 1.5, expected two ascending numbers, more than 0 and at most 1",
            ),
            (
                Augment { random_resized_crop: Some(ResizedCrop { ratio: [2.0, 1.0], ..crop }), ..none },
                "ratio of random-resized-crop is 2 to 1, expected two ascending numbers, more than 0",
            ),
            (
                Augment { rotation: Some(Rotation { degrees: 200.0, ..some().rotation.unwrap() }), ..none },
                "rotation is 200, expected more than 0 and at most 180 degrees",
            ),
            (
                Augment {
                    rotation: Some(Rotation { interpolation: Interpolation::Lanczos, ..some().rotation.unwrap() }),
                    ..none
                },
                "interpolation of rotation is lanczos, expected nearest or bilinear",
            ),
            (
                Augment { rand_augment: Some(RandAugment { ops: 0, magnitude: 9 }), ..none },
                "ops of rand-augment is 0, expected at least 1",
            ),
            (
                Augment { rand_augment: Some(RandAugment { ops: 2, magnitude: 31 }), ..none },
                "magnitude of rand-augment is 31, expected 0 to 30",
            ),
            (
                Augment { color_jitter: Some(ColorJitter { contrast: -1.0, ..jitter }), ..none },
                "contrast of color-jitter is -1, expected a finite number, at least 0",
            ),
            (
                Augment { color_jitter: Some(ColorJitter { hue: 0.6, ..jitter }), ..none },
                "hue of color-jitter is 0.6, expected 0 to 0.5",
            ),
            (
                Augment { color_jitter: Some(ColorJitter::default()), ..none },
                "color-jitter is 0,0,0,0, expected at least one number more than 0",
            ),
            (
                Augment { random_erasing: Some(RandomErasing { probability: 0.0, ..erasing }), ..none },
                "probability of random-erasing is 0, expected more than 0 and at most 1",
            ),
            (
                Augment { random_erasing: Some(RandomErasing { area: [-0.1, 0.3], ..erasing }), ..none },
                "area of random-erasing is -0.1 to 0.3, expected two ascending numbers from 0 to 1",
            ),
            (
                Augment { cutmix: Some(f64::INFINITY), ..none },
                "cutmix is inf, expected 0.01 to 100 (alpha of its distribution)",
            ),
        ] {
            assert_eq!(augment.check().unwrap_err().to_string(), expected);
        }
        assert_eq!(some().check(), Ok(()));
    }

    #[test]
    fn text_that_says_no_setting_is_refused_with_how_it_is_written() {
        let errors = [
            "a".parse::<ResizedCrop>().unwrap_err(),
            "0.1,0.2,0.3".parse::<ResizedCrop>().unwrap_err(),
            "left".parse::<Rotation>().unwrap_err(),
            "2".parse::<RandAugment>().unwrap_err(),
            "1,1,1,0.1,1".parse::<ColorJitter>().unwrap_err(),
            "".parse::<RandomErasing>().unwrap_err(),
        ];
        let expected = [
            "cannot read random-resized-crop `a`: expected LEAST,GREATEST area, such as 0.08,1",
            "cannot read random-resized-crop `0.1,0.2,0.3`: expected LEAST,GREATEST area, such as 0.08,1",
            "cannot read rotation `left`: expected DEGREES, such as 15",
            "cannot read rand-augment `2`: expected OPS,MAGNITUDE, such as 2,9",
            "cannot read color-jitter `1,1,1,0.1,1`: expected BRIGHTNESS[,CONTRAST[,SATURATION[,HUE]]], such as 0.4,0.4,0.4,0.1",
            "cannot read random-erasing ``: expected PROBABILITY, such as 0.25",
        ];
        assert_eq!(errors.map(|error| error.to_string()), expected);
    }
}

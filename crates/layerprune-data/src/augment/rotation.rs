//! Rotation by a random angle.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::affine::{Matrix, bilinear, nearest};
use super::picture::Picture;
use super::{AugmentError, unreadable};
use crate::resize::Interpolation;

/// Turns an image about its centre by an angle drawn evenly from −`degrees` to `degrees`, as torchvision's
/// `RandomRotation`; its size stays. As text, the degrees: `15`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rotation {
    /// Greatest angle either way: more than 0, at most 180.
    pub degrees: f64,
    /// How pixels between pixels are made: nearest, the default as in torchvision, or bilinear.
    #[serde(default = "nearest_pixel")]
    pub interpolation: Interpolation,
    /// What comes into the corners: 0, black, to 255 before normalisation; 0 by default.
    #[serde(default)]
    pub fill: u8,
}

impl Rotation {
    pub(super) fn check(&self) -> Result<(), AugmentError> {
        let right = self.degrees > 0.0 && self.degrees <= 180.0;
        let expected = "more than 0 and at most 180 degrees";
        if !right {
            return Err(AugmentError::range("rotation", self.degrees, expected));
        }
        match self.interpolation {
            Interpolation::Nearest | Interpolation::Bilinear => Ok(()),
            other => Err(AugmentError::range("interpolation of rotation", other, "nearest or bilinear")),
        }
    }

    pub(super) fn apply(&self, picture: &mut Picture, random: &mut impl Rng) {
        rotate(picture, random.random_range(-self.degrees..=self.degrees), self.interpolation, self.fill);
    }
}

fn nearest_pixel() -> Interpolation {
    Interpolation::Nearest
}

impl FromStr for Rotation {
    type Err = AugmentError;

    fn from_str(text: &str) -> Result<Rotation, AugmentError> {
        let degrees = text.parse().map_err(|_| unreadable("rotation", text, "DEGREES, such as 15"))?;
        let rotation = Rotation { degrees, interpolation: nearest_pixel(), fill: 0 };
        rotation.check().map(|()| rotation)
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.degrees)?;
        if self.interpolation != nearest_pixel() {
            write!(f, " {}", self.interpolation)?;
        }
        if self.fill == 0 { Ok(()) } else { write!(f, " filled with {}", self.fill) }
    }
}

/// Turns counter-clockwise about the centre, as `Image.rotate` of Pillow.
pub(super) fn rotate(picture: &mut Picture, degrees: f64, interpolation: Interpolation, fill: u8) {
    let matrix = rotation_matrix(picture, degrees);
    match interpolation {
        Interpolation::Nearest => nearest(picture, matrix, fill),
        _ => bilinear(picture, matrix, fill),
    }
}

fn rotation_matrix(picture: &Picture, degrees: f64) -> Matrix {
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    // Pillow rounds to 15 places, so that right angles are exact.
    let [sin, cos] = [sin, cos].map(|value| (value * 1e15).round() / 1e15);
    let (x, y) = (picture.width as f64 / 2.0, picture.height as f64 / 2.0);
    [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
}

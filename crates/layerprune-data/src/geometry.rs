//! From an image of any size to one of the size that a network takes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::resize::{Interpolation, Pixel, Region, resize};

/// Most pixels that an image may have, as stored and after resizing.
pub(crate) const MAX_PIXELS: u64 = 1 << 26;

/// How images are resized and cropped, in this order; the default leaves them as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Geometry {
    /// The size that images are resized to.
    pub resize: Resize,
    /// The filter of that, with Pillow's antialiasing.
    pub interpolation: Interpolation,
    /// What is cut out of the middle after that.
    pub crop: Option<Crop>,
}

/// The size that images are resized to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Their own.
    #[default]
    Keep,
    /// This height and width in pixels, whatever their shape was.
    Stretch([u32; 2]),
    /// So many pixels along the shorter side; the longer one keeps the shape, rounded down.
    Shorter(u32),
}

/// A window in the middle of images; black where an image is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Height and width in pixels.
    pub size: [u32; 2],
    /// Where the middle is if it lies between two pixels.
    #[serde(default)]
    pub rounding: CropRounding,
}

/// Where a window begins whose middle can't be that of the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropRounding {
    /// At the even one of the two pixels; after torchvision and timm.
    #[default]
    HalfEven,
    /// At the first of the two pixels; after Hugging Face's transformers.
    Down,
}

impl Geometry {
    /// Refuses sizes without pixels, and those with more than 2^26.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let stretched = match self.resize {
            Resize::Keep => None,
            Resize::Stretch(size) => Some(size),
            Resize::Shorter(side) => Some([side, side]),
        };
        for size in stretched.into_iter().chain(self.crop.map(|crop| crop.size)) {
            if size.contains(&0) || pixels(size) > MAX_PIXELS {
                return Err(DataError::ResizeTo { size });
            }
        }
        Ok(())
    }

    /// The height and width that all images have afterwards, where they do not depend on those before.
    pub fn fixed_size(&self) -> Option<[u32; 2]> {
        match (self.crop, self.resize) {
            (Some(crop), _) => Some(crop.size),
            (None, Resize::Stretch(size)) => Some(size),
            _ => None,
        }
    }

    /// The height and width of an image afterwards.
    pub(crate) fn output_size(&self, size: [u32; 2]) -> [u32; 2] {
        self.fixed_size().unwrap_or_else(|| self.resized(size))
    }

    /// Height and width after resizing, before cropping.
    pub(crate) fn resized(&self, [height, width]: [u32; 2]) -> [u32; 2] {
        match self.resize {
            Resize::Keep => [height, width],
            Resize::Stretch(size) => size,
            Resize::Shorter(side) => {
                let longer = |long: u32, short: u32| {
                    u32::try_from(u64::from(side) * u64::from(long) / u64::from(short.max(1))).unwrap_or(u32::MAX)
                };
                if height <= width { [side, longer(width, height)] } else { [longer(height, width), side] }
            }
        }
    }

    /// Whether resizing images of this size makes more pixels of them than are allowed.
    pub(crate) fn is_too_large(&self, size: [u32; 2]) -> bool {
        pixels(self.resized(size)) > MAX_PIXELS
    }

    /// Resizes and crops an image in CHW order; its new height and width are [`Geometry::output_size`].
    pub(crate) fn apply<P: Pixel + Default>(&self, image: Vec<P>, shape: [usize; 3]) -> Vec<P> {
        let [channels, height, width] = shape;
        // Images of a size beyond u32 would not fit into memory.
        let size = self.resized([height as u32, width as u32]).map(|size| size as usize);
        let image = if size == [height, width] {
            image
        } else {
            resize(&image, shape, Region::whole([height, width]), size, self.interpolation)
        };
        match self.crop {
            Some(crop) if crop.size.map(|size| size as usize) != size => {
                crop_middle(&image, [channels, size[0], size[1]], crop)
            }
            _ => image,
        }
    }
}

fn pixels(size: [u32; 2]) -> u64 {
    u64::from(size[0]) * u64::from(size[1])
}

fn crop_middle<P: Pixel + Default>(image: &[P], [_, height, width]: [usize; 3], crop: Crop) -> Vec<P> {
    let [rows, columns] = crop.size.map(|size| size as usize);
    let [top, left] = [crop.rounding.start(height, rows), crop.rounding.start(width, columns)];
    let mut cropped = Vec::with_capacity(image.len() / (height * width) * rows * columns);
    for plane in image.chunks_exact(height * width) {
        for row in 0..rows {
            let row = row.checked_add_signed(top).filter(|row| *row < height);
            cropped.extend((0..columns).map(|column| {
                let column = column.checked_add_signed(left).filter(|column| *column < width);
                row.zip(column).map_or_else(P::default, |(row, column)| plane[row * width + column])
            }));
        }
    }
    cropped
}

impl CropRounding {
    /// The first pixel of a window of `taken` pixels in the middle of `there`; negative where it begins before them.
    fn start(self, there: usize, taken: usize) -> isize {
        let beyond = there as isize - taken as isize;
        let down = beyond.div_euclid(2);
        match self {
            CropRounding::Down => down,
            CropRounding::HalfEven if beyond < 0 => -(-beyond / 2),
            CropRounding::HalfEven => down + if beyond % 2 == 1 && down % 2 == 1 { 1 } else { 0 },
        }
    }
}

/// What is done, in words: `shorter side to 256 (bicubic), 224x224 from the middle`.
impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resize {
            Resize::Keep => {}
            Resize::Stretch([height, width]) => write!(f, "stretched to {height}x{width} ({})", self.interpolation)?,
            Resize::Shorter(side) => write!(f, "shorter side to {side} ({})", self.interpolation)?,
        }
        match self.crop {
            None if self.resize == Resize::Keep => f.write_str("sizes as they are"),
            None => Ok(()),
            Some(crop) => {
                let comma = if self.resize == Resize::Keep { "" } else { ", " };
                write!(f, "{comma}{}x{} from the middle", crop.size[0], crop.size[1])?;
                match crop.rounding {
                    CropRounding::HalfEven => Ok(()),
                    CropRounding::Down => f.write_str(" (rounded down)"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crop(size: [u32; 2], rounding: CropRounding) -> Geometry {
        Geometry { crop: Some(Crop { size, rounding }), ..Geometry::default() }
    }

    #[test]
    fn the_longer_side_is_rounded_down() {
        let geometry = Geometry { resize: Resize::Shorter(256), ..Geometry::default() };
        // int(256 * 500 / 375) of torchvision and transformers.
        assert_eq!(geometry.output_size([375, 500]), [256, 341]);
        assert_eq!(geometry.output_size([500, 375]), [341, 256]);
        assert_eq!(geometry.output_size([7, 7]), [256, 256]);
        assert_eq!(geometry.fixed_size(), None);
    }

    #[test]
    fn the_middle_is_that_of_the_library() {
        // torchvision: int(round((there - taken) / 2)), half to even, and padding of (taken - there) // 2 before.
        let of = |rounding: CropRounding| [0, 1, 2, 3, 4, 5, 7].map(|beyond| rounding.start(10 + beyond, 10));
        assert_eq!(of(CropRounding::HalfEven), [0, 0, 1, 2, 2, 2, 4]);
        assert_eq!(of(CropRounding::Down), [0, 0, 1, 1, 2, 2, 3]);
        let padded = |rounding: CropRounding| [1, 2, 3].map(|less| rounding.start(10 - less, 10));
        assert_eq!(padded(CropRounding::HalfEven), [0, -1, -1]);
        assert_eq!(padded(CropRounding::Down), [-1, -1, -2]);
    }

    #[test]
    fn the_middle_is_cut_out_of_every_channel_and_padded_with_black() {
        let image: Vec<u8> = (1..=24).collect();
        let cut = crop([1, 2], CropRounding::HalfEven).apply(image.clone(), [2, 3, 4]);
        assert_eq!(cut, [6, 7, 18, 19]);
        let padded = crop([5, 2], CropRounding::HalfEven).apply(image, [2, 3, 4]);
        assert_eq!(padded[..10], [0, 0, 2, 3, 6, 7, 10, 11, 0, 0]);
    }

    #[test]
    fn resizing_comes_before_cropping() {
        let geometry = Geometry {
            resize: Resize::Shorter(2),
            interpolation: Interpolation::Nearest,
            crop: Some(Crop { size: [2, 2], rounding: CropRounding::HalfEven }),
        };
        // A row of blocks of 2 x 2 equal pixels.
        let row: [u8; 8] = [1, 1, 2, 2, 3, 3, 4, 4];
        let image = [row; 4].concat();
        assert_eq!(geometry.apply(image, [1, 4, 8]), [2, 3, 2, 3]);
        assert_eq!(geometry.to_string(), "shorter side to 2 (nearest), 2x2 from the middle");
    }

    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        size: [usize; 2],
        resize: Resize,
        crop: [u32; 2],
        interpolation: Interpolation,
        pixels: Vec<u8>,
        result: Vec<u8>,
    }

    #[test]
    fn every_byte_is_that_of_torchvision() {
        let golden: Golden = serde_json::from_str(include_str!("../../../fixtures/golden/geometry.json")).unwrap();
        assert_eq!(golden.cases.len(), 6);
        for Case { size, resize, crop, interpolation, pixels, result } in golden.cases {
            let crop = Some(Crop { size: crop, rounding: CropRounding::HalfEven });
            let found = Geometry { resize, interpolation, crop }.apply(pixels, [3, size[0], size[1]]);
            assert_eq!(found, result, "{size:?}, {resize:?}, {crop:?}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let error = crop([0, 4], CropRounding::Down).check().unwrap_err().to_string();
        assert_eq!(error, "size to resize to is 0 x 4 pixels (height x width), expected 1 x 1 to 2^26 pixels in all");
        let stretch = Geometry { resize: Resize::Stretch([1 << 14, 1 << 13]), ..Geometry::default() };
        assert!(stretch.check().is_err());
        let shorter = Geometry { resize: Resize::Shorter(1000), ..Geometry::default() };
        assert!(shorter.check().is_ok() && shorter.is_too_large([1, 1000]));
    }
}

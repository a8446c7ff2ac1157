//! Resizing as Pillow does it, to the last bit, since that is what most networks were trained and are deployed with.
//!
//! Each output pixel is a weighted sum over the input pixels that the filter's window covers, and the window grows with
//! the scale when shrinking, so that no detail is skipped over (antialiasing). Rows are filtered first, rounded to
//! the pixel's type, then columns. Weights of bytes are integers with 22 binary places. After `Resample.c` and `Geometry.c`
//! of Pillow 9.4; versions up to 12.2 give the same. From 13.0 on Pillow filters columns first where that is less work, which
//! is another rounding: one level in some pixels, more where `bicubic` or `lanczos` overshoot.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How pixels between pixels are made up; names and results are Pillow's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// The nearest pixel; no antialiasing.
    Nearest,
    /// The mean of the pixels covered.
    Box,
    /// Linear between pixels, a triangle when shrinking.
    #[default]
    Bilinear,
    /// A sharper filter of the width of the bilinear one.
    Hamming,
    /// Cubic over four pixels, a = -0.5; may overshoot at edges.
    Bicubic,
    /// Windowed sinc over six pixels; may overshoot at edges.
    Lanczos,
}

impl Interpolation {
    /// All there are, by the width of their window.
    pub const ALL: [Interpolation; 6] = [
        Interpolation::Nearest,
        Interpolation::Box,
        Interpolation::Bilinear,
        Interpolation::Hamming,
        Interpolation::Bicubic,
        Interpolation::Lanczos,
    ];

    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Nearest => "nearest",
            Interpolation::Box => "box",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Hamming => "hamming",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Lanczos => "lanczos",
        }
    }

    /// The one that Pillow, and with it Hugging Face's `resample`, has this number for.
    pub fn from_pillow(number: u64) -> Option<Interpolation> {
        Some(match number {
            0 => Interpolation::Nearest,
            1 => Interpolation::Lanczos,
            2 => Interpolation::Bilinear,
            3 => Interpolation::Bicubic,
            4 => Interpolation::Box,
            5 => Interpolation::Hamming,
            _ => return None,
        })
    }

    /// The filter and how far it reaches to each side when not shrinking; none for the nearest pixel.
    fn filter(self) -> Option<(Filter, f64)> {
        match self {
            Interpolation::Nearest => None,
            Interpolation::Box => Some((box_filter, 0.5)),
            Interpolation::Bilinear => Some((triangle, 1.0)),
            Interpolation::Hamming => Some((hamming, 1.0)),
            Interpolation::Bicubic => Some((cubic, 2.0)),
            Interpolation::Lanczos => Some((lanczos, 3.0)),
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Interpolation {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Interpolation, DataError> {
        let found = Interpolation::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| DataError::Interpolation { text: text.to_owned() })
    }
}

/// The weight of a pixel at a distance from the middle of the window.
type Filter = fn(f64) -> f64;

/// A part of an image, in pixels from its top left corner; Pillow's `box`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Region {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) right: f32,
    pub(crate) bottom: f32,
}

impl Region {
    /// The whole of an image of this height and width.
    pub(crate) fn whole([height, width]: [usize; 2]) -> Region {
        Region { left: 0.0, top: 0.0, right: width as f32, bottom: height as f32 }
    }
}

/// Stretches a part of an image to `size`, height and width.
///
/// `planes` holds each channel's rows one after another (CHW), and so does what is returned. The pixels of `region` are
/// within the image; those beside it still count where the filter's window reaches over its edge, as with Pillow's `box`.
pub(crate) fn resize<P: Pixel>(
    planes: &[P],
    [channels, height, width]: [usize; 3],
    region: Region,
    size: [usize; 2],
    interpolation: Interpolation,
) -> Vec<P> {
    let columns = Axis { input: width, start: region.left, end: region.right, output: size[1] };
    let rows = Axis { input: height, start: region.top, end: region.bottom, output: size[0] };
    let mut resized = Vec::with_capacity(channels * size[0] * size[1]);
    let Some((filter, support)) = interpolation.filter() else {
        let (rows, columns) = (rows.nearest(), columns.nearest());
        for plane in planes.chunks_exact(height * width) {
            resized.extend(rows.iter().flat_map(|row| columns.iter().map(move |column| plane[row * width + column])));
        }
        return resized;
    };
    let horizontal = columns.changes().then(|| columns.windows::<P>(filter, support));
    let vertical = rows.changes().then(|| rows.windows::<P>(filter, support));
    // Rows that no output row reads are not filtered.
    let needed = match &vertical {
        Some(windows) => {
            let first = windows.first().map_or(0, |window| window.first);
            first..windows.last().map_or(0, |window| window.first + window.weights.len())
        }
        None => 0..height,
    };
    for plane in planes.chunks_exact(height * width) {
        let narrowed = match &horizontal {
            Some(windows) => &filter_rows(&plane[needed.start * width..needed.end * width], width, windows),
            None => &plane[needed.start * width..needed.end * width],
        };
        match &vertical {
            Some(windows) => filter_columns(narrowed, size[1], &needed, windows, &mut resized),
            None => resized.extend_from_slice(narrowed),
        }
    }
    resized
}

/// What resizing works on.
pub(crate) trait Pixel: Copy {
    /// A weight, and a sum of weighted pixels.
    type Sum: Copy;
    /// What sums begin with.
    const ZERO: Self::Sum;

    fn weight(weight: f64) -> Self::Sum;
    fn add(self, weight: Self::Sum, sum: Self::Sum) -> Self::Sum;
    fn from_sum(sum: Self::Sum) -> Self;
}

/// Binary places of the weights of bytes.
const PLACES: u32 = 22;

impl Pixel for u8 {
    type Sum = i32;
    const ZERO: i32 = 1 << (PLACES - 1);

    fn weight(weight: f64) -> i32 {
        (weight * f64::from(1 << PLACES) + 0.5_f64.copysign(weight)) as i32
    }

    fn add(self, weight: i32, sum: i32) -> i32 {
        sum.wrapping_add(i32::from(self).wrapping_mul(weight))
    }

    fn from_sum(sum: i32) -> u8 {
        (sum >> PLACES).clamp(0, 255) as u8
    }
}

impl Pixel for f32 {
    type Sum = f64;
    const ZERO: f64 = 0.0;

    fn weight(weight: f64) -> f64 {
        weight
    }

    fn add(self, weight: f64, sum: f64) -> f64 {
        sum + f64::from(self) * weight
    }

    fn from_sum(sum: f64) -> f32 {
        sum as f32
    }
}

/// Resizing along one axis: `input` pixels, of which those from `start` to `end` become `output` pixels.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    start: f32,
    end: f32,
    output: usize,
}

/// The pixels that an output pixel is a weighted sum of.
struct Window<S> {
    first: usize,
    weights: Vec<S>,
}

impl Axis {
    fn changes(&self) -> bool {
        self.output != self.input || self.start != 0.0 || self.end != self.output as f32
    }

    fn scale(&self) -> f64 {
        f64::from(self.end - self.start) / self.output as f64
    }

    /// The input pixel for each output pixel. Places are added up one by one, so that rounding is Pillow's.
    fn nearest(&self) -> Vec<usize> {
        let scale = self.scale();
        let mut place = f64::from(self.start) + scale * 0.5;
        let mut next = || {
            let pixel = (place as usize).min(self.input - 1);
            place += scale;
            pixel
        };
        (0..self.output).map(|_| next()).collect()
    }

    fn windows<P: Pixel>(&self, filter: Filter, support: f64) -> Vec<Window<P::Sum>> {
        let scale = self.scale();
        let stretch = scale.max(1.0);
        let (reach, inverse) = (support * stretch, 1.0 / stretch);
        let window = |output: usize| {
            let center = f64::from(self.start) + (output as f64 + 0.5) * scale;
            let first = (center - reach + 0.5).max(0.0) as usize;
            let end = ((center + reach + 0.5) as usize).min(self.input);
            let weights: Vec<f64> = (first..end).map(|pixel| filter((pixel as f64 - center + 0.5) * inverse)).collect();
            let total: f64 = weights.iter().sum();
            let total = if total == 0.0 { 1.0 } else { total };
            Window { first, weights: weights.into_iter().map(|weight| P::weight(weight / total)).collect() }
        };
        (0..self.output).map(window).collect()
    }
}

fn filter_rows<P: Pixel>(pixels: &[P], width: usize, windows: &[Window<P::Sum>]) -> Vec<P> {
    let mut filtered = Vec::with_capacity(pixels.len() / width * windows.len());
    for row in pixels.chunks_exact(width) {
        filtered.extend(windows.iter().map(|window| {
            let pixels = row[window.first..].iter().zip(&window.weights);
            P::from_sum(pixels.fold(P::ZERO, |sum, (pixel, weight)| pixel.add(*weight, sum)))
        }));
    }
    filtered
}

/// Filters columns of the rows `needed` of an image, which is all that `pixels` holds.
fn filter_columns<P: Pixel>(
    pixels: &[P],
    width: usize,
    needed: &Range<usize>,
    windows: &[Window<P::Sum>],
    filtered: &mut Vec<P>,
) {
    let mut sums = vec![P::ZERO; width];
    for window in windows {
        sums.fill(P::ZERO);
        let rows = pixels[(window.first - needed.start) * width..].chunks_exact(width);
        for (row, weight) in rows.zip(&window.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, pixel)| *sum = pixel.add(*weight, *sum));
        }
        filtered.extend(sums.iter().map(|&sum| P::from_sum(sum)));
    }
}

fn box_filter(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x >= 1.0 { 0.0 } else { sinc(x) * (0.54 + 0.46 * (x * std::f64::consts::PI).cos()) }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        bytes: Vec<Case<u8>>,
        floats: Vec<Case<f32>>,
    }

    /// An image of one channel or three, and what Pillow makes of it.
    #[derive(Deserialize)]
    struct Case<P> {
        shape: [usize; 3],
        size: [usize; 2],
        /// Left, top, right and bottom.
        region: Option<[f32; 4]>,
        pixels: Vec<P>,
        resized: std::collections::BTreeMap<String, Vec<P>>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../../fixtures/golden/resize.json")).unwrap()
    }

    fn resized<P: Pixel>(case: &Case<P>, interpolation: Interpolation) -> Vec<P> {
        let [_, height, width] = case.shape;
        let region = match case.region {
            Some([left, top, right, bottom]) => Region { left, top, right, bottom },
            None => Region::whole([height, width]),
        };
        resize(&case.pixels, case.shape, region, case.size, interpolation)
    }

    #[test]
    fn every_byte_is_that_of_pillow() {
        let mut compared = 0;
        for case in golden().bytes {
            for (name, expected) in &case.resized {
                let found = resized(&case, name.parse().unwrap());
                assert_eq!(&found, expected, "{name}, {:?} to {:?}", case.shape, case.size);
                compared += found.len();
            }
        }
        assert!(compared > 30_000, "{compared}");
    }

    #[test]
    fn floats_are_those_of_pillow() {
        let cases = golden().floats;
        assert!(!cases.is_empty());
        for case in cases {
            for (name, expected) in &case.resized {
                let found = resized(&case, name.parse().unwrap());
                assert_eq!(found.len(), expected.len());
                let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= 1e-6);
                assert!(close, "{name}, {:?} to {:?}: {found:?}, {expected:?}", case.shape, case.size);
            }
        }
    }

    #[test]
    fn names_and_numbers_are_read() {
        for interpolation in Interpolation::ALL {
            assert_eq!(interpolation.name().parse::<Interpolation>().unwrap(), interpolation);
        }
        let numbers = [0, 1, 2, 3, 4, 5].map(|number| Interpolation::from_pillow(number).unwrap().name());
        assert_eq!(numbers, ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]);
        assert_eq!(Interpolation::from_pillow(6), None);
        let error = "cubic".parse::<Interpolation>().unwrap_err().to_string();
        let names = "nearest, box, bilinear, hamming, bicubic, lanczos";
        assert_eq!(error, format!("`cubic` is no interpolation; there are {names}"));
    }
}

//! From pixels to what a network takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

const PRESETS: [(&str, &[f32], &[f32]); 4] = [
    ("imagenet", &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
    ("cifar10", &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
    ("mnist", &[0.1307], &[0.3081]),
    ("fashion-mnist", &[0.2860], &[0.3530]),
];

/// How a pixel becomes a network's input: `(pixel · scale − mean) / std`, a pixel being 0 to 255.
///
/// The default only scales to 0..=1: what a network was trained with can't be told from its file, so nothing else is
/// assumed. Text gives mean and standard deviation, of pixels scaled to 0..=1, by name or by number.
///
/// ```
/// use layerprune_data::Preprocess;
///
/// let by_name: Preprocess = "imagenet".parse()?;
/// let by_number: Preprocess = "0.485,0.456,0.406/0.229,0.224,0.225".parse()?;
/// assert_eq!(by_name, by_number);
/// # Ok::<(), layerprune_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// What is subtracted after scaling: one value, or one for each channel of the output.
    pub mean: Vec<f32>,
    /// What is divided by after that: one value, or one for each channel of the output.
    pub std: Vec<f32>,
    /// What a pixel of 0 to 255 is multiplied by. Images stored as floats count as pixels already divided by 255.
    pub scale: f32,
    /// Gives images of one channel as three equal channels; those of three channels stay as they are.
    pub gray_to_rgb: bool,
}

impl Default for Preprocess {
    fn default() -> Preprocess {
        Preprocess { mean: vec![0.0], std: vec![1.0], scale: 1.0 / 255.0, gray_to_rgb: false }
    }
}

/// In words: `pixels / 255, mean 0.5, std 0.25`.
impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
        match self.scale {
            scale if scale == 1.0 / 255.0 => f.write_str("pixels / 255")?,
            scale => write!(f, "pixels * {scale}")?,
        }
        write!(f, ", mean {}, std {}", list(&self.mean), list(&self.std))?;
        if self.gray_to_rgb { f.write_str(", gray as three equal channels") } else { Ok(()) }
    }
}

impl FromStr for Preprocess {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Preprocess, DataError> {
        let numbers =
            |text: &str| text.split(',').map(|number| number.trim().parse().ok()).collect::<Option<Vec<f32>>>();
        let preset = PRESETS.iter().find(|(name, _, _)| *name == text);
        let values = match (preset, text.split_once('/')) {
            (Some((_, mean, std)), _) => Some((mean.to_vec(), std.to_vec())),
            (None, Some((mean, std))) => numbers(mean).zip(numbers(std)),
            (None, None) => None,
        };
        let Some((mean, std)) = values else {
            return Err(DataError::Normalization { text: text.to_owned(), presets: Preprocess::presets().join(", ") });
        };
        let preprocess = Preprocess { mean, std, ..Preprocess::default() };
        preprocess.check_values()?;
        Ok(preprocess)
    }
}

impl Preprocess {
    /// The names that are read as a normalisation.
    pub fn presets() -> Vec<&'static str> {
        PRESETS.iter().map(|(name, _, _)| *name).collect()
    }

    /// The shape (C, H, W) of what comes out of images of shape (C, H, W).
    ///
    /// Refuses values that aren't finite, a scale or standard deviation that isn't more than 0, and a mean or standard
    /// deviation whose length is neither 1 nor the number of output channels.
    pub fn output_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], DataError> {
        self.check_values()?;
        let channels = if self.gray_to_rgb && channels == 1 { 3 } else { channels };
        for (part, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != 1 && values.len() != channels {
                return Err(DataError::PerChannel { part, found: values.len(), channels });
            }
        }
        Ok([channels, height, width])
    }

    fn check_values(&self) -> Result<(), DataError> {
        let positive = "a finite number more than 0";
        let fault = |part, found, expected| Err(DataError::NormalizationValue { part, found, expected });
        if let Some(&found) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return fault("mean", found, "a finite number");
        }
        if let Some(&found) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return fault("std", found, positive);
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return fault("scale", self.scale, positive);
        }
        Ok(())
    }

    /// What is done to each pixel of images of shape (C, H, W).
    pub(crate) fn compile(&self, shape: [usize; 3]) -> Result<Normalizer, DataError> {
        let [channels, ..] = self.output_shape(shape)?;
        // In f32, 1/255 is a little more than it is.
        let scale = if self.scale == 1.0 / 255.0 { 1.0 / 255.0 } else { f64::from(self.scale) };
        let of = |values: &[f32], channel| f64::from(values[if values.len() == 1 { 0 } else { channel }]);
        let channels = (0..channels)
            .map(|channel| Channel { scale, mean: of(&self.mean, channel), std: of(&self.std, channel) })
            .collect();
        Ok(Normalizer::new(channels))
    }
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    scale: f64,
    mean: f64,
    std: f64,
}

impl Channel {
    fn apply(&self, pixel: f64) -> f32 {
        ((pixel * self.scale - self.mean) / self.std) as f32
    }
}

/// A checked [`Preprocess`] for images of a known number of channels.
#[derive(Debug)]
pub(crate) struct Normalizer {
    channels: Vec<Channel>,
    bytes: Vec<[f32; 256]>,
}

impl Normalizer {
    fn new(channels: Vec<Channel>) -> Normalizer {
        let table = |channel: &Channel| std::array::from_fn(|pixel| channel.apply(pixel as f64));
        Normalizer { bytes: channels.iter().map(table).collect(), channels }
    }

    /// How many channels come out.
    pub(crate) fn channels(&self) -> usize {
        self.channels.len()
    }

    /// A pixel of 0 to 255.
    pub(crate) fn byte(&self, channel: usize, pixel: u8) -> f32 {
        self.bytes[channel][usize::from(pixel)]
    }

    /// A pixel of 0 to 1.
    pub(crate) fn float(&self, channel: usize, pixel: f32) -> f32 {
        self.channels[channel].apply(f64::from(pixel) * 255.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_divides_by_255() {
        let normalizer = Preprocess::default().compile([1, 1, 1]).unwrap();
        for pixel in 0..=255 {
            assert_eq!(normalizer.byte(0, pixel), f32::from(pixel) / 255.0);
            let float = f32::from(pixel) / 255.0;
            assert_eq!(normalizer.float(0, float), float);
        }
    }

    #[test]
    fn each_channel_has_its_mean_and_standard_deviation() {
        let preprocess = Preprocess { mean: vec![0.5, 0.25, 0.0], std: vec![0.5, 0.25, 2.0], ..Preprocess::default() };
        let normalizer = preprocess.compile([3, 1, 1]).unwrap();
        assert_eq!([0, 1, 2].map(|channel| normalizer.byte(channel, 255)), [1.0, 3.0, 0.5]);
        assert_eq!([0, 1, 2].map(|channel| normalizer.byte(channel, 0)), [-1.0, -1.0, 0.0]);
        assert_eq!([0, 1, 2].map(|channel| normalizer.float(channel, 0.5)), [0.0, 1.0, 0.25]);
    }

    #[test]
    fn a_scale_of_1_keeps_pixels_at_0_to_255() {
        let preprocess = Preprocess { scale: 1.0, mean: vec![100.0], std: vec![10.0], ..Preprocess::default() };
        let normalizer = preprocess.compile([1, 1, 1]).unwrap();
        assert_eq!((normalizer.byte(0, 120), normalizer.float(0, 1.0)), (2.0, 15.5));
    }

    #[test]
    fn presets_and_numbers_are_read() {
        let fashion: Preprocess = "fashion-mnist".parse().unwrap();
        assert_eq!((fashion.mean, fashion.std, fashion.scale), (vec![0.286], vec![0.353], 1.0 / 255.0));
        let numbers: Preprocess = "0.5, 0.25,0 / 0.2".parse().unwrap();
        assert_eq!((numbers.mean, numbers.std), (vec![0.5, 0.25, 0.0], vec![0.2]));
    }

    #[test]
    fn all_that_is_done_is_told() {
        let preprocess = Preprocess { mean: vec![0.5, 0.25], std: vec![0.2], ..Preprocess::default() };
        assert_eq!(preprocess.to_string(), "pixels / 255, mean 0.5 0.25, std 0.2");
        let preprocess = Preprocess { scale: 2.0, gray_to_rgb: true, ..Preprocess::default() };
        assert_eq!(preprocess.to_string(), "pixels * 2, mean 0, std 1, gray as three equal channels");
    }

    #[test]
    fn text_that_is_no_normalisation_is_refused_with_the_presets() {
        for text in ["", "resnet", "0.5", "0.5,a/1", "0.5/", "/0.5"] {
            let error = text.parse::<Preprocess>().unwrap_err().to_string();
            let presets = "imagenet, cifar10, mnist, fashion-mnist";
            let expected =
                format!("cannot read the normalisation `{text}`: expected one of {presets}, or `MEAN,…/STD,…`");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn values_that_cannot_be_used_are_refused() {
        for (text, expected) in [
            ("0/0", "std of the normalisation is 0, expected a finite number more than 0"),
            ("0/1,-1,1", "std of the normalisation is -1, expected a finite number more than 0"),
            ("0/inf", "std of the normalisation is inf, expected a finite number more than 0"),
            ("NaN/1", "mean of the normalisation is NaN, expected a finite number"),
        ] {
            assert_eq!(text.parse::<Preprocess>().unwrap_err().to_string(), expected);
        }
        let error = Preprocess { scale: 0.0, ..Preprocess::default() }.output_shape([1, 1, 1]).unwrap_err();
        assert_eq!(error.to_string(), "scale of the normalisation is 0, expected a finite number more than 0");
    }

    #[test]
    fn lengths_must_be_1_or_the_number_of_channels() {
        let rgb: Preprocess = "imagenet".parse().unwrap();
        assert_eq!(rgb.output_shape([3, 4, 5]).unwrap(), [3, 4, 5]);
        let error = rgb.output_shape([1, 4, 5]).unwrap_err().to_string();
        assert_eq!(error, "mean has 3 values, expected 1 or 1 (one for each channel)");
        let error = "0/1,1".parse::<Preprocess>().unwrap().output_shape([3, 4, 5]).unwrap_err().to_string();
        assert_eq!(error, "std has 2 values, expected 1 or 3 (one for each channel)");
        assert_eq!(Preprocess { gray_to_rgb: true, ..rgb }.output_shape([1, 4, 5]).unwrap(), [3, 4, 5]);
    }
}

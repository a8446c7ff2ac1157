//! Opening data of any kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::spec::DataSpec;
use crate::{cifar, idx, imagefolder, npz};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What is learned from; also the only part of a data set that isn't divided.
    Train,
    /// What the last number is measured on.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
        })
    }
}

/// How to open a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenOptions {
    /// Height and width in pixels that images are stretched to, with Pillow's bilinear filter; as they are when none.
    pub resize: Option<[u32; 2]>,
}

/// Opens one split of a data set.
///
/// Classes are those of the train split wherever there is one, so that labels mean the same in both splits; a test
/// split with another class is refused. Image folders are decoded when batches are made, all other kinds are read now.
/// [`DataSpec::Demo`] is refused: its images are the caller's.
///
/// Images of a folder have three channels, or one if all those looked at are gray; transparency and EXIF orientation
/// are ignored. Some of them, spread over the folder, are looked at now, so that most mixtures of sizes are refused early.
pub fn open(spec: &DataSpec, split: Split, options: &OpenOptions) -> Result<Dataset, DataError> {
    if let Some(size) = options.resize
        && size.contains(&0)
    {
        return Err(DataError::ResizeTo { size });
    }
    let dataset = match spec {
        DataSpec::Idx(path) => idx::open(path, split)?,
        DataSpec::Cifar10(path) => cifar::CIFAR10.open(path, split)?,
        DataSpec::Cifar100(path) => cifar::CIFAR100.open(path, split)?,
        DataSpec::ImageFolder(path) => return imagefolder::open(path, split, options.resize),
        DataSpec::Npz(path) => npz::open(path, split)?,
        DataSpec::Demo => return Err(DataError::Demo),
    };
    Ok(match options.resize {
        Some(size) => dataset.resized(size),
        None => dataset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_not_opened_here() {
        let error = open(&DataSpec::Demo, Split::Train, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, DataError::Demo));
    }

    #[test]
    fn a_size_without_pixels_is_refused() {
        let options = OpenOptions { resize: Some([0, 4]) };
        let error = open(&DataSpec::Idx("nowhere".into()), Split::Train, &options).unwrap_err();
        assert_eq!(error.to_string(), "size to resize to is 0 x 4 pixels (height x width), expected at least 1 x 1");
    }
}

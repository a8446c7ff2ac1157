//! Opening data of any kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::geometry::Geometry;
use crate::spec::DataSpec;
use crate::{cifar, csv, idx, imagefolder, npz, parquet, webdataset};

/// Most bytes of an array that are held in memory where they could be read from disk.
const MAX_IN_MEMORY: u64 = 1 << 28;

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
    /// How images are resized and cropped.
    pub geometry: Geometry,
}

/// Opens one split of a data set.
///
/// Classes are those of the train split wherever there is one, so that labels mean the same in both splits; a test
/// split with another class is refused. [`DataSpec::Demo`] is refused: its images are the caller's.
///
/// Encoded images (of folders, CSV files, parquet files and WebDataset shards) are decoded when batches are made and never
/// held; arrays are read into memory, but those of more than 256 MiB that lie in their file as plain bytes are read from there
/// image by image.
///
/// Encoded images have three channels, or one if all those looked at are gray; transparency and EXIF orientation are
/// ignored. Some of them, spread over the set, are looked at now, so that most mixtures of sizes are refused early.
pub fn open(spec: &DataSpec, split: Split, options: &OpenOptions) -> Result<Dataset, DataError> {
    let geometry = options.geometry;
    geometry.check()?;
    let dataset = match spec {
        DataSpec::Idx(path) => idx::open(path, split, geometry, MAX_IN_MEMORY)?,
        DataSpec::Cifar10(path) => cifar::CIFAR10.open(path, split)?,
        DataSpec::Cifar100(path) => cifar::CIFAR100.open(path, split)?,
        DataSpec::ImageFolder(path) => imagefolder::open(path, split, geometry)?,
        DataSpec::Npz(path) => npz::open(path, split, geometry, MAX_IN_MEMORY)?,
        DataSpec::Csv(path) => csv::open(path, split, geometry)?,
        DataSpec::Parquet(path) => parquet::open(path, split, geometry)?,
        DataSpec::WebDataset(path) => webdataset::open(path, split, geometry)?,
        DataSpec::Demo => return Err(DataError::Demo),
    };
    dataset.with_geometry(&geometry)
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
        let geometry = Geometry { resize: crate::Resize::Stretch([0, 4]), ..Geometry::default() };
        let error = open(&DataSpec::Idx("nowhere".into()), Split::Train, &OpenOptions { geometry }).unwrap_err();
        assert!(matches!(error, DataError::ResizeTo { size: [0, 4] }));
    }
}

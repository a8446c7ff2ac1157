//! What the user writes to say which data is meant.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::{cifar, csv, idx, imagefolder, parquet, webdataset};

pub(crate) const KINDS: &str = "idx:DIR, cifar10:DIR, cifar100:DIR, imagefolder:DIR, npz:FILE, csv:FILE, \
                                parquet:FILE_OR_DIR, webdataset:FILES_OR_DIR, demo";

/// Where images are and in which form, as text: `kind:path`.
///
/// Text without a kind is a path, whose kind is told from what lies there ([`DataSpec::detect`]).
///
/// ```
/// use layerprune_data::DataSpec;
///
/// let spec: DataSpec = "cifar10:data/cifar-10-batches-bin".parse()?;
/// assert_eq!(spec, DataSpec::Cifar10("data/cifar-10-batches-bin".into()));
/// assert_eq!(spec.to_string(), "cifar10:data/cifar-10-batches-bin");
/// # Ok::<(), layerprune_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DataSpec {
    /// A folder with files in MNIST's format.
    Idx(PathBuf),
    /// A folder with the binary version of CIFAR-10.
    Cifar10(PathBuf),
    /// A folder with the binary version of CIFAR-100.
    Cifar100(PathBuf),
    /// A folder with a folder of JPEG or PNG files for each class.
    ImageFolder(PathBuf),
    /// A NumPy archive.
    Npz(PathBuf),
    /// A table of image files and what is to be learned of each; or a folder of `train.csv` and `test.csv`.
    Csv(PathBuf),
    /// Parquet files with encoded images, as Hugging Face publishes data sets.
    Parquet(PathBuf),
    /// Tar files with an image and its label under each name; braces stand for several: `train-{000..127}.tar`.
    WebDataset(PathBuf),
    /// The data set that the caller carries within itself.
    Demo,
}

impl DataSpec {
    /// Tells the kind of the data at `path` from the names of the files there.
    pub fn detect(path: impl Into<PathBuf>) -> Result<DataSpec, DataError> {
        let path = path.into();
        if path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz")) {
            Ok(DataSpec::Npz(path))
        } else if idx::is_there(&path) {
            Ok(DataSpec::Idx(path))
        } else if cifar::CIFAR10.is_there(&path) {
            Ok(DataSpec::Cifar10(path))
        } else if cifar::CIFAR100.is_there(&path) {
            Ok(DataSpec::Cifar100(path))
        } else if csv::is_there(&path) {
            // Before folders of images: the images of a table may lie in one.
            Ok(DataSpec::Csv(path))
        } else if parquet::is_there(&path) {
            Ok(DataSpec::Parquet(path))
        } else if imagefolder::is_there(&path) {
            Ok(DataSpec::ImageFolder(path))
        } else if webdataset::is_there(&path) {
            // After all others: archives are left beside what was unpacked from them.
            Ok(DataSpec::WebDataset(path))
        } else {
            Err(DataError::UndetectedKind { path })
        }
    }

    /// The file or folder; none for the demo.
    pub fn path(&self) -> Option<&Path> {
        match self {
            DataSpec::Idx(path)
            | DataSpec::Cifar10(path)
            | DataSpec::Cifar100(path)
            | DataSpec::ImageFolder(path)
            | DataSpec::Npz(path)
            | DataSpec::Csv(path)
            | DataSpec::Parquet(path)
            | DataSpec::WebDataset(path) => Some(path),
            DataSpec::Demo => None,
        }
    }
}

impl FromStr for DataSpec {
    type Err = DataError;

    fn from_str(text: &str) -> Result<DataSpec, DataError> {
        let make = match text.split_once(':') {
            None if text == "demo" => return Ok(DataSpec::Demo),
            Some(("idx", path)) => Some((DataSpec::Idx as fn(PathBuf) -> DataSpec, path)),
            Some(("cifar10", path)) => Some((DataSpec::Cifar10 as _, path)),
            Some(("cifar100", path)) => Some((DataSpec::Cifar100 as _, path)),
            Some(("imagefolder", path)) => Some((DataSpec::ImageFolder as _, path)),
            Some(("npz", path)) => Some((DataSpec::Npz as _, path)),
            Some(("csv", path)) => Some((DataSpec::Csv as _, path)),
            Some(("parquet", path)) => Some((DataSpec::Parquet as _, path)),
            Some(("webdataset", path)) => Some((DataSpec::WebDataset as _, path)),
            _ => None,
        };
        match make {
            Some((spec, path)) if !path.is_empty() => Ok(spec(PathBuf::from(path))),
            None if Path::new(text).exists() || webdataset::is_there(Path::new(text)) => DataSpec::detect(text),
            _ => Err(DataError::UnknownKind { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for DataSpec {
    type Error = DataError;

    fn try_from(text: String) -> Result<DataSpec, DataError> {
        text.parse()
    }
}

impl From<DataSpec> for String {
    fn from(spec: DataSpec) -> String {
        spec.to_string()
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = match self {
            DataSpec::Idx(path) => ("idx", path),
            DataSpec::Cifar10(path) => ("cifar10", path),
            DataSpec::Cifar100(path) => ("cifar100", path),
            DataSpec::ImageFolder(path) => ("imagefolder", path),
            DataSpec::Npz(path) => ("npz", path),
            DataSpec::Csv(path) => ("csv", path),
            DataSpec::Parquet(path) => ("parquet", path),
            DataSpec::WebDataset(path) => ("webdataset", path),
            DataSpec::Demo => return f.write_str("demo"),
        };
        write!(f, "{kind}:{}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_text() {
        for text in [
            "idx:a",
            "cifar10:a/b",
            "cifar100:a",
            "imagefolder:C:\\a",
            "npz:a b.npz",
            "csv:a.csv",
            "parquet:a",
            "webdataset:a-{0..9}.tar",
            "demo",
        ] {
            let spec: DataSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
            assert_eq!(String::from(spec.clone()).parse::<DataSpec>().unwrap(), spec);
        }
    }

    #[test]
    fn text_that_is_no_kind_and_no_path_is_refused_with_the_kinds() {
        for text in ["", "mnist", "idx:", "cifar:/nowhere/at/all", "demo:x"] {
            let error = text.parse::<DataSpec>().unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is neither a data set (expected {KINDS}) nor an existing path"));
        }
    }

    #[test]
    fn the_kind_is_told_from_the_names_of_the_files() {
        let cases = [
            ("train-images-idx3-ubyte.gz", "idx"),
            ("t10k-images.idx3-ubyte", "idx"),
            ("data_batch_1.bin", "cifar10"),
            ("cifar-10-batches-bin/test_batch.bin", "cifar10"),
            ("train.bin", "cifar100"),
            ("train/cat/1.jpg", "imagefolder"),
            ("val/cat/1.png", "imagefolder"),
            ("cat/1.JPEG", "imagefolder"),
            ("train.csv", "csv"),
            ("data/train-00000-of-00001.parquet", "parquet"),
            ("test.parquet", "parquet"),
            ("train/0000.tar", "webdataset"),
            ("train-0000.tar", "webdataset"),
        ];
        for (file, kind) in cases {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            let dir = dir.path().to_str().unwrap();
            assert_eq!(dir.parse::<DataSpec>().unwrap().to_string(), format!("{kind}:{dir}"), "{}", file.display());
        }
    }

    #[test]
    fn archives_beside_what_came_of_them_are_not_taken_for_shards() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["cifar-10.tar", "test_batch.bin"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        assert_eq!(DataSpec::detect(dir.path()).unwrap(), DataSpec::Cifar10(dir.path().to_owned()));
    }

    #[test]
    fn an_npz_file_is_told_from_its_extension() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("digits.npz");
        fs::write(&file, "").unwrap();
        assert_eq!(DataSpec::detect(&file).unwrap(), DataSpec::Npz(file));
    }

    #[test]
    fn a_folder_that_shows_no_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        let error = dir.path().to_str().unwrap().parse::<DataSpec>().unwrap_err();
        assert!(matches!(error, DataError::UndetectedKind { path } if path == dir.path()));
    }
}

//! The binary version of CIFAR-10 and CIFAR-100.
//!
//! One record for each image: the label bytes (CIFAR-100: coarse, then fine, which is the one used), then 1024 bytes
//! each of red, green and blue.

use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Pixels, class_numbers};
use crate::error::DataError;
use crate::open::Split;

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// One of the two data sets.
pub(crate) struct Cifar {
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    label_bytes: usize,
    classes: usize,
    class_file: &'static str,
    class_names: &'static [&'static str],
}

pub(crate) const CIFAR10: Cifar = Cifar {
    folder: "cifar-10-batches-bin",
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: &["test_batch.bin"],
    label_bytes: 1,
    classes: 10,
    class_file: "batches.meta.txt",
    class_names: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

pub(crate) const CIFAR100: Cifar = Cifar {
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: &["test.bin"],
    label_bytes: 2,
    classes: 100,
    class_file: "fine_label_names.txt",
    class_names: &[],
};

impl Cifar {
    pub(crate) fn is_there(&self, dir: &Path) -> bool {
        let dir = self.inner(dir);
        self.train.iter().chain(self.test).any(|name| dir.join(name).is_file())
    }

    /// Opens a split; `dir` has the files or the folder that the archive unpacks to.
    pub(crate) fn open(&self, dir: &Path, split: Split) -> Result<Dataset, DataError> {
        let dir = self.inner(dir);
        let names = match split {
            Split::Train => self.train,
            Split::Test => self.test,
        };
        let missing: Vec<&str> = names.iter().copied().filter(|name| !dir.join(name).is_file()).collect();
        if !missing.is_empty() {
            return Err(DataError::NoSplit { path: dir, split, looked_for: missing.join(", ") });
        }
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            self.read(&dir.join(name), &mut pixels, &mut labels)?;
        }
        let file = dir.display().to_string();
        Dataset::new(file, Pixels::Bytes(pixels), SHAPE, labels, self.read_classes(&dir))
    }

    fn inner(&self, dir: &Path) -> PathBuf {
        let inner = dir.join(self.folder);
        if inner.is_dir() { inner } else { dir.to_owned() }
    }

    fn read(&self, path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<usize>) -> Result<(), DataError> {
        let file = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let record = self.label_bytes + PIXELS;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let expected = format!("a multiple of {record}");
            return Err(DataError::Length { file, found: bytes.len() as u64, expected });
        }
        pixels.reserve(bytes.len() / record * PIXELS);
        for (index, record) in bytes.chunks_exact(record).enumerate() {
            let (label, image) = record.split_at(self.label_bytes);
            let label = usize::from(label[self.label_bytes - 1]);
            if label >= self.classes {
                return Err(DataError::Label { file, index, label: label as i128, classes: self.classes });
            }
            labels.push(label);
            pixels.extend_from_slice(image);
        }
        Ok(())
    }

    /// The names beside the images; where they can't be read, those known for the data set, or numbers.
    fn read_classes(&self, dir: &Path) -> Vec<String> {
        let text = fs::read_to_string(dir.join(self.class_file)).unwrap_or_default();
        let named: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if named.len() == self.classes {
            named
        } else if self.class_names.is_empty() {
            class_numbers(self.classes)
        } else {
            self.class_names.iter().copied().map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions};

    /// A record whose red, green and blue planes are filled with 10, 20 and 30.
    fn record(labels: &[u8]) -> Vec<u8> {
        [labels, &[10; 1024], &[20; 1024], &[30; 1024]].concat()
    }

    fn open10(dir: &Path, split: Split) -> Result<Dataset, DataError> {
        crate::open(&DataSpec::Cifar10(dir.to_owned()), split, &OpenOptions::default())
    }

    fn open100(dir: &Path, split: Split) -> Result<Dataset, DataError> {
        crate::open(&DataSpec::Cifar100(dir.to_owned()), split, &OpenOptions::default())
    }

    #[test]
    fn the_five_batches_of_cifar10_are_one_split() {
        let dir = tempfile::tempdir().unwrap();
        for batch in 1..=5_u8 {
            let records = [record(&[batch]), record(&[9 - batch])].concat();
            fs::write(dir.path().join(format!("data_batch_{batch}.bin")), records).unwrap();
        }
        let data = open10(dir.path(), Split::Train).unwrap();
        assert_eq!(data.labels().collect::<Vec<_>>(), [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
        assert_eq!(data.image_shape(), [3, 32, 32]);
        assert_eq!((data.classes()[0].as_str(), data.classes()[9].as_str()), ("airplane", "truck"));
        let batch = data.batches(&BatchOptions::default()).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.shape, [10, 3, 32, 32]);
        let planes = [batch.images[0], batch.images[1024], batch.images[2048], batch.images[9 * 3072 + 1023]];
        assert_eq!(planes, [10.0 / 255.0, 20.0 / 255.0, 30.0 / 255.0, 10.0 / 255.0]);
    }

    #[test]
    fn all_missing_batches_are_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("data_batch_2.bin"), record(&[0])).unwrap();
        let error = open10(dir.path(), Split::Train).unwrap_err().to_string();
        let missing = "data_batch_1.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin";
        assert_eq!(error, format!("`{}` has no train split: looked for {missing}", dir.path().display()));
    }

    #[test]
    fn cifar100_uses_the_fine_label_and_the_names_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-100-binary");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("test.bin"), record(&[3, 99])).unwrap();
        let data = open100(dir.path(), Split::Test).unwrap();
        assert_eq!((data.label(0), data.classes()[99].as_str()), (99, "99"));
        let names: String = (0..100).map(|class| format!("name {class}\n")).collect();
        fs::write(inner.join("fine_label_names.txt"), names).unwrap();
        assert_eq!(open100(dir.path(), Split::Test).unwrap().classes()[99], "name 99");
    }

    #[test]
    fn truncated_and_empty_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test_batch.bin");
        for found in [0, 1, 3072, 3074] {
            fs::write(&file, vec![0; found]).unwrap();
            let error = open10(dir.path(), Split::Test).unwrap_err().to_string();
            let expected = format!("`{}` holds {found} bytes of data, expected a multiple of 3073", file.display());
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_label_out_of_range_names_file_and_image() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test_batch.bin");
        fs::write(&file, [record(&[9]), record(&[10])].concat()).unwrap();
        let error = open10(dir.path(), Split::Test).unwrap_err().to_string();
        assert_eq!(error, format!("`{}`: label 10 of image 1 is not in 0..10", file.display()));
        fs::write(dir.path().join("train.bin"), record(&[0, 100])).unwrap();
        let error = open100(dir.path(), Split::Train).unwrap_err().to_string();
        assert!(error.ends_with("label 100 of image 0 is not in 0..100"), "{error}");
    }
}

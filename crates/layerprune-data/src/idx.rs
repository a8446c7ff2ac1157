//! MNIST's file format, as used by MNIST, Fashion-MNIST, EMNIST and Kuzushiji-MNIST.
//!
//! Big-endian: two zero bytes, the element type (8: unsigned byte), the number of axes, the length of each axis as
//! 32 bits, then the elements. Bytes that begin as a gzip stream are unpacked first.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flate2::read::MultiGzDecoder;

use crate::dataset::{Dataset, Pixels, class_numbers};
use crate::error::DataError;
use crate::files::{Files, Raw, Source};
use crate::geometry::Geometry;
use crate::open::Split;

/// Gray images, as an idx file holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdxImages {
    /// Pixels, image by image and row by row.
    pub pixels: Vec<u8>,
    /// How many images there are.
    pub count: usize,
    /// Height of each in pixels.
    pub height: usize,
    /// Width of each in pixels.
    pub width: usize,
}

/// Reads the images of an idx file, gzipped or not, from its bytes.
///
/// Refuses anything but unsigned bytes along three axes, and bytes missing or left over.
pub fn parse_images(bytes: &[u8]) -> Result<IdxImages, DataError> {
    images(bytes, "idx images")
}

/// Reads the labels of an idx file, gzipped or not, from its bytes.
///
/// Refuses anything but unsigned bytes along one axis, and bytes missing or left over.
pub fn parse_labels(bytes: &[u8]) -> Result<Vec<usize>, DataError> {
    labels(bytes, "idx labels")
}

pub(crate) fn is_there(dir: &Path) -> bool {
    [Split::Train, Split::Test].into_iter().any(|split| find(dir, split, "images", 3).is_some())
}

/// Opens a split. Images that aren't compressed and take more than `limit` bytes stay on disk.
pub(crate) fn open(dir: &Path, split: Split, geometry: Geometry, limit: u64) -> Result<Dataset, DataError> {
    let (images_path, labels_path) = (require(dir, split, "images", 3)?, require(dir, split, "labels", 1)?);
    let labels_name = labels_path.display().to_string();
    let (shape, pixels) = match raw(&images_path, limit)? {
        Some(raw) => {
            let files = Files::new(Source::Raw(raw), geometry)?;
            (files.shape(), Pixels::Files(files))
        }
        None => {
            let images = images(&read(&images_path)?, &images_path.display().to_string())?;
            ([1, images.height, images.width], Pixels::Bytes(images.pixels))
        }
    };
    let labels = labels(&read(&labels_path)?, &labels_name)?;
    let classes = match (split, find(dir, Split::Train, "labels", 1)) {
        (Split::Test, Some(path)) => class_count(&self::labels(&read(&path)?, &path.display().to_string())?),
        _ => class_count(&labels),
    };
    Dataset::new(labels_name, pixels, shape, labels, class_numbers(classes))
}

/// Where the images lie, if they can be read from the file one by one and it has more than `limit` bytes.
fn raw(path: &Path, limit: u64) -> Result<Option<Raw>, DataError> {
    let fault = |source| DataError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(fault)?;
    let length = file.metadata().map_err(fault)?.len();
    let mut start = Vec::new();
    file.by_ref().take(16).read_to_end(&mut start).map_err(fault)?;
    if length <= limit || start.len() < 16 || start[..4] != [0, 0, 8, 3] {
        return Ok(None);
    }
    let size = |axis: usize| start[4 * axis..][..4].iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
    let [count, height, width] = [size(1), size(2), size(3)];
    let image = (height as u64).saturating_mul(width as u64);
    // What does not fit is refused by those who read all of it.
    if image == 0 || count == 0 || image.checked_mul(count as u64) != Some(length - 16) {
        return Ok(None);
    }
    let (name, file) = (path.to_owned(), Mutex::new(file));
    Ok(Some(Raw { name, file, start: 16, count, shape: [1, height, width], interleaved: false }))
}

fn class_count(labels: &[usize]) -> usize {
    labels.iter().max().map_or(0, |largest| largest + 1)
}

fn names(split: Split, what: &str, axes: usize) -> [String; 4] {
    let prefix = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let name = |mark: &str, gz: &str| format!("{prefix}-{what}{mark}idx{axes}-ubyte{gz}");
    [name("-", ""), name("-", ".gz"), name(".", ""), name(".", ".gz")]
}

fn find(dir: &Path, split: Split, what: &str, axes: usize) -> Option<PathBuf> {
    names(split, what, axes).iter().map(|name| dir.join(name)).find(|path| path.is_file())
}

fn require(dir: &Path, split: Split, what: &str, axes: usize) -> Result<PathBuf, DataError> {
    find(dir, split, what, axes).ok_or_else(|| {
        let looked_for = names(split, what, axes).join(", ");
        DataError::NoSplit { path: dir.to_owned(), split, looked_for }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })
}

fn images(bytes: &[u8], file: &str) -> Result<IdxImages, DataError> {
    let ([count, height, width], pixels) = elements(bytes, file)?;
    Ok(IdxImages { pixels, count, height, width })
}

fn labels(bytes: &[u8], file: &str) -> Result<Vec<usize>, DataError> {
    let ([_], labels) = elements(bytes, file)?;
    Ok(labels.into_iter().map(usize::from).collect())
}

fn elements<const AXES: usize>(bytes: &[u8], file: &str) -> Result<([usize; AXES], Vec<u8>), DataError> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        elements_from(MultiGzDecoder::new(bytes), file)
    } else {
        elements_from(bytes, file)
    }
}

fn elements_from<const AXES: usize>(mut reader: impl Read, file: &str) -> Result<([usize; AXES], Vec<u8>), DataError> {
    let length = |found: usize, expected: u64| DataError::Length {
        file: file.to_owned(),
        found: found as u64,
        expected: expected.to_string(),
    };
    let refuse = |field, found, expected| Err(DataError::Header { file: file.to_owned(), field, found, expected });
    let hex = |bytes: &[u8]| bytes.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02x}"));

    let header_length = 4 + 4 * AXES;
    let header = take(&mut reader, header_length as u64, file)?;
    let (magic, sizes) = header.split_at(header.len().min(4));
    let expected = [0, 0, 8, AXES as u8];
    if magic != expected {
        return refuse("magic number", hex(magic), format!("{} (unsigned bytes along {AXES} axes)", hex(&expected)));
    }
    if header.len() < header_length {
        return Err(length(header.len(), header_length as u64));
    }
    let mut shape = [0; AXES];
    for (size, bytes) in shape.iter_mut().zip(sizes.chunks_exact(4)) {
        *size = bytes.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
    }
    let total = shape.iter().try_fold(1_u64, |total, size| total.checked_mul(*size as u64));
    let Some(total) = total.filter(|total| *total < u64::MAX) else {
        return refuse("shape", format!("{shape:?}"), "a size that can be addressed".to_owned());
    };
    // What is allocated grows with what is there, not with what the header says.
    let elements = take(&mut reader, total + 1, file)?;
    if elements.len() as u64 != total {
        return Err(length(elements.len(), total));
    }
    Ok((shape, elements))
}

fn take(reader: &mut impl Read, limit: u64, file: &str) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    match reader.by_ref().take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(source) => Err(DataError::Unpack { file: file.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions};

    fn images_file(count: u32, height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
        let sizes = [count, height, width].map(u32::to_be_bytes).concat();
        [&[0, 0, 8, 3], &sizes[..], pixels].concat()
    }

    fn labels_file(labels: &[u8]) -> Vec<u8> {
        [&[0, 0, 8, 1], &(labels.len() as u32).to_be_bytes()[..], labels].concat()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn open(dir: &Path, split: Split) -> Result<Dataset, DataError> {
        crate::open(&DataSpec::Idx(dir.to_owned()), split, &OpenOptions::default())
    }

    #[test]
    fn images_and_labels_are_read_plain_and_gzipped() {
        let (images, labels) = (images_file(2, 1, 3, &[1, 2, 3, 4, 5, 6]), labels_file(&[7, 0]));
        let expected = IdxImages { pixels: vec![1, 2, 3, 4, 5, 6], count: 2, height: 1, width: 3 };
        assert_eq!(parse_images(&images).unwrap(), expected);
        assert_eq!(parse_images(&gz(&images)).unwrap(), expected);
        assert_eq!(parse_labels(&labels).unwrap(), [7, 0]);
        assert_eq!(parse_labels(&gz(&labels)).unwrap(), [7, 0]);
    }

    #[test]
    fn missing_and_left_over_bytes_are_refused() {
        let whole = images_file(2, 1, 3, &[0; 6]);
        for (bytes, expected) in [
            (&whole[..whole.len() - 1], "`idx images` holds 5 bytes of data, expected 6"),
            (&[&whole[..], &[0]].concat(), "`idx images` holds 7 bytes of data, expected 6"),
            (&whole[..10], "`idx images` holds 10 bytes of data, expected 16"),
        ] {
            assert_eq!(parse_images(bytes).unwrap_err().to_string(), expected);
            assert_eq!(parse_images(&gz(bytes)).unwrap_err().to_string(), expected);
        }
        let packed = gz(&whole);
        let error = parse_images(&packed[..packed.len() - 9]).unwrap_err();
        assert_eq!(error.to_string(), "cannot unpack `idx images`");
    }

    #[test]
    fn huge_declared_sizes_are_refused_without_allocating_them() {
        let error = parse_images(&images_file(u32::MAX, 65_536, 1, &[0; 6])).unwrap_err();
        assert_eq!(error.to_string(), format!("`idx images` holds 6 bytes of data, expected {}", 0xffff_ffff_0000_u64));
        let error = parse_images(&images_file(u32::MAX, u32::MAX, u32::MAX, &[])).unwrap_err();
        assert!(matches!(error, DataError::Header { field: "shape", .. }));
    }

    #[test]
    fn another_magic_number_is_named() {
        let expected = "expected 0x00000803 (unsigned bytes along 3 axes)";
        for (bytes, found) in [
            (&labels_file(&[1])[..], "0x00000801"),
            (&[0, 0, 0xd, 3, 0, 0, 0, 0], "0x00000d03"),
            (b"not idx", "0x6e6f7420"),
            (&[0, 0], "0x0000"),
        ] {
            let error = parse_images(bytes).unwrap_err().to_string();
            assert_eq!(error, format!("`idx images`: magic number is {found}, {expected}"));
        }
    }

    #[test]
    fn a_folder_opens_in_either_spelling_and_gives_its_images() {
        for (images, labels, packed) in [
            ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", false),
            ("train-images.idx3-ubyte.gz", "train-labels.idx1-ubyte.gz", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let pack = |bytes: Vec<u8>| if packed { gz(&bytes) } else { bytes };
            std::fs::write(dir.path().join(images), pack(images_file(2, 2, 1, &[0, 51, 255, 102]))).unwrap();
            std::fs::write(dir.path().join(labels), pack(labels_file(&[2, 0]))).unwrap();
            let data = open(dir.path(), Split::Train).unwrap();
            assert_eq!(data.image_shape(), [1, 2, 1]);
            assert_eq!(data.classes(), ["0", "1", "2"]);
            assert_eq!(data.labels().collect::<Vec<_>>(), [2, 0]);
            let batch = data.batches(&BatchOptions::default()).unwrap().next().unwrap().unwrap();
            assert_eq!(batch.images, [0.0, 0.2, 1.0, 0.4]);
            let error = data.require_every_class().unwrap_err();
            assert_eq!(error.to_string(), "1 of 3 classes have no image: 1");
        }
    }

    #[test]
    fn large_files_are_read_from_disk_image_by_image() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", images_file(3, 1, 2, &[1, 2, 3, 4, 5, 6]));
        write("train-labels-idx1-ubyte", labels_file(&[2, 0, 1]));
        let geometry = Geometry { resize: crate::Resize::Stretch([1, 1]), ..Geometry::default() };
        for (geometry, expected) in [(Geometry::default(), &[5, 6, 1, 2][..]), (geometry, &[6, 2])] {
            let data = super::open(dir.path(), Split::Train, geometry, 20).unwrap();
            assert!(matches!(data.pixels(), Pixels::Files(_)));
            let options = BatchOptions {
                preprocess: crate::Preprocess { scale: 1.0, ..Default::default() },
                ..BatchOptions::default()
            };
            let batch = data.subset(&[2, 0]).unwrap().batches(&options).unwrap().next().unwrap().unwrap();
            assert_eq!(batch.images, expected.iter().map(|&pixel| f32::from(pixel as u8)).collect::<Vec<_>>());
            assert_eq!(batch.labels, [1, 2]);
        }
    }

    #[test]
    fn classes_are_those_of_the_train_split() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("train-labels-idx1-ubyte", labels_file(&[0, 1, 2, 3]));
        write("t10k-images-idx3-ubyte", images_file(1, 1, 1, &[9]));
        write("t10k-labels-idx1-ubyte", labels_file(&[1]));
        assert_eq!(open(dir.path(), Split::Test).unwrap().classes().len(), 4);
        write("t10k-labels-idx1-ubyte", labels_file(&[4]));
        let error = open(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("t10k-labels-idx1-ubyte`: label 4 of image 0 is not in 0..4"), "{error}");
        write("t10k-labels-idx1-ubyte", labels_file(&[1, 1]));
        let error = open(dir.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("t10k-labels-idx1-ubyte`: 1 images, but 2 labels"), "{error}");
    }

    #[test]
    fn a_missing_split_says_which_files_were_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(dir.path(), Split::Test).unwrap_err().to_string();
        let names =
            "t10k-images-idx3-ubyte, t10k-images-idx3-ubyte.gz, t10k-images.idx3-ubyte, t10k-images.idx3-ubyte.gz";
        assert_eq!(error, format!("`{}` has no test split: looked for {names}", dir.path().display()));
    }

    #[test]
    fn no_images_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("train-images-idx3-ubyte"), images_file(0, 28, 28, &[])).unwrap();
        std::fs::write(dir.path().join("train-labels-idx1-ubyte"), labels_file(&[])).unwrap();
        assert!(matches!(open(dir.path(), Split::Train), Err(DataError::Empty { .. })));
    }
}

//! A folder of JPEG or PNG files for each class.

use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Pixels};
use crate::error::DataError;
use crate::files::{Files, Source};
use crate::geometry::Geometry;
use crate::open::Split;

/// Of the image files that are read.
pub(crate) const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
const SPLIT_FOLDERS: [&str; 3] = ["train", "test", "val"];

/// How deep below a class's folder images are looked for.
const DEPTH: usize = 4;

/// Whether the folder holds images, or folders of images.
pub(crate) fn is_there(dir: &Path) -> bool {
    let classes = |dir: &Path| folders(dir).unwrap_or_default();
    let split_into = SPLIT_FOLDERS.iter().any(|split| !classes(&dir.join(split)).is_empty());
    let has_image = |class: &PathBuf| {
        fs::read_dir(class)
            .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_image(&entry.path()))))
    };
    split_into || classes(dir).iter().any(has_image)
}

pub(crate) fn open(dir: &Path, split: Split, geometry: Geometry) -> Result<Dataset, DataError> {
    let images = find_split(dir, split)?;
    let found = class_folders(&images)?;
    let train = find_split(dir, Split::Train).ok();
    let classes: Vec<String> = match train.filter(|train| *train != images) {
        None => found.iter().map(|(class, _)| class.clone()).collect(),
        Some(train) => {
            let classes: Vec<String> = class_folders(&train)?.into_iter().map(|(class, _)| class).collect();
            if let Some((class, _)) = found.iter().find(|(class, _)| !classes.contains(class)) {
                let (class, known) = (class.clone(), classes.len());
                return Err(DataError::UnknownClass { class, path: images, known, train });
            }
            classes
        }
    };
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    for (class, folder) in found {
        let before = files.len();
        collect_images(&folder, DEPTH, &mut files)?;
        if files.len() == before {
            return Err(DataError::Empty { file: folder.display().to_string() });
        }
        let label = classes.iter().position(|known| *known == class).unwrap_or_default();
        labels.resize(files.len(), label);
    }
    let file = images.display().to_string();
    if files.is_empty() {
        return Err(DataError::Empty { file });
    }
    let files = Files::new(Source::Paths(files), geometry)?;
    let shape = files.shape();
    Dataset::new(file, Pixels::Files(files), shape, labels, classes)
}

fn find_split(dir: &Path, split: Split) -> Result<PathBuf, DataError> {
    let names: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["test", "val"],
    };
    let divided = SPLIT_FOLDERS.iter().any(|name| dir.join(name).is_dir());
    match names.iter().map(|name| dir.join(name)).find(|path| path.is_dir()) {
        Some(path) => Ok(path),
        None if split == Split::Train && !divided => Ok(dir.to_owned()),
        None => {
            let looked_for = names.iter().map(|name| format!("{name}/")).collect::<Vec<_>>().join(", ");
            Err(DataError::NoSplit { path: dir.to_owned(), split, looked_for })
        }
    }
}

/// The classes of a split and their folders, by name.
fn class_folders(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let named = |path: PathBuf| match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((name.to_owned(), path)),
        None => Err(DataError::NotUnicode { path }),
    };
    folders(dir)?.into_iter().map(named).collect()
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(dir)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What lies in a folder and isn't hidden, by name.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let fault = |source| DataError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn collect_images(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in entries(dir)? {
        if is_image(&path) {
            files.push(path);
        } else if depth > 0 && path.is_dir() {
            collect_images(&path, depth - 1, files)?;
        }
    }
    Ok(())
}

/// Whether a file's name is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
    use tempfile::TempDir;

    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions, Preprocess, Resize};

    fn write(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn png(height: u32, width: u32, pixel: [u8; 3]) -> Vec<u8> {
        encode(RgbImage::from_pixel(width, height, Rgb(pixel)), ImageFormat::Png)
    }

    fn jpeg(height: u32, width: u32, pixel: [u8; 3]) -> Vec<u8> {
        encode(RgbImage::from_pixel(width, height, Rgb(pixel)), ImageFormat::Jpeg)
    }

    fn open(dir: &TempDir, split: Split, resize: Option<[u32; 2]>) -> Result<Dataset, DataError> {
        let geometry = Geometry { resize: resize.map_or(Resize::Keep, Resize::Stretch), ..Geometry::default() };
        crate::open(&DataSpec::ImageFolder(dir.path().to_owned()), split, &OpenOptions { geometry })
    }

    fn pixels(data: &Dataset) -> Result<Vec<f32>, DataError> {
        let preprocess = Preprocess { scale: 1.0, ..Preprocess::default() };
        let options = BatchOptions { batch_size: 1000, preprocess, ..BatchOptions::default() };
        data.batches(&options)?.next().unwrap().map(|batch| batch.images)
    }

    #[test]
    fn images_come_by_class_and_name_in_chw_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut two = RgbImage::from_pixel(2, 1, Rgb([1, 2, 3]));
        two.put_pixel(1, 0, Rgb([4, 5, 6]));
        write(&dir, "train/dog/b.png", &png(1, 2, [30, 31, 32]));
        write(&dir, "train/dog/a/deep.PNG", &png(1, 2, [20, 21, 22]));
        write(&dir, "train/cat/1.png", &encode(two, ImageFormat::Png));
        write(&dir, "train/cat/readme.txt", b"not an image");
        write(&dir, "train/.hidden/1.png", b"not read");
        write(&dir, "val/dog/1.png", &png(1, 2, [9, 9, 9]));
        let train = open(&dir, Split::Train, None).unwrap();
        assert_eq!(train.classes(), ["cat", "dog"]);
        assert_eq!(train.labels().collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(train.image_shape(), [3, 1, 2]);
        let expected = [1, 4, 2, 5, 3, 6, 20, 20, 21, 21, 22, 22, 30, 30, 31, 31, 32, 32].map(|value| value as f32);
        assert_eq!(pixels(&train).unwrap(), expected);
        let test = open(&dir, Split::Test, None).unwrap();
        assert_eq!((test.label(0), test.classes().len()), (1, 2));
        assert_eq!(pixels(&test.subset(&[0]).unwrap()).unwrap(), [9.0; 6]);
    }

    #[test]
    fn a_test_folder_goes_before_a_val_folder() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, value) in [("train", 1), ("val", 2), ("test", 3)] {
            write(&dir, &format!("{folder}/cat/1.png"), &png(1, 1, [value; 3]));
        }
        assert_eq!(pixels(&open(&dir, Split::Test, None).unwrap()).unwrap(), [3.0; 3]);
    }

    #[test]
    fn an_undivided_folder_is_a_train_split() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "cat/1.png", &png(1, 1, [0; 3]));
        assert_eq!(open(&dir, Split::Train, None).unwrap().classes(), ["cat"]);
        let error = open(&dir, Split::Test, None).unwrap_err().to_string();
        assert_eq!(error, format!("`{}` has no test split: looked for test/, val/", dir.path().display()));
    }

    #[test]
    fn a_folder_with_only_a_test_split_has_no_train_split() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "val/cat/1.png", &png(1, 1, [0; 3]));
        let error = open(&dir, Split::Train, None).unwrap_err().to_string();
        assert_eq!(error, format!("`{}` has no train split: looked for train/", dir.path().display()));
        assert_eq!(open(&dir, Split::Test, None).unwrap().classes(), ["cat"]);
    }

    #[test]
    fn jpeg_files_are_decoded() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "gray/1.jpeg", &jpeg(8, 16, [120, 120, 120]));
        let data = open(&dir, Split::Train, None).unwrap();
        assert_eq!(data.image_shape(), [3, 8, 16]);
        assert!(pixels(&data).unwrap().iter().all(|value| (value - 120.0).abs() <= 2.0));
    }

    #[test]
    fn a_folder_of_gray_images_has_one_channel_and_a_mixed_one_three() {
        let dir = tempfile::tempdir().unwrap();
        let gray = encode(GrayImage::from_pixel(1, 1, Luma([7])), ImageFormat::Png);
        write(&dir, "a/1.png", &gray);
        let data = open(&dir, Split::Train, None).unwrap();
        assert_eq!((data.image_shape(), pixels(&data).unwrap()), ([1, 1, 1], vec![7.0]));
        write(&dir, "a/2.png", &png(1, 1, [1, 2, 3]));
        let data = open(&dir, Split::Train, None).unwrap();
        assert_eq!(pixels(&data).unwrap(), [7.0, 7.0, 7.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn colour_that_the_sample_missed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let gray = encode(GrayImage::from_pixel(1, 1, Luma([7])), ImageFormat::Png);
        for index in 0..300 {
            write(&dir, &format!("a/{index:03}.png"), &gray);
        }
        write(&dir, "a/001.png", &png(1, 1, [1, 2, 3]));
        let error = pixels(&open(&dir, Split::Train, None).unwrap()).unwrap_err().to_string();
        assert!(error.contains("001.png` has colour"), "{error}");
        assert!(error.contains("000.png` and the other images looked at are gray"), "{error}");
    }

    #[test]
    fn different_sizes_are_refused_with_both_files_or_resized() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(&dir, "a/1.png", &png(2, 4, [10, 20, 30]));
        let other = write(&dir, "a/2.png", &png(3, 5, [40, 50, 60]));
        let error = open(&dir, Split::Train, None).unwrap_err().to_string();
        let expected = format!(
            "images differ in size: `{}` is 2 x 4 pixels (height x width), `{}` is 3 x 5; give a size to resize to",
            first.display(),
            other.display()
        );
        assert_eq!(error, expected);
        let data = open(&dir, Split::Train, Some([1, 2])).unwrap();
        assert_eq!(data.image_shape(), [3, 1, 2]);
        let expected = [10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 60, 60].map(|value| value as f32);
        assert_eq!(pixels(&data).unwrap(), expected);
    }

    #[test]
    fn a_size_that_the_sample_missed_ends_the_batches() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..300 {
            write(&dir, &format!("a/{index:03}.png"), &png(1, 1 + u32::from(index == 101), [0; 3]));
        }
        let data = open(&dir, Split::Train, None).unwrap();
        let options = BatchOptions { batch_size: 100, ..BatchOptions::default() };
        let results: Vec<_> = data.batches(&options).unwrap().collect();
        assert_eq!(results.len(), 2);
        assert!(results[0].is_ok());
        assert!(matches!(&results[1], Err(DataError::Sizes { other, .. }) if other.ends_with("a/101.png")));
    }

    #[test]
    fn truncated_and_broken_images_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let noise = |seed: u32| {
            RgbImage::from_fn(32, 32, |x, y| {
                let value = (x * 7919 + y * 104_729 + seed).wrapping_mul(2_654_435_761) >> 24;
                Rgb([value as u8; 3])
            })
        };
        write(&dir, "a/1.png", &encode(noise(0), ImageFormat::Png));
        let (jpeg, png) = (encode(noise(1), ImageFormat::Jpeg), encode(noise(2), ImageFormat::Png));
        let (half, whole) = (jpeg.len() / 2 + 200, jpeg.len());
        write(&dir, "a/2.jpg", &jpeg[..half]);
        let error = open(&dir, Split::Train, None).and_then(|data| pixels(&data)).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("2.jpg` is truncated: no end-of-image marker after its {half} bytes")),
            "{error}"
        );
        write(&dir, "a/2.jpg", &[&jpeg[..], b"trailing"].concat());
        assert!(open(&dir, Split::Train, None).and_then(|data| pixels(&data)).is_ok());
        write(&dir, "a/2.jpg", &jpeg[..whole - 2]);
        assert!(matches!(
            open(&dir, Split::Train, None).and_then(|data| pixels(&data)),
            Err(DataError::Truncated { .. })
        ));
        write(&dir, "a/2.jpg", &png[..png.len() / 2]);
        assert!(matches!(open(&dir, Split::Train, None).and_then(|data| pixels(&data)), Err(DataError::Decode { .. })));
        for broken in [&b""[..], b"GIF89a", b"hello"] {
            write(&dir, "a/2.jpg", broken);
            assert!(
                matches!(open(&dir, Split::Train, None), Err(DataError::Decode { path, .. }) if path.ends_with("a/2.jpg"))
            );
        }
    }

    #[test]
    fn an_image_that_declares_too_many_pixels_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = png(1, 1, [0; 3]);
        bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let checksum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&checksum);
        let path = write(&dir, "a/1.png", &bytes);
        let error = open(&dir, Split::Train, None).unwrap_err().to_string();
        let expected = format!("`{}` declares 65535 x 65535 pixels, more than 67108864 pixels in all", path.display());
        assert_eq!(error, expected);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    #[test]
    fn empty_folders_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(&dir, Split::Train, None).unwrap_err().to_string();
        assert_eq!(error, format!("`{}` holds no images", dir.path().display()));
        write(&dir, "cat/1.png", &png(1, 1, [0; 3]));
        let empty = dir.path().join("dog");
        fs::create_dir(&empty).unwrap();
        let error = open(&dir, Split::Train, None).unwrap_err().to_string();
        assert_eq!(error, format!("`{}` holds no images", empty.display()));
        let missing =
            crate::open(&DataSpec::ImageFolder(dir.path().join("none")), Split::Train, &OpenOptions::default());
        assert!(matches!(missing, Err(DataError::Read { path, .. }) if path.ends_with("none")));
    }

    #[test]
    fn a_test_class_that_train_has_not_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "train/cat/1.png", &png(1, 1, [0; 3]));
        write(&dir, "test/dog/1.png", &png(1, 1, [0; 3]));
        let error = open(&dir, Split::Test, None).unwrap_err().to_string();
        let (test, train) = (dir.path().join("test"), dir.path().join("train"));
        let expected =
            format!("class `dog` of `{}` is not among the 1 classes of `{}`", test.display(), train.display());
        assert_eq!(error, expected);
    }

    #[test]
    fn batches_of_files_are_the_same_each_time_and_hold_every_file() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..20 {
            write(&dir, &format!("a/{index:02}.png"), &png(1, 1, [index; 3]));
        }
        let data = open(&dir, Split::Train, None).unwrap();
        let options = BatchOptions { batch_size: 7, shuffle: true, ..BatchOptions::default() };
        let expected: Vec<_> = data.batches(&options).unwrap().map(Result::unwrap).collect();
        let again: Vec<_> = data.batches(&options).unwrap().map(Result::unwrap).collect();
        assert_eq!(expected, again);
        let mut values: Vec<u8> = expected
            .iter()
            .flat_map(|batch| batch.images.chunks_exact(3))
            .map(|p| (p[0] * 255.0).round() as u8)
            .collect();
        values.sort_unstable();
        assert_eq!(values, (0..20).collect::<Vec<u8>>());
    }
}

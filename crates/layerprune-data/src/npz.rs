//! NumPy archives, such as Keras' data sets and MedMNIST.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Mutex;

use npyz::npz::NpzArchive;

use crate::dataset::{Dataset, Pixels, TargetKind, TargetRows, class_numbers};
use crate::error::DataError;
use crate::files::{Files, Raw, Source};
use crate::geometry::Geometry;
use crate::labels::{self, Column, MAX_CLASSES, Train};
use crate::open::Split;

/// Names of the arrays with images and labels, for the train and the test split.
const NAMES: [[Option<[&str; 2]>; 2]; 3] = [
    [Some(["x_train", "y_train"]), Some(["x_test", "y_test"])],
    [Some(["train_images", "train_labels"]), Some(["test_images", "test_labels"])],
    [Some(["x", "y"]), None],
];

/// Longest header of an array, in bytes; NumPy's own are below 200.
const MAX_HEADER: u64 = 1 << 16;

type Archive = NpzArchive<BufReader<File>>;

/// Opens a split. Images that are stored as plain bytes, image after image and not compressed, and take more than `limit`
/// bytes, stay on disk.
pub(crate) fn open(path: &Path, split: Split, geometry: Geometry, limit: u64) -> Result<Dataset, DataError> {
    let fault = |source| DataError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fault)?;
    let mut archive = NpzArchive::new(BufReader::new(file)).map_err(fault)?;
    let mut found: Vec<String> = archive.array_names().map(|name| format!("`{name}`")).collect();
    found.sort();
    let has = |name: &str| found.contains(&format!("`{name}`"));

    let splits = NAMES.iter().map(|[train, test]| match split {
        Split::Train => (*train, None),
        Split::Test => (*test, *train),
    });
    let named = splits.clone().filter_map(|(names, train)| Some((names?, train)));
    let Some(([images_name, labels_name], train)) = named.clone().find(|([images, _], _)| has(images)) else {
        let wanted: Vec<String> = named.map(|([images, _], _)| format!("`{images}`")).collect();
        let looked_for = format!("an array {}; found {}", wanted.join(" or "), list(&found));
        return Err(DataError::NoSplit { path: path.to_owned(), split, looked_for });
    };
    if !has(labels_name) {
        return Err(DataError::NoArray { path: path.to_owned(), array: labels_name.to_owned(), found: list(&found) });
    }
    let (shape, pixels) = match raw(&mut archive, path, images_name, limit)? {
        Some(raw) => {
            let files = Files::new(Source::Raw(raw), geometry)?;
            (files.shape(), Pixels::Files(files))
        }
        None => Array::read(&mut archive, path, images_name)?.into_images()?,
    };
    let array = Array::read(&mut archive, path, labels_name)?;
    let labels_file = array.file.clone();
    let train = match train.filter(|[_, labels]| has(labels)) {
        Some([_, labels]) => Some(Array::read(&mut archive, path, labels)?),
        None => None,
    };
    let of_train = train.as_ref().map(Array::rows).transpose()?.flatten();
    let rows = array.rows()?;
    if rows.is_some() || of_train.is_some() {
        let train = match train {
            Some(array) => Some(Train { file: array.file.clone(), column: array.column(of_train)? }),
            None => None,
        };
        let annotation =
            array.column(rows)?.annotate(train, None, |image| format!("`{labels_file}`, image {image}"))?;
        return Dataset::annotated(labels_file, pixels, shape, annotation);
    }
    let of_train = train.map(|array| array.into_labels(MAX_CLASSES)).transpose()?.map(|labels| class_count(&labels));
    let labels = array.into_labels(of_train.unwrap_or(MAX_CLASSES))?;
    let classes = of_train.unwrap_or_else(|| class_count(&labels));
    Dataset::new(labels_file, pixels, shape, labels, class_numbers(classes))
}

/// Where the images of an array lie, if they can be read from the archive one by one and are more than `limit` bytes.
fn raw(archive: &mut Archive, path: &Path, name: &str, limit: u64) -> Result<Option<Raw>, DataError> {
    let file = format!("{}: {name}", path.display());
    let fault = |source| DataError::Unpack { file: file.clone(), source };
    let zip = archive.zip_archive();
    let mut entry = zip.by_name(&format!("{name}.npy")).map_err(|error| fault(io::Error::from(error)))?;
    let (start, size) = (entry.data_start(), entry.size());
    if entry.size() != entry.compressed_size() || size <= limit {
        return Ok(None);
    }
    let header = read_header(&mut entry).map_err(fault)?;
    let (dtype, shape, fortran) = parse_header(&header, &file)?;
    // Array::read says what is wrong with what isn't taken here.
    let Some((shape @ [count, channels, height, width], interleaved)) = axes(&shape) else { return Ok(None) };
    let total = shape.iter().try_fold(1_u64, |total, &size| total.checked_mul(size as u64));
    if fortran || dtype.kind != 'u' || dtype.size != 1 || total.is_none_or(|total| total == 0 || total > size) {
        return Ok(None);
    }
    let after = size - total.unwrap_or_default();
    let opened = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    Ok(Some(Raw {
        name: file.into(),
        file: Mutex::new(opened),
        start: start + after,
        count,
        shape: [channels, height, width],
        interleaved,
    }))
}

/// Images, channels, height and width, and whether channels are the last axis; none where it can't be told.
fn axes(shape: &[usize]) -> Option<([usize; 4], bool)> {
    let is_channels = |size: usize| size == 1 || size == 3;
    match *shape {
        [images, height, width] => Some(([images, 1, height, width], false)),
        [images, first, height, width] if is_channels(first) && !is_channels(width) => {
            Some(([images, first, height, width], false))
        }
        [images, height, width, last] if is_channels(last) && !is_channels(height) => {
            Some(([images, last, height, width], true))
        }
        _ => None,
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn class_count(labels: &[usize]) -> usize {
    labels.iter().max().map_or(0, |largest| largest + 1)
}

/// An array as its file holds it.
struct Array {
    /// The archive and the array's name.
    file: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// How many elements lie between neighbours along each axis.
    strides: Vec<usize>,
    data: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Dtype {
    /// NumPy's letter: `u`, `i`, `f`, …
    kind: char,
    /// Bytes in an element.
    size: usize,
    big_endian: bool,
}

impl Array {
    /// Reads an array; what is allocated grows with what is there, not with what a header says.
    fn read(archive: &mut Archive, path: &Path, name: &str) -> Result<Array, DataError> {
        let file = format!("{}: {name}", path.display());
        let mut fault = |source| DataError::Unpack { file: file.clone(), source };
        let mut entry =
            archive.zip_archive().by_name(&format!("{name}.npy")).map_err(|error| fault(io::Error::from(error)))?;
        let header = read_header(&mut entry).map_err(&mut fault)?;
        let (dtype, shape, fortran) = parse_header(&header, &file)?;

        let mut strides = vec![0; shape.len()];
        let mut elements = 1_usize;
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        if !fortran {
            axes.reverse();
        }
        let mut total = Some(dtype.size);
        for axis in axes {
            strides[axis] = elements;
            elements = elements.wrapping_mul(shape[axis]);
            total = total.and_then(|total| total.checked_mul(shape[axis]));
        }
        let Some(total) = total.filter(|total| *total < isize::MAX as usize) else {
            return Err(Array::refuse(&file, "shape", format!("{shape:?}"), "a size that can be addressed"));
        };
        let mut data = Vec::new();
        entry.by_ref().take(total as u64 + 1).read_to_end(&mut data).map_err(&mut fault)?;
        if data.len() != total {
            return Err(DataError::Length { file, found: data.len() as u64, expected: total.to_string() });
        }
        Ok(Array { file, dtype, shape, strides, data })
    }

    fn refuse(file: &str, field: &'static str, found: String, expected: &str) -> DataError {
        DataError::Header { file: file.to_owned(), field, found, expected: expected.to_owned() }
    }

    /// Channels, height and width, and the images in NCHW order.
    fn into_images(self) -> Result<([usize; 3], Pixels), DataError> {
        if self.data.is_empty() {
            return Err(DataError::Empty { file: self.file });
        }
        let is_channels = |size: usize| size == 1 || size == 3;
        let refuse = |expected| Err(Array::refuse(&self.file, "shape", format!("{:?}", self.shape), expected));
        // The axes of images, channels, height and width; there may be none of channels.
        let axes = match self.shape[..] {
            [_, _, _] => [0, 3, 1, 2],
            [_, first, _, last] => match (is_channels(first), is_channels(last)) {
                (true, false) => [0, 1, 2, 3],
                (false, true) => [0, 3, 1, 2],
                (true, true) => return refuse("1 or 3 channels on either axis 1 or axis 3, not possibly on both"),
                (false, false) => return refuse("1 or 3 channels on axis 1 or axis 3"),
            },
            _ => return refuse("images x height x width, with or without channels"),
        };
        let sizes = axes.map(|axis| self.shape.get(axis).copied().unwrap_or(1));
        let strides = axes.map(|axis| self.strides.get(axis).copied().unwrap_or(0));
        let pixels = match (self.dtype.kind, self.dtype.size) {
            ('u', 1) => Pixels::Bytes(gather(&self.data, sizes, strides)),
            ('f', 4 | 8) => {
                let floats: Vec<f32> =
                    self.data.chunks_exact(self.dtype.size).map(|bytes| self.dtype.float(bytes)).collect();
                let floats = gather(&floats, sizes, strides);
                let image = sizes[1] * sizes[2] * sizes[3];
                if let Some(place) = floats.iter().position(|value| !(0.0..=1.0).contains(value)) {
                    return Err(DataError::Pixel { file: self.file, index: place / image, value: floats[place] });
                }
                Pixels::Floats(floats)
            }
            _ => {
                return Err(Array::refuse(
                    &self.file,
                    "element type",
                    self.dtype.to_string(),
                    "uint8, or float32 or float64 from 0 to 1",
                ));
            }
        };
        let [_, channels, height, width] = sizes;
        Ok(([channels, height, width], pixels))
    }

    /// Rows of numbers, where that is what labels are: floats along two axes, or 0 and 1 along two with more than one column.
    fn rows(&self) -> Result<Option<TargetRows>, DataError> {
        let ([count, width], true) = (self.shape.as_slice(), self.dtype.is_number()) else { return Ok(None) };
        let (count, width, is_float) = (*count, *width, self.dtype.kind == 'f');
        if width == 0 || (width == 1 && !is_float) {
            return Ok(None);
        }
        let size = self.dtype.size;
        let element = |place: usize| {
            let bytes = &self.data[place * size..][..size];
            if is_float { self.dtype.float(bytes) } else { self.dtype.integer(bytes) as f32 }
        };
        let [rows, columns] = [self.strides[0], self.strides[1]];
        let places = (0..count).flat_map(|row| (0..width).map(move |column| row * rows + column * columns));
        let values: Vec<f32> = places.map(element).collect();
        for (place, &value) in values.iter().enumerate() {
            labels::finite(value, place / width, |image| format!("`{}`, image {image}", self.file))?;
        }
        let flags = width > 1 && values.iter().all(|value| *value == 0.0 || *value == 1.0);
        if !flags && !is_float {
            return Ok(None);
        }
        let kind = if flags { TargetKind::MultiLabel } else { TargetKind::Regression };
        Ok(Some(TargetRows { kind, values, width }))
    }

    /// Labels beside those of another split, of which one has `rows` of numbers: these, or class numbers.
    fn column(self, rows: Option<TargetRows>) -> Result<Column, DataError> {
        Ok(match rows {
            Some(rows) => Column::Rows(rows, Vec::new()),
            None => Column::Number(self.into_labels(usize::MAX)?.into_iter().map(|label| label as i128).collect()),
        })
    }

    fn into_labels(self, classes: usize) -> Result<Vec<usize>, DataError> {
        if !matches!(self.shape[..], [_] | [_, 1]) {
            return Err(Array::refuse(
                &self.file,
                "shape",
                format!("{:?}", self.shape),
                "one label for each image, N or N x 1, or rows of 0 and 1 or of floats, N x K",
            ));
        }
        if !matches!((self.dtype.kind, self.dtype.size), ('i' | 'u', 1 | 2 | 4 | 8)) {
            return Err(Array::refuse(&self.file, "element type", self.dtype.to_string(), "an integer type"));
        }
        let labels = self.data.chunks_exact(self.dtype.size).map(|bytes| self.dtype.integer(bytes));
        let check = |(index, label): (usize, i128)| match usize::try_from(label) {
            Ok(label) if label < classes => Ok(label),
            _ => Err(DataError::Label { file: self.file.clone(), index, label, classes }),
        };
        labels.enumerate().map(check).collect()
    }
}

/// The elements in the order of `sizes`.
fn gather<T: Copy>(elements: &[T], sizes: [usize; 4], strides: [usize; 4]) -> Vec<T> {
    let mut gathered = Vec::with_capacity(elements.len());
    let places = |axis: usize| (0..sizes[axis]).map(move |place| place * strides[axis]);
    for image in places(0) {
        for channel in places(1) {
            for row in places(2) {
                gathered.extend(places(3).map(|column| elements[image + channel + row + column]));
            }
        }
    }
    gathered
}

impl Dtype {
    /// Whether elements are integers or floats that can be read.
    fn is_number(self) -> bool {
        matches!((self.kind, self.size), ('i' | 'u', 1 | 2 | 4 | 8) | ('f', 4 | 8))
    }

    fn integer(self, bytes: &[u8]) -> i128 {
        let negative = self.kind == 'i' && bytes[if self.big_endian { 0 } else { self.size - 1 }] >= 0x80;
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..self.size].copy_from_slice(bytes);
        if self.big_endian {
            wide[..self.size].reverse();
        }
        i128::from_le_bytes(wide)
    }

    fn float(self, bytes: &[u8]) -> f32 {
        let bits = Dtype { kind: 'u', ..self }.integer(bytes);
        if self.size == 4 { f32::from_bits(bits as u32) } else { f64::from_bits(bits as u64) as f32 }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}{}`", self.kind, self.size)
    }
}

/// The text of an array's header: a Python dictionary.
fn read_header(reader: &mut impl Read) -> io::Result<String> {
    let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    let mut length = [0; 4];
    match start {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => reader.read_exact(&mut length[..2])?,
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => reader.read_exact(&mut length)?,
        _ => return Err(invalid("no npy array of version 1, 2 or 3")),
    }
    let length = u64::from(u32::from_le_bytes(length));
    if length > MAX_HEADER {
        return Err(invalid("the header of the array is longer than 64 KiB"));
    }
    let mut text = vec![0; length as usize];
    reader.read_exact(&mut text)?;
    String::from_utf8(text).map_err(|_| invalid("the header of the array is not text"))
}

/// The element type, the shape, and whether elements lie in Fortran order.
fn parse_header(text: &str, file: &str) -> Result<(Dtype, Vec<usize>, bool), DataError> {
    let refuse = |field, expected| move || Array::refuse(file, field, excerpt(text), expected);
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("'{key}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let dtype =
        value("descr").and_then(parse_dtype).ok_or_else(refuse("header", "a `descr` of a plain element type"))?;
    let fortran = match value("fortran_order") {
        Some(value) if value.starts_with("False") => false,
        Some(value) if value.starts_with("True") => true,
        _ => return Err(refuse("header", "a `fortran_order`")()),
    };
    let shape = value("shape").and_then(parse_shape).ok_or_else(refuse("header", "a `shape`"))?;
    Ok((dtype, shape, fortran))
}

fn parse_dtype(value: &str) -> Option<Dtype> {
    let (descr, _) = value.strip_prefix('\'')?.split_once('\'')?;
    let big_endian = descr.starts_with('>');
    let mut letters = descr.trim_start_matches(['<', '>', '|', '=']).chars();
    let kind = letters.next()?;
    let size = letters.as_str().parse().ok()?;
    Some(Dtype { kind, size, big_endian })
}

fn parse_shape(value: &str) -> Option<Vec<usize>> {
    let (sizes, _) = value.strip_prefix('(')?.split_once(')')?;
    sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok()).collect()
}

fn excerpt(text: &str) -> String {
    format!("{:?}", text.trim_end().chars().take(120).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufWriter, Write};

    use npyz::npz::NpzWriter;
    use npyz::zip::CompressionMethod;
    use npyz::zip::write::FileOptions;
    use npyz::{AutoSerialize, Order, WriterBuilder};
    use tempfile::TempDir;

    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions};

    struct Npz {
        dir: TempDir,
        writer: NpzWriter<BufWriter<File>>,
    }

    impl Npz {
        fn new() -> Npz {
            let dir = tempfile::tempdir().unwrap();
            let writer = NpzWriter::create(dir.path().join("a.npz")).unwrap();
            Npz { dir, writer }
        }

        fn array<T: AutoSerialize + Clone>(mut self, name: &str, shape: &[u64], values: &[T]) -> Npz {
            let builder = self.writer.array(name, Default::default()).unwrap().default_dtype().shape(shape);
            let mut array = builder.begin_nd().unwrap();
            array.extend(values.iter().cloned()).unwrap();
            array.finish().unwrap();
            self
        }

        /// An array with this header and data.
        fn raw(mut self, name: &str, header: &str, data: &[u8]) -> Npz {
            let zip = self.writer.zip_writer();
            zip.start_file(format!("{name}.npy"), Default::default()).unwrap();
            zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
            zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
            zip.write_all(header.as_bytes()).unwrap();
            zip.write_all(data).unwrap();
            self
        }

        fn open(self, split: Split) -> Result<Dataset, DataError> {
            let path = self.dir.path().join("a.npz");
            drop(self.writer);
            crate::open(&DataSpec::Npz(path), split, &OpenOptions::default())
        }

        /// The message, with the file called `a.npz`.
        fn refuse(self, split: Split) -> String {
            let dir = format!("{}/", self.dir.path().display());
            self.open(split).unwrap_err().to_string().replace(&dir, "")
        }
    }

    fn images(data: &Dataset) -> Vec<f32> {
        data.batches(&BatchOptions::default()).unwrap().next().unwrap().unwrap().images
    }

    fn bytes(values: &[u8]) -> Vec<f32> {
        values.iter().map(|value| f32::from(*value) / 255.0).collect()
    }

    #[test]
    fn both_splits_are_read_under_either_names() {
        for [x, y, x_test, y_test] in
            [["x_train", "y_train", "x_test", "y_test"], ["train_images", "train_labels", "test_images", "test_labels"]]
        {
            let npz = || {
                Npz::new()
                    .array::<u8>(x, &[2, 1, 2], &[1, 2, 3, 4])
                    .array::<i64>(y, &[2], &[2, 0])
                    .array::<u8>(x_test, &[1, 1, 2], &[5, 6])
                    .array::<i64>(y_test, &[1], &[1])
            };
            let train = npz().open(Split::Train).unwrap();
            assert_eq!((train.image_shape(), train.classes().len()), ([1, 1, 2], 3));
            assert_eq!(train.labels().collect::<Vec<_>>(), [2, 0]);
            assert_eq!(images(&train), bytes(&[1, 2, 3, 4]));
            let test = npz().open(Split::Test).unwrap();
            assert_eq!((test.label(0), test.classes().len()), (1, 3));
            assert_eq!(images(&test), bytes(&[5, 6]));
        }
    }

    #[test]
    fn the_axis_of_channels_is_found() {
        let values: Vec<u8> = (0..12).collect();
        let open =
            |shape: &[u64]| Npz::new().array("x", shape, &values).array::<u8>("y", &[1], &[0]).open(Split::Train);
        let nhwc = open(&[1, 2, 2, 3]).unwrap();
        assert_eq!(nhwc.image_shape(), [3, 2, 2]);
        assert_eq!(images(&nhwc), bytes(&[0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]));
        let nchw = open(&[1, 3, 2, 2]).unwrap();
        assert_eq!(nchw.image_shape(), [3, 2, 2]);
        assert_eq!(images(&nchw), bytes(&values));
        for (shape, expected) in [
            (&[1, 3, 4, 1][..], "1 or 3 channels on either axis 1 or axis 3, not possibly on both"),
            (&[1, 2, 3, 2], "1 or 3 channels on axis 1 or axis 3"),
            (&[1, 12], "images x height x width, with or without channels"),
        ] {
            let error = open(shape).unwrap_err().to_string();
            assert!(error.ends_with(&format!("a.npz: x`: shape is {shape:?}, expected {expected}")), "{error}");
        }
    }

    #[test]
    fn arrays_in_fortran_order_are_read() {
        let mut npz = Npz::new().array::<u8>("y", &[2], &[0, 1]);
        let builder = npz.writer.array::<u8>("x", Default::default()).unwrap().default_dtype();
        let mut array = builder.shape(&[2, 2, 3]).order(Order::Fortran).begin_nd().unwrap();
        // Element (n, h, w) is 100 n + 10 h + w; the first index runs fastest.
        array.extend([0, 100, 10, 110, 1, 101, 11, 111, 2, 102, 12, 112]).unwrap();
        array.finish().unwrap();
        let data = npz.open(Split::Train).unwrap();
        assert_eq!(images(&data), bytes(&[0, 1, 2, 10, 11, 12, 100, 101, 102, 110, 111, 112]));
    }

    #[test]
    fn floats_are_taken_as_scaled_to_0_to_1() {
        let npz = Npz::new().array::<f32>("x", &[1, 1, 3], &[0.0, 0.1, 1.0]).array::<u8>("y", &[1], &[0]);
        assert_eq!(images(&npz.open(Split::Train).unwrap()), [0.0, 0.1, 1.0]);
        let npz = Npz::new().array::<f64>("x", &[2, 1, 1], &[0.25, 0.5]).array::<u8>("y", &[2], &[0, 0]);
        assert_eq!(images(&npz.open(Split::Train).unwrap()), [0.25, 0.5]);
        for (value, shown) in [(1.5, "1.5"), (-0.5, "-0.5"), (f32::NAN, "NaN")] {
            let npz = Npz::new().array::<f32>("x", &[2, 1, 1], &[0.5, value]).array::<u8>("y", &[2], &[0, 0]);
            let expected = format!("`a.npz: x`: pixel value {shown} of image 1 is not in 0..=1");
            assert_eq!(npz.refuse(Split::Train), expected);
        }
    }

    #[test]
    fn labels_have_any_integer_type_and_may_be_a_column() {
        let npz = || Npz::new().array::<u8>("x", &[2, 1, 1], &[0, 0]);
        let labels = |npz: Npz| npz.open(Split::Train).unwrap().labels().collect::<Vec<_>>();
        assert_eq!(labels(npz().array::<u8>("y", &[2, 1], &[200, 1])), [200, 1]);
        assert_eq!(labels(npz().array::<i8>("y", &[2], &[100, 1])), [100, 1]);
        assert_eq!(labels(npz().array::<u16>("y", &[2], &[40_000, 1])), [40_000, 1]);
        assert_eq!(labels(npz().array::<i32>("y", &[2], &[300, 1])), [300, 1]);
        assert_eq!(labels(npz().array::<u64>("y", &[2], &[300, 1])), [300, 1]);
        let header = "{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(labels(npz().raw("y", header, &[0, 0, 1, 0, 0, 0, 0, 7])), [256, 7]);
    }

    #[test]
    fn labels_that_are_not_one_class_each_are_refused() {
        let npz = || Npz::new().array::<u8>("x", &[2, 1, 1], &[0, 0]);
        for (npz, expected) in [
            (npz().array::<i16>("y", &[2], &[0, -1]), "`a.npz: y`: label -1 of image 1 is not in 0..65536"),
            (
                npz().array::<u64>("y", &[2], &[u64::MAX, 0]),
                "`a.npz: y`: label 18446744073709551615 of image 0 is not in 0..65536",
            ),
            (npz().array::<f32>("y", &[2], &[0.0, 1.0]), "`a.npz: y`: element type is `f4`, expected an integer type"),
            (
                npz().array::<u8>("y", &[2, 2], &[0, 1, 2, 0]),
                "`a.npz: y`: shape is [2, 2], expected one label for each image, N or N x 1, or rows of 0 and 1 or of floats, N x K",
            ),
            (npz().array::<u8>("y", &[3], &[0; 3]), "`a.npz: y`: 2 images, but 3 labels"),
        ] {
            assert_eq!(npz.refuse(Split::Train), expected);
        }
    }

    #[test]
    fn rows_of_flags_are_several_classes_and_rows_of_floats_a_regression() {
        let npz = || Npz::new().array::<u8>("x", &[2, 1, 1], &[0, 0]);
        let data = npz().array::<u8>("y", &[2, 3], &[1, 0, 1, 0, 0, 0]).open(Split::Train).unwrap();
        assert_eq!((data.target_kind(), data.class_counts()), (Some(TargetKind::MultiLabel), vec![1, 0, 1]));
        assert_eq!((data.target(0), data.label(1)), (Some(&[1.0, 0.0, 1.0][..]), 0));
        let data = npz().array::<f64>("y", &[2, 1], &[0.5, -2.0]).open(Split::Train).unwrap();
        assert_eq!((data.target_kind(), data.target_width()), (Some(TargetKind::Regression), Some(1)));
        let batch = data.subset(&[1]).unwrap().batches(&BatchOptions::default()).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.targets, Some(crate::Targets { values: vec![-2.0], width: 1 }));
        let error = npz().array::<f32>("y", &[2, 2], &[0.0, 1.0, f32::NAN, 0.0]).refuse(Split::Train);
        assert_eq!(error, "`a.npz: y`, image 1: label `NaN` is not a finite number (of 32 bits)");
        assert_eq!(
            npz().array::<f32>("y", &[3, 2], &[0.5; 6]).refuse(Split::Train),
            "`a.npz: y`: 2 images, but 3 labels"
        );
    }

    #[test]
    fn the_train_array_says_of_which_kind_labels_are() {
        let npz = || Npz::new().array::<u8>("x_train", &[1, 1, 1], &[0]).array::<u8>("x_test", &[2, 1, 1], &[0, 0]);
        let ages = || npz().array::<f32>("y_train", &[1, 1], &[0.5]);
        let test = ages().array::<u8>("y_test", &[2], &[7, 8]).open(Split::Test).unwrap();
        assert_eq!((test.target_kind(), test.target(1)), (Some(TargetKind::Regression), Some(&[8.0][..])));
        let pairs = npz().array::<f32>("y_train", &[1, 2], &[0.5, 0.5]);
        let test = pairs.array::<f32>("y_test", &[2, 2], &[0.0, 1.0, 1.0, 1.0]).open(Split::Test).unwrap();
        assert_eq!((test.target_kind(), test.classes().len()), (Some(TargetKind::Regression), 0));
        let classes = npz().array::<u8>("y_train", &[1], &[1]).array::<f32>("y_test", &[2, 1], &[0.5, 1.0]);
        let expected = "`a.npz: y_test`, image 0: label `0.5` is not one class, as `a.npz: y_train` has";
        assert_eq!(classes.refuse(Split::Test), expected);
        let narrow = ages().array::<f32>("y_test", &[2, 2], &[0.5; 4]).refuse(Split::Test);
        assert_eq!(narrow, "`a.npz: y_test`, image 0: label `[0.5, 0.5]` is not a number, as `a.npz: y_train` has");
    }

    #[test]
    fn large_arrays_are_read_from_disk_image_by_image() {
        let mut npz = Npz::new();
        let stored = FileOptions::default().compression_method(CompressionMethod::Stored);
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2, 3), }";
        let zip = npz.writer.zip_writer();
        zip.start_file("x.npy", stored).unwrap();
        let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
        zip.write_all(&[start, (0..24).collect()].concat()).unwrap();
        let npz = npz.array::<u8>("y", &[2], &[1, 0]);
        let path = npz.dir.path().join("a.npz");
        drop(npz.writer);
        let open = |limit| super::open(&path, Split::Train, Geometry::default(), limit).unwrap();
        let (held, on_disk) = (open(1 << 20), open(0));
        assert!(matches!((held.pixels(), on_disk.pixels()), (Pixels::Bytes(_), Pixels::Files(_))));
        assert_eq!(images(&held), images(&on_disk));
        assert_eq!(held.image_shape(), on_disk.image_shape());
        // What is read at the time of a batch is what the file holds then.
        let mut bytes = fs::read(&path).unwrap();
        let place = bytes.windows(3).position(|bytes| bytes == [0, 1, 2]).unwrap();
        bytes[place] = 77;
        fs::write(&path, bytes).unwrap();
        assert_eq!((images(&held)[0], images(&on_disk)[0] * 255.0), (0.0, 77.0));
    }

    #[test]
    fn a_test_label_beyond_those_of_train_is_refused() {
        let npz = Npz::new().array::<u8>("y_train", &[2], &[0, 1]).array::<u8>("x_test", &[1, 1, 1], &[0]).array::<u8>(
            "y_test",
            &[1],
            &[2],
        );
        assert_eq!(npz.refuse(Split::Test), "`a.npz: y_test`: label 2 of image 0 is not in 0..2");
    }

    #[test]
    fn missing_arrays_are_named_with_those_that_are_there() {
        let npz = || Npz::new().array::<u8>("x", &[1, 1, 1], &[0]);
        let expected = "`a.npz` has no test split: looked for an array `x_test` or `test_images`; found `x`";
        assert_eq!(npz().refuse(Split::Test), expected);
        assert_eq!(npz().refuse(Split::Train), "`a.npz` has no array `y`; it has `x`");
    }

    #[test]
    fn sizes_and_types_that_do_not_fit_are_refused() {
        let npz = |header: &str, data: &[u8]| Npz::new().raw("x", header, data).array::<u8>("y", &[1], &[0]);
        for (header, expected) in [
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2), }",
                "`a.npz: x` holds 3 bytes of data, expected 4",
            ),
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 2), }",
                "`a.npz: x` holds 3 bytes of data, expected 2",
            ),
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 1000000), }",
                "`a.npz: x` holds 3 bytes of data, expected 1000000000000000000",
            ),
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }",
                "`a.npz: x`: shape is [4294967296, 4294967296, 4294967296], expected a size that can be addressed",
            ),
            (
                "{'descr': '|b1', 'fortran_order': False, 'shape': (1, 1, 3), }",
                "`a.npz: x`: element type is `b1`, expected uint8, or float32 or float64 from 0 to 1",
            ),
            (
                "{'descr': [('a', '|u1')], 'fortran_order': False}",
                "`a.npz: x`: header is \"{'descr': [('a', '|u1')], 'fortran_order': False}\", expected a `descr` of a plain element type",
            ),
            (
                "{'descr': '|u1', 'shape': (3,)}",
                "`a.npz: x`: header is \"{'descr': '|u1', 'shape': (3,)}\", expected a `fortran_order`",
            ),
            (
                "{'descr': '|u1', 'fortran_order': True, 'shape': (-3,)}",
                "`a.npz: x`: header is \"{'descr': '|u1', 'fortran_order': True, 'shape': (-3,)}\", expected a `shape`",
            ),
        ] {
            assert_eq!(npz(header, &[0; 3]).refuse(Split::Train), expected);
        }
        for shape in [&[0, 28, 28][..], &[1 << 40, 0, 28]] {
            let empty = Npz::new().array::<u8>("x", shape, &[]).array::<u8>("y", &[0], &[]);
            assert_eq!(empty.refuse(Split::Train), "`a.npz: x` holds no images");
        }
    }

    #[test]
    fn truncated_and_foreign_files_are_refused_by_name() {
        let npz = Npz::new().array::<u8>("x", &[1, 1, 1], &[0]).array::<u8>("y", &[1], &[0]);
        let path = npz.dir.path().join("a.npz");
        drop(npz.writer);
        let whole = fs::read(&path).unwrap();
        let open = || crate::open(&DataSpec::Npz(path.clone()), Split::Train, &OpenOptions::default());
        assert!(open().is_ok());
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(open(), Err(DataError::Read { path: found, .. }) if found == path), "{length} bytes");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            fs::write(&path, &changed).unwrap();
            assert!(open().is_err() || open().is_ok_and(|data| images(&data) == [0.0]), "byte {place}");
        }
    }

    #[test]
    fn entries_that_are_no_arrays_are_refused_by_name() {
        for content in [&b""[..], b"\x93NUM", b"not an array", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"] {
            let mut npz = Npz::new().array::<u8>("y", &[1], &[0]);
            npz.writer.zip_writer().start_file("x.npy", Default::default()).unwrap();
            npz.writer.zip_writer().write_all(content).unwrap();
            assert_eq!(npz.refuse(Split::Train), "cannot unpack `a.npz: x`");
        }
    }
}

//! Hugging Face data sets: parquet files with a column of encoded images and one of labels.
//!
//! Images are copied to an unnamed temporary file when a set is opened, since a page of a column can only be unpacked as a
//! whole and images are wanted in any order. Memory holds a page at a time, and where each image lies.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use parquet::basic::{ConvertedType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use crate::dataset::{Dataset, Pixels, TargetKind, TargetRows};
use crate::error::DataError;
use crate::files::{Container, Files, Part, Source};
use crate::geometry::Geometry;
use crate::labels::{self, Column, Train};
use crate::open::Split;
use crate::split::Shards;

/// Names of the image column, where several could be it.
const IMAGES: [&str; 4] = ["image", "img", "picture", "photo"];
/// Names of the label column, first found first taken.
const LABELS: [&str; 8] = ["label", "labels", "fine_label", "class", "category", "target", "targets", "y"];
/// Records that are read at a time.
const BATCH: usize = 32;

pub(crate) fn is_there(path: &Path) -> bool {
    let is_parquet = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
    let holds =
        |dir: &Path| crate::imagefolder::entries(dir).is_ok_and(|paths| paths.iter().any(|path| is_parquet(path)));
    (is_parquet(path) && path.is_file()) || holds(path) || holds(&path.join("data"))
}

pub(crate) fn open(path: &Path, split: Split, geometry: Geometry) -> Result<Dataset, DataError> {
    let shards = Shards::find(path, &["parquet"])?;
    let spool = |source| DataError::Read { path: std::env::temp_dir(), source };
    let file = tempfile::tempfile().map_err(spool)?;
    let kept = Arc::new(Mutex::new(file.try_clone().map_err(spool)?));
    let mut copies = Spool { file: BufWriter::new(file), written: 0 };
    let (mut files, mut parts, mut column, mut names) = (Vec::new(), Vec::new(), Column::None, None);
    for path in shards.of(split)? {
        let (table, found) = guarded(&path, || {
            let table = Table::open(&path)?;
            table.copy_images(files.len(), &mut copies, &mut parts)?;
            let labels = table.labels()?;
            Ok((table, labels))
        })?;
        column =
            if files.is_empty() { found } else { column.followed_by(found).ok_or_else(|| table.other_labels())? };
        names = names.or(table.class_names());
        files.push(Container { path, unpacked: Some(Arc::clone(&kept)) });
    }
    copies.file.flush().map_err(spool)?;
    let train = match split {
        Split::Test if names.is_none() => {
            let file = format!("the train split of {}", path.display());
            train_labels(&shards)?.map(|column| Train { column, file })
        }
        _ => None,
    };
    let file = path.display().to_string();
    if parts.is_empty() {
        return Err(DataError::Empty { file });
    }
    let at = |image: usize| {
        let part: &Part = &parts[image];
        format!("`{}`, {}", files[part.file].path.display(), part.name)
    };
    let annotation = column.annotate(train, names, at)?;
    let files = Files::new(Source::Parts { files, parts }, geometry)?;
    let shape = files.shape();
    Dataset::annotated(file, Pixels::Files(files), shape, annotation)
}

/// Makes an error of a panic: the parquet crate panics at some damaged pages. Nothing that was read by then is used. The panic
/// hook still prints its line before the error: it belongs to the process, and a library that swaps it for a moment would
/// silence the panics of other threads too.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
    panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let source = ParquetError::General("the file is damaged".to_owned());
        Err(DataError::Parquet { path: path.to_owned(), source })
    })
}

/// The labels of the train split; none if there is no such split.
fn train_labels(shards: &Shards) -> Result<Option<Column>, DataError> {
    let Ok(paths) = shards.of(Split::Train) else { return Ok(None) };
    let mut column = None;
    for path in paths {
        let (table, found) = guarded(&path, || {
            let table = Table::open(&path)?;
            let labels = table.labels()?;
            Ok((table, labels))
        })?;
        column = Some(match column {
            None => found,
            Some(column) => Column::followed_by(column, found).ok_or_else(|| table.other_labels())?,
        });
    }
    Ok(column)
}

/// The file that images are copied to.
struct Spool {
    file: BufWriter<File>,
    written: u64,
}

/// An open file and which of its columns are used.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    image: usize,
    label: Option<usize>,
    /// What `datasets` says of each column.
    features: Option<Value>,
}

impl Table {
    fn open(path: &Path) -> Result<Table, DataError> {
        let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let reader =
            SerializedFileReader::new(file).map_err(|source| DataError::Parquet { path: path.to_owned(), source })?;
        let metadata = reader.metadata().file_metadata();
        let features = metadata.key_value_metadata().and_then(|pairs| {
            let pair = pairs.iter().find(|pair| pair.key == "huggingface")?;
            let value: Value = serde_json::from_str(pair.value.as_deref()?).ok()?;
            value.pointer("/info/features").cloned()
        });
        let columns = metadata.schema_descr().columns();
        let image = find_image(columns.iter().map(AsRef::as_ref)).ok_or_else(|| DataError::Columns {
            path: path.to_owned(),
            found: format!("columns {}", list(columns.iter().map(|column| column.path().string()))),
            expected: "one of encoded images: `image` with `bytes`, or bytes".to_owned(),
        })?;
        let top = |index: usize| columns[index].path().parts()[0].clone();
        let named = |name: &str| (0..columns.len()).find(|&index| index != image && top(index) == name);
        let is_class = |name: &str| features.as_ref().is_some_and(|features| names_of(features, name).is_some());
        let label = LABELS.iter().find_map(|name| named(name));
        let label = label.or_else(|| (0..columns.len()).find(|&index| is_class(&top(index))));
        Ok(Table { path: path.to_owned(), image, label, features, reader })
    }

    fn fault(&self, source: ParquetError) -> DataError {
        DataError::Parquet { path: self.path.clone(), source }
    }

    fn column(&self, index: usize) -> &ColumnDescriptor {
        self.reader.metadata().file_metadata().schema_descr().columns()[index].as_ref()
    }

    fn other_labels(&self) -> DataError {
        let label = self.label.map_or_else(|| "no label column".to_owned(), |label| self.describe(label));
        DataError::Columns {
            path: self.path.clone(),
            found: label,
            expected: "what the files before it have".to_owned(),
        }
    }

    fn describe(&self, index: usize) -> String {
        let column = self.column(index);
        format!("column `{}` of type {}", column.path().string(), column.physical_type())
    }

    fn class_names(&self) -> Option<Vec<String>> {
        let name = &self.column(self.label?).path().parts()[0];
        names_of(self.features.as_ref()?, name)
    }

    /// Calls `each` with a reader for a column of each row group.
    fn each_group(
        &self,
        column: usize,
        mut each: impl FnMut(ColumnReader) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(|source| self.fault(source))?;
            each(group.get_column_reader(column).map_err(|source| self.fault(source))?)?;
        }
        Ok(())
    }

    /// Calls `each` with the values of each record that aren't null.
    fn each_record<T: DataType>(
        &self,
        mut reader: ColumnReaderImpl<T>,
        column: usize,
        mut each: impl FnMut(Vec<T::T>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let column = self.column(column);
        let (defined, repeated) = (column.max_def_level(), column.max_rep_level() > 0);
        loop {
            let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let (records, _, levels) = reader
                .read_records(BATCH, Some(&mut definitions), Some(&mut repetitions), &mut values)
                .map_err(|source| self.fault(source))?;
            if records == 0 {
                return Ok(());
            }
            let mut values = values.into_iter();
            let mut record: Option<Vec<T::T>> = None;
            for level in 0..levels {
                let begins = !repeated || repetitions.get(level) == Some(&0);
                if begins && let Some(done) = record.replace(Vec::new()) {
                    each(done)?;
                }
                if defined == 0 || definitions.get(level) == Some(&defined) {
                    record.get_or_insert_default().extend(values.next());
                }
            }
            record.map_or(Ok(()), &mut each)?;
        }
    }

    fn copy_images(&self, file: usize, spool: &mut Spool, parts: &mut Vec<Part>) -> Result<(), DataError> {
        let mut row = 0;
        self.each_group(self.image, |reader| {
            let ColumnReader::ByteArrayColumnReader(reader) = reader else { return Err(self.other_images()) };
            self.each_record(reader, self.image, |image| {
                let name = format!("row {row}").into_boxed_str();
                row += 1;
                let [image] = image.as_slice() else {
                    let (file, found) = (self.path.clone(), "no bytes, at most a path".to_owned());
                    return Err(DataError::MissingMember {
                        file,
                        sample: name.into(),
                        missing: "encoded image",
                        found,
                    });
                };
                let (start, length) = (spool.written, image.len() as u64);
                spool.write(image)?;
                parts.push(Part { file, start, length, name });
                Ok(())
            })
        })
    }

    fn labels(&self) -> Result<Column, DataError> {
        let Some(label) = self.label else { return Ok(Column::None) };
        let column = self.column(label);
        if column.max_rep_level() > 1 {
            return Err(self.refuse_label(label, "a label, or a list of labels, for each image"));
        }
        let single = column.max_rep_level() == 0;
        let mut records = Records::default();
        self.each_group(label, |reader| match reader {
            ColumnReader::BoolColumnReader(reader) => self.each_record(reader, label, |record| {
                records.integers.push(record.into_iter().map(i128::from).collect());
                Ok(())
            }),
            ColumnReader::Int32ColumnReader(reader) => self.each_record(reader, label, |record| {
                records.integers.push(record.into_iter().map(i128::from).collect());
                Ok(())
            }),
            ColumnReader::Int64ColumnReader(reader) => self.each_record(reader, label, |record| {
                records.integers.push(record.into_iter().map(i128::from).collect());
                Ok(())
            }),
            ColumnReader::FloatColumnReader(reader) => self.each_record(reader, label, |record| {
                records.floats.push(record);
                Ok(())
            }),
            ColumnReader::DoubleColumnReader(reader) => self.each_record(reader, label, |record| {
                records.floats.push(record.into_iter().map(|value| value as f32).collect());
                Ok(())
            }),
            ColumnReader::ByteArrayColumnReader(reader) => self.each_record(reader, label, |record| {
                let text = |bytes: &ByteArray| bytes.as_utf8().map(str::to_owned);
                let texts = record.iter().map(text).collect::<Result<_, _>>().map_err(|source| self.fault(source))?;
                records.texts.push(texts);
                Ok(())
            }),
            _ => Err(self.refuse_label(label, "a label of integers, floats or text")),
        })?;
        records.into_column(single, |row| format!("`{}`, row {row}", self.path.display()))
    }

    fn refuse_label(&self, label: usize, expected: &str) -> DataError {
        DataError::Columns { path: self.path.clone(), found: self.describe(label), expected: expected.to_owned() }
    }

    fn other_images(&self) -> DataError {
        DataError::Columns {
            path: self.path.clone(),
            found: self.describe(self.image),
            expected: "encoded images as bytes".to_owned(),
        }
    }
}

impl Spool {
    fn write(&mut self, image: &ByteArray) -> Result<(), DataError> {
        let fault = |source| DataError::Read { path: std::env::temp_dir(), source };
        self.file.write_all(image.data()).map_err(fault)?;
        self.written += image.len() as u64;
        Ok(())
    }
}

/// The labels of each row; only those of the column's type are there.
#[derive(Default)]
struct Records {
    integers: Vec<Vec<i128>>,
    floats: Vec<Vec<f32>>,
    texts: Vec<Vec<String>>,
}

impl Records {
    /// The first row that has no value, or another number of values, is the error.
    fn into_column(self, single: bool, at: impl Fn(usize) -> String) -> Result<Column, DataError> {
        let missing = |row: usize, expected: &str| DataError::LabelAt {
            at: at(row),
            label: "null".to_owned(),
            expected: expected.to_owned(),
        };
        if !self.floats.is_empty() {
            let width = self.floats[0].len().max(1);
            if let Some(row) = self.floats.iter().position(|list| list.len() != width) {
                return Err(missing(row, if single { "a label" } else { "as many numbers as the first row has" }));
            }
            let values = self.floats.concat();
            for (place, &value) in values.iter().enumerate() {
                labels::finite(value, place / width, &at)?;
            }
            return Ok(Column::Rows(TargetRows { kind: TargetKind::Regression, values, width }, Vec::new()));
        }
        fn one<T>(lists: Vec<Vec<T>>, missing: impl Fn(usize) -> DataError) -> Result<Vec<T>, DataError> {
            lists.into_iter().enumerate().map(|(row, mut list)| list.pop().ok_or_else(|| missing(row))).collect()
        }
        Ok(match (single, self.texts.is_empty()) {
            (true, true) => Column::Number(one(self.integers, |row| missing(row, "a label"))?),
            (true, false) => Column::Name(one(self.texts, |row| missing(row, "a label"))?),
            (false, true) => Column::Numbers(self.integers),
            (false, false) => Column::Names(self.texts),
        })
    }
}

/// The column of encoded images: bytes, or a group that has them.
fn find_image<'a>(columns: impl Iterator<Item = &'a ColumnDescriptor>) -> Option<usize> {
    let is_image = |column: &ColumnDescriptor| {
        let parts = column.path().parts();
        let is_text = column.converted_type() == ConvertedType::UTF8;
        let is_bytes = column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0 && !is_text;
        is_bytes && (parts.len() == 1 || (parts.len() == 2 && parts[1] == "bytes"))
    };
    let found: Vec<(usize, &str)> = columns
        .enumerate()
        .filter(|(_, column)| is_image(column))
        .map(|(index, column)| (index, column.path().parts()[0].as_str()))
        .collect();
    let named = found.iter().find(|(_, name)| IMAGES.contains(name));
    named.or(found.first()).map(|(index, _)| *index)
}

/// The names of the classes that a column numbers.
fn names_of(features: &Value, column: &str) -> Option<Vec<String>> {
    let feature = features.get(column)?;
    let feature = feature.get("feature").unwrap_or(feature);
    let names = feature.get("names")?.as_array()?;
    names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};
    use parquet::data_type::{ByteArrayType, DoubleType, Int32Type, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use tempfile::TempDir;

    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions, Preprocess};

    /// Files that pyarrow wrote, with the metadata of `datasets`.
    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/huggingface")
    }

    fn open(path: &Path, split: Split) -> Result<Dataset, DataError> {
        crate::open(&DataSpec::Parquet(path.to_owned()), split, &OpenOptions::default())
    }

    fn reds(data: &Dataset) -> Vec<f32> {
        let preprocess = Preprocess { scale: 1.0, ..Preprocess::default() };
        let options = BatchOptions { preprocess, ..BatchOptions::default() };
        data.batches(&options).unwrap().flat_map(|batch| batch.unwrap().images).step_by(3).collect()
    }

    /// An image of one pixel.
    fn png(red: u8) -> ByteArray {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(1, 1, Rgb([red, 0, 0])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner().into()
    }

    /// Values of a column and their definition and repetition levels.
    enum Leaf {
        Bytes(Vec<ByteArray>, Vec<i16>),
        Int32(Vec<i32>),
        Int64(Vec<i64>, Vec<i16>, Vec<i16>),
        Double(Vec<f64>),
    }

    fn write(schema: &str, columns: Vec<Leaf>) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = File::create(dir.path().join("a.parquet")).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for leaf in columns {
            let mut column = group.next_column().unwrap().unwrap();
            match leaf {
                Leaf::Bytes(values, levels) => {
                    let levels = (!levels.is_empty()).then_some(levels);
                    column.typed::<ByteArrayType>().write_batch(&values, levels.as_deref(), None).unwrap()
                }
                Leaf::Int32(values) => column.typed::<Int32Type>().write_batch(&values, None, None).unwrap(),
                Leaf::Int64(values, definitions, repetitions) => {
                    column.typed::<Int64Type>().write_batch(&values, Some(&definitions), Some(&repetitions)).unwrap()
                }
                Leaf::Double(values) => column.typed::<DoubleType>().write_batch(&values, None, None).unwrap(),
            };
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        dir
    }

    fn refused(schema: &str, columns: Vec<Leaf>) -> String {
        let dir = write(schema, columns);
        let error = open(dir.path(), Split::Train).unwrap_err().to_string();
        error.replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn what_datasets_publishes_is_read() {
        assert_eq!(DataSpec::detect(golden()).unwrap(), DataSpec::Parquet(golden()));
        let train = open(&golden(), Split::Train).unwrap();
        assert_eq!(train.classes(), ["cat", "dog", "ant"]);
        assert_eq!(train.labels().collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(reds(&train), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(reds(&train.subset(&[4, 1]).unwrap()), [4.0, 1.0]);
        let test = open(&golden(), Split::Test).unwrap();
        assert_eq!((test.len(), test.label(0), reds(&test)), (1, 1, vec![7.0]));
        let file = golden().join("test-00000-of-00001.parquet");
        assert!(open(&file, Split::Train).is_err());
    }

    #[test]
    fn images_are_in_no_memory_once_a_set_is_open() {
        let train = open(&golden(), Split::Train).unwrap();
        let Pixels::Files(files) = train.pixels() else { panic!("images are held") };
        assert_eq!((files.len(), files.shape()), (6, [3, 1, 1]));
    }

    #[test]
    fn labels_are_text_floats_or_lists_or_not_there() {
        let images = || Leaf::Bytes(vec![png(1), png(2)], Vec::new());
        let text = Leaf::Bytes(vec!["dog".into(), "cat".into()], Vec::new());
        let dir = write("message m { required binary img; required binary label (UTF8); }", vec![images(), text]);
        let data = open(dir.path(), Split::Train).unwrap();
        assert_eq!((data.classes(), data.label(0)), (&["cat".to_owned(), "dog".to_owned()][..], 1));
        let schema = "message m { required binary img; required double target; }";
        let dir = write(schema, vec![images(), Leaf::Double(vec![0.5, -1.0])]);
        let data = open(&dir.path().join("a.parquet"), Split::Train).unwrap();
        assert_eq!((data.target_kind(), data.target(1)), (Some(TargetKind::Regression), Some(&[-1.0][..])));
        let schema = "message m { required binary img;
                      optional group labels (LIST) { repeated group list { required int64 element; } } }";
        let lists = Leaf::Int64(vec![0, 2, 1], vec![2, 2, 2], vec![0, 1, 0]);
        let dir = write(schema, vec![images(), lists]);
        let data = open(dir.path(), Split::Train).unwrap();
        assert_eq!((data.target_kind(), data.class_counts()), (Some(TargetKind::MultiLabel), vec![1, 1, 1]));
        assert_eq!(data.target(0), Some(&[1.0, 0.0, 1.0][..]));
        let dir = write("message m { required binary img; }", vec![images()]);
        let data = open(dir.path(), Split::Train).unwrap();
        assert_eq!((data.has_labels(), reds(&data)), (false, vec![1.0, 2.0]));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_row() {
        let schema = "message m { optional group image { optional binary bytes; } required int32 label; }";
        let images = || Leaf::Bytes(vec![png(1)], vec![2, 1]);
        assert_eq!(
            refused(schema, vec![images(), Leaf::Int32(vec![0, 0])]),
            "`a.parquet`: sample `row 1` has no encoded image; it has no bytes, at most a path"
        );
        let images = || Leaf::Bytes(vec![png(1), png(2)], vec![2, 2]);
        assert_eq!(
            refused(schema, vec![images(), Leaf::Int32(vec![0, -1])]),
            "`a.parquet`, row 1: label `-1` is not in 0..1"
        );
        let text = Leaf::Bytes(vec!["a".into()], Vec::new());
        assert_eq!(
            refused("message m { required binary caption (UTF8); }", vec![text]),
            "`a.parquet`: columns `caption`, expected one of encoded images: `image` with `bytes`, or bytes"
        );
        for (value, named) in [(f64::NAN, "NaN"), (-1e39, "-inf")] {
            let error = refused(
                "message m { required binary img; required double target; }",
                vec![Leaf::Bytes(vec![png(1), png(2)], Vec::new()), Leaf::Double(vec![0.5, value])],
            );
            assert_eq!(error, format!("`a.parquet`, row 1: label `{named}` is not a finite number (of 32 bits)"));
        }
        let broken = Leaf::Bytes(vec![png(1), "GIF89a".into()], vec![2, 2]);
        let error = refused(schema, vec![broken, Leaf::Int32(vec![0, 0])]);
        assert_eq!(error, "cannot decode `a.parquet: row 1`");
        let error = refused(schema, vec![Leaf::Bytes(Vec::new(), Vec::new()), Leaf::Int32(Vec::new())]);
        assert!(error.ends_with("holds no images"), "{error}");
    }

    #[test]
    fn truncated_and_foreign_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let whole = fs::read(golden().join("train-00000-of-00002.parquet")).unwrap();
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let error = open(&path, Split::Train).unwrap_err().to_string();
            assert_eq!(error, format!("cannot read `{}` as parquet", path.display()));
        }
    }

    #[test]
    fn damaged_files_are_refused_or_read_and_never_end_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let whole = fs::read(golden().join("train-00000-of-00002.parquet")).unwrap();
        let mut refused = 0;
        for place in (0..whole.len()).step_by(4) {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            fs::write(&path, &changed).unwrap();
            let read = open(&path, Split::Train)
                .and_then(|data| data.batches(&BatchOptions::default())?.collect::<Result<Vec<_>, _>>());
            refused += usize::from(read.is_err());
        }
        assert!(refused > whole.len() / 16, "{refused} of {} / 4", whole.len());
    }
}

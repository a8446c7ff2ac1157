//! Tables with the path of an image and what is to be learned of it in each row.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};
use rayon::prelude::*;

use crate::dataset::{Dataset, Pixels, TargetKind, TargetRows};
use crate::error::DataError;
use crate::files::{Files, Source};
use crate::geometry::Geometry;
use crate::imagefolder::is_image;
use crate::labels::{self, Column, Train};
use crate::open::Split;
use crate::split::{Part, choose};

/// Headings by which columns are known, in lower case.
const PATH_HEADINGS: [&str; 8] =
    ["path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"];
const SPLIT_HEADINGS: [&str; 2] = ["split", "set"];
/// Headings of columns that hold several labels between spaces.
const LIST_HEADINGS: [&str; 2] = ["labels", "tags"];

/// Most bytes that a table may have; all of it is held while it is read.
const MAX_BYTES: u64 = 1 << 31;

pub(crate) fn is_there(path: &Path) -> bool {
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    (is_csv && path.is_file()) || path.join("train.csv").is_file()
}

/// Opens a split of a table, or of the tables `train.csv` and `test.csv` or `val.csv` of a folder.
pub(crate) fn open(path: &Path, split: Split, geometry: Geometry) -> Result<Dataset, DataError> {
    if path.is_dir() {
        return open_folder(path, split, geometry);
    }
    let table = Table::read(path)?;
    let wanted = choose(table.parts.iter().flatten().copied(), split).ok_or_else(|| DataError::NoSplit {
        path: path.to_owned(),
        split,
        looked_for: format!("rows whose column `split` says {split}"),
    })?;
    let is_divided = split == Split::Test && table.parts.contains(&Some(Part::Train));
    let train = is_divided.then(|| Train {
        column: table.column.of_rows(&table.rows_of(Some(Part::Train))),
        file: format!("the train split of {}", path.display()),
    });
    let rows = table.rows_of(wanted);
    table.into_dataset(&rows, train, geometry)
}

fn open_folder(dir: &Path, split: Split, geometry: Geometry) -> Result<Dataset, DataError> {
    let names: &[&str] = match split {
        Split::Train => &["train.csv"],
        Split::Test => &["test.csv", "val.csv"],
    };
    let Some(file) = names.iter().map(|name| dir.join(name)).find(|file| file.is_file()) else {
        return Err(DataError::NoSplit { path: dir.to_owned(), split, looked_for: names.join(", ") });
    };
    let train = dir.join("train.csv");
    let train = if split == Split::Test && train.is_file() {
        Some(Train { column: Table::read(&train)?.column, file: train.display().to_string() })
    } else {
        None
    };
    let table = Table::read(&file)?;
    let rows: Vec<usize> = (0..table.paths.len()).collect();
    table.into_dataset(&rows, train, geometry)
}

/// All rows of a file.
struct Table {
    file: PathBuf,
    paths: Vec<PathBuf>,
    /// The line that each row begins in, counted from 1.
    lines: Vec<u64>,
    column: Column,
    parts: Vec<Option<Part>>,
}

impl Table {
    fn read(file: &Path) -> Result<Table, DataError> {
        let (header, rows, lines) = records(file)?;
        let Some(first) = header.as_ref().or(rows.first()) else {
            return Err(DataError::Empty { file: file.display().to_string() });
        };
        let layout = Layout::find(first.len(), header.as_ref(), &rows);
        let at = |row: usize| format!("`{}`, line {}", file.display(), lines[row]);
        let base = file.parent().unwrap_or(Path::new(""));
        let paths: Vec<PathBuf> = rows.iter().map(|row| base.join(row[layout.path].trim())).collect();
        let missing = paths.par_iter().position_first(|path| !path.is_file());
        if let Some(row) = missing {
            return Err(DataError::NoImage { at: at(row), path: paths[row].clone() });
        }
        let parts = match layout.split {
            None => vec![None; rows.len()],
            Some(column) => {
                let part = |(row, record): (usize, &StringRecord)| match Part::of_word(record[column].trim()) {
                    Some(part) => Ok(Some(part)),
                    None => Err(DataError::LabelAt {
                        at: at(row),
                        label: record[column].to_owned(),
                        expected: "a split: train, val or test".to_owned(),
                    }),
                };
                rows.iter().enumerate().map(part).collect::<Result<_, _>>()?
            }
        };
        let column = layout.column(header.as_ref(), &rows, at)?;
        Ok(Table { file: file.to_owned(), paths, lines, column, parts })
    }

    fn rows_of(&self, part: Option<Part>) -> Vec<usize> {
        (0..self.paths.len()).filter(|&row| part.is_none() || self.parts[row] == part).collect()
    }

    fn into_dataset(self, rows: &[usize], train: Option<Train>, geometry: Geometry) -> Result<Dataset, DataError> {
        let file = self.file.display().to_string();
        if rows.is_empty() {
            return Err(DataError::Empty { file });
        }
        let at = |row: usize| format!("`{file}`, line {}", self.lines[rows[row]]);
        let annotation = self.column.of_rows(rows).annotate(train, None, at)?;
        let paths = rows.iter().map(|&row| self.paths[row].clone()).collect();
        let files = Files::new(Source::Paths(paths), geometry)?;
        let shape = files.shape();
        Dataset::annotated(file, Pixels::Files(files), shape, annotation)
    }
}

/// The header, where the first row is one, the other rows, and the lines that they begin in.
#[expect(clippy::type_complexity, reason = "the parts of a file, taken apart at once")]
fn records(file: &Path) -> Result<(Option<StringRecord>, Vec<StringRecord>, Vec<u64>), DataError> {
    let fault = |source| DataError::Read { path: file.to_owned(), source };
    let opened = fs::File::open(file).map_err(fault)?;
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_BYTES {
        let (file, found) = (file.display().to_string(), bytes.len() as u64);
        return Err(DataError::Length { file, found, expected: "at most 2 GiB".to_owned() });
    }
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => text.strip_prefix('\u{feff}').unwrap_or(text),
        Ok(text) => return Err(encoding(file, text.split('\0').next().unwrap_or_default())),
        Err(error) => return Err(encoding(file, &String::from_utf8_lossy(&bytes[..error.valid_up_to()]))),
    };
    let first_line = text.lines().next().unwrap_or_default();
    let count = |delimiter: &u8| first_line.bytes().filter(|byte| byte == delimiter).count();
    let delimiter = *b";\t,".iter().max_by_key(|delimiter| count(delimiter)).unwrap_or(&b',');
    let mut reader = ReaderBuilder::new().has_headers(false).delimiter(delimiter).from_reader(text.as_bytes());
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(|source| DataError::Csv { path: file.to_owned(), source })?;
        lines.push(record.position().map_or(0, csv::Position::line));
        rows.push(record);
    }
    let base = file.parent().unwrap_or(Path::new(""));
    let is_path = |field: &str| is_image(Path::new(field)) || base.join(field).is_file();
    let is_header = |row: &StringRecord| !row.iter().any(|field| is_path(field.trim()));
    if rows.first().is_some_and(is_header) {
        lines.remove(0);
        Ok((Some(rows.remove(0)), rows, lines))
    } else {
        Ok((None, rows, lines))
    }
}

fn encoding(file: &Path, before: &str) -> DataError {
    DataError::Encoding { path: file.to_owned(), line: before.matches('\n').count() as u64 + 1 }
}

/// Which column is what.
struct Layout {
    path: usize,
    split: Option<usize>,
    /// All others.
    values: Vec<usize>,
}

impl Layout {
    /// By the headings; without them the column of image files, one that says nothing but splits, and the rest.
    fn find(columns: usize, header: Option<&StringRecord>, rows: &[StringRecord]) -> Layout {
        let headed = |names: &[&str]| {
            let header = header?;
            header.iter().position(|heading| names.contains(&heading.trim().to_lowercase().as_str()))
        };
        let all = |column: usize, is: &dyn Fn(&str) -> bool| rows.iter().all(|row| is(row[column].trim()));
        let path = headed(&PATH_HEADINGS)
            .or_else(|| (0..columns).find(|&column| all(column, &|field| is_image(Path::new(field)))))
            .unwrap_or(0);
        let split = headed(&SPLIT_HEADINGS).or_else(|| {
            let is_split = |&column: &usize| column != path && all(column, &|field| Part::of_word(field).is_some());
            if header.is_none() { (0..columns).find(is_split) } else { None }
        });
        let values = (0..columns).filter(|column| *column != path && Some(*column) != split).collect();
        Layout { path, split, values }
    }

    /// What the other columns hold.
    fn column(
        &self,
        header: Option<&StringRecord>,
        rows: &[StringRecord],
        at: impl Fn(usize) -> String,
    ) -> Result<Column, DataError> {
        let heading = |column: usize| match header {
            Some(header) => header[column].trim().to_owned(),
            None => (column + 1).to_string(),
        };
        match self.values[..] {
            [] => Ok(Column::None),
            [column] => {
                let texts: Vec<&str> = rows.iter().map(|row| row[column].trim()).collect();
                let listed = LIST_HEADINGS.contains(&heading(column).to_lowercase().as_str());
                if listed || texts.iter().any(|text| text.contains('|')) {
                    let between = |c: char| c == '|' || (listed && c.is_whitespace());
                    let list = |text: &&str| {
                        text.split(between)
                            .map(str::trim)
                            .filter(|label| !label.is_empty())
                            .map(str::to_owned)
                            .collect()
                    };
                    return Ok(Column::of_lists(texts.iter().map(list).collect()));
                }
                if let Some(row) = texts.iter().position(|text| text.is_empty()) {
                    let expected = "a class or a number".to_owned();
                    return Err(DataError::LabelAt { at: at(row), label: String::new(), expected });
                }
                let is_fraction = |text: &&str| text.parse::<i128>().is_err();
                let numbers: Option<Vec<f32>> = texts.iter().map(|text| text.parse().ok()).collect();
                // All of them could be names such as `nan`; beside a number they are none.
                let numbers = numbers.filter(|values| values.iter().any(|value| value.is_finite()));
                if let Some(values) = &numbers {
                    for (row, &value) in values.iter().enumerate() {
                        labels::finite(value, row, &at)?;
                    }
                }
                Ok(match numbers {
                    Some(values) if texts.iter().any(is_fraction) => {
                        Column::Rows(TargetRows { kind: TargetKind::Regression, values, width: 1 }, Vec::new())
                    }
                    _ => Column::of_texts(texts.into_iter().map(str::to_owned).collect()),
                })
            }
            ref columns => {
                let mut values = Vec::with_capacity(rows.len() * columns.len());
                for (row, record) in rows.iter().enumerate() {
                    for &column in columns {
                        let value = finite(record[column].trim()).ok_or_else(|| DataError::LabelAt {
                            at: at(row),
                            label: record[column].to_owned(),
                            expected: format!("a number, as several columns are (column `{}`)", heading(column)),
                        })?;
                        values.push(value);
                    }
                }
                let flags = header.is_some() && values.iter().all(|value| *value == 0.0 || *value == 1.0);
                let kind = if flags { TargetKind::MultiLabel } else { TargetKind::Regression };
                let headings =
                    header.map_or_else(Vec::new, |_| columns.iter().map(|&column| heading(column)).collect());
                Ok(Column::Rows(TargetRows { kind, values, width: columns.len() }, headings))
            }
        }
    }
}

fn finite(text: &str) -> Option<f32> {
    text.parse::<f32>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use tempfile::TempDir;

    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions, Preprocess};

    /// A folder with images `0.png`, `1.png`, … of one pixel whose red is their number, and a table.
    fn place(images: u8, table: impl AsRef<[u8]>) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..images {
            RgbImage::from_pixel(1, 1, Rgb([number, 0, 0])).save(dir.path().join(format!("{number}.png"))).unwrap();
        }
        fs::write(dir.path().join("data.csv"), table).unwrap();
        dir
    }

    fn open(dir: &TempDir, split: Split) -> Result<Dataset, DataError> {
        crate::open(&DataSpec::Csv(dir.path().join("data.csv")), split, &OpenOptions::default())
    }

    /// The folder has to outlive the data set.
    fn train(table: &str) -> (TempDir, Dataset) {
        let dir = place(3, table);
        let data = open(&dir, Split::Train).unwrap();
        (dir, data)
    }

    fn refused(table: impl AsRef<[u8]>) -> String {
        let dir = place(3, table);
        let error = open(&dir, Split::Train).unwrap_err().to_string();
        error.replace(&format!("{}/", dir.path().display()), "")
    }

    fn reds(data: &Dataset) -> Vec<f32> {
        let options =
            BatchOptions { preprocess: Preprocess { scale: 1.0, ..Preprocess::default() }, ..BatchOptions::default() };
        data.batches(&options).unwrap().flat_map(|batch| batch.unwrap().images).step_by(3).collect()
    }

    #[test]
    fn classes_are_names_or_numbers_with_a_header_or_without() {
        let dir = place(3, "path,label\n2.png,dog\n0.png,cat\n");
        let data = open(&dir, Split::Train).unwrap();
        assert_eq!(
            (data.classes(), data.labels().collect::<Vec<_>>()),
            (&["cat".to_owned(), "dog".to_owned()][..], vec![1, 0])
        );
        assert_eq!(reds(&data), [2.0, 0.0]);
        let (_dir, data) = train("0.png,3\n\"1.png\", 0\n");
        assert_eq!((data.classes().len(), data.label(0), data.label(1)), (4, 3, 0));
        let (_dir, data) = train("\u{feff}class;file\ngolden retriever;1.png\ncat;2.png\n");
        assert_eq!(data.classes(), ["cat", "golden retriever"]);
        let dir = place(1, "0,x\n1.png,y\n");
        fs::copy(dir.path().join("0.png"), dir.path().join("0")).unwrap();
        fs::copy(dir.path().join("0.png"), dir.path().join("1.png")).unwrap();
        assert_eq!(open(&dir, Split::Train).unwrap().len(), 2, "a file without an extension is no heading");
        assert!(data.has_labels() && data.target_kind().is_none());
    }

    #[test]
    fn splits_are_a_column_and_classes_those_of_train() {
        let dir = place(4, "path,label,split\n0.png,b,train\n1.png,a,train\n2.png,b,val\n3.png,b,test\n");
        let (train, test) = (open(&dir, Split::Train).unwrap(), open(&dir, Split::Test).unwrap());
        assert_eq!((train.len(), test.len(), test.label(0)), (2, 1, 1));
        assert_eq!(test.classes(), ["a", "b"]);
        let dir = place(3, "0.png,b,train\n1.png,c,validation\n");
        let error = open(&dir, Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("data.csv`, line 2: label `c` is not among the 1 classes"), "{error}");
        let dir = place(3, "0.png,b\n");
        let error = open(&dir, Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("has no test split: looked for rows whose column `split` says test"), "{error}");
    }

    #[test]
    fn a_folder_has_a_table_for_each_split() {
        let dir = place(2, "");
        fs::write(dir.path().join("train.csv"), "0.png,b\n1.png,a\n").unwrap();
        fs::write(dir.path().join("val.csv"), "1.png,b\n").unwrap();
        let spec = DataSpec::detect(dir.path()).unwrap();
        assert_eq!(spec, DataSpec::Csv(dir.path().to_owned()));
        let open = |split| crate::open(&spec, split, &OpenOptions::default());
        assert_eq!(open(Split::Train).unwrap().len(), 2);
        let test = open(Split::Test).unwrap();
        assert_eq!((test.label(0), reds(&test)), (1, vec![1.0]));
        fs::remove_file(dir.path().join("val.csv")).unwrap();
        assert!(open(Split::Test).unwrap_err().to_string().ends_with("looked for test.csv, val.csv"));
    }

    #[test]
    fn columns_of_the_test_table_are_found_by_their_headings() {
        let dir = place(2, "");
        let open = |train: &str, test: &str| {
            fs::write(dir.path().join("train.csv"), train).unwrap();
            fs::write(dir.path().join("test.csv"), test).unwrap();
            crate::open(&DataSpec::Csv(dir.path().to_owned()), Split::Test, &OpenOptions::default())
        };
        let train = "path,x,y\n0.png,0.5,2\n";
        let test = open(train, "y,path,x\n1,1.png,0\n").unwrap();
        assert_eq!((test.target_kind(), test.target(0)), (Some(TargetKind::Regression), Some(&[0.0, 1.0][..])));
        let error = open(train, "path,x,z\n1.png,0,1\n").unwrap_err().to_string();
        let [table, of] = ["test.csv", "train.csv"].map(|name| format!("`{}`", dir.path().join(name).display()));
        assert_eq!(error, format!("{table}, line 2: label `x, z` is not in columns x, y, as {of} has"));
        let test = open("path,age\n0.png,0.5\n", "path,age\n0.png,7\n").unwrap();
        assert_eq!((test.target_kind(), test.target(0)), (Some(TargetKind::Regression), Some(&[7.0][..])));
    }

    #[test]
    fn several_labels_stand_between_bars_or_spaces_or_in_columns_of_their_own() {
        for table in [
            "path,labels\n0.png,sea sky\n1.png,\n2.png,sky\n",
            "0.png,sea|sky\n1.png,\n2.png, sky\n",
            "path,sea,sky\n0.png,1,1\n1.png,0,0\n2.png,0,1\n",
        ] {
            let (_dir, data) = train(table);
            assert_eq!(data.target_kind(), Some(TargetKind::MultiLabel));
            assert_eq!((data.classes(), data.class_counts()), (&["sea".to_owned(), "sky".to_owned()][..], vec![1, 2]));
            let batch = data.batches(&BatchOptions::default()).unwrap().next().unwrap().unwrap();
            assert_eq!(batch.labels, [0; 3]);
            let targets = crate::Targets { values: vec![1.0, 1.0, 0.0, 0.0, 0.0, 1.0], width: 2 };
            assert_eq!(batch.targets, Some(targets));
        }
    }

    #[test]
    fn numbers_are_a_regression() {
        let (_dir, data) = train("path,age\n0.png,3.5\n1.png,-2\n");
        assert_eq!((data.target_kind(), data.target_width()), (Some(TargetKind::Regression), Some(1)));
        assert_eq!((data.target(0), data.target(1)), (Some(&[3.5][..]), Some(&[-2.0][..])));
        let (_dir, data) = train("x,image,y\n1,0.png,2\n3,1.png,4e2\n");
        assert_eq!(data.target(1), Some(&[3.0, 400.0][..]));
        assert!(data.classes().is_empty() && !data.has_labels());
        let (_dir, data) = train("path\n0.png\n2.png\n");
        assert!(!data.has_labels() && data.target_kind().is_none());
        assert_eq!(reds(&data), [0.0, 2.0]);
    }

    #[test]
    fn images_without_a_class_are_divided_by_the_seed_alone() {
        let table: String = (0..20).map(|number| format!("{number}.png,{number}.5\n")).collect();
        let data = open(&place(20, table), Split::Train).unwrap();
        let (kept, held_out) = data.hold_out(0.25, 1).unwrap();
        assert_eq!((kept.len(), held_out.len()), (15, 5));
        let first = |set: &Dataset| set.target(0).unwrap()[0];
        assert_ne!(first(&held_out), first(&data.hold_out(0.25, 2).unwrap().1));
        assert_eq!(data.balanced(7, 0).unwrap().len(), 7);
        let error = data.balanced(21, 0).unwrap_err().to_string();
        assert_eq!(error, "the data set has 20 images, expected at least 21");
        data.require_every_class().unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        assert_eq!(refused("path,label\n0.png,a\nx/9.png,b\n"), "`data.csv`, line 3: there is no file `x/9.png`");
        assert_eq!(refused("0.png,1\n1.png,\n"), "`data.csv`, line 2: label `` is not a class or a number");
        assert_eq!(
            refused("path,x,y\n0.png,1,2\n1.png,1,left\n"),
            "`data.csv`, line 3: label `left` is not a number, as several columns are (column `y`)"
        );
        assert_eq!(
            refused("path,label,split\n0.png,1,train\n1.png,1,some\n"),
            "`data.csv`, line 3: label `some` is not a split: train, val or test"
        );
        assert_eq!(refused("0.png,-1\n"), "`data.csv`, line 1: label `-1` is not a class number");
        assert_eq!(
            refused("0.png,1.5\n1.png,nan\n"),
            "`data.csv`, line 2: label `NaN` is not a finite number (of 32 bits)"
        );
        assert_eq!(refused("0.png,a\n1.png\n"), "cannot read `data.csv` as a table");
        for nothing in ["", "path,label\n"] {
            assert_eq!(refused(nothing), "`data.csv` holds no images");
        }
        let latin: &[u8] = b"0.png,a\n1.png,caf\xe9\n";
        assert_eq!(refused(latin), "`data.csv`, line 2: the text is not UTF-8; save the file as UTF-8");
        let utf16: Vec<u8> = "0.png,a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(refused(utf16), "`data.csv`, line 1: the text is not UTF-8; save the file as UTF-8");
        assert_eq!(refused("path,label\nnotes.txt,a\n"), "`data.csv`, line 2: there is no file `notes.txt`");
    }
}

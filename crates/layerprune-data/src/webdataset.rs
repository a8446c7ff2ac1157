//! WebDataset: tar files whose members share a name for each image: `0001.jpg`, `0001.cls`.
//!
//! Only where the images lie is held in memory. A member's key is its path up to the first dot of its name, its kind what
//! comes after; members of kinds other than those of images and labels are passed over.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tar::Archive;

use crate::dataset::{Dataset, Pixels};
use crate::error::DataError;
use crate::files::{Container, Files, Part, Source};
use crate::geometry::Geometry;
use crate::imagefolder::EXTENSIONS;
use crate::labels::{Column, Train};
use crate::open::Split;
use crate::split::{Shards, expand};

/// Names of the label in a `json` member, first found first taken.
const FIELDS: [&str; 6] = ["label", "labels", "cls", "class", "target", "targets"];
/// Most bytes of a label's member.
const MAX_LABEL: u64 = 1 << 20;

pub(crate) fn is_there(path: &Path) -> bool {
    let is_tar = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"));
    let holds_tar =
        |dir: &Path| crate::imagefolder::entries(dir).is_ok_and(|paths| paths.iter().any(|path| is_tar(path)));
    let text = path.to_string_lossy();
    (is_tar(path) && (path.is_file() || expand(&text).iter().all(|path| Path::new(path).is_file())))
        || holds_tar(path)
        || holds_tar(&path.join("train"))
}

pub(crate) fn open(path: &Path, split: Split, geometry: Geometry) -> Result<Dataset, DataError> {
    let shards = Shards::find(path, &["tar"])?;
    let index = Index::read(&shards.of(split)?)?;
    let train = match split {
        Split::Train => None,
        Split::Test => {
            let column = shards.of(Split::Train).ok().map(|shards| Index::read(&shards)?.column()).transpose()?;
            column.map(|column| Train { column, file: format!("the train split of {}", path.display()) })
        }
    };
    let column = index.column()?;
    let annotation = column.annotate(train, None, |sample| index.name(sample))?;
    let file = path.display().to_string();
    if index.parts.is_empty() {
        return Err(DataError::Empty { file });
    }
    let files = Files::new(Source::Parts { files: index.files, parts: index.parts }, geometry)?;
    let shape = files.shape();
    Dataset::annotated(file, Pixels::Files(files), shape, annotation)
}

/// Where the images of some shards lie, and their labels.
#[derive(Default)]
struct Index {
    files: Vec<Container>,
    parts: Vec<Part>,
    labels: Vec<Option<Value>>,
}

/// The members of one image, as far as they were seen.
struct Sample {
    key: String,
    image: Option<Part>,
    label: Option<Value>,
    kinds: Vec<String>,
}

impl Index {
    fn read(shards: &[PathBuf]) -> Result<Index, DataError> {
        let mut index = Index::default();
        for shard in shards {
            index.add(shard)?;
        }
        Ok(index)
    }

    fn add(&mut self, shard: &Path) -> Result<(), DataError> {
        let read = |source| DataError::Read { path: shard.to_owned(), source };
        let unpack = |source| DataError::Unpack { file: shard.display().to_string(), source };
        let file = File::open(shard).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        self.files.push(Container { path: shard.to_owned(), unpacked: None });
        let mut archive = Archive::new(BufReader::new(file));
        let mut sample: Option<Sample> = None;
        for entry in archive.entries_with_seek().map_err(unpack)? {
            let mut entry = entry.map_err(unpack)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some((key, kind)) = key_and_kind(&name) else { continue };
            let (start, size) = (entry.raw_file_position(), entry.size());
            let member = || format!("{}: {name}", shard.display());
            if start.saturating_add(size) > length {
                let (found, expected) = (length.saturating_sub(start), size.to_string());
                return Err(DataError::Length { file: member(), found, expected });
            }
            if sample.as_ref().is_none_or(|sample| sample.key != key) {
                let begun = Sample { key: key.to_owned(), image: None, label: None, kinds: Vec::new() };
                if let Some(done) = sample.replace(begun) {
                    self.finish(shard, done)?;
                }
            }
            let Some(sample) = &mut sample else { continue };
            let kind = kind.to_lowercase();
            match kind.as_str() {
                image if EXTENSIONS.contains(&image) => {
                    if sample.image.is_some() {
                        return Err(DataError::TwoImages { file: shard.to_owned(), sample: sample.key.clone() });
                    }
                    let name = name.clone().into_boxed_str();
                    sample.image = Some(Part { file: self.files.len() - 1, start, length: size, name });
                }
                "cls" | "json" => {
                    let mut text = String::new();
                    entry
                        .by_ref()
                        .take(MAX_LABEL)
                        .read_to_string(&mut text)
                        .map_err(|source| DataError::Unpack { file: member(), source })?;
                    let found = if kind == "cls" { Some(of_cls(&text)) } else { of_json(&text, member)? };
                    sample.label = sample.label.take().or(found);
                }
                _ => {}
            }
            sample.kinds.push(kind);
        }
        sample.map_or(Ok(()), |sample| self.finish(shard, sample))
    }

    fn finish(&mut self, shard: &Path, sample: Sample) -> Result<(), DataError> {
        let labels_there = self.labels.first().is_none_or(|first| first.is_some() == sample.label.is_some());
        let missing = match &sample.image {
            // Members that go with no image, such as a list of shards.
            None if sample.label.is_none() => return Ok(()),
            None => Some("image (jpg, jpeg or png)"),
            Some(_) if !labels_there && sample.label.is_none() => {
                Some("label (cls or json), which those before it have")
            }
            Some(_) if !labels_there => {
                let (file, sample) = (shard.to_owned(), sample.key);
                return Err(DataError::StrayLabel { file, sample });
            }
            Some(_) => None,
        };
        if let Some(missing) = missing {
            let (file, found) = (shard.to_owned(), sample.kinds.join(", "));
            return Err(DataError::MissingMember { file, sample: sample.key, missing, found });
        }
        self.parts.extend(sample.image);
        self.labels.push(sample.label);
        Ok(())
    }

    fn name(&self, sample: usize) -> String {
        let part = &self.parts[sample];
        format!("{}: {}", self.files[part.file].path.display(), part.name)
    }

    fn column(&self) -> Result<Column, DataError> {
        let labels: Vec<&Value> = self.labels.iter().flatten().collect();
        Column::of_json(&labels, |sample| self.name(sample))
    }
}

/// The path up to the first dot of its last part, and what comes after; none for hidden files and those without a dot.
fn key_and_kind(name: &str) -> Option<(&str, &str)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], &name[dot + 1..]))
}

fn of_cls(text: &str) -> Value {
    let text = text.trim();
    text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from)
}

fn of_json(text: &str, member: impl Fn() -> String) -> Result<Option<Value>, DataError> {
    let value: Value = serde_json::from_str(text).map_err(|source| DataError::Json { file: member(), source })?;
    Ok(match value {
        Value::Object(mut fields) => FIELDS.iter().find_map(|field| fields.remove(*field)),
        Value::Null => None,
        value => Some(value),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};
    use tempfile::TempDir;

    use super::*;
    use crate::{BatchOptions, DataSpec, OpenOptions, Preprocess, TargetKind};

    /// An image of one pixel.
    fn png(red: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(1, 1, Rgb([red, 0, 0])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn open(path: PathBuf, split: Split) -> Result<Dataset, DataError> {
        crate::open(&DataSpec::WebDataset(path), split, &OpenOptions::default())
    }

    /// The folder has to outlive the data set.
    fn of(members: &[(&str, &[u8])]) -> Result<(TempDir, Dataset), DataError> {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "a.tar", &tar(members));
        let data = open(dir.path().join("a.tar"), Split::Train)?;
        Ok((dir, data))
    }

    fn refused(members: &[(&str, &[u8])]) -> String {
        let error = of(members).unwrap_err().to_string();
        let end = error.find("a.tar").unwrap();
        let start = error[..end].find('/').unwrap();
        format!("{}{}", &error[..start], &error[end..])
    }

    fn reds(data: &Dataset) -> Vec<f32> {
        let preprocess = Preprocess { scale: 1.0, ..Preprocess::default() };
        let options = BatchOptions { preprocess, ..BatchOptions::default() };
        data.batches(&options).unwrap().flat_map(|batch| batch.unwrap().images).step_by(3).collect()
    }

    #[test]
    fn members_of_one_name_are_an_image_and_its_class() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}/0003", "deep/".repeat(40));
        let (image, class) = (format!("{long}.png"), format!("{long}.cls"));
        let first: &[(&str, &[u8])] = &[
            ("a/0.cls", b"2\n"),
            ("a/0.PNG", &png(10)),
            ("a/0.txt", b"a dog"),
            ("b/0.png", &png(11)),
            ("b/0.cls", b"0"),
        ];
        write(&dir, "set-train-000.tar", &tar(first));
        write(&dir, "set-train-001.tar", &tar(&[(&image, &png(12)), (&class, b"1")]));
        write(&dir, "set-val-000.tar", &tar(&[("x.json", br#"{"label": 1, "width": 1}"#), ("x.png", &png(13))]));
        let spec = DataSpec::detect(dir.path()).unwrap();
        assert_eq!(spec, DataSpec::WebDataset(dir.path().to_owned()));
        let train = open(dir.path().to_owned(), Split::Train).unwrap();
        assert_eq!((train.labels().collect::<Vec<_>>(), reds(&train)), (vec![2, 0, 1], vec![10.0, 11.0, 12.0]));
        let test = open(dir.path().to_owned(), Split::Test).unwrap();
        assert_eq!((test.label(0), test.classes().len(), reds(&test)), (1, 3, vec![13.0]));
        let braces = dir.path().join("set-{train-{000..001},val-000}.tar");
        assert!(open(braces, Split::Train).is_err());
        let braces = dir.path().join("set-train-{000..001}.tar");
        assert_eq!(braces.to_str().unwrap().parse::<DataSpec>().unwrap(), DataSpec::WebDataset(braces.clone()));
        assert_eq!(open(braces, Split::Train).unwrap().len(), 3);
        let error = open(dir.path().join("set-train-{001..002}.tar"), Split::Train).unwrap_err();
        assert!(matches!(error, DataError::Read { path, .. } if path.ends_with("set-train-002.tar")));
    }

    #[test]
    fn labels_are_names_lists_or_numbers_or_not_there() {
        let labelled = |label: &'static str| {
            of(&[("0.png", &png(0)), ("0.json", format!("{{\"label\": {label}}}").as_bytes())]).unwrap().1
        };
        assert_eq!(labelled("\"cat\"").classes(), ["cat"]);
        let data = labelled("[0, 2]");
        assert_eq!((data.target_kind(), data.target(0)), (Some(TargetKind::MultiLabel), Some(&[1.0, 0.0, 1.0][..])));
        let data = labelled("[0.5, 2]");
        assert_eq!((data.target_kind(), data.target(0)), (Some(TargetKind::Regression), Some(&[0.5, 2.0][..])));
        assert_eq!(labelled("1.5").target(0), Some(&[1.5][..]));
        let (_dir, data) = of(&[("0.png", &png(3)), ("1.png", &png(4))]).unwrap();
        assert_eq!((data.has_labels(), reds(&data)), (false, vec![3.0, 4.0]));
    }

    #[test]
    fn members_are_read_when_they_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let (first, second) = (png(1), png(2));
        let mut bytes = tar(&[("0.png", &first), ("0.cls", b"0"), ("1.png", &second), ("1.cls", b"0")]);
        fs::write(&path, &bytes).unwrap();
        let data = open(path.clone(), Split::Train).unwrap();
        let place = bytes.windows(second.len()).position(|bytes| bytes == second).unwrap();
        bytes[place..][..second.len()].copy_from_slice(&png(77));
        fs::write(&path, &bytes).unwrap();
        assert_eq!(reds(&data), [1.0, 77.0]);
        fs::write(&path, &bytes[..place + 10]).unwrap();
        let result: Result<Vec<_>, _> = data.batches(&BatchOptions::default()).unwrap().collect();
        let error = result.unwrap_err().to_string();
        assert_eq!(error, format!("cannot read `{}: 1.png`", path.display()));
    }

    #[test]
    fn what_does_not_go_together_is_named_with_its_sample() {
        let (image, other) = (png(0), png(1));
        assert_eq!(
            refused(&[("d/0.cls", b"1"), ("d/0.txt", b""), ("d/1.png", &image)]),
            "`a.tar`: sample `d/0` has no image (jpg, jpeg or png); it has cls, txt"
        );
        assert_eq!(
            refused(&[("0.png", &image), ("0.cls", b"1"), ("1.png", &image)]),
            "`a.tar`: sample `1` has no label (cls or json), which those before it have; it has png"
        );
        assert_eq!(
            refused(&[("0.png", &image), ("1.png", &image), ("1.cls", b"1")]),
            "`a.tar`: sample `1` has a label, those before it have none"
        );
        assert_eq!(refused(&[("0.png", &image), ("0.jpg", &other)]), "`a.tar`: sample `0` has two images");
        assert_eq!(refused(&[("readme.md", b"x")]), "`a.tar` holds no images");
        assert_eq!(refused(&[("0.png", &image), ("0.json", b"{")]), "cannot read `a.tar: 0.json` as JSON");
        assert_eq!(refused(&[("0.png", &image), ("0.cls", b"-3")]), "a.tar: 0.png: label `-3` is not a class number");
        let error = of(&[("0.png", &image), ("0.cls", b"1"), ("1.png", &image), ("1.cls", b"one")]).unwrap_err();
        assert!(error.to_string().contains("a.tar: 1.png: label `\"one\"` is not a number, as that of"), "{error}");
        let error = of(&[("0.png", b"GIF89a"), ("0.cls", b"1")]).unwrap_err();
        assert!(matches!(error, DataError::Decode { path, .. } if path.to_string_lossy().ends_with("a.tar: 0.png")));
    }

    #[test]
    fn truncated_and_foreign_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let whole = tar(&[("0.cls", b"1"), ("0.png", &png(5))]);
        // Two members of a block each of header and content.
        for (length, expected) in [
            (1024 + 512 + 20, format!("`{}: 0.png` holds 20 bytes of data, expected {}", path.display(), png(5).len())),
            (1024 + 100, format!("cannot unpack `{}`", path.display())),
            (0, format!("`{}` holds no images", path.display())),
        ] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open(path.clone(), Split::Train).unwrap_err().to_string(), expected, "{length} bytes");
        }
        fs::write(&path, [0x1f, 0x8b].repeat(400)).unwrap();
        let error = open(path.clone(), Split::Train).unwrap_err().to_string();
        assert_eq!(error, format!("cannot unpack `{}`", path.display()));
    }

    #[test]
    fn damaged_files_are_refused_or_read_and_never_end_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        let whole = tar(&[("0.cls", b"1"), ("0.png", &png(5))]);
        let mut refused = 0;
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            fs::write(&path, &changed).unwrap();
            let read = open(path.clone(), Split::Train)
                .and_then(|data| data.batches(&BatchOptions::default())?.collect::<Result<Vec<_>, _>>());
            refused += usize::from(read.is_err());
        }
        // Both headers have a checksum; most of the rest is padding.
        assert!(refused >= 1024, "{refused} of {}", whole.len());
    }
}

//! Event files for TensorBoard: protocol buffers in the records of TFRecord files.
//!
//! The messages are those parts of TensorFlow's `event.proto` and `summary.proto` that scalars need.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use prost::Message;

/// What every event file begins with, so that readers know its form.
const FORM: &str = "brain.Event:2";
/// `SessionLog.START`: what earlier files say of this step and later ones does not count.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Writes scalars into an event file of its own. A run that is taken up again writes a further file, which says from which
/// step on the earlier ones do not count.
pub(crate) struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Begins a file in `folder`, which is made where it is not there, for what comes after `step` steps.
    pub(crate) fn begin(folder: &Path, step: u64) -> Result<Self> {
        let context = || format!("cannot write event files into `{}`", folder.display());
        fs::create_dir_all(folder).with_context(context)?;
        let path = folder.join(next_name(folder, SystemTime::now()).with_context(context)?);
        let file = File::create_new(&path).with_context(context)?;
        let mut events = Self { path, file: BufWriter::new(file) };
        events.write(0, What::FileVersion(FORM.to_owned()))?;
        // The first step that is written is `step + 1`.
        events.write(step + 1, What::SessionLog(SessionLog { status: START }))?;
        Ok(events)
    }

    /// Writes what of `scalars` is known after `step` steps; it is in the file when this returns.
    pub(crate) fn scalars(&mut self, step: u64, scalars: &[(&str, Option<f64>)]) -> Result<()> {
        let known = scalars.iter().filter_map(|&(tag, value)| Some((tag, value?)));
        let value = known.map(|(tag, value)| Scalar { tag: tag.to_owned(), simple_value: value as f32 });
        self.write(step, What::Summary(Summary { value: value.collect() }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = Event { wall_time, step: i64::try_from(step).unwrap_or(i64::MAX), what: Some(what) };
        let written = write_record(&mut self.file, &event.encode_to_vec()).and_then(|()| self.file.flush());
        written.with_context(|| format!("cannot write the event file `{}`", self.path.display()))
    }
}

/// A name behind all that are there: TensorBoard reads the files of a folder in the order of their names.
fn next_name(folder: &Path, now: SystemTime) -> io::Result<String> {
    let mut last = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix("events.out.tfevents.") else { continue };
        count += 1;
        last = last.max(rest.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0));
    }
    Ok(format!("events.out.tfevents.{last:010}.layerprune.{count:06}"))
}

/// A TFRecord: the length, its check sum, the content, and its check sum, all little-endian.
fn write_record(to: &mut impl Write, content: &[u8]) -> io::Result<()> {
    let length = (content.len() as u64).to_le_bytes();
    to.write_all(&length)?;
    to.write_all(&masked_check_sum(&length).to_le_bytes())?;
    to.write_all(content)?;
    to.write_all(&masked_check_sum(content).to_le_bytes())
}

/// CRC-32C, turned and shifted as TFRecord files want it, so that a sum over data with sums inside stays sound.
fn masked_check_sum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The events of a file; a record that is cut off or damaged is a fault.
    fn events(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (length, behind) = rest.split_first_chunk::<8>().unwrap();
            let (sum, behind) = behind.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_le_bytes(*sum), masked_check_sum(length));
            let (content, behind) = behind.split_at(u64::from_le_bytes(*length) as usize);
            let (sum, behind) = behind.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_le_bytes(*sum), masked_check_sum(content));
            found.push(Event::decode(content).unwrap());
            rest = behind;
        }
        found
    }

    #[test]
    fn check_sums_are_those_of_tfrecord_files() {
        // CRC-32C of `123456789` is 0xe3069283 (RFC 3720, B.4 has others of the same kind).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // 24 as a length: what TensorBoard's own writer puts behind it for the event of 24 bytes that begins every file.
        assert_eq!(masked_check_sum(&24_u64.to_le_bytes()), 0x224b_7fa3);
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::begin(folder.path(), 0).unwrap();
        file.scalars(1, &[("train/loss", Some(0.5)), ("learning-rate", Some(0.01)), ("top-1", None)]).unwrap();
        file.scalars(2, &[("train/loss", Some(0.25))]).unwrap();
        let found = events(&file.path);
        assert_eq!(found[0].what, Some(What::FileVersion(FORM.to_owned())));
        assert_eq!((found[1].step, &found[1].what), (1, &Some(What::SessionLog(SessionLog { status: START }))));
        let scalar = |tag: &str, value| Scalar { tag: tag.to_owned(), simple_value: value };
        let summary = |value| Some(What::Summary(Summary { value }));
        assert_eq!(found[2].what, summary(vec![scalar("train/loss", 0.5), scalar("learning-rate", 0.01)]));
        assert_eq!((found[3].step, &found[3].what), (2, &summary(vec![scalar("train/loss", 0.25)])));
        assert_eq!(found.len(), 4);
        assert!(found[3].wall_time > 1.7e9);
    }

    #[test]
    fn a_later_file_comes_behind_an_earlier_one_even_when_the_clock_went_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut names = Vec::new();
        for seconds in [1_000_000_000, 1_000_000_000, 999_999_999, 1_000_000_001] {
            names.push(next_name(folder.path(), at(seconds)).unwrap());
            fs::write(folder.path().join(names.last().unwrap()), "").unwrap();
        }
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names[0], "events.out.tfevents.1000000000.layerprune.000000");
    }
}

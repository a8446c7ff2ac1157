//! Event files for TensorBoard, read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
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

/// Each tag with its values by step, as TensorBoard takes them: files in the order of their names, and a session that starts at a
/// step makes what was said of it and later ones void. A record that is cut off may only end a file.
pub(crate) fn scalars(folder: &Path) -> BTreeMap<String, BTreeMap<i64, f32>> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    let mut found: BTreeMap<String, BTreeMap<i64, f32>> = BTreeMap::new();
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        let events = records(&bytes);
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"), "{}", path.display());
        for event in events {
            if event.session_log.is_some_and(|log| log.status == 1) {
                for values in found.values_mut() {
                    values.retain(|&step, _| step < event.step);
                }
            }
            for scalar in event.summary.into_iter().flat_map(|summary| summary.value) {
                found.entry(scalar.tag).or_default().insert(event.step, scalar.simple_value);
            }
        }
    }
    found
}

fn records(mut bytes: &[u8]) -> Vec<Event> {
    let mut found = Vec::new();
    while let Some((event, rest)) = record(bytes) {
        found.push(event);
        bytes = rest;
    }
    found
}

/// The first record, and what follows; `None` where none is complete.
fn record(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (content, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
    let (content_sum, rest) = rest.split_first_chunk::<4>()?;
    assert_eq!([*sum, *content_sum].map(u32::from_le_bytes), [length, content].map(masked));
    Some((Event::decode(content).unwrap(), rest))
}

fn masked(bytes: &[u8]) -> u32 {
    let sum = crc32c::crc32c(bytes);
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

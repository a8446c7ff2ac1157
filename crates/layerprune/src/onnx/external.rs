//! Tensors stored in files beside the model.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::path::{Component, Path, PathBuf};

use prost::Message;
use prost::bytes::Bytes;

use super::convert::try_for_each_tensor;
use super::{DataFile, OnnxError};
use crate::graph::tensor;
use crate::graph::tensor::is_external;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto};

/// Offsets of tensors that get a new place are multiples of this.
const ALIGNMENT: usize = 64;

/// Gives every external tensor its bytes; returns the files they came from, each read once.
pub(super) fn load(model: &mut ModelProto, folder: &Path) -> Result<BTreeMap<String, DataFile>, OnnxError> {
    let mut files: BTreeMap<String, DataFile> = BTreeMap::new();
    try_for_each_tensor(model, &mut |tensor, place| {
        if !is_external(tensor) {
            return Ok(());
        }
        let fault = |reason: String| fault(tensor, place, reason);
        let name = match entry(tensor, "location") {
            None | Some("") => return Err(fault("has no location".to_owned())),
            Some(location) => plain(location).ok_or_else(|| fault("lies outside the model's folder".to_owned()))?,
        };
        if !files.contains_key(&name) {
            let bytes = read_file(folder, &name).map_err(fault)?;
            files.insert(name.clone(), DataFile { bytes, tensors: 0 });
        }
        let file = files.get_mut(&name).expect("it was just put there");
        let bytes = part(tensor, &file.bytes).map_err(fault)?;
        file.tensors += 1;
        tensor.raw_data = Some(bytes);
        Ok(())
    })?;
    Ok(files)
}

/// Fails on the first tensor whose bytes are elsewhere.
pub(super) fn refuse(model: &mut ModelProto) -> Result<(), OnnxError> {
    try_for_each_tensor(model, &mut |tensor, place| match is_external(tensor) {
        true => Err(fault(tensor, place, "cannot be found for a model that is not read from a file".to_owned())),
        false => Ok(()),
    })
}

/// Makes every external tensor an ordinary one.
pub(super) fn inline(model: &mut ModelProto) {
    for_each_tensor(model, |tensor| {
        if is_external(tensor) {
            tensor.data_location = None;
            tensor.external_data.clear();
        }
    });
}

/// Marks every tensor of at least `smallest` bytes as external in file `location`.
pub(super) fn spill(model: &mut ModelProto, location: &str, smallest: usize) {
    for_each_tensor(model, |tensor| {
        let large = !is_external(tensor) && tensor::raw_length(tensor).is_some_and(|length| length >= smallest);
        if large && tensor::make_raw(tensor) {
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.external_data = vec![pair("location", location)];
        }
    });
}

/// Moves the external tensors whose location `moves` into file `location`.
pub(super) fn relocate(model: &mut ModelProto, location: &str, moves: impl Fn(&str) -> bool) {
    for_each_tensor(model, |tensor| {
        if is_external(tensor) && moves(entry(tensor, "location").unwrap_or_default()) {
            tensor.external_data = vec![pair("location", location)];
        }
    });
}

/// The data files that the model in file `path` reads; none where there is no such model.
pub(super) fn locations_of(path: &Path) -> BTreeSet<String> {
    let mut locations = BTreeSet::new();
    let model = fs::read(path).ok().and_then(|bytes| ModelProto::decode(Bytes::from(bytes)).ok());
    if let Some(mut model) = model {
        for_each_tensor(&mut model, |tensor| {
            if is_external(tensor) {
                locations.extend(entry(tensor, "location").and_then(plain));
            }
        });
    }
    locations
}

/// Takes the bytes of external tensors out of the model: for each file its content, offsets written into the tensors.
///
/// A file whose tensors are all still there, in their old sizes, keeps its layout and what else it holds (`read` has
/// the files as they were); another is packed anew.
pub(super) fn unload(model: &mut ModelProto, read: &BTreeMap<String, DataFile>) -> BTreeMap<String, Vec<u8>> {
    let mut parts: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    for_each_tensor(model, |tensor| {
        if is_external(tensor) {
            parts.entry(name_of(tensor)).or_default().push(Part::of(tensor));
        }
    });
    let kept: BTreeMap<&String, Vec<u8>> =
        parts.iter().filter_map(|(name, parts)| Some((name, in_old_layout(read.get(name)?, parts)?))).collect();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for_each_tensor(model, |tensor| {
        if !is_external(tensor) {
            return;
        }
        let name = name_of(tensor);
        let raw = tensor.raw_data.take().unwrap_or_default();
        if let Some(bytes) = kept.get(&name) {
            if bytes[..] != read[&name].bytes[..] {
                tensor.external_data.retain(|pair| pair.key() != "checksum");
            }
            return;
        }
        let file = files.entry(name).or_default();
        file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
        set(tensor, "offset", &file.len().to_string());
        set(tensor, "length", &raw.len().to_string());
        tensor.external_data.retain(|pair| pair.key() != "checksum");
        file.extend_from_slice(&raw);
    });
    files.extend(kept.into_iter().map(|(name, bytes)| (name.clone(), bytes)));
    files
}

/// Where a tensor was read from a file, and what it holds now.
struct Part {
    offset: Option<usize>,
    length: Option<usize>,
    bytes: Bytes,
}

impl Part {
    fn of(tensor: &TensorProto) -> Self {
        let number = |key, absent| entry(tensor, key).map_or(Some(absent), |text| text.trim().parse().ok());
        let bytes = tensor.raw_data.clone().unwrap_or_default();
        Self { offset: number("offset", 0), length: number("length", bytes.len()), bytes }
    }
}

/// The file with the tensors' present bytes in their old places; `None` where they do not fit in there. Tensors that
/// shared bytes and no longer hold the same do not fit.
fn in_old_layout(file: &DataFile, parts: &[Part]) -> Option<Vec<u8>> {
    if parts.len() != file.tensors {
        return None;
    }
    let mut bytes = file.bytes.to_vec();
    let range = |part: &Part| {
        let start = part.offset.filter(|_| part.length == Some(part.bytes.len()))?;
        Some(start..start.checked_add(part.bytes.len())?)
    };
    for part in parts {
        bytes.get_mut(range(part)?)?.copy_from_slice(&part.bytes);
    }
    parts.iter().all(|part| range(part).and_then(|range| bytes.get(range)) == Some(&part.bytes[..])).then_some(bytes)
}

fn read_file(folder: &Path, name: &str) -> Result<Bytes, String> {
    let io = |error: std::io::Error| format!("cannot be read: {error}");
    let path: PathBuf = folder.join(name).canonicalize().map_err(io)?;
    if !path.starts_with(folder.canonicalize().map_err(io)?) {
        return Err("lies outside the model's folder, behind a link".to_owned());
    }
    // A pipe would be waited for, a device might never end.
    if !fs::metadata(&path).map_err(io)?.is_file() {
        return Err("is no file".to_owned());
    }
    fs::read(&path).map(Bytes::from).map_err(io)
}

/// The bytes of `tensor` in the file that it names.
fn part(tensor: &TensorProto, file: &Bytes) -> Result<Bytes, String> {
    let size = |key| match entry(tensor, key) {
        None => Ok(None),
        Some(text) => text.trim().parse().map(Some).map_err(|_| format!("has {key} `{text}`, which is no size")),
    };
    let offset: usize = size("offset")?.unwrap_or(0);
    let length: usize = match size("length")? {
        Some(length) => length,
        None => tensor::raw_length(tensor).unwrap_or_else(|| file.len().saturating_sub(offset)),
    };
    match offset.checked_add(length).filter(|&end| end <= file.len()) {
        Some(end) => Ok(file.slice(offset..end)),
        None => Err(format!("holds {} bytes; {length} at offset {offset} are asked for", file.len())),
    }
}

/// `location` with `/` between its parts; `None` where it is empty or leads out of the folder by `..` or a root.
pub(super) fn plain(location: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in Path::new(location).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn name_of(tensor: &TensorProto) -> String {
    let location = entry(tensor, "location").unwrap_or_default();
    plain(location).unwrap_or_else(|| location.to_owned())
}

fn for_each_tensor(model: &mut ModelProto, mut visit: impl FnMut(&mut TensorProto)) {
    let done: Result<(), Infallible> = try_for_each_tensor(model, &mut |tensor, _| {
        visit(tensor);
        Ok(())
    });
    let Ok(()) = done;
}

fn entry<'t>(tensor: &'t TensorProto, key: &str) -> Option<&'t str> {
    tensor.external_data.iter().find(|pair| pair.key() == key).map(|pair| pair.value())
}

fn set(tensor: &mut TensorProto, key: &str, value: &str) {
    match tensor.external_data.iter_mut().find(|pair| pair.key() == key) {
        Some(pair) => pair.value = Some(value.to_owned()),
        None => tensor.external_data.push(pair(key, value)),
    }
}

fn pair(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

fn fault(tensor: &TensorProto, place: &dyn Fn() -> String, reason: String) -> OnnxError {
    let place = if tensor.name().is_empty() { place() } else { format!("tensor `{}`", tensor.name()) };
    OnnxError::External { place, location: entry(tensor, "location").unwrap_or_default().to_owned(), reason }
}

//! Tensors stored in files beside the model.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::OnnxError;
use super::convert::try_for_each_tensor;
use crate::graph::tensor::is_external;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{ModelProto, StringStringEntryProto, TensorProto};

/// Offsets of tensors that get a new place are multiples of this.
const ALIGNMENT: u64 = 64;

/// Loads the bytes of every external tensor; returns how many tensors each file serves.
pub(super) fn load(model: &mut ModelProto, folder: &Path) -> Result<BTreeMap<String, usize>, OnnxError> {
    let mut counts = BTreeMap::new();
    try_for_each_tensor(model, &mut |tensor, _| {
        if is_external(tensor) {
            let bytes = read_bytes(tensor, folder)?;
            tensor.raw_data = Some(bytes.into());
            *counts.entry(entry(tensor, "location").unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        Ok::<(), OnnxError>(())
    })?;
    Ok(counts)
}

/// Fails on the first tensor whose bytes are elsewhere.
pub(super) fn refuse(model: &mut ModelProto) -> Result<(), OnnxError> {
    try_for_each_tensor(model, &mut |tensor, _| {
        if is_external(tensor) && tensor.raw_data.is_none() {
            return Err(fault(tensor, "cannot be found for a model that is not read from a file"));
        }
        Ok(())
    })
}

/// Makes every external tensor an ordinary one.
pub(super) fn inline(model: &mut ModelProto) {
    let done: Result<(), Infallible> = try_for_each_tensor(model, &mut |tensor, _| {
        if is_external(tensor) {
            tensor.data_location = None;
            tensor.external_data.clear();
        }
        Ok(())
    });
    let Ok(()) = done;
}

/// Marks every tensor of at least `smallest` bytes as external in file `location`.
pub(super) fn spill(model: &mut ModelProto, location: &str, smallest: usize) {
    let done: Result<(), Infallible> = try_for_each_tensor(model, &mut |tensor, _| {
        if !is_external(tensor) && tensor.raw_data.as_ref().is_some_and(|raw| raw.len() >= smallest) {
            tensor.data_location = Some(DataLocation::External as i32);
            tensor.external_data = vec![pair("location", location)];
        }
        Ok(())
    });
    let Ok(()) = done;
}

/// Moves every external tensor into file `location`.
pub(super) fn relocate(model: &mut ModelProto, location: &str) {
    let done: Result<(), Infallible> = try_for_each_tensor(model, &mut |tensor, _| {
        if is_external(tensor) {
            set(tensor, "location", location);
        }
        Ok(())
    });
    let Ok(()) = done;
}

/// Takes the bytes of external tensors out of the model: for each file its content, offsets written into the tensors.
///
/// A file whose tensors are all still there keeps its layout (`counts` says how many it had); another is packed anew.
pub(super) fn unload(model: &mut ModelProto, counts: &BTreeMap<String, usize>) -> BTreeMap<String, Vec<u8>> {
    let mut present: BTreeMap<String, usize> = BTreeMap::new();
    let mut unchanged: BTreeMap<String, bool> = BTreeMap::new();
    let counted: Result<(), Infallible> = try_for_each_tensor(model, &mut |tensor, _| {
        if is_external(tensor) {
            let location = entry(tensor, "location").unwrap_or_default().to_owned();
            let stored = tensor.raw_data.as_ref().map_or(0, |raw| raw.len() as u64);
            let same = number(tensor, "length").is_none_or(|length| length == stored) && offset_fits(tensor);
            *unchanged.entry(location.clone()).or_insert(true) &= same;
            *present.entry(location).or_insert(0) += 1;
        }
        Ok(())
    });
    let Ok(()) = counted;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let moved: Result<(), Infallible> = try_for_each_tensor(model, &mut |tensor, _| {
        if !is_external(tensor) {
            return Ok(());
        }
        let location = entry(tensor, "location").unwrap_or_default().to_owned();
        let keep_layout = unchanged[&location] && counts.get(&location) == present.get(&location);
        let file = files.entry(location.clone()).or_default();
        let raw = tensor.raw_data.take().unwrap_or_default();
        let offset = if keep_layout {
            number(tensor, "offset").unwrap_or(0)
        } else {
            (file.len() as u64).next_multiple_of(ALIGNMENT)
        };
        let start = offset as usize;
        if file.len() < start + raw.len() {
            file.resize(start + raw.len(), 0);
        }
        file[start..start + raw.len()].copy_from_slice(&raw);
        if !keep_layout {
            set(tensor, "offset", &offset.to_string());
            set(tensor, "length", &raw.len().to_string());
            tensor.external_data.retain(|pair| pair.key() != "checksum");
        }
        Ok(())
    });
    let Ok(()) = moved;
    files
}

fn read_bytes(tensor: &TensorProto, folder: &Path) -> Result<Vec<u8>, OnnxError> {
    let path = inside(tensor, folder)?;
    let io = |error: std::io::Error| fault(tensor, &format!("cannot be read: {error}"));
    let mut file = File::open(&path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let offset = parse(tensor, "offset")?.unwrap_or(0);
    let length = match parse(tensor, "length")? {
        Some(length) => length,
        None => size.saturating_sub(offset),
    };
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(fault(tensor, &format!("holds {size} bytes; {length} at offset {offset} are asked for")));
    }
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    file.read_exact(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The file of an external tensor; anything that leaves `folder`, by `..`, a root or a link, is refused.
fn inside(tensor: &TensorProto, folder: &Path) -> Result<PathBuf, OnnxError> {
    let Some(location) = entry(tensor, "location").filter(|location| !location.is_empty()) else {
        return Err(fault(tensor, "has no location"));
    };
    let relative = Path::new(location);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(fault(tensor, "lies outside the model's folder"));
    }
    let io = |error: std::io::Error| fault(tensor, &format!("cannot be read: {error}"));
    let path = folder.join(relative).canonicalize().map_err(io)?;
    if !path.starts_with(folder.canonicalize().map_err(io)?) {
        return Err(fault(tensor, "lies outside the model's folder, behind a link"));
    }
    Ok(path)
}

fn parse(tensor: &TensorProto, key: &str) -> Result<Option<u64>, OnnxError> {
    match entry(tensor, key) {
        None => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| fault(tensor, &format!("has {key} `{text}`, which is no size")))
        }
    }
}

fn number(tensor: &TensorProto, key: &str) -> Option<u64> {
    entry(tensor, key).and_then(|text| text.parse().ok())
}

fn offset_fits(tensor: &TensorProto) -> bool {
    entry(tensor, "offset").is_none() || number(tensor, "offset").is_some()
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

fn fault(tensor: &TensorProto, reason: &str) -> OnnxError {
    OnnxError::External {
        tensor: tensor.name().to_owned(),
        location: entry(tensor, "location").unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
    }
}

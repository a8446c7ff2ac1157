//! Reading and writing the numbers of a stored tensor.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::proto::TensorProto;
use crate::proto::tensor_proto::{DataLocation, DataType};

/// A fault of a stored tensor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// A dimension below zero.
    #[error("tensor `{tensor}`: dimension {axis} is {size}, below zero")]
    NegativeDimension {
        /// The tensor's name.
        tensor: String,
        /// The axis.
        axis: usize,
        /// What the file says.
        size: i64,
    },
    /// More elements than memory can address.
    #[error("tensor `{tensor}`: {dims:?} holds more elements than memory can address")]
    TooLarge {
        /// The tensor's name.
        tensor: String,
        /// Its dimensions.
        dims: Vec<i64>,
    },
    /// The stored data does not fill the declared shape.
    #[error("tensor `{tensor}`: {dims:?} of {data_type} needs {expected} {unit}, {found} are stored")]
    WrongLength {
        /// The tensor's name.
        tensor: String,
        /// Its dimensions.
        dims: Vec<i64>,
        /// Its element type.
        data_type: String,
        /// How many the shape needs.
        expected: usize,
        /// How many are stored.
        found: usize,
        /// `bytes` or `elements`.
        unit: &'static str,
    },
    /// Numbers of another type were asked for.
    #[error("tensor `{tensor}`: has elements of {found}, {expected} are needed")]
    WrongType {
        /// The tensor's name.
        tensor: String,
        /// Its element type.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
}

/// The element type's ONNX name, such as `FLOAT`.
#[must_use]
pub fn data_type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(|_| format!("type {data_type}"), |known| known.as_str_name().to_owned())
}

/// The dimensions as sizes.
///
/// # Errors
/// [`TensorError::NegativeDimension`], or [`TensorError::TooLarge`] where their product overflows.
pub fn shape(tensor: &TensorProto) -> Result<Vec<usize>, TensorError> {
    let mut sizes = Vec::with_capacity(tensor.dims.len());
    for (axis, &size) in tensor.dims.iter().enumerate() {
        sizes.push(usize::try_from(size).map_err(|_| TensorError::NegativeDimension {
            tensor: tensor.name().to_owned(),
            axis,
            size,
        })?);
    }
    // A zero among them must not hide the rest: sizes are multiplied in other orders and in part further on.
    let product = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)));
    match product.and_then(|elements| elements.checked_mul(16)) {
        Some(_) => Ok(sizes),
        None => Err(TensorError::TooLarge { tensor: tensor.name().to_owned(), dims: tensor.dims.clone() }),
    }
}

/// Bits of one element as raw data stores it; `None` for strings and types unknown to the schema.
#[must_use]
pub fn element_bits(data_type: i32) -> Option<usize> {
    Some(match DataType::try_from(data_type).ok()? {
        DataType::Undefined | DataType::String => return None,
        DataType::Int8
        | DataType::Uint8
        | DataType::Bool
        | DataType::Float8e4m3fn
        | DataType::Float8e4m3fnuz
        | DataType::Float8e5m2
        | DataType::Float8e5m2fnuz
        | DataType::Float8e8m0 => 8,
        DataType::Int16 | DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Int32 | DataType::Uint32 | DataType::Float => 32,
        DataType::Int64 | DataType::Uint64 | DataType::Double | DataType::Complex64 => 64,
        DataType::Complex128 => 128,
        DataType::Float6e2m3 | DataType::Float6e3m2 => 6,
        DataType::Int4 | DataType::Uint4 | DataType::Float4e2m1 => 4,
        DataType::Int2 | DataType::Uint2 => 2,
    })
}

/// How many bytes the elements take as raw data; `None` for strings, unknown types and impossible shapes.
#[must_use]
pub fn raw_length(tensor: &TensorProto) -> Option<usize> {
    let elements: usize = shape(tensor).ok()?.iter().product();
    Some((elements * element_bits(tensor.data_type())?).div_ceil(8))
}

/// Stores the numbers of `tensor` as raw data, whichever field holds them; `false` where raw data cannot hold them so.
pub(crate) fn make_raw(tensor: &mut TensorProto) -> bool {
    if tensor.raw_data.is_some() {
        return true;
    }
    // Of strings there is no raw form, and six-bit numbers are packed there and one to a word here.
    let Some(bits) = element_bits(tensor.data_type()).filter(|&bits| bits != 6) else { return false };
    let mut raw: Vec<u8> = std::mem::take(&mut tensor.float_data).iter().flat_map(|x| x.to_le_bytes()).collect();
    raw.extend(std::mem::take(&mut tensor.double_data).iter().flat_map(|x| x.to_le_bytes()));
    raw.extend(std::mem::take(&mut tensor.int64_data).iter().flat_map(|x| x.to_le_bytes()));
    let narrow = move |word: [u8; 8]| word.into_iter().take(bits.div_ceil(8));
    raw.extend(std::mem::take(&mut tensor.uint64_data).iter().map(|x| x.to_le_bytes()).flat_map(narrow));
    let words = std::mem::take(&mut tensor.int32_data);
    raw.extend(words.iter().map(|&x| i64::from(x).to_le_bytes()).flat_map(narrow));
    tensor.raw_data = Some(raw.into());
    true
}

/// Checks that the stored data fills the declared shape exactly.
///
/// # Errors
/// The fault, naming the tensor.
pub fn check(tensor: &TensorProto) -> Result<(), TensorError> {
    let elements: usize = shape(tensor)?.iter().product();
    let wrong = |expected, found, unit| TensorError::WrongLength {
        tensor: tensor.name().to_owned(),
        dims: tensor.dims.clone(),
        data_type: data_type_name(tensor.data_type()),
        expected,
        found,
        unit,
    };
    if let Some(raw) = &tensor.raw_data {
        return match element_bits(tensor.data_type()) {
            Some(bits) if raw.len() != (elements * bits).div_ceil(8) => {
                Err(wrong((elements * bits).div_ceil(8), raw.len(), "bytes"))
            }
            _ => Ok(()),
        };
    }
    let per_word = match element_bits(tensor.data_type()) {
        Some(bits @ (2 | 4)) => 8 / bits,
        _ => 1,
    };
    let (expected, found) = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float) => (elements, tensor.float_data.len()),
        Ok(DataType::Complex64) => (2 * elements, tensor.float_data.len()),
        Ok(DataType::Double) => (elements, tensor.double_data.len()),
        Ok(DataType::Complex128) => (2 * elements, tensor.double_data.len()),
        Ok(DataType::Int64) => (elements, tensor.int64_data.len()),
        Ok(DataType::Uint32 | DataType::Uint64) => (elements, tensor.uint64_data.len()),
        Ok(DataType::String) => (elements, tensor.string_data.len()),
        _ => (elements.div_ceil(per_word), tensor.int32_data.len()),
    };
    if expected == found { Ok(()) } else { Err(wrong(expected, found, "elements")) }
}

/// The elements as `f32`, in row-major order. Half precision and doubles are converted.
///
/// # Errors
/// [`TensorError::WrongType`] for anything but floating point; the faults of [`check`].
pub fn to_f32(tensor: &TensorProto) -> Result<Cow<'_, [f32]>, TensorError> {
    check(tensor)?;
    let raw = tensor.raw_data.as_deref();
    let half_words = || match raw {
        Some(raw) => raw.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect::<Vec<_>>(),
        None => tensor.int32_data.iter().map(|&word| word as u16).collect(),
    };
    Ok(match (DataType::try_from(tensor.data_type()), raw) {
        (Ok(DataType::Float), None) => Cow::Borrowed(&tensor.float_data),
        (Ok(DataType::Float), Some(raw)) => {
            Cow::Owned(raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        (Ok(DataType::Double), None) => Cow::Owned(tensor.double_data.iter().map(|&x| x as f32).collect()),
        (Ok(DataType::Double), Some(raw)) => {
            Cow::Owned(raw.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect())
        }
        (Ok(DataType::Float16), _) => {
            Cow::Owned(half_words().into_iter().map(|word| f16::from_bits(word).to_f32()).collect())
        }
        (Ok(DataType::Bfloat16), _) => {
            Cow::Owned(half_words().into_iter().map(|word| bf16::from_bits(word).to_f32()).collect())
        }
        _ => return Err(wrong_type(tensor, "floating point")),
    })
}

/// The elements as `i64`, in row-major order.
///
/// # Errors
/// [`TensorError::WrongType`] for anything but `INT64`, `INT32` and `BOOL`; the faults of [`check`].
pub fn to_i64(tensor: &TensorProto) -> Result<Vec<i64>, TensorError> {
    check(tensor)?;
    Ok(match (DataType::try_from(tensor.data_type()), tensor.raw_data.as_deref()) {
        (Ok(DataType::Int64), None) => tensor.int64_data.clone(),
        (Ok(DataType::Int64), Some(raw)) => raw.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
        (Ok(DataType::Int32 | DataType::Bool), None) => tensor.int32_data.iter().map(|&x| i64::from(x)).collect(),
        (Ok(DataType::Int32), Some(raw)) => {
            raw.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect()
        }
        (Ok(DataType::Bool), Some(raw)) => raw.iter().map(|&b| i64::from(b)).collect(),
        _ => return Err(wrong_type(tensor, "INT64, INT32 or BOOL")),
    })
}

fn wrong_type(tensor: &TensorProto, expected: &'static str) -> TensorError {
    TensorError::WrongType { tensor: tensor.name().to_owned(), found: data_type_name(tensor.data_type()), expected }
}

/// The elements as numbers, whatever their type; `None` for types that are not followed and for faults of [`check`].
#[must_use]
pub fn numbers(tensor: &TensorProto) -> Option<Vec<f32>> {
    if let Ok(numbers) = to_f32(tensor) {
        return Some(numbers.into_owned());
    }
    if let Ok(numbers) = to_i64(tensor) {
        return Some(numbers.into_iter().map(|number| number as f32).collect());
    }
    check(tensor).ok()?;
    let raw = tensor.raw_data.as_deref();
    match (DataType::try_from(tensor.data_type()).ok()?, raw) {
        (DataType::Int8, Some(raw)) => Some(raw.iter().map(|&byte| f32::from(byte as i8)).collect()),
        (DataType::Uint8, Some(raw)) => Some(raw.iter().map(|&byte| f32::from(byte)).collect()),
        (DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16, None) => {
            Some(tensor.int32_data.iter().map(|&number| number as f32).collect())
        }
        _ => None,
    }
}

/// A copy of `tensor` with only the elements at `kept` of `axis`; name, element type and place of storage stay.
///
/// # Errors
/// The faults of [`check`]; [`TensorError::WrongType`] for elements that are not whole bytes.
///
/// # Panics
/// When there is no such axis, or an index is outside it.
pub fn select(tensor: &TensorProto, axis: usize, kept: &[usize]) -> Result<TensorProto, TensorError> {
    check(tensor)?;
    let mut new = tensor.clone();
    let bytes =
        element_bits(tensor.data_type()).filter(|bits| bits % 8 == 0 && make_raw(&mut new)).map(|bits| bits / 8);
    let (Some(bytes), Some(raw)) = (bytes, new.raw_data.take()) else {
        return Err(wrong_type(tensor, "of whole bytes"));
    };
    let dims = shape(tensor)?;
    let inner = dims[axis + 1..].iter().product::<usize>() * bytes;
    let mut selected = Vec::with_capacity(raw.len() / dims[axis].max(1) * kept.len());
    for outer in raw.chunks_exact((dims[axis] * inner).max(1)) {
        for &index in kept {
            selected.extend_from_slice(&outer[index * inner..(index + 1) * inner]);
        }
    }
    new.dims[axis] = kept.len() as i64;
    new.raw_data = Some(selected.into());
    Ok(new)
}

/// A new `FLOAT` tensor of shape `dims`.
///
/// # Panics
/// When `data` does not fill `dims`.
#[must_use]
pub fn from_f32(dims: &[usize], data: &[f32]) -> TensorProto {
    assert_eq!(dims.iter().product::<usize>(), data.len(), "data must fill the shape");
    TensorProto {
        dims: dims.iter().map(|&size| size as i64).collect(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..Default::default()
    }
}

/// A new `INT64` tensor of shape `dims`.
///
/// # Panics
/// When `data` does not fill `dims`.
#[must_use]
pub fn from_i64(dims: &[usize], data: &[i64]) -> TensorProto {
    assert_eq!(dims.iter().product::<usize>(), data.len(), "data must fill the shape");
    TensorProto {
        dims: dims.iter().map(|&size| size as i64).collect(),
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..Default::default()
    }
}

/// A new `INT32` tensor of shape `dims`; numbers that do not fit are clamped.
///
/// # Panics
/// When `data` does not fill `dims`.
#[must_use]
pub fn from_i32(dims: &[usize], data: &[i64]) -> TensorProto {
    let narrow = |&number: &i64| number.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    TensorProto {
        data_type: Some(DataType::Int32 as i32),
        raw_data: Some(data.iter().map(narrow).flat_map(i32::to_le_bytes).collect::<Vec<u8>>().into()),
        ..from_i64(dims, data)
    }
}

/// A copy of `tensor` with other numbers and shape; name, element type, doc string and place of storage stay.
///
/// # Errors
/// [`TensorError::WrongType`] where `tensor` is not floating point.
pub fn with_f32(tensor: &TensorProto, dims: &[usize], data: &[f32]) -> Result<TensorProto, TensorError> {
    let raw: Vec<u8> = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Ok(DataType::Double) => data.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
        Ok(DataType::Float16) => data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        Ok(DataType::Bfloat16) => data.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        _ => return Err(wrong_type(tensor, "floating point")),
    };
    let new = TensorProto {
        dims: dims.iter().map(|&size| size as i64).collect(),
        data_type: tensor.data_type,
        name: tensor.name.clone(),
        doc_string: tensor.doc_string.clone(),
        data_location: tensor.data_location,
        external_data: tensor.external_data.clone(),
        metadata_props: tensor.metadata_props.clone(),
        raw_data: Some(raw.into()),
        ..Default::default()
    };
    check(&new)?;
    Ok(new)
}

/// Whether the tensor's bytes belong into a file beside the model.
#[must_use]
pub fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

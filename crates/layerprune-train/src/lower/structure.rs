//! Constant, ConstantOfShape, Shape, Gather of integers, Cast, Identity: what feeds shape arithmetic.

use layerprune::graph::tensor;
use layerprune::proto::TensorProto;
use layerprune::proto::tensor_proto::DataType;

use super::{Call, Fault, Frame, Op, one};
use crate::value::{Ints, Value, any_rank};

/// Numbers known before the program runs.
#[derive(Debug, Clone)]
enum Known {
    Ints(Ints),
    Floats(Vec<f32>, Vec<usize>),
}

impl Known {
    fn new(stored: &TensorProto) -> Result<Self, Fault> {
        let fault = |error: tensor::TensorError| Fault(error.to_string());
        let dims = tensor::shape(stored).map_err(fault)?;
        Ok(match DataType::try_from(stored.data_type()) {
            Ok(DataType::Int64 | DataType::Int32 | DataType::Bool) => {
                Self::Ints(Ints { dims, data: tensor::to_i64(stored).map_err(fault)? })
            }
            _ => Self::Floats(tensor::to_f32(stored).map_err(fault)?.into_owned(), dims),
        })
    }

    fn value(&self, frame: &Frame<'_, '_>) -> Result<Value, Fault> {
        match self {
            Self::Ints(ints) => Ok(Value::Ints(ints.clone())),
            Self::Floats(data, dims) => frame.constant(data.clone(), dims),
        }
    }
}

pub(super) fn constant(call: &mut Call<'_>) -> Result<Op, Fault> {
    let known = if let Some(stored) = call.tensor("value")? {
        Known::new(stored)?
    } else if let Some(ints) = call.ints("value_ints")? {
        Known::Ints(Ints::list(ints.to_vec()))
    } else if let Some(number) = call.optional_float("value_float")? {
        Known::Floats(vec![number], Vec::new())
    } else {
        Known::Ints(Ints { dims: Vec::new(), data: vec![call.int("value_int", 0)?] })
    };
    Ok(one(move |frame| known.value(frame)))
}

pub(super) fn constant_of_shape(call: &mut Call<'_>) -> Result<Op, Fault> {
    let known = match call.tensor("value")? {
        Some(stored) => Known::new(stored)?,
        None => Known::Floats(vec![0.0], Vec::new()),
    };
    Ok(one(move |frame| {
        let shape = frame.ints(0)?.ok_or_else(|| Fault("input 0 is missing".to_owned()))?;
        let dims = super::shape::sizes(&shape.data)?;
        let len = dims.iter().try_fold(1_usize, |len, &size| len.checked_mul(size)).filter(|&len| len < 1 << 32);
        let len = len.ok_or_else(|| Fault(format!("shape {dims:?} is too large")))?;
        match &known {
            Known::Ints(Ints { data, .. }) => {
                Ok(Value::Ints(Ints { dims, data: vec![data.first().copied().unwrap_or(0); len] }))
            }
            Known::Floats(data, _) => frame.constant(vec![data.first().copied().unwrap_or(0.0); len], &dims),
        }
    }))
}

/// `start` and `end` are known from opset 15.
pub(super) fn shape(call: &mut Call<'_>) -> Result<Op, Fault> {
    let (start, end) = (call.int("start", 0)?, call.int("end", i64::MAX)?);
    Ok(one(move |frame| {
        let dims = frame.take(0)?.dims();
        let rank = dims.len() as i64;
        let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (clamp(start), clamp(end));
        Ok(Value::Ints(Ints::list(dims[start..end.max(start)].iter().map(|&size| size as i64).collect())))
    }))
}

pub(super) fn gather(call: &mut Call<'_>) -> Result<Op, Fault> {
    let axis = call.int("axis", 0)?;
    Ok(one(move |frame| {
        let Some(Ints { dims, data }) = frame.ints(0)? else { return Err(Fault("input 0 is missing".to_owned())) };
        let Some(indices) = frame.ints(1)? else { return Err(Fault("input 1 is missing".to_owned())) };
        let [len] = dims[..] else {
            return Err(Fault(format!("gathering from shape {dims:?} is not supported, only from a list")));
        };
        super::shape::axis(axis, 1)?;
        let at = |&index: &i64| {
            let place = if index < 0 { index + len as i64 } else { index };
            let found = usize::try_from(place).ok().and_then(|place| data.get(place)).copied();
            found.ok_or_else(|| Fault(format!("index {index} is out of range for {len} elements")))
        };
        let data = indices.data.iter().map(at).collect::<Result<_, _>>()?;
        Ok(Value::Ints(Ints { dims: indices.dims, data }))
    }))
}

/// Floating-point types are all computed with as `f32`.
pub(super) fn cast(call: &mut Call<'_>) -> Result<Op, Fault> {
    let to = call.int("to", 0)?;
    call.ignore(&["saturate"]);
    let to = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok());
    let to_ints = match to {
        Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16) => false,
        Some(DataType::Int64 | DataType::Int32) => true,
        other => return Err(Fault(format!("casting to {other:?} is not supported"))),
    };
    Ok(one(move |frame| {
        let value = frame.take(0)?;
        let is_ints = any_rank!(&value, _tensor => false, ints _ => true);
        match (to_ints, is_ints) {
            (false, true) => frame.constant(value.to_f32(), &value.dims()),
            (true, false) => {
                let data = value.to_f32().iter().map(|&x| x as i64).collect();
                Ok(Value::Ints(Ints { dims: value.dims(), data }))
            }
            _ => Ok(value),
        }
    }))
}

pub(super) fn identity(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| frame.take(0)))
}

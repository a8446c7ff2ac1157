//! Integers in place of real numbers.
//!
//! | operator | opsets |
//! |---|---|
//! | [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html) | 10: one scale; 13: `axis`, one scale per index; 19: `saturate`; 21: `block_size` (refused), `output_dtype`; 23: `precision` |
//! | [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html) | 10; 13: `axis`; 21: `block_size` (refused); 23: `output_dtype` |

use super::couple::{self, Coupler, DATA, End, RESULT};
use super::level::{Level, Number};
use super::{Call, Dim, Fact, OpRule, Reason, Role, attribute, axes, no_macs, sign};
use crate::graph::tensor;
use crate::proto::tensor_proto::DataType;

const LINEAR: OpRule = OpRule {
    op_type: "",
    opsets: (10, super::NEWEST_OPSET),
    attributes: &["axis", "block_size", "output_dtype", "precision", "saturate"],
    role: Role::Other,
    sign: sign::free,
    not_parameters: &[1, 2],
    infer: quantize,
    macs: no_macs,
    couple: scaled,
    adjust: couple::nothing,
    level: quantized_level,
};

/// `saturate(round(x / scale) + zero point)`.
pub static QUANTIZE_LINEAR: OpRule = OpRule { op_type: "QuantizeLinear", ..LINEAR };
/// `(x - zero point) scale`.
pub static DEQUANTIZE_LINEAR: OpRule = OpRule {
    op_type: "DequantizeLinear",
    infer: dequantize,
    level: |_, levels| Some((number(levels, 0)? - zero_point(levels)?) * number(levels, 1)?),
    ..LINEAR
};

/// The axis along which scales differ; `None` where there is one scale for all.
fn scaled_axis(call: &Call<'_>) -> Result<Option<usize>, Reason> {
    if attribute::int(call.node, "block_size", 0)? != 0 {
        return Err("`block_size` is not followed".to_owned());
    }
    let (Some(data), Some(scale)) = (call.shape(0)?, call.shape(1)?) else { return Ok(None) };
    match scale {
        [] | [Dim::Known(1)] => Ok(None),
        [size] => {
            let axis = axes::axis(attribute::int(call.node, "axis", 1)?, data.len())?;
            axes::shared(size, &data[axis])?;
            Ok(Some(axis))
        }
        _ => Err(format!("the scale has {} axes, 1 is needed", scale.len())),
    }
}

fn quantize(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    scaled_axis(call)?;
    let named = attribute::int(call.node, "output_dtype", 0)?;
    let data_type = match (call.optional(2), i32::try_from(named).ok().map(DataType::try_from)) {
        (Some(zero_point), _) => zero_point.data_type,
        (None, Some(Ok(named))) if named != DataType::Undefined => Some(named),
        (None, _) => Some(DataType::Uint8),
    };
    Ok(vec![Fact::new(data_type, call.input(0)?.shape.clone())])
}

fn dequantize(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    scaled_axis(call)?;
    Ok(vec![Fact::new(call.input(1)?.data_type, call.input(0)?.shape.clone())])
}

fn scaled(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    for position in [1, 2] {
        match scaled_axis(coupler.call)? {
            Some(axis) => coupler.same(End::Input(position).axis(0), RESULT.axis(axis)),
            None => coupler.own_all(End::Input(position)),
        }
    }
    Ok(())
}

fn number(levels: &[Level], position: usize) -> Number {
    let (Level::Own(number) | Level::Whole(number)) = *levels.get(position)?;
    number
}

/// An absent zero point is zero.
fn zero_point(levels: &[Level]) -> Number {
    match levels.get(2) {
        None => Some(0.0),
        Some(_) => number(levels, 2),
    }
}

/// Only of zero it is known what rounding makes of it.
fn quantized_level(_: &Call<'_>, levels: &[Level]) -> Number {
    if number(levels, 0)? == 0.0 { zero_point(levels) } else { None }
}

/// The real numbers that a `DequantizeLinear` node makes of stored integers; `None` where it reads computed ones.
#[must_use]
pub fn dequantized(call: &Call<'_>) -> Option<Vec<f32>> {
    let stored = |position: usize| tensor::numbers(call.optional(position)?.stored.as_ref()?);
    let (mut numbers, scales) = (stored(0)?, stored(1)?);
    let zero_points = match call.optional(2) {
        Some(_) => stored(2)?,
        None => vec![0.0; scales.len()],
    };
    let dims = tensor::shape(call.optional(0)?.stored.as_ref()?).ok()?;
    let inner = match scaled_axis(call).ok()? {
        Some(axis) => dims[axis + 1..].iter().product(),
        None => numbers.len(),
    };
    for (place, number) in numbers.iter_mut().enumerate() {
        let index = place / inner.max(1) % scales.len().max(1);
        *number = (*number - zero_points.get(index)?) * scales.get(index)?;
    }
    Some(numbers)
}

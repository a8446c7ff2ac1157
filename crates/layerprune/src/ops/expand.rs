//! Operators that repeat elements.
//!
//! | operator | opsets |
//! |---|---|
//! | [Expand](https://onnx.ai/onnx/operators/onnx__Expand.html) | 8, 13 |
//! | [Tile](https://onnx.ai/onnx/operators/onnx__Tile.html) | 6, 13 |

use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, broadcast, no_macs, sign};

const REPEAT: OpRule = OpRule {
    op_type: "",
    opsets: (6, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1],
    infer: tile,
    macs: no_macs,
};

/// Broadcast to a shape.
pub static EXPAND: OpRule = OpRule { op_type: "Expand", opsets: (8, super::NEWEST_OPSET), infer: expand, ..REPEAT };
/// Repeated along each axis.
pub static TILE: OpRule = OpRule { op_type: "Tile", ..REPEAT };

fn expand(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let target = super::reshape::target_dims(call.input(1)?)?;
    let (Some(dims), Some(target)) = (&data.shape, target) else {
        return Ok(vec![Fact::new(data.data_type, None)]);
    };
    let shape = broadcast::together([&dims[..], &target])?;
    let content = broadcast::map(&[data], &shape, |elements| elements[0].clone());
    Ok(vec![Fact { data_type: data.data_type, shape: Some(shape), content, stored: None }])
}

fn tile(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let Some(dims) = &data.shape else { return Ok(vec![Fact::new(data.data_type, None)]) };
    let Some(repeats) = super::reshape::target(call.input(1)?)? else {
        return Ok(vec![Fact::new(data.data_type, Some(vec![Dim::Unknown; dims.len()]))]);
    };
    if repeats.len() != dims.len() {
        return Err(format!("{} repeats are given for {} axes", repeats.len(), dims.len()));
    }
    let shape: Result<Vec<Dim>, Reason> = dims.iter().zip(&repeats).map(|(dim, times)| repeated(dim, times)).collect();
    Ok(vec![Fact::new(data.data_type, Some(shape?))])
}

fn repeated(dim: &Dim, times: &Element) -> Result<Dim, Reason> {
    match (dim, times) {
        (dim, Element::Known(1)) => Ok(dim.clone()),
        (Dim::Known(1), times @ Element::Symbol(_)) => Ok(Dim::from(times)),
        (Dim::Known(size), Element::Known(times)) => usize::try_from(*times)
            .ok()
            .and_then(|times| size.checked_mul(times))
            .map(Dim::Known)
            .ok_or_else(|| format!("an axis of {size} can't be repeated {times} times")),
        (_, Element::Known(times)) if *times < 0 => Err(format!("an axis can't be repeated {times} times")),
        _ => Ok(Dim::Unknown),
    }
}

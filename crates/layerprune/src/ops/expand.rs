//! Operators that repeat elements.
//!
//! | operator | opsets |
//! |---|---|
//! | [Expand](https://onnx.ai/onnx/operators/onnx__Expand.html) | 8, 13 |
//! | [Tile](https://onnx.ai/onnx/operators/onnx__Tile.html) | 6, 13 |

use super::couple::{self, Adjustment, Coupler, Cut, DATA, End, RESULT};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, broadcast, level, no_macs, sign};

const REPEAT: OpRule = OpRule {
    op_type: "",
    opsets: (6, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1],
    infer: tile,
    macs: no_macs,
    couple: tiled,
    adjust: couple::nothing,
    level: level::copied,
};

/// Broadcast to a shape.
pub static EXPAND: OpRule =
    OpRule { op_type: "Expand", opsets: (8, super::NEWEST_OPSET), infer: expand, couple: spread, adjust, ..REPEAT };
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

/// Axes that the input has stay as they are; those along which it is repeated belong to nothing else.
fn spread(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.own_all(End::Input(1));
    coupler.own_all(RESULT);
    coupler.broadcast(DATA, RESULT);
    Ok(())
}

/// Sizes that the target shape names follow those of the axes; `1` does by itself.
fn adjust(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let Some(target) = super::reshape::target_dims(call.input(1)?)? else { return Ok(Vec::new()) };
    let rank = call.shape(0)?.map_or(target.len(), |dims| dims.len().max(target.len()));
    let offset = rank - target.len();
    let changed: Vec<(usize, i64)> = target
        .iter()
        .enumerate()
        .filter(|(_, size)| **size != Dim::Known(1))
        .filter_map(|(place, _)| Some((place, cut.kept(RESULT.axis(place + offset))?.len() as i64)))
        .collect();
    Ok(if changed.is_empty() { Vec::new() } else { vec![Adjustment::Elements { input: 1, changed }] })
}

fn tiled(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.own_all(End::Input(1));
    let repeats = super::reshape::target(coupler.call.input(1)?)?.unwrap_or_default();
    for axis in 0..coupler.rank(DATA) {
        let (from, to) = (DATA.axis(axis), RESULT.axis(axis));
        if repeats.get(axis) == Some(&Element::Known(1)) {
            coupler.same(from, to);
        } else {
            coupler.pin(from, "it is repeated");
            coupler.pin(to, "it is repeated");
        }
    }
    Ok(())
}

//! Resizing maps.
//!
//! | operator | opsets |
//! |---|---|
//! | [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html) | 10: scales; 11: region, scales or sizes, many modes; 13: absent inputs; 18: `axes`, `antialias`, `keep_aspect_ratio_policy` (only `stretch` is followed); 19: more coordinate modes. `tf_crop_and_resize` is refused |
//! | [Upsample](https://onnx.ai/onnx/operators/onnx__Upsample.html) | 7: scales are an attribute; 9: an input; gone since 10 |

use super::couple::{self, Adjustment, Coupler, Cut, DATA, End, RESULT};
use super::{Call, Dim, Fact, OpRule, Reason, Role, Sign, attribute, axes, level, no_macs, sign};
use crate::graph::tensor;

/// Maps of another size.
pub static RESIZE: OpRule = OpRule {
    op_type: "Resize",
    opsets: (10, super::NEWEST_OPSET),
    attributes: &[
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ],
    role: Role::Other,
    sign: resize_sign,
    not_parameters: &[1, 2, 3],
    infer: resize,
    macs: no_macs,
    couple: stretched,
    adjust,
    level: level::zero,
};

/// Larger maps.
pub static UPSAMPLE: OpRule = OpRule {
    op_type: "Upsample",
    opsets: (7, 9),
    attributes: &["mode", "scales"],
    role: Role::Other,
    sign: resize_sign,
    not_parameters: &[1],
    infer: upsample,
    macs: no_macs,
    couple: stretched,
    adjust: couple::nothing,
    level: level::zero,
};

/// How a `Resize` or `Upsample` node finds elements between those it has.
///
/// # Errors
/// Where ONNX does not define the mode.
fn check_mode(call: &Call<'_>) -> Result<(), Reason> {
    match attribute::string(call.node, "mode", "nearest")? {
        "nearest" | "linear" => Ok(()),
        "cubic" if call.opset >= 11 => Ok(()),
        other => Err(format!("`mode` is `{other}`, which opset {} does not define", call.opset)),
    }
}

/// Cubic weights are negative in part.
fn resize_sign(call: &Call<'_>) -> Sign {
    match attribute::string(call.node, "mode", "nearest") {
        Ok("nearest" | "linear") => sign::kept(call),
        _ => Sign::Free,
    }
}

/// Stored scales; `Ok(None)` where they are computed, or of no elements and so absent.
fn scales(call: &Call<'_>, position: usize) -> Result<Option<Vec<f32>>, Reason> {
    let Some(stored) = call.optional(position).and_then(|fact| fact.stored.as_ref()) else { return Ok(None) };
    let scales = tensor::to_f32(stored).map_err(|error| error.to_string())?.into_owned();
    Ok(Some(scales).filter(|scales| !scales.is_empty()))
}

fn scaled(dims: &[Dim], axes: &[usize], scales: &[f32]) -> Result<Vec<Dim>, Reason> {
    if scales.len() != axes.len() {
        return Err(format!("{} scales are given for {} axes", scales.len(), axes.len()));
    }
    let mut shape = dims.to_vec();
    for (&axis, &scale) in axes.iter().zip(scales) {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(format!("the scale of axis {axis} is {scale}, a number above 0 is needed"));
        }
        if scale != 1.0 {
            shape[axis] = match dims[axis] {
                // DIFFERENCE: single precision, as ONNX's shape inference and ONNX Runtime calculate.
                Dim::Known(size) => match (size as f32 * scale).floor() {
                    scaled if scaled < 1e9 => Dim::Known(scaled as usize),
                    scaled => return Err(format!("axis {axis} would grow to {scaled}")),
                },
                _ => Dim::Unknown,
            };
        }
    }
    Ok(shape)
}

fn all_axes(dims: &[Dim]) -> Vec<usize> {
    (0..dims.len()).collect()
}

fn resize(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    check_mode(call)?;
    let data = call.input(0)?;
    match attribute::string(call.node, "coordinate_transformation_mode", "half_pixel")? {
        "tf_crop_and_resize" => return Err("`coordinate_transformation_mode` is `tf_crop_and_resize`".to_owned()),
        _ if call.opset < 11 => attribute::absent(call, &["coordinate_transformation_mode"])?,
        _ => {}
    }
    match attribute::string(call.node, "keep_aspect_ratio_policy", "stretch")? {
        "stretch" => {}
        other => return Err(format!("`keep_aspect_ratio_policy` is `{other}`, only `stretch` is followed")),
    }
    let Some(dims) = &data.shape else { return Ok(vec![Fact::new(data.data_type, None)]) };
    let unknown = || Ok(vec![Fact::new(data.data_type, Some(vec![Dim::Unknown; dims.len()]))]);
    let shape = if call.opset < 11 {
        match scales(call, 1)? {
            Some(scales) => scaled(dims, &all_axes(dims), &scales)?,
            None => return unknown(),
        }
    } else {
        let axes = match attribute::ints(call.node, "axes")? {
            Some(numbers) => axes::axes(numbers, dims.len())?,
            None => all_axes(dims),
        };
        match (scales(call, 2)?, call.optional(3)) {
            (Some(_), Some(_)) => return Err("both scales and sizes are given".to_owned()),
            (Some(scales), None) => scaled(dims, &axes, &scales)?,
            (None, Some(sizes)) => sized(dims, &axes, sizes)?,
            (None, None) => return unknown(),
        }
    };
    Ok(vec![Fact::new(data.data_type, Some(shape))])
}

fn sized(dims: &[Dim], axes: &[usize], sizes: &Fact) -> Result<Vec<Dim>, Reason> {
    let sizes = super::reshape::target_dims(sizes)?.unwrap_or_else(|| vec![Dim::Unknown; axes.len()]);
    if sizes.len() != axes.len() {
        return Err(format!("{} sizes are given for {} axes", sizes.len(), axes.len()));
    }
    let mut shape = dims.to_vec();
    for (&axis, size) in axes.iter().zip(sizes) {
        shape[axis] = size;
    }
    Ok(shape)
}

fn upsample(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    check_mode(call)?;
    let data = call.input(0)?;
    let scales = if call.opset < 9 {
        Some(attribute::floats(call.node, "scales")?.ok_or("`scales` is absent")?.to_vec())
    } else {
        attribute::absent(call, &["scales"])?;
        scales(call, 1)?
    };
    let shape = match (&data.shape, scales) {
        (None, _) => None,
        (Some(dims), None) => Some(vec![Dim::Unknown; dims.len()]),
        (Some(dims), Some(scales)) => Some(scaled(dims, &all_axes(dims), &scales)?),
    };
    Ok(vec![Fact::new(data.data_type, shape)])
}

/// Axes that keep their size stay as they are; between the elements of others new ones are found.
fn stretched(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    for position in 1..4 {
        coupler.own_all(End::Input(position));
    }
    let (Some(before), Some(behind)) = (coupler.dims(DATA), coupler.dims(RESULT)) else {
        return Err("a shape is not known".to_owned());
    };
    for (axis, (from, to)) in before.iter().zip(behind).enumerate() {
        if from.same(to) {
            coupler.same(DATA.axis(axis), RESULT.axis(axis));
        } else {
            coupler.pin(DATA.axis(axis), "it is resized");
            coupler.pin(RESULT.axis(axis), "it is resized");
        }
    }
    Ok(())
}

/// Sizes that are written out follow those of the axes.
fn adjust(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let sizes_are_given = call.opset >= 11 && call.optional(3).is_some();
    let Some(dims) = call.shape(0)?.filter(|_| sizes_are_given) else { return Ok(Vec::new()) };
    let named = match attribute::ints(call.node, "axes")? {
        Some(numbers) => axes::axes(numbers, dims.len())?,
        None => all_axes(dims),
    };
    let changed: Vec<(usize, i64)> = named
        .iter()
        .enumerate()
        .filter_map(|(place, &axis)| Some((place, cut.kept(RESULT.axis(axis))?.len() as i64)))
        .collect();
    Ok(if changed.is_empty() { Vec::new() } else { vec![Adjustment::Elements { input: 3, changed }] })
}

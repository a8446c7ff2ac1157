//! Operators that put axes and elements in another order.
//!
//! | operator | opsets |
//! |---|---|
//! | [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html) | 1 |
//! | [DepthToSpace](https://onnx.ai/onnx/operators/onnx__DepthToSpace.html) | 1; 11: `mode` |
//! | [SpaceToDepth](https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html) | 1, 13 |

use super::couple::{self, Coupler, DATA, RESULT};
use super::{Call, Dim, Fact, OpRule, Reason, Role, attribute, axes, fact, level, no_macs, sign};

const ARRANGE: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[],
    infer: transpose,
    macs: no_macs,
    couple: permuted,
    adjust: couple::nothing,
    level: level::copied,
};

/// Channels become blocks of pixels.
pub static DEPTH_TO_SPACE: OpRule = OpRule {
    op_type: "DepthToSpace",
    attributes: &["blocksize", "mode"],
    infer: depth_to_space,
    couple: into_space,
    ..ARRANGE
};
/// Blocks of pixels become channels.
pub static SPACE_TO_DEPTH: OpRule = OpRule {
    op_type: "SpaceToDepth",
    attributes: &["blocksize"],
    infer: space_to_depth,
    couple: into_depth,
    ..ARRANGE
};
/// Axes in another order.
pub static TRANSPOSE: OpRule = OpRule { op_type: "Transpose", attributes: &["perm"], ..ARRANGE };

/// For each output axis of a `Transpose` node the input axis that it shows; reversed where `perm` is absent.
///
/// # Errors
/// Where `perm` does not name each of the `rank` axes once.
pub fn permutation(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, Reason> {
    let Some(perm) = attribute::ints(call.node, "perm")? else { return Ok((0..rank).rev().collect()) };
    if perm.len() != rank || perm.iter().any(|&axis| axis < 0) {
        return Err(format!("`perm` is {perm:?}, the input has {rank} axes"));
    }
    axes::axes(perm, rank)
}

fn transpose(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let Some(dims) = &data.shape else {
        let rank = attribute::ints(call.node, "perm")?.map(<[i64]>::len);
        return Ok(vec![Fact::new(data.data_type, rank.map(|rank| vec![Dim::Unknown; rank]))]);
    };
    let order = permutation(call, dims.len())?;
    let shape: Vec<Dim> = order.iter().map(|&axis| dims[axis].clone()).collect();
    let content = fact::picked(data.content.as_deref(), dims, &shape, |index| {
        let mut from = vec![0; index.len()];
        order.iter().zip(index).for_each(|(&axis, &at)| from[axis] = at);
        Some(from)
    });
    Ok(vec![Fact { data_type: data.data_type, shape: Some(shape), content, stored: None }])
}

/// The block size of a `DepthToSpace` or `SpaceToDepth` node.
///
/// # Errors
/// Where it is absent or not above 0.
pub fn block_size(call: &Call<'_>) -> Result<usize, Reason> {
    let size = attribute::int(call.node, "blocksize", 0)?;
    u32::try_from(size)
        .ok()
        .filter(|&size| size > 0)
        .map(|size| size as usize)
        .ok_or_else(|| format!("`blocksize` is {size}, a size above 0 is needed"))
}

/// Whether a `DepthToSpace` node takes the blocks from the front of the channel axis (`DCR`) and not its back (`CRD`).
///
/// # Errors
/// Where `mode` is neither.
pub fn depth_first(call: &Call<'_>) -> Result<bool, Reason> {
    match attribute::string(call.node, "mode", "DCR")? {
        "DCR" => Ok(true),
        "CRD" => Ok(false),
        other => Err(format!("`mode` is `{other}`, which ONNX does not define")),
    }
}

fn depth_to_space(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    depth_first(call)?;
    blocks(call, |channels, block| divided(channels, block.checked_mul(block)), |size, block| grown(size, Some(block)))
}

fn space_to_depth(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    blocks(call, |channels, block| grown(channels, block.checked_mul(block)), |size, block| divided(size, Some(block)))
}

type Resize = fn(&Dim, usize) -> Result<Dim, Reason>;

fn blocks(call: &Call<'_>, channels: Resize, space: Resize) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let block = block_size(call)?;
    let shape = match data.shape.as_deref() {
        None => vec![Dim::Unknown; 4],
        Some([batch, depth, height, width]) => {
            vec![batch.clone(), channels(depth, block)?, space(height, block)?, space(width, block)?]
        }
        Some(other) => return Err(format!("the input has {} axes, 4 are needed", other.len())),
    };
    Ok(vec![Fact::new(data.data_type, Some(shape))])
}

fn divided(size: &Dim, by: Option<usize>) -> Result<Dim, Reason> {
    match (size, by) {
        (_, Some(1)) => Ok(size.clone()),
        (Dim::Known(size), Some(by)) if size.is_multiple_of(by) => Ok(Dim::Known(size / by)),
        (Dim::Known(size), _) => Err(format!("size {size} does not divide into blocks")),
        _ => Ok(Dim::Unknown),
    }
}

fn grown(size: &Dim, by: Option<usize>) -> Result<Dim, Reason> {
    match (size, by) {
        (_, Some(1)) => Ok(size.clone()),
        (Dim::Known(size), Some(by)) => {
            size.checked_mul(by).map(Dim::Known).ok_or_else(|| format!("size {size} times {by} is too large"))
        }
        (Dim::Known(size), None) => Err(format!("size {size} times the block is too large")),
        _ => Ok(Dim::Unknown),
    }
}

fn permuted(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let order = permutation(coupler.call, coupler.rank(DATA))?;
    for (to, from) in order.into_iter().enumerate() {
        coupler.same(DATA.axis(from), RESULT.axis(to));
    }
    Ok(())
}

fn into_space(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let pixels = block_size(coupler.call)?.pow(2);
    let channels = coupler.size(RESULT.axis(1)).ok_or("the number of channels is not known")?;
    let inner = if depth_first(coupler.call)? { 1 } else { pixels };
    coupler.same(DATA.axis(0), RESULT.axis(0));
    coupler.part(RESULT.axis(1), DATA.axis(1), inner, channels);
    coupler.pin_from(2, &[DATA, RESULT], "pixels are put between its own");
    Ok(())
}

fn into_depth(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let channels = coupler.size(DATA.axis(1)).ok_or("the number of channels is not known")?;
    coupler.same(DATA.axis(0), RESULT.axis(0));
    coupler.part(DATA.axis(1), RESULT.axis(1), 1, channels);
    coupler.pin_from(2, &[DATA, RESULT], "its pixels become channels");
    Ok(())
}

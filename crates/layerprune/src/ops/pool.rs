//! Pooling.
//!
//! | operator | opsets |
//! |---|---|
//! | [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html) | 1; 8: `storage_order` and the second output; 10: `ceil_mode`, `dilations`; 11, 12, 22: text and types |
//! | [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html) | 1; 7: `count_include_pad`; 10: `ceil_mode`; 19: `dilations` |
//! | [LpPool](https://onnx.ai/onnx/operators/onnx__LpPool.html) | 1 with a fractional `p`; 2: a whole `p`; 18: `ceil_mode`, `dilations` |
//! | [GlobalAveragePool](https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html), GlobalMaxPool, GlobalLpPool | 1, 22 |

use super::conv::{Padding, Window};
use super::couple::{self, Coupler, DATA, End, RESULT};
use super::{Call, Dim, Fact, OpRule, Reason, Role, Sign, attribute, level, no_macs, sign};
use crate::proto::tensor_proto::DataType;

const POOL: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Pool,
    sign: sign::kept,
    not_parameters: &[],
    infer: windows,
    macs: no_macs,
    couple: pooled,
    adjust: couple::nothing,
    level: level::zero,
};

/// Mean of each window.
pub static AVERAGE_POOL: OpRule = OpRule {
    op_type: "AveragePool",
    attributes: &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"],
    ..POOL
};

/// Mean of each channel.
pub static GLOBAL_AVERAGE_POOL: OpRule = OpRule { op_type: "GlobalAveragePool", infer: global, ..POOL };

/// Norm of each channel.
pub static GLOBAL_LP_POOL: OpRule = OpRule {
    op_type: "GlobalLpPool",
    opsets: (2, super::NEWEST_OPSET),
    attributes: &["p"],
    sign: sign::non_negative,
    infer: global,
    ..POOL
};

/// Largest element of each channel.
pub static GLOBAL_MAX_POOL: OpRule = OpRule { op_type: "GlobalMaxPool", infer: global, ..POOL };

/// Norm of each window.
pub static LP_POOL: OpRule = OpRule {
    op_type: "LpPool",
    opsets: (2, super::NEWEST_OPSET),
    attributes: &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "p", "pads", "strides"],
    sign: sign::non_negative,
    ..POOL
};

/// Largest element of each window, and where it was.
pub static MAX_POOL: OpRule = OpRule {
    op_type: "MaxPool",
    attributes: &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"],
    sign: max_pool_sign,
    ..POOL
};

/// Settings of `MaxPool`, `AveragePool` and `LpPool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The window.
    pub window: Window,
    /// Whether a last window that does not fit whole is kept.
    pub ceil: bool,
    /// Whether padding counts in the mean (`AveragePool`).
    pub count_padding: bool,
}

impl Pool {
    /// Reads a pooling node.
    ///
    /// # Errors
    /// Where `kernel_shape` is absent or the attributes don't fit each other.
    pub fn read(call: &Call<'_>) -> Result<Self, Reason> {
        let kernel = attribute::ints(call.node, "kernel_shape")?.ok_or("`kernel_shape` is absent")?;
        let sizes: Option<Vec<usize>> = kernel.iter().map(|&size| usize::try_from(size).ok()).collect();
        let sizes = sizes.ok_or_else(|| format!("`kernel_shape` is {kernel:?}, sizes above 0 are needed"))?;
        Ok(Self {
            window: Window::read(call, sizes)?,
            ceil: attribute::flag(call.node, "ceil_mode", false)?,
            count_padding: attribute::flag(call.node, "count_include_pad", false)?,
        })
    }
}

fn windows(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let pool = Pool::read(call)?;
    let data = call.input(0)?;
    let axes = pool.window.kernel.len() + 2;
    let shape = match &data.shape {
        None => vec![Dim::Unknown; axes],
        Some(input) if input.len() != axes => {
            return Err(format!("the input has {} axes, the window is for {axes}", input.len()));
        }
        Some(input) => {
            let mut output = input[..2].to_vec();
            for (axis, size) in input[2..].iter().enumerate() {
                output.push(pool.window.output(axis, size, pool.ceil)?);
            }
            output
        }
    };
    Ok(vec![Fact::new(data.data_type, Some(shape.clone())), Fact::new(Some(DataType::Int64), Some(shape))])
}

fn global(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let shape = match &data.shape {
        None => None,
        Some(input) if input.len() < 3 => {
            return Err(format!("the input has {} axes, 3 or more are needed", input.len()));
        }
        Some(input) => {
            let mut output = input.clone();
            output[2..].fill(Dim::Known(1));
            Some(output)
        }
    };
    Ok(vec![Fact::new(data.data_type, shape)])
}

/// A window that lies wholly in the padding gives the lowest number there is.
fn max_pool_sign(call: &Call<'_>) -> Sign {
    let Ok(Pool { window, .. }) = Pool::read(call) else { return Sign::Free };
    let touches_input = window.dilations.iter().all(|&dilation| dilation == 1)
        && match &window.padding {
            Padding::Explicit(pads) => {
                pads.iter().zip(&window.kernel).all(|(&(before, after), &kernel)| before < kernel && after < kernel)
            }
            Padding::SameUpper | Padding::SameLower => true,
        };
    if touches_input { sign::kept(call) } else { Sign::Free }
}

/// Each channel is pooled by itself.
fn pooled(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.same(DATA.axis(0), RESULT.axis(0));
    coupler.same(DATA.axis(1), RESULT.axis(1));
    coupler.pin_from(2, &[DATA, RESULT], "windows slide over it");
    let places = End::Output(1);
    if coupler.rank(places) > 0 {
        for axis in [DATA.axis(1), RESULT.axis(1)] {
            coupler.pin(axis, "the places of the maxima count its channels");
        }
        coupler.pin_from(0, &[places], "it holds places");
    }
    Ok(())
}

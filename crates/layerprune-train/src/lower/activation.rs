//! Relu, LeakyRelu, Elu, Clip, Sigmoid, Tanh, HardSigmoid, HardSwish, Softmax, Dropout.
//!
//! Where a function has a kink, its derivative there is PyTorch's.

use burn::tensor::{Tensor, activation as burn_activation};

use super::{Call, Fault, Frame, Op, one};
use crate::kernel;
use crate::value::{Value, same_rank};

/// A function of each element of a floating-point tensor.
macro_rules! elementwise {
    ($frame:expr, $tensor:ident => $body:expr) => {
        Ok(same_rank!($frame.take(0)?, $tensor => $body, ints _ => return Err(integers())))
    };
}

fn integers() -> Fault {
    Fault("its input is integers, floating point is needed".to_owned())
}

pub(super) fn relu(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| elementwise!(frame, x => burn_activation::relu(x))))
}

pub(super) fn leaky_relu(call: &mut Call<'_>) -> Result<Op, Fault> {
    let alpha = f64::from(call.float("alpha", 0.01)?);
    Ok(one(move |frame| elementwise!(frame, x => burn_activation::relu(x.clone()) + x.clamp_max(0.0) * alpha)))
}

pub(super) fn elu(call: &mut Call<'_>) -> Result<Op, Fault> {
    let alpha = call.float("alpha", 1.0)?;
    // max(x, 0) + alpha (e^min(x, 0) - 1), so that no large power enters the gradient.
    Ok(one(move |frame| {
        elementwise!(frame, x => {
            burn_activation::relu(x.clone()) + (x.clamp_max(0.0).exp() - 1.0) * alpha
        })
    }))
}

pub(super) fn sigmoid(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| elementwise!(frame, x => burn_activation::sigmoid(x))))
}

pub(super) fn tanh(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| elementwise!(frame, x => x.tanh())))
}

pub(super) fn hard_sigmoid(call: &mut Call<'_>) -> Result<Op, Fault> {
    let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    Ok(one(move |frame| {
        let reference = frame.run.reference;
        elementwise!(frame, x => clipped(x * alpha + beta, [0.0, 1.0], reference))
    }))
}

pub(super) fn hard_swish(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| {
        let reference = frame.run.reference;
        elementwise!(frame, x => x.clone() * clipped(x / 6.0 + 0.5, [0.0, 1.0], reference))
    }))
}

fn clipped<const D: usize>(x: Tensor<D>, [low, high]: [f32; 2], reference: bool) -> Tensor<D> {
    let dims = x.dims();
    let len = dims.iter().product::<usize>();
    let clip = if reference { kernel::reference::clip } else { kernel::clip };
    clip(x.reshape([len]), low, high).reshape(dims)
}

/// Limits are attributes to opset 10, inputs from 11.
pub(super) fn clip(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given =
        if call.opset() < 11 { (call.optional_float("min")?, call.optional_float("max")?) } else { (None, None) };
    Ok(one(move |frame| {
        let low = given.0.or(frame.scalar(1)?);
        let high = given.1.or(frame.scalar(2)?);
        if low.is_none() && high.is_none() {
            return frame.take(0);
        }
        let (low, high) = (low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY));
        let reference = frame.run.reference;
        elementwise!(frame, x => clipped(x, [low, high], reference))
    }))
}

/// To opset 12 over all axes from `axis`, which is 1 by default; from 13 over `axis` alone, by default the last.
pub(super) fn softmax(call: &mut Call<'_>) -> Result<Op, Fault> {
    let together = call.opset() < 13;
    let axis = call.int("axis", if together { 1 } else { -1 })?;
    Ok(one(move |frame| {
        let value = frame.take(0)?;
        let dims = value.dims();
        let axis = super::shape::axis(axis, dims.len())?;
        if together && dims[axis + 1..].iter().any(|&size| size != 1) {
            return Err(Fault(format!("softmax over axes {axis} to {} together is not supported", dims.len() - 1)));
        }
        Ok(same_rank!(value, x => burn_activation::softmax(x, axis), ints _ => return Err(integers())))
    }))
}

/// The ratio is an attribute to opset 11, input 1 from 12. While training, elements are dropped whatever input 2 says.
pub(super) fn dropout(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = if call.opset() < 12 { Some(call.float("ratio", 0.5)?) } else { None };
    call.ignore(&["seed", "is_test"]);
    Ok(one(move |frame| {
        let ratio = match given {
            Some(ratio) => ratio,
            None => frame.scalar(1)?.unwrap_or(0.5),
        };
        if !(0.0..1.0).contains(&ratio) {
            return Err(Fault(format!("its ratio is {ratio}, a number from 0 to below 1 is needed")));
        }
        let x = frame.take(0)?;
        if !frame.run.drops() || ratio == 0.0 {
            return Ok(x);
        }
        drop_out(frame, x, ratio)
    }))
}

fn drop_out(frame: &mut Frame<'_, '_>, x: Value, ratio: f32) -> Result<Value, Fault> {
    let factors = frame.dropout(ratio, &x.dims())?;
    super::elementwise::binary(super::elementwise::Arithmetic::Mul, x, factors)
}

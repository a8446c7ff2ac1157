//! [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html), opset 7 to 15.
//!
//! ONNX keeps `momentum` of the stored statistics, where PyTorch's momentum is what it takes of the batch's.
//! `spatial` (to opset 8) is only supported at its default, 1.

use super::{Batch, Call, Fault, Mode, Op, one};
use crate::kernel::{self, Statistics};
use crate::value::Value;

pub(super) fn batch_norm(call: &mut Call<'_>) -> Result<Op, Fault> {
    let epsilon = call.float("epsilon", 1e-5)?;
    let momentum = call.float("momentum", 0.9)?;
    // What to normalise with is decided by what the program runs for.
    call.ignore(&["training_mode", "is_test", "consumed_inputs"]);
    if call.opset() < 9 && call.int("spatial", 1)? != 1 {
        return Err(Fault("attribute `spatial` is 0, only 1 is supported".to_owned()));
    }
    let relu = call.relu();
    for position in 1..5 {
        if call.initializer(position).is_none() {
            return Err(Fault(format!("input {position} must be an initializer")));
        }
    }
    Ok(one(move |frame| {
        let x = frame.take(0)?;
        let dims = x.dims();
        let (Value::R2(_) | Value::R3(_) | Value::R4(_) | Value::R5(_)) = x else {
            return Err(Fault(format!("its input has shape {dims:?}, rank 2 to 5 is supported")));
        };
        let (scale, shift) = (frame.rank1(1)?, frame.rank1(2)?);
        let places = [frame.place(3)?, frame.place(4)?];
        let [mean, variance] = places.map(|place| frame.run.weights.floats(place));
        let channels = [scale.dims()[0], shift.dims()[0], mean.len(), variance.len()];
        if channels != [dims[1]; 4] {
            return Err(Fault(format!("its input has {} channels, its weights are for {channels:?}", dims[1])));
        }
        let area: usize = dims[2..].iter().product();
        let count = dims[0] * area;
        let stored = matches!(frame.run.mode, Mode::Evaluate | Mode::Train { frozen: true });
        if !stored && count < 2 {
            return Err(Fault(format!("it normalises over {count} elements per channel, at least 2 are needed")));
        }
        let statistics = if stored { Statistics::Given(mean, variance) } else { Statistics::Batch };
        let Some(Value::R4(x)) = x.reshape(&[dims[0], dims[1], area, 1]) else {
            return Err(Fault(format!("its input has shape {dims:?}")));
        };
        let (y, batch) = if frame.run.reference {
            kernel::reference::batch_norm(x, scale, shift, statistics, epsilon, relu)
        } else {
            kernel::batch_norm(x, scale, shift, statistics, epsilon, relu)
        };
        if let Some((mean, mut variance)) = batch {
            let unbiased = count as f32 / (count - 1) as f32;
            variance.iter_mut().for_each(|variance| *variance *= unbiased);
            frame.run.batches.push(Batch { places, mean, variance, momentum });
        }
        Value::R4(y).reshape(&dims).ok_or_else(|| super::run::too_deep(&dims))
    }))
}

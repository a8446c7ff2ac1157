//! MaxPool and AveragePool over two axes, GlobalAveragePool, GlobalMaxPool, ReduceMean.

use burn::tensor::Tensor;

use super::conv::pads;
use super::{Call, Fault, Op, one};
use crate::kernel::{self, Pool, Window};
use crate::value::{Value, same_rank};

/// A pooling by this crate's kernel, and by burn's operations.
struct Kernel {
    own: fn(Pool, Tensor<4>) -> Tensor<4>,
    reference: fn(Pool, Tensor<4>) -> Tensor<4>,
}

const MAX: Kernel = Kernel { own: kernel::max_pool, reference: kernel::reference::max_pool };
const AVERAGE: Kernel = Kernel { own: kernel::average_pool, reference: kernel::reference::average_pool };

impl Kernel {
    fn run(&self, reference: bool, sizes: Pool, x: Tensor<4>) -> Tensor<4> {
        (if reference { self.reference } else { self.own })(sizes, x)
    }
}

pub(super) fn max(call: &mut Call<'_>) -> Result<Op, Fault> {
    call.ignore(&["storage_order"]);
    rule(call, false, MAX)
}

pub(super) fn average(call: &mut Call<'_>) -> Result<Op, Fault> {
    let count_pads = call.int("count_include_pad", 0)? != 0;
    rule(call, count_pads, AVERAGE)
}

fn rule(call: &mut Call<'_>, count_pads: bool, pool: Kernel) -> Result<Op, Fault> {
    if !matches!(call.ints("kernel_shape")?, Some([_, _])) {
        return Err(Fault("only 2-D pooling is supported".to_owned()));
    }
    let kernel = call.pair("kernel_shape", 1)?;
    let (stride, dilation) = (call.pair("strides", 1)?, call.pair("dilations", 1)?);
    let ceil = call.int("ceil_mode", 0)? != 0;
    let (auto_pad, pads) = pads(call)?;
    if auto_pad == super::conv::AutoPad::Given
        && (0..4).any(|side| pads[side] > dilation[side % 2] * (kernel[side % 2] - 1))
    {
        return Err(Fault(format!("pads {pads:?} are not smaller than the kernel {kernel:?}")));
    }
    Ok(one(move |frame| {
        let x = frame.rank4(0)?;
        let [batch, channels, height, width] = x.dims();
        let size = [height, width];
        let window = auto_pad.resolve(Window { kernel, stride, dilation, pads }, size);
        let mut output = window
            .output(size)
            .ok_or_else(|| Fault(format!("its {}×{} kernel does not fit {height}×{width}", kernel[0], kernel[1])))?;
        for axis in 0..2 {
            // One more output where a window is cut off at the end, unless it would begin behind image and first pad.
            let end = size[axis] + window.pads[axis] + window.pads[axis + 2];
            let covered = (output[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1;
            if ceil && covered < end && output[axis] * stride[axis] < size[axis] + window.pads[axis] {
                output[axis] += 1;
            }
        }
        let sizes = Pool { planes: batch * channels, size, output, window, count_pads };
        Ok(Value::R4(pool.run(frame.run.reference, sizes, x)))
    }))
}

pub(super) fn global_average(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| Ok(global(frame.rank4(0)?, &AVERAGE, frame.run.reference))))
}

pub(super) fn global_max(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| Ok(global(frame.rank4(0)?, &MAX, frame.run.reference))))
}

fn global(x: Tensor<4>, pool: &Kernel, reference: bool) -> Value {
    let [batch, channels, height, width] = x.dims();
    let size = [height, width];
    let window = Window { kernel: size, stride: [1, 1], dilation: [1, 1], pads: [0; 4] };
    let sizes = Pool { planes: batch * channels, size, output: [1, 1], window, count_pads: false };
    Value::R4(pool.run(reference, sizes, x))
}

/// Axes are an attribute to opset 17, input 1 from 18.
pub(super) fn reduce_mean(call: &mut Call<'_>) -> Result<Op, Fault> {
    let keep = call.int("keepdims", 1)? != 0;
    let given = if call.opset() < 18 { call.ints("axes")?.map(<[i64]>::to_vec) } else { None };
    let nothing = call.opset() >= 18 && call.int("noop_with_empty_axes", 0)? != 0;
    Ok(one(move |frame| {
        let axes = match &given {
            Some(axes) => axes.clone(),
            None => frame.ints(1)?.map_or(Vec::new(), |ints| ints.data),
        };
        let value = frame.take(0)?;
        let mut dims = value.dims();
        if axes.is_empty() && nothing {
            return Ok(value);
        }
        let mut axes = if axes.is_empty() { (0..dims.len()).collect() } else { super::shape::axes(&axes, dims.len())? };
        axes.sort_unstable();
        if let (Value::R4(_), [2, 3]) = (&value, &axes[..]) {
            let Value::R4(x) = value else { return Ok(value) };
            let mean = global(x, &AVERAGE, frame.run.reference);
            return if keep { Ok(mean) } else { Ok(mean.reshape(&dims[..2]).expect("rank 2 is supported")) };
        }
        let mean = same_rank!(value, x => x.mean_dims(&axes), ints _ => {
            return Err(Fault("its input is integers, floating point is needed".to_owned()));
        });
        for &axis in axes.iter().rev() {
            if keep {
                dims[axis] = 1;
            } else {
                dims.remove(axis);
            }
        }
        mean.reshape(&dims).ok_or_else(|| super::run::too_deep(&dims))
    }))
}

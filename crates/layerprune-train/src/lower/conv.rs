//! [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html), opset 1 and 11: two spatial axes, everything else.

use super::{Call, Fault, Op, one};
use crate::kernel::{self, Conv, Window};

/// How pads are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AutoPad {
    Given,
    SameUpper,
    SameLower,
}

/// Reads `auto_pad` and `pads`.
pub(super) fn pads(call: &mut Call<'_>) -> Result<(AutoPad, [usize; 4]), Fault> {
    let given = match call.ints("pads")? {
        None => [0; 4],
        Some(&[a, b, c, d]) if [a, b, c, d].iter().all(|&pad| pad >= 0) => [a, b, c, d].map(|pad| pad as usize),
        Some(found) => return Err(Fault(format!("attribute `pads` is {found:?}, four sizes from 0 are supported"))),
    };
    match call.string("auto_pad", "NOTSET")?.as_str() {
        "NOTSET" => Ok((AutoPad::Given, given)),
        "VALID" => Ok((AutoPad::Given, [0; 4])),
        "SAME_UPPER" => Ok((AutoPad::SameUpper, [0; 4])),
        "SAME_LOWER" => Ok((AutoPad::SameLower, [0; 4])),
        other => Err(Fault(format!("attribute `auto_pad` is `{other}`, which ONNX does not know"))),
    }
}

impl AutoPad {
    /// `window` with the pads for an image of `size`.
    pub(super) fn resolve(self, mut window: Window, size: [usize; 2]) -> Window {
        if self == Self::Given {
            return window;
        }
        for (axis, &size) in size.iter().enumerate() {
            let reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1;
            let output = size.div_ceil(window.stride[axis]);
            let total = ((output.max(1) - 1) * window.stride[axis] + reach).saturating_sub(size);
            let (less, more) = (total / 2, total.div_ceil(2));
            let (begin, end) = if self == Self::SameUpper { (less, more) } else { (more, less) };
            (window.pads[axis], window.pads[axis + 2]) = (begin, end);
        }
        window
    }
}

pub(super) fn conv(call: &mut Call<'_>) -> Result<Op, Fault> {
    let groups = call.int("group", 1)?;
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or_else(|| Fault("attribute `group` must be at least 1".to_owned()))?;
    let kernel = call.ints("kernel_shape")?.map(<[i64]>::to_vec);
    let (stride, dilation) = (call.pair("strides", 1)?, call.pair("dilations", 1)?);
    let (auto_pad, pads) = pads(call)?;
    if let Some(weight) = call.initializer(1).filter(|weight| weight.dims.len() != 4) {
        return Err(Fault(format!("its weight has shape {:?}, only 2-D convolutions are supported", weight.dims)));
    }
    let biased = call.has(2);
    Ok(one(move |frame| {
        let (x, weight) = (frame.rank4(0)?, frame.rank4(1)?);
        let bias = if biased { Some(frame.rank1(2)?) } else { None };
        let ([batch, channels, height, width], [filters, read, kh, kw]) = (x.dims(), weight.dims());
        if channels != read * groups || filters % groups != 0 {
            return Err(Fault(format!(
                "its input has {channels} channels, its weight of shape {:?} in {groups} conv groups needs {}",
                weight.dims(),
                read * groups
            )));
        }
        if kernel.as_ref().is_some_and(|kernel| kernel[..] != [kh as i64, kw as i64]) {
            return Err(Fault(format!("attribute `kernel_shape` is {kernel:?}, its weight has {kh}×{kw}")));
        }
        if bias.as_ref().is_some_and(|bias| bias.dims() != [filters]) {
            return Err(Fault(format!("its bias does not have one element for each of the {filters} filters")));
        }
        let window = auto_pad.resolve(Window { kernel: [kh, kw], stride, dilation, pads }, [height, width]);
        let output = window.output([height, width]).filter(|output| output.iter().all(|&size| size > 0));
        let output = output.ok_or_else(|| Fault(format!("its {kh}×{kw} kernel does not fit {height}×{width}")))?;
        let sizes = Conv { batch, channels, size: [height, width], filters, output, groups, window };
        let conv = if frame.run.reference { kernel::reference::conv } else { kernel::conv };
        Ok(crate::value::Value::R4(conv(sizes, x, weight, bias)))
    }))
}

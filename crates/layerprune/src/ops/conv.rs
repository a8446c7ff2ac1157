//! Convolution.
//!
//! | operator | opsets |
//! |---|---|
//! | [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html) | 1, 11 (stricter text), 22 (bfloat16) agree in meaning |
//! | [ConvTranspose](https://onnx.ai/onnx/operators/onnx__ConvTranspose.html) | the same; `output_shape` is refused |

use super::couple::{Adjustment, Coupler, Cut, DATA, End, RESULT, Relation};
use super::{Call, Dim, Fact, OpRule, Reason, Role, attribute, elements_per_sample, level, sign};

/// N-dimensional convolution, grouped and depthwise included.
pub static CONV: OpRule = OpRule {
    op_type: "Conv",
    opsets: (1, super::NEWEST_OPSET),
    attributes: WINDOW_ATTRIBUTES,
    role: Role::Weighted,
    sign: sign::free,
    not_parameters: &[],
    infer,
    macs,
    couple,
    adjust,
    level: level::free,
};

/// Transposed convolution: each input element spreads over a window of the output.
pub static CONV_TRANSPOSE: OpRule = OpRule {
    op_type: "ConvTranspose",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[
        "auto_pad",
        "dilations",
        "group",
        "kernel_shape",
        "output_padding",
        "output_shape",
        "pads",
        "strides",
    ],
    role: Role::Weighted,
    sign: sign::free,
    not_parameters: &[],
    infer: infer_transposed,
    macs: macs_transposed,
    couple: couple_transposed,
    adjust,
    level: level::free,
};

const WINDOW_ATTRIBUTES: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];

/// Kernel, stride, padding and dilation of a sliding window, one entry per spatial axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Kernel sizes.
    pub kernel: Vec<usize>,
    /// Strides.
    pub strides: Vec<usize>,
    /// Dilations.
    pub dilations: Vec<usize>,
    /// Padding before and after each axis.
    pub padding: Padding,
}

/// How a window is padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// (before, after) for each spatial axis.
    Explicit(Vec<(usize, usize)>),
    /// So that output = ⌈input / stride⌉, the odd one after.
    SameUpper,
    /// So that output = ⌈input / stride⌉, the odd one before.
    SameLower,
}

impl Window {
    /// Reads the window attributes of `call` for `kernel` sizes, with ONNX's defaults: stride 1, dilation 1, no padding.
    ///
    /// # Errors
    /// Attributes of the wrong length, zero strides, negative padding, anything above 2³² - 1.
    pub fn read(call: &Call<'_>, kernel: Vec<usize>) -> Result<Self, Reason> {
        let axes = kernel.len();
        let size = |number: i64| u32::try_from(number).ok().map(|size| size as usize);
        let positive = |name: &str| -> Result<Vec<usize>, Reason> {
            let Some(numbers) = attribute::ints(call.node, name)? else { return Ok(vec![1; axes]) };
            let sizes: Option<Vec<usize>> =
                numbers.iter().map(|&number| size(number).filter(|&size| size > 0)).collect();
            sizes
                .filter(|sizes| sizes.len() == axes)
                .ok_or_else(|| format!("`{name}` is {numbers:?}, {axes} numbers above 0 are needed"))
        };
        if kernel.iter().any(|&size| size == 0 || u32::try_from(size).is_err()) {
            return Err(format!("the kernel is {kernel:?}, sizes above 0 are needed"));
        }
        let pads = match attribute::ints(call.node, "pads")? {
            None => vec![(0, 0); axes],
            Some(numbers) => {
                let sizes: Option<Vec<usize>> = numbers.iter().map(|&number| size(number)).collect();
                let sizes = sizes.filter(|sizes| sizes.len() == 2 * axes);
                let sizes = sizes.ok_or_else(|| format!("`pads` is {numbers:?}, {} sizes are needed", 2 * axes))?;
                (0..axes).map(|axis| (sizes[axis], sizes[axes + axis])).collect()
            }
        };
        let padding = match attribute::string(call.node, "auto_pad", "NOTSET")? {
            "NOTSET" | "" => Padding::Explicit(pads),
            "VALID" => Padding::Explicit(vec![(0, 0); axes]),
            "SAME_UPPER" => Padding::SameUpper,
            "SAME_LOWER" => Padding::SameLower,
            other => return Err(format!("`auto_pad` is `{other}`, which ONNX does not define")),
        };
        Ok(Self { kernel, strides: positive("strides")?, dilations: positive("dilations")?, padding })
    }

    /// Input elements from one end of the window to the other along spatial axis `axis`.
    #[must_use]
    pub fn extent(&self, axis: usize) -> usize {
        self.dilations[axis] * (self.kernel[axis] - 1) + 1
    }

    /// Explicit padding (before, after) of spatial axis `axis` for an input of `size`.
    #[must_use]
    pub fn pads_for(&self, axis: usize, size: usize) -> (usize, usize) {
        match &self.padding {
            Padding::Explicit(pads) => pads[axis],
            automatic => {
                let extent = self.extent(axis);
                let output = size.div_ceil(self.strides[axis]);
                let total = (output.saturating_sub(1) * self.strides[axis]).saturating_add(extent).saturating_sub(size);
                match automatic {
                    Padding::SameLower => (total - total / 2, total / 2),
                    _ => (total / 2, total - total / 2),
                }
            }
        }
    }

    /// Size of spatial axis `axis` after the window slid over `input`, rounded down (or up with `ceil`).
    ///
    /// # Errors
    /// Where the window is larger than the padded input.
    pub fn output(&self, axis: usize, input: &Dim, ceil: bool) -> Result<Dim, Reason> {
        let extent = self.extent(axis);
        let stride = self.strides[axis];
        let Some(size) = input.known() else {
            let keeps_size = match &self.padding {
                Padding::Explicit(pads) => pads[axis].0 + pads[axis].1 + 1 == extent,
                _ => true,
            };
            return Ok(if stride == 1 && keeps_size { input.clone() } else { Dim::Unknown });
        };
        if !matches!(self.padding, Padding::Explicit(_)) {
            return Ok(Dim::Known(size.div_ceil(stride)));
        }
        let (before, after) = self.pads_for(axis, size);
        let Some(room) = size.checked_add(before + after).and_then(|padded| padded.checked_sub(extent)) else {
            return Err(format!("a window of {extent} does not fit into {size} with padding {before} and {after}"));
        };
        let mut steps = if ceil { room.div_ceil(stride) } else { room / stride };
        // DIFFERENCE: like PyTorch and ONNX Runtime, a last window that would start in the padding behind is left out.
        if ceil && steps > 0 && steps * stride >= size + before {
            steps -= 1;
        }
        Ok(Dim::Known(steps + 1))
    }
}

/// Geometry of a convolution node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// The window.
    pub window: Window,
    /// Conv groups.
    pub groups: usize,
    /// Output channels (filters).
    pub filters: usize,
    /// Input channels of one conv group.
    pub group_channels: usize,
}

impl Conv {
    /// Reads a `Conv` node.
    ///
    /// # Errors
    /// Why its weight or attributes cannot be followed.
    pub fn read(call: &Call<'_>) -> Result<Self, Reason> {
        let weight = Weight::read(call)?;
        let (groups, filters) = (weight.groups, weight.sizes[0]);
        if !filters.is_multiple_of(groups) {
            return Err(format!("{filters} filters are no multiple of {groups} conv groups"));
        }
        weight.check_bias(call, filters)?;
        Ok(Self { window: Window::read(call, weight.kernel())?, groups, filters, group_channels: weight.sizes[1] })
    }
}

/// The sizes of a weight, and the conv groups.
struct Weight {
    sizes: Vec<usize>,
    groups: usize,
}

impl Weight {
    fn read(call: &Call<'_>) -> Result<Self, Reason> {
        let weight = call.shape(1)?.ok_or("the shape of the weight is not known")?;
        let sizes: Option<Vec<usize>> = weight.iter().map(Dim::known).collect();
        let sizes = sizes.filter(|sizes| sizes.len() >= 3).ok_or("the weight has no fixed shape of 3 axes or more")?;
        let kernel = &sizes[2..];
        if let Some(declared) = attribute::ints(call.node, "kernel_shape")?
            && !declared.iter().copied().eq(kernel.iter().map(|&size| size as i64))
        {
            return Err(format!("`kernel_shape` is {declared:?}, the weight has {kernel:?}"));
        }
        let groups = attribute::int(call.node, "group", 1)?;
        let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
        let groups = groups.ok_or("`group` is not above 0")?;
        Ok(Self { sizes, groups })
    }

    fn kernel(&self) -> Vec<usize> {
        self.sizes[2..].to_vec()
    }

    fn check_bias(&self, call: &Call<'_>, filters: usize) -> Result<(), Reason> {
        match call.optional(2).and_then(|fact| fact.shape.as_deref()) {
            Some([Dim::Known(size)]) if *size != filters => {
                Err(format!("the bias has {size} elements, the weight {filters} filters"))
            }
            Some([_]) | None => Ok(()),
            Some(shape) => Err(format!("the bias has {} axes, 1 is needed", shape.len())),
        }
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let conv = Conv::read(call)?;
    let data = call.input(0)?;
    let Some(input) = &data.shape else {
        return Ok(vec![Fact::new(data.data_type, None)]);
    };
    let channels = conv.group_channels.checked_mul(conv.groups).ok_or("`group` is too large")?;
    check_input(input, conv.window.kernel.len() + 2, channels)?;
    let mut output = vec![input[0].clone(), Dim::Known(conv.filters)];
    for (axis, size) in input[2..].iter().enumerate() {
        output.push(conv.window.output(axis, size, false)?);
    }
    Ok(vec![Fact::new(data.data_type, Some(output))])
}

fn check_input(input: &[Dim], axes: usize, channels: usize) -> Result<(), Reason> {
    if input.len() != axes {
        return Err(format!("the input has {} axes, the weight {axes}", input.len()));
    }
    match input[1].known() {
        Some(found) if found != channels => {
            Err(format!("the input has {found} channels, the weight is for {channels}"))
        }
        _ => Ok(()),
    }
}

fn macs(call: &Call<'_>, outputs: &[Fact]) -> Option<u64> {
    elements_per_sample(outputs.first()?.shape.as_ref()?)?.checked_mul(behind_first_axis(call)?)
}

/// Weights behind each index of the weight's first axis.
fn behind_first_axis(call: &Call<'_>) -> Option<u64> {
    let weight = call.shape(1).ok()??;
    weight[1..].iter().try_fold(1_u64, |product, size| product.checked_mul(size.known()? as u64))
}

/// Geometry of a transposed convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTranspose {
    /// The window, sliding over the output.
    pub window: Window,
    /// Elements added behind each axis of the output.
    pub output_padding: Vec<usize>,
    /// Conv groups.
    pub groups: usize,
    /// Output channels.
    pub filters: usize,
    /// Input channels.
    pub channels: usize,
}

impl ConvTranspose {
    /// Reads a `ConvTranspose` node.
    ///
    /// # Errors
    /// Why its weight or attributes cannot be followed.
    pub fn read(call: &Call<'_>) -> Result<Self, Reason> {
        if call.node.attribute("output_shape").is_some() {
            return Err("`output_shape` is not followed".to_owned());
        }
        let weight = Weight::read(call)?;
        let (groups, channels) = (weight.groups, weight.sizes[0]);
        if !channels.is_multiple_of(groups) {
            return Err(format!("{channels} input channels are no multiple of {groups} conv groups"));
        }
        let filters = weight.sizes[1].checked_mul(groups).ok_or("`group` is too large")?;
        weight.check_bias(call, filters)?;
        let window = Window::read(call, weight.kernel())?;
        let axes = window.kernel.len();
        let output_padding = match attribute::ints(call.node, "output_padding")? {
            None => vec![0; axes],
            Some(numbers) => {
                let sizes: Option<Vec<usize>> =
                    numbers.iter().map(|&number| u32::try_from(number).ok().map(|size| size as usize)).collect();
                sizes
                    .filter(|sizes| sizes.len() == axes)
                    .ok_or_else(|| format!("`output_padding` is {numbers:?}, {axes} sizes are needed"))?
            }
        };
        let automatic = !matches!(window.padding, Padding::Explicit(_));
        let smaller = |axis: usize| window.extent(axis) < window.strides[axis];
        if automatic && (output_padding.iter().any(|&size| size > 0) || (0..axes).any(smaller)) {
            return Err(
                "`auto_pad` together with `output_padding`, or a window below the stride, is not followed".to_owned()
            );
        }
        Ok(Self { window, output_padding, groups, filters, channels })
    }

    /// Size of spatial axis `axis` of the output for an input of size `input`.
    ///
    /// # Errors
    /// Where padding takes more than there is, or the size is beyond reason.
    pub fn output(&self, axis: usize, input: &Dim) -> Result<Dim, Reason> {
        let stride = self.window.strides[axis];
        let Padding::Explicit(pads) = &self.window.padding else {
            return match input {
                dim if stride == 1 => Ok(dim.clone()),
                Dim::Known(size) => match size.checked_mul(stride) {
                    Some(size) => Ok(Dim::Known(size)),
                    None => Err(format!("size {size} times stride {stride} is too large")),
                },
                _ => Ok(Dim::Unknown),
            };
        };
        let grown = self.window.extent(axis) - 1 + self.output_padding[axis];
        let cut = pads[axis].0 + pads[axis].1;
        match input {
            Dim::Known(0) => Err("the input has no elements".to_owned()),
            Dim::Known(size) => (size - 1)
                .checked_mul(stride)
                .and_then(|spread| spread.checked_add(grown + 1))
                .and_then(|whole| whole.checked_sub(cut))
                .map(Dim::Known)
                .ok_or_else(|| format!("padding {:?} takes more than size {size} gives", pads[axis])),
            dim if stride == 1 && grown == cut => Ok(dim.clone()),
            _ => Ok(Dim::Unknown),
        }
    }
}

fn infer_transposed(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let conv = ConvTranspose::read(call)?;
    let data = call.input(0)?;
    let Some(input) = &data.shape else { return Ok(vec![Fact::new(data.data_type, None)]) };
    check_input(input, conv.window.kernel.len() + 2, conv.channels)?;
    let mut output = vec![input[0].clone(), Dim::Known(conv.filters)];
    for (axis, size) in input[2..].iter().enumerate() {
        output.push(conv.output(axis, size)?);
    }
    Ok(vec![Fact::new(data.data_type, Some(output))])
}

fn macs_transposed(call: &Call<'_>, _: &[Fact]) -> Option<u64> {
    elements_per_sample(call.shape(0).ok()??)?.checked_mul(behind_first_axis(call)?)
}

const WEIGHT: End = End::Input(1);
const BIAS: End = End::Input(2);

/// Filters make channels, and each input channel is read by a column of the weight. With conv groups, channels that stand
/// at the same place of their groups go together, so that the groups stay equal; where a group has one input channel,
/// the group goes as a whole.
fn couple(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let conv = Conv::read(coupler.call)?;
    let (channels, filters) = (DATA.axis(1), RESULT.axis(1));
    let group_filters = conv.filters / conv.groups;
    coupler.same(DATA.axis(0), RESULT.axis(0));
    coupler.same(WEIGHT.axis(0), filters);
    coupler.same(BIAS.axis(0), filters);
    coupler.say(Relation::Filters { weight: WEIGHT.axis(0), output: filters });
    coupler.pin_from(2, &[DATA, RESULT, WEIGHT], "a window slides over it");
    if conv.groups == 1 {
        coupler.same(channels, WEIGHT.axis(1));
        coupler.sum(channels);
    } else if conv.group_channels == 1 {
        coupler.part(channels, filters, group_filters, conv.groups);
    } else {
        coupler.part(WEIGHT.axis(1), channels, 1, conv.group_channels);
        coupler.say(Relation::Tie { at: filters, size: group_filters });
        coupler.sum(channels);
    }
    Ok(())
}

/// As for a convolution, with the first two axes of the weight in each other's place.
fn couple_transposed(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let conv = ConvTranspose::read(coupler.call)?;
    let (channels, filters) = (DATA.axis(1), RESULT.axis(1));
    let (group_channels, group_filters) = (conv.channels / conv.groups, conv.filters / conv.groups);
    coupler.same(DATA.axis(0), RESULT.axis(0));
    coupler.same(channels, WEIGHT.axis(0));
    coupler.same(BIAS.axis(0), filters);
    coupler.pin_from(2, &[DATA, RESULT, WEIGHT], "a window slides over it");
    if group_channels == 1 && conv.groups > 1 {
        coupler.part(channels, filters, group_filters, conv.groups);
        coupler.own(WEIGHT.axis(1));
        coupler.say(Relation::Filters { weight: WEIGHT.axis(0), output: filters });
        return Ok(());
    }
    coupler.part(WEIGHT.axis(1), filters, 1, group_filters);
    coupler.say(Relation::Filters { weight: WEIGHT.axis(1), output: filters });
    coupler.sum(channels);
    if conv.groups > 1 {
        coupler.say(Relation::Tie { at: channels, size: group_channels });
    }
    Ok(())
}

/// Conv groups that go as a whole leave fewer of them.
fn adjust(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let (groups, channels) = match call.node.op_type() {
        "Conv" => Conv::read(call).map(|conv| (conv.groups, conv.group_channels * conv.groups))?,
        _ => ConvTranspose::read(call).map(|conv| (conv.groups, conv.channels))?,
    };
    let whole_groups = groups > 1 && channels == groups;
    let left = cut.count(DATA.axis(1), 0..channels);
    Ok(if whole_groups && left < groups {
        vec![Adjustment::Int { name: "group", number: left as i64 }]
    } else {
        Vec::new()
    })
}

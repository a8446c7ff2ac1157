//! Operators that keep the elements in order and change the axes.
//!
//! | operator | opsets |
//! |---|---|
//! | [Reshape](https://onnx.ai/onnx/operators/onnx__Reshape.html) | 1: `shape` is an attribute; 5: an input; 14: `allowzero` |
//! | [Flatten](https://onnx.ai/onnx/operators/onnx__Flatten.html) | 1; 11: negative `axis` |
//! | [Squeeze](https://onnx.ai/onnx/operators/onnx__Squeeze.html), [Unsqueeze](https://onnx.ai/onnx/operators/onnx__Unsqueeze.html) | 1: `axes` is an attribute; 11: negative ones; 13: an input |

use super::axes::Numbers;
use super::couple::{self, Adjustment, Coupler, Cut, DATA, End, RESULT, Relation};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, attribute, axes, level, no_macs, sign};

const RESHAPE_LIKE: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1],
    infer: reshape,
    macs: no_macs,
    couple: rolled,
    adjust: couple::nothing,
    level: level::copied,
};

/// Two axes: those before `axis`, and the rest.
pub static FLATTEN: OpRule =
    OpRule { op_type: "Flatten", attributes: &["axis"], not_parameters: &[], infer: flatten, ..RESHAPE_LIKE };
/// Other sizes with as many elements.
pub static RESHAPE: OpRule = OpRule {
    op_type: "Reshape",
    attributes: &["allowzero", "consumed_inputs", "shape"],
    adjust: resized,
    ..RESHAPE_LIKE
};
/// Without axes of size 1.
pub static SQUEEZE: OpRule = OpRule { op_type: "Squeeze", attributes: &["axes"], infer: squeeze, ..RESHAPE_LIKE };
/// With more axes of size 1.
pub static UNSQUEEZE: OpRule = OpRule { op_type: "Unsqueeze", attributes: &["axes"], infer: unsqueeze, ..RESHAPE_LIKE };

/// The largest number of axes that a computed shape is followed to.
const MOST_AXES: usize = 64;

/// The sizes that a one-axis integer tensor gives; `None` where not even their number is known.
///
/// # Errors
/// Where the tensor has not one axis, too many elements, or a negative one.
pub(crate) fn target_dims(sizes: &Fact) -> Result<Option<Vec<Dim>>, Reason> {
    let Some(elements) = target(sizes)? else { return Ok(None) };
    match elements.iter().find_map(|element| element.known().filter(|&number| number < 0)) {
        Some(number) => Err(format!("the shape holds {number}, below zero")),
        None => Ok(Some(elements.iter().map(Dim::from).collect())),
    }
}

/// The elements of a one-axis integer tensor that names sizes; `None` where not even their number is known.
pub(crate) fn target(sizes: &Fact) -> Result<Option<Vec<Element>>, Reason> {
    let count = match sizes.shape.as_deref() {
        Some([Dim::Known(count)]) if *count <= MOST_AXES => *count,
        Some([Dim::Known(count)]) => return Err(format!("a shape of {count} axes is too large")),
        Some([_]) | None => return Ok(None),
        Some(shape) => return Err(format!("the shape is given by a tensor of {} axes, 1 is needed", shape.len())),
    };
    Ok(Some(match &sizes.content {
        Some(content) if content.len() == count => content.clone(),
        _ => vec![Element::Unknown; count],
    }))
}

/// `data` with another shape; its elements stay where their number is certain.
fn reshaped(data: &Fact, shape: Option<Vec<Dim>>) -> Fact {
    let content = data
        .content
        .clone()
        .filter(|content| shape.as_deref().map(axes::product).and_then(|count| count.known()) == Some(content.len()));
    Fact { data_type: data.data_type, shape, content, stored: None }
}

fn reshape(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let wanted = if call.opset < 5 {
        let numbers = attribute::ints(call.node, "shape")?.ok_or("`shape` is absent")?;
        if numbers.len() > MOST_AXES {
            return Err(format!("a shape of {} axes is too large", numbers.len()));
        }
        Some(numbers.iter().copied().map(Element::Known).collect())
    } else {
        attribute::absent(call, &["shape"])?;
        target(call.input(1)?)?
    };
    let copy_zeros = !attribute::flag(call.node, "allowzero", false)?;
    let Some(wanted) = wanted else { return Ok(vec![Fact::new(data.data_type, None)]) };
    let shape = reshaped_dims(data.shape.as_deref(), &wanted, copy_zeros)?;
    Ok(vec![reshaped(data, Some(shape))])
}

/// The output shape of a `Reshape`: `0` copies, one `-1` (or one element not known) takes what is left.
fn reshaped_dims(input: Option<&[Dim]>, wanted: &[Element], copy_zeros: bool) -> Result<Vec<Dim>, Reason> {
    let mut copied = vec![false; input.map_or(0, <[Dim]>::len)];
    let mut output = Vec::with_capacity(wanted.len());
    let mut open = Vec::new();
    let mut inferred = 0;
    for (axis, element) in wanted.iter().enumerate() {
        output.push(match element {
            Element::Known(0) if copy_zeros => match input.map(|dims| dims.get(axis)) {
                None => Dim::Unknown,
                Some(None) => return Err(format!("the shape copies axis {axis}, the input has {}", copied.len())),
                Some(Some(dim)) => {
                    copied[axis] = true;
                    dim.clone()
                }
            },
            Element::Known(-1) => {
                inferred += 1;
                open.push(axis);
                Dim::Unknown
            }
            Element::Known(number) if *number < 0 => return Err(format!("the shape holds {number}, below zero")),
            Element::Unknown => {
                open.push(axis);
                Dim::Unknown
            }
            other => Dim::from(other),
        });
    }
    if inferred > 1 {
        return Err(format!("the shape holds -1 {inferred} times"));
    }
    let Some(input) = input else { return Ok(output) };
    let source = input.iter().zip(&copied).filter(|(_, copied)| !**copied).map(|(dim, _)| dim);
    let fixed = |axis: usize| !open.contains(&axis) && !copied.get(axis).is_some_and(|&copied| copied);
    let (left, taken) =
        cancelled(source, output.iter().enumerate().filter(|(axis, _)| fixed(*axis)).map(|(_, dim)| dim));
    match (&open[..], left, taken) {
        ([], Some(Dim::Known(left)), Some(Dim::Known(taken))) if left != taken => {
            Err(format!("{} does not hold as many elements as {}", text(input), text(&output)))
        }
        (&[axis], Some(left), Some(Dim::Known(taken))) if taken > 0 => {
            match left {
                Dim::Known(left) if left.is_multiple_of(taken) => output[axis] = Dim::Known(left / taken),
                Dim::Known(_) => return Err(format!("{} does not divide into {}", text(input), text(&output))),
                symbol if taken == 1 => output[axis] = symbol,
                _ => {}
            }
            Ok(output)
        }
        _ => Ok(output),
    }
}

/// Products of both sides without the symbols that they share; `None` where unknown.
fn cancelled<'d>(
    source: impl Iterator<Item = &'d Dim>,
    target: impl Iterator<Item = &'d Dim>,
) -> (Option<Dim>, Option<Dim>) {
    let mut source: Vec<Dim> = source.cloned().collect();
    let mut remaining = Vec::new();
    for dim in target {
        match source.iter().position(|other| matches!(dim, Dim::Symbol(_)) && other == dim) {
            Some(place) => _ = source.swap_remove(place),
            None => remaining.push(dim.clone()),
        }
    }
    let symbolic = |dims: &[Dim]| dims.iter().any(|dim| dim.known().is_none());
    if !symbolic(&remaining) && symbolic(&source) {
        // A number on both sides divides out, so that [N, 4, 4] into 16s leaves N.
        let known = source.iter().filter_map(Dim::known).try_fold(1_usize, usize::checked_mul);
        let taken = remaining.iter().filter_map(Dim::known).try_fold(1_usize, usize::checked_mul);
        if known.is_some() && known == taken && taken != Some(0) {
            source.retain(|dim| dim.known().is_none());
            remaining.clear();
        }
    }
    let certain = |dims: &[Dim]| Some(axes::product(dims)).filter(|product| *product != Dim::Unknown);
    (certain(&source), certain(&remaining))
}

fn text(shape: &[Dim]) -> String {
    Fact::new(None, Some(shape.to_vec())).shape_text()
}

/// The first axis of a `Flatten` node's second output axis.
///
/// # Errors
/// Where there is no such axis.
pub fn flatten_axis(call: &Call<'_>, rank: usize) -> Result<usize, Reason> {
    match attribute::int(call.node, "axis", 1)? {
        axis if axis == rank as i64 => Ok(rank),
        axis => axes::axis(axis, rank),
    }
}

fn flatten(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let shape = match &data.shape {
        None => vec![Dim::Unknown, Dim::Unknown],
        Some(dims) => {
            let (before, behind) = dims.split_at(flatten_axis(call, dims.len())?);
            vec![axes::product(before), axes::product(behind)]
        }
    };
    Ok(vec![reshaped(data, Some(shape))])
}

fn squeeze(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let numbers = Numbers::read(call, "axes", 13, 1)?;
    let shape = match (&data.shape, numbers) {
        (None, _) | (_, Numbers::Computed) => None,
        (Some(dims), Numbers::Absent) if dims.iter().all(|dim| dim.known().is_some()) => {
            Some(dims.iter().filter(|dim| dim.known() != Some(1)).cloned().collect())
        }
        (Some(_), Numbers::Absent) => None,
        (_, Numbers::Known(numbers)) if numbers.is_empty() => return Err("`axes` is empty".to_owned()),
        (Some(dims), Numbers::Known(numbers)) => {
            let gone = axes::axes(&numbers, dims.len())?;
            if let Some(&axis) = gone.iter().find(|&&axis| dims[axis].known().is_some_and(|size| size != 1)) {
                return Err(format!("axis {axis} has size {}, 1 is needed", dims[axis]));
            }
            Some(dims.iter().enumerate().filter(|(axis, _)| !gone.contains(axis)).map(|(_, dim)| dim.clone()).collect())
        }
    };
    Ok(vec![reshaped(data, shape)])
}

fn unsqueeze(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let shape = match (&data.shape, Numbers::read(call, "axes", 13, 1)?) {
        (_, Numbers::Absent) => return Err("`axes` is absent".to_owned()),
        (None, _) | (_, Numbers::Computed) => None,
        (Some(dims), Numbers::Known(numbers)) => {
            if numbers.len() > MOST_AXES {
                return Err(format!("{} new axes are too many", numbers.len()));
            }
            let rank = dims.len() + numbers.len();
            let new = axes::axes(&numbers, rank)?;
            let mut old = dims.iter();
            let dim = |axis| if new.contains(&axis) { Some(Dim::Known(1)) } else { old.next().cloned() };
            Some((0..rank).map_while(dim).collect())
        }
    };
    Ok(vec![reshaped(data, shape)])
}

/// Walks along both shapes and relates what holds the same elements: axes that stay, axes rolled together, axes unrolled.
fn rolled(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.own_all(End::Input(1));
    let (Some(before), Some(behind)) = (coupler.dims(DATA), coupler.dims(RESULT)) else {
        return Err("a shape is not known".to_owned());
    };
    for (input, output) in blocks(before, behind) {
        match (input.len(), output.len()) {
            (1, 1) => coupler.same(DATA.axis(input.start), RESULT.axis(output.start)),
            (1, _) => merge(coupler, DATA, input.start, RESULT, output),
            (_, 1) => merge(coupler, RESULT, output.start, DATA, input),
            _ => {
                let reason = format!("`{}` mixes it with other axes", coupler.call.node.op_type());
                input.for_each(|axis| coupler.pin(DATA.axis(axis), reason.clone()));
                output.for_each(|axis| coupler.pin(RESULT.axis(axis), reason.clone()));
            }
        }
    }
    Ok(())
}

fn merge(coupler: &mut Coupler<'_, '_>, whole: End, axis: usize, parts: End, axes: std::ops::Range<usize>) {
    let sizes: Option<Vec<_>> =
        axes.clone().map(|part| Some((parts.axis(part), coupler.size(parts.axis(part))?))).collect();
    match (sizes, coupler.size(whole.axis(axis))) {
        (Some(parts), Some(_)) => coupler.say(Relation::Merge { whole: whole.axis(axis), parts }),
        _ => {
            let reason = "it is rolled together with an axis whose size is not known";
            coupler.pin(whole.axis(axis), reason);
            axes.for_each(|part| coupler.pin(parts.axis(part), reason));
        }
    }
}

/// Ranges of axes of both shapes that hold the same elements, from the front as far as sizes are known, then from the
/// back; what is left between forms one range.
fn blocks(before: &[Dim], behind: &[Dim]) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut front = Vec::new();
    let (mut i, mut o) = (0, 0);
    while let Some((input, output)) = block(&before[i..], &behind[o..]) {
        front.push((i..i + input, o..o + output));
        (i, o) = (i + input, o + output);
    }
    let mut back = Vec::new();
    let (mut i_end, mut o_end) = (before.len(), behind.len());
    while i_end > i && o_end > o && before[i_end - 1].same(&behind[o_end - 1]) {
        (i_end, o_end) = (i_end - 1, o_end - 1);
        back.push((i_end..i_end + 1, o_end..o_end + 1));
    }
    if i < i_end || o < o_end {
        front.push((i..i_end, o..o_end));
    }
    front.extend(back.into_iter().rev());
    front
}

/// How many axes of each shape hold the same elements first; `None` where that is not known.
fn block(before: &[Dim], behind: &[Dim]) -> Option<(usize, usize)> {
    let (first, other) = (before.first()?, behind.first()?);
    if first.same(other) {
        return Some((1, 1));
    }
    let (mut i, mut o) = (1, 1);
    let (mut a, mut b) = (first.known()?, other.known()?);
    while a != b {
        if a < b {
            a = a.checked_mul(before.get(i)?.known()?)?;
            i += 1;
        } else {
            b = b.checked_mul(behind.get(o)?.known()?)?;
            o += 1;
        }
    }
    (a > 0).then_some((i, o))
}

/// Sizes that the target shape names follow those of the axes; `0` and `-1` do by themselves.
fn resized(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let wanted: Vec<Element> = match (call.opset < 5, call.optional(1)) {
        (true, _) => attribute::ints(call.node, "shape")?.unwrap_or(&[]).iter().copied().map(Element::Known).collect(),
        (false, sizes) => sizes.map(target).transpose()?.flatten().unwrap_or_default(),
    };
    let follows = |element: &Element| matches!(element, Element::Known(0 | -1));
    let changed: Vec<(usize, i64)> = (0..wanted.len())
        .filter(|&axis| !follows(&wanted[axis]))
        .filter_map(|axis| Some((axis, cut.kept(RESULT.axis(axis))?.len() as i64)))
        .collect();
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    if call.opset >= 5 {
        return Ok(vec![Adjustment::Elements { input: 1, changed }]);
    }
    let mut numbers: Vec<i64> = wanted.iter().map(|element| element.known().unwrap_or(-1)).collect();
    for (axis, size) in changed {
        numbers[axis] = size;
    }
    Ok(vec![Adjustment::Ints { name: "shape", numbers }])
}

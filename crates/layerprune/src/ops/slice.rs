//! Operators that pick parts of a value.
//!
//! | operator | opsets |
//! |---|---|
//! | [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html) | 1: starts, ends and axes are attributes; 10: inputs, and steps; 11: negative ones |
//! | [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html) | 1; 11: negative axis and indices |

use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, attribute, axes, no_macs, sign};

/// Elements at computed or stored indices along an axis.
pub static GATHER: OpRule = OpRule {
    op_type: "Gather",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["axis"],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1],
    infer: gather,
    macs: no_macs,
};

/// Elements from a start to an end.
pub static SLICE: OpRule = OpRule {
    op_type: "Slice",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["axes", "ends", "starts"],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1, 2, 3, 4],
    infer: slice,
    macs: no_macs,
};

/// What a `Slice` node takes of one axis, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The axis, counted from the front.
    pub axis: usize,
    /// The first index; negative ones count from the end.
    pub start: Element,
    /// The index behind the last one; negative ones count from the end.
    pub end: Element,
    /// The step; negative ones go backwards.
    pub step: Element,
}

impl Cut {
    /// First index, step and number of the elements taken of an axis of `size`; `None` where not known.
    #[must_use]
    pub fn taken(&self, size: usize) -> Option<(usize, i64, usize)> {
        let (start, end, step) = (self.start.known()?, self.end.known()?, self.step.known()?);
        let size = i128::try_from(size).ok()?;
        let from_front = |number: i64| i128::from(number) + if number < 0 { size } else { 0 };
        let (start, end) = if step > 0 {
            (from_front(start).clamp(0, size), from_front(end).clamp(0, size))
        } else {
            (from_front(start).clamp(0, (size - 1).max(0)), from_front(end).clamp(-1, (size - 1).max(-1)))
        };
        let step_size = i128::from(step.unsigned_abs());
        let room = if step > 0 { end - start } else { start - end };
        let count = if size == 0 || room <= 0 { 0 } else { (room + step_size - 1) / step_size };
        Some((usize::try_from(start).ok()?, step, usize::try_from(count).ok()?))
    }

    fn dim(&self, dim: &Dim) -> Dim {
        let forward = self.start == Element::Known(0) && self.step == Element::Known(1);
        match (dim, &self.end) {
            (Dim::Known(size), _) if self.taken(*size).is_some() => {
                self.taken(*size).map_or(Dim::Unknown, |(_, _, count)| Dim::Known(count))
            }
            // Exporters write the largest number of 32 or 64 bits for "to the end".
            (_, Element::Known(end)) if forward && *end >= i64::from(i32::MAX) => dim.clone(),
            (Dim::Symbol(size), Element::Symbol(end)) if forward && size == end => dim.clone(),
            _ => Dim::Unknown,
        }
    }
}

/// What a `Slice` node takes; `Ok(None)` where not even its axes are known.
///
/// # Errors
/// Where the lists differ in length, an axis is wrong or named twice, or a step is 0.
pub fn cuts(call: &Call<'_>, rank: usize) -> Result<Option<Vec<Cut>>, Reason> {
    let list = |name: &str, position: usize| -> Result<Option<Option<Vec<Element>>>, Reason> {
        if call.opset < 10 {
            return Ok(attribute::ints(call.node, name)?
                .map(|numbers| Some(numbers.iter().copied().map(Element::Known).collect())));
        }
        if position < 4 {
            attribute::absent(call, &[name])?;
        }
        call.optional(position).map(super::reshape::target).transpose()
    };
    let starts = list("starts", 1)?.ok_or("`starts` is absent")?;
    let ends = list("ends", 2)?.ok_or("`ends` is absent")?;
    let (steps, named) = (list("steps", 4)?, list("axes", 3)?);
    let count = [Some(&starts), Some(&ends), steps.as_ref(), named.as_ref()];
    let Some(count) = count.into_iter().flatten().flatten().map(Vec::len).next() else { return Ok(None) };
    let named: Vec<usize> = match named {
        None if count > rank => return Err(format!("{count} axes are cut of a tensor of {rank} axes")),
        None => (0..count).collect(),
        Some(None) => return Ok(None),
        Some(Some(elements)) => {
            let numbers: Option<Vec<i64>> = elements.iter().map(Element::known).collect();
            let Some(numbers) = numbers else { return Ok(None) };
            axes::axes(&numbers, rank)?
        }
    };
    let same_length = |list: Option<Vec<Element>>, name: &str| {
        let list = list.unwrap_or_else(|| vec![Element::Unknown; named.len()]);
        if list.len() == named.len() {
            Ok(list)
        } else {
            Err(format!("`{name}` has {} elements, {} axes are cut", list.len(), named.len()))
        }
    };
    let starts = same_length(starts, "starts")?;
    let ends = same_length(ends, "ends")?;
    let steps = same_length(steps.unwrap_or_else(|| Some(vec![Element::Known(1); named.len()])), "steps")?;
    if steps.contains(&Element::Known(0)) {
        return Err("a step is 0".to_owned());
    }
    let cuts = named.iter().zip(starts).zip(ends).zip(steps);
    Ok(Some(cuts.map(|(((&axis, start), end), step)| Cut { axis, start, end, step }).collect()))
}

fn slice(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let Some(dims) = &data.shape else { return Ok(vec![Fact::new(data.data_type, None)]) };
    let Some(cuts) = cuts(call, dims.len())? else {
        return Ok(vec![Fact::new(data.data_type, Some(vec![Dim::Unknown; dims.len()]))]);
    };
    let mut shape = dims.clone();
    for cut in &cuts {
        shape[cut.axis] = cut.dim(&dims[cut.axis]);
    }
    let content = match (&data.content, &cuts[..]) {
        (Some(content), [cut]) if dims.len() == 1 => cut.taken(content.len()).and_then(|(start, step, count)| {
            let place =
                |index: usize| start.checked_add_signed(isize::try_from(step).ok()?.checked_mul(index as isize)?);
            (0..count).map(|index| content.get(place(index)?).cloned()).collect()
        }),
        (Some(content), []) => Some(content.clone()),
        _ => None,
    };
    Ok(vec![Fact { data_type: data.data_type, shape: Some(shape), content, stored: None }])
}

/// The axis of a `Gather` node.
///
/// # Errors
/// Where there is no such axis.
pub fn gather_axis(call: &Call<'_>, rank: usize) -> Result<usize, Reason> {
    axes::axis(attribute::int(call.node, "axis", 0)?, rank)
}

fn gather(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let Some(dims) = &data.shape else { return Ok(vec![Fact::new(data.data_type, None)]) };
    let axis = gather_axis(call, dims.len())?;
    if let (Some(size), Some(content)) = (dims[axis].known(), &indices.content) {
        let outside = |index: &i64| place(*index, size).is_none();
        if let Some(index) = content.iter().filter_map(Element::known).find(outside) {
            return Err(format!("index {index} is outside an axis of {size}"));
        }
    }
    let Some(places) = &indices.shape else { return Ok(vec![Fact::new(data.data_type, None)]) };
    let shape = dims[..axis].iter().chain(places).chain(&dims[axis + 1..]).cloned().collect();
    let content = match (&data.content, &indices.content) {
        (Some(content), Some(indices)) if dims.len() == 1 => {
            let pick = |index: &Element| match index.known() {
                Some(index) => place(index, content.len()).map_or(Element::Unknown, |place| content[place].clone()),
                None => Element::Unknown,
            };
            Some(indices.iter().map(pick).collect())
        }
        _ => None,
    };
    Ok(vec![Fact { data_type: data.data_type, shape: Some(shape), content, stored: None }])
}

/// Index `index` of an axis of `size`, counted from the front.
fn place(index: i64, size: usize) -> Option<usize> {
    let front = if index < 0 { index.checked_add_unsigned(size as u64)? } else { index };
    usize::try_from(front).ok().filter(|&front| front < size)
}

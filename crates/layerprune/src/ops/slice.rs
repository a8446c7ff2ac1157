//! Operators that pick parts of a value.
//!
//! | operator | opsets |
//! |---|---|
//! | [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html) | 1: starts, ends and axes are attributes; 10: inputs, and steps; 11: negative ones |
//! | [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html) | 1; 11: negative axis and indices |

use super::couple::{Adjustment, Coupler, Cut as Kept, DATA, End, Map, RESULT, Relation};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, attribute, axes, fact, level, no_macs, sign};

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
    couple: picked,
    adjust: renumbered,
    level: level::copied,
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
    couple: cut_out,
    adjust: moved,
    level: level::copied,
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
    let content = fact::picked(data.content.as_deref(), dims, &shape, |index| {
        let mut from = index.to_vec();
        for cut in &cuts {
            let (start, step, _) = cut.taken(dims[cut.axis].known()?)?;
            let along = isize::try_from(step).ok()?.checked_mul(isize::try_from(index[cut.axis]).ok()?)?;
            from[cut.axis] = start.checked_add_signed(along)?;
        }
        Some(from)
    });
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

/// Picks by stored indices are followed; anything else holds the axis fast.
fn picked(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let (rank, places) = (coupler.rank(DATA), coupler.rank(End::Input(1)));
    let axis = gather_axis(coupler.call, rank)?;
    coupler.own_all(End::Input(1));
    for other in (0..rank).filter(|&other| other != axis) {
        let place = if other < axis { other } else { other + places - 1 };
        coupler.same(DATA.axis(other), RESULT.axis(place));
    }
    let (from, to) = (DATA.axis(axis), RESULT.axis(axis));
    let pairs = coupler.size(from).and_then(|size| {
        let indices = axes::numbers(coupler.call.optional(1)?)?;
        indices.iter().enumerate().map(|(to, &from)| Some((place(from, size)?, to))).collect::<Option<Vec<_>>>()
    });
    match pairs {
        Some(pairs) if places == 1 => coupler.say(Relation::Link { a: from, b: to, map: Map::Pairs(pairs) }),
        _ => {
            let reason = "elements are picked along it";
            coupler.pin(from, reason);
            (axis..axis + places).for_each(|axis| coupler.pin(RESULT.axis(axis), reason));
        }
    }
    Ok(())
}

/// Indices count what is left before them.
fn renumbered(call: &Call<'_>, kept: &Kept) -> Result<Vec<Adjustment>, Reason> {
    let dims = call.shape(0)?.ok_or("the shape of the input is not known")?;
    let axis = gather_axis(call, dims.len())?;
    let (from, to) = (DATA.axis(axis), RESULT.axis(axis));
    if kept.kept(from).is_none() && kept.kept(to).is_none() {
        return Ok(Vec::new());
    }
    let size = dims[axis].known().ok_or("the size of the axis is not known")?;
    let indices = axes::numbers(call.input(1)?).ok_or("the indices are computed while the model runs")?;
    let staying: Vec<usize> = kept.kept(to).map_or_else(|| (0..indices.len()).collect(), <[usize]>::to_vec);
    let new = staying.iter().map(|&index| {
        let old = place(indices[index], size).ok_or("an index is outside the axis")?;
        Ok(kept.count(from, 0..old) as i64)
    });
    Ok(vec![Adjustment::Input { input: 1, elements: new.collect::<Result<_, Reason>>()? }])
}

fn cut_out(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let rank = coupler.rank(DATA);
    for position in 1..5 {
        coupler.own_all(End::Input(position));
    }
    let Some(cuts) = cuts(coupler.call, rank)? else {
        return Err("the axes that are cut are computed while the model runs".to_owned());
    };
    coupler.same_but(DATA, RESULT, &cuts.iter().map(|cut| cut.axis).collect::<Vec<_>>());
    for cut in cuts {
        let (from, to) = (DATA.axis(cut.axis), RESULT.axis(cut.axis));
        match coupler.size(from).and_then(|size| cut.taken(size)) {
            Some((start, 1, count)) => coupler.run(to, 0, from, start, count),
            _ => {
                let reason = "elements are picked along it in steps, or from a place that is not known";
                coupler.pin(from, reason);
                coupler.pin(to, reason);
            }
        }
    }
    Ok(())
}

/// Starts and ends count what is left before them.
fn moved(call: &Call<'_>, kept: &Kept) -> Result<Vec<Adjustment>, Reason> {
    let dims = call.shape(0)?.ok_or("the shape of the input is not known")?;
    let cuts = cuts(call, dims.len())?.ok_or("the axes that are cut are computed while the model runs")?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for (place, cut) in cuts.iter().enumerate().filter(|(_, cut)| kept.kept(DATA.axis(cut.axis)).is_some()) {
        let from = DATA.axis(cut.axis);
        let taken = dims[cut.axis].known().and_then(|size| cut.taken(size));
        let (start, _, count) = taken.ok_or("what is cut out is not known")?;
        starts.push((place, kept.count(from, 0..start) as i64));
        ends.push((place, kept.count(from, 0..start + count) as i64));
    }
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    if call.opset >= 10 {
        return Ok(vec![
            Adjustment::Elements { input: 1, changed: starts },
            Adjustment::Elements { input: 2, changed: ends },
        ]);
    }
    let changed = |name: &'static str, changed: &[(usize, i64)]| -> Result<Adjustment, Reason> {
        let mut numbers = attribute::ints(call.node, name)?.ok_or_else(|| format!("`{name}` is absent"))?.to_vec();
        for &(place, number) in changed {
            numbers[place] = number;
        }
        Ok(Adjustment::Ints { name, numbers })
    };
    Ok(vec![changed("starts", &starts)?, changed("ends", &ends)?])
}

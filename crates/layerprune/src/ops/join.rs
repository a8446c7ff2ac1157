//! Concat and Split.
//!
//! | operator | opsets |
//! |---|---|
//! | [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html) | 1: `axis` is 1 by default; 4: it must be given; 11: negative ones |
//! | [Split](https://onnx.ai/onnx/operators/onnx__Split.html) | 1: sizes as attribute (as input: refused); 2: attribute only; 11: negative `axis`; 13: sizes as input; 18: `num_outputs`, the last part may be smaller |

use super::axes::Numbers;
use super::couple::{self, Adjustment, Coupler, Cut, DATA, End, RESULT};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, attribute, axes, level, no_macs, sign};
use crate::proto::tensor_proto::DataType;

/// Several values, one behind the other along an axis.
pub static CONCAT: OpRule = OpRule {
    op_type: "Concat",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["axis"],
    role: Role::Other,
    sign: sign::kept_of_all,
    not_parameters: &[],
    infer: concat,
    macs: no_macs,
    couple: joined_axes,
    adjust: couple::nothing,
    level: level::joined,
};

/// Parts of a value along an axis.
pub static SPLIT: OpRule = OpRule {
    op_type: "Split",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["axis", "num_outputs", "split"],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1],
    infer: split,
    macs: no_macs,
    couple: parted,
    adjust: part_sizes,
    level: level::copied,
};

/// The axis of a `Concat` node.
///
/// # Errors
/// Where it is absent from opset 4 on, or not one of `rank` axes.
pub fn concat_axis(call: &Call<'_>, rank: usize) -> Result<usize, Reason> {
    if call.opset >= 4 && call.node.attribute("axis").is_none() {
        return Err("`axis` is absent".to_owned());
    }
    axes::axis(attribute::int(call.node, "axis", 1)?, rank)
}

fn concat(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let facts: Vec<&Fact> = (0..call.inputs.len()).map(|position| call.input(position)).collect::<Result<_, _>>()?;
    let Some(first) = facts.first() else { return Err("there are no inputs".to_owned()) };
    let Some(rank) = facts.iter().find_map(|fact| fact.rank()) else {
        return Ok(vec![Fact::new(first.data_type, None)]);
    };
    let axis = concat_axis(call, rank)?;
    let mut shape = vec![Dim::Unknown; rank];
    let mut sizes = Vec::with_capacity(facts.len());
    for (position, fact) in facts.iter().enumerate() {
        let Some(dims) = &fact.shape else {
            sizes.push(Dim::Unknown);
            continue;
        };
        if dims.len() != rank {
            return Err(format!("input {position} has {} axes, others have {rank}", dims.len()));
        }
        for (place, dim) in dims.iter().enumerate().filter(|(place, _)| *place != axis) {
            shape[place] = axes::shared(&shape[place], dim).map_err(|why| format!("axis {place}: {why}"))?;
        }
        sizes.push(dims[axis].clone());
    }
    shape[axis] = sum(&sizes)?;
    let content = if rank == 1 { joined(&facts) } else { None };
    Ok(vec![Fact { data_type: first.data_type, shape: Some(shape), content, stored: None }])
}

fn sum(sizes: &[Dim]) -> Result<Dim, Reason> {
    let others: Vec<&Dim> = sizes.iter().filter(|size| **size != Dim::Known(0)).collect();
    if let [only] = others[..] {
        return Ok(only.clone());
    }
    let mut total = 0_usize;
    for size in others {
        let Some(size) = size.known() else { return Ok(Dim::Unknown) };
        total = total.checked_add(size).ok_or("the sizes add up to more than memory can address")?;
    }
    Ok(Dim::Known(total))
}

/// The elements of one-axis integer tensors behind each other; those of a tensor that is not followed are unknown.
fn joined(facts: &[&Fact]) -> Option<Vec<Element>> {
    let mut content = Vec::new();
    for fact in facts {
        match (&fact.content, fact.shape.as_deref()) {
            (Some(elements), _) => content.extend(elements.iter().cloned()),
            (None, Some([Dim::Known(count)]))
                if matches!(fact.data_type, Some(DataType::Int64 | DataType::Int32))
                    && *count <= super::fact::LARGEST_CONTENT =>
            {
                content.resize(content.len() + count, Element::Unknown);
            }
            _ => return None,
        }
        if content.len() > super::fact::LARGEST_CONTENT {
            return None;
        }
    }
    Some(content)
}

/// The axis of a `Split` node and the sizes of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The axis.
    pub axis: usize,
    /// One size for each output.
    pub sizes: Vec<Dim>,
}

impl Split {
    /// Reads a `Split` node whose input has these `dims`.
    ///
    /// # Errors
    /// Where the parts don't fill the axis, or are not as many as the outputs.
    pub fn read(call: &Call<'_>, dims: &[Dim]) -> Result<Self, Reason> {
        if call.opset < 2 && call.optional(1).is_some() {
            return Err("the sizes of the parts are an input in opset 1".to_owned());
        }
        let axis = axes::axis(attribute::int(call.node, "axis", 0)?, dims.len())?;
        let outputs = call.node.outputs().len();
        let size = dims[axis].known();
        let sizes = match Numbers::read(call, "split", 13, 1)? {
            Numbers::Computed => vec![Dim::Unknown; outputs],
            Numbers::Absent => equal_parts(call, size, outputs)?,
            Numbers::Known(numbers) => {
                let parts: Option<Vec<usize>> = numbers.iter().map(|&part| usize::try_from(part).ok()).collect();
                let parts = parts.filter(|parts| parts.len() == outputs);
                let parts = parts.ok_or_else(|| format!("the parts are {numbers:?}, {outputs} sizes are needed"))?;
                let total = parts.iter().try_fold(0_usize, |total, &part| total.checked_add(part));
                if total.is_none() || size.is_some_and(|size| total != Some(size)) {
                    return Err(format!("the parts {numbers:?} do not fill an axis of {}", dims[axis]));
                }
                parts.into_iter().map(Dim::Known).collect()
            }
        };
        Ok(Self { axis, sizes })
    }
}

fn equal_parts(call: &Call<'_>, size: Option<usize>, outputs: usize) -> Result<Vec<Dim>, Reason> {
    if outputs == 0 {
        return Err("there are no outputs".to_owned());
    }
    if call.opset < 18 {
        attribute::absent(call, &["num_outputs"])?;
    } else {
        let declared = attribute::int(call.node, "num_outputs", 0)?;
        if declared != outputs as i64 {
            return Err(format!("`num_outputs` is {declared}, the node has {outputs}"));
        }
    }
    let Some(size) = size else { return Ok(vec![Dim::Unknown; outputs]) };
    let part = size.div_ceil(outputs);
    if call.opset < 18 && !size.is_multiple_of(outputs) {
        return Err(format!("an axis of {size} does not split into {outputs} equal parts"));
    }
    let last = size.checked_sub(part * (outputs - 1));
    let last = last.ok_or_else(|| format!("an axis of {size} does not split into {outputs} parts of {part}"))?;
    let mut sizes = vec![Dim::Known(part); outputs];
    sizes[outputs - 1] = Dim::Known(last);
    Ok(sizes)
}

fn split(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let Some(dims) = &data.shape else {
        return Ok(vec![Fact::new(data.data_type, None); call.node.outputs().len()]);
    };
    let parts = Split::read(call, dims)?;
    let mut start = Some(0);
    let mut facts = Vec::with_capacity(parts.sizes.len());
    for size in parts.sizes {
        let end = start.zip(size.known()).and_then(|(start, size): (usize, usize)| start.checked_add(size));
        let content = match (&data.content, start, end) {
            (Some(content), Some(start), Some(end)) if dims.len() == 1 => content.get(start..end).map(<[_]>::to_vec),
            _ => None,
        };
        start = end;
        let mut shape = dims.clone();
        shape[parts.axis] = size;
        facts.push(Fact { data_type: data.data_type, shape: Some(shape), content, stored: None });
    }
    Ok(facts)
}

fn joined_axes(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let rank = coupler.rank(RESULT);
    let axis = concat_axis(coupler.call, rank)?;
    let sizes: Vec<Option<usize>> =
        (0..coupler.call.inputs.len()).map(|position| coupler.size(End::Input(position).axis(axis))).collect();
    let mut start = Some(0);
    for (position, size) in sizes.into_iter().enumerate() {
        let input = End::Input(position);
        coupler.same_but(input, RESULT, &[axis]);
        match (start, size) {
            (Some(start), Some(size)) => coupler.run(input.axis(axis), 0, RESULT.axis(axis), start, size),
            _ => {
                let reason = "what is joined along it is of sizes that are not known";
                coupler.pin(input.axis(axis), reason);
                coupler.pin(RESULT.axis(axis), reason);
            }
        }
        start = start.zip(size).map(|(start, size)| start + size);
    }
    Ok(())
}

fn parted(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let dims = coupler.dims(DATA).ok_or("the shape of the input is not known")?;
    let Split { axis, sizes } = Split::read(coupler.call, dims)?;
    coupler.own_all(End::Input(1));
    let mut start = Some(0);
    for (position, size) in sizes.iter().enumerate() {
        let output = End::Output(position);
        coupler.same_but(DATA, output, &[axis]);
        match (start, size.known()) {
            (Some(start), Some(size)) => coupler.run(output.axis(axis), 0, DATA.axis(axis), start, size),
            _ => {
                let reason = "it is split into parts of sizes that are not known";
                coupler.pin(DATA.axis(axis), reason);
                coupler.pin(output.axis(axis), reason);
            }
        }
        start = start.zip(size.known()).map(|(start, size)| start + size);
    }
    Ok(())
}

/// Parts that lose indices need their sizes written out.
fn part_sizes(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let dims = call.shape(0)?.ok_or("the shape of the input is not known")?;
    let Split { axis, sizes } = Split::read(call, dims)?;
    if cut.kept(DATA.axis(axis)).is_none() {
        return Ok(Vec::new());
    }
    let (mut start, mut numbers) = (0, Vec::with_capacity(sizes.len()));
    for size in sizes.iter().map(|size| size.known().ok_or("the sizes of the parts are not known")) {
        let size = size?;
        numbers.push(cut.count(DATA.axis(axis), start..start + size) as i64);
        start += size;
    }
    Ok(if call.opset < 13 {
        vec![Adjustment::Ints { name: "split", numbers }]
    } else {
        vec![Adjustment::Input { input: 1, elements: numbers }, Adjustment::Absent { name: "num_outputs" }]
    })
}

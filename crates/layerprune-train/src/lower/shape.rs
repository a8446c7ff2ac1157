//! Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Concat, Slice, Split, Pad: of tensors and of integers alike.

use burn::tensor::ops::PadMode;
use burn::tensor::{Slice, Tensor};

use super::{Call, Fault, Frame, Op, one};
use crate::value::{Ints, Value, same_rank};

/// The axis that `given`, which may count from the end, names.
pub(super) fn axis(given: i64, rank: usize) -> Result<usize, Fault> {
    let axis = if given < 0 { given.saturating_add(rank as i64) } else { given };
    let axis = usize::try_from(axis).ok().filter(|&axis| axis < rank);
    axis.ok_or_else(|| Fault(format!("axis {given} is out of range for rank {rank}")))
}

pub(super) fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut found = given.iter().map(|&given| axis(given, rank)).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Fault(format!("axes {given:?} name one axis twice")));
    }
    Ok(found)
}

pub(super) fn sizes(given: &[i64]) -> Result<Vec<usize>, Fault> {
    let size = |&size: &i64| usize::try_from(size).map_err(|_| Fault(format!("shape {given:?} has a size below 0")));
    given.iter().map(size).collect()
}

fn reshaped(value: Value, dims: &[usize]) -> Result<Value, Fault> {
    let from = value.dims();
    if from.iter().product::<usize>() != dims.iter().product::<usize>() {
        return Err(Fault(format!("shape {from:?} cannot become {dims:?}")));
    }
    value.reshape(dims).ok_or_else(|| super::run::too_deep(dims))
}

/// The shape is an attribute to opset 4, input 1 from 5. A fixed number of images in a file made for it gives way to
/// the number of images at hand.
pub(super) fn reshape(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = if call.opset() < 5 { call.ints("shape")?.map(<[i64]>::to_vec) } else { None };
    let allow_zero = call.int("allowzero", 0)? != 0;
    Ok(one(move |frame| {
        let shape = match &given {
            Some(shape) => shape.clone(),
            None => frame.ints(1)?.ok_or_else(|| Fault("input 1 is missing".to_owned()))?.data,
        };
        let value = frame.take(0)?;
        let from = value.dims();
        let mut dims = Vec::with_capacity(shape.len());
        for (axis, &size) in shape.iter().enumerate() {
            dims.push(match (size, from.get(axis)) {
                (0, Some(&kept)) if !allow_zero => kept as i64,
                _ => size,
            });
        }
        let images = frame.run.images;
        if let (Some(declared), Some(first)) = (frame.run.declared_images, dims.first_mut())
            && declared != images
            && from.first() == Some(&images)
            && *first == declared as i64
        {
            *first = images as i64;
        }
        let open: Vec<_> = (0..dims.len()).filter(|&axis| dims[axis] == -1).collect();
        if let [open] = open[..] {
            let rest: i64 = dims.iter().filter(|&&size| size != -1).product();
            let all = from.iter().product::<usize>() as i64;
            if rest <= 0 || all % rest != 0 {
                return Err(Fault(format!("shape {from:?} cannot become {shape:?}")));
            }
            dims[open] = all / rest;
        }
        reshaped(value, &sizes(&dims)?)
    }))
}

pub(super) fn flatten(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = call.int("axis", 1)?;
    Ok(one(move |frame| {
        let value = frame.take(0)?;
        let dims = value.dims();
        let axis = if given == dims.len() as i64 { dims.len() } else { axis(given, dims.len())? };
        reshaped(value, &[dims[..axis].iter().product(), dims[axis..].iter().product()])
    }))
}

pub(super) fn transpose(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = call.ints("perm")?.map(<[i64]>::to_vec);
    Ok(one(move |frame| {
        let value = frame.take(0)?;
        let rank = value.dims().len();
        let order: Vec<usize> = match &given {
            None => (0..rank).rev().collect(),
            Some(given) => given.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>()?,
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(Fault(format!("attribute `perm` is {order:?} for rank {rank}")));
        }
        Ok(same_rank!(value, x => permuted(x, &order), ints x => Value::Ints(permuted_ints(&x, &order))))
    }))
}

fn permuted<const D: usize>(x: Tensor<D>, order: &[usize]) -> Tensor<D> {
    x.permute(std::array::from_fn::<_, D, _>(|axis| order[axis] as isize))
}

fn permuted_ints(x: &Ints, order: &[usize]) -> Ints {
    let dims: Vec<usize> = order.iter().map(|&axis| x.dims[axis]).collect();
    let strides = strides(&x.dims);
    let data = positions(&dims).map(|at| {
        let place: usize = at.iter().zip(order).map(|(at, &axis)| at * strides[axis]).sum();
        x.data[place]
    });
    Ints { data: data.collect(), dims: dims.clone() }
}

fn strides(dims: &[usize]) -> Vec<usize> {
    (0..dims.len()).map(|axis| dims[axis + 1..].iter().product()).collect()
}

/// All positions of a shape, in row-major order.
fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let strides = strides(dims);
    (0..dims.iter().product::<usize>())
        .map(move |flat| strides.iter().zip(dims).map(|(stride, size)| flat / stride % size).collect())
}

/// Axes are an attribute to opset 12, input 1 from 13.
fn given_axes(call: &mut Call<'_>) -> Result<Option<Vec<i64>>, Fault> {
    if call.opset() < 13 { Ok(call.ints("axes")?.map(<[i64]>::to_vec)) } else { Ok(None) }
}

fn axes_or_input(given: &Option<Vec<i64>>, frame: &mut Frame<'_, '_>) -> Result<Option<Vec<i64>>, Fault> {
    match given {
        Some(given) => Ok(Some(given.clone())),
        None => Ok(frame.ints(1)?.map(|ints| ints.data)),
    }
}

pub(super) fn squeeze(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = given_axes(call)?;
    Ok(one(move |frame| {
        let named = axes_or_input(&given, frame)?;
        let value = frame.take(0)?;
        let dims = value.dims();
        let gone = match named {
            Some(named) => axes(&named, dims.len())?,
            None => (0..dims.len()).filter(|&axis| dims[axis] == 1).collect(),
        };
        if let Some(&axis) = gone.iter().find(|&&axis| dims[axis] != 1) {
            return Err(Fault(format!("axis {axis} of shape {dims:?} is not of size 1")));
        }
        let kept: Vec<_> = (0..dims.len()).filter(|axis| !gone.contains(axis)).map(|axis| dims[axis]).collect();
        reshaped(value, &kept)
    }))
}

pub(super) fn unsqueeze(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = given_axes(call)?;
    Ok(one(move |frame| {
        let named = axes_or_input(&given, frame)?.ok_or_else(|| Fault("its axes are missing".to_owned()))?;
        let value = frame.take(0)?;
        let mut dims = value.dims();
        for axis in axes(&named, dims.len() + named.len())? {
            dims.insert(axis, 1);
        }
        reshaped(value, &dims)
    }))
}

pub(super) fn concat(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given = call.int("axis", 1)?;
    let inputs = call.inputs();
    Ok(one(move |frame| {
        let parts = (0..inputs).map(|position| frame.take(position)).collect::<Result<Vec<_>, _>>()?;
        let first = parts.first().ok_or_else(|| Fault("it has no inputs".to_owned()))?.dims();
        let axis = axis(given, first.len())?;
        for part in &parts {
            let dims = part.dims();
            if dims.len() != first.len() || (0..dims.len()).any(|at| at != axis && dims[at] != first[at]) {
                return Err(Fault(format!("shapes {first:?} and {dims:?} cannot be joined along axis {axis}")));
            }
        }
        joined(parts, axis)
    }))
}

fn joined(parts: Vec<Value>, axis: usize) -> Result<Value, Fault> {
    macro_rules! join {
        ($($rank:ident),+) => {
            match &parts[0] {
                $(Value::$rank(_) => {
                    let tensors: Vec<_> =
                        parts.iter().filter_map(|part| if let Value::$rank(x) = part { Some(x.clone()) } else { None }).collect();
                    if tensors.len() == parts.len() {
                        return Ok(Value::$rank(Tensor::cat(tensors, axis as isize)));
                    }
                })+
                Value::Ints(_) => {
                    let lists: Vec<_> =
                        parts.iter().filter_map(|part| if let Value::Ints(x) = part { Some(x) } else { None }).collect();
                    if lists.len() == parts.len() {
                        return Ok(Value::Ints(joined_ints(&lists, axis)));
                    }
                }
            }
        };
    }
    join!(R1, R2, R3, R4, R5);
    Err(Fault("some inputs are integers, others floating point".to_owned()))
}

fn joined_ints(parts: &[&Ints], axis: usize) -> Ints {
    let mut dims = parts[0].dims.clone();
    dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
    let outer: usize = dims[..axis].iter().product();
    let mut data = Vec::with_capacity(dims.iter().product());
    for row in 0..outer {
        for part in parts {
            let len = part.data.len() / outer.max(1);
            data.extend_from_slice(&part.data[row * len..][..len]);
        }
    }
    Ints { dims, data }
}

/// Elements of one axis: first, how many, and their distance, which may be negative.
#[derive(Debug, Clone, Copy)]
struct Cut {
    first: usize,
    count: usize,
    step: i64,
}

impl Cut {
    fn new(size: usize, start: i64, end: i64, step: i64) -> Result<Self, Fault> {
        if step == 0 {
            return Err(Fault("its step is 0".to_owned()));
        }
        let len = size as i64;
        let wrap = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
        let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let start = wrap(start).clamp(low.max(0), high.max(0));
        let end = if step < 0 && end < -len { -1 } else { wrap(end).clamp(low, high) };
        let count = if step > 0 { (end - start + step - 1).div_euclid(step) } else { (start - end - step - 1) / -step };
        Ok(Self { first: start as usize, count: count.max(0) as usize, step })
    }

    fn all(size: usize) -> Self {
        Self { first: 0, count: size, step: 1 }
    }
}

fn cut(value: Value, cuts: &[Cut]) -> Result<Value, Fault> {
    if let Value::Ints(ints) = &value {
        let strides = strides(&ints.dims);
        let dims: Vec<usize> = cuts.iter().map(|cut| cut.count).collect();
        let data = positions(&dims).map(|at| {
            let place: i64 = (0..at.len())
                .map(|axis| (cuts[axis].first as i64 + at[axis] as i64 * cuts[axis].step) * strides[axis] as i64)
                .sum();
            ints.data[place as usize]
        });
        return Ok(Value::Ints(Ints { data: data.collect(), dims: dims.clone() }));
    }
    if cuts.iter().any(|cut| cut.count == 0) {
        return Err(Fault(format!("it leaves nothing of shape {:?}", value.dims())));
    }
    let slices: Vec<Slice> = cuts
        .iter()
        .map(|cut| {
            let last = (cut.first as i64 + (cut.count as i64 - 1) * cut.step) as isize;
            let (low, high) = (last.min(cut.first as isize), last.max(cut.first as isize));
            Slice::new(low, Some(high + 1), cut.step as isize)
        })
        .collect();
    Ok(same_rank!(value, x => x.slice(&slices[..]), ints x => Value::Ints(x)))
}

/// All but the data are attributes to opset 9, inputs from 10.
pub(super) fn slice(call: &mut Call<'_>) -> Result<Op, Fault> {
    let mut given = [None, None, None];
    let old = call.opset() < 10;
    if old {
        for (slot, name) in given.iter_mut().zip(["starts", "ends", "axes"]) {
            *slot = call.ints(name)?.map(<[i64]>::to_vec);
        }
    }
    Ok(one(move |frame| {
        let mut read = |position: usize| match &given {
            [starts, ends, axes] if old => Ok([starts, ends, axes, &None][position - 1].clone()),
            _ => frame.ints(position).map(|ints| ints.map(|ints| ints.data)),
        };
        let (starts, ends, named, steps) = (read(1)?, read(2)?, read(3)?, read(4)?);
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return Err(Fault("its starts or ends are missing".to_owned()));
        };
        let value = frame.take(0)?;
        let dims = value.dims();
        let named = named.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), named.len(), steps.len()] != [starts.len(); 3] {
            return Err(Fault("its starts, ends, axes and steps are not equally many".to_owned()));
        }
        let mut cuts: Vec<_> = dims.iter().map(|&size| Cut::all(size)).collect();
        for index in 0..starts.len() {
            let axis = axis(named[index], dims.len())?;
            cuts[axis] = Cut::new(dims[axis], starts[index], ends[index], steps[index])?;
        }
        cut(value, &cuts)
    }))
}

/// Sizes are an attribute to opset 12, input 1 from 13; without them, equal parts.
pub(super) fn split(call: &mut Call<'_>) -> Result<Op, Fault> {
    let given_axis = call.int("axis", 0)?;
    let given = if call.opset() < 13 { call.ints("split")?.map(<[i64]>::to_vec) } else { None };
    if call.opset() >= 18 {
        call.ignore(&["num_outputs"]);
    }
    let outputs = call.outputs();
    Ok(Box::new(move |frame| {
        let named = match &given {
            Some(given) => Some(given.clone()),
            None => frame.ints(1)?.map(|ints| ints.data),
        };
        let value = frame.take(0)?;
        let dims = value.dims();
        let axis = axis(given_axis, dims.len())?;
        let lengths = match named {
            Some(named) => sizes(&named)?,
            None => {
                let part = dims[axis].div_ceil(outputs);
                (0..outputs).map(|index| part.min(dims[axis].saturating_sub(index * part))).collect()
            }
        };
        if lengths.iter().sum::<usize>() != dims[axis] || lengths.len() != outputs {
            return Err(Fault(format!("parts {lengths:?} do not make axis {axis} of shape {dims:?}")));
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(outputs);
        for count in lengths {
            let mut cuts: Vec<_> = dims.iter().map(|&size| Cut::all(size)).collect();
            cuts[axis] = Cut { first, count, step: 1 };
            first += count;
            parts.push(cut(value.clone(), &cuts)?);
        }
        Ok(parts)
    }))
}

/// Constant padding; negative pads crop. Pads are an attribute to opset 10, inputs from 11 (axes from 18).
pub(super) fn pad(call: &mut Call<'_>) -> Result<Op, Fault> {
    match call.string("mode", "constant")?.as_str() {
        "constant" => {}
        other => return Err(Fault(format!("attribute `mode` is `{other}`, only `constant` is supported"))),
    }
    let old = call.opset() < 11;
    let (given, number) =
        if old { (call.ints("pads")?.map(<[i64]>::to_vec), call.float("value", 0.0)?) } else { (None, 0.0) };
    Ok(one(move |frame| {
        let (pads, number, named) = match &given {
            Some(pads) => (pads.clone(), number, None),
            None => {
                let pads = frame.ints(1)?.ok_or_else(|| Fault("its pads are missing".to_owned()))?.data;
                (pads, frame.scalar(2)?.unwrap_or(0.0), frame.ints(3)?)
            }
        };
        let value = frame.take(0)?;
        let dims = value.dims();
        let named = match named {
            Some(named) => named.data.iter().map(|&at| axis(at, dims.len())).collect::<Result<_, _>>()?,
            None => (0..dims.len()).collect::<Vec<_>>(),
        };
        if pads.len() != 2 * named.len() {
            return Err(Fault(format!("its {} pads do not fit {} axes", pads.len(), named.len())));
        }
        let mut cuts: Vec<_> = dims.iter().map(|&size| Cut::all(size)).collect();
        let mut added = vec![(0_usize, 0_usize); dims.len()];
        for (index, &axis) in named.iter().enumerate() {
            let (before, behind) = (pads[index], pads[index + named.len()]);
            cuts[axis] = Cut::new(dims[axis], (-before).max(0), (dims[axis] as i64).saturating_add(behind.min(0)), 1)?;
            added[axis] = (before.max(0) as usize, behind.max(0) as usize);
        }
        let value = if pads.iter().any(|&pad| pad < 0) { cut(value, &cuts)? } else { value };
        Ok(same_rank!(
            value,
            x => x.pad(&added[..], PadMode::Constant(number)),
            ints _ => return Err(Fault("padding integers is not supported".to_owned()))
        ))
    }))
}

//! Reductions along axes.
//!
//! | operator | opsets |
//! |---|---|
//! | [ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html), ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp, ReduceMax, ReduceMin, ReduceProd, ReduceSumSquare | 1: `axes` is an attribute; 11: negative ones; 18: an input, `noop_with_empty_axes` |
//! | [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html) | the same, but 13 instead of 18 |
//! | [ArgMax](https://onnx.ai/onnx/operators/onnx__ArgMax.html), ArgMin | 1; 11: negative axis; 12: `select_last_index` |
//! | [TopK](https://onnx.ai/onnx/operators/onnx__TopK.html) | 1: `k` is an attribute; 10: an input; 11: `largest`, `sorted` |

use super::axes::Numbers;
use super::couple::{self, Axis, Coupler, DATA, End, RESULT};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, attribute, axes, level, no_macs, sign};
use crate::proto::tensor_proto::DataType;

const REDUCE: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["axes", "keepdims", "noop_with_empty_axes"],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[1],
    infer: reduce,
    macs: no_macs,
    couple: reduced,
    adjust: couple::nothing,
    level: level::free,
};

const ARGUMENT: OpRule = OpRule {
    attributes: &["axis", "keepdims", "select_last_index"],
    sign: sign::non_negative,
    not_parameters: &[],
    infer: argument,
    couple: |coupler| along(coupler, 0),
    ..REDUCE
};

/// Where the largest element is.
pub static ARG_MAX: OpRule = OpRule { op_type: "ArgMax", ..ARGUMENT };
/// Where the smallest element is.
pub static ARG_MIN: OpRule = OpRule { op_type: "ArgMin", ..ARGUMENT };
/// Sum of sizes.
pub static REDUCE_L1: OpRule = OpRule { op_type: "ReduceL1", level: level::zero, sign: sign::non_negative, ..REDUCE };
/// Euclidean length.
pub static REDUCE_L2: OpRule = OpRule { op_type: "ReduceL2", level: level::zero, sign: sign::non_negative, ..REDUCE };
/// Logarithm of the sum.
pub static REDUCE_LOG_SUM: OpRule = OpRule { op_type: "ReduceLogSum", sign: sign::free, ..REDUCE };
/// Logarithm of the sum of exponentials.
pub static REDUCE_LOG_SUM_EXP: OpRule = OpRule { op_type: "ReduceLogSumExp", sign: sign::free, ..REDUCE };
/// Largest element.
pub static REDUCE_MAX: OpRule = OpRule { op_type: "ReduceMax", level: level::zero, ..REDUCE };
/// Mean.
pub static REDUCE_MEAN: OpRule = OpRule { op_type: "ReduceMean", level: level::zero, ..REDUCE };
/// Smallest element.
pub static REDUCE_MIN: OpRule = OpRule { op_type: "ReduceMin", level: level::zero, ..REDUCE };
/// Product.
pub static REDUCE_PROD: OpRule = OpRule { op_type: "ReduceProd", level: level::zero, ..REDUCE };
/// Sum.
pub static REDUCE_SUM: OpRule = OpRule { op_type: "ReduceSum", level: level::zero, ..REDUCE };
/// Sum of squares.
pub static REDUCE_SUM_SQUARE: OpRule =
    OpRule { op_type: "ReduceSumSquare", level: level::zero, sign: sign::non_negative, ..REDUCE };
/// The largest or smallest elements, and where they are.
pub static TOP_K: OpRule = OpRule {
    op_type: "TopK",
    attributes: &["axis", "k", "largest", "sorted"],
    infer: top_k,
    couple: |coupler| along(coupler, -1),
    ..REDUCE
};

/// Axes that a reduction goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// The axes, counted from the front; `None` where they are computed.
    pub axes: Option<Vec<usize>>,
    /// Whether they stay, with size 1.
    pub keep: bool,
}

impl Reduce {
    /// Reads a reduction of an input of `rank` axes.
    ///
    /// # Errors
    /// Where there is no such axis, or one is named twice.
    pub fn read(call: &Call<'_>, rank: usize) -> Result<Self, Reason> {
        let since = if call.node.op_type() == "ReduceSum" { 13 } else { 18 };
        if call.opset < since {
            attribute::absent(call, &["noop_with_empty_axes"])?;
        }
        let nothing = attribute::flag(call.node, "noop_with_empty_axes", false)?;
        let axes = match Numbers::read(call, "axes", since, 1)? {
            Numbers::Computed => None,
            Numbers::Known(numbers) if !numbers.is_empty() => Some(axes::axes(&numbers, rank)?),
            _ if nothing => Some(Vec::new()),
            _ => Some((0..rank).collect()),
        };
        Ok(Self { axes, keep: attribute::flag(call.node, "keepdims", true)? })
    }

    /// The shape that is left of `dims`.
    #[must_use]
    pub fn shape(&self, dims: &[Dim]) -> Option<Vec<Dim>> {
        match (&self.axes, self.keep) {
            (None, false) => None,
            (None, true) => Some(vec![Dim::Unknown; dims.len()]),
            (Some(axes), keep) => {
                let place = |(axis, dim): (usize, &Dim)| match (axes.contains(&axis), keep) {
                    (false, _) => Some(dim.clone()),
                    (true, true) => Some(Dim::Known(1)),
                    (true, false) => None,
                };
                Some(dims.iter().enumerate().filter_map(place).collect())
            }
        }
    }
}

fn reduce(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let shape = match &data.shape {
        None => None,
        Some(dims) => Reduce::read(call, dims.len())?.shape(dims),
    };
    Ok(vec![Fact::new(data.data_type, shape)])
}

fn argument(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let shape = match call.shape(0)? {
        None => None,
        Some(dims) => {
            let axis = axes::axis(attribute::int(call.node, "axis", 0)?, dims.len())?;
            Reduce { axes: Some(vec![axis]), keep: attribute::flag(call.node, "keepdims", true)? }.shape(dims)
        }
    };
    Ok(vec![Fact::new(Some(DataType::Int64), shape)])
}

fn top_k(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let count = if call.opset < 10 {
        Element::Known(attribute::int(call.node, "k", -1)?)
    } else {
        attribute::absent(call, &["k"])?;
        match call.input(1)?.content.as_deref() {
            Some([count]) => count.clone(),
            _ => Element::Unknown,
        }
    };
    if let Some(count) = count.known().filter(|&count| count < 0) {
        return Err(format!("`k` is {count}, below zero"));
    }
    let shape = match &data.shape {
        None => None,
        Some(dims) => {
            let axis = axes::axis(attribute::int(call.node, "axis", -1)?, dims.len())?;
            let mut shape = dims.clone();
            shape[axis] = Dim::from(&count);
            if let (Dim::Known(size), Dim::Known(count)) = (&dims[axis], &shape[axis])
                && count > size
            {
                return Err(format!("`k` is {count}, the axis has {size}"));
            }
            Some(shape)
        }
    };
    Ok(vec![Fact::new(data.data_type, shape.clone()), Fact::new(Some(DataType::Int64), shape)])
}

/// Axes that stay are those of the result; a sum over the others leaves out zeros, anything else holds them fast.
fn reduced(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let rank = coupler.rank(DATA);
    let Reduce { axes: Some(gone), keep } = Reduce::read(coupler.call, rank)? else {
        return Err("the axes of the reduction are computed while the model runs".to_owned());
    };
    coupler.own_all(End::Input(1));
    let adds = matches!(coupler.call.node.op_type(), "ReduceL1" | "ReduceL2" | "ReduceSum" | "ReduceSumSquare");
    let place = |axis: usize| axis - if keep { 0 } else { gone.iter().filter(|&&other| other < axis).count() };
    for axis in 0..rank {
        let at: Axis = DATA.axis(axis);
        match (gone.contains(&axis), adds) {
            (false, _) => coupler.same(at, RESULT.axis(place(axis))),
            (true, true) => coupler.sum(at),
            (true, false) => coupler.pin(at, format!("`{}` goes over it", coupler.call.node.op_type())),
        }
    }
    Ok(())
}

/// What is picked along `axis` depends on all of it.
fn along(coupler: &mut Coupler<'_, '_>, default: i64) -> Result<(), Reason> {
    let rank = coupler.rank(DATA);
    let axis = axes::axis(attribute::int(coupler.call.node, "axis", default)?, rank)?;
    let keeps = coupler.rank(RESULT) == rank;
    for end in [RESULT, End::Output(1)] {
        for other in (0..rank).filter(|&other| other != axis) {
            let place = if keeps || other < axis { other } else { other - 1 };
            coupler.same(DATA.axis(other), end.axis(place));
        }
        if keeps && coupler.rank(end) > 0 {
            coupler.pin(end.axis(axis), "an element is picked along it");
        }
    }
    coupler.pin(DATA.axis(axis), "an element is picked along it");
    coupler.own_all(End::Input(1));
    Ok(())
}

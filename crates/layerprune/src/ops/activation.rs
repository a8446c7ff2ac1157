//! Operators that act element by element on one value.
//!
//! | operator | opsets |
//! |---|---|
//! | [Relu](https://onnx.ai/onnx/operators/onnx__Relu.html), Elu, LeakyRelu, PRelu, Selu, Sigmoid, HardSigmoid, Tanh, Exp, Log, Sqrt, Neg, Abs, Floor, Ceil, Reciprocal | 1; 6 drops `consumed_inputs`; later ones add types |
//! | [Clip](https://onnx.ai/onnx/operators/onnx__Clip.html) | 1, 6: bounds are attributes; 11 and later: inputs |
//! | [Softmax](https://onnx.ai/onnx/operators/onnx__Softmax.html), LogSoftmax | 1, 11: `axis` is 1 by default and all axes behind it belong to it; 13: `axis` is -1 by default and stands alone |
//! | PRelu | 1, 6: the slope aligns with the channels; 7: it broadcasts |
//! | [HardSwish](https://onnx.ai/onnx/operators/onnx__HardSwish.html) 14, Mish 18, [Gelu](https://onnx.ai/onnx/operators/onnx__Gelu.html) 20, Celu 12, ThresholdedRelu 10, Erf 9, Round 11, Sign 9, Softplus, Softsign 1 | |

use super::couple::{self, Coupler, DATA, End, RESULT};
use super::level::{self, Level, Number};
use super::{Call, Dim, Fact, OpRule, Reason, Role, Sign, attribute, axes, no_macs, sign};
use crate::graph::tensor;

const UNARY: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["consumed_inputs"],
    role: Role::Activation,
    sign: sign::kept,
    not_parameters: &[],
    infer: same,
    macs: no_macs,
    couple: couple::kept,
    adjust: couple::nothing,
    level: level::free,
};

/// `|x|`.
pub static ABS: OpRule = OpRule { op_type: "Abs", level: level::zero, sign: sign::non_negative, ..UNARY };
/// Rounds up.
pub static CEIL: OpRule = OpRule { op_type: "Ceil", level: level::zero, ..UNARY };
/// `max(0, x) + min(0, alpha (exp(x / alpha) - 1))`.
pub static CELU: OpRule =
    OpRule { op_type: "Celu", level: level::zero, opsets: (12, super::NEWEST_OPSET), attributes: &["alpha"], ..UNARY };
/// Clamps between bounds.
pub static CLIP: OpRule = OpRule {
    op_type: "Clip",
    couple: first_kept,
    level: clip_level,
    attributes: &["consumed_inputs", "max", "min"],
    sign: clip_sign,
    not_parameters: &[1, 2],
    infer: clip,
    ..UNARY
};
/// `x`, or `alpha (exp(x) - 1)` below 0.
pub static ELU: OpRule =
    OpRule { op_type: "Elu", level: level::zero, attributes: &["alpha", "consumed_inputs"], ..UNARY };
/// The error function.
pub static ERF: OpRule =
    OpRule { op_type: "Erf", level: level::zero, opsets: (9, super::NEWEST_OPSET), attributes: &[], ..UNARY };
/// `exp(x)`.
pub static EXP: OpRule = OpRule { op_type: "Exp", sign: sign::non_negative, ..UNARY };
/// Rounds down.
pub static FLOOR: OpRule = OpRule { op_type: "Floor", level: level::zero, ..UNARY };
/// Gaussian error linear unit.
pub static GELU: OpRule = OpRule {
    op_type: "Gelu",
    level: level::zero,
    opsets: (20, super::NEWEST_OPSET),
    attributes: &["approximate"],
    infer: gelu,
    ..UNARY
};
/// `max(0, min(1, alpha x + beta))`.
pub static HARD_SIGMOID: OpRule = OpRule {
    op_type: "HardSigmoid",
    attributes: &["alpha", "beta", "consumed_inputs"],
    sign: sign::non_negative,
    ..UNARY
};
/// `x max(0, min(1, x / 6 + 1 / 2))`.
pub static HARD_SWISH: OpRule =
    OpRule { op_type: "HardSwish", level: level::zero, opsets: (14, super::NEWEST_OPSET), attributes: &[], ..UNARY };
/// `x`, or `alpha x` below 0.
pub static LEAKY_RELU: OpRule =
    OpRule { op_type: "LeakyRelu", level: level::zero, attributes: &["alpha", "consumed_inputs"], ..UNARY };
/// Natural logarithm.
pub static LOG: OpRule = OpRule { op_type: "Log", sign: sign::free, ..UNARY };
/// Logarithm of the softmax along an axis.
pub static LOG_SOFTMAX: OpRule = OpRule {
    op_type: "LogSoftmax",
    couple: softmax_axes,
    attributes: &["axis"],
    sign: sign::free,
    infer: softmax,
    ..UNARY
};
/// `x tanh(ln(1 + exp(x)))`.
pub static MISH: OpRule =
    OpRule { op_type: "Mish", level: level::zero, opsets: (18, super::NEWEST_OPSET), attributes: &[], ..UNARY };
/// `-x`.
pub static NEG: OpRule = OpRule { op_type: "Neg", level: level::zero, sign: sign::free, ..UNARY };
/// `x`, or a learned slope times `x` below 0.
pub static P_RELU: OpRule = OpRule { op_type: "PRelu", couple: slopes, level: level::zero, infer: p_relu, ..UNARY };
/// `1 / x`.
pub static RECIPROCAL: OpRule = OpRule { op_type: "Reciprocal", sign: sign::free, ..UNARY };
/// `max(0, x)`.
pub static RELU: OpRule = OpRule { op_type: "Relu", level: level::rectified, sign: sign::non_negative, ..UNARY };
/// Rounds to the nearest, halves to even.
pub static ROUND: OpRule =
    OpRule { op_type: "Round", level: level::zero, opsets: (11, super::NEWEST_OPSET), attributes: &[], ..UNARY };
/// Scaled exponential linear unit.
pub static SELU: OpRule = OpRule {
    op_type: "Selu",
    level: level::zero,
    attributes: &["alpha", "consumed_inputs", "gamma"],
    sign: selu_sign,
    ..UNARY
};
/// `1 / (1 + exp(-x))`.
pub static SIGMOID: OpRule = OpRule { op_type: "Sigmoid", sign: sign::non_negative, ..UNARY };
/// -1, 0 or 1.
pub static SIGN: OpRule =
    OpRule { op_type: "Sign", level: level::zero, opsets: (9, super::NEWEST_OPSET), attributes: &[], ..UNARY };
/// `exp(x)` over its sum along an axis.
pub static SOFTMAX: OpRule = OpRule {
    op_type: "Softmax",
    couple: softmax_axes,
    attributes: &["axis"],
    sign: sign::non_negative,
    infer: softmax,
    ..UNARY
};
/// `ln(1 + exp(x))`.
pub static SOFTPLUS: OpRule = OpRule { op_type: "Softplus", attributes: &[], sign: sign::non_negative, ..UNARY };
/// `x / (1 + |x|)`.
pub static SOFTSIGN: OpRule = OpRule { op_type: "Softsign", level: level::zero, attributes: &[], ..UNARY };
/// Square root.
pub static SQRT: OpRule = OpRule { op_type: "Sqrt", level: level::zero, sign: sign::non_negative, ..UNARY };
/// Hyperbolic tangent.
pub static TANH: OpRule = OpRule { op_type: "Tanh", level: level::zero, ..UNARY };
/// `x`, or 0 up to `alpha`.
pub static THRESHOLDED_RELU: OpRule = OpRule {
    op_type: "ThresholdedRelu",
    level: level::zero,
    opsets: (10, super::NEWEST_OPSET),
    attributes: &["alpha"],
    ..UNARY
};

/// Type and shape of the first input.
pub(crate) fn same(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    Ok(vec![Fact::new(data.data_type, data.shape.clone())])
}

/// Bounds of a `Clip` node; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The lower one.
    pub min: Option<f32>,
    /// The upper one.
    pub max: Option<f32>,
}

impl Clip {
    /// Reads a `Clip` node: attributes below opset 11, stored inputs from then on.
    ///
    /// # Errors
    /// Where a bound is computed, no single number, or spelled as another opset does.
    pub fn read(call: &Call<'_>) -> Result<Self, Reason> {
        clip_spelling(call)?;
        let bound = |name: &str, position: usize| -> Result<Option<f32>, Reason> {
            if call.opset < 11 {
                return call.node.attribute(name).map(|_| attribute::float(call.node, name, 0.0)).transpose();
            }
            let Some(fact) = call.optional(position) else { return Ok(None) };
            let stored = fact.stored.as_ref().ok_or_else(|| format!("`{name}` is computed while the model runs"))?;
            let numbers = match tensor::to_f32(stored) {
                Ok(numbers) => numbers.into_owned(),
                Err(_) => {
                    let whole = tensor::to_i64(stored).map_err(|error| error.to_string())?;
                    whole.into_iter().map(|number| number as f32).collect()
                }
            };
            match numbers[..] {
                [number] => Ok(Some(number)),
                _ => Err(format!("`{name}` has {} elements, 1 is needed", numbers.len())),
            }
        };
        Ok(Self { min: bound("min", 1)?, max: bound("max", 2)? })
    }
}

fn clip_spelling(call: &Call<'_>) -> Result<(), Reason> {
    if call.opset >= 11 {
        return attribute::absent(call, &["min", "max"]);
    }
    if call.inputs.len() > 1 {
        return Err(format!("bounds are attributes in opset {}, not inputs", call.opset));
    }
    Ok(())
}

fn clip(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    clip_spelling(call)?;
    same(call)
}

fn clip_sign(call: &Call<'_>) -> Sign {
    let Ok(clip) = Clip::read(call) else { return Sign::Free };
    let upper = clip.max.is_none_or(|max| max >= 0.0);
    match clip.min {
        Some(min) if min >= 0.0 && upper => Sign::NonNegative,
        _ if upper => sign::kept(call),
        _ => Sign::Free,
    }
}

fn selu_sign(call: &Call<'_>) -> Sign {
    match attribute::float(call.node, "gamma", 1.050_701) {
        Ok(gamma) if gamma >= 0.0 => sign::kept(call),
        _ => Sign::Free,
    }
}

fn gelu(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    match attribute::string(call.node, "approximate", "none")? {
        "none" | "tanh" => same(call),
        other => Err(format!("`approximate` is `{other}`, which ONNX does not define")),
    }
}

/// The axis of a `Softmax` or `LogSoftmax` node as written. Below opset 13 all axes behind it belong to it.
///
/// # Errors
/// Where the attribute is of another type.
pub fn softmax_axis(call: &Call<'_>) -> Result<i64, Reason> {
    attribute::int(call.node, "axis", if call.opset < 13 { 1 } else { -1 })
}

fn softmax(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let axis = softmax_axis(call)?;
    if let Some(rank) = call.input(0)?.rank() {
        let past_the_end = call.opset < 13 && axis == rank as i64;
        if !past_the_end {
            axes::axis(axis, rank)?;
        }
    }
    same(call)
}

fn p_relu(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    if let (Some(data), Some(slope)) = (call.shape(0)?, call.shape(1)?) {
        if call.opset < 7 {
            let channels = data.get(1).unwrap_or(&Dim::Unknown);
            match slope {
                [] | [Dim::Known(1)] => {}
                [size] => _ = axes::shared(size, channels)?,
                _ => return Err(format!("the slope has {} axes, 1 is needed", slope.len())),
            }
        } else {
            super::broadcast::into(data, slope)?;
        }
    }
    same(call)
}

/// The bounds are single numbers and have no axes worth following.
fn first_kept(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    coupler.own_all(End::Input(1));
    coupler.own_all(End::Input(2));
    Ok(())
}

fn clip_level(call: &Call<'_>, levels: &[Level]) -> Number {
    let clip = Clip::read(call).ok()?;
    let level = level::copied(call, levels)?;
    let raised = clip.min.map_or(level, |min| level.max(f64::from(min)));
    Some(clip.max.map_or(raised, |max| raised.min(f64::from(max))))
}

fn softmax_axes(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let rank = coupler.rank(DATA);
    let axis = softmax_axis(coupler.call)?;
    let first = if axis == rank as i64 { rank } else { axes::axis(axis, rank)? };
    let normalised: Vec<usize> = if coupler.call.opset < 13 { (first..rank).collect() } else { vec![first] };
    coupler.same_but(DATA, RESULT, &normalised);
    for axis in normalised {
        for end in [DATA, RESULT] {
            coupler.pin(end.axis(axis), "a softmax goes over it");
        }
    }
    Ok(())
}

fn slopes(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    let slope = End::Input(1);
    if coupler.call.opset < 7 && coupler.rank(slope) == 1 {
        coupler.same(slope.axis(0), RESULT.axis(1));
    } else {
        coupler.broadcast(slope, RESULT);
    }
    Ok(())
}

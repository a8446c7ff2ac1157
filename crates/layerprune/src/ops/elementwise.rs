//! Operators that act element by element on several values.
//!
//! | operator | opsets |
//! |---|---|
//! | [Add](https://onnx.ai/onnx/operators/onnx__Add.html), Sub, Mul, Div | 1 with `consumed_inputs`; 1, 6: the second input aligns by `axis` where `broadcast` says so; 7: numpy's broadcasting; 13, 14: types |
//! | [Pow](https://onnx.ai/onnx/operators/onnx__Pow.html), And, Or, Xor, Equal, Greater, Less | 1: as above; 7: numpy's broadcasting; later ones: types |
//! | [Max](https://onnx.ai/onnx/operators/onnx__Max.html), Min, Sum, Mean | 1, 6: equal shapes; 8: numpy's broadcasting; 12, 13: types |
//! | [Where](https://onnx.ai/onnx/operators/onnx__Where.html) 9, GreaterOrEqual and LessOrEqual 12, Not 1, Mod 10 | |

use super::activation::same;
use super::couple::{self, Coupler, End, RESULT};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, Sign, attribute, axes, broadcast, level, no_macs, sign};
use crate::proto::tensor_proto::DataType;

const BINARY: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["axis", "broadcast", "consumed_inputs"],
    role: Role::Other,
    sign: sign::kept_of_all,
    not_parameters: &[],
    infer: arithmetic,
    macs: no_macs,
    couple: aligned,
    adjust: couple::nothing,
    level: level::free,
};

const COMPARE: OpRule =
    OpRule { attributes: &["axis", "broadcast"], sign: sign::non_negative, infer: compare, ..BINARY };

const VARIADIC: OpRule = OpRule { attributes: &["consumed_inputs"], ..BINARY };

/// Sum of two values.
pub static ADD: OpRule = OpRule { op_type: "Add", level: level::added, role: Role::Add, ..BINARY };
/// Logical and.
pub static AND: OpRule = OpRule { op_type: "And", ..COMPARE };
/// Quotient of two values.
pub static DIV: OpRule = OpRule { op_type: "Div", level: level::divided, sign: div_sign, ..BINARY };
/// Whether two values are equal.
pub static EQUAL: OpRule = OpRule { op_type: "Equal", ..COMPARE };
/// Whether the first value is greater.
pub static GREATER: OpRule = OpRule { op_type: "Greater", ..COMPARE };
/// Whether the first value is greater or equal.
pub static GREATER_OR_EQUAL: OpRule =
    OpRule { op_type: "GreaterOrEqual", opsets: (12, super::NEWEST_OPSET), attributes: &[], ..COMPARE };
/// Whether the first value is smaller.
pub static LESS: OpRule = OpRule { op_type: "Less", ..COMPARE };
/// Whether the first value is smaller or equal.
pub static LESS_OR_EQUAL: OpRule =
    OpRule { op_type: "LessOrEqual", opsets: (12, super::NEWEST_OPSET), attributes: &[], ..COMPARE };
/// Largest of several values.
pub static MAX: OpRule = OpRule { op_type: "Max", level: level::zero_of_all, sign: max_sign, ..VARIADIC };
/// Mean of several values.
pub static MEAN: OpRule = OpRule { op_type: "Mean", level: level::zero_of_all, ..VARIADIC };
/// Smallest of several values.
pub static MIN: OpRule = OpRule { op_type: "Min", level: level::zero_of_all, ..VARIADIC };
/// Remainder of a division.
pub static MOD: OpRule =
    OpRule { op_type: "Mod", opsets: (10, super::NEWEST_OPSET), attributes: &["fmod"], sign: sign::free, ..BINARY };
/// Product of two values.
pub static MUL: OpRule = OpRule { op_type: "Mul", level: level::multiplied, sign: mul_sign, ..BINARY };
/// Logical not.
pub static NOT: OpRule = OpRule { op_type: "Not", attributes: &[], infer: same, ..COMPARE };
/// Logical or.
pub static OR: OpRule = OpRule { op_type: "Or", ..COMPARE };
/// The first value to the power of the second.
pub static POW: OpRule = OpRule {
    op_type: "Pow",
    level: level::raised,
    attributes: &["axis", "broadcast"],
    sign: pow_sign,
    not_parameters: &[1],
    ..BINARY
};
/// Difference of two values.
pub static SUB: OpRule = OpRule { op_type: "Sub", level: level::subtracted, sign: sign::free, ..BINARY };
/// Sum of several values.
pub static SUM: OpRule = OpRule { op_type: "Sum", level: level::added, role: Role::Add, ..VARIADIC };
/// Elements of the second or the third value, as the first says.
pub static WHERE: OpRule = OpRule {
    op_type: "Where",
    level: |call, levels| level::zero_of_all(call, levels.get(1..).unwrap_or(&[])),
    opsets: (9, super::NEWEST_OPSET),
    attributes: &[],
    sign: |call| sign::kept_of(call, &[1, 2]),
    infer: choose,
    ..BINARY
};
/// Exclusive or.
pub static XOR: OpRule = OpRule { op_type: "Xor", ..COMPARE };

/// Shape of the output, and for each input the output axis that its first axis meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// The output's shape.
    pub shape: Vec<Dim>,
    /// Output axis of the first axis of each input.
    pub offsets: Vec<usize>,
}

impl Alignment {
    /// How the inputs of an element-wise node meet; `Ok(None)` where the rank of one is not known.
    ///
    /// # Errors
    /// Where they can't meet.
    pub fn read(call: &Call<'_>) -> Result<Option<Self>, Reason> {
        let mut shapes = Vec::with_capacity(call.inputs.len());
        for position in 0..call.inputs.len() {
            match call.shape(position)? {
                Some(shape) => shapes.push(shape),
                None => return Ok(None),
            }
        }
        let limited = match call.node.op_type() {
            "Max" | "Min" | "Sum" | "Mean" => call.opset < 8,
            _ => call.opset < 7,
        };
        if limited {
            return Self::before_broadcasting(call, &shapes).map(Some);
        }
        attribute::absent(call, &["axis", "broadcast"])?;
        let shape = broadcast::together(shapes.iter().copied())?;
        let offsets = shapes.iter().map(|input| shape.len() - input.len()).collect();
        Ok(Some(Self { shape, offsets }))
    }

    fn before_broadcasting(call: &Call<'_>, shapes: &[&[Dim]]) -> Result<Self, Reason> {
        let (first, others) = shapes.split_first().ok_or("there are no inputs")?;
        let one_way = attribute::flag(call.node, "broadcast", false)?;
        let mut shape = first.to_vec();
        let mut offsets = vec![0];
        for other in others {
            let offset = if one_way { one_way_offset(call, first, other)? } else { 0 };
            if !one_way && first.len() != other.len() {
                return Err(format!(
                    "inputs of {} and {} axes do not meet in opset {}",
                    first.len(),
                    other.len(),
                    call.opset
                ));
            }
            for (a, b) in shape[offset..].iter_mut().zip(*other) {
                let may_spread = one_way && matches!(b.known(), None | Some(1));
                if !may_spread {
                    *a = axes::shared(a, b)?;
                }
            }
            offsets.push(offset);
        }
        Ok(Self { shape, offsets })
    }
}

fn one_way_offset(call: &Call<'_>, first: &[Dim], other: &[Dim]) -> Result<usize, Reason> {
    let room = first.len().checked_sub(other.len());
    let room = room.ok_or_else(|| format!("an input of {} axes does not fit into {}", other.len(), first.len()))?;
    if call.node.attribute("axis").is_none() || first.is_empty() {
        return Ok(room);
    }
    let offset = axes::axis(attribute::int(call.node, "axis", 0)?, first.len())?;
    if offset > room {
        return Err(format!(
            "an input of {} axes does not fit into {} from axis {offset} on",
            other.len(),
            first.len()
        ));
    }
    Ok(offset)
}

fn inputs<'g>(call: &Call<'g>) -> Result<Vec<&'g Fact>, Reason> {
    match call.inputs.len() {
        0 => Err("there are no inputs".to_owned()),
        count => (0..count).map(|position| call.input(position)).collect(),
    }
}

fn arithmetic(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let facts = inputs(call)?;
    let mut output = Fact::new(facts[0].data_type, Alignment::read(call)?.map(|alignment| alignment.shape));
    let op: fn(i64, i64) -> Option<i64> = match call.node.op_type() {
        "Add" | "Sum" => i64::checked_add,
        "Sub" => i64::checked_sub,
        "Mul" => i64::checked_mul,
        "Div" => i64::checked_div,
        "Max" => |a, b| Some(a.max(b)),
        "Min" => |a, b| Some(a.min(b)),
        _ => return Ok(vec![output]),
    };
    let neutral = match call.node.op_type() {
        "Add" | "Sum" | "Sub" => Some(0),
        "Mul" | "Div" => Some(1),
        _ => None,
    };
    let commutes = !matches!(call.node.op_type(), "Sub" | "Div");
    let pair = |a: Element, b: &Element| match (&a, b) {
        (Element::Known(a), Element::Known(b)) => op(*a, *b).map_or(Element::Unknown, Element::Known),
        (_, Element::Known(b)) if Some(*b) == neutral => a,
        (Element::Known(a), _) if commutes && Some(*a) == neutral => b.clone(),
        (Element::Symbol(x), Element::Symbol(y)) if neutral.is_none() && x == y => a,
        _ => Element::Unknown,
    };
    if call.opset >= 7
        && let Some(shape) = &output.shape
    {
        let fold = |elements: &[&Element]| {
            let result = elements[1..].iter().fold(elements[0].clone(), |sum, element| pair(sum, element));
            fitting(facts[0].data_type, result)
        };
        output.content = broadcast::map(&facts, shape, fold);
    }
    Ok(vec![output])
}

/// `element`, or unknown where it would wrap in this type.
pub(crate) fn fitting(data_type: Option<DataType>, element: Element) -> Element {
    let fits = |number: i64| match data_type {
        Some(DataType::Int64) => true,
        Some(DataType::Int32) => i32::try_from(number).is_ok(),
        Some(DataType::Int16) => i16::try_from(number).is_ok(),
        Some(DataType::Int8) => i8::try_from(number).is_ok(),
        Some(DataType::Uint64) => number >= 0,
        Some(DataType::Uint32) => u32::try_from(number).is_ok(),
        Some(DataType::Uint16) => u16::try_from(number).is_ok(),
        Some(DataType::Uint8) => u8::try_from(number).is_ok(),
        Some(DataType::Bool) => (0..2).contains(&number),
        _ => false,
    };
    match &element {
        Element::Known(number) if !fits(*number) => Element::Unknown,
        Element::Symbol(_) if !matches!(data_type, Some(DataType::Int64 | DataType::Int32)) => Element::Unknown,
        _ => element,
    }
}

fn compare(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let facts = inputs(call)?;
    let mut output = Fact::new(Some(DataType::Bool), Alignment::read(call)?.map(|alignment| alignment.shape));
    let op: fn(i64, i64) -> bool = match call.node.op_type() {
        "Equal" => |a, b| a == b,
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        _ => return Ok(vec![output]),
    };
    let equality = call.node.op_type() == "Equal";
    if call.opset >= 7
        && let Some(shape) = &output.shape
    {
        output.content = broadcast::map(&facts, shape, |elements| match elements {
            [Element::Known(a), Element::Known(b)] => Element::Known(i64::from(op(*a, *b))),
            // A symbol names a size, which is never negative.
            [Element::Symbol(_), Element::Known(..0)] | [Element::Known(..0), Element::Symbol(_)] if equality => {
                Element::Known(0)
            }
            _ => Element::Unknown,
        });
    }
    Ok(vec![output])
}

fn choose(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let facts = inputs(call)?;
    let [_, chosen, _] = facts[..] else {
        return Err(format!("{} inputs are given, 3 are needed", facts.len()));
    };
    let mut output = Fact::new(chosen.data_type, Alignment::read(call)?.map(|alignment| alignment.shape));
    if let Some(shape) = &output.shape {
        output.content = broadcast::map(&facts, shape, |elements| match elements {
            [Element::Known(0), _, no] => (*no).clone(),
            [Element::Known(_), yes, _] => (*yes).clone(),
            [_, yes, no] if yes == no => (*yes).clone(),
            _ => Element::Unknown,
        });
    }
    Ok(vec![output])
}

fn mul_sign(call: &Call<'_>) -> Sign {
    let square = call.node.inputs().len() == 2 && call.node.input(0) == call.node.input(1);
    if square { Sign::NonNegative } else { sign::kept_of_all(call) }
}

/// A quotient keeps the sign only where no division by zero can happen.
fn div_sign(call: &Call<'_>) -> Sign {
    match call.optional(1) {
        Some(divisor) if sign::is_positive(divisor) => sign::kept(call),
        _ => Sign::Free,
    }
}

fn max_sign(call: &Call<'_>) -> Sign {
    let facts = || call.inputs.iter().flatten();
    if facts().any(|fact| sign::is_non_negative(fact)) {
        Sign::NonNegative
    } else if facts().any(|fact| fact.stored.is_none()) {
        Sign::Kept
    } else {
        Sign::Free
    }
}

fn pow_sign(call: &Call<'_>) -> Sign {
    let even = |exponent: f32| exponent % 2.0 == 0.0;
    match call.optional(1) {
        Some(exponent) if sign::all_stored(exponent, even) => Sign::NonNegative,
        _ => sign::kept(call),
    }
}

/// Each axis of an input is the one of the output that it meets, but for those of size 1 that are repeated.
fn aligned(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let Some(alignment) = Alignment::read(coupler.call)? else { return Ok(()) };
    for (position, offset) in alignment.offsets.into_iter().enumerate() {
        let input = End::Input(position);
        for axis in 0..coupler.rank(input) {
            coupler.same(input.axis(axis), RESULT.axis(axis + offset));
        }
    }
    Ok(())
}

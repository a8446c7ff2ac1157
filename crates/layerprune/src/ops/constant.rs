//! Constants, copies, and values made from shapes.
//!
//! | operator | opsets |
//! |---|---|
//! | [Constant](https://onnx.ai/onnx/operators/onnx__Constant.html) | 1: `value`; 12: `value_int` and its like; later ones: types. `sparse_value` and strings are refused |
//! | [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html) 9, [Range](https://onnx.ai/onnx/operators/onnx__Range.html) 11, Size 1 | |
//! | [Shape](https://onnx.ai/onnx/operators/onnx__Shape.html) | 1; 15: `start`, `end` |
//! | [Identity](https://onnx.ai/onnx/operators/onnx__Identity.html) | 1 |
//! | [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) | 1: `to` is a name; 6: a number; 19: `saturate`; 24: `round_mode` |
//! | [CastLike](https://onnx.ai/onnx/operators/onnx__CastLike.html) | 15 |
//! | [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html) | 1 with `consumed_inputs`; 1, 6: `is_test` must say that the model is not being trained; 7: never trained; 12: `ratio` and `training_mode` are inputs |

use std::sync::Arc;

use super::couple::{self, Adjustment, Coupler, Cut, DATA, End, RESULT};
use super::elementwise::fitting;
use super::level::{self, Level, Number};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, Sign, attribute, axes, no_macs, sign};
use crate::graph::tensor;
use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataType;

const OTHER: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Other,
    sign: sign::kept,
    not_parameters: &[],
    infer: identity,
    macs: no_macs,
    couple: copied,
    adjust: couple::nothing,
    level: level::copied,
};

/// Another element type.
pub static CAST: OpRule =
    OpRule { op_type: "Cast", attributes: &["round_mode", "saturate", "to"], sign: cast_sign, infer: cast, ..OTHER };
/// The element type of the second input.
pub static CAST_LIKE: OpRule = OpRule {
    op_type: "CastLike",
    opsets: (15, super::NEWEST_OPSET),
    attributes: &["round_mode", "saturate"],
    sign: sign::free,
    infer: cast_like,
    ..OTHER
};
/// A stored tensor.
pub static CONSTANT: OpRule = OpRule {
    op_type: "Constant",
    attributes: &["value", "value_float", "value_floats", "value_int", "value_ints"],
    sign: constant_sign,
    infer: constant,
    couple: from_nothing,
    level: level::free,
    ..OTHER
};
/// One number all over a computed shape.
pub static CONSTANT_OF_SHAPE: OpRule = OpRule {
    op_type: "ConstantOfShape",
    opsets: (9, super::NEWEST_OPSET),
    attributes: &["value"],
    sign: filled_sign,
    not_parameters: &[0],
    infer: filled,
    couple: from_nothing,
    adjust: filled_sizes,
    level: filled_level,
    ..OTHER
};
/// A copy, as long as the model is not being trained.
pub static DROPOUT: OpRule = OpRule {
    op_type: "Dropout",
    attributes: &["consumed_inputs", "is_test", "ratio", "seed"],
    not_parameters: &[1, 2],
    infer: dropout,
    ..OTHER
};
/// A copy.
pub static IDENTITY: OpRule = OpRule { op_type: "Identity", ..OTHER };
/// Numbers from a start to a limit.
pub static RANGE: OpRule = OpRule {
    op_type: "Range",
    opsets: (11, super::NEWEST_OPSET),
    sign: sign::free,
    not_parameters: &[0, 1, 2],
    infer: range,
    couple: numbers_in_order,
    level: level::free,
    ..OTHER
};
/// The sizes of a value.
pub static SHAPE: OpRule = OpRule {
    op_type: "Shape",
    attributes: &["end", "start"],
    sign: sign::non_negative,
    infer: shape,
    couple: sizes_only,
    level: level::free,
    ..OTHER
};
/// The number of elements of a value.
pub static SIZE: OpRule =
    OpRule { op_type: "Size", sign: sign::non_negative, infer: size, couple: sizes_only, level: level::free, ..OTHER };

fn identity(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    Ok(vec![call.input(0)?.clone()])
}

/// The tensor that a `Constant` node holds.
///
/// # Errors
/// Where it holds none that can be followed.
pub fn constant_value(call: &Call<'_>) -> Result<TensorProto, Reason> {
    let node = call.node;
    if let Some(value) = attribute::tensor(node, "value")? {
        return Ok(value.clone());
    }
    if node.attribute("value_int").is_some() {
        return Ok(tensor::from_i64(&[], &[attribute::int(node, "value_int", 0)?]));
    }
    if let Some(numbers) = attribute::ints(node, "value_ints")? {
        return Ok(tensor::from_i64(&[numbers.len()], numbers));
    }
    if node.attribute("value_float").is_some() {
        return Ok(tensor::from_f32(&[], &[attribute::float(node, "value_float", 0.0)?]));
    }
    match attribute::floats(node, "value_floats")? {
        Some(numbers) => Ok(tensor::from_f32(&[numbers.len()], numbers)),
        None => Err("the constant has no value".to_owned()),
    }
}

fn constant(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let value = constant_value(call)?;
    tensor::shape(&value).map_err(|error| error.to_string())?;
    Ok(vec![Fact::of_stored(Arc::new(value))])
}

fn constant_sign(call: &Call<'_>) -> Sign {
    let positive = constant_value(call).is_ok_and(|value| sign::is_non_negative(&Fact::of_stored(Arc::new(value))));
    if positive { Sign::NonNegative } else { Sign::Free }
}

/// The one-element tensor of a `ConstantOfShape` node: 0 of type `FLOAT` where absent.
fn filling(call: &Call<'_>) -> Result<Fact, Reason> {
    let value = attribute::tensor(call.node, "value")?.cloned().unwrap_or_else(|| tensor::from_f32(&[1], &[0.0]));
    let sizes = tensor::shape(&value).map_err(|error| error.to_string())?;
    match sizes.iter().product::<usize>() {
        1 => Ok(Fact::of_stored(Arc::new(value))),
        elements => Err(format!("`value` has {elements} elements, 1 is needed")),
    }
}

fn filled(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let value = filling(call)?;
    let sizes = call.input(0)?;
    let mut output = Fact::new(value.data_type, super::reshape::target_dims(sizes)?);
    let count = output.shape.as_deref().map(axes::product).and_then(|count| count.known());
    if let (Some([element]), Some(count)) = (value.content.as_deref(), count)
        && count <= super::fact::LARGEST_CONTENT
    {
        output.content = Some(vec![element.clone(); count]);
    }
    Ok(vec![output])
}

fn filled_sign(call: &Call<'_>) -> Sign {
    if filling(call).is_ok_and(|value| sign::is_non_negative(&value)) { Sign::NonNegative } else { Sign::Free }
}

fn dropout(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    if call.opset < 7 && !attribute::flag(call.node, "is_test", false)? {
        return Err("`is_test` is 0: the node drops elements at random".to_owned());
    }
    if let Some(training) = call.optional(2) {
        match training.content.as_deref() {
            Some([Element::Known(0)]) => {}
            Some([Element::Known(_)]) => {
                return Err("`training_mode` is true: the node drops elements at random".to_owned());
            }
            _ => return Err("`training_mode` is computed while the model runs".to_owned()),
        }
    }
    let data = call.input(0)?;
    let mask_type = if call.opset < 10 { data.data_type } else { Some(DataType::Bool) };
    let mask = Fact::new(mask_type, data.shape.clone());
    Ok(vec![Fact { stored: None, ..data.clone() }, mask])
}

fn converted(data: &Fact, to: Option<DataType>) -> Vec<Fact> {
    let mut output = Fact::new(to, data.shape.clone());
    if let Some(content) = &data.content {
        let content: Vec<Element> = content.iter().map(|element| to_type(to, element)).collect();
        output.content = content.iter().any(|element| *element != Element::Unknown).then_some(content);
    }
    vec![output]
}

fn to_type(to: Option<DataType>, element: &Element) -> Element {
    match element {
        Element::Known(number) if to == Some(DataType::Bool) => Element::Known(i64::from(*number != 0)),
        other => fitting(to, other.clone()),
    }
}

/// The element type that a `Cast` node casts to.
///
/// # Errors
/// Where `to` is absent or names no type.
pub fn cast_type(call: &Call<'_>) -> Result<DataType, Reason> {
    if call.opset < 6 {
        let name = attribute::string(call.node, "to", "")?;
        return DataType::from_str_name(&name.to_uppercase())
            .ok_or_else(|| format!("`to` is `{name}`, which is no type"));
    }
    let number = attribute::int(call.node, "to", 0)?;
    i32::try_from(number)
        .ok()
        .and_then(|number| DataType::try_from(number).ok())
        .filter(|&to| to != DataType::Undefined)
        .ok_or_else(|| format!("`to` is {number}, which is no type"))
}

fn cast(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    Ok(converted(call.input(0)?, Some(cast_type(call)?)))
}

/// Only signed and floating-point types can hold what went in.
fn cast_sign(call: &Call<'_>) -> Sign {
    match cast_type(call) {
        Ok(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16) => sign::kept(call),
        Ok(DataType::Bool | DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64) => {
            Sign::NonNegative
        }
        _ => Sign::Free,
    }
}

fn cast_like(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    Ok(converted(call.input(0)?, call.input(1)?.data_type))
}

fn shape(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    if call.opset < 15 {
        attribute::absent(call, &["start", "end"])?;
    }
    let (start, end) = (attribute::int(call.node, "start", 0)?, attribute::int(call.node, "end", i64::MAX)?);
    let Some(dims) = call.shape(0)? else {
        return Ok(vec![Fact::new(Some(DataType::Int64), Some(vec![Dim::Unknown]))]);
    };
    let rank = dims.len() as i64;
    let place = |number: i64| (if number < 0 { number.saturating_add(rank) } else { number }).clamp(0, rank) as usize;
    let content: Vec<Element> = dims.get(place(start)..place(end)).unwrap_or(&[]).iter().map(Element::from).collect();
    Ok(vec![Fact::of_content(vec![Dim::Known(content.len())], content)])
}

fn size(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let elements = call.shape(0)?.map_or(Dim::Unknown, axes::product);
    Ok(vec![Fact::of_content(Vec::new(), vec![Element::from(&elements)])])
}

fn range(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data_type = call.input(0)?.data_type;
    let mut numbers = Vec::with_capacity(3);
    for position in 0..3 {
        match call.input(position)?.content.as_deref() {
            Some([Element::Known(number)]) => numbers.push(i128::from(*number)),
            _ => return Ok(vec![Fact::new(data_type, Some(vec![Dim::Unknown]))]),
        }
    }
    let [start, limit, delta] = [numbers[0], numbers[1], numbers[2]];
    if delta == 0 {
        return Err("the step of the range is 0".to_owned());
    }
    let room = if delta > 0 { limit - start } else { start - limit };
    let step = delta.abs();
    let count = if room <= 0 { 0 } else { (room + step - 1) / step };
    let count = usize::try_from(count).map_err(|_| format!("a range of {count} elements is too large"))?;
    let mut output = Fact::new(data_type, Some(vec![Dim::Known(count)]));
    if count <= super::fact::LARGEST_CONTENT {
        let element =
            |index: usize| i64::try_from(start + delta * index as i128).map_or(Element::Unknown, Element::Known);
        output.content = Some((0..count).map(element).collect());
    }
    Ok(vec![output])
}

/// Both outputs of `Dropout` have the axes of the data; scalars beside the data have none.
fn copied(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    coupler.all_same(DATA, End::Output(1));
    coupler.own_all(End::Input(1));
    coupler.own_all(End::Input(2));
    Ok(())
}

fn from_nothing(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.own_all(DATA);
    coupler.own_all(RESULT);
    Ok(())
}

fn numbers_in_order(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.pin_from(0, &[RESULT], "it counts");
    Ok(())
}

/// Where the sizes go is looked at by whoever follows them.
fn sizes_only(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.own_all(DATA);
    coupler.own_all(RESULT);
    Ok(())
}

fn filled_sizes(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let rank = super::reshape::target_dims(call.input(0)?)?.map_or(0, |dims| dims.len());
    let changed: Vec<(usize, i64)> =
        (0..rank).filter_map(|axis| Some((axis, cut.kept(RESULT.axis(axis))?.len() as i64))).collect();
    Ok(if changed.is_empty() { Vec::new() } else { vec![Adjustment::Elements { input: 0, changed }] })
}

fn filled_level(call: &Call<'_>, _: &[Level]) -> Number {
    let value = filling(call).ok()?;
    let stored = value.stored.as_ref()?;
    match tensor::to_f32(stored) {
        Ok(numbers) => numbers.first().map(|&number| f64::from(number)),
        Err(_) => tensor::to_i64(stored).ok()?.first().map(|&number| number as f64),
    }
}

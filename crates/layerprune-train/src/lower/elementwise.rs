//! Add, Sub, Mul, Div with NumPy broadcasting (opset 7 on), and Sum.

use super::{Call, Fault, Op, one};
use crate::kernel;
use crate::value::{Ints, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

pub(super) fn add(call: &mut Call<'_>) -> Result<Op, Fault> {
    if !call.relu() {
        return rule(call, Arithmetic::Add);
    }
    refuse_old(call)?;
    Ok(one(|frame| {
        let (a, b) = (frame.take(0)?, frame.take(1)?);
        match (a, b) {
            (Value::R4(a), Value::R4(b)) if a.dims() == b.dims() => {
                let add_relu = if frame.run.reference { kernel::reference::add_relu } else { kernel::add_relu };
                Ok(Value::R4(add_relu(a, b)))
            }
            (a, b) => {
                let sum = binary(Arithmetic::Add, a, b)?;
                Ok(crate::value::same_rank!(
                    sum,
                    x => burn::tensor::activation::relu(x),
                    ints Ints { dims, data } => Value::Ints(Ints { dims, data: data.iter().map(|&x| x.max(0)).collect() })
                ))
            }
        }
    }))
}

pub(super) fn sub(call: &mut Call<'_>) -> Result<Op, Fault> {
    rule(call, Arithmetic::Sub)
}

pub(super) fn mul(call: &mut Call<'_>) -> Result<Op, Fault> {
    rule(call, Arithmetic::Mul)
}

pub(super) fn div(call: &mut Call<'_>) -> Result<Op, Fault> {
    rule(call, Arithmetic::Div)
}

pub(super) fn sum(call: &mut Call<'_>) -> Result<Op, Fault> {
    let inputs = call.inputs();
    Ok(one(move |frame| {
        let mut sum = frame.take(0)?;
        for position in 1..inputs {
            sum = binary(Arithmetic::Add, sum, frame.take(position)?)?;
        }
        Ok(sum)
    }))
}

fn refuse_old(call: &mut Call<'_>) -> Result<(), Fault> {
    if call.opset() < 7 {
        return Err(Fault(format!("opset {} is not supported for it, 7 and newer are", call.opset())));
    }
    Ok(())
}

fn rule(call: &mut Call<'_>, arithmetic: Arithmetic) -> Result<Op, Fault> {
    refuse_old(call)?;
    Ok(one(move |frame| {
        let (a, b) = (frame.take(0)?, frame.take(1)?);
        binary(arithmetic, a, b)
    }))
}

/// Combines two values after broadcasting.
pub(super) fn binary(arithmetic: Arithmetic, a: Value, b: Value) -> Result<Value, Fault> {
    let dims = broadcast(&a.dims(), &b.dims())?;
    if let (Value::Ints(a), Value::Ints(b)) = (&a, &b) {
        return integers(arithmetic, a, b, dims).map(Value::Ints);
    }
    let mixed = || Fault("one operand is integers, the other floating point".to_owned());
    if matches!(a, Value::Ints(_)) || matches!(b, Value::Ints(_)) {
        return Err(mixed());
    }
    let raise = |value: Value| {
        let mut shape = vec![1; dims.len() - value.dims().len()];
        shape.extend(value.dims());
        value.reshape(&shape).ok_or_else(|| super::run::too_deep(&shape))
    };
    macro_rules! combine {
        ($($rank:ident),+) => {
            match (raise(a)?, raise(b)?) {
                $((Value::$rank(a), Value::$rank(b)) => Value::$rank(match arithmetic {
                    Arithmetic::Add => a + b,
                    Arithmetic::Sub => a - b,
                    Arithmetic::Mul => a * b,
                    Arithmetic::Div => a / b,
                }),)+
                _ => return Err(mixed()),
            }
        };
    }
    Ok(combine!(R1, R2, R3, R4, R5))
}

/// The shape that two shapes broadcast to.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    let size = |axis| match (at(a, axis), at(b, axis)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        _ => Err(Fault(format!("shapes {a:?} and {b:?} cannot be broadcast together"))),
    };
    (0..rank).map(size).collect()
}

fn integers(arithmetic: Arithmetic, a: &Ints, b: &Ints, dims: Vec<usize>) -> Result<Ints, Fault> {
    let len: usize = dims.iter().product();
    let at = |ints: &Ints, mut flat: usize| {
        let (mut index, mut stride) = (0, 1);
        for (axis, size) in dims.iter().enumerate().rev() {
            let position = flat % size;
            flat /= size;
            if let Some(axis) = (axis + ints.dims.len()).checked_sub(dims.len()) {
                index += if ints.dims[axis] == 1 { 0 } else { position * stride };
                stride *= ints.dims[axis];
            }
        }
        ints.data[index]
    };
    let one = |flat| {
        let (a, b) = (at(a, flat), at(b, flat));
        let result = match arithmetic {
            Arithmetic::Add => a.checked_add(b),
            Arithmetic::Sub => a.checked_sub(b),
            Arithmetic::Mul => a.checked_mul(b),
            Arithmetic::Div => a.checked_div(b),
        };
        result.ok_or_else(|| Fault(format!("{arithmetic:?} of {a} and {b} has no integer result")))
    };
    let data = (0..len).map(one).collect::<Result<_, _>>()?;
    Ok(Ints { dims, data })
}

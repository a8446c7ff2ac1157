//! Gemm (opset 7 on) and MatMul of two matrices or of stacks of one shape.

use super::{Call, Fault, Op, one};
use crate::value::Value;

pub(super) fn gemm(call: &mut Call<'_>) -> Result<Op, Fault> {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let (flip_a, flip_b) = (call.int("transA", 0)? != 0, call.int("transB", 0)? != 0);
    Ok(one(move |frame| {
        let (a, b) = (frame.rank2(0)?, frame.rank2(1)?);
        let a = if flip_a { a.transpose() } else { a };
        let b = if flip_b { b.transpose() } else { b };
        if a.dims()[1] != b.dims()[0] {
            return Err(Fault(format!("matrices of shape {:?} and {:?} cannot be multiplied", a.dims(), b.dims())));
        }
        let [rows, columns] = [a.dims()[0], b.dims()[1]];
        let product = a.matmul(b);
        let product = Value::R2(if alpha == 1.0 { product } else { product * alpha });
        let Some(c) = frame.optional(2) else { return Ok(product) };
        let c = if beta == 1.0 { c } else { crate::value::same_rank!(c, c => c * beta, ints c => Value::Ints(c)) };
        let shape = c.dims();
        let sum = super::elementwise::binary(super::elementwise::Arithmetic::Add, product, c)?;
        if sum.dims() != [rows, columns] {
            return Err(Fault(format!("its input 2 of shape {shape:?} does not broadcast to [{rows}, {columns}]")));
        }
        Ok(sum)
    }))
}

pub(super) fn mat_mul(_: &mut Call<'_>) -> Result<Op, Fault> {
    Ok(one(|frame| {
        let (a, b) = (frame.take(0)?, frame.take(1)?);
        let (left, right) = (a.dims(), b.dims());
        let wrong = || Fault(format!("matrices of shape {left:?} and {right:?} cannot be multiplied"));
        if left.len() < 2 || right.len() < 2 || left[left.len() - 1] != right[right.len() - 2] {
            return Err(wrong());
        }
        // A stack of matrices times one matrix is one product of all rows.
        if right.len() == 2 && left.len() > 2 {
            let rows: usize = left[..left.len() - 1].iter().product();
            let Some((Value::R2(a), Value::R2(b))) = a.reshape(&[rows, right[0]]).zip(Some(b)) else {
                return Err(wrong());
            };
            let mut dims = left.clone();
            dims[left.len() - 1] = right[1];
            return Value::R2(a.matmul(b)).reshape(&dims).ok_or_else(wrong);
        }
        match (a, b) {
            (Value::R2(a), Value::R2(b)) => Ok(Value::R2(a.matmul(b))),
            (Value::R3(a), Value::R3(b)) if left[0] == right[0] => Ok(Value::R3(a.matmul(b))),
            (Value::R4(a), Value::R4(b)) if left[..2] == right[..2] => Ok(Value::R4(a.matmul(b))),
            _ => Err(wrong()),
        }
    }))
}

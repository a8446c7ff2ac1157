//! Matrix products.
//!
//! | operator | opsets |
//! |---|---|
//! | [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html) | 1, 6: `broadcast` must be set where the third input is not of the output's shape; 7: it broadcasts; 11: it may be absent; 9, 13: types |
//! | [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html) | 1, 9, 13 |

use super::couple::{self, Coupler, DATA, End, RESULT, Relation};
use super::{Call, Dim, Fact, OpRule, Reason, Role, attribute, axes, broadcast, elements_per_sample, level, sign};

/// `alpha A B + beta C`.
pub static GEMM: OpRule = OpRule {
    op_type: "Gemm",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["alpha", "beta", "broadcast", "transA", "transB"],
    role: Role::Weighted,
    sign: sign::free,
    not_parameters: &[],
    infer: gemm,
    macs: gemm_macs,
    couple: couple_gemm,
    adjust: couple::nothing,
    level: level::free,
};

/// Matrix product as numpy's `matmul` does it.
pub static MAT_MUL: OpRule = OpRule {
    op_type: "MatMul",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Weighted,
    sign: sign::kept_of_all,
    not_parameters: &[],
    infer: mat_mul,
    macs: mat_mul_macs,
    couple: couple_mat_mul,
    adjust: couple::nothing,
    level: level::free,
};

/// Settings of a `Gemm` node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the third input.
    pub beta: f32,
    /// Whether the first input is transposed.
    pub trans_a: bool,
    /// Whether the second input is transposed.
    pub trans_b: bool,
}

impl Gemm {
    /// Reads a `Gemm` node.
    ///
    /// # Errors
    /// Attributes of the wrong type.
    pub fn read(call: &Call<'_>) -> Result<Self, Reason> {
        if call.opset >= 7 {
            attribute::absent(call, &["broadcast"])?;
        }
        Ok(Self {
            alpha: attribute::float(call.node, "alpha", 1.0)?,
            beta: attribute::float(call.node, "beta", 1.0)?,
            trans_a: attribute::flag(call.node, "transA", false)?,
            trans_b: attribute::flag(call.node, "transB", false)?,
        })
    }
}

/// Rows and columns of the matrix at `position`, transposed where asked.
fn matrix(call: &Call<'_>, position: usize, transposed: bool) -> Result<[Dim; 2], Reason> {
    match call.shape(position)? {
        None => Ok([Dim::Unknown, Dim::Unknown]),
        Some([rows, columns]) if transposed => Ok([columns.clone(), rows.clone()]),
        Some([rows, columns]) => Ok([rows.clone(), columns.clone()]),
        Some(shape) => Err(format!("input {position} has {} axes, 2 are needed", shape.len())),
    }
}

fn gemm(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let settings = Gemm::read(call)?;
    let [rows, depth] = matrix(call, 0, settings.trans_a)?;
    let [other_depth, columns] = matrix(call, 1, settings.trans_b)?;
    inner(&depth, &other_depth)?;
    let output = vec![rows, columns];
    if let Some(added) = call.optional(2).and_then(|fact| fact.shape.as_deref()) {
        if call.opset < 7 && !attribute::flag(call.node, "broadcast", false)? {
            let same = added.len() == 2 && added.iter().zip(&output).all(|(a, b)| axes::shared(a, b).is_ok());
            if !same {
                return Err(format!("`broadcast` is 0 and input 2 has not the output's shape in opset {}", call.opset));
            }
        } else {
            broadcast::into(&output, added)?;
        }
    }
    Ok(vec![Fact::new(call.input(0)?.data_type, Some(output))])
}

fn inner(a: &Dim, b: &Dim) -> Result<Dim, Reason> {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) if a != b => {
            Err(format!("the first matrix has {a} columns, the second {b} rows"))
        }
        _ => axes::shared(a, b),
    }
}

fn gemm_macs(call: &Call<'_>, outputs: &[Fact]) -> Option<u64> {
    let settings = Gemm::read(call).ok()?;
    let [_, depth] = matrix(call, 0, settings.trans_a).ok()?;
    let [other_depth, _] = matrix(call, 1, settings.trans_b).ok()?;
    products(outputs, inner(&depth, &other_depth).ok()?)
}

fn products(outputs: &[Fact], depth: Dim) -> Option<u64> {
    elements_per_sample(outputs.first()?.shape.as_ref()?)?.checked_mul(depth.known()? as u64)
}

/// Batch axes, rows (but for a lone vector), and the axis summed over.
fn left(shape: &[Dim]) -> Result<(&[Dim], Option<&Dim>, &Dim), Reason> {
    match shape {
        [] => Err("the first input is a scalar".to_owned()),
        [depth] => Ok((&[], None, depth)),
        [batch @ .., rows, depth] => Ok((batch, Some(rows), depth)),
    }
}

/// Batch axes, the axis summed over, and columns (but for a lone vector).
fn right(shape: &[Dim]) -> Result<(&[Dim], &Dim, Option<&Dim>), Reason> {
    match shape {
        [] => Err("the second input is a scalar".to_owned()),
        [depth] => Ok((&[], depth, None)),
        [batch @ .., depth, columns] => Ok((batch, depth, Some(columns))),
    }
}

fn mat_mul(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data_type = call.input(0)?.data_type;
    let (Some(a), Some(b)) = (call.shape(0)?, call.shape(1)?) else {
        return Ok(vec![Fact::new(data_type, None)]);
    };
    let (batch_a, rows, depth_a) = left(a)?;
    let (batch_b, depth_b, columns) = right(b)?;
    inner(depth_a, depth_b)?;
    let mut output = broadcast::together([batch_a, batch_b])?;
    output.extend(rows.into_iter().chain(columns).cloned());
    Ok(vec![Fact::new(data_type, Some(output))])
}

fn mat_mul_macs(call: &Call<'_>, outputs: &[Fact]) -> Option<u64> {
    let (_, _, depth_a) = left(call.shape(0).ok()??).ok()?;
    let (_, depth_b, _) = right(call.shape(1).ok()??).ok()?;
    products(outputs, inner(depth_a, depth_b).ok()?)
}

const OTHER: End = End::Input(1);

fn couple_gemm(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let settings = Gemm::read(coupler.call)?;
    let swapped =
        |end: End, transposed: bool| if transposed { [end.axis(1), end.axis(0)] } else { [end.axis(0), end.axis(1)] };
    let [rows, depth] = swapped(DATA, settings.trans_a);
    let [other_depth, columns] = swapped(OTHER, settings.trans_b);
    coupler.same(rows, RESULT.axis(0));
    coupler.same(columns, RESULT.axis(1));
    coupler.same(depth, other_depth);
    coupler.sum(depth);
    coupler.sum(other_depth);
    coupler.broadcast(End::Input(2), RESULT);
    coupler.say(Relation::Filters { weight: columns, output: RESULT.axis(1) });
    coupler.say(Relation::Filters { weight: rows, output: RESULT.axis(0) });
    Ok(())
}

fn couple_mat_mul(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let (a, b, out) = (coupler.rank(DATA), coupler.rank(OTHER), coupler.rank(RESULT));
    if a == 0 || b == 0 {
        return Err("the rank of a factor is not known".to_owned());
    }
    let (depth, other_depth) = (DATA.axis(a - 1), OTHER.axis(b.saturating_sub(2)));
    coupler.same(depth, other_depth);
    coupler.sum(depth);
    coupler.sum(other_depth);
    let lone = usize::from(b == 1);
    if a > 1 {
        let (rows, output) = (DATA.axis(a - 2), RESULT.axis(out - 2 + lone));
        coupler.same(rows, output);
        coupler.say(Relation::Filters { weight: rows, output });
    }
    if b > 1 {
        let (columns, output) = (OTHER.axis(b - 1), RESULT.axis(out - 1));
        coupler.same(columns, output);
        coupler.say(Relation::Filters { weight: columns, output });
    }
    let batches = out.saturating_sub(usize::from(a > 1) + usize::from(b > 1));
    for (end, rank) in [(DATA, a), (OTHER, b)] {
        let own = rank.saturating_sub(2);
        for axis in 0..own {
            coupler.same(end.axis(axis), RESULT.axis(batches - own + axis));
        }
    }
    Ok(())
}

//! Broadcasting as numpy and ONNX since opset 7 do it.

use super::{Dim, Element, Fact, Reason};

/// The shape that all of `shapes` broadcast to.
///
/// # Errors
/// Where two sizes can't meet.
pub fn together<'d>(shapes: impl IntoIterator<Item = &'d [Dim]>) -> Result<Vec<Dim>, Reason> {
    let mut result: Vec<Dim> = Vec::new();
    for shape in shapes {
        let (mut wide, narrow) =
            if shape.len() > result.len() { (shape.to_vec(), result) } else { (result, shape.to_vec()) };
        let offset = wide.len() - narrow.len();
        for (a, b) in wide[offset..].iter_mut().zip(&narrow) {
            *a = pair(a, b)?;
        }
        result = wide;
    }
    Ok(result)
}

/// Checks that `shape` broadcasts to `target` without changing it.
///
/// # Errors
/// Where it certainly does not.
pub fn into(target: &[Dim], shape: &[Dim]) -> Result<(), Reason> {
    let fits = shape.len() <= target.len()
        && target[target.len() - shape.len()..].iter().zip(shape).all(|pair| match pair {
            (Dim::Known(target), Dim::Known(size)) => size == target || *size == 1,
            _ => true,
        });
    if fits { Ok(()) } else { Err(format!("shape {} does not broadcast to {}", text(shape), text(target))) }
}

/// Applies `f` to the elements of `facts`, broadcast to `shape`; `None` where one's elements are not followed.
pub(crate) fn map(facts: &[&Fact], shape: &[Dim], f: impl Fn(&[&Element]) -> Element) -> Option<Vec<Element>> {
    let sizes: Vec<usize> = shape.iter().map(Dim::known).collect::<Option<_>>()?;
    let count = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    if count > super::fact::LARGEST_CONTENT {
        return None;
    }
    let mut operands = Vec::with_capacity(facts.len());
    for fact in facts {
        let dims: Vec<usize> = fact.shape.as_ref()?.iter().map(Dim::known).collect::<Option<_>>()?;
        operands.push((fact.content.as_ref()?, dims));
    }
    (0..count)
        .map(|place| {
            let elements: Option<Vec<&Element>> =
                operands.iter().map(|(content, dims)| content.get(source(place, &sizes, dims))).collect();
            elements.map(|elements| f(&elements))
        })
        .collect()
}

/// The row-major place in a tensor of `dims` that broadcasts to `place` of a tensor of `sizes`.
fn source(mut place: usize, sizes: &[usize], dims: &[usize]) -> usize {
    let (mut found, mut stride) = (0, 1);
    for (back, &size) in sizes.iter().rev().enumerate() {
        let index = place % size;
        place /= size;
        if let Some(&dim) = dims.len().checked_sub(back + 1).and_then(|axis| dims.get(axis)) {
            found += if dim == 1 { 0 } else { index * stride };
            stride *= dim;
        }
    }
    found
}

fn pair(a: &Dim, b: &Dim) -> Result<Dim, Reason> {
    match (a, b) {
        (Dim::Known(1), other) | (other, Dim::Known(1)) => Ok(other.clone()),
        (Dim::Known(a), Dim::Known(b)) if a != b => Err(format!("sizes {a} and {b} do not broadcast")),
        (Dim::Known(size), _) | (_, Dim::Known(size)) => Ok(Dim::Known(*size)),
        (a, b) if a.same(b) => Ok(a.clone()),
        _ => Ok(Dim::Unknown),
    }
}

fn text(shape: &[Dim]) -> String {
    Fact::new(None, Some(shape.to_vec())).shape_text()
}

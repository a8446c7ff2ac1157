//! Axis numbers as ONNX writes them: counted from the front, or from the back where negative.

use super::{Call, Dim, Fact, Reason, attribute};

/// Axis `axis` of a tensor of `rank` axes, counted from the front.
///
/// # Errors
/// Where there is no such axis.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Reason> {
    let front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    front
        .and_then(|front| usize::try_from(front).ok())
        .filter(|&front| front < rank)
        .ok_or_else(|| format!("axis {axis} is outside a tensor of {rank} axes"))
}

/// Several axes of a tensor of `rank` axes, counted from the front, in the order given.
///
/// # Errors
/// Where there is no such axis, or one is named twice.
pub fn axes(numbers: &[i64], rank: usize) -> Result<Vec<usize>, Reason> {
    if numbers.len() > rank {
        return Err(format!("{} axes are named of a tensor of {rank} axes", numbers.len()));
    }
    let mut found = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let front = axis(number, rank)?;
        if found.contains(&front) {
            return Err(format!("axis {front} is named twice"));
        }
        found.push(front);
    }
    Ok(found)
}

/// Numbers that older operator sets keep in an attribute and newer ones in an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbers {
    /// Neither is there.
    Absent,
    /// They are computed while the model runs.
    Computed,
    /// What they are.
    Known(Vec<i64>),
}

impl Numbers {
    /// Reads attribute `name` below opset `since`, the input at `position` from then on.
    ///
    /// # Errors
    /// Where the attribute is of another type, or stands where the opset has an input.
    pub fn read(call: &Call<'_>, name: &str, since: i64, position: usize) -> Result<Self, Reason> {
        if call.opset < since {
            return Ok(attribute::ints(call.node, name)?.map_or(Self::Absent, |numbers| Self::Known(numbers.to_vec())));
        }
        attribute::absent(call, &[name])?;
        Ok(match call.optional(position) {
            None => Self::Absent,
            Some(fact) => numbers(fact).map_or(Self::Computed, Self::Known),
        })
    }
}

/// The elements of an integer tensor, where all are known.
#[must_use]
pub fn numbers(fact: &Fact) -> Option<Vec<i64>> {
    fact.content.as_ref()?.iter().map(super::Element::known).collect()
}

/// Number of elements of a tensor of these sizes: a number, a lone symbol, or unknown.
#[must_use]
pub fn product(dims: &[Dim]) -> Dim {
    if dims.contains(&Dim::Known(0)) {
        return Dim::Known(0);
    }
    let known = dims.iter().filter_map(Dim::known).try_fold(1_usize, usize::checked_mul);
    let mut others = dims.iter().filter(|dim| dim.known().is_none());
    match (known, others.next(), others.next()) {
        (Some(known), None, _) => Dim::Known(known),
        (Some(1), Some(other), None) => other.clone(),
        _ => Dim::Unknown,
    }
}

/// The size that two axes must share.
///
/// # Errors
/// Where both are known and differ.
pub fn shared(a: &Dim, b: &Dim) -> Result<Dim, Reason> {
    match (a, b) {
        (Dim::Known(a), Dim::Known(b)) if a != b => Err(format!("sizes {a} and {b} differ where they must be equal")),
        (Dim::Known(_), _) | (_, Dim::Unknown) => Ok(a.clone()),
        (_, Dim::Known(_)) | (Dim::Unknown, _) => Ok(b.clone()),
        // Both names stand for one size here; either is right.
        (Dim::Symbol(_), Dim::Symbol(_)) => Ok(a.clone()),
    }
}

//! What operators do to the sign of their values.

use super::{Call, Fact, Sign};
use crate::graph::tensor;

/// Nothing is known.
pub(crate) fn free(_: &Call<'_>) -> Sign {
    Sign::Free
}

/// Never negative, whatever comes in.
pub(crate) fn non_negative(_: &Call<'_>) -> Sign {
    Sign::NonNegative
}

/// Not negative where the first input is not; the others are settings.
pub(crate) fn kept(call: &Call<'_>) -> Sign {
    kept_of(call, &[0])
}

/// Not negative where no input is.
pub(crate) fn kept_of_all(call: &Call<'_>) -> Sign {
    let positions: Vec<usize> = (0..call.inputs.len()).collect();
    kept_of(call, &positions)
}

/// Not negative where the inputs at `positions` are not.
pub(crate) fn kept_of(call: &Call<'_>, positions: &[usize]) -> Sign {
    let stored_are = positions.iter().filter_map(|&position| call.optional(position)).all(may_be_non_negative);
    if stored_are { Sign::Kept } else { Sign::Free }
}

/// Whether the value flows, or is stored and never negative.
pub(crate) fn may_be_non_negative(fact: &Fact) -> bool {
    fact.stored.is_none() || is_non_negative(fact)
}

/// Whether the value is stored and never negative.
pub(crate) fn is_non_negative(fact: &Fact) -> bool {
    all_stored(fact, |number| number >= 0.0)
}

/// Whether the value is stored and above zero everywhere.
pub(crate) fn is_positive(fact: &Fact) -> bool {
    all_stored(fact, |number| number > 0.0)
}

/// Whether the value is stored and all its elements are `good`.
pub(crate) fn all_stored(fact: &Fact, good: impl Fn(f32) -> bool) -> bool {
    let Some(stored) = &fact.stored else { return false };
    match tensor::to_f32(stored) {
        Ok(numbers) => numbers.iter().all(|&number| good(number)),
        Err(_) => tensor::to_i64(stored).is_ok_and(|numbers| numbers.iter().all(|&number| good(number as f32))),
    }
}

//! What operators make of numbers that do not vary: how a channel of zeros is known to stay one.

use super::{Call, attribute};

/// The one number that all elements have, whatever the model's input; `None` where they vary or nothing is known.
pub type Number = Option<f64>;

/// What is known at one input of one channel of the output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Level {
    /// Of the input's own elements of that channel.
    Own(Number),
    /// Of the whole input, which has no axis, or one of size 1, where the channel is.
    Whole(Number),
}

impl Level {
    fn number(self) -> Number {
        let (Self::Own(number) | Self::Whole(number)) = self;
        number
    }
}

fn at(levels: &[Level], position: usize) -> Number {
    levels.get(position)?.number()
}

/// Nothing is known of the output.
pub(crate) fn free(_: &Call<'_>, _: &[Level]) -> Number {
    None
}

/// The output is what the first input is.
pub(crate) fn copied(_: &Call<'_>, levels: &[Level]) -> Number {
    at(levels, 0)
}

/// The output is what the inputs are that have elements of the channel.
pub(crate) fn joined(_: &Call<'_>, levels: &[Level]) -> Number {
    let mut own = levels.iter().filter_map(|level| match level {
        Level::Own(number) => Some(*number),
        Level::Whole(_) => None,
    });
    let first = own.next()??;
    own.all(|other| other == Some(first)).then_some(first)
}

/// Zero stays zero.
pub(crate) fn zero(_: &Call<'_>, levels: &[Level]) -> Number {
    at(levels, 0).filter(|&level| level == 0.0)
}

/// The larger of zero and the level.
pub(crate) fn rectified(_: &Call<'_>, levels: &[Level]) -> Number {
    at(levels, 0).map(|level| level.max(0.0))
}

/// A sum is known where all its terms are.
pub(crate) fn added(_: &Call<'_>, levels: &[Level]) -> Number {
    levels.iter().map(|level| level.number()).sum()
}

/// The second level taken from the first.
pub(crate) fn subtracted(_: &Call<'_>, levels: &[Level]) -> Number {
    Some(at(levels, 0)? - at(levels, 1)?)
}

/// A product is zero where one of its factors is; a factor that varies is taken to be finite.
pub(crate) fn multiplied(_: &Call<'_>, levels: &[Level]) -> Number {
    let mut numbers = levels.iter().map(|level| level.number());
    if numbers.clone().any(|number| number == Some(0.0)) {
        Some(0.0)
    } else {
        numbers.try_fold(1.0, |a, b| Some(a * b?))
    }
}

/// A level over another that is not zero.
pub(crate) fn divided(_: &Call<'_>, levels: &[Level]) -> Number {
    let divisor = at(levels, 1).filter(|&divisor| divisor != 0.0)?;
    Some(at(levels, 0)? / divisor)
}

/// Zero to a power above zero.
pub(crate) fn raised(_: &Call<'_>, levels: &[Level]) -> Number {
    (at(levels, 0)? == 0.0 && at(levels, 1)? > 0.0).then_some(0.0)
}

/// Zero where all inputs are.
pub(crate) fn zero_of_all(_: &Call<'_>, levels: &[Level]) -> Number {
    levels.iter().all(|level| level.number() == Some(0.0)).then_some(0.0)
}

/// `scale (x - mean) / sqrt(variance + epsilon) + shift`, known where the scale is zero or all five are.
///
/// Further on only zero and the sign of other numbers are relied on, so what rounding could turn is not known.
pub(crate) fn normalised(call: &Call<'_>, levels: &[Level]) -> Number {
    let (scale, shift) = (at(levels, 1), at(levels, 2)?);
    if scale == Some(0.0) {
        return Some(shift);
    }
    let epsilon = f64::from(attribute::float(call.node, "epsilon", 1e-5).ok()?);
    let moved = scale? * (at(levels, 0)? - at(levels, 3)?) / (at(levels, 4)? + epsilon).sqrt();
    let level = moved + shift;
    let certain = level.abs() > 1e-4 * (moved.abs() + shift.abs()) || (moved == 0.0 && shift == 0.0);
    (level.is_finite() && certain).then_some(level)
}

/// A channel that is normalised by its own statistics: its shift, where its scale is zero or all of it is.
pub(crate) fn self_normalised(_: &Call<'_>, levels: &[Level]) -> Number {
    let shift = at(levels, 2)?;
    (at(levels, 0) == Some(0.0) || at(levels, 1) == Some(0.0)).then_some(shift)
}

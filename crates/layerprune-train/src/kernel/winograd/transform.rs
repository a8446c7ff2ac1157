//! The matrices of F(2x2, 3x3): Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, eq. 7.
//!
//! A tile of 2x2 outputs is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` of a filter `g` and of 4x4 inputs `d`. Gradients are the same with
//! each map turned around.

use crate::kernel::simd::Lanes;

/// Positions of a transformed tile.
pub(crate) const POSITIONS: usize = 16;

/// `Bᵀ` times a column of inputs.
#[inline(always)]
pub(crate) fn input<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 4] {
    [a.sub(c), b.add(c), c.sub(b), b.sub(d)]
}

/// `Aᵀ` times a column of products.
#[inline(always)]
pub(crate) fn output<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 2] {
    [a.add(b).add(c), b.sub(c).sub(d)]
}

/// `A` times a column of output gradients.
#[inline(always)]
pub(crate) fn gradient<L: Lanes>([a, b]: [L; 2]) -> [L; 4] {
    [a, a.add(b), a.sub(b), L::splat(0.0).sub(b)]
}

/// `G` times a column of a filter.
#[inline(always)]
pub(crate) fn filter<L: Lanes>([a, b, c]: [L; 3]) -> [L; 4] {
    let half = L::splat(0.5);
    let (outer, inner) = (a.add(c).mul(half), b.mul(half));
    [a, outer.add(inner), outer.sub(inner), c]
}

/// `Gᵀ` times a column of a transformed filter's gradient.
#[inline(always)]
pub(crate) fn filter_gradient<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 3] {
    let half = L::splat(0.5);
    let (sum, difference) = (b.add(c).mul(half), b.sub(c).mul(half));
    [a.add(sum), difference, sum.add(d)]
}

/// Applies `map` to the columns and then to the rows of a square.
// Loops in place of `array::map` and `from_fn`, whose insides are not compiled for the vectors of the caller.
#[inline(always)]
pub(crate) fn both<L: Lanes, const FROM: usize, const TO: usize>(
    square: [[L; FROM]; FROM],
    map: impl Fn([L; FROM]) -> [L; TO],
) -> [[L; TO]; TO] {
    let zero = L::splat(0.0);
    let mut halfway = [[zero; FROM]; TO];
    for column in 0..FROM {
        let mut line = [zero; FROM];
        for (x, row) in line.iter_mut().zip(&square) {
            *x = row[column];
        }
        for (row, x) in halfway.iter_mut().zip(&map(line)) {
            row[column] = *x;
        }
    }
    let mut result = [[zero; TO]; TO];
    for (result, line) in result.iter_mut().zip(&halfway) {
        *result = map(*line);
    }
    result
}

/// A square of vectors whose rows and columns are so many floats apart.
///
/// # Safety
/// All of them must lie inside one allocation and be initialised.
#[inline(always)]
pub(crate) unsafe fn load<L: Lanes, const N: usize>(from: *const f32, [down, right]: [usize; 2]) -> [[L; N]; N] {
    let mut square = [[L::splat(0.0); N]; N];
    for (row, line) in square.iter_mut().enumerate() {
        for (column, vector) in line.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *vector = unsafe { L::load(from.add(row * down + column * right)) };
        }
    }
    square
}

/// Stores a square in the same way.
///
/// # Safety
/// All of it must lie inside one allocation, and nothing else read or write there meanwhile.
#[inline(always)]
pub(crate) unsafe fn store<L: Lanes, const N: usize>(square: [[L; N]; N], to: *mut f32, [down, right]: [usize; 2]) {
    for (row, line) in square.iter().enumerate() {
        for (column, vector) in line.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { vector.store(to.add(row * down + column * right)) };
        }
    }
}

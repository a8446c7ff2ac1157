//! Sums over slices, in lanes that the compiler turns into vectors.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::fill::filled;
use super::simd::vectorised;

const LANES: usize = 32;
/// Elements that one task of an element-wise operation handles.
const CHUNK: usize = 1 << 15;

/// The sum of `f(a, b)` over both slices, which have one length.
#[inline(always)]
pub(super) fn fold2<const N: usize>(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> [f32; N]) -> [f32; N] {
    let mut lanes = [[0.0_f32; LANES]; N];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            let terms = f(a[lane], b[lane]);
            for (sum, term) in lanes.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        }
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        for (sum, term) in lanes.iter_mut().zip(f(*a, *b)) {
            sum[0] += term;
        }
    }
    lanes.map(|sum| sum.iter().sum())
}

/// The sum of all elements.
pub(super) fn total(a: &[f32]) -> f32 {
    vectorised(|| {
        let [sum] = fold2(a, a, |a, _| [a]);
        sum
    })
}

/// The sum of all products.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    vectorised(|| {
        let [sum] = fold2(a, b, |a, b| [a * b]);
        sum
    })
}

/// `max(x, 0)` that keeps a NaN, so that divergence reaches the loss.
#[inline(always)]
pub(super) fn rectified(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `min(max(x, low), high)` that keeps a NaN.
#[inline(always)]
pub(super) fn clipped(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `f` of each pair of elements.
pub(super) fn zip_map(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "element-wise operands must have one length");
    let write = |out: &mut [MaybeUninit<f32>]| {
        let chunks = out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
        chunks.for_each(|((out, a), b)| {
            vectorised(|| {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    out.write(f(*a, *b));
                }
            });
        });
    };
    // SAFETY: the chunks cover the output, and `a` and `b` are as long.
    unsafe { filled(a.len(), write) }
}

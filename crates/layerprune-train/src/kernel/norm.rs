//! Batch normalisation over N, C and whatever area, with an optional rectification behind it.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::fill::filled;
use super::simd::vectorised;
use super::sum::{fold2, rectified, total};

/// Sizes: images, channels, elements of a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) images: usize,
    pub(super) channels: usize,
    pub(super) area: usize,
}

/// What normalises a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    pub(super) mean: f32,
    /// Of the batch, biased.
    pub(super) variance: f32,
}

/// Mean and biased variance of each channel, by two passes.
pub(super) fn moments(sizes: Sizes, x: &[f32]) -> Vec<Moments> {
    let count = (sizes.images * sizes.area) as f64;
    let of_channel = |channel: usize| {
        let sum: f64 = planes(sizes, x, channel).map(|plane| f64::from(total(plane))).sum();
        let mean = (sum / count) as f32;
        let deviation = |plane: &[f32]| {
            let [sum] = vectorised(|| fold2(plane, plane, |x, _| [(x - mean) * (x - mean)]));
            f64::from(sum)
        };
        let sum: f64 = planes(sizes, x, channel).map(deviation).sum();
        Moments { mean, variance: (sum / count) as f32 }
    };
    (0..sizes.channels).into_par_iter().map(of_channel).collect()
}

fn planes(sizes: Sizes, x: &[f32], channel: usize) -> impl Iterator<Item = &[f32]> {
    x.chunks_exact(sizes.area).skip(channel).step_by(sizes.channels)
}

/// The planes of `out`, by channel.
fn planes_mut<T>(sizes: Sizes, out: &mut [T]) -> Vec<Vec<&mut [T]>> {
    let mut channels: Vec<Vec<_>> = (0..sizes.channels).map(|_| Vec::with_capacity(sizes.images)).collect();
    for (plane, out) in out.chunks_exact_mut(sizes.area).enumerate() {
        channels[plane % sizes.channels].push(out);
    }
    channels
}

#[inline(always)]
fn map(x: &[f32], y: &mut [MaybeUninit<f32>], f: impl Fn(f32) -> f32) {
    for (y, x) in y.iter_mut().zip(x) {
        y.write(f(*x));
    }
}

/// How a channel is normalised: mean, 1/deviation, scale and shift.
#[derive(Debug, Clone)]
pub(super) struct Affine {
    pub(super) mean: Vec<f32>,
    pub(super) inverse: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) relu: bool,
}

/// Normalises `x`.
pub(super) fn forward(sizes: Sizes, x: &[f32], affine: &Affine) -> Vec<f32> {
    let write = |y: &mut [MaybeUninit<f32>]| {
        planes_mut(sizes, y).into_par_iter().enumerate().for_each(|(channel, out)| {
            let factor = affine.scale[channel] * affine.inverse[channel];
            let offset = affine.shift[channel] - factor * affine.mean[channel];
            for (y, x) in out.into_iter().zip(planes(sizes, x, channel)) {
                if affine.relu {
                    vectorised(|| map(x, y, |x| rectified(x * factor + offset)));
                } else {
                    vectorised(|| map(x, y, |x| x * factor + offset));
                }
            }
        });
    };
    // SAFETY: the planes of all channels are the whole output, and `x` has as many.
    unsafe { filled(x.len(), write) }
}

/// Gradients of a batch normalisation.
#[derive(Debug)]
pub(super) struct NormGradients {
    pub(super) input: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// The gradients for `dy`. Where `frozen`, mean and deviation are constants; else they are those of `x`.
pub(super) fn backward(sizes: Sizes, x: &[f32], dy: &[f32], affine: &Affine, frozen: bool) -> NormGradients {
    let mut sums = Vec::new();
    let write = |dx: &mut [MaybeUninit<f32>]| {
        sums = planes_mut(sizes, dx)
            .into_par_iter()
            .enumerate()
            .map(|(channel, out)| {
                let task = Channel::new(sizes, affine, channel, frozen);
                vectorised(|| if affine.relu { task.run::<true>(x, dy, out) } else { task.run::<false>(x, dy, out) })
            })
            .collect();
    };
    // SAFETY: the planes of all channels are the whole gradient, and `x` and `dy` have as many.
    let input = unsafe { filled(x.len(), write) };
    let (shift, scale) = sums.into_iter().unzip();
    NormGradients { input, scale, shift }
}

struct Channel {
    sizes: Sizes,
    channel: usize,
    frozen: bool,
    mean: f32,
    inverse: f32,
    scale: f32,
    /// The output is `x * factor + offset`, in the very arithmetic of the forward pass.
    factor: f32,
    offset: f32,
}

impl Channel {
    fn new(sizes: Sizes, affine: &Affine, channel: usize, frozen: bool) -> Self {
        let (mean, inverse, scale) = (affine.mean[channel], affine.inverse[channel], affine.scale[channel]);
        let factor = scale * inverse;
        let offset = affine.shift[channel] - factor * mean;
        Self { sizes, channel, frozen, mean, inverse, scale, factor, offset }
    }

    /// Sets the input gradient and returns the sums of the gradient and of gradient · normalised input.
    #[inline(always)]
    fn run<const RELU: bool>(&self, x: &[f32], dy: &[f32], out: Vec<&mut [MaybeUninit<f32>]>) -> (f32, f32) {
        let Self { sizes, channel, mean, inverse, factor, offset, .. } = *self;
        let passed = |x: f32, dy: f32| if !RELU || x * factor + offset > 0.0 { dy } else { 0.0 };
        let (mut sum, mut product) = (0.0_f64, 0.0_f64);
        for (x, dy) in planes(sizes, x, channel).zip(planes(sizes, dy, channel)) {
            let [a, b] = fold2(x, dy, |x, dy| {
                let dy = passed(x, dy);
                [dy, dy * ((x - mean) * inverse)]
            });
            sum += f64::from(a);
            product += f64::from(b);
        }
        let count = (sizes.images * sizes.area) as f64;
        let (mean_dy, mean_product) =
            if self.frozen { (0.0, 0.0) } else { ((sum / count) as f32, (product / count) as f32) };
        let gain = self.scale * inverse;
        for ((out, x), dy) in out.into_iter().zip(planes(sizes, x, channel)).zip(planes(sizes, dy, channel)) {
            for ((out, &x), &dy) in out.iter_mut().zip(x).zip(dy) {
                let dy = passed(x, dy);
                out.write(gain * (dy - mean_dy - (x - mean) * inverse * mean_product));
            }
        }
        (sum as f32, product as f32)
    }
}

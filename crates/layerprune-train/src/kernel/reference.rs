//! The same operations by burn alone: to compare with, and for devices that this crate has no kernels for.

use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Tensor, activation, module};

use super::ops::{BatchMoments, Statistics};
use super::{Conv, Pool, to_vec};

/// As [`super::conv`].
pub(crate) fn conv(sizes: Conv, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let window = sizes.window;
    let [top, left, bottom, right] = window.pads;
    let (x, pads) = if top == bottom && left == right {
        (x, [top, left])
    } else {
        (x.pad([(top, bottom), (left, right)], PadMode::Constant(0.0)), [0, 0])
    };
    module::conv2d(x, weight, bias, ConvOptions::new(window.stride, pads, window.dilation, sizes.groups))
}

/// As [`super::batch_norm`].
pub(crate) fn batch_norm(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    statistics: Statistics<'_>,
    epsilon: f32,
    relu: bool,
) -> (Tensor<4>, Option<BatchMoments>) {
    let (y, batch) = match statistics {
        Statistics::Batch => {
            let found = module::batch_norm_train(x, scale, shift, f64::from(epsilon));
            (found.output, Some((to_vec(found.mean), to_vec(found.variance))))
        }
        Statistics::Given(mean, variance) => {
            let inverse = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
            let like = |data: Vec<f32>| beside(data, &x);
            let (mean, inverse) = (like(mean.to_vec()), like(inverse));
            let wide = |channel: Tensor<1>| channel.reshape([1, -1, 1, 1]);
            ((x - wide(mean)) * wide(inverse * scale) + wide(shift), None)
        }
    };
    (if relu { activation::relu(y) } else { y }, batch)
}

/// As [`super::add_relu`].
pub(crate) fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    activation::relu(a + b)
}

/// As [`super::clip`].
pub(crate) fn clip(x: Tensor<1>, low: f32, high: f32) -> Tensor<1> {
    // What is filled in has no gradient; `clamp` would pass it at the bounds.
    let below = x.clone().lower_equal_elem(low);
    let x = x.mask_fill(below, low);
    let above = x.clone().greater_equal_elem(high);
    x.mask_fill(above, high)
}

/// As [`super::max_pool`].
pub(crate) fn max_pool(sizes: Pool, x: Tensor<4>) -> Tensor<4> {
    let [images, channels, ..] = x.dims();
    let [height, width] = sizes.output;
    windows(&sizes, x, f32::NEG_INFINITY).max_dim(3).reshape([images, channels, height, width])
}

/// As [`super::average_pool`].
pub(crate) fn average_pool(sizes: Pool, x: Tensor<4>) -> Tensor<4> {
    let [images, channels, ..] = x.dims();
    let [height, width] = sizes.output;
    let shares = beside(sizes.shares(), &x).reshape([1, 1, height, width]);
    windows(&sizes, x, 0.0).sum_dim(3).reshape([images, channels, height, width]) * shares
}

/// The elements of each window, `outside` where it lies off the image: N, C, places of the output, elements.
fn windows(sizes: &Pool, x: Tensor<4>, outside: f32) -> Tensor<4> {
    let window = &sizes.window;
    let [images, channels, ..] = x.dims();
    let end = |axis: usize| {
        let covered =
            (sizes.output[axis] - 1) * window.stride[axis] + window.dilation[axis] * (window.kernel[axis] - 1) + 1;
        covered.saturating_sub(sizes.size[axis] + window.pads[axis])
    };
    let pads = [(window.pads[0], end(0)), (window.pads[1], end(1))];
    let x = if pads == [(0, 0); 2] { x } else { x.pad(pads, PadMode::Constant(outside)) };
    let is_image = window.kernel == sizes.size && window.pads == [0; 4] && window.dilation == [1, 1];
    if sizes.output == [1, 1] && is_image {
        return x.reshape([images, channels, 1, window.kernel[0] * window.kernel[1]]);
    }
    let [height, width] = sizes.output;
    let line = |from: usize, stride: usize, count: usize| (from..=from + (count - 1) * stride, stride);
    let mut places = Vec::with_capacity(window.kernel[0] * window.kernel[1]);
    for row in 0..window.kernel[0] {
        for column in 0..window.kernel[1] {
            let (rows, down) = line(row * window.dilation[0], window.stride[0], height);
            let (columns, right) = line(column * window.dilation[1], window.stride[1], width);
            let part = x.clone().slice(burn::tensor::s![.., .., rows; down as isize, columns; right as isize]);
            places.push(part.reshape([images, channels, height * width, 1]));
        }
    }
    Tensor::cat(places, 3)
}

/// A list on the device of `x`, tracked where that is.
fn beside(data: Vec<f32>, x: &Tensor<4>) -> Tensor<1> {
    let len = data.len();
    let list = super::from_vec(data, [len]);
    if x.is_autodiff() { list.autodiff().to_device(&x.device()) } else { list.to_device(&x.device()) }
}

//! The same operations by burn alone, to compare with.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, activation, module};

use super::ops::BatchMoments;
use super::{Conv, to_vec};

/// As [`super::conv`]; pads must be the same on both sides.
pub(crate) fn conv(sizes: Conv, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let window = sizes.window;
    let [top, left, bottom, right] = window.pads;
    assert!(top == bottom && left == right, "burn's convolution has symmetric pads");
    module::conv2d(x, weight, bias, ConvOptions::new(window.stride, [top, left], window.dilation, sizes.groups))
}

/// As [`super::batch_norm`] with the statistics of the batch.
pub(crate) fn batch_norm(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f32,
    relu: bool,
) -> (Tensor<4>, Option<BatchMoments>) {
    let found = module::batch_norm_train(x, scale, shift, f64::from(epsilon));
    let y = if relu { activation::relu(found.output) } else { found.output };
    (y, Some((to_vec(found.mean), to_vec(found.variance))))
}

/// As [`super::add_relu`].
pub(crate) fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    activation::relu(a + b)
}

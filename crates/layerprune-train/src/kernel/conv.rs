use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::columns::{gather, scatter};
use super::depthwise;
use super::fill::{filled, with_scratch};
use super::matmul::{Matrix, multiply};
use super::recycle::zeroed;
use super::winograd;

/// Over how many parts of the batch the weight gradient is summed.
const PARTS: usize = 8;
/// Images are put into one matrix product until it has this many columns.
const COLUMNS: usize = 64;

/// How a kernel moves over an image. Pairs are height and width; pads are top, left, bottom, right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) pads: [usize; 4],
}

impl Window {
    /// Height and width of the output for an image of `size`, `None` where the kernel does not fit.
    pub(crate) fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |axis: usize| {
            let reach = self.dilation[axis] * (self.kernel[axis].checked_sub(1)?) + 1;
            let padded = size[axis] + self.pads[axis] + self.pads[axis + 2];
            Some(padded.checked_sub(reach)? / self.stride[axis] + 1)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// The output positions along `axis` whose input position for kernel index `k` lies inside, with the offset:
    /// input = output · stride + offset.
    pub(super) fn inside(&self, axis: usize, k: usize, size: usize, output: usize) -> (Range<usize>, isize) {
        let stride = self.stride[axis] as isize;
        let offset = (k * self.dilation[axis]) as isize - self.pads[axis] as isize;
        let first = (-offset).max(0).div_euclid(stride) + isize::from((-offset).max(0).rem_euclid(stride) != 0);
        let behind = (size as isize - offset + stride - 1).div_euclid(stride).max(0);
        let last = (behind as usize).min(output);
        ((first as usize).min(last)..last, offset)
    }
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) size: [usize; 2],
    pub(crate) filters: usize,
    pub(crate) output: [usize; 2],
    pub(crate) groups: usize,
    pub(crate) window: Window,
}

impl Conv {
    pub(super) fn input_len(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    pub(super) fn output_len(&self) -> usize {
        self.filters * self.output_area()
    }

    pub(super) fn output_area(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Channels that one filter reads.
    pub(super) fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Weights of one filter.
    pub(super) fn filter_len(&self) -> usize {
        self.group_channels() * self.window.kernel[0] * self.window.kernel[1]
    }

    fn weight_len(&self) -> usize {
        self.filters * self.filter_len()
    }

    fn is_pointwise(&self) -> bool {
        self.window.kernel == [1, 1] && self.window.stride == [1, 1] && self.window.pads == [0; 4]
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.group_channels() == 1
    }

    /// The sizes for [`winograd`], where it can do this convolution and gains by it.
    fn winograd(&self) -> Option<winograd::Sizes> {
        let window = &self.window;
        let fits = window.kernel == [3, 3] && window.stride == [1, 1] && window.dilation == [1, 1] && self.groups == 1;
        let gains = self.output.iter().all(|&size| size > 1) && self.batch > 0;
        (fits && gains && window.pads.iter().all(|&pad| pad <= 2)).then_some(winograd::Sizes {
            images: self.batch,
            channels: self.channels,
            filters: self.filters,
            input: self.size,
            output: self.output,
            pad: [window.pads[0], window.pads[1]],
        })
    }

    /// How many images go into one matrix product.
    fn together(&self) -> usize {
        COLUMNS.div_ceil(self.output_area().max(1)).clamp(1, self.batch.max(1)).min(16)
    }
}

/// The convolution of `x` (batch, channels, height, width) with `weight`, `bias` added.
pub(super) fn forward(conv: &Conv, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    if let Some(sizes) = conv.winograd() {
        // SAFETY: `winograd` sets the whole output.
        let write = |y: &mut [MaybeUninit<f32>]| unsafe {
            winograd::forward(sizes, x, weight, bias, y.as_mut_ptr().cast());
        };
        // SAFETY: as above.
        return unsafe { filled(conv.batch * conv.output_len(), write) };
    }
    let together = if conv.is_depthwise() { 1 } else { conv.together() };
    let write = |y: &mut [MaybeUninit<f32>]| {
        let chunks = y.par_chunks_mut(together * conv.output_len()).zip(x.par_chunks(together * conv.input_len()));
        chunks.for_each(|(y, x)| {
            if conv.is_depthwise() {
                depthwise::forward(conv, x, weight, y);
            } else {
                images_forward(conv, x, weight, y);
            }
            if let Some(bias) = bias {
                for (plane, row) in y.chunks_exact_mut(conv.output_area()).enumerate() {
                    for y in row {
                        // SAFETY: the convolution has set every element of the chunk.
                        let sum = unsafe { y.assume_init() } + bias[plane % conv.filters];
                        y.write(sum);
                    }
                }
            }
        });
    };
    // SAFETY: the chunks cover the output, `x` has as many images, and both kernels set all of their chunk.
    unsafe { filled(conv.batch * conv.output_len(), write) }
}

fn winograd_backward(
    conv: &Conv,
    sizes: winograd::Sizes,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    wanted: Wanted,
) -> ConvGradients {
    // SAFETY: `winograd` sets the whole gradient.
    let write = |dx: &mut [MaybeUninit<f32>]| unsafe {
        winograd::input_gradient(sizes, weight, dy, dx.as_mut_ptr().cast());
    };
    ConvGradients {
        // SAFETY: as above.
        input: if wanted.input { unsafe { filled(conv.batch * conv.input_len(), write) } } else { Vec::new() },
        weight: if wanted.weight { winograd::weight_gradient(sizes, x, dy) } else { Vec::new() },
        bias: if wanted.bias { bias_gradient(conv, dy) } else { Vec::new() },
    }
}

/// Sets the output of some images.
fn images_forward(conv: &Conv, x: &[f32], weight: &[f32], y: &mut [MaybeUninit<f32>]) {
    let images = x.len() / conv.input_len();
    let (area, depth, filters) = (conv.output_area(), conv.filter_len(), conv.filters / conv.groups);
    let width = images * area;
    let scratch = if images == 1 { depth * width } else { (depth + filters) * width };
    with_scratch(scratch, |scratch| {
        let (columns, product) = scratch.split_at_mut(depth * width);
        for group in 0..conv.groups {
            let weight = Matrix::rows(&weight[group * filters * depth..][..filters * depth], filters, depth, depth);
            let input = gathered(conv, group, x, columns);
            if images == 1 {
                let out = &mut y[group * filters * area..][..filters * area];
                // SAFETY: `out` holds `filters` rows of `area` floats and is borrowed mutably.
                unsafe { multiply(out.as_mut_ptr().cast(), area, false, weight, input) };
                continue;
            }
            // SAFETY: `product` holds `filters` rows of `width` floats and is borrowed mutably.
            unsafe { multiply(product.as_mut_ptr(), width, false, weight, input) };
            for (image, y) in y.chunks_exact_mut(conv.output_len()).enumerate() {
                for filter in 0..filters {
                    let from = &product[filter * width + image * area..][..area];
                    let to = &mut y[(group * filters + filter) * area..][..area];
                    to.write_copy_of_slice(from);
                }
            }
        }
    });
}

/// The inputs of conv group `group` as a matrix with one column for each output position of each image.
fn gathered<'a>(conv: &Conv, group: usize, x: &'a [f32], columns: &'a mut [f32]) -> Matrix<'a> {
    let images = x.len() / conv.input_len();
    let (area, depth) = (conv.output_area(), conv.filter_len());
    if images == 1 && conv.is_pointwise() {
        return Matrix::rows(&x[group * depth * area..][..depth * area], depth, area, area);
    }
    for (image, x) in x.chunks_exact(conv.input_len()).enumerate() {
        gather(conv, group, x, &mut columns[image * area..], images * area);
    }
    Matrix::rows(columns, depth, images * area, images * area)
}

/// Which gradients of a convolution are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) input: bool,
    pub(super) weight: bool,
    pub(super) bias: bool,
}

/// Gradients of a convolution; those not wanted are empty.
#[derive(Debug)]
pub(super) struct ConvGradients {
    pub(super) input: Vec<f32>,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// The gradients for `dy`, the gradient at the output.
pub(super) fn backward(conv: &Conv, x: &[f32], weight: &[f32], dy: &[f32], wanted: Wanted) -> ConvGradients {
    if let Some(sizes) = conv.winograd() {
        return winograd_backward(conv, sizes, x, weight, dy, wanted);
    }
    let mut input = zeroed(if wanted.input { conv.batch * conv.input_len() } else { 0 });
    let bias = if wanted.bias { bias_gradient(conv, dy) } else { Vec::new() };
    let task = Task { conv, weight, wanted, images_per_leaf: conv.batch.div_ceil(PARTS).max(1) };
    let weight = task.run(x, dy, &mut input);
    ConvGradients { input, weight, bias }
}

fn bias_gradient(conv: &Conv, dy: &[f32]) -> Vec<f32> {
    let area = conv.output_area();
    let total = |filter: usize| {
        let planes = dy.chunks_exact(area).skip(filter).step_by(conv.filters);
        planes.map(|plane| f64::from(super::sum::total(plane))).sum::<f64>() as f32
    };
    (0..conv.filters).into_par_iter().map(total).collect()
}

struct Task<'a> {
    conv: &'a Conv,
    weight: &'a [f32],
    wanted: Wanted,
    images_per_leaf: usize,
}

impl Task<'_> {
    /// Writes the input gradient of these images, and returns their weight gradient. The halves depend on the batch
    /// alone, which fixes the order of the sum.
    fn run(&self, x: &[f32], dy: &[f32], dx: &mut [f32]) -> Vec<f32> {
        let images = x.len() / self.conv.input_len();
        if images <= self.images_per_leaf {
            return self.leaf(x, dy, dx);
        }
        let first = images.div_ceil(self.images_per_leaf).div_ceil(2) * self.images_per_leaf;
        let (x0, x1) = x.split_at(first * self.conv.input_len());
        let (dy0, dy1) = dy.split_at(first * self.conv.output_len());
        let (dx0, dx1) = dx.split_at_mut(if dx.is_empty() { 0 } else { first * self.conv.input_len() });
        let (mut sum, other) = rayon::join(|| self.run(x0, dy0, dx0), || self.run(x1, dy1, dx1));
        for (sum, other) in sum.iter_mut().zip(&other) {
            *sum += other;
        }
        sum
    }

    fn leaf(&self, x: &[f32], dy: &[f32], dx: &mut [f32]) -> Vec<f32> {
        let conv = self.conv;
        let mut dw = vec![0.0; if self.wanted.weight { conv.weight_len() } else { 0 }];
        if conv.is_depthwise() {
            depthwise::backward(conv, x, self.weight, dy, dx, &mut dw);
            return dw;
        }
        let together = conv.together();
        let step = together * conv.input_len();
        for (index, (x, dy)) in x.chunks(step).zip(dy.chunks(together * conv.output_len())).enumerate() {
            let dx = if dx.is_empty() { &mut [][..] } else { &mut dx[index * step..][..x.len()] };
            self.images(x, dy, dx, &mut dw);
        }
        dw
    }

    /// Gradients of images that share matrix products.
    fn images(&self, x: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let conv = self.conv;
        let images = x.len() / conv.input_len();
        let (area, depth, filters) = (conv.output_area(), conv.filter_len(), conv.filters / conv.groups);
        let width = images * area;
        with_scratch((depth + filters) * width, |scratch| {
            let (columns, packed) = scratch.split_at_mut(depth * width);
            for group in 0..conv.groups {
                let dy = if images == 1 {
                    Matrix::rows(&dy[group * filters * area..][..filters * area], filters, area, area)
                } else {
                    pack(conv, group, dy, packed)
                };
                if self.wanted.weight {
                    let input = gathered(conv, group, x, columns);
                    let out = &mut dw[group * filters * depth..][..filters * depth];
                    // SAFETY: `out` holds `filters` rows of `depth` floats and is borrowed mutably.
                    unsafe { multiply(out.as_mut_ptr(), depth, true, dy, input.transposed()) };
                }
                if self.wanted.input {
                    let weight = &self.weight[group * filters * depth..][..filters * depth];
                    let weight = Matrix::rows(weight, filters, depth, depth).transposed();
                    if images == 1 && conv.is_pointwise() {
                        let out = &mut dx[group * depth * area..][..depth * area];
                        // SAFETY: `out` holds `depth` rows of `area` floats and is borrowed mutably.
                        unsafe { multiply(out.as_mut_ptr(), area, false, weight, dy) };
                        continue;
                    }
                    // SAFETY: `columns` holds `depth` rows of `width` floats and is borrowed mutably.
                    unsafe { multiply(columns.as_mut_ptr(), width, false, weight, dy) };
                    for (image, dx) in dx.chunks_exact_mut(conv.input_len()).enumerate() {
                        scatter(conv, group, &mut columns[image * area..], width, dx);
                    }
                }
            }
        });
    }
}

/// The output gradients of conv group `group` with the images side by side.
fn pack<'a>(conv: &Conv, group: usize, dy: &[f32], packed: &'a mut [f32]) -> Matrix<'a> {
    let images = dy.len() / conv.output_len();
    let (area, filters) = (conv.output_area(), conv.filters / conv.groups);
    for (image, dy) in dy.chunks_exact(conv.output_len()).enumerate() {
        for filter in 0..filters {
            let from = &dy[(group * filters + filter) * area..][..area];
            packed[filter * images * area + image * area..][..area].copy_from_slice(from);
        }
    }
    Matrix::rows(packed, filters, images * area, images * area)
}

//! Convolution by 3x3 kernels at stride 1, and its gradients, by Winograd's minimal filtering F(2x2, 3x3).
//!
//! Of each 4x4 window of the input, 16 products give what a direct convolution needs 36 for. In between, pixels lie as
//! `[position][block of channels][tile][channel]`, so that all steps work on whole vectors whatever the size of the maps;
//! a few rows of tiles are taken at once, which stay in the cache.
mod stage;
mod tiles;
mod transform;

use std::ops::Range;

use rayon::prelude::*;

use crate::kernel::fill::with_scratch;
use crate::kernel::recycle::{keep, zeroed};
use crate::kernel::simd::{LANES, dispatch};
use stage::{FilterGradient, Filters, Gradient, Input, Output, Product, ProductSum};
use tiles::Plane;
use transform::POSITIONS;

/// Channels of a block.
const BLOCK: usize = 16;
/// Tiles that one pass over a filter block handles; blocks of tiles are multiples of it.
const ROWS: usize = 6;
/// Floats of transformed input and output that a block of tiles should stay below, and the tiles it should have.
const CACHE: usize = 1 << 17;
const TILES: usize = 96;
/// Over how many parts of the batch a small weight's gradient is summed.
const PARTS: usize = 8;

/// The sizes of a 3x3 convolution at stride 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    pub(crate) filters: usize,
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    /// Top and left.
    pub(crate) pad: [usize; 2],
}

impl Sizes {
    /// The convolution that gives the gradient at the input from that at the output.
    fn turned(self) -> Self {
        Self {
            channels: self.filters,
            filters: self.channels,
            input: self.output,
            output: self.input,
            pad: self.pad.map(|pad| 2 - pad),
            ..self
        }
    }

    fn input_area(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_area(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Rows of tiles of an image, and tiles of a row.
    fn tiles(&self) -> [usize; 2] {
        self.output.map(|size| size.div_ceil(2))
    }

    fn read(&self) -> Plane {
        Plane { size: self.input, pad: self.pad, reach: 2 }
    }

    fn write(&self) -> Plane {
        Plane { size: self.output, pad: [0, 0], reach: 0 }
    }

    /// Blocks of channels and of filters.
    fn blocks(&self) -> [usize; 2] {
        [self.channels.div_ceil(BLOCK), self.filters.div_ceil(BLOCK)]
    }

    /// Rows of tiles of all images.
    fn rows(&self) -> usize {
        self.images * self.tiles()[0]
    }

    /// How many rows of tiles are taken at once.
    fn together(&self) -> usize {
        let [channels, filters] = self.blocks();
        let tiles = (CACHE / (POSITIONS * BLOCK * (channels + filters))).max(TILES);
        tiles.div_ceil(self.tiles()[1]).min(self.rows()).max(1)
    }
}

/// Rows of tiles that are taken at once.
#[derive(Debug, Clone)]
struct Part {
    rows: Range<usize>,
    /// Tiles between one block of channels and the next.
    pitch: usize,
    len: usize,
}

/// Rows of tiles of one image.
#[derive(Debug, Clone, Copy)]
struct Strip {
    image: usize,
    first: usize,
    rows: usize,
    /// Which tile of the part is its first.
    tile: usize,
}

impl Part {
    fn new(sizes: &Sizes, rows: Range<usize>) -> Self {
        let len = rows.len() * sizes.tiles()[1];
        Self { rows, pitch: len.next_multiple_of(ROWS), len }
    }

    fn strips(&self, sizes: &Sizes) -> impl Iterator<Item = Strip> {
        let [height, width] = sizes.tiles();
        let rows = self.rows.clone();
        let mut row = rows.start;
        std::iter::from_fn(move || {
            let (image, first) = (row / height, row % height);
            let strip =
                Strip { image, first, rows: (height - first).min(rows.end - row), tile: (row - rows.start) * width };
            row += strip.rows;
            (strip.rows > 0).then_some(strip)
        })
    }

    /// Floats of `blocks` of channels, transformed.
    fn floats(&self, blocks: usize) -> usize {
        POSITIONS * blocks * self.pitch * BLOCK
    }
}

/// Memory that several threads write, each its own part.
#[derive(Debug, Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: who makes one sees to it that no two threads touch the same floats.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Calls `work` with each number below `count`, on all threads where `parallel`.
fn each(parallel: bool, count: usize, work: impl Fn(usize) + Sync + Send) {
    if parallel {
        (0..count).into_par_iter().for_each(work);
    } else {
        (0..count).for_each(work);
    }
}

/// Sets `y` to the convolution of `x` with `weight`, `bias` added.
///
/// # Safety
/// `y` must point at room for the whole output, which nothing else reads or writes meanwhile.
pub(crate) unsafe fn forward(sizes: Sizes, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: *mut f32) {
    let filters = Filters { sizes, weight, strides: [sizes.channels * 9, 9], turned: false };
    // SAFETY: the caller's promise.
    unsafe { convolve(sizes, x, filters, bias, Shared(y)) };
}

/// Sets `dx` to the gradient at the input for `dy`, that at the output.
///
/// # Safety
/// `dx` must point at room for the whole input, which nothing else reads or writes meanwhile.
pub(crate) unsafe fn input_gradient(sizes: Sizes, weight: &[f32], dy: &[f32], dx: *mut f32) {
    let filters = Filters { sizes: sizes.turned(), weight, strides: [9, sizes.channels * 9], turned: true };
    // SAFETY: the caller's promise.
    unsafe { convolve(sizes.turned(), dy, filters, None, Shared(dx)) };
}

/// # Safety
/// As [`forward`].
unsafe fn convolve(sizes: Sizes, x: &[f32], filters: Filters<'_>, bias: Option<&[f32]>, y: Shared) {
    assert!(x.len() == sizes.images * sizes.channels * sizes.input_area(), "the input must fill its shape");
    let [channel_blocks, filter_blocks] = sizes.blocks();
    let transformed = filters.transformed();
    let together = sizes.together();
    let parts = sizes.rows().div_ceil(together);
    // A few large parts are shared out inside, many small ones as they are.
    let inside = parts < 8;
    each(!inside, parts, |part| {
        let part = Part::new(&sizes, part * together..sizes.rows().min((part + 1) * together));
        let (read, made) = (part.floats(channel_blocks), part.floats(filter_blocks));
        with_scratch(read + made, |scratch| {
            let (v, m) = scratch.split_at_mut(read);
            let (v, m) = (Shared(v.as_mut_ptr()), Shared(m.as_mut_ptr()));
            each(inside, sizes.channels.div_ceil(LANES), |eight| dispatch(Input { sizes, part: &part, x, eight, v }));
            each(inside, POSITIONS, |position| {
                dispatch(Product { sizes, part: &part, position, v, filters: &transformed, m });
            });
            each(inside, sizes.filters.div_ceil(LANES), |eight| {
                dispatch(Output { sizes, part: &part, m, eight, bias, y });
            });
        });
    });
    keep(transformed);
}

/// The gradient at the weight for `dy`, that at the output.
pub(crate) fn weight_gradient(sizes: Sizes, x: &[f32], dy: &[f32]) -> Vec<f32> {
    assert!(x.len() == sizes.images * sizes.channels * sizes.input_area(), "the input must fill its shape");
    assert!(dy.len() == sizes.images * sizes.filters * sizes.output_area(), "the gradient must fill its shape");
    let [channel_blocks, filter_blocks] = sizes.blocks();
    let len = POSITIONS * channel_blocks * filter_blocks * BLOCK * BLOCK;
    let rows = sizes.rows();
    let small = channel_blocks * filter_blocks <= BLOCK && rows >= PARTS;
    let share = if small { rows.div_ceil(PARTS) } else { rows };
    let together = sizes.together();
    let sums = |first: usize| {
        let mut sums = zeroed(len);
        let end = rows.min(first + share);
        for begin in (first..end).step_by(together) {
            let part = Part::new(&sizes, begin..end.min(begin + together));
            add_weight_gradient(&sizes, &part, x, dy, &mut sums, !small);
        }
        sums
    };
    let starts: Vec<usize> = (0..rows).step_by(share).collect();
    let mut sums: Vec<Vec<f32>> = starts.into_par_iter().map(sums).collect();
    let (total, others) = sums.split_first_mut().expect("a batch has images");
    for other in others {
        for (sum, x) in total.iter_mut().zip(&*other) {
            *sum += x;
        }
    }
    let mut weight = zeroed(sizes.filters * sizes.channels * 9);
    weight.par_chunks_mut(sizes.channels * 9).enumerate().for_each(|(filter, weight)| {
        dispatch(FilterGradient { sizes, sums: total, filter, weight });
    });
    sums.into_iter().for_each(keep);
    weight
}

/// Adds what the tiles of `part` give to the transformed gradient.
fn add_weight_gradient(sizes: &Sizes, part: &Part, x: &[f32], dy: &[f32], sums: &mut [f32], inside: bool) {
    let [channel_blocks, filter_blocks] = sizes.blocks();
    let (read, made) = (part.floats(channel_blocks), part.floats(filter_blocks));
    with_scratch(read + made, |scratch| {
        let (v, m) = scratch.split_at_mut(read);
        let (v, m) = (Shared(v.as_mut_ptr()), Shared(m.as_mut_ptr()));
        let sizes = *sizes;
        each(inside, sizes.channels.div_ceil(LANES), |eight| dispatch(Input { sizes, part, x, eight, v }));
        each(inside, sizes.filters.div_ceil(LANES), |eight| dispatch(Gradient { sizes, part, dy, eight, m }));
        let sums = Shared(sums.as_mut_ptr());
        each(inside, POSITIONS, |position| dispatch(ProductSum { sizes, part, position, v, m, sums }));
    });
}

#[cfg(test)]
mod tests;

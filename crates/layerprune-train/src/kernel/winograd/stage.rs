//! The steps of a Winograd convolution, each for what one thread does at a time.

use rayon::prelude::*;

use super::tiles::{Plane, Read, Write};
use super::transform::{self, POSITIONS, both, load, store};
use super::{BLOCK, Part, ROWS, Shared, Sizes};
use crate::kernel::fill::{give_back_strip, take_strip};
use crate::kernel::recycle::zeroed;
use crate::kernel::simd::{LANES, Lanes, Work, dispatch};

/// Where eight channels, the `eight`-th, of a tile stand at position 0 among `blocks` blocks, and how far positions are
/// apart.
fn place(part: &Part, blocks: usize, eight: usize, tile: usize) -> (usize, usize) {
    let (block, half) = (eight * LANES / BLOCK, eight * LANES % BLOCK);
    ((block * part.pitch + tile) * BLOCK + half, blocks * part.pitch * BLOCK)
}

/// Pixels of eight channels that a task works on.
struct Strip8(Vec<f32>);

impl Strip8 {
    /// For so many rows of tiles, or as many as one image has.
    fn take(rows: usize, plane: Plane, tiles: usize) -> Self {
        Self(take_strip(plane.rows(rows) * plane.columns(tiles) * LANES))
    }

    fn give_back(self) {
        give_back_strip(self.0);
    }
}

/// Eight planes of a tensor on their way to transformed tiles.
struct Spread<'a> {
    sizes: Sizes,
    part: &'a Part,
    /// How tiles lie in a plane.
    plane: Plane,
    /// Planes of an image, and blocks of them.
    planes: usize,
    blocks: usize,
    from: &'a [f32],
    eight: usize,
    to: Shared,
}

impl Spread<'_> {
    /// Transforms the window of each tile by `map`; a window has `N` rows and columns, 2 and the reach of the plane.
    #[inline(always)]
    fn transform<L: Lanes, const N: usize>(self, map: impl Fn([L; N]) -> [L; 4]) {
        let Self { sizes, part, plane, planes, blocks, from, eight, to } = self;
        assert!(N == 2 + plane.reach);
        let (first, area, tiles) = (eight * LANES, plane.size[0] * plane.size[1], sizes.tiles()[1]);
        let columns = plane.columns(tiles);
        let mut pixels = Strip8::take(part.rows.len(), plane, tiles);
        for strip in part.strips(&sizes) {
            let from = &from[(strip.image * planes + first) * area..];
            let count = LANES.min(planes - first);
            Read { plane, from, count, first: strip.first, rows: strip.rows, tiles }.run::<L>(&mut pixels.0);
            for row in 0..strip.rows {
                for column in 0..tiles {
                    let (at, apart) = place(part, blocks, eight, strip.tile + row * tiles + column);
                    let corner = (row * 2 * columns + column * 2) * LANES;
                    // SAFETY: the strip holds twice its tiles of rows and columns and the reach, as windows do
                    // (asserted); `to` holds all positions of all blocks, and these planes are this task's.
                    unsafe {
                        let window: [[L; N]; N] = load(pixels.0.as_ptr().add(corner), [columns * LANES, LANES]);
                        store(both(window, &map), to.0.add(at), [4 * apart, apart]);
                    }
                }
            }
        }
        pixels.give_back();
    }
}

/// Transforms eight channels of the input.
pub(super) struct Input<'a> {
    pub(super) sizes: Sizes,
    pub(super) part: &'a Part,
    pub(super) x: &'a [f32],
    pub(super) eight: usize,
    pub(super) v: Shared,
}

impl Work for Input<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { sizes, part, x: from, eight, v: to } = self;
        let (plane, planes, blocks) = (sizes.read(), sizes.channels, sizes.blocks()[0]);
        Spread { sizes, part, plane, planes, blocks, from, eight, to }.transform(transform::input::<L>);
    }
}

/// Transforms eight filters' output gradients.
pub(super) struct Gradient<'a> {
    pub(super) sizes: Sizes,
    pub(super) part: &'a Part,
    pub(super) dy: &'a [f32],
    pub(super) eight: usize,
    pub(super) m: Shared,
}

impl Work for Gradient<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { sizes, part, dy: from, eight, m: to } = self;
        let (plane, planes, blocks) = (sizes.write(), sizes.filters, sizes.blocks()[1]);
        Spread { sizes, part, plane, planes, blocks, from, eight, to }.transform(transform::gradient::<L>);
    }
}

/// Multiplies the transformed input by the transformed filters at one position.
pub(super) struct Product<'a> {
    pub(super) sizes: Sizes,
    pub(super) part: &'a Part,
    pub(super) position: usize,
    pub(super) v: Shared,
    pub(super) filters: &'a [f32],
    pub(super) m: Shared,
}

impl Work for Product<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { sizes, part, position, v, filters, m } = self;
        let [channel_blocks, filter_blocks] = sizes.blocks();
        let (channels, apart) = (sizes.channels, part.pitch * BLOCK);
        for filter_block in 0..filter_blocks {
            let place = position * filter_blocks + filter_block;
            let filters = &filters[place * channels * BLOCK..][..channels * BLOCK];
            for tile in (0..part.pitch).step_by(ROWS) {
                let mut sums = [[L::splat(0.0); 2]; ROWS];
                let mut filter = filters.as_ptr();
                for block in 0..channel_blocks {
                    // SAFETY: `v` holds `pitch` tiles of each block at each position, `pitch` a multiple of `ROWS`;
                    // `filters` holds 16 weights for each channel.
                    unsafe {
                        let v = v.0.add((position * channel_blocks + block) * apart + tile * BLOCK);
                        for channel in 0..BLOCK.min(channels - block * BLOCK) {
                            let (low, high) = (L::load(filter), L::load(filter.add(LANES)));
                            for (row, sums) in sums.iter_mut().enumerate() {
                                let x = L::splat(*v.add(row * BLOCK + channel));
                                *sums = [x.mul_add(low, sums[0]), x.mul_add(high, sums[1])];
                            }
                            filter = filter.add(BLOCK);
                        }
                    }
                }
                for (row, [low, high]) in sums.iter().enumerate() {
                    // SAFETY: as `v`, for `m`; each position is one task's.
                    unsafe {
                        let m = m.0.add(place * apart + (tile + row) * BLOCK);
                        low.store(m);
                        high.store(m.add(LANES));
                    }
                }
            }
        }
    }
}

/// Transforms eight filters' products back and writes their outputs.
pub(super) struct Output<'a> {
    pub(super) sizes: Sizes,
    pub(super) part: &'a Part,
    pub(super) m: Shared,
    pub(super) eight: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) y: Shared,
}

impl Work for Output<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { sizes, part, m, eight, bias, y } = self;
        let (plane, tiles, area) = (sizes.write(), sizes.tiles()[1], sizes.output_area());
        let (filter, blocks) = (eight * LANES, sizes.blocks()[1]);
        let columns = plane.columns(tiles);
        let count = LANES.min(sizes.filters - filter);
        let mut shift = [0.0; LANES];
        if let Some(bias) = bias {
            shift[..count].copy_from_slice(&bias[filter..filter + count]);
        }
        // SAFETY: an array of eight floats.
        let shift = unsafe { L::load(shift.as_ptr()) };
        let mut pixels = Strip8::take(part.rows.len(), plane, tiles);
        for strip in part.strips(&sizes) {
            for row in 0..strip.rows {
                for column in 0..tiles {
                    let (at, apart) = place(part, blocks, eight, strip.tile + row * tiles + column);
                    let corner = (row * 2 * columns + column * 2) * LANES;
                    // SAFETY: `m` holds all positions of all blocks of filters, the strip twice its tiles of rows and
                    // columns.
                    unsafe {
                        let square: [[L; 4]; 4] = load(m.0.add(at), [4 * apart, apart]);
                        let [[a, b], [c, d]] = both(square, transform::output);
                        let made = [[a.add(shift), b.add(shift)], [c.add(shift), d.add(shift)]];
                        store(made, pixels.0.as_mut_ptr().add(corner), [columns * LANES, LANES]);
                    }
                }
            }
            // SAFETY: `y` holds all planes, and these rows of these filters are this task's.
            unsafe {
                let to = y.0.add((strip.image * sizes.filters + filter) * area);
                Write { plane, to, count, first: strip.first, rows: strip.rows, tiles }.run::<L>(&pixels.0);
            }
        }
        pixels.give_back();
    }
}

/// Adds the products of transformed output gradients and transformed inputs at one position over all tiles.
pub(super) struct ProductSum<'a> {
    pub(super) sizes: Sizes,
    pub(super) part: &'a Part,
    pub(super) position: usize,
    pub(super) v: Shared,
    pub(super) m: Shared,
    pub(super) sums: Shared,
}

impl Work for ProductSum<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        const FILTERS: usize = 4;
        let Self { sizes, part, position, v, m, sums } = self;
        let [channel_blocks, filter_blocks] = sizes.blocks();
        let apart = part.pitch * BLOCK;
        for pair in 0..filter_blocks * channel_blocks {
            let (filter_block, channel_block) = (pair / channel_blocks, pair % channel_blocks);
            for filter in (0..BLOCK).step_by(FILTERS) {
                // SAFETY: `v` and `m` hold `len` tiles of each block at each position, `sums` a square for each pair of
                // blocks at each position, and each position is one task's.
                unsafe {
                    let mut v = v.0.cast_const().add((position * channel_blocks + channel_block) * apart);
                    let mut m = m.0.cast_const().add((position * filter_blocks + filter_block) * apart + filter);
                    let place = (position * filter_blocks * channel_blocks + pair) * BLOCK + filter;
                    let to = sums.0.add(place * BLOCK);
                    let mut found = [[L::splat(0.0); 2]; FILTERS];
                    for (row, found) in found.iter_mut().enumerate() {
                        *found = [L::load(to.add(row * BLOCK)), L::load(to.add(row * BLOCK + LANES))];
                    }
                    for _ in 0..part.len {
                        let (low, high) = (L::load(v), L::load(v.add(LANES)));
                        for (row, found) in found.iter_mut().enumerate() {
                            let x = L::splat(*m.add(row));
                            *found = [x.mul_add(low, found[0]), x.mul_add(high, found[1])];
                        }
                        v = v.add(BLOCK);
                        m = m.add(BLOCK);
                    }
                    for (row, [low, high]) in found.iter().enumerate() {
                        low.store(to.add(row * BLOCK));
                        high.store(to.add(row * BLOCK + LANES));
                    }
                }
            }
        }
    }
}

/// A weight as `[filter][channel][3][3]`, or one whose roles of filters and channels are exchanged.
pub(super) struct Filters<'a> {
    pub(super) sizes: Sizes,
    pub(super) weight: &'a [f32],
    /// How far the filters and the channels of `sizes` are apart.
    pub(super) strides: [usize; 2],
    /// Whether each 3x3 is turned half around.
    pub(super) turned: bool,
}

impl Filters<'_> {
    /// `[position][block of filters][channel][filter]`, zero where there is no filter.
    pub(super) fn transformed(&self) -> Vec<f32> {
        let blocks = self.sizes.blocks()[1];
        let len = self.sizes.channels * BLOCK;
        let mut to = zeroed(POSITIONS * blocks * len);
        let shared = Shared(to.as_mut_ptr());
        (0..self.sizes.filters.div_ceil(LANES)).into_par_iter().for_each(|eight| {
            dispatch(Eight { filters: self, eight, to: shared });
        });
        to
    }
}

struct Eight<'a> {
    filters: &'a Filters<'a>,
    eight: usize,
    to: Shared,
}

impl Work for Eight<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Filters { sizes, weight, strides, turned } = *self.filters;
        let first = self.eight * LANES;
        let (block, half) = (first / BLOCK, first % BLOCK);
        let count = LANES.min(sizes.filters - first);
        let apart = sizes.blocks()[1] * sizes.channels * BLOCK;
        assert!(weight.len() == sizes.filters * sizes.channels * 9);
        for channel in 0..sizes.channels {
            let mut taps = [[0.0; LANES]; 9];
            let starts = (first * strides[0] + channel * strides[1]..).step_by(strides[0]);
            for (lane, start) in starts.take(count).enumerate() {
                let from: &[f32; 9] = weight[start..].first_chunk().expect("a weight has 9 floats a channel");
                for (tap, x) in from.iter().enumerate() {
                    taps[if turned { 8 - tap } else { tap }][lane] = *x;
                }
            }
            // SAFETY: nine arrays of eight floats; `to` holds all positions of all blocks of filters, and these eight
            // are this task's.
            unsafe {
                let square: [[L; 3]; 3] = load(taps.as_ptr().cast(), [3 * LANES, LANES]);
                let to = self.to.0.add((block * sizes.channels + channel) * BLOCK + half);
                store(both(square, transform::filter), to, [4 * apart, apart]);
            }
        }
    }
}

/// Transforms the gradient of one filter's weights back.
pub(super) struct FilterGradient<'a> {
    pub(super) sizes: Sizes,
    pub(super) sums: &'a [f32],
    pub(super) filter: usize,
    pub(super) weight: &'a mut [f32],
}

impl Work for FilterGradient<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { sizes, sums, filter, weight } = self;
        let [channel_blocks, filter_blocks] = sizes.blocks();
        let apart = filter_blocks * channel_blocks * BLOCK * BLOCK;
        assert!(sums.len() == POSITIONS * apart);
        for (eight, weight) in weight.chunks_mut(9 * LANES).enumerate() {
            let (block, half) = (eight * LANES / BLOCK, eight * LANES % BLOCK);
            let at = ((filter / BLOCK * channel_blocks + block) * BLOCK + filter % BLOCK) * BLOCK + half;
            let mut taps = [[0.0; LANES]; 9];
            // SAFETY: `sums` holds a square for each pair of blocks at each position (asserted); nine arrays of eight
            // floats.
            unsafe {
                let square: [[L; 4]; 4] = load(sums.as_ptr().add(at), [4 * apart, apart]);
                store(both(square, transform::filter_gradient), taps.as_mut_ptr().cast(), [3 * LANES, LANES]);
            }
            for (lane, weight) in weight.chunks_exact_mut(9).enumerate() {
                for (weight, tap) in weight.iter_mut().zip(&taps) {
                    *weight = tap[lane];
                }
            }
        }
    }
}

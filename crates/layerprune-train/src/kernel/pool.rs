//! Pooling over planes, with any pads, dilation and rounding of the output size.

use rayon::prelude::*;

use super::conv::Window;
use super::recycle::zeroed;

/// The sizes of a pooling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    /// N·C.
    pub(crate) planes: usize,
    pub(crate) size: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) window: Window,
    /// Whether an average counts padded positions (never those behind the declared pads).
    pub(crate) count_pads: bool,
}

impl Pool {
    fn area(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn output_area(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Input positions of the window at output `position` along `axis`: first, one behind the last, step; and how
    /// many positions it has with the declared pads.
    fn span(&self, axis: usize, position: usize) -> (usize, usize, usize, usize) {
        let window = &self.window;
        let dilation = window.dilation[axis];
        let begin = (position * window.stride[axis]) as isize - window.pads[axis] as isize;
        let limit = self.size[axis] as isize;
        let at = |k: usize| begin + (k * dilation) as isize;
        let inside = (0..window.kernel[axis]).map(at).filter(|&i| (0..limit).contains(&i));
        let (mut first, mut end) = (0, 0);
        for (count, i) in inside.enumerate() {
            if count == 0 {
                first = i as usize;
            }
            end = i as usize + 1;
        }
        let padded = limit + window.pads[axis + 2] as isize;
        (first, end, dilation, (0..window.kernel[axis]).filter(|&k| at(k) < padded).count())
    }

    /// What the sum over each window is multiplied by for its average.
    pub(super) fn shares(&self) -> Vec<f32> {
        let (rows, columns) = (self.spans(0), self.spans(1));
        rows.iter().flat_map(|row| columns.iter().map(|column| share(self, row, column))).collect()
    }

    fn spans(&self, axis: usize) -> Vec<(usize, usize, usize, usize)> {
        (0..self.output[axis]).map(|position| self.span(axis, position)).collect()
    }
}

/// The largest element of each window, and where in its plane it stands (the first of equals).
pub(super) fn max_forward(pool: &Pool, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let (rows, columns) = (pool.spans(0), pool.spans(1));
    let mut y = zeroed(pool.planes * pool.output_area());
    let mut places = vec![0_u32; y.len()];
    let out = y.par_chunks_mut(pool.output_area()).zip(places.par_chunks_mut(pool.output_area()));
    out.zip(x.par_chunks(pool.area())).for_each(|((y, places), x)| {
        let mut out = y.iter_mut().zip(places);
        for &(top, bottom, down, _) in &rows {
            for (&(left, right, step, _), (y, place)) in columns.iter().zip(out.by_ref()) {
                let mut best = f32::NEG_INFINITY;
                let mut found = top * pool.size[1] + left;
                for row in (top..bottom).step_by(down) {
                    for column in (left..right).step_by(step) {
                        let value = x[row * pool.size[1] + column];
                        // A NaN must reach the loss, where it is reported.
                        if value > best || value.is_nan() {
                            (best, found) = (value, row * pool.size[1] + column);
                        }
                    }
                }
                (*y, *place) = (best, found as u32);
            }
        }
    });
    (y, places)
}

/// The gradient for `dy`, at the places that `max_forward` found.
pub(super) fn max_backward(pool: &Pool, places: &[u32], dy: &[f32]) -> Vec<f32> {
    let mut dx = zeroed(pool.planes * pool.area());
    let from = places.par_chunks(pool.output_area()).zip(dy.par_chunks(pool.output_area()));
    dx.par_chunks_mut(pool.area()).zip(from).for_each(|(dx, (places, dy))| {
        for (&place, dy) in places.iter().zip(dy) {
            dx[place as usize] += dy;
        }
    });
    dx
}

/// The average of each window.
pub(super) fn average_forward(pool: &Pool, x: &[f32]) -> Vec<f32> {
    let (rows, columns) = (pool.spans(0), pool.spans(1));
    let mut y = zeroed(pool.planes * pool.output_area());
    y.par_chunks_mut(pool.output_area()).zip(x.par_chunks(pool.area())).for_each(|(y, x)| {
        let mut out = y.iter_mut();
        for row in &rows {
            for (column, y) in columns.iter().zip(out.by_ref()) {
                let mut sum = 0.0;
                for i in (row.0..row.1).step_by(row.2) {
                    let line = &x[i * pool.size[1]..][..pool.size[1]];
                    sum += if column.2 == 1 {
                        super::sum::total(&line[column.0..column.1])
                    } else {
                        (column.0..column.1).step_by(column.2).map(|j| line[j]).sum()
                    };
                }
                *y = sum * share(pool, row, column);
            }
        }
    });
    y
}

/// The gradient for `dy`.
pub(super) fn average_backward(pool: &Pool, dy: &[f32]) -> Vec<f32> {
    let (rows, columns) = (pool.spans(0), pool.spans(1));
    let mut dx = zeroed(pool.planes * pool.area());
    dx.par_chunks_mut(pool.area()).zip(dy.par_chunks(pool.output_area())).for_each(|(dx, dy)| {
        let mut from = dy.iter();
        for row in &rows {
            for (column, dy) in columns.iter().zip(from.by_ref()) {
                let part = dy * share(pool, row, column);
                for i in (row.0..row.1).step_by(row.2) {
                    for j in (column.0..column.1).step_by(column.2) {
                        dx[i * pool.size[1] + j] += part;
                    }
                }
            }
        }
    });
    dx
}

fn share(pool: &Pool, row: &(usize, usize, usize, usize), column: &(usize, usize, usize, usize)) -> f32 {
    let inside = |span: &(usize, usize, usize, usize)| (span.1 - span.0).div_ceil(span.2);
    let count = if pool.count_pads { row.3 * column.3 } else { inside(row) * inside(column) };
    if count == 0 { 0.0 } else { 1.0 / count as f32 }
}

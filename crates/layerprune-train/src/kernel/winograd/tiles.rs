//! Where the tiles of a batch of images lie, and how planes of pixels become images of [`LANES`] channels and back.

use crate::kernel::simd::{LANES, Lanes};

/// An image plane of so many rows and columns that is read or written in tiles of 2x2, which may reach over its edge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane {
    pub(crate) size: [usize; 2],
    /// Rows and columns that lie before the first tile's window, which starts outside the plane by so many.
    pub(crate) pad: [usize; 2],
    /// How far a tile's window reaches beyond the tile: 2 for what is read, 0 for what is written.
    pub(crate) reach: usize,
}

impl Plane {
    /// Columns of the strip of a row of `tiles`.
    pub(crate) fn columns(&self, tiles: usize) -> usize {
        2 * tiles + self.reach
    }

    /// Rows of a strip of so many rows of tiles.
    pub(crate) fn rows(&self, rows: usize) -> usize {
        2 * rows + self.reach
    }

    /// The rows (`axis` 0) or columns (1) of a strip of `len`, beginning at tile `first`, that lie inside the plane, and
    /// where the first of them lies there.
    fn inside(&self, axis: usize, first: usize, len: usize) -> (std::ops::Range<usize>, usize) {
        let begin = (2 * first) as isize - self.pad[axis] as isize;
        let from = (-begin).clamp(0, len as isize) as usize;
        let to = (self.size[axis] as isize - begin).clamp(from as isize, len as isize) as usize;
        (from..to, (begin + from as isize).max(0) as usize)
    }
}

/// Fills `strip` (rows, columns, [`LANES`]) with `count` channels of an image; what lies outside is zero.
pub(crate) struct Read<'a> {
    pub(crate) plane: Plane,
    /// The first channel's plane; others follow.
    pub(crate) from: &'a [f32],
    pub(crate) count: usize,
    /// The first row of tiles, how many, and how many tiles a row has.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) tiles: usize,
}

impl Read<'_> {
    #[inline(always)]
    pub(crate) fn run<L: Lanes>(&self, strip: &mut [f32]) {
        let Self { plane, from, count, .. } = *self;
        let (rows, columns) = (plane.rows(self.rows), plane.columns(self.tiles));
        let (down, top) = plane.inside(0, self.first, rows);
        let (right, left) = plane.inside(1, 0, columns);
        let [height, width] = plane.size;
        let area = height * width;
        assert!(strip.len() >= rows * columns * LANES && from.len() >= count * area && count <= LANES);
        for row in 0..rows {
            let line = &mut strip[row * columns * LANES..][..columns * LANES];
            if !down.contains(&row) {
                line.fill(0.0);
                continue;
            }
            line[..right.start * LANES].fill(0.0);
            line[right.end * LANES..].fill(0.0);
            let base = (top + row - down.start) * width + left;
            let line = &mut line[right.start * LANES..right.end * LANES];
            let whole = right.len() / LANES * LANES;
            for column in (0..whole).step_by(LANES) {
                let mut vectors = [L::splat(0.0); LANES];
                for (channel, vector) in vectors.iter_mut().enumerate().take(count) {
                    // SAFETY: `whole` columns from `base` on lie in the plane's row, the plane in `from` (asserted).
                    *vector = unsafe { L::load(from.as_ptr().add(channel * area + base + column)) };
                }
                for (offset, vector) in L::transpose(vectors).into_iter().enumerate() {
                    // SAFETY: the line has `right.len()` pixels of `LANES` floats.
                    unsafe { vector.store(line.as_mut_ptr().add((column + offset) * LANES)) };
                }
            }
            for column in whole..right.len() {
                for lane in 0..LANES {
                    line[column * LANES + lane] = if lane < count { from[lane * area + base + column] } else { 0.0 };
                }
            }
        }
    }
}

/// Writes what of a strip lies inside the planes of `count` channels.
pub(crate) struct Write {
    pub(crate) plane: Plane,
    /// The first channel's plane; others follow.
    pub(crate) to: *mut f32,
    pub(crate) count: usize,
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) tiles: usize,
}

impl Write {
    /// # Safety
    /// `to` must point at `count` planes, of which nothing else reads or writes the rows of these tiles meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn run<L: Lanes>(&self, strip: &[f32]) {
        let Self { plane, to, count, .. } = *self;
        let columns = plane.columns(self.tiles);
        let (down, top) = plane.inside(0, self.first, plane.rows(self.rows));
        let [height, width] = plane.size;
        let area = height * width;
        assert!(strip.len() >= down.end * columns * LANES && columns >= width && count <= LANES);
        for row in down.clone() {
            let line = &strip[row * columns * LANES..][..width * LANES];
            let base = (top + row - down.start) * width;
            let whole = width / LANES * LANES;
            for column in (0..whole).step_by(LANES) {
                let mut vectors = [L::splat(0.0); LANES];
                for (offset, vector) in vectors.iter_mut().enumerate() {
                    // SAFETY: the line has `width` pixels of `LANES` floats.
                    *vector = unsafe { L::load(line.as_ptr().add((column + offset) * LANES)) };
                }
                for (channel, vector) in L::transpose(vectors).into_iter().enumerate().take(count) {
                    // SAFETY: `whole` columns lie in the plane's row; the planes are the caller's promise.
                    unsafe { vector.store(to.add(channel * area + base + column)) };
                }
            }
            for column in whole..width {
                for channel in 0..count {
                    // SAFETY: as above.
                    unsafe { to.add(channel * area + base + column).write(line[column * LANES + channel]) };
                }
            }
        }
    }
}

//! Affine maps of an image onto itself, computed as Pillow does.

use super::picture::Picture;

/// Where a pixel of the new image lies in the old one: `(a·x + b·y + c, d·x + e·y + f)`, pixel centres being at 0.5.
pub(super) type Matrix = [f64; 6];

/// Makes the new image of nearest pixels; where the old one has none, it is `fill`.
///
/// Pillow's `affine_fixed`: coordinates in fixed point with 16 bits behind the point.
pub(super) fn nearest(picture: &mut Picture, [a, b, c, d, e, f]: Matrix, fill: u8) {
    let (width, height) = (picture.width, picture.height);
    let plane = width * height;
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let (right, down) = ([fixed(a), fixed(d)], [fixed(b), fixed(e)]);
    let mut start = [fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5)];
    let (old, new) = picture.renew();
    new.fill(fill);
    for row in 0..height {
        let [mut x, mut y] = start;
        for place in row * width..(row + 1) * width {
            let (column, line) = ((x >> 16) as usize, (y >> 16) as usize);
            // What is negative is beyond every size as well.
            if column < width && line < height {
                let from = line * width + column;
                for (new, old) in new.chunks_exact_mut(plane).zip(old.chunks_exact(plane)) {
                    new[place] = old[from];
                }
            }
            x += right[0];
            y += right[1];
        }
        start = [start[0] + down[0], start[1] + down[1]];
    }
}

/// Makes the new image of the four pixels around, by distance; where the old one has none, it is `fill`.
///
/// Pillow's `bilinear_filter8` below `ImagingGenericTransform`: the edge pixels reach to the image's edge, and what is
/// behind the point is dropped.
pub(super) fn bilinear(picture: &mut Picture, [a, b, c, d, e, f]: Matrix, fill: u8) {
    let (width, height) = (picture.width, picture.height);
    let plane = width * height;
    let (old, new) = picture.renew();
    new.fill(fill);
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f64 + 0.5, row as f64 + 0.5);
            let (x, y) = (a * x + b * y + c, d * x + e * y + f);
            if !((0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y)) {
                continue;
            }
            let (x, y) = (x - 0.5, y - 0.5);
            let (left, upper) = (x.floor(), y.floor());
            let (dx, dy) = (x - left, y - upper);
            let columns = [left, left + 1.0].map(|at| at.clamp(0.0, width as f64 - 1.0) as usize);
            let rows = [upper, upper + 1.0].map(|at| at.clamp(0.0, height as f64 - 1.0) as usize * width);
            for (new, old) in new.chunks_exact_mut(plane).zip(old.chunks_exact(plane)) {
                let [upper, lower] = rows.map(|row| {
                    let [left, right] = columns.map(|column| f64::from(old[row + column]));
                    left + (right - left) * dx
                });
                new[row * width + column] = (upper + (lower - upper) * dy) as u8;
            }
        }
    }
}

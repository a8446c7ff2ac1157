use super::conv::Conv;

/// Whether rows of input and output follow each other at the same distance, so that a kernel position is one shift.
fn is_shift(conv: &Conv) -> bool {
    conv.window.stride == [1, 1] && conv.size[1] == conv.output[1]
}

/// Copies the inputs of conv group `group` of one image into rows, one for each weight of a filter (im2col).
/// Rows begin `stride` apart; only their first `output_area` elements are written.
pub(super) fn gather(conv: &Conv, group: usize, x: &[f32], columns: &mut [f32], stride: usize) {
    let ([height, width], [out_height, out_width]) = (conv.size, conv.output);
    let window = &conv.window;
    let channels = x.chunks_exact(height * width).skip(group * conv.group_channels()).take(conv.group_channels());
    let mut row = 0;
    for plane in channels {
        for kh in 0..window.kernel[0] {
            let (rows, down) = window.inside(0, kh, height, out_height);
            for kw in 0..window.kernel[1] {
                let (inner, right) = window.inside(1, kw, width, out_width);
                let out = &mut columns[row * stride..][..out_height * out_width];
                row += 1;
                out[..rows.start * out_width].fill(0.0);
                out[rows.end * out_width..].fill(0.0);
                if inner.is_empty() || rows.is_empty() {
                    out.fill(0.0);
                    continue;
                }
                if is_shift(conv) {
                    let to = rows.start * out_width + inner.start..(rows.end - 1) * out_width + inner.end;
                    let from = (to.start as isize + down * width as isize + right) as usize;
                    let len = to.len();
                    out[to].copy_from_slice(&plane[from..from + len]);
                    clear_outside(out, rows.clone(), inner, out_width);
                    continue;
                }
                for oh in rows.clone() {
                    let from = (oh * window.stride[0]) as isize + down;
                    let line = &plane[from as usize * width..][..width];
                    let out = &mut out[oh * out_width..][..out_width];
                    out[..inner.start].fill(0.0);
                    out[inner.end..].fill(0.0);
                    let first = ((inner.start * window.stride[1]) as isize + right) as usize;
                    let from = line[first..].iter().step_by(window.stride[1]);
                    for (out, &x) in out[inner.clone()].iter_mut().zip(from) {
                        *out = x;
                    }
                }
            }
        }
    }
}

fn clear_outside(out: &mut [f32], rows: std::ops::Range<usize>, inner: std::ops::Range<usize>, width: usize) {
    if inner.start == 0 && inner.end == width {
        return;
    }
    for line in out[rows.start * width..rows.end * width].chunks_exact_mut(width) {
        line[..inner.start].fill(0.0);
        line[inner.end..].fill(0.0);
    }
}

/// Adds such rows back to where their elements came from (col2im). The rows are used up.
pub(super) fn scatter(conv: &Conv, group: usize, columns: &mut [f32], stride: usize, x: &mut [f32]) {
    let ([height, width], [out_height, out_width]) = (conv.size, conv.output);
    let window = &conv.window;
    let channels = x.chunks_exact_mut(height * width).skip(group * conv.group_channels()).take(conv.group_channels());
    let mut row = 0;
    for plane in channels {
        for kh in 0..window.kernel[0] {
            let (rows, down) = window.inside(0, kh, height, out_height);
            for kw in 0..window.kernel[1] {
                let (inner, right) = window.inside(1, kw, width, out_width);
                let from = &mut columns[row * stride..][..out_height * out_width];
                row += 1;
                if inner.is_empty() || rows.is_empty() {
                    continue;
                }
                if is_shift(conv) {
                    clear_outside(from, rows.clone(), inner.clone(), out_width);
                    let range = rows.start * out_width + inner.start..(rows.end - 1) * out_width + inner.end;
                    let to = (range.start as isize + down * width as isize + right) as usize;
                    let len = range.len();
                    for (x, column) in plane[to..to + len].iter_mut().zip(&from[range]) {
                        *x += column;
                    }
                    continue;
                }
                for oh in rows.clone() {
                    let to = (oh * window.stride[0]) as isize + down;
                    let line = &mut plane[to as usize * width..][..width];
                    let first = ((inner.start * window.stride[1]) as isize + right) as usize;
                    let to = line[first..].iter_mut().step_by(window.stride[1]);
                    for (x, column) in to.zip(&from[oh * out_width..][inner.clone()]) {
                        *x += column;
                    }
                }
            }
        }
    }
}

//! Convolution where each filter reads one channel.

use std::mem::MaybeUninit;

use super::conv::Conv;

/// Sets the output of some images.
pub(super) fn forward(conv: &Conv, x: &[f32], weight: &[f32], y: &mut [MaybeUninit<f32>]) {
    let multiplier = conv.filters / conv.channels;
    let (area, taps) = (conv.size[0] * conv.size[1], conv.filter_len());
    for (plane, out) in y.chunks_exact_mut(conv.output_area()).enumerate() {
        let (image, filter) = (plane / conv.filters, plane % conv.filters);
        let x = &x[(image * conv.channels + filter / multiplier) * area..][..area];
        out.fill(MaybeUninit::new(0.0));
        // SAFETY: all elements were just set.
        let out = unsafe { out.assume_init_mut() };
        for_each_tap(conv, |tap, at| {
            let w = weight[filter * taps + tap];
            at.for_each(|to, from, len, step| {
                let from = x[from..].iter().step_by(step);
                for (y, x) in out[to..to + len].iter_mut().zip(from) {
                    *y += w * x;
                }
            });
        });
    }
}

/// Adds the gradients of some images to `dx` and `dw`, where these are not empty.
pub(super) fn backward(conv: &Conv, x: &[f32], weight: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
    let multiplier = conv.filters / conv.channels;
    let (area, taps) = (conv.size[0] * conv.size[1], conv.filter_len());
    for (plane, dy) in dy.chunks_exact(conv.output_area()).enumerate() {
        let (image, filter) = (plane / conv.filters, plane % conv.filters);
        let input = (image * conv.channels + filter / multiplier) * area..;
        for_each_tap(conv, |tap, at| {
            if !dw.is_empty() {
                let x = &x[input.clone()][..area];
                let mut sum = 0.0;
                at.for_each(|to, from, len, step| {
                    let dy = &dy[to..to + len];
                    sum += if step == 1 {
                        super::sum::dot(dy, &x[from..from + len])
                    } else {
                        dy.iter().zip(x[from..].iter().step_by(step)).map(|(dy, x)| dy * x).sum()
                    };
                });
                dw[filter * taps + tap] += sum;
            }
            if !dx.is_empty() {
                let dx = &mut dx[input.clone()][..area];
                let w = weight[filter * taps + tap];
                at.for_each(|to, from, len, step| {
                    let dx = dx[from..].iter_mut().step_by(step);
                    for (dx, dy) in dx.zip(&dy[to..to + len]) {
                        *dx += w * dy;
                    }
                });
            }
        });
    }
}

/// The stretches of output and input that one weight connects.
struct Tap {
    rows: std::ops::Range<usize>,
    inner: std::ops::Range<usize>,
    down: isize,
    right: isize,
    stride: [usize; 2],
    width: usize,
    out_width: usize,
}

impl Tap {
    /// Calls `line` with the first output, the first input, how many outputs, and the distance of inputs.
    fn for_each(&self, mut line: impl FnMut(usize, usize, usize, usize)) {
        if self.inner.is_empty() {
            return;
        }
        for oh in self.rows.clone() {
            let ih = ((oh * self.stride[0]) as isize + self.down) as usize;
            let iw = ((self.inner.start * self.stride[1]) as isize + self.right) as usize;
            line(oh * self.out_width + self.inner.start, ih * self.width + iw, self.inner.len(), self.stride[1]);
        }
    }
}

fn for_each_tap(conv: &Conv, mut work: impl FnMut(usize, &Tap)) {
    let window = &conv.window;
    for kh in 0..window.kernel[0] {
        let (rows, down) = window.inside(0, kh, conv.size[0], conv.output[0]);
        for kw in 0..window.kernel[1] {
            let (inner, right) = window.inside(1, kw, conv.size[1], conv.output[1]);
            let (width, out_width, stride) = (conv.size[1], conv.output[1], window.stride);
            let tap = Tap { rows: rows.clone(), inner, down, right, stride, width, out_width };
            work(kh * window.kernel[1] + kw, &tap);
        }
    }
}

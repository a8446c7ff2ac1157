//! Against sums of products in `f64`, at sizes that fill neither tiles nor blocks.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernel::simd::PLAIN;

/// Held by tests that choose vectors, and by those that want the same bits twice.
static VECTORS: Mutex<()> = Mutex::new(());

/// Calls `term` with the places of each output, input and weight that a product connects.
fn for_each_product(sizes: &Sizes, mut term: impl FnMut(usize, usize, usize)) {
    let ([height, width], [out_height, out_width]) = (sizes.input, sizes.output);
    for output in 0..sizes.images * sizes.filters * out_height * out_width {
        let (image, filter) =
            (output / out_width / out_height / sizes.filters, output / out_width / out_height % sizes.filters);
        let (row, column) = (output / out_width % out_height, output % out_width);
        for weight in 0..sizes.channels * 9 {
            let (channel, kh, kw) = (weight / 9, weight / 3 % 3, weight % 3);
            let (row, column) = (row + kh, column + kw);
            let inside = |at: usize, axis: usize, size: usize| at >= sizes.pad[axis] && at - sizes.pad[axis] < size;
            if inside(row, 0, height) && inside(column, 1, width) {
                let line = (image * sizes.channels + channel) * height + row - sizes.pad[0];
                term(output, line * width + column - sizes.pad[1], filter * sizes.channels * 9 + weight);
            }
        }
    }
}

fn assert_close(what: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f64, |scale, x| scale.max(x.abs()));
    for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= 3e-6 * scale, "{what}[{index}]: {found} instead of {expected}");
    }
}

fn sizes(images: usize, channels: usize, filters: usize, input: [usize; 2], pads: [usize; 4]) -> Sizes {
    let output = [input[0] + pads[0] + pads[2] - 2, input[1] + pads[1] + pads[3] - 2];
    Sizes { images, channels, filters, input, output, pad: [pads[0], pads[1]] }
}

fn all_agree(sizes: Sizes, rng: &mut ChaCha8Rng) {
    let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let x = random(sizes.images * sizes.channels * sizes.input_area());
    let weight = random(sizes.filters * sizes.channels * 9);
    let bias = random(sizes.filters);
    let dy = random(sizes.images * sizes.filters * sizes.output_area());
    let [mut y, mut dx] = [vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]];
    // SAFETY: the outputs are as long as `forward` and `input_gradient` say.
    unsafe {
        forward(sizes, &x, &weight, Some(&bias), y.as_mut_ptr());
        input_gradient(sizes, &weight, &dy, dx.as_mut_ptr());
    }
    let dw = weight_gradient(sizes, &x, &dy);
    let plane = |output: usize| output / sizes.output_area() % sizes.filters;
    let mut expected_y: Vec<f64> = (0..dy.len()).map(|output| f64::from(bias[plane(output)])).collect();
    let (mut expected_dx, mut expected_dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
    for_each_product(&sizes, |output, input, tap| {
        expected_y[output] += f64::from(x[input]) * f64::from(weight[tap]);
        expected_dx[input] += f64::from(dy[output]) * f64::from(weight[tap]);
        expected_dw[tap] += f64::from(dy[output]) * f64::from(x[input]);
    });
    assert_close(&format!("y of {sizes:?}"), &y, &expected_y);
    assert_close(&format!("dx of {sizes:?}"), &dx, &expected_dx);
    assert_close(&format!("dw of {sizes:?}"), &dw, &expected_dw);
}

#[test]
fn winograd_agrees_with_sums_of_products_at_odd_sizes() {
    let _held = VECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    for plain in [false, true] {
        PLAIN.store(plain, Ordering::Relaxed);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for sizes in [
            sizes(1, 1, 1, [3, 3], [1, 1, 1, 1]),
            sizes(3, 5, 19, [7, 9], [0, 1, 1, 0]),
            sizes(2, 33, 20, [4, 4], [1, 1, 1, 1]),
            sizes(5, 8, 8, [2, 2], [1, 1, 1, 1]),
            sizes(2, 3, 16, [13, 17], [2, 0, 0, 2]),
            sizes(9, 17, 40, [5, 6], [1, 1, 2, 2]),
            sizes(1, 16, 3, [40, 70], [1, 1, 1, 1]),
        ] {
            all_agree(sizes, &mut rng);
        }
    }
    PLAIN.store(false, Ordering::Relaxed);
}

/// 70 by 80 channels are beyond what is summed over parts of the batch.
#[test]
fn winograd_agrees_with_sums_of_products_for_many_channels() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    all_agree(sizes(3, 70, 80, [4, 5], [1, 1, 1, 1]), &mut rng);
}

#[test]
fn what_is_no_number_reaches_the_output() {
    let sizes = sizes(1, 1, 1, [4, 4], [1, 1, 1, 1]);
    let mut x = vec![0.0; 16];
    x[5] = f32::NAN;
    let mut y = vec![0.0; 16];
    // SAFETY: the output has 16 elements.
    unsafe { forward(sizes, &x, &[1.0; 9], None, y.as_mut_ptr()) };
    assert!(y[5].is_nan() && y[0].is_nan() && y[10].is_nan());
}

#[test]
fn sums_do_not_depend_on_the_number_of_threads() {
    let _held = VECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let sizes = sizes(20, 12, 20, [16, 16], [1, 1, 1, 1]);
    let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let (x, dy) = (random(20 * 12 * 256), random(20 * 20 * 256));
    let by = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| weight_gradient(sizes, &x, &dy))
    };
    assert!(by(1) == by(3));
}

//! Kernels against PyTorch's numbers and against burn's own operations.

use std::fs;
use std::path::Path;

use burn::tensor::module;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Distribution, Tensor, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f32, |scale, x| scale.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 2e-5 * scale, "{what}[{index}]: {found} instead of {expected}");
    }
}

fn leaf<const D: usize>(data: &[f32], dims: [usize; D]) -> Tensor<D> {
    from_vec(data.to_vec(), dims).autodiff().require_grad()
}

#[derive(Deserialize)]
struct ConvCase {
    name: String,
    x_dims: [usize; 4],
    w_dims: [usize; 4],
    y_dims: [usize; 4],
    stride: [usize; 2],
    pads: [usize; 4],
    dilation: [usize; 2],
    groups: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    y: Vec<f32>,
    dy: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

#[test]
fn convolutions_and_their_gradients_agree_with_pytorch() {
    for case in golden::<Vec<ConvCase>>("train_conv.json") {
        let [batch, channels, height, width] = case.x_dims;
        let [filters, _, kh, kw] = case.w_dims;
        let window = Window { kernel: [kh, kw], stride: case.stride, dilation: case.dilation, pads: case.pads };
        let output = window.output([height, width]).unwrap();
        assert_eq!(output, case.y_dims[2..], "{}", case.name);
        let sizes = Conv { batch, channels, size: [height, width], filters, output, groups: case.groups, window };
        let (x, w, b) = (leaf(&case.x, case.x_dims), leaf(&case.w, case.w_dims), leaf(&case.b, [filters]));
        let y = conv(sizes, x.clone(), w.clone(), Some(b.clone()));
        assert_close(&format!("{}: y", case.name), &to_vec(y.clone()), &case.y);
        let dy = from_vec(case.dy.clone(), case.y_dims).autodiff();
        let gradients = (y * dy).sum().backward();
        assert_close(&format!("{}: dx", case.name), &to_vec(x.grad(&gradients).unwrap()), &case.dx);
        assert_close(&format!("{}: dw", case.name), &to_vec(w.grad(&gradients).unwrap()), &case.dw);
        assert_close(&format!("{}: db", case.name), &to_vec(b.grad(&gradients).unwrap()), &case.db);
    }
}

#[derive(Deserialize)]
struct PoolCase {
    kind: String,
    x_dims: [usize; 4],
    y_dims: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
    pads: [usize; 4],
    dilation: [usize; 2],
    count_pads: bool,
    x: Vec<f32>,
    y: Vec<f32>,
    dy: Vec<f32>,
    dx: Vec<f32>,
}

#[test]
fn poolings_and_their_gradients_agree_with_pytorch() {
    for (index, case) in golden::<Vec<PoolCase>>("train_pool.json").into_iter().enumerate() {
        let [batch, channels, height, width] = case.x_dims;
        let window = Window { kernel: case.kernel, stride: case.stride, dilation: case.dilation, pads: case.pads };
        let sizes = Pool {
            planes: batch * channels,
            size: [height, width],
            output: [case.y_dims[2], case.y_dims[3]],
            window,
            count_pads: case.count_pads,
        };
        let ways = match case.kind.as_str() {
            "max" => [max_pool, reference::max_pool],
            _ => [average_pool, reference::average_pool],
        };
        for pool in ways {
            let x = leaf(&case.x, case.x_dims);
            let y = pool(sizes, x.clone());
            assert_close(&format!("{index}: y"), &to_vec(y.clone()), &case.y);
            let gradients = (y * from_vec(case.dy.clone(), case.y_dims).autodiff()).sum().backward();
            assert_close(&format!("{index}: dx"), &to_vec(x.grad(&gradients).unwrap()), &case.dx);
        }
    }
}

#[test]
fn one_window_with_pads_is_pooled_by_burn_too() {
    let window = Window { kernel: [3, 3], stride: [3, 3], dilation: [1, 1], pads: [1; 4] };
    let sizes = Pool { planes: 1, size: [3, 3], output: [1, 1], window, count_pads: true };
    let x = || from_vec((1..=9).map(|x| -(x as f32)).collect(), [1, 1, 3, 3]);
    for pool in [max_pool, reference::max_pool] {
        assert_eq!(to_vec(pool(sizes, x())), [-1.0]);
    }
    for pool in [average_pool, reference::average_pool] {
        assert_close("average", &to_vec(pool(sizes, x())), &[-12.0 / 9.0]);
    }
}

#[test]
fn clipping_agrees_with_burn_at_the_bounds_and_for_what_is_no_number() {
    let x = [-2.0, -1.0, -0.5, 0.0, 0.75, 1.0, 3.0];
    for (low, high) in [(-1.0, 1.0), (f32::NEG_INFINITY, 0.75), (-0.5, f32::INFINITY)] {
        let run = |clip: fn(Tensor<1>, f32, f32) -> Tensor<1>| {
            let x = leaf(&x, [7]);
            let y = clip(x.clone(), low, high);
            let gradients = (y.clone() * 2.0).sum().backward();
            (to_vec(y), to_vec(x.grad(&gradients).unwrap()))
        };
        let (ours, theirs) = (run(clip), run(reference::clip));
        assert_eq!(ours, theirs, "{low} to {high}");
        assert!(x.iter().zip(&ours.1).all(|(&x, &dx)| dx == if low < x && x < high { 2.0 } else { 0.0 }));
    }
    for clip in [clip, reference::clip] {
        assert!(to_vec(clip(from_vec(vec![f32::NAN], [1]), -1.0, 1.0))[0].is_nan());
    }
}

fn random<const D: usize>(rng: &mut ChaCha8Rng, dims: [usize; D]) -> Vec<f32> {
    (0..dims.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect()
}

#[test]
fn convolutions_of_random_shapes_agree_with_burn() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for round in 0..60 {
        let mut pick = |low: usize, high: usize| rng.random_range(low..=high);
        let groups = pick(1, 3);
        let (batch, channels, filters) = (pick(1, 19), groups * pick(1, 3), groups * pick(1, 4));
        let (kernel, stride) = ([pick(1, 4), pick(1, 3)], [pick(1, 3), pick(1, 2)]);
        let (dilation, pad) = ([pick(1, 2), pick(1, 2)], [pick(0, 2), pick(0, 3)]);
        let size = [pick(7, 12), pick(7, 18)];
        let window = Window { kernel, stride, dilation, pads: [pad[0], pad[1], pad[0], pad[1]] };
        let output = window.output(size).unwrap();
        let sizes = Conv { batch, channels, size, filters, output, groups, window };
        let x_dims = [batch, channels, size[0], size[1]];
        let w_dims = [filters, channels / groups, kernel[0], kernel[1]];
        let (x, w) = (leaf(&random(&mut rng, x_dims), x_dims), leaf(&random(&mut rng, w_dims), w_dims));
        let dy =
            from_vec(random(&mut rng, [batch, filters, output[0], output[1]]), [batch, filters, output[0], output[1]]);
        let ours = conv(sizes, x.clone(), w.clone(), None);
        let theirs = module::conv2d(x.clone(), w.clone(), None, ConvOptions::new(stride, pad, dilation, groups));
        let what = |part: &str| format!("round {round}, {part} of {sizes:?}");
        assert_close(&what("y"), &to_vec(ours.clone()), &to_vec(theirs.clone()));
        let dy = dy.autodiff();
        let (ours, theirs) = ((ours * dy.clone()).sum().backward(), (theirs * dy).sum().backward());
        assert_close(&what("dx"), &to_vec(x.grad(&ours).unwrap()), &to_vec(x.grad(&theirs).unwrap()));
        assert_close(&what("dw"), &to_vec(w.grad(&ours).unwrap()), &to_vec(w.grad(&theirs).unwrap()));
    }
}

#[test]
fn batch_norm_with_and_without_relu_agrees_with_burn() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (dims, relu) in [([4, 5, 7, 6], false), ([4, 5, 7, 6], true), ([2, 3, 1, 1], true), ([3, 2, 9, 16], true)] {
        let [_, channels, ..] = dims;
        let x = leaf(&random(&mut rng, dims), dims);
        let scale = leaf(&random(&mut rng, [channels]), [channels]);
        let shift = leaf(&random(&mut rng, [channels]), [channels]);
        let dy = from_vec(random(&mut rng, dims), dims).autodiff();
        let (ours, batch) = batch_norm(x.clone(), scale.clone(), shift.clone(), Statistics::Batch, 1e-3, relu);
        let theirs = module::batch_norm_train(x.clone(), scale.clone(), shift.clone(), 1e-3);
        let (mean, variance) = batch.unwrap();
        assert_close("mean", &mean, &to_vec(theirs.mean.clone()));
        assert_close("variance", &variance, &to_vec(theirs.variance.clone()));
        let theirs = if relu { activation::relu(theirs.output) } else { theirs.output };
        assert_close("y", &to_vec(ours.clone()), &to_vec(theirs.clone()));
        let (ours, theirs) = ((ours * dy.clone()).sum().backward(), (theirs * dy).sum().backward());
        assert_close("dx", &to_vec(x.grad(&ours).unwrap()), &to_vec(x.grad(&theirs).unwrap()));
        assert_close("dscale", &to_vec(scale.grad(&ours).unwrap()), &to_vec(scale.grad(&theirs).unwrap()));
        assert_close("dshift", &to_vec(shift.grad(&ours).unwrap()), &to_vec(shift.grad(&theirs).unwrap()));
    }
}

#[test]
fn frozen_batch_norm_is_an_affine_map() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let dims = [2, 2, 3, 3];
    let x = leaf(&random(&mut rng, dims), dims);
    let (scale, shift) = (leaf(&[2.0, -1.0], [2]), leaf(&[0.5, 0.1], [2]));
    let (mean, variance) = ([0.3, -0.2], [4.0, 0.25]);
    let (y, batch) =
        batch_norm(x.clone(), scale.clone(), shift.clone(), Statistics::Given(&mean, &variance), 0.0, false);
    assert_eq!(batch, None);
    let gradients = y.clone().sum().backward();
    let inverse = [0.5, 2.0];
    let channel = |index: usize| index / 9 % 2;
    let x_data = to_vec(x.clone());
    let hat: Vec<f32> = x_data.iter().enumerate().map(|(i, x)| (x - mean[channel(i)]) * inverse[channel(i)]).collect();
    let expected: Vec<f32> =
        hat.iter().enumerate().map(|(i, hat)| [2.0, -1.0][channel(i)] * hat + [0.5, 0.1][channel(i)]).collect();
    assert_close("y", &to_vec(y), &expected);
    let expected: Vec<f32> = (0..36).map(|i| [1.0, -2.0][channel(i)]).collect();
    assert_close("dx", &to_vec(x.grad(&gradients).unwrap()), &expected);
    let sums: Vec<f32> =
        (0..2).map(|c| hat.iter().enumerate().filter(|(i, _)| channel(*i) == c).map(|(_, hat)| hat).sum()).collect();
    assert_close("dscale", &to_vec(scale.grad(&gradients).unwrap()), &sums);
}

#[test]
fn add_relu_agrees_with_burn() {
    let device = burn::tensor::Device::flex();
    let x = Tensor::<4>::random([3, 4, 5, 6], Distribution::Default, &device) - 0.5;
    let z = Tensor::<4>::random([3, 4, 5, 6], Distribution::Default, &device) - 0.5;
    let dy = Tensor::<4>::random([3, 4, 5, 6], Distribution::Default, &device).autodiff();
    let (x, z) = (x.autodiff().require_grad(), z.autodiff().require_grad());
    let ours = (add_relu(x.clone(), z.clone()) * dy.clone()).sum().backward();
    let theirs = (activation::relu(x.clone() + z.clone()) * dy).sum().backward();
    assert_close("dx", &to_vec(x.grad(&ours).unwrap()), &to_vec(x.grad(&theirs).unwrap()));
    assert_close("dz", &to_vec(z.grad(&ours).unwrap()), &to_vec(z.grad(&theirs).unwrap()));
}

#[test]
fn a_rectified_sum_keeps_what_is_no_number() {
    let x = from_vec(vec![f32::NAN, 1.0, -1.0, 0.0], [1, 1, 2, 2]);
    let y = to_vec(add_relu(x, from_vec(vec![0.0; 4], [1, 1, 2, 2])));
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [1.0, 0.0, 0.0]);
}

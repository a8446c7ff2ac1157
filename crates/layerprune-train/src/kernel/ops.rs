//! The kernels as operations of burn tensors, each with its derivative.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Shape, Tensor};

use super::conv::{self, Conv, Wanted};
use super::norm::{self, Affine, Moments, Sizes};
use super::pool::{self, Pool};
use super::{recycle, reference, sum};

type Tracked = Autodiff<Flex>;

const ON_FLEX: &str = "tensors of other devices were handed to burn's operations";

/// Whether this crate's kernels can have the tensor.
fn is_on_flex<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device() == burn::tensor::Device::flex()
}

/// A tensor of shape `dims` that takes `data` over.
pub(crate) fn from_vec<const D: usize>(data: Vec<f32>, dims: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive(data, &dims))
}

/// The elements of a tensor, in row-major order; without a copy where nothing else holds them.
pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let tensor = plain(tensor);
    let data = if is_on_flex(&tensor) { untracked(tensor).into_data() } else { tensor.into_data() };
    data.try_into_vec().expect("all tensors of this crate are of f32")
}

pub(super) fn primitive(data: Vec<f32>, dims: &[usize]) -> FlexTensor {
    assert_eq!(data.len(), dims.iter().product::<usize>(), "data must fill the shape");
    FlexTensor::new(recycle::bytes(data), Layout::contiguous(Shape::from(dims.to_vec())), DType::F32)
}

/// What a forward pass gives: numbers for a new tensor, or the tensor.
trait Output {
    fn tensor(self, dims: &[usize]) -> FlexTensor;
}

impl Output for Vec<f32> {
    fn tensor(self, dims: &[usize]) -> FlexTensor {
        primitive(self, dims)
    }
}

impl Output for FlexTensor {
    fn tensor(self, _: &[usize]) -> FlexTensor {
        self
    }
}

pub(super) fn untracked<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect(ON_FLEX).to_contiguous()
}

pub(super) fn elements(tensor: &FlexTensor) -> &[f32] {
    let len = tensor.layout().num_elements();
    &tensor.storage()[tensor.layout().start_offset()..][..len]
}

/// Calls an operation with `N` tracked parents: `$forward` gives its state and the data of its output from the parents'
/// values, which `$values` names. Without tracking, the state is dropped.
macro_rules! call {
    ($op:expr, [$($tensor:expr),+], |$values:ident| $forward:expr, $dims:expr, $D:literal) => {{
        if !(true $(&& $tensor.is_autodiff())+) {
            let $values = [$(untracked(plain($tensor))),+];
            let (_, output) = $forward;
            Tensor::<$D>::from_primitive::<Flex>(Output::tensor(output, $dims))
        } else {
            let parents = ($($tensor.try_into_primitive::<Tracked>().expect(ON_FLEX),)+);
            call!(@parents parents, $op, |$values| $forward, $dims, $D, [$($tensor),+])
        }
    }};
    (@parents $p:ident, $op:expr, |$v:ident| $f:expr, $dims:expr, $D:literal, [$a:expr]) => {
        call!(@run $op, [$p.0], |$v| $f, $dims, $D)
    };
    (@parents $p:ident, $op:expr, |$v:ident| $f:expr, $dims:expr, $D:literal, [$a:expr, $b:expr]) => {
        call!(@run $op, [$p.0, $p.1], |$v| $f, $dims, $D)
    };
    (@parents $p:ident, $op:expr, |$v:ident| $f:expr, $dims:expr, $D:literal, [$a:expr, $b:expr, $c:expr]) => {
        call!(@run $op, [$p.0, $p.1, $p.2], |$v| $f, $dims, $D)
    };
    (@run $op:expr, [$($parent:expr),+], |$values:ident| $forward:expr, $dims:expr, $D:literal) => {{
        let $values = [$($parent.primitive().to_contiguous()),+];
        let (state, output) = $forward;
        let output = Output::tensor(output, $dims);
        let prepared = $op.prepare::<NoCheckpointing>([$($parent.node()),+]).compute_bound().stateful();
        let output = match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(state, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        Tensor::<$D>::from_primitive::<Tracked>(output)
    }};
}

pub(super) fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor.inner() } else { tensor }
}

/// Convolution of `x`, whose shape `sizes` states, with `bias` where there is one.
pub(crate) fn conv(sizes: Conv, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    if !is_on_flex(&x) {
        return reference::conv(sizes, x, weight, bias);
    }
    let dims = &[sizes.batch, sizes.filters, sizes.output[0], sizes.output[1]];
    match bias {
        None => call!(
            ConvOp,
            [x, weight],
            |values| {
                let y = conv::forward(&sizes, elements(&values[0]), elements(&values[1]), None);
                ((values.clone(), sizes), y)
            },
            dims,
            4
        ),
        Some(bias) => call!(
            BiasedConvOp,
            [x, weight, bias],
            |values| {
                let [x, weight, bias] = &values;
                let y = conv::forward(&sizes, elements(x), elements(weight), Some(elements(bias)));
                (([x.clone(), weight.clone()], sizes), y)
            },
            dims,
            4
        ),
    }
}

#[derive(Debug)]
struct ConvOp;
#[derive(Debug)]
struct BiasedConvOp;

impl Backward<Flex, 2> for ConvOp {
    type State = ([FlexTensor; 2], Conv);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, weight] = ops.parents;
        conv_backward(ops.state, &dy, x.map(|n| n.id), weight.map(|n| n.id), None, grads);
    }
}

impl Backward<Flex, 3> for BiasedConvOp {
    type State = ([FlexTensor; 2], Conv);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let [x, weight, bias] = ops.parents;
        conv_backward(ops.state, &dy, x.map(|n| n.id), weight.map(|n| n.id), bias.map(|n| n.id), grads);
    }
}

type Id = Option<burn::backend::autodiff::NodeId>;

fn conv_backward(state: ([FlexTensor; 2], Conv), dy: &FlexTensor, x: Id, weight: Id, bias: Id, grads: &mut Gradients) {
    let ([input, filters], sizes) = state;
    let wanted = Wanted { input: x.is_some(), weight: weight.is_some(), bias: bias.is_some() };
    let found = conv::backward(&sizes, elements(&input), elements(&filters), elements(dy), wanted);
    if let Some(id) = x {
        let dims = [sizes.batch, sizes.channels, sizes.size[0], sizes.size[1]];
        grads.register::<Flex>(id, primitive(found.input, &dims));
    }
    if let Some(id) = weight {
        let [height, width] = sizes.window.kernel;
        let dims = [sizes.filters, sizes.channels / sizes.groups, height, width];
        grads.register::<Flex>(id, primitive(found.weight, &dims));
    }
    if let Some(id) = bias {
        grads.register::<Flex>(id, primitive(found.bias, &[sizes.filters]));
    }
}

/// Mean and biased variance of each channel.
pub(crate) type BatchMoments = (Vec<f32>, Vec<f32>);

/// What a batch normalisation normalises with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Statistics<'a> {
    /// Those of the batch.
    Batch,
    /// Given mean and variance.
    Given(&'a [f32], &'a [f32]),
}

/// Batch normalisation over axes 0, 2 and 3, rectified where `relu`. Also returns mean and biased variance of the
/// batch, where these were taken.
pub(crate) fn batch_norm(
    x: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    statistics: Statistics<'_>,
    epsilon: f32,
    relu: bool,
) -> (Tensor<4>, Option<BatchMoments>) {
    if !is_on_flex(&x) {
        return reference::batch_norm(x, scale, shift, statistics, epsilon, relu);
    }
    let [images, channels, height, width] = x.dims();
    let sizes = Sizes { images, channels, area: height * width };
    let mut batch = None;
    let y = call!(
        NormOp,
        [x, scale, shift],
        |values| {
            let [x, scale, shift] = &values;
            let (mean, variance) = match statistics {
                Statistics::Given(mean, variance) => (mean.to_vec(), variance.to_vec()),
                Statistics::Batch => {
                    let moments = norm::moments(sizes, elements(x));
                    let (mean, variance): (Vec<_>, Vec<_>) =
                        moments.iter().map(|&Moments { mean, variance }| (mean, variance)).unzip();
                    batch = Some((mean.clone(), variance.clone()));
                    (mean, variance)
                }
            };
            let inverse = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
            let (scale, shift) = (elements(scale).to_vec(), elements(shift).to_vec());
            let affine = Affine { mean, inverse, scale, shift, relu };
            let y = norm::forward(sizes, elements(x), &affine);
            ((x.clone(), affine, batch.is_none()), y)
        },
        &[images, channels, height, width],
        4
    );
    (y, batch)
}

#[derive(Debug)]
struct NormOp;

impl Backward<Flex, 3> for NormOp {
    type State = (FlexTensor, Affine, bool);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, affine, frozen) = ops.state;
        let dims = x.layout().shape().to_vec();
        let sizes = Sizes { images: dims[0], channels: dims[1], area: dims[2..].iter().product() };
        let found = norm::backward(sizes, elements(&x), elements(&dy), &affine, frozen);
        let [x, scale, shift] = ops.parents;
        if let Some(node) = x {
            grads.register::<Flex>(node.id, primitive(found.input, &dims));
        }
        if let Some(node) = scale {
            grads.register::<Flex>(node.id, primitive(found.scale, &[sizes.channels]));
        }
        if let Some(node) = shift {
            grads.register::<Flex>(node.id, primitive(found.shift, &[sizes.channels]));
        }
    }
}

/// `max(a + b, 0)` for tensors of one shape.
pub(crate) fn add_relu(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    if !is_on_flex(&a) {
        return reference::add_relu(a, b);
    }
    let dims = a.dims();
    call!(
        AddReluOp,
        [a, b],
        |values| {
            let [a, b] = &values;
            let y = sum::zip_map(elements(a), elements(b), |a, b| sum::rectified(a + b));
            // The sum's sign is all that the derivative needs; the output, which lives anyway, has it.
            let y = primitive(y, &dims);
            (y.clone(), y)
        },
        &dims,
        4
    )
}

#[derive(Debug)]
struct AddReluOp;

impl Backward<Flex, 2> for AddReluOp {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let dims = ops.state.layout().shape().to_vec();
        let dx = sum::zip_map(elements(&dy), elements(&ops.state), |dy, y| if y > 0.0 { dy } else { 0.0 });
        let dx = primitive(dx, &dims);
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, dx.clone());
        }
    }
}

/// Each element moved into `low` to `high`. At and beyond these its derivative is 0, as PyTorch's `relu6` and `clamp` have
/// it; burn's passes at them.
pub(crate) fn clip(x: Tensor<1>, low: f32, high: f32) -> Tensor<1> {
    if !is_on_flex(&x) {
        return reference::clip(x, low, high);
    }
    let dims = x.dims();
    call!(
        ClipOp,
        [x],
        |values| {
            let x = elements(&values[0]);
            let y = primitive(sum::zip_map(x, x, |x, _| sum::clipped(x, low, high)), &dims);
            ((y.clone(), low, high), y)
        },
        &dims,
        1
    )
}

#[derive(Debug)]
struct ClipOp;

impl Backward<Flex, 1> for ClipOp {
    type State = (FlexTensor, f32, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (y, low, high) = ops.state;
        if let [Some(node)] = ops.parents {
            let inside = |dy, y| if low < y && y < high { dy } else { 0.0 };
            let dx = sum::zip_map(elements(&dy), elements(&y), inside);
            grads.register::<Flex>(node.id, primitive(dx, &y.layout().shape().to_vec()));
        }
    }
}

/// The largest element of each window of `x`, whose shape `sizes` states.
pub(crate) fn max_pool(sizes: Pool, x: Tensor<4>) -> Tensor<4> {
    if !is_on_flex(&x) {
        return reference::max_pool(sizes, x);
    }
    let [images, channels, ..] = x.dims();
    call!(
        MaxPoolOp,
        [x],
        |values| {
            let (y, places) = pool::max_forward(&sizes, elements(&values[0]));
            ((places, sizes, images), y)
        },
        &[images, channels, sizes.output[0], sizes.output[1]],
        4
    )
}

#[derive(Debug)]
struct MaxPoolOp;

impl Backward<Flex, 1> for MaxPoolOp {
    type State = (Vec<u32>, Pool, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (places, sizes, images) = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = pool::max_backward(&sizes, &places, elements(&dy));
            grads.register::<Flex>(node.id, pool_input(dx, &sizes, images));
        }
    }
}

/// The average of each window of `x`, whose shape `sizes` states.
pub(crate) fn average_pool(sizes: Pool, x: Tensor<4>) -> Tensor<4> {
    if !is_on_flex(&x) {
        return reference::average_pool(sizes, x);
    }
    let [images, channels, ..] = x.dims();
    call!(
        AveragePoolOp,
        [x],
        |values| { ((sizes, images), pool::average_forward(&sizes, elements(&values[0]))) },
        &[images, channels, sizes.output[0], sizes.output[1]],
        4
    )
}

#[derive(Debug)]
struct AveragePoolOp;

impl Backward<Flex, 1> for AveragePoolOp {
    type State = (Pool, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (sizes, images) = ops.state;
        if let [Some(node)] = ops.parents {
            let dx = pool::average_backward(&sizes, elements(&dy));
            grads.register::<Flex>(node.id, pool_input(dx, &sizes, images));
        }
    }
}

fn pool_input(dx: Vec<f32>, sizes: &Pool, images: usize) -> FlexTensor {
    primitive(dx, &[images, sizes.planes / images.max(1), sizes.size[0], sizes.size[1]])
}

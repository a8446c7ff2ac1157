//! Normalisation.
//!
//! | operator | opsets |
//! |---|---|
//! | [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html) | 1 with `consumed_inputs`; 1, 6: `is_test` must say that the model is not being trained; 7: `is_test` goes; 9: `spatial` goes; 14: `training_mode`; 15: types |
//! | [InstanceNormalization](https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html) | 1; 6 drops `consumed_inputs`; 22: types |
//! | [LayerNormalization](https://onnx.ai/onnx/operators/onnx__LayerNormalization.html) | 17 |
//! | [GroupNormalization](https://onnx.ai/onnx/operators/onnx__GroupNormalization.html) | 18: scale and bias per group; 21: per channel, `stash_type` |
//! | [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html) | 1, 13 |
//! | [LpNormalization](https://onnx.ai/onnx/operators/onnx__LpNormalization.html) | 1, 22 |

use super::activation::same;
use super::couple::{self, Coupler, DATA, End, RESULT};
use super::{Call, Dim, Fact, OpRule, Reason, Role, Sign, attribute, axes, level, no_macs, sign};

const NORM: OpRule = OpRule {
    op_type: "",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &[],
    role: Role::Norm,
    sign: sign::free,
    not_parameters: &[],
    infer: same,
    macs: no_macs,
    couple: couple::kept,
    adjust: couple::nothing,
    level: level::free,
};

/// Normalises each channel by stored statistics.
pub static BATCH_NORMALIZATION: OpRule = OpRule {
    op_type: "BatchNormalization",
    attributes: &["consumed_inputs", "epsilon", "is_test", "momentum", "spatial", "training_mode"],
    not_parameters: &[3, 4],
    infer: batch_norm,
    couple: channelwise,
    level: level::normalised,
    ..NORM
};

/// Normalises groups of channels of each sample.
pub static GROUP_NORMALIZATION: OpRule = OpRule {
    op_type: "GroupNormalization",
    opsets: (18, super::NEWEST_OPSET),
    attributes: &["epsilon", "num_groups", "stash_type"],
    infer: group_norm,
    couple: group_statistics,
    ..NORM
};

/// Normalises each channel of each sample.
pub static INSTANCE_NORMALIZATION: OpRule = OpRule {
    op_type: "InstanceNormalization",
    attributes: &["consumed_inputs", "epsilon"],
    infer: instance_norm,
    couple: instance_statistics,
    level: level::self_normalised,
    ..NORM
};

/// Normalises each sample over its last axes.
pub static LAYER_NORMALIZATION: OpRule = OpRule {
    op_type: "LayerNormalization",
    opsets: (17, super::NEWEST_OPSET),
    attributes: &["axis", "epsilon", "stash_type"],
    infer: layer_norm,
    couple: layer_statistics,
    ..NORM
};

/// Divides by a norm along an axis.
pub static LP_NORMALIZATION: OpRule = OpRule {
    op_type: "LpNormalization",
    attributes: &["axis", "p"],
    sign: sign::kept,
    infer: lp_norm,
    couple: length,
    level: level::zero,
    ..NORM
};

/// Divides by the energy of neighbouring channels.
pub static LRN: OpRule = OpRule {
    op_type: "LRN",
    attributes: &["alpha", "beta", "bias", "size"],
    sign: lrn_sign,
    infer: lrn,
    couple: neighbours,
    level: level::zero,
    ..NORM
};

/// Settings of a batch normalisation that is not being trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// How much of the running statistics stays in each training step.
    pub momentum: f32,
}

impl BatchNorm {
    /// Reads a `BatchNormalization` node.
    ///
    /// # Errors
    /// Where the node normalises by the statistics of the batch, or each activation by itself.
    pub fn read(call: &Call<'_>) -> Result<Self, Reason> {
        let node = call.node;
        if attribute::flag(node, "training_mode", false)? {
            return Err("`training_mode` is 1: the node normalises by the statistics of the batch".to_owned());
        }
        if call.opset < 7 && !attribute::flag(node, "is_test", false)? {
            return Err("`is_test` is 0: the node normalises by the statistics of the batch".to_owned());
        }
        if !attribute::flag(node, "spatial", true)? {
            return Err("`spatial` is 0: the node normalises each activation by itself".to_owned());
        }
        if call.opset < 14 && node.outputs().iter().skip(1).any(Option::is_some) {
            return Err("the statistics of the batch are asked for, as in training".to_owned());
        }
        Ok(Self {
            epsilon: attribute::float(node, "epsilon", 1e-5)?,
            momentum: attribute::float(node, "momentum", 0.9)?,
        })
    }
}

/// Type and shape of the first input, whose channels are those of the one-axis inputs at `positions`.
fn per_channel(call: &Call<'_>, positions: &[usize]) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let mut shape = data.shape.clone();
    for &position in positions {
        let Some(parameter) = call.shape(position)? else { continue };
        let [size] = parameter else {
            return Err(format!("input {position} has {} axes, 1 is needed", parameter.len()));
        };
        let Some(dims) = &mut shape else { continue };
        let channels = dims.get_mut(1).ok_or("the input has no channel axis")?;
        match (channels.known(), size.known()) {
            (Some(channels), Some(size)) if channels != size => {
                return Err(format!("the input has {channels} channels, input {position} is for {size}"));
            }
            (None, Some(_)) => *channels = size.clone(),
            _ => {}
        }
    }
    Ok(vec![Fact::new(data.data_type, shape)])
}

fn batch_norm(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    BatchNorm::read(call)?;
    per_channel(call, &[1, 2, 3, 4])
}

fn instance_norm(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    attribute::float(call.node, "epsilon", 1e-5)?;
    per_channel(call, &[1, 2])
}

fn group_norm(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let groups = attribute::int(call.node, "num_groups", 0)?;
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0).ok_or("`num_groups` is not above 0")?;
    if let Some(channels) = call.shape(0)?.and_then(|shape| shape.get(1)).and_then(Dim::known)
        && !channels.is_multiple_of(groups)
    {
        return Err(format!("{channels} channels are no multiple of {groups} groups"));
    }
    if call.opset >= 21 { per_channel(call, &[1, 2]) } else { same(call) }
}

fn layer_norm(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let axis = attribute::int(call.node, "axis", -1)?;
    let statistics = match &data.shape {
        None => None,
        Some(shape) => {
            let first = axes::axis(axis, shape.len())?;
            for position in [1, 2] {
                if let Some(parameter) = call.optional(position).and_then(|fact| fact.shape.as_deref()) {
                    super::broadcast::into(shape, parameter)?;
                }
            }
            let mut dims = shape.clone();
            dims[first..].fill(Dim::Known(1));
            Some(dims)
        }
    };
    let stash = crate::proto::tensor_proto::DataType::try_from(attribute::int(call.node, "stash_type", 1)? as i32).ok();
    let statistics = Fact::new(stash, statistics);
    Ok(vec![Fact::new(data.data_type, data.shape.clone()), statistics.clone(), statistics])
}

fn lp_norm(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let axis = attribute::int(call.node, "axis", -1)?;
    if let Some(rank) = call.input(0)?.rank() {
        axes::axis(axis, rank)?;
    }
    match attribute::int(call.node, "p", 2)? {
        1 | 2 => same(call),
        other => Err(format!("`p` is {other}, ONNX defines 1 and 2")),
    }
}

fn lrn(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    match attribute::int(call.node, "size", 0)? {
        ..=0 => Err("`size` is not above 0".to_owned()),
        _ => same(call),
    }
}

fn lrn_sign(call: &Call<'_>) -> Sign {
    let positive = |name: &str, default: f32| attribute::float(call.node, name, default).is_ok_and(|x| x >= 0.0);
    if positive("alpha", 1e-4) && positive("bias", 1.0) { sign::kept(call) } else { Sign::Free }
}

/// The channels are those of all parameters and statistics.
fn channelwise(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    for position in 1..=4 {
        coupler.same(End::Input(position).axis(0), RESULT.axis(1));
    }
    Ok(())
}

fn instance_statistics(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.same_but(DATA, RESULT, &(2..coupler.rank(DATA)).collect::<Vec<_>>());
    for position in [1, 2] {
        coupler.same(End::Input(position).axis(0), RESULT.axis(1));
    }
    coupler.pin_from(2, &[DATA, RESULT], "each channel is normalised over it");
    Ok(())
}

fn group_statistics(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.same(DATA.axis(0), RESULT.axis(0));
    coupler.pin_from(1, &[DATA, RESULT], "channels are normalised in groups");
    coupler.pin_from(0, &[End::Input(1), End::Input(2)], "channels are normalised in groups");
    Ok(())
}

fn layer_statistics(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let rank = coupler.rank(DATA);
    if rank == 0 {
        return Ok(());
    }
    let first = axes::axis(attribute::int(coupler.call.node, "axis", -1)?, rank)?;
    let ends = [RESULT, End::Output(1), End::Output(2)];
    for end in ends {
        coupler.same_but(DATA, end, &(first..rank).collect::<Vec<_>>());
    }
    let reason = "each sample is normalised over it";
    coupler.pin_from(first, &[DATA, RESULT], reason);
    coupler.pin_from(0, &[End::Input(1), End::Input(2)], reason);
    Ok(())
}

/// A channel of zeros adds nothing to the length.
fn length(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.all_same(DATA, RESULT);
    let axis = axes::axis(attribute::int(coupler.call.node, "axis", -1)?, coupler.rank(DATA))?;
    coupler.sum(DATA.axis(axis));
    Ok(())
}

fn neighbours(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    coupler.same_but(DATA, RESULT, &[1]);
    for end in [DATA, RESULT] {
        coupler.pin(end.axis(1), "each channel is divided by the energy of its neighbours");
    }
    Ok(())
}

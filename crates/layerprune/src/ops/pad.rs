//! Padding. <https://onnx.ai/onnx/operators/onnx__Pad.html>
//!
//! Opset 1: the sizes are in attribute `paddings`; 2: `pads` and `value`; 11: both are inputs; 18: axes as an input;
//! 19: mode `wrap`. Negative sizes cut.

use super::couple::{Adjustment, Coupler, Cut, DATA, End, RESULT};
use super::level::{Level, Number};
use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, Sign, attribute, axes, no_macs, sign};
use crate::graph::tensor;

/// More elements at the ends of axes.
pub static PAD: OpRule = OpRule {
    op_type: "Pad",
    opsets: (1, super::NEWEST_OPSET),
    attributes: &["mode", "paddings", "pads", "value"],
    role: Role::Other,
    sign: pad_sign,
    not_parameters: &[1, 2, 3],
    infer,
    macs: no_macs,
    couple,
    adjust,
    level: padded_level,
};

/// Settings of a `Pad` node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pad {
    /// What the new elements are.
    pub mode: PadMode,
    /// Elements added before and after each axis.
    pub pads: Vec<(Element, Element)>,
}

/// What the elements are that `Pad` adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// One number.
    Constant,
    /// Those behind the edge, mirrored.
    Reflect,
    /// That at the edge.
    Edge,
    /// Those from the other end.
    Wrap,
}

impl Pad {
    /// Reads a `Pad` node for an input of `rank` axes.
    ///
    /// # Errors
    /// Where the mode is unknown or the sizes don't fit the axes.
    pub fn read(call: &Call<'_>, rank: usize) -> Result<Self, Reason> {
        let mode = mode(call)?;
        let numbers: Vec<Element> = match call.opset {
            ..11 => {
                let name = if call.opset < 2 { "paddings" } else { "pads" };
                let numbers = attribute::ints(call.node, name)?.ok_or_else(|| format!("`{name}` is absent"))?;
                numbers.iter().copied().map(Element::Known).collect()
            }
            _ => {
                attribute::absent(call, &["paddings", "pads", "value"])?;
                match super::reshape::target(call.input(1)?)? {
                    Some(elements) => elements,
                    None => return Ok(Self { mode, pads: vec![(Element::Unknown, Element::Unknown); rank] }),
                }
            }
        };
        let named: Vec<usize> = match call.optional(3) {
            None => (0..rank).collect(),
            Some(_) if call.opset < 18 => return Err(format!("axes are no input of opset {}", call.opset)),
            Some(fact) => match axes::numbers(fact) {
                Some(named) => axes::axes(&named, rank)?,
                None => return Ok(Self { mode, pads: vec![(Element::Unknown, Element::Unknown); rank] }),
            },
        };
        if numbers.len() != 2 * named.len() {
            return Err(format!("{} sizes are given for {} axes", numbers.len(), named.len()));
        }
        let mut pads = vec![(Element::Known(0), Element::Known(0)); rank];
        for (place, &axis) in named.iter().enumerate() {
            pads[axis] = (numbers[place].clone(), numbers[named.len() + place].clone());
        }
        Ok(Self { mode, pads })
    }
}

fn mode(call: &Call<'_>) -> Result<PadMode, Reason> {
    match attribute::string(call.node, "mode", "constant")? {
        "constant" => Ok(PadMode::Constant),
        "reflect" => Ok(PadMode::Reflect),
        "edge" => Ok(PadMode::Edge),
        "wrap" if call.opset >= 19 => Ok(PadMode::Wrap),
        other => Err(format!("`mode` is `{other}`, which opset {} does not define", call.opset)),
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Fact>, Reason> {
    let data = call.input(0)?;
    let Some(dims) = &data.shape else {
        mode(call)?;
        return Ok(vec![Fact::new(data.data_type, None)]);
    };
    let pads = Pad::read(call, dims.len())?.pads;
    let shape: Result<Vec<Dim>, Reason> = dims.iter().zip(&pads).map(|(dim, pads)| padded(dim, pads)).collect();
    Ok(vec![Fact::new(data.data_type, Some(shape?))])
}

fn padded(dim: &Dim, pads: &(Element, Element)) -> Result<Dim, Reason> {
    match (dim, pads) {
        (dim, (Element::Known(0), Element::Known(0))) => Ok(dim.clone()),
        (Dim::Known(size), (Element::Known(before), Element::Known(after))) => {
            let total = *size as i128 + i128::from(*before) + i128::from(*after);
            usize::try_from(total)
                .map(Dim::Known)
                .map_err(|_| format!("an axis of {size} with padding {before} and {after} has size {total}"))
        }
        _ => Ok(Dim::Unknown),
    }
}

fn pad_sign(call: &Call<'_>) -> Sign {
    let number_is_good = match (mode(call), call.optional(2)) {
        (Ok(PadMode::Constant), _) if call.opset < 11 => {
            attribute::float(call.node, "value", 0.0).is_ok_and(|value| value >= 0.0)
        }
        (Ok(PadMode::Constant), Some(value)) => sign::is_non_negative(value),
        (mode, _) => mode.is_ok(),
    };
    if number_is_good { sign::kept(call) } else { Sign::Free }
}

/// New indices belong to nothing else.
fn couple(coupler: &mut Coupler<'_, '_>) -> Result<(), Reason> {
    let rank = coupler.rank(DATA);
    let Pad { mode, pads } = Pad::read(coupler.call, rank)?;
    for position in 1..4 {
        coupler.own_all(End::Input(position));
    }
    for (axis, pads) in pads.iter().enumerate() {
        let (from, to) = (DATA.axis(axis), RESULT.axis(axis));
        match (pads, coupler.size(from), mode) {
            ((Element::Known(0), Element::Known(0)), ..) => coupler.same(from, to),
            ((Element::Known(before @ 0..), Element::Known(0..)), Some(size), PadMode::Constant) => {
                coupler.own(to);
                coupler.run(from, 0, to, *before as usize, size);
            }
            _ => {
                let reason = "it is padded by its own elements, cropped, or by sizes that are not known";
                coupler.pin(from, reason);
                coupler.pin(to, reason);
            }
        }
    }
    Ok(())
}

/// Padding that loses indices gets smaller.
fn adjust(call: &Call<'_>, cut: &Cut) -> Result<Vec<Adjustment>, Reason> {
    let dims = call.shape(0)?.ok_or("the shape of the input is not known")?;
    let pads = Pad::read(call, dims.len())?.pads;
    let named = match call.optional(3) {
        Some(fact) => axes::axes(&axes::numbers(fact).ok_or("the axes are computed")?, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    let mut changed = Vec::new();
    for (place, &axis) in named.iter().enumerate() {
        let to = RESULT.axis(axis);
        let (Some(_), (Element::Known(before), Element::Known(behind)), Some(size)) =
            (cut.kept(to), &pads[axis], dims[axis].known())
        else {
            continue;
        };
        let (before, behind) = (*before as usize, *behind as usize);
        changed.push((place, cut.count(to, 0..before) as i64));
        changed.push((named.len() + place, cut.count(to, before + size..before + size + behind) as i64));
    }
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    if call.opset >= 11 {
        return Ok(vec![Adjustment::Elements { input: 1, changed }]);
    }
    let name = if call.opset < 2 { "paddings" } else { "pads" };
    let mut numbers = attribute::ints(call.node, name)?.ok_or_else(|| format!("`{name}` is absent"))?.to_vec();
    for (place, number) in changed {
        numbers[place] = number;
    }
    Ok(vec![Adjustment::Ints { name, numbers }])
}

/// What is padded with the number that it holds stays as it is; new channels hold that number alone.
fn padded_level(call: &Call<'_>, levels: &[Level]) -> Number {
    let number = match (mode(call).ok()?, call.optional(2)) {
        (PadMode::Constant, _) if call.opset < 11 => attribute::float(call.node, "value", 0.0).ok()?,
        (PadMode::Constant, None) => 0.0,
        (PadMode::Constant, Some(value)) => *tensor::to_f32(value.stored.as_ref()?).ok()?.first()?,
        _ => return None,
    };
    let number = f64::from(number);
    match levels.first()? {
        Level::Own(own) => own.filter(|&own| own == number),
        Level::Whole(_) => Some(number),
    }
}

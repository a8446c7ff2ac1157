//! Padding. <https://onnx.ai/onnx/operators/onnx__Pad.html>
//!
//! Opset 1: the sizes are in attribute `paddings`; 2: `pads` and `value`; 11: both are inputs; 18: axes as an input;
//! 19: mode `wrap`. Negative sizes cut.

use super::{Call, Dim, Element, Fact, OpRule, Reason, Role, Sign, attribute, axes, no_macs, sign};

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

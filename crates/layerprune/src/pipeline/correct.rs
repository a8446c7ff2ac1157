//! Biases corrected so that each channel keeps its mean, from images alone.

use serde::{Deserialize, Serialize};

use super::observe::{Observe, Part, RecoveryError, up_to};
use crate::batch::Maps;
use crate::fit::FitError;
use crate::onnx::Model;
use crate::surgery::Biased;

/// How far the means of a node's channels were off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// The node.
    pub node: String,
    /// Root mean square over its channels of what was added to the biases.
    pub shift: f64,
}

/// Sums of each channel over images and pixels, in double precision.
struct Means {
    sums: Vec<f64>,
    count: u64,
}

/// Corrects the biases of `nodes` of `cut` in forward order, `b ← b + E[y] − E[y′]`, with y what the node gives in `model`,
/// y′ what it gives in `cut` with all biases before it corrected, and the mean over images and pixels of each channel
/// (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, appendix D, there for
/// quantisation). No label is needed. Takes one pass for each node, of both models up to there.
///
/// # Errors
/// See [`RecoveryError`]; `cut` holds the corrections made so far then.
pub fn correct_biases(
    model: &Model,
    cut: &mut Model,
    nodes: &[Biased],
    port: &mut dyn Observe,
    step: &mut dyn FnMut(&Correction),
) -> Result<Vec<Correction>, RecoveryError> {
    let mut corrections = Vec::new();
    for node in nodes {
        let (now, target) = (up_to(cut, node.output), up_to(model, node.output));
        let (mut found, mut wanted) = (Means::new(node.kept.len()), Means::new(node.kept.len()));
        let own: Vec<usize> = (0..node.kept.len()).collect();
        port.pairs(&now, &target, &mut |part, now, target| {
            if part == Part::HeldOut {
                return Ok(());
            }
            found.add(now, &own)?;
            wanted.add(target, &node.kept)
        })
        .map_err(|source| RecoveryError::Observe { what: what(node), source })?;
        if found.count == 0 {
            return Err(RecoveryError::Fit { what: what(node), source: FitError::Empty });
        }
        let shifts: Vec<f64> = wanted.means().zip(found.means()).map(|(wanted, found)| wanted - found).collect();
        let bias: Vec<f64> = node.bias.iter().zip(&shifts).map(|(bias, shift)| bias + shift).collect();
        node.set_bias(cut, &bias)?;
        let square = shifts.iter().map(|shift| shift * shift).sum::<f64>() / shifts.len() as f64;
        corrections.push(Correction { node: node.name.clone(), shift: square.sqrt() });
        step(&corrections[corrections.len() - 1]);
    }
    Ok(corrections)
}

fn what(node: &Biased) -> String {
    format!("the bias of `{}`", node.name)
}

impl Means {
    fn new(channels: usize) -> Self {
        Self { sums: vec![0.0; channels], count: 0 }
    }

    fn add(&mut self, maps: Maps<'_>, kept: &[usize]) -> Result<(), FitError> {
        let misfit = || FitError::OtherNode { found: maps.shape.to_vec() };
        let &[images, channels, ref spatial @ ..] = maps.shape else { return Err(misfit()) };
        let pixels: usize = spatial.iter().product();
        if kept.iter().any(|&channel| channel >= channels) || maps.data.len() != images * channels * pixels {
            return Err(misfit());
        }
        for image in 0..images {
            for (sum, channel) in self.sums.iter_mut().zip(kept) {
                let plane = &maps.data[(image * channels + channel) * pixels..][..pixels];
                *sum += plane.iter().copied().map(f64::from).sum::<f64>();
            }
        }
        self.count += (images * pixels) as u64;
        if self.sums.iter().all(|sum| sum.is_finite()) { Ok(()) } else { Err(FitError::NotFinite) }
    }

    fn means(&self) -> impl Iterator<Item = f64> {
        self.sums.iter().map(|sum| sum / self.count as f64)
    }
}

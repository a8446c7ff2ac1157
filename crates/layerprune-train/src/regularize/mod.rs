//! Training towards sparsity: one file for each regulariser.
//!
//! A regulariser acts on named tensors at two places of a step: on their gradients before the optimiser moves the weights,
//! and on the weights behind that. The gradients are those of the loss, clipped already where that is asked for: what a
//! regulariser adds is never scaled down, as weight decay is not.

mod ecc;
mod masks;
mod select;
mod slimming;
mod sss;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use ecc::{ChannelLimit, Ecc};
pub use masks::Masks;
pub use slimming::Slimming;
pub use sss::Sss;

use crate::checkpoint::{Kept, Section};
use crate::error::TrainError;
use crate::session::Session;
use crate::weights::Weights;

/// A regulariser that makes weights, filters or blocks go to zero while the model trains.
///
/// Scales of blocks and filters are put into a model by [`insert_scales`](layerprune::surgery::insert_scales), and what they
/// say is read off by [`zero_scales`](layerprune::surgery::zero_scales). Patterns in `on` are globs over names of
/// initializers, whose `*` also stands for dots and slashes.
///
/// # Example
/// Blocks are found that the model can do without, and go:
/// ```no_run
/// use std::collections::BTreeSet;
/// use std::ops::ControlFlow;
/// use layerprune::analysis::{Units, Way};
/// use layerprune::onnx::Model;
/// use layerprune::plan::{self, Constraints};
/// use layerprune::surgery::{self, ScaleOf};
/// use layerprune_train::{Batches, Settings, Sparsity, Sss, train};
///
/// # fn run(data: &dyn Batches) -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::read("model.onnx")?;
/// let units = Units::find(&model, &Default::default())?;
/// let sites = surgery::scale_sites(&model, &units, ScaleOf::Block);
/// let scaled = surgery::insert_scales(&model, &units, &sites, 1.0)?;
/// let settings = Settings { sparsity: vec![Sparsity::Sss(Sss::default())], ..Settings::default() };
/// let sparse = train(&scaled, data, &settings, None, &mut |_| ControlFlow::Continue(()))?.model;
///
/// let zeros = surgery::zero_scales(&sparse.graph);
/// let (folded, _) = surgery::fold_scales(&sparse, &Default::default())?;
/// let units = Units::find(&folded, &Default::default())?;
/// let ways = BTreeSet::from([Way::Bypass, Way::DropBranch]);
/// let plan = plan::named(&units, &zeros.blocks, &Constraints { ways, ..Constraints::default() })?;
/// surgery::apply(&folded, &units, &plan)?.write("pruned.onnx")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Sparsity {
    /// An L1 penalty on the scales of batch norms.
    Slimming(Slimming),
    /// Scales of blocks that reach exactly zero.
    Sss(Sss),
    /// Trainable binary masks of filters.
    Masks(Masks),
    /// A limit on the input channels of each weight, or a budget for all channels.
    Ecc(Ecc),
}

impl Sparsity {
    /// Its name in recipes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Slimming(_) => "slimming",
            Self::Sss(_) => "sss",
            Self::Masks(_) => "masks",
            Self::Ecc(_) => "ecc",
        }
    }

    /// Patterns of the tensors that it acts on.
    #[must_use]
    pub fn on(&self) -> &[String] {
        match self {
            Self::Slimming(Slimming { on, .. })
            | Self::Sss(Sss { on, .. })
            | Self::Masks(Masks { on, .. })
            | Self::Ecc(Ecc { on, .. }) => on,
        }
    }

    /// Whether it makes zeros that are exact, which an average of weights would lose.
    pub(crate) fn has_exact_zeros(&self) -> bool {
        !matches!(self, Self::Slimming(_))
    }

    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match self {
            Self::Slimming(slimming) => slimming.check(),
            Self::Sss(sss) => sss.check(),
            Self::Masks(masks) => masks.check(),
            Self::Ecc(ecc) => ecc.check(),
        }
    }
}

/// A tensor that a regulariser acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    dims: Vec<usize>,
    /// Its place among the weights, and among the trained ones.
    place: usize,
    trained: usize,
}

/// How a regulariser acts in a step.
trait Regularizer {
    /// Acts on the gradients of the trained weights, in their order, before the optimiser does. What it takes out is not moved.
    fn before(&mut self, _weights: &mut Weights, _gradients: &mut [Option<Vec<f32>>], _rate: f32) {}

    /// Acts on the weights that the optimiser has moved.
    fn after(&mut self, _weights: &mut Weights, _rate: f32) {}

    /// Tensors that weight decay must not pull.
    fn spares_from_decay(&self) -> &[Target] {
        &[]
    }

    /// What it keeps from step to step, for a checkpoint.
    fn section(&self) -> Option<Section<'_>> {
        None
    }

    /// The numbers behind [`Regularizer::section`], in its order.
    fn numbers_mut(&mut self) -> Vec<&mut [f32]> {
        Vec::new()
    }
}

/// The regularisers of a run.
pub(crate) struct Regularizers {
    all: Vec<Box<dyn Regularizer>>,
    spared: BTreeSet<usize>,
}

impl Regularizers {
    /// Finds what each acts on in `session`, in a run of so many `steps`. Factors that are named are trained from now on.
    pub(crate) fn new(settings: &[Sparsity], session: &mut Session, steps: usize) -> Result<Self, TrainError> {
        select::train_named_factors(settings, session)?;
        let mut taken = BTreeSet::new();
        let mut all: Vec<Box<dyn Regularizer>> = Vec::new();
        for sparsity in settings {
            let targets = select::targets(sparsity, session)?;
            if let Some(twice) = targets.iter().find(|target| !taken.insert(target.place)) {
                return Err(TrainError::RegularizedTwice { tensor: twice.name.clone() });
            }
            all.push(match sparsity {
                Sparsity::Slimming(settings) => Box::new(slimming::State::new(targets, settings)),
                Sparsity::Sss(settings) => Box::new(sss::State::new(targets, settings)),
                Sparsity::Masks(settings) => Box::new(masks::State::new(targets, &session.weights, settings)?),
                Sparsity::Ecc(ecc @ Ecc { budget: Some(budget), .. }) => {
                    Box::new(ecc::Budgeted::new(ecc, budget, session, steps)?)
                }
                Sparsity::Ecc(settings) => Box::new(ecc::State::new(targets, settings)),
            });
        }
        let spared = all.iter().flat_map(|one| one.spares_from_decay()).map(|target| target.place).collect();
        Ok(Self { all, spared })
    }

    /// Whether weight decay must not pull the weight at `place`.
    pub(crate) fn spares(&self, place: usize) -> bool {
        self.spared.contains(&place)
    }

    pub(crate) fn before(&mut self, weights: &mut Weights, gradients: &mut [Option<Vec<f32>>], rate: f64) {
        self.all.iter_mut().for_each(|one| one.before(weights, gradients, rate as f32));
    }

    pub(crate) fn after(&mut self, weights: &mut Weights, rate: f64) {
        self.all.iter_mut().for_each(|one| one.after(weights, rate as f32));
    }

    pub(crate) fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        self.all.iter().filter_map(|one| one.section())
    }

    pub(crate) fn numbers_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.all.iter_mut().flat_map(|one| one.numbers_mut())
    }
}

/// A section with one tensor for each target.
fn section<'a>(name: &'static str, targets: &'a [Target], data: &'a [Vec<f32>]) -> Section<'a> {
    let tensors = targets.iter().zip(data);
    let tensors = tensors.map(|(target, data)| Kept { name: &target.name, dims: &target.dims, data });
    Section { name, tensors: tensors.collect() }
}

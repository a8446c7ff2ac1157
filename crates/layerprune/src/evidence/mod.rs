//! What criteria read of a model's behaviour on data: plain sums, filled batch by batch by whoever runs the model.
//!
//! | type | of | memory in bytes |
//! |---|---|---|
//! | [`FeaturePass`] | values inside the model, one pass | that of its parts |
//! | [`ClassSums`], [`Imprinted`] | class means | 8 · taps · classes · embedding length |
//! | [`Probes`] | trained linear classifiers | 12 · taps · classes · embedding length |
//! | [`GradientSums`] | gradients, one pass | 80 · filters · statistics |
//! | [`Judged`] | one model's answers | 5 · images held out, for each model kept |
//!
//! But for the last one, memory does not grow with the number of samples.

mod features;
mod folds;
mod gradients;
mod imprint;
mod maps;
mod pooling;
mod probe;
mod removal;
mod similarity;
mod tally;

use std::collections::BTreeMap;

use crate::graph::NodeId;

pub use features::{Classifiers, FeaturePass};
pub use folds::{FOLDS, Folds, interval};
pub use gradients::{GradientSums, SiteGradients};
pub use imprint::{ClassSums, Imprinted};
pub use maps::RANK_IMAGES;
pub use probe::Probes;
pub use removal::{Judged, Removals, Removed};
pub use tally::{Classified, TapCounts};

/// Length that the embedding of a tap aims at, unless asked for otherwise.
pub const DEFAULT_EMBEDDING: usize = 2048;

/// One number for each filter, taken of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// `Σ_{i∈f} (w_i · ∂L/∂w_i)²`.
    TaylorWeight,
    /// `(∂L/∂z_f)²`, z_f = 1 a factor on the filter's map behind the batch norm.
    TaylorGate,
    /// `(γ_f · ∂L/∂γ_f)²`.
    TaylorBatchNorm,
    /// The mean of `|y · ∂L/∂y|` over the filter's map, divided by the length of the layer's vector of these.
    TaylorOutput,
    /// The rank of the filter's map behind its activation.
    Rank,
    /// The share of that map which is not zero.
    NonZero,
    /// The mean of that map.
    Mean,
}

impl Statistic {
    /// Whether it is taken of gradients, not of what the model computes.
    #[must_use]
    pub fn needs_gradients(self) -> bool {
        matches!(self, Self::TaylorWeight | Self::TaylorGate | Self::TaylorBatchNorm | Self::TaylorOutput)
    }
}

/// Something that has to be gathered before a criterion can score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// [`Evidence::imprint`].
    Imprint,
    /// [`Evidence::probes`].
    Probes,
    /// [`Evidence::filters`].
    Filters(Statistic),
    /// [`Evidence::cosines`].
    Cosines,
    /// [`Evidence::kernels`].
    Kernels,
    /// [`Evidence::removals`].
    Removals,
}

impl Need {
    /// Whether it takes labelled images.
    #[must_use]
    pub fn labels(self) -> bool {
        match self {
            Self::Imprint | Self::Probes | Self::Removals => true,
            Self::Filters(statistic) => statistic.needs_gradients(),
            Self::Cosines | Self::Kernels => false,
        }
    }
}

/// All that criteria may ask for.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What imprinted classifiers got right, for each tapped unit in forward order.
    pub imprint: Option<Classified>,
    /// The same of trained ones.
    pub probes: Option<Classified>,
    /// Statistics of filters, by node.
    pub filters: BTreeMap<Statistic, BTreeMap<NodeId, Folds>>,
    /// One number for each unit, by name: the cosine between what it reads and what it gives.
    pub cosines: Option<BTreeMap<String, Folds>>,
    /// Three numbers for each unit, by name: the independence criterion of what it reads and what it gives, of what it
    /// reads with itself, and of what it gives with itself.
    pub kernels: Option<BTreeMap<String, Folds>>,
    /// What the model loses without each unit.
    pub removals: Option<Removals>,
    /// What random scores are drawn from.
    pub seed: u64,
}

/// A fault of the data that evidence is gathered on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A tap does not give one map for each image.
    #[error("tap {tap} gives {found} maps for {images} images")]
    NotBatched {
        /// The tap.
        tap: usize,
        /// Size of its first axis.
        found: usize,
        /// Images of the batch.
        images: usize,
    },
    /// A class without a sample has no mean.
    #[error("class {class} has no image among those that were looked at, so nothing can be imprinted for it")]
    MissingClass {
        /// The class index.
        class: usize,
    },
    /// A label beyond the number of classes.
    #[error("label {label} is out of range: there are {classes} classes")]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A tap gave NaN or infinity.
    #[error("tap {tap} gives numbers that are not finite")]
    NotFinite {
        /// The tap.
        tap: usize,
    },
    /// A tap changed its shape between batches.
    #[error("tap {tap} gave embeddings of {found} numbers after {expected}")]
    ShapeChanged {
        /// The tap.
        tap: usize,
        /// Numbers expected for each image.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
}

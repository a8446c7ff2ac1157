/// Why a criterion cannot be computed on a model.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum CriterionError {
    /// No criterion of that name.
    #[error("there is no criterion `{name}`; there are {known}, and sums of their ranks such as `imprint+weight-norm`")]
    Unknown {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// No unit has the batch norm that the criterion reads.
    #[error(
        "criterion `{criterion}` needs a batch norm behind the weights of a layer, and no layer has one: they were probably folded into the convolutions when the model was exported"
    )]
    NoBatchNorm {
        /// The criterion.
        criterion: &'static str,
    },
    /// No unit has a score.
    #[error("criterion `{criterion}` gives no layer a score: of `{unit}`, {reason}")]
    NoScore {
        /// The criterion.
        criterion: &'static str,
        /// The first unit.
        unit: String,
        /// Why it has none.
        reason: String,
    },
    /// A score that is no number.
    #[error(
        "criterion `{criterion}` gives `{unit}` a score that is not finite: its weights, or what they compute, hold NaN or infinity"
    )]
    NotFinite {
        /// The criterion.
        criterion: &'static str,
        /// The unit.
        unit: String,
    },
    /// The criterion ranks whole layers.
    #[error("criterion `{criterion}` scores layers, not filters; {known} score filters")]
    NoFilters {
        /// The criterion.
        criterion: String,
        /// Criteria that do.
        known: String,
    },
    /// Layers whose filters have no score.
    #[error(
        "criterion `{criterion}` gives no score to the filters of {} layers: {}", layers.len(), layers.join(", ")
    )]
    Unscored {
        /// The criterion.
        criterion: &'static str,
        /// The layers.
        layers: Vec<String>,
    },
    /// No data was shown to the model.
    #[error("criterion `{criterion}` needs {}images", if *labels { "labelled " } else { "" })]
    NoEvidence {
        /// The criterion.
        criterion: &'static str,
        /// Whether the images need labels.
        labels: bool,
    },
    /// The evidence was gathered at other taps.
    #[error("criterion `{criterion}` needs evidence of {expected} taps, {found} were given")]
    OtherTaps {
        /// The criterion.
        criterion: &'static str,
        /// Taps of the model.
        expected: usize,
        /// Taps in the evidence.
        found: usize,
    },
}

use super::imprint::gains;
use super::{Criterion, LayerRule};
use crate::evidence::Need;

/// Accuracy gain of a linear classifier trained behind each layer.
///
/// # Measures
/// As `imprint`, with a classifier that is trained in place of one that is computed: softmax regression by Adam (step 1e-3)
/// on the same pooled embedding, which is brought to a mean square of one, in batches of the training part gone through
/// `--probe-epochs` times.
/// # Needs
/// Labelled images of every class: several passes over a training part, and a held-out part for the accuracies.
/// # Reference
/// Chen and Zhao, "Shallowing Deep Networks: Layer-Wise Pruning Based on Feature Representations", TPAMI 41(12), 2019. The
/// kind of its classifier and its training are not public in detail; those stated here are ours.
pub static LINEAR_PROBE: Criterion = Criterion {
    id: "linear-probe",
    measures: "accuracy of a trained probe gained over the layer before, in percentage points",
    filters: None,
    layers: Some(LayerRule {
        need: Some(Need::Probes),
        score: |layers| gains("linear-probe", layers, layers.evidence.probes.as_ref()),
    }),
    batch_norm: false,
};

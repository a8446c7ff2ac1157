use super::{Method, Removes, Then, reconstruction};
use crate::pipeline::Chooser;

/// Layer by layer, those channels stay that a LASSO over their contributions to the next layer leaves.
pub(super) static CHANNEL_PRUNING: Method = Method {
    name: "channel-pruning",
    removes: Removes::Filters,
    about: "layer by layer, channels that a LASSO over their contributions to the next layer takes out; that layer is fitted by least \
            squares to what it gave",
    source: "He, Zhang and Sun, \"Channel Pruning for Accelerating Very Deep Neural Networks\", ICCV 2017",
    needs: "images without labels",
    differs: "the same share of each layer's channels goes instead of shares chosen by hand; a residual trunk, and what enters a block, \
              stays whole; the fit has an intercept and a small penalty; 32 places of each image instead of 10",
    reads: &[],
    then: Then::FineTuning,
    run: |task| reconstruction::run(task, CHANNEL_PRUNING.name, Chooser::Lasso),
};

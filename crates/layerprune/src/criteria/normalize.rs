use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::graph::NodeId;

/// What is done to the scores of filters before their mean becomes that of a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// Nothing, as published.
    #[default]
    None,
    /// Each score is divided by the number of weights of its filter, so that filters with more inputs or larger kernels
    /// do not look more important for their size.
    PerParam,
    /// Each score is divided by the greatest of its layer.
    Max,
    /// Each score becomes its rank among all filters of the model, from 0 to 1; equal ones share the mean of their ranks.
    Rank,
}

impl Normalize {
    /// Whether scores are as published.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Changes the scores of the filters of each node; `size` gives the number of weights of each of its filters.
    pub(super) fn apply(self, scores: &mut BTreeMap<NodeId, Vec<f64>>, size: impl Fn(NodeId) -> usize) {
        match self {
            Self::None => {}
            Self::PerParam => {
                for (&node, scores) in scores {
                    let size = size(node).max(1) as f64;
                    scores.iter_mut().for_each(|score| *score /= size);
                }
            }
            Self::Max => {
                for scores in scores.values_mut() {
                    let greatest = scores.iter().map(|score| score.abs()).fold(0.0, f64::max);
                    if greatest > 0.0 {
                        scores.iter_mut().for_each(|score| *score /= greatest);
                    }
                }
            }
            Self::Rank => {
                let mut all: Vec<&mut f64> = scores.values_mut().flatten().collect();
                all.sort_by(|a, b| a.total_cmp(b));
                let last = all.len().saturating_sub(1).max(1) as f64;
                let mut start = 0;
                for equal in all.chunk_by_mut(|a, b| **a == **b) {
                    let rank = start as f64 + (equal.len() - 1) as f64 / 2.0;
                    start += equal.len();
                    equal.iter_mut().for_each(|score| **score = rank / last);
                }
            }
        }
    }
}

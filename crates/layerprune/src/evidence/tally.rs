//! What classifiers at several taps get right.

use serde::{Deserialize, Serialize};

/// How often the classifier at each tap was right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classified {
    /// Images that were classified.
    pub images: u64,
    /// One entry for each tap, in forward order.
    pub taps: Vec<TapCounts>,
}

/// Counts of one tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TapCounts {
    /// Images classified right.
    pub correct: u64,
    /// Images classified right here and wrong at the tap before; all that are right at the first tap.
    pub gained: u64,
    /// Images classified wrong here and right at the tap before.
    pub lost: u64,
}

/// Counts image by image what the classifier of each tap gets right, against that of the tap before.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    images: u64,
    counts: Vec<TapCounts>,
    right_before: Vec<bool>,
}

impl Tally {
    pub(super) fn new(taps: usize) -> Self {
        Self { images: 0, counts: vec![TapCounts::default(); taps], right_before: Vec::new() }
    }

    /// Whether each image of a batch was classified right at `tap`. The taps of a batch come in forward order.
    pub(super) fn add(&mut self, tap: usize, right: &[bool]) {
        if tap == 0 {
            self.images += right.len() as u64;
            self.right_before = vec![false; right.len()];
        }
        let counts = &mut self.counts[tap];
        for (&right, before) in right.iter().zip(&mut self.right_before) {
            counts.correct += u64::from(right);
            counts.gained += u64::from(right && !*before);
            counts.lost += u64::from(!right && *before);
            *before = right;
        }
    }

    pub(super) fn counts(self) -> Classified {
        Classified { images: self.images, taps: self.counts }
    }
}

/// How far a pass over the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Images done.
    pub images: u64,
}

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyProgress {
    /// Calls are made and not timed.
    WarmUp {
        /// Calls made of each model.
        calls: usize,
    },
    /// Samples are taken.
    Sampling {
        /// Rounds done; each has one sample of each model.
        done: usize,
        /// Rounds asked for; the time limits may make it fewer or more.
        asked: usize,
    },
}

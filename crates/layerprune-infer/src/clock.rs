//! What tells the time, so that measuring can be tried without waiting.

use std::time::{Duration, Instant};

/// A clock.
pub trait Clock {
    /// Time since a moment of the clock's own choice; never goes back.
    fn now(&self) -> Duration;

    /// The smallest step between two readings; zero for a clock that is exact.
    fn resolution(&self) -> Duration;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    /// Starts at zero.
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The smallest of a hundred steps.
    fn resolution(&self) -> Duration {
        let step = |_| {
            let start = Instant::now();
            loop {
                let elapsed = start.elapsed();
                if !elapsed.is_zero() {
                    return elapsed;
                }
            }
        };
        (0..100).map(step).min().unwrap_or_default()
    }
}

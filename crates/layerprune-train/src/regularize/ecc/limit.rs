//! The proximal step on the channels of one group.

/// A limit on the input channels of one weight, with its dual variable.
///
/// With `φ(W)` input channels that are not zero, the augmented Lagrangian of `φ(W) ≤ s` adds
/// `ρ/2 · max(φ(W) - s, 0)² + y · φ(W)` to the loss, whose proximal step [`ChannelLimit::step`] is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelLimit {
    /// How many channels are allowed, `s`; may be a fraction, at least 1.
    pub limit: f64,
    /// The dual variable `y`, not negative.
    pub dual: f64,
    /// Weight `ρ` of the penalty.
    pub rho: f64,
}

impl ChannelLimit {
    /// Sets the weights of input channels to zero that the limit does not leave, and gives the number of those left.
    ///
    /// `weight` is of shape `dims`: filters × channels × kernel. With `a = ‖W[:, c]‖²` and the rank of a channel by it, the
    /// greatest being 1, channel `c` goes where
    ///
    /// ```text
    /// a < ρ · rate · (max(rank - s, 0)² - max(rank - s - 1, 0)²) + 2 · rate · y
    /// ```
    ///
    /// where `2 · rate · y` is at most the `a` of the channel of rank `⌊s⌋`, which the dual alone thus never removes. Of
    /// channels with equal `a` the first has the lower rank.
    ///
    /// # Panics
    /// Where `weight` is not of shape `dims`, or `dims` has no second axis.
    pub fn step(&self, weight: &mut [f32], dims: &[usize], rate: f64) -> usize {
        let (channels, inner) = (dims[1], dims[2..].iter().product::<usize>());
        assert_eq!(weight.len(), dims.iter().product::<usize>(), "the weight fills its shape");
        let mut squares = vec![0.0_f64; channels];
        for (place, &number) in weight.iter().enumerate() {
            squares[place / inner % channels] += f64::from(number) * f64::from(number);
        }
        let zero = self.going(&squares, rate);
        for (place, number) in weight.iter_mut().enumerate() {
            if zero[place / inner % channels] {
                *number = 0.0;
            }
        }
        (0..channels).filter(|&channel| !zero[channel] && squares[channel] > 0.0).count()
    }

    /// Which channels a step sets to zero, where `squares` are the `a` of each.
    pub(super) fn going(&self, squares: &[f64], rate: f64) -> Vec<bool> {
        let order = by_rank(squares);
        let dual = (2.0 * rate * self.dual).min(self.last_allowed(squares));
        let goes = |place: usize| {
            let above = place as f64 + 1.0 - self.limit;
            let penalty = above.max(0.0).powi(2) - (above - 1.0).max(0.0).powi(2);
            squares[order[place]] < self.rho * rate * penalty + dual
        };
        let mut zero = vec![false; squares.len()];
        (0..order.len()).filter(|&place| goes(place)).for_each(|place| zero[order[place]] = true);
        zero
    }

    /// The `a` of the channel of rank `⌊s⌋`.
    fn last_allowed(&self, squares: &[f64]) -> f64 {
        by_rank(squares).get((self.limit.floor() as usize).max(1) - 1).map_or(0.0, |&channel| squares[channel])
    }

    /// Holds the dual to what the last allowed channel is worth: `2 · rate · y` is at most its `a`.
    pub(super) fn bound(&mut self, squares: &[f64], rate: f64) {
        self.dual = self.dual.min(self.last_allowed(squares) / (2.0 * rate));
    }

    /// Moves the dual by what is left above the limit: `y = max(y + ρ · (φ - s), 0)`.
    pub fn raise(&mut self, left: usize) {
        self.dual = (self.dual + self.rho * (left as f64 - self.limit)).max(0.0);
    }
}

/// Channels by falling `a`, equal ones in their order.
fn by_rank(squares: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..squares.len()).collect();
    order.sort_by(|&a, &b| squares[b].total_cmp(&squares[a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One filter of four channels whose squares are 4, 1, 0.25 and 9.
    const WEIGHT: [f32; 4] = [2.0, -1.0, 0.5, 3.0];

    fn step(limit: f64, dual: f64, rho: f64, rate: f64) -> ([f32; 4], usize) {
        let mut weight = WEIGHT;
        let left = ChannelLimit { limit, dual, rho }.step(&mut weight, &[1, 4, 1, 1], rate);
        (weight, left)
    }

    #[test]
    fn channels_go_as_in_hand_arithmetic() {
        // Ranks 2, 3, 4, 1. Above a limit of 2, ranks 3 and 4 pay 1 and 3 times ρ · rate.
        assert_eq!(step(2.0, 0.0, 1.0, 0.05), (WEIGHT, 4), "0.15 is less than 0.25");
        assert_eq!(step(2.0, 0.0, 1.0, 0.1), ([2.0, -1.0, 0.0, 3.0], 3), "0.3 is more than 0.25, 0.1 less than 1");
        assert_eq!(step(2.0, 0.0, 11.0, 0.1), ([2.0, 0.0, 0.0, 3.0], 2), "1.1 is more than 1");
        assert_eq!(step(2.0, 0.0, 1e6, 0.1), ([2.0, 0.0, 0.0, 3.0], 2), "none goes below the limit");
        // At 1.5: ranks 2, 3, 4 pay 0.25, 2.25 - 0.25 and 6.25 - 2.25.
        assert_eq!(step(1.5, 0.0, 1.0, 0.4), ([2.0, -1.0, 0.0, 3.0], 3), "0.8 is less than 1, 1.6 more than 0.25");
        // The dual alone takes what is below 2 · rate · y = 2, and never the last that is allowed.
        assert_eq!(step(2.0, 10.0, 0.0, 0.1), ([2.0, 0.0, 0.0, 3.0], 2));
        assert_eq!(step(2.0, 1e9, 0.0, 0.1), ([2.0, 0.0, 0.0, 3.0], 2));
    }

    #[test]
    fn a_step_is_the_best_of_all_choices() {
        let (rho, rate, limit, dual) = (0.7, 0.3, 1.5, 0.4);
        let squares: Vec<f64> = WEIGHT.iter().map(|&x| f64::from(x * x)).collect();
        let cost = |kept: usize| {
            let count = kept.count_ones();
            let gone: f64 = (0..4).filter(|c| kept >> c & 1 == 0).map(|c| squares[c]).sum();
            gone / (2.0 * rate) + rho / 2.0 * (f64::from(count) - limit).max(0.0).powi(2) + dual * f64::from(count)
        };
        let best = (0..16_usize).min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap();
        let (weight, left) = step(limit, dual, rho, rate);
        let kept: usize = (0..4).filter(|&c| weight[c] != 0.0).map(|c| 1 << c).sum();
        assert_eq!((kept, left), (best, best.count_ones() as usize));
        assert!((1..4).contains(&left), "the case decides nothing");
    }

    #[test]
    fn groups_are_channels_of_all_filters_and_the_dual_stays_above_zero() {
        let mut weight = [1.0, 1.0, 0.1, 0.1, 2.0, 2.0, 0.1, 0.1];
        let mut limit = ChannelLimit { limit: 1.0, dual: 0.0, rho: 1.0 };
        assert_eq!(limit.step(&mut weight, &[2, 2, 1, 2], 0.1), 1);
        assert_eq!(weight, [1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]);
        limit.raise(3);
        assert_eq!(limit.dual, 2.0);
        limit.raise(1);
        assert_eq!(limit.dual, 2.0);
        limit.limit = 8.0;
        limit.raise(1);
        assert_eq!(limit.dual, 0.0);
    }
}

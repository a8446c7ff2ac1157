//! Statistics of small samples: medians, quantiles and intervals. Pure; randomness comes from a seed.

/// 97.5 % quantile of the standard normal distribution: two-sided 95 % intervals.
pub(crate) const Z_95: f64 = 1.959_963_984_540_054;

/// The mean; `None` of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
///
/// ```
/// assert_eq!(layerprune::stats::median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
/// ```
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The `q`-quantile, `q` from 0 to 1, interpolated linearly between order statistics (type 7 of Hyndman and Fan,
/// numpy's default); `None` of nothing.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut values = values.to_vec();
    quantile_of(&mut values, q)
}

/// The median absolute deviation from the median, not scaled to a standard deviation; `None` of nothing.
#[must_use]
pub fn mad(values: &[f64]) -> Option<f64> {
    let center = median(values)?;
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    quantile_of(&mut deviations, 0.5)
}

/// Wilson's 95 % score interval of a proportion, as fractions from 0 to 1; `[0, 1]` of nothing.
///
/// E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.
#[must_use]
pub fn wilson(successes: u64, total: u64) -> [f64; 2] {
    if total == 0 {
        return [0.0, 1.0];
    }
    let n = total as f64;
    let p = successes as f64 / n;
    let z2 = Z_95 * Z_95;
    let center = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At the ends the formula gives exactly 0 and 1, but for rounding.
    let low = if successes == 0 { 0.0 } else { (center - half).max(0.0) };
    let high = if successes >= total { 1.0 } else { (center + half).min(1.0) };
    [low, high]
}

/// 95 % bootstrap percentile interval of `median(numerator) / median(denominator)`.
///
/// The samples are paired: those of one position were taken together and are drawn together, so that what disturbed
/// both does not widen the interval. `None` where the arrays are empty or of different lengths, or a resampled
/// denominator's median is zero. The same seed gives the same interval.
#[must_use]
pub fn ratio_of_medians_interval(
    numerator: &[f64],
    denominator: &[f64],
    resamples: usize,
    seed: u64,
) -> Option<[f64; 2]> {
    let count = numerator.len();
    if count == 0 || count != denominator.len() || resamples == 0 {
        return None;
    }
    let mut random = SplitMix::new(seed);
    let (mut above, mut below) = (vec![0.0; count], vec![0.0; count]);
    let mut ratios = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        for (above, below) in above.iter_mut().zip(&mut below) {
            let pair = random.below(count);
            (*above, *below) = (numerator[pair], denominator[pair]);
        }
        let ratio = quantile_of(&mut above, 0.5)? / quantile_of(&mut below, 0.5)?;
        if !ratio.is_finite() {
            return None;
        }
        ratios.push(ratio);
    }
    Some([quantile_of(&mut ratios, 0.025)?, quantile_of(&mut ratios, 0.975)?])
}

/// Kendall's τ-b of two rankings of the same things, from -1 (reversed) to 1 (the same order); equal values are ties.
/// `None` where the lengths differ or one of them orders nothing.
///
/// M. G. Kendall, "The Treatment of Ties in Ranking Problems", Biometrika 33, 1945.
///
/// ```
/// let tau = layerprune::stats::kendall(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap();
/// assert!((tau - 2.0 / 3.0).abs() < 1e-12);
/// ```
#[must_use]
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    let sign = |x: f64, y: f64| i64::from(x > y) - i64::from(x < y);
    let (mut agreement, mut ordered) = (0, [0_i64; 2]);
    for i in 0..a.len() {
        for j in 0..i {
            let signs = [sign(a[i], a[j]), sign(b[i], b[j])];
            agreement += signs[0] * signs[1];
            ordered[0] += signs[0].abs();
            ordered[1] += signs[1].abs();
        }
    }
    let [pairs_a, pairs_b] = ordered.map(|pairs| pairs as f64);
    (pairs_a > 0.0 && pairs_b > 0.0).then(|| agreement as f64 / (pairs_a * pairs_b).sqrt())
}

fn quantile_of(values: &mut [f64], q: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let (_, &mut low, above) = values.select_nth_unstable_by(position as usize, f64::total_cmp);
    let next = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    let fraction = position.fract();
    // Not `low + fraction * (next - low)` alone: equal infinities would give NaN.
    Some(if fraction == 0.0 { low } else { low + fraction * (next - low) })
}

/// Random numbers from a seed, the same on every platform: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct SplitMix(u64);

impl SplitMix {
    /// Starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero; its bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 (included) to 1 (excluded).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 7] = [3.1, 0.2, 5.5, 9.0, 1.25, 7.75, 2.0];

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn quantiles_agree_with_numpy() {
        let expected = [(0.0, 0.2), (0.1, 0.83), (0.25, 1.625), (0.5, 3.1), (0.9, 8.25), (0.99, 8.925), (1.0, 9.0)];
        for (q, expected) in expected {
            close(quantile(&VALUES, q).unwrap(), expected);
        }
        close(quantile(&[4.0, 1.0, 3.0, 2.0], 0.9).unwrap(), 3.7);
        close(quantile(&[4.0, 1.0, 3.0, 2.0], 0.25).unwrap(), 1.75);
    }

    #[test]
    fn center_and_spread_agree_with_numpy() {
        close(mean(&VALUES).unwrap(), 4.114_285_714_285_715);
        close(median(&VALUES).unwrap(), 3.1);
        close(mad(&VALUES).unwrap(), 2.4);
        close(median(&[5.0]).unwrap(), 5.0);
    }

    #[test]
    fn nothing_has_no_statistics() {
        assert_eq!((mean(&[]), median(&[]), mad(&[])), (None, None, None));
        assert_eq!(ratio_of_medians_interval(&[], &[], 10, 0), None);
        assert_eq!(ratio_of_medians_interval(&[1.0], &[1.0, 2.0], 10, 0), None);
        assert_eq!(ratio_of_medians_interval(&[1.0], &[0.0], 10, 0), None);
    }

    #[test]
    fn wilson_intervals_agree_with_the_published_ones() {
        let expected = [
            ((80, 100), [0.711_170_834_406_841, 0.866_633_066_668_967_6]),
            ((60, 100), [0.502_002_586_791_061_8, 0.690_598_713_567_541_1]),
            ((9270, 10_000), [0.921_735_793_581_823_8, 0.931_936_271_809_618_5]),
            ((0, 10), [0.0, 0.277_532_799_862_889_2]),
            ((10, 10), [0.722_467_200_137_110_7, 1.0]),
            ((0, 0), [0.0, 1.0]),
        ];
        for ((successes, total), [low, high]) in expected {
            let found = wilson(successes, total);
            close(found[0], low);
            close(found[1], high);
        }
    }

    #[test]
    fn the_bootstrap_of_a_constant_ratio_has_no_width() {
        let slow: Vec<f64> = VALUES.iter().map(|value| 2.0 * value).collect();
        assert_eq!(ratio_of_medians_interval(&slow, &VALUES, 500, 7), Some([2.0, 2.0]));
    }

    #[test]
    fn the_bootstrap_covers_the_ratio_about_as_often_as_it_says() {
        let trials = 400;
        let covered = (0..trials).filter(|&trial| {
            let mut random = SplitMix::new(trial);
            let noisy = |center: f64, random: &mut SplitMix| center * (1.0 + 0.05 * random.normal());
            let slow: Vec<f64> = (0..60).map(|_| noisy(3.0, &mut random)).collect();
            let fast: Vec<f64> = (0..60).map(|_| noisy(2.0, &mut random)).collect();
            let [low, high] = ratio_of_medians_interval(&fast, &slow, 400, trial).unwrap();
            low <= 2.0 / 3.0 && 2.0 / 3.0 <= high
        });
        let share = covered.count() as f64 / f64::from(trials as u32);
        assert!((0.92..=0.99).contains(&share), "covered {share}");
    }

    #[test]
    fn one_seed_gives_one_interval() {
        let other: Vec<f64> = VALUES.iter().rev().copied().collect();
        let first = ratio_of_medians_interval(&VALUES, &other, 300, 1);
        assert_eq!(first, ratio_of_medians_interval(&VALUES, &other, 300, 1));
        assert_ne!(first, ratio_of_medians_interval(&VALUES, &other, 300, 2));
    }

    #[test]
    fn split_mix_gives_the_published_numbers() {
        let mut random = SplitMix::new(1_234_567);
        let found: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(found, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        assert!((0..1000).all(|_| random.below(3) < 3));
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut random = SplitMix::new(3);
        let values: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        let squares: Vec<f64> = values.iter().map(|value| value * value).collect();
        assert!(mean(&values).unwrap().abs() < 0.03);
        assert!((mean(&squares).unwrap() - 1.0).abs() < 0.05);
    }
}

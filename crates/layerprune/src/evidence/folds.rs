//! Means over batches that also tell how far they can be trusted.

use crate::stats;

/// Into how many parts the batches are dealt.
pub const FOLDS: usize = 10;

/// Weighted means of several numbers over batches, dealt in turn into [`FOLDS`] parts: the spread of what the parts say is
/// the uncertainty of what all say.
///
/// Memory: 8 · numbers · [`FOLDS`] bytes, however many batches there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folds {
    parts: Vec<Part>,
    batches: usize,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Part {
    weight: f64,
    sums: Vec<f64>,
}

impl Folds {
    /// Adds the numbers of a batch, the same count every time.
    pub fn add(&mut self, numbers: &[f64], weight: f64) {
        let place = self.batches % FOLDS;
        self.batches += 1;
        if place == self.parts.len() {
            self.parts.push(Part { weight: 0.0, sums: vec![0.0; numbers.len()] });
        }
        let part = &mut self.parts[place];
        part.weight += weight;
        for (sum, number) in part.sums.iter_mut().zip(numbers) {
            *sum += weight * number;
        }
    }

    /// How many parts there are: one for each batch until there are [`FOLDS`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether no batch was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The means over all batches, or over those of one part; `None` where there are none.
    #[must_use]
    pub fn means(&self, part: Option<usize>) -> Option<Vec<f64>> {
        let parts = match part {
            None => &self.parts[..],
            Some(part) => self.parts.get(part..=part)?,
        };
        let weight: f64 = parts.iter().map(|part| part.weight).sum();
        let count = parts.first()?.sums.len();
        let sum = |number: usize| parts.iter().map(|part| part.sums[number]).sum::<f64>();
        (weight > 0.0).then(|| (0..count).map(|number| sum(number) / weight).collect())
    }
}

/// The 95 % interval around `whole`, what all batches say, from what each part says: `± t · s / √parts`, t of Student's
/// distribution. `None` of fewer than two parts.
#[must_use]
pub fn interval(whole: f64, parts: &[f64]) -> Option<[f64; 2]> {
    /// 97.5 % quantiles of Student's distribution for 1 to 9 degrees of freedom.
    const T_95: [f64; FOLDS - 1] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    let freedom = parts.len().checked_sub(1).filter(|&freedom| freedom > 0)?;
    let mean = stats::mean(parts)?;
    let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / freedom as f64;
    let half = T_95[freedom.min(FOLDS - 1) - 1] * (variance / parts.len() as f64).sqrt();
    Some([whole - half, whole + half])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_dealt_in_turn_and_weighted() {
        let mut folds = Folds::default();
        for batch in 0..12 {
            folds.add(&[f64::from(batch), 1.0], if batch < 10 { 1.0 } else { 3.0 });
        }
        assert_eq!(folds.len(), FOLDS);
        assert_eq!(folds.means(Some(0)), Some(vec![30.0 / 4.0, 1.0]));
        assert_eq!(folds.means(Some(5)), Some(vec![5.0, 1.0]));
        assert_eq!(folds.means(None), Some(vec![(45.0 + 63.0) / 16.0, 1.0]));
        assert_eq!(folds.means(Some(10)), None);
        assert_eq!(Folds::default().means(None), None);
    }

    #[test]
    fn the_interval_is_that_of_students_distribution() {
        // scipy.stats.t.interval(0.95, 3, loc=2.5, scale=scipy.stats.sem([1, 2, 3, 4]))
        let [low, high] = interval(2.5, &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((low - 0.445_74).abs() < 1e-3 && (high - 4.554_26).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(1.0, &[1.0]), None);
    }
}

//! Channels whose contributions the LASSO leaves.

use super::Contributions;

/// λ falls by this factor until too many parts are left.
const STEP: f64 = 0.7;
/// λ does not fall below this share of the one that leaves nothing.
const LEAST: f64 = 1e-8;
/// How often the interval that λ is in is halved.
const HALVINGS: usize = 30;
/// Sweeps over all parts for one λ, at most.
const SWEEPS: usize = 1000;
/// Sweeps end when nothing moves by more than this share of what the part that explains most explains.
const TOLERANCE: f64 = 1e-6;

/// The `count` parts that stay, in rising order: those with a factor that is not zero in
///
/// `min_β 1/2·Σ |r − Σ_p β_p·z_p/‖W_p‖|² + λ·Σ |β_p|`
///
/// for the least λ that leaves no more than `count` (He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural
/// Networks", ICCV 2017, eq. 2 and step i of section 3.1, with their `‖W_p‖_F = 1`). They raise λ until enough are gone; the
/// same place is found here from above, as coordinate descent converges fast where most factors are zero (Friedman,
/// Hastie and Tibshirani, "Regularization Paths for Generalized Linear Models", J. Stat. Softw. 2010, sections 2.1 to 2.5).
/// Where the next one would be too many, the rest of `count` are those with the largest factors just there.
///
/// Time: c² for c parts and a sweep in which all of them move; memory: 8 · c² bytes.
///
/// # Panics
/// Where there are fewer parts.
#[must_use]
pub fn lasso(contributions: &Contributions, count: usize) -> Vec<usize> {
    let parts = contributions.parts();
    assert!(count <= parts, "{count} of {parts} parts cannot stay");
    let problem = Problem::of(contributions);
    let Factors { within, beyond } = problem.around(count);
    let mut order: Vec<usize> = (0..parts).collect();
    let rank = |part: usize| (within[part] != 0.0, beyond[part].abs(), contributions.along(part)[part]);
    order.sort_by(|&a, &b| {
        let (a, b) = (rank(a), rank(b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(b.2.total_cmp(&a.2))
    });
    order.truncate(count);
    order.sort_unstable();
    order
}

/// Factors on both sides of the λ that is looked for.
struct Factors {
    /// No more than wanted are not zero.
    within: Vec<f64>,
    /// More than wanted are not zero, where there are so many.
    beyond: Vec<f64>,
}

/// The LASSO of contributions by weights of norm 1.
struct Problem {
    parts: usize,
    zz: Vec<f64>,
    zr: Vec<f64>,
    /// The largest norm of what one part alone explains of the target.
    scale: f64,
}

impl Problem {
    fn of(contributions: &Contributions) -> Self {
        let parts = contributions.parts();
        let inverse = |part: usize| {
            let norm = contributions.weight_norm(part);
            if norm > 0.0 { 1.0 / norm } else { 0.0 }
        };
        let inverses: Vec<f64> = (0..parts).map(inverse).collect();
        let row =
            |p: usize| contributions.along(p).iter().zip(&inverses).map(move |(product, inverse)| product * inverse);
        let zz: Vec<f64> =
            (0..parts).flat_map(|p| row(p).map(|product| product * inverses[p]).collect::<Vec<_>>()).collect();
        let zr: Vec<f64> = (0..parts).map(|p| contributions.towards_target(p) * inverses[p]).collect();
        let explained = |p: usize| if zz[p * parts + p] > 0.0 { zr[p].abs() / zz[p * parts + p].sqrt() } else { 0.0 };
        let scale = (0..parts).map(explained).fold(0.0, f64::max);
        Self { parts, zz, zr, scale }
    }

    fn around(&self, count: usize) -> Factors {
        // At this λ all factors are zero.
        let most = self.zr.iter().fold(0.0, |most: f64, zr| most.max(zr.abs()));
        let (mut high, mut low) = (most, most);
        let mut within = vec![0.0; self.parts];
        let mut beyond = within.clone();
        while left(&beyond) <= count && low > most * LEAST {
            (high, within) = (low, beyond.clone());
            low *= STEP;
            self.descend(low, &mut beyond);
        }
        if left(&beyond) <= count {
            return Factors { within: beyond.clone(), beyond };
        }
        for _ in 0..HALVINGS {
            if left(&within) == count {
                break;
            }
            let middle = (low * high).sqrt();
            let mut factors = within.clone();
            self.descend(middle, &mut factors);
            if left(&factors) <= count {
                (high, within) = (middle, factors);
            } else {
                (low, beyond) = (middle, factors);
            }
        }
        Factors { within, beyond }
    }

    /// Coordinate descent from `factors` on: `β_p ← S(Σ z_p·(r − Σ_{q≠p} β_q·z_q), λ) / Σ|z_p|²`, with S drawing towards
    /// zero by λ.
    fn descend(&self, lambda: f64, factors: &mut [f64]) {
        let row = |part: usize| &self.zz[part * self.parts..(part + 1) * self.parts];
        let mut left: Vec<f64> = (0..self.parts).map(|part| self.zr[part] - super::dot(row(part), factors)).collect();
        for _ in 0..SWEEPS {
            let mut moved: f64 = 0.0;
            for part in 0..self.parts {
                let square = row(part)[part];
                if square <= 0.0 {
                    continue;
                }
                let pull = left[part] + square * factors[part];
                let new = pull.signum() * (pull.abs() - lambda).max(0.0) / square;
                let change = new - factors[part];
                if change != 0.0 {
                    left.iter_mut().zip(row(part)).for_each(|(left, product)| *left -= product * change);
                    factors[part] = new;
                    moved = moved.max(change.abs() * square.sqrt());
                }
            }
            if moved <= TOLERANCE * self.scale {
                break;
            }
        }
    }
}

fn left(factors: &[f64]) -> usize {
    factors.iter().filter(|&&factor| factor != 0.0).count()
}

#[cfg(test)]
mod tests {
    use super::super::contributions::tests::Drawn;
    use super::*;

    const APART: [Option<usize>; 8] = [Some(0), Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(7)];

    #[test]
    fn a_planted_support_is_found() {
        for seed in 0..20 {
            let drawn = Drawn::new(seed, 4, &[1.0; 8], &[0.0, 1.0, 0.0, 0.0, 1.2, 0.0, 0.8, 0.0]);
            assert_eq!(lasso(&drawn.contributions(&APART), 3), [1, 4, 6]);
        }
    }

    /// The conditions of Karush, Kuhn and Tucker: `Σ z_p·(r − Σ β·z)` is `λ·sign(β_p)`, or within λ where β_p is zero.
    #[test]
    fn factors_are_those_of_the_minimum() {
        let drawn =
            Drawn::new(5, 3, &[1.0, 0.4, 1.3, 0.7, 1.1, 0.9, 0.5, 0.1], &[1.0, -0.3, 0.5, 0.1, 0.2, 0.1, 1.0, 1.0]);
        let problem = Problem::of(&drawn.contributions(&APART));
        let most = problem.zr.iter().fold(0.0, |most: f64, zr| most.max(zr.abs()));
        let mut counts = Vec::new();
        for share in [1.0, 0.5, 0.1, 0.02, 1e-3] {
            let (lambda, mut factors) = (share * most, vec![0.0; 8]);
            problem.descend(lambda, &mut factors);
            for part in 0..8 {
                let gradient = problem.zr[part] - super::super::dot(&problem.zz[part * 8..(part + 1) * 8], &factors);
                let off = if factors[part] == 0.0 {
                    (gradient.abs() - lambda).max(0.0)
                } else {
                    (gradient - lambda * factors[part].signum()).abs()
                };
                assert!(off <= 1e-4 * most, "part {part} at {share}: off by {off} of {most}");
            }
            counts.push(left(&factors));
        }
        assert!(counts[0] == 0 && counts[1] > 0 && counts[1] < 8 && counts[4] == 8, "{counts:?}");
    }

    #[test]
    fn as_many_stay_as_are_asked_for() {
        // Three inputs are nothing, and two others are one and the same.
        let mut drawn = Drawn::new(2, 3, &[1.0, 0.0, 1.3, 0.7, 0.0, 0.9, 0.5, 0.0], &[1.0; 8]);
        drawn.inputs.iter_mut().for_each(|x| x[5] = x[0]);
        for row in drawn.map.weight.chunks_exact_mut(8) {
            row[5] = row[0];
        }
        let contributions = drawn.contributions(&APART);
        for count in 0..=8 {
            let stays = lasso(&contributions, count);
            assert_eq!(stays.len(), count);
            if count <= 5 {
                assert!(stays.iter().all(|part| ![1, 4, 7].contains(part)), "{stays:?}");
            }
        }
    }
}

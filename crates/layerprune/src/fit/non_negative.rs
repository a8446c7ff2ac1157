//! Least squares with coefficients that are not negative.

use super::{FitError, dot, factor, solve};

/// The coefficients, none below zero, that minimise `‖A·x − b‖² + penalty · ‖x‖²`, where `rows` are those of `A`.
///
/// The active-set method of Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23, on the normal equations.
///
/// # Errors
/// [`FitError::Empty`] where there are no rows; [`FitError::NotFinite`]; [`FitError::Singular`] where columns depend on each
/// other and the penalty does not decide between them.
///
/// # Panics
/// Where rows are of different lengths, or not as many as there are numbers in `b`.
pub fn non_negative(rows: &[Vec<f64>], b: &[f64], penalty: f64) -> Result<Vec<f64>, FitError> {
    assert_eq!(rows.len(), b.len(), "there is a number for each row");
    let side = rows.first().ok_or(FitError::Empty)?.len();
    if !rows.iter().flatten().chain(b).all(|number| number.is_finite()) {
        return Err(FitError::NotFinite);
    }
    let columns: Vec<Vec<f64>> = (0..side).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
    let normal = |i: usize, j: usize| dot(&columns[i], &columns[j]) + if i == j { penalty } else { 0.0 };
    let gram: Vec<Vec<f64>> = (0..side).map(|i| (0..side).map(|j| normal(i, j)).collect()).collect();
    let right: Vec<f64> = columns.iter().map(|column| dot(column, b)).collect();
    let least = 1e-10 * right.iter().fold(0.0_f64, |most, number| most.max(number.abs()));
    let mut x = vec![0.0; side];
    let mut free = vec![false; side];
    loop {
        let slope = |i: usize| right[i] - dot(&gram[i], &x);
        let bound = (0..side).filter(|&i| !free[i]).map(|i| (slope(i), i));
        let Some((_, best)) = bound.filter(|(slope, _)| *slope > least).max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Ok(x);
        };
        free[best] = true;
        loop {
            let next = unbounded(&gram, &right, &free, penalty)?;
            let Some((share, blocking)) = share_of_way(&x, &next, &free) else {
                x = next;
                break;
            };
            for i in 0..side {
                x[i] = (x[i] + share * (next[i] - x[i])).max(0.0);
            }
            (x[blocking], free[blocking]) = (0.0, false);
            if !free.contains(&true) {
                break;
            }
        }
        // What would go straight back to zero is as far as rounding lets it come.
        if !free[best] {
            return Ok(x);
        }
    }
}

/// The solution over the free coefficients alone; the others are zero.
fn unbounded(gram: &[Vec<f64>], right: &[f64], free: &[bool], penalty: f64) -> Result<Vec<f64>, FitError> {
    let places: Vec<usize> = (0..free.len()).filter(|&i| free[i]).collect();
    let side = places.len();
    let mut matrix: Vec<f64> = places.iter().flat_map(|&i| places.iter().map(move |&j| gram[i][j])).collect();
    let scale = places.iter().fold(0.0_f64, |most, &i| most.max(gram[i][i]));
    let singular = |row: usize| FitError::Singular { channel: places[row], penalty };
    factor(&mut matrix, side, scale).map_err(singular)?;
    let mut found: Vec<f64> = places.iter().map(|&i| right[i]).collect();
    solve(&matrix, side, &mut found);
    let mut x = vec![0.0; free.len()];
    places.iter().zip(found).for_each(|(&i, found)| x[i] = found);
    Ok(x)
}

/// How far the way from `x` to `next` can be gone before a free coefficient is below zero, and which; `None` where all of it can.
fn share_of_way(x: &[f64], next: &[f64], free: &[bool]) -> Option<(f64, usize)> {
    let below = (0..x.len()).filter(|&i| free[i] && next[i] <= 0.0);
    let share = |i: usize| if x[i] > 0.0 { x[i] / (x[i] - next[i]) } else { 0.0 };
    below.map(|i| (share(i), i)).min_by(|a, b| a.0.total_cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::SplitMix;

    fn objective(rows: &[Vec<f64>], b: &[f64], x: &[f64]) -> f64 {
        rows.iter().zip(b).map(|(row, b)| (dot(row, x) - b).powi(2)).sum()
    }

    fn problem(seed: u64, planted: &[f64], noise: f64) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut random = SplitMix::new(seed);
        let rows: Vec<Vec<f64>> = (0..40).map(|_| (0..planted.len()).map(|_| random.uniform()).collect()).collect();
        let b = rows.iter().map(|row| dot(row, planted) + noise * random.normal()).collect();
        (rows, b)
    }

    #[test]
    fn planted_coefficients_are_found() {
        let planted = [0.5, 0.0, 2.0, 0.25];
        let (rows, b) = problem(1, &planted, 0.0);
        let found = non_negative(&rows, &b, 0.0).unwrap();
        for (found, planted) in found.iter().zip(planted) {
            assert!((found - planted).abs() < 1e-8, "{found} instead of {planted}");
        }
    }

    #[test]
    fn no_step_that_is_allowed_makes_it_better() {
        for seed in 0..20 {
            let (rows, b) = problem(seed, &[0.5, -1.0, 2.0, 0.0, -0.2], 0.3);
            let found = non_negative(&rows, &b, 0.0).unwrap();
            assert!(found.iter().all(|&x| x >= 0.0) && found.contains(&0.0), "{found:?}");
            let best = objective(&rows, &b, &found);
            for place in 0..found.len() {
                for step in [1e-4, -1e-4] {
                    let mut other = found.clone();
                    other[place] = (other[place] + step).max(0.0);
                    assert!(objective(&rows, &b, &other) >= best - 1e-12, "coefficient {place} by {step}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        assert_eq!(non_negative(&[], &[], 0.0), Err(FitError::Empty));
        assert_eq!(non_negative(&[vec![f64::NAN]], &[1.0], 0.0), Err(FitError::NotFinite));
        let twice = [vec![1.0, 1.0], vec![2.0, 2.0]];
        assert!(non_negative(&twice, &[1.0, 2.0], 1e-6).is_ok(), "the penalty decides");
    }
}

//! Sums, multiples and bounds of gradients, in parallel and the same for any number of threads.

use rayon::prelude::*;

use crate::optimizer::CHUNK;

/// The common Euclidean norm of all gradients: finite exactly where each of their numbers is.
pub(crate) fn norm(gradients: &[Option<Vec<f32>>]) -> f64 {
    let squares = |gradient: &Vec<f32>| -> f64 {
        let chunk = |chunk: &[f32]| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        // Collected before they are summed, so that the order of the sum does not depend on the threads.
        gradient.par_chunks(CHUNK).map(chunk).collect::<Vec<f64>>().iter().sum()
    };
    gradients.iter().flatten().map(squares).sum::<f64>().sqrt()
}

/// Scales all gradients, whose norm is `norm`, by one factor so that it is at most `greatest`.
///
/// As PyTorch's `clip_grad_norm_`: the factor is `greatest / (norm + 1e-6)`, at most 1.
pub(crate) fn bound_norm(gradients: &mut [Option<Vec<f32>>], norm: f64, greatest: f64) {
    let factor = greatest / (norm + 1e-6);
    if factor < 1.0 {
        scale(gradients, factor as f32);
    }
}

/// Adds `new` to `sum`.
pub(crate) fn add(sum: &mut [f32], new: &[f32]) {
    let chunks = sum.par_chunks_mut(CHUNK).zip(new.par_chunks(CHUNK));
    chunks.for_each(|(sum, new)| sum.iter_mut().zip(new).for_each(|(sum, new)| *sum += new));
}

/// Multiplies all gradients by `factor`.
pub(crate) fn scale(gradients: &mut [Option<Vec<f32>>], factor: f32) {
    for gradient in gradients.iter_mut().flatten() {
        gradient.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|g| *g *= factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_scaled_together_and_only_down() {
        let mut gradients = vec![Some(vec![3.0, 0.0]), None, Some(vec![4.0])];
        assert_eq!(norm(&gradients), 5.0);
        bound_norm(&mut gradients, 5.0, 5.5);
        assert_eq!(gradients, [Some(vec![3.0, 0.0]), None, Some(vec![4.0])]);
        bound_norm(&mut gradients, 5.0, 1.0);
        let found = [gradients[0].as_ref().unwrap()[0], gradients[2].as_ref().unwrap()[0]];
        assert!((found[0] - 0.6).abs() < 1e-6 && (found[1] - 0.8).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn the_norm_is_finite_exactly_where_all_numbers_are() {
        assert!(norm(&[Some(vec![f32::MAX; 1000]), Some(vec![f32::MIN; 1000])]).is_finite());
        for number in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert!(!norm(&[Some(vec![1.0, number]), Some(vec![1.0])]).is_finite());
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_the_norm() {
        let gradient: Vec<f32> = (0..5 * CHUNK + 3).map(|at| (at as f32 * 0.37).sin()).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| norm(&[Some(gradient.clone())]).to_bits())
        };
        assert!(run(1) == run(4));
    }
}

//! Gradients of bounded length.

use rayon::prelude::*;

use crate::optimizer::CHUNK;

/// Scales all gradients by one factor so that their common Euclidean norm is at most `greatest`; gives the norm before.
///
/// As PyTorch's `clip_grad_norm_`: the factor is `greatest / (norm + 1e-6)`, at most 1.
pub(crate) fn clip_norm(gradients: &mut [Option<Vec<f32>>], greatest: f64) -> f64 {
    let squares = |gradient: &Vec<f32>| -> f64 {
        let chunk = |chunk: &[f32]| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        // Collected before they are summed, so that the order of the sum does not depend on the threads.
        gradient.par_chunks(CHUNK).map(chunk).collect::<Vec<f64>>().iter().sum()
    };
    let norm = gradients.iter().flatten().map(squares).sum::<f64>().sqrt();
    let factor = greatest / (norm + 1e-6);
    if factor < 1.0 {
        scale(gradients, factor as f32);
    }
    norm
}

/// Multiplies all gradients by `factor`.
pub(crate) fn scale(gradients: &mut [Option<Vec<f32>>], factor: f32) {
    for gradient in gradients.iter_mut().flatten() {
        gradient.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|g| *g *= factor));
    }
}

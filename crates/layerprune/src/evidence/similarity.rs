//! How much what a layer gives is like what it reads.

use nalgebra::DMatrix;

use crate::batch::Maps;

/// The mean over images of the cosine between what a layer reads and what it gives; `None` where these are of different
/// shapes. A map that is zero everywhere is like another such one and unlike all others.
pub(super) fn cosine(entry: Maps<'_>, exit: Maps<'_>) -> Option<f64> {
    let images = entry.shape.first().copied().filter(|&images| images > 0)?;
    if entry.shape != exit.shape {
        return None;
    }
    let length = (entry.data.len() / images).max(1);
    let pairs = entry.data.chunks_exact(length).zip(exit.data.chunks_exact(length));
    let cosines = pairs.map(|(a, b)| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let norms = (dot(a, a) * dot(b, b)).sqrt();
        if norms > 0.0 { dot(a, b) / norms } else { f64::from(u8::from(a == b)) }
    });
    Some(cosines.sum::<f64>() / images as f64)
}

/// Inner products of the images of a batch, their own set to zero; what [`hsic`] compares.
pub(super) fn gram(maps: Maps<'_>) -> DMatrix<f64> {
    let images = maps.shape.first().copied().unwrap_or(1).max(1);
    let columns = DMatrix::from_iterator(maps.data.len() / images, images, maps.data.iter().map(|&x| f64::from(x)));
    let mut gram = columns.tr_mul(&columns);
    gram.fill_diagonal(0.0);
    gram
}

/// The unbiased estimate of the Hilbert-Schmidt independence criterion of two linear kernels over the same images; `None`
/// of fewer than four.
///
/// Song et al., "Feature Selection via Dependence Maximization", JMLR 2012, equation 5.
pub(super) fn hsic(k: &DMatrix<f64>, l: &DMatrix<f64>) -> Option<f64> {
    let n = k.nrows() as f64;
    if k.nrows() < 4 || k.nrows() != l.nrows() {
        return None;
    }
    let (rows_k, rows_l) = (k.column_sum(), l.column_sum());
    let trace = k.dot(l);
    let sums = rows_k.sum() * rows_l.sum() / ((n - 1.0) * (n - 2.0));
    Some((trace + sums - 2.0 * rows_k.dot(&rows_l) / (n - 2.0)) / (n * (n - 3.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_taken_image_by_image() {
        let a = Maps { data: &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0], shape: &[3, 2] };
        let b = Maps { data: &[0.0, 2.0, 3.0, 3.0, 0.0, 0.0], shape: &[3, 2] };
        assert!((cosine(a, b).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(cosine(a, Maps { data: &[0.0; 3], shape: &[3, 1] }), None);
    }
}

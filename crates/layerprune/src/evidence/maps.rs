//! What feature maps are like, filter by filter.

use nalgebra::{DMatrix, SVD};

use super::Statistic;
use crate::batch::Maps;

/// Ranks are taken of so many images at most, as in the publication: they cost more than the rest of a pass.
pub const RANK_IMAGES: usize = 500;

/// Steps after which a singular value decomposition that has not converged is given up; a map of 32×32 takes about 100.
const ITERATIONS: usize = 2_000;

/// The mean of `statistic` over the images of a batch for each channel of `maps`, which lie along `axis`; `None` of maps
/// without that axis, and of statistics that are not taken of maps alone.
///
/// What stands before the axis counts as images, what stands behind it is the channel's map: H×W, or 1×L.
pub(super) fn statistic(statistic: Statistic, maps: Maps<'_>, axis: usize) -> Option<Vec<f64>> {
    let images: usize = maps.shape.get(..axis)?.iter().product();
    let rows = if maps.shape.len() > axis + 2 { maps.shape[axis + 1] } else { 1 };
    let mean = |map: &[f32], of: &dyn Fn(f32) -> f64| map.iter().map(|&x| of(x)).sum::<f64>() / map.len() as f64;
    let sums = match statistic {
        Statistic::Rank => channel_sums(maps, axis, |map| match map.iter().all(|x| x.is_finite()) {
            true => rank(map, rows) as f64,
            false => f64::NAN,
        }),
        Statistic::NonZero => channel_sums(maps, axis, |map| mean(map, &|x| f64::from(u8::from(x != 0.0)))),
        Statistic::Mean => channel_sums(maps, axis, |map| mean(map, &f64::from)),
        Statistic::TaylorWeight | Statistic::TaylorGate | Statistic::TaylorBatchNorm | Statistic::TaylorOutput => None,
    };
    Some(sums?.into_iter().map(|sum| sum / images.max(1) as f64).collect())
}

/// For each channel along `axis` the sum over the images of `of` its map; `None` of maps without that axis.
pub(super) fn channel_sums(maps: Maps<'_>, axis: usize, of: impl Fn(&[f32]) -> f64) -> Option<Vec<f64>> {
    let mut sums = vec![0.0; *maps.shape.get(axis)?];
    let (channels, area) = (sums.len(), maps.shape[axis + 1..].iter().product::<usize>());
    for (place, map) in maps.data.chunks_exact(area.max(1)).enumerate() {
        sums[place % channels] += of(map);
    }
    Some(sums)
}

/// The rank of a map of `rows` rows: how many singular values are above the largest side times the precision of the
/// numbers times the largest of them, as numpy and PyTorch count.
fn rank(map: &[f32], rows: usize) -> usize {
    let columns = map.len() / rows.max(1);
    if rows.min(columns) == 1 {
        return usize::from(map.iter().any(|&x| x != 0.0));
    }
    let matrix = DMatrix::from_row_slice(rows, columns, map).map(f64::from);
    let precision = rows.max(columns) as f64 * f64::from(f32::EPSILON);
    let values = match SVD::try_new_unordered(matrix.clone(), false, false, 5.0 * f64::EPSILON, ITERATIONS) {
        Some(found) => found.singular_values,
        // The diagonal of a pivoted QR decomposition stands for them, and needs no iteration that could fail to end.
        None => matrix.col_piv_qr().r().diagonal().abs(),
    };
    let largest = values.iter().copied().fold(0.0, f64::max);
    values.iter().filter(|&&value| value > precision * largest).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_of_a_planted_map_is_found() {
        let outer = |terms: &[([f32; 3], [f32; 4])]| -> Vec<f32> {
            (0..12).map(|at| terms.iter().map(|(a, b)| a[at / 4] * b[at % 4]).sum()).collect()
        };
        let one = ([1.0, -2.0, 0.5], [0.3, 1.0, 0.0, 2.0]);
        let two = ([0.0, 1.0, 1.0], [1.0, 1.0, -1.0, 0.1]);
        assert_eq!(rank(&outer(&[]), 3), 0);
        assert_eq!(rank(&outer(&[one]), 3), 1);
        assert_eq!(rank(&outer(&[one, two]), 3), 2);
        assert_eq!(rank(&[0.0, 5.0], 1), 1);
    }

    #[test]
    fn the_rank_of_every_sparse_map_is_found_in_the_end() {
        // Maps behind a ReLU have many zero rows and columns; some of them keep the iteration from converging.
        let mut random = crate::stats::SplitMix::new(5);
        for round in 0..200 {
            let kept = 1 + round % 16;
            let map: Vec<f32> = (0..256)
                .map(|at| if at / 16 < kept && random.uniform() < 0.2 { random.uniform() as f32 } else { 0.0 })
                .collect();
            assert!(rank(&map, 16) <= kept);
        }
    }

    #[test]
    fn statistics_are_of_the_axis_of_the_channels() {
        let data = [0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0];
        let maps = Maps { data: &data, shape: &[2, 2, 2] };
        assert_eq!(statistic(Statistic::NonZero, maps, 1), Some(vec![0.5, 0.5]));
        assert_eq!(statistic(Statistic::Mean, maps, 1), Some(vec![1.0, 1.5]));
        assert_eq!(statistic(Statistic::Mean, maps, 2), Some(vec![1.5, 1.0]));
        assert_eq!(statistic(Statistic::Rank, maps, 1), Some(vec![1.0, 1.0]));
        assert_eq!(statistic(Statistic::Rank, Maps { data: &data, shape: &[1, 2, 2, 2] }, 1), Some(vec![2.0, 2.0]));
    }
}

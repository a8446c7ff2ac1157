//! How the output of a layer becomes a vector that a linear classifier reads.

use std::ops::Range;

/// Adaptive average pooling of C×H×W maps to C×d×d, d = √(N / C) rounded, at least 1 and at most the map.
pub(super) struct Pooling {
    channels: usize,
    map: [usize; 2],
    pooled: [usize; 2],
}

impl Pooling {
    pub(super) fn of(shape: &[usize], embedding: usize) -> Self {
        let channels = shape.get(1).copied().unwrap_or(1);
        let height = shape.get(2).copied().unwrap_or(1);
        let width = shape.iter().skip(3).product();
        let side = ((embedding as f64 / channels.max(1) as f64).sqrt().round() as usize).max(1);
        Self { channels, map: [height, width], pooled: [side.min(height), side.min(width)] }
    }

    pub(super) fn length(&self) -> usize {
        self.channels * self.pooled[0] * self.pooled[1]
    }

    pub(super) fn input_length(&self) -> usize {
        (self.channels * self.map[0] * self.map[1]).max(1)
    }

    pub(super) fn pool(&self, image: &[f32], embedding: &mut [f32]) {
        if self.map == self.pooled {
            embedding.copy_from_slice(image);
            return;
        }
        if embedding.is_empty() {
            return;
        }
        let ([height, width], [rows, columns]) = (self.map, self.pooled);
        let (down, across) = (windows(height, rows), windows(width, columns));
        let mut line = vec![0.0; width];
        let maps = image.chunks_exact(height * width);
        for (map, cells) in maps.zip(embedding.chunks_exact_mut(rows * columns)) {
            for ((lines, row_share), cells) in down.iter().zip(cells.chunks_exact_mut(columns)) {
                // Whole lines first: that is what a processor does quickly.
                add_lines(&mut line, &map[lines.start * width..lines.end * width]);
                for (cell, (places, share)) in cells.iter_mut().zip(&across) {
                    *cell = sum(&line[places.clone()]) * (row_share * share);
                }
            }
        }
    }
}

/// For each of `pooled` cells, the places of an axis of `size` that it is the mean of, and the share of each.
fn windows(size: usize, pooled: usize) -> Vec<(Range<usize>, f32)> {
    let window = |cell: usize| {
        let places = cell * size / pooled..((cell + 1) * size).div_ceil(pooled);
        let share = 1.0 / places.len() as f32;
        (places, share)
    };
    (0..pooled).map(window).collect()
}

/// Sets `line` to the sum of `lines`, which stand one behind the other. Two, three and four are added in one go.
fn add_lines(line: &mut [f32], lines: &[f32]) {
    let width = line.len();
    let (first, rest) = lines.split_at(width);
    let sums = line.iter_mut().zip(first);
    match rest.len() / width {
        1 => sums.zip(rest).for_each(|((sum, a), b)| *sum = a + b),
        2 => {
            let (second, third) = rest.split_at(width);
            sums.zip(second).zip(third).for_each(|(((sum, a), b), c)| *sum = a + b + c);
        }
        3 => {
            let (second, rest) = rest.split_at(width);
            let (third, fourth) = rest.split_at(width);
            sums.zip(second).zip(third).zip(fourth).for_each(|((((sum, a), b), c), d)| *sum = a + b + c + d);
        }
        _ => {
            line.copy_from_slice(first);
            for more in rest.chunks_exact(width) {
                line.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
            }
        }
    }
}

/// The sum of `places`, quickly where they are few.
fn sum(places: &[f32]) -> f32 {
    match *places {
        [a, b] => a + b,
        [a, b, c] => a + b + c,
        [a, b, c, d] => a + b + c + d,
        _ => places.iter().sum(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::stats::SplitMix;

    #[derive(Deserialize)]
    struct Golden {
        pool: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        shape: [usize; 3],
        embedding: usize,
        length: usize,
        pooled: Vec<f32>,
    }

    #[test]
    fn pooling_agrees_with_torch() {
        let text = include_str!("../../../../fixtures/golden/imprint.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        for (seed, case) in golden.pool.into_iter().enumerate() {
            let [channels, height, width] = case.shape;
            let pooling = Pooling::of(&[1, channels, height, width], case.embedding);
            assert_eq!(pooling.length(), case.length, "{:?}", case.shape);
            let mut random = SplitMix::new(seed as u64);
            let image: Vec<f32> = (0..channels * height * width).map(|_| random.uniform() as f32).collect();
            let mut pooled = vec![0.0; case.length];
            pooling.pool(&image, &mut pooled);
            let every = if case.length > 500 { 97 } else { 1 };
            let kept: Vec<f32> = pooled.iter().copied().step_by(every).collect();
            assert_eq!(kept.len(), case.pooled.len());
            for (found, expected) in kept.iter().zip(&case.pooled) {
                assert!((found - expected).abs() < 1e-6, "{:?}: {found} is not {expected}", case.shape);
            }
        }
    }

    #[test]
    fn the_pooled_side_is_at_least_one_and_at_most_the_map() {
        let pooled = |shape: &[usize], embedding| Pooling::of(shape, embedding).pooled;
        assert_eq!(pooled(&[1, 512, 14, 14], 64), [1, 1]);
        assert_eq!(pooled(&[1, 4, 3, 20], 4 * 49), [3, 7]);
        assert_eq!(pooled(&[1, 16, 32, 32], 2048), [11, 11]);
        assert_eq!(pooled(&[1, 10], 2048), [1, 1]);
    }
}

//! What each part of a linear map's input adds to its output, from the sums that the map is fitted by.

use super::{Linear, Moments, dot};

/// Sums over pixels and outputs of what parts of the inputs contribute: with `z_p = Σ_{i∈p} W_i·x_i` what part p adds to the
/// outputs, and `r = y − b − Σ_{i∉parts} W_i·x_i` what all parts together should come to, the inner products `Σ z_p·z_q` and
/// `Σ z_p·r`.
///
/// A part is a channel, usually: the elements of a patch that are of this channel. The contributions themselves are never
/// computed, since `Σ z_p·z_q = Σ_{i∈p, j∈q} (WᵀW)_ij·(Σ x_i·x_j)`. Maps of several nodes that read the same channels add up.
///
/// Memory: 8 · c² bytes for c parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    parts: usize,
    /// c × c, symmetric.
    zz: Vec<f64>,
    zr: Vec<f64>,
    /// `Σ W_i²` of each part.
    weights: Vec<f64>,
}

impl Contributions {
    /// Empty sums for so many parts.
    #[must_use]
    pub fn new(parts: usize) -> Self {
        Self { parts, zz: vec![0.0; parts * parts], zr: vec![0.0; parts], weights: vec![0.0; parts] }
    }

    /// How many parts there are.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Adds what the parts contribute to the outputs of `map` on the pixels of `moments`. `part_of` has the part of each input,
    /// or nothing for an input that is in none and always stays. Time: n · m² / 2 multiply-adds for m inputs and n outputs.
    ///
    /// # Panics
    /// Where `map` or `part_of` is not for as many inputs as `moments`, or a part is not among those of these sums.
    pub fn add(&mut self, moments: &Moments, map: &Linear, part_of: &[Option<usize>]) {
        let (m, n) = (moments.inputs, moments.outputs);
        assert_eq!((map.weight.len(), part_of.len()), (m * n, m), "a map of {m} inputs to {n} outputs is needed");
        let columns: Vec<f64> = (0..m * n).map(|place| map.weight[place % n * m + place / n]).collect();
        let column = |i: usize| &columns[i * n..(i + 1) * n];
        for i in 0..m {
            for j in 0..=i {
                if part_of[i].or(part_of[j]).is_some() {
                    self.add_pair([part_of[i], part_of[j]], i == j, dot(column(i), column(j)) * moments.xx_at(i, j));
                }
            }
            if let Some(part) = part_of[i] {
                let along_output = dot(column(i), &moments.xy[i * n..(i + 1) * n]);
                self.zr[part] += along_output - dot(column(i), &map.bias) * moments.xx_at(m, i);
                self.weights[part] += dot(column(i), column(i));
            }
        }
    }

    /// Adds `product`, of one input with itself or of two.
    fn add_pair(&mut self, parts: [Option<usize>; 2], same: bool, product: f64) {
        match parts {
            [Some(p), Some(q)] => {
                self.zz[p * self.parts + q] += product;
                if !same {
                    self.zz[q * self.parts + p] += product;
                }
            }
            [Some(part), None] | [None, Some(part)] => self.zr[part] -= product,
            [None, None] => {}
        }
    }

    /// `Σ z_p·z_q` for this p and all q.
    pub(super) fn along(&self, part: usize) -> &[f64] {
        &self.zz[part * self.parts..(part + 1) * self.parts]
    }

    /// `Σ z_p·r`.
    pub(super) fn towards_target(&self, part: usize) -> f64 {
        self.zr[part]
    }

    /// Frobenius norm of the weights that read the part.
    pub(super) fn weight_norm(&self, part: usize) -> f64 {
        self.weights[part].sqrt()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stats::SplitMix;

    /// Pixels of inputs that depend on each other, a map of them, and what it is to come to.
    pub(in crate::fit) struct Drawn {
        pub(in crate::fit) inputs: Vec<Vec<f64>>,
        pub(in crate::fit) targets: Vec<Vec<f64>>,
        pub(in crate::fit) map: Linear,
    }

    impl Drawn {
        /// `scales`: how large each input is; `target`: the share of each in what the map is to come to.
        pub(in crate::fit) fn new(seed: u64, outputs: usize, scales: &[f64], target: &[f64]) -> Self {
            let mut random = SplitMix::new(seed);
            let m = scales.len();
            let map = Linear {
                weight: (0..m * outputs).map(|_| random.normal()).collect(),
                bias: (0..outputs).map(|_| random.normal()).collect(),
                r2: None,
            };
            let (mut inputs, mut targets) = (Vec::new(), Vec::new());
            for _ in 0..200 {
                let common = random.normal();
                let x: Vec<f64> =
                    scales.iter().map(|scale| f64::from((scale * (random.normal() + common)) as f32)).collect();
                let y = |o: usize| map.bias[o] + (0..m).map(|i| target[i] * map.weight[o * m + i] * x[i]).sum::<f64>();
                targets.push((0..outputs).map(|o| f64::from(y(o) as f32)).collect());
                inputs.push(x);
            }
            Self { inputs, targets, map }
        }

        /// What the inputs of part `part` add to all outputs of all pixels.
        pub(in crate::fit) fn added(&self, part_of: &[Option<usize>], part: Option<usize>) -> Vec<f64> {
            let m = part_of.len();
            let of = |x: &[f64], o: usize| -> f64 {
                (0..m).filter(|&i| part_of[i] == part).map(|i| self.map.weight[o * m + i] * x[i]).sum()
            };
            self.inputs.iter().flat_map(|x| (0..self.map.bias.len()).map(move |o| of(x, o))).collect()
        }

        pub(in crate::fit) fn contributions(&self, part_of: &[Option<usize>]) -> Contributions {
            let (m, n, pixels) = (part_of.len(), self.map.bias.len(), self.inputs.len());
            let planes = |rows: &[Vec<f64>], channels: usize| -> Vec<f32> {
                (0..channels).flat_map(|channel| rows.iter().map(move |row| row[channel] as f32)).collect()
            };
            let mut moments = Moments::new(m, n, [1, 1]);
            let (x, y) = (planes(&self.inputs, m), planes(&self.targets, n));
            moments.add(&x, &[1, m, pixels, 1], &y, &[1, n, pixels, 1]).unwrap();
            let parts = part_of.iter().flatten().max().map_or(0, |last| last + 1);
            let mut contributions = Contributions::new(parts);
            contributions.add(&moments, &self.map, part_of);
            contributions
        }
    }

    #[test]
    fn sums_are_those_of_what_is_added_at_each_pixel() {
        let part_of = [Some(1), None, Some(0), Some(1), Some(2), None];
        let drawn = Drawn::new(1, 3, &[1.0, 0.5, 2.0, 1.0, 0.3, 1.0], &[1.0, 0.5, 0.0, 1.0, 2.0, 1.0]);
        let found = drawn.contributions(&part_of);
        let rest = drawn.added(&part_of, None);
        let target = drawn.targets.iter().flat_map(|y| y.iter().zip(&drawn.map.bias).map(|(y, b)| y - b));
        let target: Vec<f64> = target.zip(&rest).map(|(y, rest)| y - rest).collect();
        let added: Vec<Vec<f64>> = (0..3).map(|part| drawn.added(&part_of, Some(part))).collect();
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{found} is not {expected}");
        };
        for (p, z) in added.iter().enumerate() {
            added.iter().enumerate().for_each(|(q, other)| close(found.along(p)[q], dot(z, other)));
            close(found.towards_target(p), dot(z, &target));
        }
        let squares = [0, 3].iter().flat_map(|&i| (0..3).map(move |o| (i, o)));
        close(found.weight_norm(1), squares.map(|(i, o)| drawn.map.weight[o * 6 + i].powi(2)).sum::<f64>().sqrt());
    }
}

//! Linear maps fitted in closed form: ridge regression over the pixels of maps, from plain sums; and which channels a linear
//! map can do without, from the same sums ([`Contributions`]).
//!
//! [`Moments`] are filled batch by batch, like the sums of [`evidence`](crate::evidence); memory does not grow with the
//! number of images.
//!
//! ```
//! use layerprune::fit::{Moments, Prior, ridge};
//!
//! // One image of two channels and four pixels; the target is 2·x₀ − x₁ + 1.
//! let entry = [0.0, 1.0, 2.0, 3.0, 1.0, 0.0, 5.0, 2.0];
//! let target = [0.0, 3.0, 0.0, 5.0];
//! let mut moments = Moments::new(2, 1, [1, 1]);
//! moments.add(&entry, &[1, 2, 2, 2], &target, &[1, 1, 2, 2])?;
//! let fitted = ridge(&moments, 1e-12, Prior::Zero)?;
//! assert!((fitted.weight[0] - 2.0).abs() < 1e-6 && (fitted.weight[1] + 1.0).abs() < 1e-6);
//! assert!((fitted.bias[0] - 1.0).abs() < 1e-6 && fitted.r2.unwrap() > 0.999_999);
//! # Ok::<(), layerprune::fit::FitError>(())
//! ```

mod contributions;
mod greedy;
mod lasso;
mod non_negative;

pub use contributions::Contributions;
pub use greedy::greedy;
pub use lasso::lasso;
pub use non_negative::non_negative;

/// Penalty that is used unless asked for otherwise, relative to the mean variance of the inputs.
pub const DEFAULT_PENALTY: f64 = 1e-3;

/// Why nothing can be fitted.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum FitError {
    /// Maps that are not those the sums are for.
    #[error(
        "maps of {entry:?} and {target:?} do not fit: {inputs} and {outputs} channels at a stride of {strides:?} are expected"
    )]
    Shape {
        /// Shape of the maps to fit from.
        entry: Vec<usize>,
        /// Shape of the maps to fit to.
        target: Vec<usize>,
        /// Channels expected of the former.
        inputs: usize,
        /// Channels expected of the latter.
        outputs: usize,
        /// The stride.
        strides: [usize; 2],
    },
    /// Maps of other sizes than those that the node should give.
    #[error("maps of {found:?} are not those of this node")]
    OtherNode {
        /// Their shape.
        found: Vec<usize>,
    },
    /// NaN or infinity among the values.
    #[error("the values hold numbers that are not finite")]
    NotFinite,
    /// No pixel was added.
    #[error("there is nothing to fit to: no image was given")]
    Empty,
    /// A prior of one channel for each channel, where their numbers differ.
    #[error("{inputs} channels cannot each stand for one of {outputs}")]
    NotSquare {
        /// Channels to fit from.
        inputs: usize,
        /// Channels to fit to.
        outputs: usize,
    },
    /// Channels that depend on each other, and no penalty that would decide between them.
    #[error(
        "channel {channel} follows from those before it, and a penalty of {penalty:e} does not decide between them"
    )]
    Singular {
        /// The channel.
        channel: usize,
        /// The penalty.
        penalty: f64,
    },
}

/// What a strong penalty draws the weights to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prior {
    /// Nothing: the target's mean.
    Zero,
    /// Each channel as it is.
    Identity,
}

/// Sums over the pixels `(x, y)` of paired maps: `Σ[x;1][x;1]ᵀ`, `Σ[x;1]yᵀ`, `Σy²`, in double precision.
///
/// Memory: 8 · (m + 1) · (m + n + 1) bytes for m channels to fit from and n to fit to. Cost of adding a pixel:
/// m · (m / 2 + n) multiply-adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    inputs: usize,
    outputs: usize,
    strides: [usize; 2],
    count: u64,
    /// (m + 1) × (m + 1), row-major; only the lower triangle is filled.
    xx: Vec<f64>,
    /// (m + 1) × n, row-major.
    xy: Vec<f64>,
    yy: Vec<f64>,
}

/// A fitted map `y = W·x + b` of pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// n × m, row-major: a row for each channel of y.
    pub weight: Vec<f64>,
    /// n numbers.
    pub bias: Vec<f64>,
    /// Share of the target's variance that the map explains on what it was fitted to; `None` where there is none.
    pub r2: Option<f64>,
}

impl Moments {
    /// Empty sums for maps of `inputs` channels, of which every `strides`-th pixel stands for one of `outputs` channels.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize, strides: [usize; 2]) -> Self {
        let side = inputs + 1;
        let (xx, xy) = (vec![0.0; side * side], vec![0.0; side * outputs]);
        Self { inputs, outputs, strides, count: 0, xx, xy, yy: vec![0.0; outputs] }
    }

    /// Pixels added so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a batch: `entry` and `target` of shapes N,C,H,W, row-major. Of `entry` those pixels count that a 1x1
    /// convolution of this stride without padding reads.
    ///
    /// # Errors
    /// [`FitError::Shape`], [`FitError::NotFinite`]; nothing was added then.
    pub fn add(
        &mut self,
        entry: &[f32],
        entry_shape: &[usize],
        target: &[f32],
        target_shape: &[usize],
    ) -> Result<(), FitError> {
        let fault = || FitError::Shape {
            entry: entry_shape.to_vec(),
            target: target_shape.to_vec(),
            inputs: self.inputs,
            outputs: self.outputs,
            strides: self.strides,
        };
        let &[images, inputs, height, width] = entry_shape else { return Err(fault()) };
        let [rows, columns] = [height.div_ceil(self.strides[0]), width.div_ceil(self.strides[1])];
        let lengths = [images * inputs * height * width, images * self.outputs * rows * columns];
        if inputs != self.inputs
            || *target_shape != [images, self.outputs, rows, columns]
            || [entry.len(), target.len()] != lengths
        {
            return Err(fault());
        }
        if !entry.iter().chain(target).all(|x| x.is_finite()) {
            return Err(FitError::NotFinite);
        }
        let pixels = rows * columns;
        let mut x = vec![0.0; inputs * pixels];
        let mut y = vec![0.0; self.outputs * pixels];
        for image in 0..images {
            let planes = &entry[image * inputs * height * width..][..inputs * height * width];
            for (plane, kept) in planes.chunks_exact((height * width).max(1)).zip(x.chunks_exact_mut(pixels.max(1))) {
                for (row, kept) in kept.chunks_exact_mut(columns).enumerate() {
                    let line = &plane[row * self.strides[0] * width..][..width];
                    for (kept, &pixel) in kept.iter_mut().zip(line.iter().step_by(self.strides[1])) {
                        *kept = f64::from(pixel);
                    }
                }
            }
            let planes = &target[image * self.outputs * pixels..][..self.outputs * pixels];
            for (kept, &pixel) in y.iter_mut().zip(planes) {
                *kept = f64::from(pixel);
            }
            self.add_planes(&x, &y, pixels);
        }
        self.count += (images * pixels) as u64;
        Ok(())
    }

    fn add_planes(&mut self, x: &[f64], y: &[f64], pixels: usize) {
        let side = self.inputs + 1;
        let plane = |of: &[f64], channel: usize| -> std::ops::Range<usize> {
            debug_assert!((channel + 1) * pixels <= of.len());
            channel * pixels..(channel + 1) * pixels
        };
        for i in 0..self.inputs {
            let a = &x[plane(x, i)];
            for j in 0..=i {
                self.xx[i * side + j] += dot(a, &x[plane(x, j)]);
            }
            for j in 0..self.outputs {
                self.xy[i * self.outputs + j] += dot(a, &y[plane(y, j)]);
            }
            self.xx[self.inputs * side + i] += a.iter().sum::<f64>();
        }
        self.xx[self.inputs * side + self.inputs] += pixels as f64;
        for j in 0..self.outputs {
            let b = &y[plane(y, j)];
            self.xy[self.inputs * self.outputs + j] += b.iter().sum::<f64>();
            self.yy[j] += dot(b, b);
        }
    }

    /// Share of the target's variance that `map` explains on these pixels: `1 − Σ|y − Wx − b|² / Σ|y − ȳ|²`, over all
    /// channels together; `None` where the target does not vary.
    #[must_use]
    pub fn r2(&self, map: &Linear) -> Option<f64> {
        let m = self.inputs;
        let covariance = self.covariance();
        let (mut error, mut total) = (0.0, 0.0);
        for j in 0..self.outputs {
            let w = &map.weight[j * m..(j + 1) * m];
            let variance = self.yy[j] / self.n() - self.y_mean(j).powi(2);
            let along: f64 = (0..m).map(|i| w[i] * self.xy_centered(i, j)).sum();
            let spread: f64 = (0..m).map(|i| w[i] * dot(w, &covariance[i * m..(i + 1) * m])).sum();
            let offset = self.y_mean(j) - map.bias[j] - (0..m).map(|i| w[i] * self.x_mean(i)).sum::<f64>();
            error += variance - 2.0 * along + spread + offset * offset;
            total += variance;
        }
        (total > 0.0).then(|| 1.0 - error / total)
    }

    fn n(&self) -> f64 {
        self.count as f64
    }

    fn xx_at(&self, i: usize, j: usize) -> f64 {
        self.xx[i.max(j) * (self.inputs + 1) + i.min(j)]
    }

    fn x_mean(&self, i: usize) -> f64 {
        self.xx_at(self.inputs, i) / self.n()
    }

    fn y_mean(&self, j: usize) -> f64 {
        self.xy[self.inputs * self.outputs + j] / self.n()
    }

    fn xx_centered(&self, i: usize, j: usize) -> f64 {
        self.xx_at(i, j) / self.n() - self.x_mean(i) * self.x_mean(j)
    }

    fn xy_centered(&self, i: usize, j: usize) -> f64 {
        self.xy[i * self.outputs + j] / self.n() - self.x_mean(i) * self.y_mean(j)
    }

    /// The centered second moments of the inputs, m × m.
    fn covariance(&self) -> Vec<f64> {
        let m = self.inputs;
        (0..m * m).map(|place| self.xx_centered(place / m, place % m)).collect()
    }

    /// Mean variance of the inputs, which penalties are relative to.
    fn scale(&self) -> f64 {
        (0..self.inputs).map(|i| self.xx_centered(i, i)).sum::<f64>() / (self.inputs.max(1)) as f64
    }

    fn check(&self, prior: Prior) -> Result<(), FitError> {
        if self.count == 0 {
            return Err(FitError::Empty);
        }
        let (inputs, outputs) = (self.inputs, self.outputs);
        if prior == Prior::Identity && inputs != outputs {
            return Err(FitError::NotSquare { inputs, outputs });
        }
        Ok(())
    }

    /// The map of these weights with the intercept that makes its mean the target's.
    fn with_bias(&self, weight: Vec<f64>) -> Linear {
        let m = self.inputs;
        let bias = |j: usize| self.y_mean(j) - (0..m).map(|i| weight[j * m + i] * self.x_mean(i)).sum::<f64>();
        let bias = (0..self.outputs).map(bias).collect();
        let mut map = Linear { weight, bias, r2: None };
        map.r2 = self.r2(&map);
        map
    }
}

/// Ridge regression (Hoerl and Kennard, Technometrics 1970, eq. 2.1) with an intercept that is not penalised, drawn to
/// `prior`: with the centered covariances `C` and the prior's weights `P`,
/// `W = P + (C_yx − P·C_xx)·(C_xx + λ·s·I)⁻¹`, `b = ȳ − W·x̄`, where `s` is the mean of the diagonal of `C_xx`, so that
/// `penalty` = λ means the same at any scale of the values.
///
/// # Errors
/// [`FitError::Empty`], [`FitError::NotSquare`], [`FitError::Singular`].
pub fn ridge(moments: &Moments, penalty: f64, prior: Prior) -> Result<Linear, FitError> {
    moments.check(prior)?;
    let (m, n) = (moments.inputs, moments.outputs);
    let at_prior = |i: usize, j: usize| f64::from(u8::from(prior == Prior::Identity && i == j));
    ridge_towards(moments, penalty, (0..n * m).map(|place| at_prior(place % m, place / m)).collect())
}

/// As [`ridge`], drawn to these weights: n × m, row-major.
///
/// # Errors
/// [`FitError::Empty`], [`FitError::Singular`].
///
/// # Panics
/// Where `prior` is of another length.
pub fn ridge_towards(moments: &Moments, penalty: f64, prior: Vec<f64>) -> Result<Linear, FitError> {
    moments.check(Prior::Zero)?;
    let (m, n) = (moments.inputs, moments.outputs);
    assert_eq!(prior.len(), n * m, "a prior of {n} x {m} numbers is needed");
    let mut weight = prior;
    let scale = moments.scale();
    if scale > 0.0 {
        let covariance = moments.covariance();
        let mut matrix = covariance.clone();
        for i in 0..m {
            matrix[i * m + i] += penalty * scale;
        }
        factor(&mut matrix, m, scale).map_err(|channel| FitError::Singular { channel, penalty })?;
        let mut column = vec![0.0; m];
        for (j, row) in weight.chunks_exact_mut(m).enumerate() {
            for (i, right) in column.iter_mut().enumerate() {
                *right = moments.xy_centered(i, j) - dot(row, &covariance[i * m..(i + 1) * m]);
            }
            solve(&matrix, m, &mut column);
            for (weight, change) in row.iter_mut().zip(&column) {
                *weight += change;
            }
        }
    }
    Ok(moments.with_bias(weight))
}

/// Ridge regression of each channel on the one in its place alone, drawn to a scale of 1: a scale and shift of each
/// channel, as a map whose weight is diagonal. Formula and penalty are those of [`ridge`].
///
/// # Errors
/// [`FitError::Empty`]; [`FitError::NotSquare`] where the numbers of channels differ.
pub fn scale_shift(moments: &Moments, penalty: f64) -> Result<Linear, FitError> {
    moments.check(Prior::Identity)?;
    let m = moments.inputs;
    let scale = moments.scale();
    let mut weight = vec![0.0; m * m];
    for i in 0..m {
        let variance = moments.xx_centered(i, i);
        let bound = variance + penalty * scale;
        let change = if bound > 0.0 { (moments.xy_centered(i, i) - variance) / bound } else { 0.0 };
        weight[i * m + i] = 1.0 + change;
    }
    Ok(moments.with_bias(weight))
}

/// Inner product in eight running sums, which the compiler makes vector instructions of.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Cholesky's factorisation `A = L·Lᵀ` in place, on the lower triangle. Gives the row whose pivot is not above what
/// rounding leaves of numbers of size `scale`.
fn factor(matrix: &mut [f64], side: usize, scale: f64) -> Result<(), usize> {
    let least = scale * side as f64 * f64::EPSILON;
    for i in 0..side {
        let (done, rest) = matrix.split_at_mut(i * side);
        let row = &mut rest[..side];
        for j in 0..i {
            let other = &done[j * side..][..side];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if pivot.is_nan() || pivot <= least {
            return Err(i);
        }
        row[i] = pivot.sqrt();
    }
    Ok(())
}

/// Solves `L·Lᵀ·z = right` in place.
fn solve(lower: &[f64], side: usize, right: &mut [f64]) {
    for i in 0..side {
        let row = &lower[i * side..][..side];
        right[i] = (right[i] - dot(&row[..i], &right[..i])) / row[i];
    }
    for i in (0..side).rev() {
        let row = &lower[i * side..][..side];
        right[i] /= row[i];
        let solved = right[i];
        for (right, factor) in right[..i].iter_mut().zip(row) {
            *right -= factor * solved;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::stats::SplitMix;

    #[derive(Deserialize)]
    struct Golden {
        fits: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        entry: [usize; 4],
        outputs: usize,
        strides: [usize; 2],
        identity: bool,
        penalty: f64,
        weight: Vec<f64>,
        bias: Vec<f64>,
        r2: f64,
        scale: Option<Vec<f64>>,
        shift: Option<Vec<f64>>,
    }

    fn numbers(random: &mut SplitMix, count: usize) -> Vec<f32> {
        (0..count).map(|_| random.uniform() as f32).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-8, "{found} is not {expected}");
        }
    }

    fn golden() -> Vec<(Case, Moments)> {
        let golden: Golden = serde_json::from_str(include_str!("../../../../fixtures/golden/ridge.json")).unwrap();
        let drawn = |(seed, case): (usize, Case)| {
            let mut random = SplitMix::new(seed as u64);
            let [images, inputs, height, width] = case.entry;
            let target = [images, case.outputs, height.div_ceil(case.strides[0]), width.div_ceil(case.strides[1])];
            let x = numbers(&mut random, case.entry.iter().product());
            let y = numbers(&mut random, target.iter().product());
            let mut moments = Moments::new(inputs, case.outputs, case.strides);
            // Image by image: what stands in one batch or in several does not matter.
            let mut maps = x.chunks_exact(x.len() / images).zip(y.chunks_exact(y.len() / images));
            maps.try_for_each(|(x, y)| {
                moments.add(x, &[1, inputs, height, width], y, &[1, target[1], target[2], target[3]])
            })
            .unwrap();
            (case, moments)
        };
        golden.fits.into_iter().enumerate().map(drawn).collect()
    }

    #[test]
    fn fits_agree_with_least_squares_by_numpy() {
        for (case, moments) in golden() {
            let prior = if case.identity { Prior::Identity } else { Prior::Zero };
            let fitted = ridge(&moments, case.penalty, prior).unwrap();
            close(&fitted.weight, &case.weight);
            close(&fitted.bias, &case.bias);
            close(&[fitted.r2.unwrap()], &[case.r2]);
            if let (Some(scale), Some(shift)) = (case.scale, case.shift) {
                let fitted = scale_shift(&moments, case.penalty).unwrap();
                let m = case.entry[1];
                let found: Vec<f64> = (0..m).map(|i| fitted.weight[i * m + i]).collect();
                close(&found, &scale);
                close(&fitted.bias, &shift);
                assert_eq!(fitted.weight.iter().filter(|&&weight| weight != 0.0).count(), m);
            }
        }
    }

    #[test]
    fn a_strong_penalty_gives_the_prior() {
        for (case, moments) in golden().into_iter().filter(|(case, _)| case.identity) {
            let m = case.entry[1];
            let prior: Vec<f64> = (0..m * m).map(|place| f64::from(u8::from(place / m == place % m))).collect();
            let far = |fitted: Linear| fitted.weight.iter().zip(&prior).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far(ridge(&moments, 1e9, Prior::Identity).unwrap()) < 1e-8);
            assert!(far(scale_shift(&moments, 1e9).unwrap()) < 1e-8);
            assert!(ridge(&moments, 1e9, Prior::Zero).unwrap().weight.iter().all(|weight| weight.abs() < 1e-8));
        }
    }

    #[test]
    fn any_weights_can_be_what_a_penalty_draws_to() {
        for (case, moments) in golden() {
            let mut random = SplitMix::new(3);
            let prior: Vec<f64> = (0..moments.inputs * moments.outputs).map(|_| random.normal()).collect();
            let strong = ridge_towards(&moments, 1e9, prior.clone()).unwrap();
            for (found, prior) in strong.weight.iter().zip(&prior) {
                assert!((found - prior).abs() < 1e-6, "{found} is not {prior}");
            }
            let zero = ridge_towards(&moments, case.penalty, vec![0.0; prior.len()]).unwrap();
            assert_eq!(zero, ridge(&moments, case.penalty, Prior::Zero).unwrap());
        }
    }

    #[test]
    fn the_share_explained_is_told_of_other_pixels_as_well() {
        let mut moments = Moments::new(1, 1, [1, 1]);
        moments.add(&[0.0, 1.0, 2.0, 3.0], &[1, 1, 2, 2], &[0.0, 2.0, 4.0, 6.0], &[1, 1, 2, 2]).unwrap();
        let map = |weight, bias| Linear { weight: vec![weight], bias: vec![bias], r2: None };
        assert_eq!(moments.r2(&map(2.0, 0.0)), Some(1.0));
        assert_eq!(moments.r2(&map(0.0, 3.0)), Some(0.0));
        assert_eq!(moments.r2(&map(2.0, 5.0)), Some(-4.0));
        let mut flat = Moments::new(1, 1, [1, 1]);
        flat.add(&[0.0, 1.0], &[1, 1, 1, 2], &[3.0, 3.0], &[1, 1, 1, 2]).unwrap();
        assert_eq!(ridge(&flat, 1e-3, Prior::Zero).unwrap(), Linear { weight: vec![0.0], bias: vec![3.0], r2: None });
    }

    #[test]
    fn dead_channels_do_no_harm() {
        let mut moments = Moments::new(2, 2, [1, 1]);
        let (x, y) = ([1.0, 2.0, 0.0, 0.0], [3.0, 5.0, 7.0, 7.0]);
        moments.add(&x, &[1, 2, 1, 2], &y, &[1, 2, 1, 2]).unwrap();
        let fitted = ridge(&moments, 1e-9, Prior::Identity).unwrap();
        assert!((fitted.weight[0] - 2.0).abs() < 1e-6 && (fitted.bias[1] - 7.0).abs() < 1e-6, "{fitted:?}");
        assert_eq!(
            ridge(&moments, 0.0, Prior::Zero).unwrap_err().to_string(),
            "channel 1 follows from those before it, and a penalty of 0e0 does not decide between them"
        );
        let mut constant = Moments::new(1, 1, [1, 1]);
        constant.add(&[4.0, 4.0], &[1, 1, 1, 2], &[1.0, 3.0], &[1, 1, 1, 2]).unwrap();
        let fitted = ridge(&constant, 1e-3, Prior::Identity).unwrap();
        assert_eq!((fitted.weight, fitted.bias, fitted.r2), (vec![1.0], vec![-2.0], Some(0.0)));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let mut moments = Moments::new(2, 1, [2, 2]);
        let message = |error: FitError| error.to_string();
        assert_eq!(
            message(ridge(&moments, 1.0, Prior::Zero).unwrap_err()),
            "there is nothing to fit to: no image was given"
        );
        assert_eq!(
            message(moments.add(&[0.0; 18], &[1, 2, 3, 3], &[0.0; 9], &[1, 1, 3, 3]).unwrap_err()),
            "maps of [1, 2, 3, 3] and [1, 1, 3, 3] do not fit: 2 and 1 channels at a stride of [2, 2] are expected"
        );
        let mut entry = [0.0; 18];
        entry[17] = f32::NAN;
        assert_eq!(
            message(moments.add(&entry, &[1, 2, 3, 3], &[0.0; 4], &[1, 1, 2, 2]).unwrap_err()),
            "the values hold numbers that are not finite"
        );
        moments.add(&[1.0; 18], &[1, 2, 3, 3], &[0.0; 4], &[1, 1, 2, 2]).unwrap();
        for error in [ridge(&moments, 1.0, Prior::Identity), scale_shift(&moments, 1.0)] {
            assert_eq!(message(error.unwrap_err()), "2 channels cannot each stand for one of 1");
        }
    }
}

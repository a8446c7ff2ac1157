//! Eight floats at a time: AVX2 with FMA where the processor has them, else plain arrays that the compiler makes what it
//! can of.

/// Numbers in a vector.
pub(super) const LANES: usize = 8;

/// A vector of [`LANES`] floats.
pub(super) trait Lanes: Copy {
    fn splat(x: f32) -> Self;

    /// # Safety
    /// `from` must point at [`LANES`] initialised floats; it need not be aligned to more than a float.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// `to` must point at room for [`LANES`] floats that nothing else reads or writes meanwhile.
    unsafe fn store(self, to: *mut f32);

    fn add(self, other: Self) -> Self;

    fn sub(self, other: Self) -> Self;

    fn mul(self, other: Self) -> Self;

    /// `self · factor + addend`, rounded once or twice.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// Rows become columns.
    fn transpose(rows: [Self; LANES]) -> [Self; LANES];
}

/// Work that is compiled for each kind of [`Lanes`]. All that `run` calls for each vector must be `#[inline(always)]`.
pub(super) trait Work {
    fn run<L: Lanes>(self);
}

/// Whether tests do without the processor's vectors.
#[cfg(test)]
pub(super) static PLAIN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Runs `work` with the best vectors that this processor has.
pub(super) fn dispatch(work: impl Work) {
    #[cfg(test)]
    if PLAIN.load(std::sync::atomic::Ordering::Relaxed) {
        return work.run::<Plain>();
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features.
        return unsafe { avx2::run(work) };
    }
    work.run::<Plain>();
}

/// Runs `work` compiled for the best vectors that this processor has, where the compiler finds what to do with them.
/// What it calls for each element must be `#[inline(always)]`.
#[inline(always)]
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features.
        return unsafe { avx2::call(work) };
    }
    work()
}

#[derive(Clone, Copy)]
struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Lanes for Plain {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises as many floats; an array of floats is aligned as a float is.
        Self(unsafe { from.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) };
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.zip(factor, |a, b| a * b).add(addend)
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        std::array::from_fn(|column| Self(std::array::from_fn(|row| rows[row].0[column])))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LANES, Lanes, Work};

    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run(work: impl Work) {
        work.run::<Avx2>();
    }

    /// # Safety
    /// As [`run`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn call<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Only [`run`] names this type, so what is below runs on processors with AVX2 and FMA alone.
    #[derive(Clone, Copy)]
    struct Avx2(__m256);

    // SAFETY of all blocks below: the processor has the features, see `Avx2`; pointers are as the trait demands.
    impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(x: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(x) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) };
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
            let [a, b, c, d, e, f, g, h] = rows.map(|row| row.0);
            unsafe {
                let (ab, ab_) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd, cd_) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let (ef, ef_) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
                let (gh, gh_) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
                let (p0, p1) = (_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
                let (p2, p3) = (_mm256_shuffle_ps::<0x44>(ab_, cd_), _mm256_shuffle_ps::<0xee>(ab_, cd_));
                let (q0, q1) = (_mm256_shuffle_ps::<0x44>(ef, gh), _mm256_shuffle_ps::<0xee>(ef, gh));
                let (q2, q3) = (_mm256_shuffle_ps::<0x44>(ef_, gh_), _mm256_shuffle_ps::<0xee>(ef_, gh_));
                [
                    Self(_mm256_permute2f128_ps::<0x20>(p0, q0)),
                    Self(_mm256_permute2f128_ps::<0x20>(p1, q1)),
                    Self(_mm256_permute2f128_ps::<0x20>(p2, q2)),
                    Self(_mm256_permute2f128_ps::<0x20>(p3, q3)),
                    Self(_mm256_permute2f128_ps::<0x31>(p0, q0)),
                    Self(_mm256_permute2f128_ps::<0x31>(p1, q1)),
                    Self(_mm256_permute2f128_ps::<0x31>(p2, q2)),
                    Self(_mm256_permute2f128_ps::<0x31>(p3, q3)),
                ]
            }
        }
    }
}

use std::mem::MaybeUninit;

/// A vector of `len` floats that `write` sets.
///
/// # Safety
/// `write` must set every element of the slice it is given.
pub(super) unsafe fn filled(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut data = super::recycle::take(len);
    write(&mut data.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller promises that `write` has set the first `len` elements.
    unsafe { data.set_len(len) };
    data
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
    static STRIP: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` floats of unspecified content that this thread keeps from call to call.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = work(&mut scratch[..len]);
    SCRATCH.set(scratch);
    result
}

/// At least `len` floats of unspecified content, kept by this thread; to be given back by [`give_back_strip`].
pub(super) fn take_strip(len: usize) -> Vec<f32> {
    let mut strip = STRIP.take();
    if strip.len() < len {
        strip.resize(len, 0.0);
    }
    strip
}

pub(super) fn give_back_strip(strip: Vec<f32>) {
    STRIP.set(strip);
}

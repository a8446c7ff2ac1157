//! Large buffers, kept for the next of their size: fresh memory costs a page fault for every 4 KiB of every step.

use std::collections::BTreeMap;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Bytes;
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty};

/// Buffers below so many floats are left to the allocator, which keeps these itself.
const SMALLEST: usize = 1 << 14;

/// Buffers by capacity, none of the lists empty, with the floats in them and in what was taken.
struct Kept {
    buffers: BTreeMap<usize, Vec<Vec<f32>>>,
    idle: usize,
    taken: usize,
    most_taken: usize,
    leases: usize,
}

impl Kept {
    const fn new() -> Self {
        Self { buffers: BTreeMap::new(), idle: 0, taken: 0, most_taken: 0, leases: 0 }
    }

    /// A buffer that was kept, or `None` where a new one is to be made.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let found = self.remove(len);
        self.taken += len;
        self.most_taken = self.most_taken.max(self.taken);
        if found.is_none() {
            self.release();
        }
        found
    }

    fn keep(&mut self, data: Vec<f32>) {
        let len = data.capacity();
        self.forget(len);
        if self.leases > 0 {
            self.buffers.entry(len).or_default().push(data);
            self.idle += len;
        }
    }

    /// Counts a buffer of `len` as taken no longer.
    fn forget(&mut self, len: usize) {
        self.taken = self.taken.saturating_sub(len);
    }

    fn remove(&mut self, len: usize) -> Option<Vec<f32>> {
        let list = self.buffers.get_mut(&len)?;
        let buffer = list.pop();
        if list.is_empty() {
            self.buffers.remove(&len);
        }
        self.idle -= len;
        buffer
    }

    /// Lets go of the largest until all together is no more than was once taken together.
    fn release(&mut self) {
        while self.taken + self.idle > self.most_taken
            && let Some((&len, _)) = self.buffers.last_key_value()
        {
            drop(self.remove(len));
        }
    }

    fn end_lease(&mut self) {
        self.leases -= 1;
        if self.leases == 0 {
            self.buffers.clear();
            (self.idle, self.most_taken) = (0, self.taken);
        }
    }
}

static KEPT: Mutex<Kept> = Mutex::new(Kept::new());

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as there is one, buffers are kept; with the last one they go.
#[derive(Debug)]
pub(crate) struct Lease(());

impl Default for Lease {
    fn default() -> Self {
        kept().leases += 1;
        Self(())
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        kept().end_lease();
    }
}

/// An empty vector with room for `len` floats.
pub(super) fn take(len: usize) -> Vec<f32> {
    if len < SMALLEST {
        return Vec::with_capacity(len);
    }
    let found = kept().take(len);
    found.unwrap_or_else(|| Vec::with_capacity(len))
}

/// A vector of `len` zeros.
pub(super) fn zeroed(len: usize) -> Vec<f32> {
    let mut data = take(len);
    data.resize(len, 0.0);
    data
}

/// Keeps `data` for the next [`take`].
pub(super) fn keep(mut data: Vec<f32>) {
    if data.capacity() >= SMALLEST {
        data.clear();
        kept().keep(data);
    }
}

/// The bytes of `data`, which is kept once they go.
pub(super) fn bytes(data: Vec<f32>) -> Bytes {
    if data.capacity() < SMALLEST || data.len() != data.capacity() {
        return Bytes::from_elems(data);
    }
    let len = size_of_val(&data[..]);
    // SAFETY: the first `len` bytes are the vector's elements.
    unsafe { Bytes::from_controller(Box::new(Recycled(data)), len) }
}

/// A vector that fills its capacity, or an empty one without any where it was detached.
struct Recycled(Vec<f32>);

impl Drop for Recycled {
    fn drop(&mut self) {
        keep(std::mem::take(&mut self.0));
    }
}

impl AllocationController for Recycled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let len = size_of_val(&self.0[..]);
        // SAFETY: the vector's elements are so many initialised bytes, and the caller only writes initialised ones.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let len = size_of_val(&self.0[..]);
        // SAFETY: as above.
        Ok(unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), len) })
    }

    fn try_detach(&mut self) -> Option<NonNull<u8>> {
        let mut data = ManuallyDrop::new(std::mem::take(&mut self.0));
        kept().forget(data.capacity());
        NonNull::new(data.as_mut_ptr().cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_while_there_is_a_lease() {
        let mut kept = Kept { leases: 1, most_taken: 100, ..Kept::new() };
        assert!(kept.take(20).is_none());
        let data = Vec::with_capacity(20);
        let at = data.as_ptr();
        kept.keep(data);
        assert!(kept.take(21).is_none(), "that is another size");
        assert_eq!(kept.take(20).map(|data| data.as_ptr()), Some(at));
        assert!(kept.take(20).is_none(), "it was taken");
        kept.end_lease();
        kept.keep(Vec::with_capacity(20));
        assert!(kept.take(20).is_none(), "nobody has a lease");
    }

    #[test]
    fn no_more_is_held_than_was_once_taken() {
        let mut kept = Kept { leases: 1, ..Kept::new() };
        assert!(kept.take(100).is_none());
        kept.keep(Vec::with_capacity(100));
        assert!(kept.take(60).is_none());
        assert_eq!((kept.taken, kept.idle), (60, 0), "60 more than 100 would be held");
        kept.keep(Vec::with_capacity(60));
        assert!(kept.take(40).is_none());
        assert_eq!((kept.taken, kept.idle), (40, 60));
    }

    #[test]
    fn bytes_become_a_vector_without_a_copy() {
        let data = vec![2.0; SMALLEST];
        let at = data.as_ptr();
        let Ok(out) = bytes(data).try_into_vec::<f32>() else { panic!("they are floats") };
        assert_eq!((out.as_ptr(), out.len(), out[SMALLEST - 1]), (at, SMALLEST, 2.0));
    }
}

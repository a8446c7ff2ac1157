//! Threads that stay on their processors.

use std::thread;

/// Runs `work` on a thread of its own that may run on the first `threads` of the allowed processors only. Threads that
/// `work` starts, and programs, inherit that, so sessions to be timed are to be loaded in it.
///
/// Nothing else is bound: rayon's global pool, which others use, is started before. Where the system cannot bind threads
/// (anything but Linux), `work` runs all the same; [`Circumstances::pinned`](layerprune::record::Circumstances::pinned) of
/// what it measures tells.
pub fn pinned<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::current_num_threads();
    let bound = || {
        system::bind(threads);
        work()
    };
    match thread::scope(|scope| scope.spawn(bound).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The processors that this thread may run on, in order; `None` where the system does not tell.
pub(crate) fn processors() -> Option<Vec<usize>> {
    system::processors()
}

/// Whether this thread is bound to no more processors than a model with `threads` keeps busy.
pub(crate) fn is_pinned(threads: usize) -> bool {
    processors().is_some_and(|processors| processors.len() <= threads)
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) fn processors() -> Option<Vec<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect())
    }

    /// A thread that cannot be bound runs where it did.
    pub(super) fn bind(threads: usize) {
        let Some(processors) = processors() else { return };
        let mut set = CpuSet::new();
        processors.into_iter().take(threads).for_each(|processor| set.set(processor));
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn processors() -> Option<Vec<usize>> {
        None
    }

    pub(super) fn bind(_: usize) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_and_the_threads_it_starts_are_bound_and_nothing_else_is() {
        let before = processors().unwrap();
        let (own, started) = pinned(1, || (processors(), thread::spawn(processors).join().unwrap()));
        assert_eq!(own.unwrap(), before[..1]);
        assert_eq!(started.unwrap(), before[..1]);
        assert!(pinned(1, || is_pinned(1)));
        assert_eq!(processors().unwrap(), before);
        assert_eq!(rayon::broadcast(|_| processors().unwrap())[0], before);
    }

    #[test]
    fn more_threads_than_processors_are_bound_to_all() {
        let before = processors().unwrap();
        assert_eq!(pinned(before.len() + 7, processors).unwrap(), before);
    }
}

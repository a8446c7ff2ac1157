//! The seeds of the fuzz targets, and what fuzzing found: no panic, and no memory beyond what the file accounts for. A binary
//! of its own, with one test, since it limits the memory of the process.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::alloc::System;
use std::fs;
use std::path::Path;

use cap::Cap;
use layerprune_testing::fuzz;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

type Body = fn(&[u8]);

#[test]
fn seeds_take_no_more_memory_than_files_of_their_size_may() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let targets: [(&str, Body); 3] = [("read", fuzz::read), ("inspect", fuzz::inspect), ("prune", fuzz::prune)];
    let mut count = 0;
    for seed in fs::read_dir(&folder).unwrap() {
        let path = seed.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for (target, body) in targets {
            // An allocation beyond the limit ends the process, after this line.
            println!("{target}: {}", path.display());
            MEMORY.set_limit(MEMORY.allocated() + fuzz::memory(bytes.len())).unwrap();
            body(&bytes);
            MEMORY.set_limit(usize::MAX).unwrap();
        }
        count += 1;
    }
    assert!(count > 20, "{count} seeds");
}

#![no_main]

use std::alloc::System;

use cap::Cap;
use layerprune_testing::fuzz;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

fuzz_target!(|bytes: &[u8]| {
    MEMORY.set_limit(MEMORY.allocated() + fuzz::memory(bytes.len())).expect("the limit is above what is allocated");
    fuzz::inspect(bytes);
    MEMORY.set_limit(usize::MAX).expect("there is no higher limit");
});

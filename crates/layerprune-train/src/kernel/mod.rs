//! Kernels on plain slices for what training spends its time on, and their place in automatic differentiation. Tensors on
//! another device than the CPU go to burn's own operations.
//!
//! Every sum runs in an order that the shapes alone decide, so results do not depend on the number of threads.
#![allow(unsafe_code)]

mod buffer;
mod columns;
mod conv;
mod depthwise;
mod fill;
mod matmul;
mod norm;
mod ops;
mod pool;
mod recycle;
pub(crate) mod reference;
mod simd;
mod sum;
mod winograd;

pub(crate) use buffer::Buffer;
pub(crate) use conv::{Conv, Window};
pub(crate) use ops::{Statistics, add_relu, average_pool, batch_norm, clip, conv, from_vec, max_pool, to_vec};
pub(crate) use pool::Pool;
pub(crate) use recycle::Lease;

#[cfg(test)]
mod tests;

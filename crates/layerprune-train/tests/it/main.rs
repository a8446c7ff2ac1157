//! Training as its users see it.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod curve;
mod devices;
mod distill;
mod ecc;
mod errors;
mod golden;
mod gradients;
mod losses;
mod models;
mod ops;
mod shared;
mod sparsity;
mod statistics;
mod steps;
mod taylor;

//! Training as its users see it.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod errors;
mod golden;
mod losses;
mod models;
mod ops;
mod shared;
mod statistics;
mod steps;
mod taylor;

//! Training as its users see it.

mod checkpoint;
mod errors;
mod golden;
mod models;
mod ops;
mod statistics;

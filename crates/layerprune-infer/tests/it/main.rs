//! Sessions, taps, evaluation and timing on small graphs whose values are worked out by hand.
#![allow(clippy::unwrap_used)]

mod evaluation;
mod models;
mod onnxruntime;
mod session;
mod timing;

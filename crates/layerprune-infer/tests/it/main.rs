//! Sessions, taps, evaluation and timing on small graphs whose values are worked out by hand.
#![allow(clippy::unwrap_used)]

mod command;
mod evaluation;
mod models;
mod onnxruntime;
mod session;
mod simulation;
mod timing;

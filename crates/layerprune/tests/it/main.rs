//! Integration tests of the library, one binary.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod behaviour;
mod bridge;
mod channels;
mod compensate;
mod criteria;
mod criteria_page;
mod graph;
mod hostile;
mod latency_model;
mod layering;
mod methods;
mod methods_page;
mod oracle;
mod pipeline;
mod plan;
mod reconstruct;
mod roundtrip;
mod scale;
mod units;

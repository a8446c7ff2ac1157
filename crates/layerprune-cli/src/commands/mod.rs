//! One file for each verb.

pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod latency;
pub(crate) mod profile;
pub(crate) mod prune;
mod prune_by_method;
pub(crate) mod recalibrate;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod selfcheck;
pub(crate) mod study;
pub(crate) mod sweep;
pub(crate) mod train;
pub(crate) mod verify;

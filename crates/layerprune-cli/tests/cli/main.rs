//! Tests of the command as a user meets it, one binary: what goes in, and what comes out on which stream.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod budget;
mod channels;
mod compare;
mod data;
mod distil;
mod engines;
mod eval;
mod events;
mod finetune;
mod guides;
mod images;
mod inspect;
mod interrupt;
mod kills;
mod latency;
mod method_ecc;
mod methods;
mod nets;
mod output;
mod place;
mod prune;
mod recalibrate;
mod records;
mod recover;
mod report;
mod run;
mod score;
mod slurm;
mod study;
mod sweep;
mod usage;
mod verify;

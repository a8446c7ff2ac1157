//! Studies: many models made alike, each a job of its own.

mod cut;
mod recipe;
mod slurm;
mod whole;
mod work;
mod workshop;

pub(crate) use recipe::{EXAMPLE, StudyRecipe};
pub(crate) use slurm::{Slurm, Submitted};
pub(crate) use whole::Whole;
pub(crate) use work::{Goal, Job};
pub(crate) use workshop::Workshop;

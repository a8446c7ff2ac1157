//! Studies: many models made alike, each a job of its own.

mod job;
mod recipe;

pub(crate) use job::Workshop;
pub(crate) use recipe::{EXAMPLE, Job, StudyRecipe};

//! Removes layers from trained CNNs: everything that is a function of a graph.
//!
//! A model goes from file to file through plain data, one module a step, each importing only from those before it:
//!
//! | step | module | gives |
//! |---|---|---|
//! | read | [`onnx`] | a [`Model`](onnx::Model): a [`graph`] and all else the file says, nothing lost |
//! | understand | [`ops`], [`shapes`], [`cost`] | types, shapes, MACs, parameters; barriers with a reason |
//! | find | [`analysis`] | [`Units`](analysis::Units): what can be removed, and why the rest cannot |
//! | score | [`criteria`], [`evidence`] | [`Scores`](criteria::Scores): higher = more important |
//! | choose | [`plan`] | a [`Plan`](plan::Plan) with its predicted cost |
//! | cut | [`surgery`] | a smaller model |
//! | fit | [`fit`] | linear maps from plain sums, for what stands in place of a cut |
//! | all of it | [`pipeline`] | the order of the stages; engines stand behind ports |
//! | compare | [`methods`] | every method that the paper compares with, until budgets are met |
//! | tell | [`record`], [`report`] | a JSON account of a run or a sweep; HTML, Markdown and CSV of it |
//!
//! No tensor library and no inference engine is needed here; `layerprune-train` and `layerprune-infer` name those.
//!
//! # From file to file
//!
//! ```
//! use layerprune::analysis::Units;
//! use layerprune::criteria::{Scoring, WEIGHT_NORM};
//! use layerprune::evidence::Evidence;
//! use layerprune::onnx::Model;
//! use layerprune::plan::{self, Constraints};
//! use layerprune::surgery;
//!
//! # let folder = tempfile::tempdir()?;
//! # let (before, after) = (folder.path().join("model.onnx"), folder.path().join("pruned.onnx"));
//! # layerprune_testing::resnet(0, [3, 16, 16], 1, &[8, 16], 3, 10).write(&before)?;
//! let model = Model::read(&before)?;
//! let units = Units::find(&model, &Default::default())?;
//! for unit in &units.units {
//!     println!("{}: {}", unit.name, unit.reason.as_deref().unwrap_or("can be bypassed"));
//! }
//!
//! let scores = Scoring::from(&WEIGHT_NORM).score(&model.graph, &units, &Evidence::default())?;
//! let plan = plan::lowest(&units, &scores, &Constraints::bypass_only(), 2)?;
//! let pruned = surgery::apply(&model, &units, &plan)?;
//! pruned.write(&after)?;
//!
//! let counted = Units::find(&Model::read(&after)?, &Default::default())?.costs.total();
//! assert_eq!(counted, plan.after);
//! assert!(counted.macs < plan.before.macs);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod analysis;
pub mod batch;
pub mod cost;
pub mod criteria;
pub mod evidence;
pub mod files;
pub mod fit;
pub mod graph;
pub mod methods;
pub mod onnx;
pub mod ops;
pub mod pipeline;
pub mod plan;
pub mod proto;
pub mod record;
pub mod report;
pub mod shapes;
pub mod stats;
pub mod surgery;

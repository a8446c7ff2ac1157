//! Image data sets as an iterator of batches.
//!
//! A [`DataSpec`] says where images are (`cifar10:DIR`, `imagefolder:DIR`, …), [`open()`] reads one [`Split`] of them
//! into a [`Dataset`], and [`Dataset::batches`] gives them as `f32` tensors in NCHW order, normalised, augmented and
//! shuffled as asked, the next batch being made on another thread while the current one is in use.
//!
//! | kind | what is read |
//! |---|---|
//! | `idx:DIR` | MNIST's format, plain or gzipped: `train-images-idx3-ubyte[.gz]`, `t10k-labels-idx1-ubyte[.gz]`, … |
//! | `cifar10:DIR`, `cifar100:DIR` | binary version: `data_batch_1.bin` … `test_batch.bin`; `train.bin`, `test.bin` |
//! | `imagefolder:DIR` | JPEG and PNG, as `DIR/train/<class>/*` and `DIR/test/<class>/*` (or `val`), or `DIR/<class>/*` |
//! | `npz:FILE` | arrays `x_train`, `y_train`, `x_test`, `y_test`; MedMNIST's names; or `x`, `y` |
//! | `csv:FILE` | a table of image files, each with a class, several classes or numbers, and perhaps a split |
//! | `parquet:FILE_OR_DIR` | Hugging Face data sets: a column of encoded images and one of labels |
//! | `webdataset:FILES_OR_DIR` | tar files with `NAME.jpg` and `NAME.cls` or `NAME.json` for each image |
//! | `demo` | a set that the caller has, given to [`Dataset::from_u8`] |
//!
//! Everything random is a function of a seed, the epoch and the sample, never of threads: the same options give the
//! same batches, and epoch *k* is the same whether or not the epochs before it were run.
//!
//! ```
//! use layerprune_data::{BatchOptions, Dataset, Preprocess};
//!
//! // Four gray images of 1 x 2 pixels, of two classes.
//! let pixels = vec![0, 255, 51, 51, 102, 102, 255, 0];
//! let classes = vec!["dark".to_owned(), "light".to_owned()];
//! let data = Dataset::from_u8(pixels, [1, 2, 1], vec![0, 0, 1, 1], classes)?;
//! let (kept, held_out) = data.hold_out(0.5, 7)?;
//! assert_eq!((kept.len(), held_out.class_counts()), (2, vec![1, 1]));
//!
//! let options = BatchOptions { batch_size: 3, preprocess: Preprocess::default(), ..BatchOptions::default() };
//! let batches = data.batches(&options)?.collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(batches[0].shape, [3, 1, 1, 2]);
//! assert_eq!(batches[1].images, [1.0, 0.0]);
//! # Ok::<(), layerprune_data::DataError>(())
//! ```

mod augment;
mod batch;
mod cifar;
mod config;
mod csv;
mod dataset;
mod error;
mod files;
mod geometry;
pub mod idx;
mod imagefolder;
mod labels;
mod npz;
mod open;
mod parquet;
mod preprocess;
mod random;
mod resize;
mod spec;
mod split;
mod webdataset;

pub use augment::{Augment, AugmentError, ColorJitter, ErasingFill, RandAugment, RandomErasing, ResizedCrop, Rotation};
pub use batch::{BatchOptions, Batches};
pub use config::{CONFIG_FILES, ModelConfig};
pub use dataset::{Dataset, TargetKind};
pub use error::DataError;
pub use geometry::{Crop, CropRounding, Geometry, Resize};
pub use layerprune::batch::{Batch, Targets};
pub use open::{OpenOptions, Split, open};
pub use preprocess::Preprocess;
pub use resize::Interpolation;
pub use spec::DataSpec;

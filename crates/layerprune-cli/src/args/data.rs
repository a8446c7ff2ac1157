//! Where images come from, and the shapes that a file leaves open.

use clap::Args;
use serde::Serialize;

/// Shapes of inputs that the file leaves open.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct ShapeArgs {
    /// Shape of an input that the file leaves open: `1,3,224,224`, or `NAME=1,3,224,224` where there are several
    #[arg(long, value_name = "[NAME=]SIZES")]
    pub(crate) input_shape: Vec<String>,
}

/// Where images come from and what is done to them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Labelled images: `idx:DIR`, `cifar10:DIR`, `cifar100:DIR`, `imagefolder:DIR`, `npz:FILE`, `csv:FILE` (a table of paths and
    /// labels), `parquet:FILE_OR_DIR` (from Hugging Face), `webdataset:FILES_OR_DIR` (tar files), `demo`; the kind may be left
    /// out where the path shows it
    #[arg(long, value_name = "KIND:PATH")]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

/// What is done to images, and which part of them is held out.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Data")]
pub(crate) struct ImageArgs {
    /// Normalisation of pixels scaled to 0..1: `none`, `imagenet`, `cifar10`, `mnist`, `fashion-mnist`, or `MEANS/STDS` such as
    /// `0.5,0.5,0.5/0.2,0.2,0.2`; where not given, that of the file of `--preprocess`, and without one the one of these
    /// under which the model is right most often on 200 training images; what was taken is named
    #[arg(long, value_name = "NAME|MEANS/STDS")]
    pub(crate) normalize: Option<String>,
    /// Resize every image with Pillow's antialiasing: stretch it to HEIGHTxWIDTH, or to a square of N; or with `shorter:N` its
    /// shorter side to N, keeping its shape
    #[arg(long, value_name = "HxW|N|shorter:N")]
    pub(crate) resize: Option<String>,
    /// Then cut HEIGHTxWIDTH, or a square of N, out of the middle; what lies outside of an image is black
    #[arg(long, value_name = "HxW|N")]
    pub(crate) crop: Option<String>,
    /// How to resize: `bilinear` where not given, `bicubic`, `lanczos`, `hamming`, `box`, or `nearest` without antialiasing
    #[arg(long, value_name = "NAME")]
    pub(crate) interpolation: Option<String>,
    /// Take normalisation, resizing and cropping from this file: `preprocessor_config.json` of Hugging Face or `config.json` of
    /// timm. One of these names that lies beside the model is taken by itself; `none` leaves it. --normalize, --resize,
    /// --crop and --interpolation each go before what the file says of the same; the rest is taken from it
    #[arg(long, value_name = "FILE|none")]
    pub(crate) preprocess: Option<String>,
    /// Feed images of one channel as three equal ones
    #[arg(long)]
    pub(crate) gray_to_rgb: bool,
    /// Share of the training set held out, by seed, for every choice that is made
    #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
    pub(crate) held_out: f64,
}

/// [`DataArgs`] for commands that can do without data.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct OptionalData {
    /// Labelled images, as for `eval`; criteria of the weights alone do without
    #[arg(long, value_name = "KIND:PATH")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

impl OptionalData {
    pub(crate) fn given(&self) -> Option<DataArgs> {
        Some(DataArgs { data: self.data.clone()?, images: self.images.clone() })
    }
}

//! What can be wrong with data.

use std::path::PathBuf;

use crate::augment::AugmentError;
use crate::open::Split;
use crate::resize::Interpolation;
use crate::spec::KINDS;

/// Why data could not be read or batches not be made.
///
/// `file` is what was read as the user knows it: a path, or a path and the array in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Compressed bytes, or an array of an archive, could not be unpacked.
    #[error("cannot unpack `{file}`")]
    Unpack {
        /// What was unpacked.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text names no kind of data, and isn't the path of anything.
    #[error("`{text}` is neither a data set (expected {KINDS}) nor an existing path")]
    UnknownKind {
        /// The text.
        text: String,
    },
    /// The path is there but doesn't show what kind of data it holds.
    #[error("cannot tell what kind of data `{}` holds; say one of {KINDS}", path.display())]
    UndetectedKind {
        /// The path.
        path: PathBuf,
    },
    /// The demo data set lies in no file.
    #[error("data set `demo` lies in no file; the caller provides it")]
    Demo,
    /// The data set has no such split.
    #[error("`{}` has no {split} split: looked for {looked_for}", path.display())]
    NoSplit {
        /// The data set.
        path: PathBuf,
        /// The split.
        split: Split,
        /// The files, folders or arrays that would be the split.
        looked_for: String,
    },
    /// Of some files of a data set, names or folders say the split, and of this one neither does.
    #[error(
        "neither the name nor the folder of `{}` says its split, as that of `{}` does; rename it, move it away, or name the \
         files in braces",
        path.display(), part.display()
    )]
    Undivided {
        /// The file.
        path: PathBuf,
        /// A file that belongs to a split.
        part: PathBuf,
    },
    /// A file is shorter or longer than its header or format says.
    #[error("`{file}` holds {found} bytes of data, expected {expected}")]
    Length {
        /// The file.
        file: String,
        /// Its length in bytes; what lies more than one byte past the expected end is not counted.
        found: u64,
        /// The length in bytes that was expected.
        expected: String,
    },
    /// A header says something that isn't supported.
    #[error("`{file}`: {field} is {found}, expected {expected}")]
    Header {
        /// The file.
        file: String,
        /// The part of the header.
        field: &'static str,
        /// What it says.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// The data holds no pixel.
    #[error("`{file}` holds no images")]
    Empty {
        /// The file or folder.
        file: String,
    },
    /// There is not one label for each image.
    #[error("`{file}`: {images} images, but {labels} labels")]
    Count {
        /// The data set.
        file: String,
        /// How many images.
        images: usize,
        /// How many labels.
        labels: usize,
    },
    /// A label names no class.
    #[error("`{file}`: label {label} of image {index} is not in 0..{classes}")]
    Label {
        /// The file.
        file: String,
        /// The image's place in the file, from 0.
        index: usize,
        /// Its label.
        label: i128,
        /// How many classes there are.
        classes: usize,
    },
    /// The archive lacks an array.
    #[error("`{}` has no array `{array}`; it has {found}", path.display())]
    NoArray {
        /// The archive.
        path: PathBuf,
        /// The array.
        array: String,
        /// The arrays that it has.
        found: String,
    },
    /// What stands beside an image can't be used as its label.
    #[error("{at}: label `{label}` is not {expected}")]
    LabelAt {
        /// The file and the row, line or member.
        at: String,
        /// The label.
        label: String,
        /// What was expected.
        expected: String,
    },
    /// A table names an image file that isn't there.
    #[error("{at}: there is no file `{}`", path.display())]
    NoImage {
        /// The table and the line.
        at: String,
        /// The image file, as looked for.
        path: PathBuf,
    },
    /// A table can't be read as one.
    #[error("cannot read `{}` as a table", path.display())]
    Csv {
        /// The table.
        path: PathBuf,
        /// Why, with the line.
        source: csv::Error,
    },
    /// A text file isn't UTF-8.
    #[error("`{}`, line {line}: the text is not UTF-8; save the file as UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// Text can't be read as JSON.
    #[error("cannot read `{file}` as JSON")]
    Json {
        /// The file, or the member of one.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// An image of a tar file lacks its label, or a label its image.
    #[error("`{}`: sample `{sample}` has no {missing}; it has {found}", file.display())]
    MissingMember {
        /// The tar file, or parquet file.
        file: PathBuf,
        /// The name that the members share, or the row.
        sample: String,
        /// What is missing.
        missing: &'static str,
        /// The kinds of the members that are there.
        found: String,
    },
    /// An image of a tar file has a label where those before it have none.
    #[error("`{}`: sample `{sample}` has a label, those before it have none", file.display())]
    StrayLabel {
        /// The tar file.
        file: PathBuf,
        /// The name that the members share.
        sample: String,
    },
    /// Two images of a tar file share a name.
    #[error("`{}`: sample `{sample}` has two images", file.display())]
    TwoImages {
        /// The tar file.
        file: PathBuf,
        /// The name that the members share.
        sample: String,
    },
    /// A parquet file can't be read.
    #[error("cannot read `{}` as parquet", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A parquet file has no column that can be used as the images.
    #[error("`{}`: {found}, expected {expected}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// The columns that there are.
        found: String,
        /// What they should be.
        expected: String,
    },
    /// A pixel given as a float is outside of 0 to 1.
    #[error("`{file}`: pixel value {value} of image {index} is not in 0..=1")]
    Pixel {
        /// The file.
        file: String,
        /// The image's place in the file, from 0.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A JPEG or PNG file could not be decoded.
    #[error("cannot decode `{}`", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// A JPEG file stops before its image does.
    #[error("`{}` is truncated: no end-of-image marker after its {found} bytes", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: usize,
    },
    /// An image file declares more pixels than are decoded.
    #[error("`{}` declares {width} x {height} pixels, more than {limit} pixels in all", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Largest number of pixels.
        limit: u64,
    },
    /// Resizing would make more pixels of an image than are held.
    #[error(
        "`{}` would be {} x {} pixels (height x width) after resizing, more than {limit} pixels in all",
        path.display(), size[0], size[1]
    )]
    ResizedTooLarge {
        /// The file.
        path: PathBuf,
        /// Height and width in pixels after resizing.
        size: [u32; 2],
        /// Largest number of pixels.
        limit: u64,
    },
    /// Two images have different sizes, and no size to resize to was given.
    #[error(
        "images differ in size: `{}` is {} x {} pixels (height x width), `{}` is {} x {}; give a size to resize to",
        first.display(), first_size[0], first_size[1], other.display(), other_size[0], other_size[1]
    )]
    Sizes {
        /// The data set's first image.
        first: PathBuf,
        /// Its height and width in pixels.
        first_size: [u32; 2],
        /// An image of another size.
        other: PathBuf,
        /// Its height and width in pixels.
        other_size: [u32; 2],
    },
    /// An image has colour where those looked at when the folder was opened are gray.
    #[error("`{}` has colour, `{}` and the other images looked at are gray", other.display(), first.display())]
    Colour {
        /// The data set's first image.
        first: PathBuf,
        /// The image with colour.
        other: PathBuf,
    },
    /// A folder's name can't be a class's name.
    #[error("the folder name `{}` is not valid Unicode", path.display())]
    NotUnicode {
        /// The folder.
        path: PathBuf,
    },
    /// The test split has a class that the train split has not.
    #[error("class `{class}` of `{}` is not among the {} classes of `{}`", path.display(), known, train.display())]
    UnknownClass {
        /// The class.
        class: String,
        /// The split's folder.
        path: PathBuf,
        /// How many classes the train split has.
        known: usize,
        /// The train split's folder.
        train: PathBuf,
    },
    /// Some classes have no image.
    #[error("{} of {of} classes have no image: {}", classes.len(), classes.join(", "))]
    MissingClasses {
        /// The classes without an image.
        classes: Vec<String>,
        /// How many classes there are.
        of: usize,
    },
    /// A class has fewer images than asked for.
    #[error("class `{class}` has {found} images, expected at least {expected}")]
    TooFew {
        /// The class.
        class: String,
        /// How many images it has.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
    /// A set whose images have no class has fewer images than asked for.
    #[error("the data set has {found} images, expected at least {expected}")]
    TooFewImages {
        /// How many images there are.
        found: usize,
        /// How many were asked for.
        expected: usize,
    },
    /// No class has a second image, so that nothing can be held out.
    #[error("nothing can be held out of {images} images: no class has more than one")]
    NothingToHoldOut {
        /// How many images there are.
        images: usize,
    },
    /// A fraction isn't one.
    #[error("fraction to hold out is {found}, expected more than 0 and less than 1")]
    Fraction {
        /// The number given.
        found: f64,
    },
    /// There is no such image.
    #[error("image {index} does not exist: the data set has {len} images")]
    Index {
        /// The index given.
        index: usize,
        /// How many images there are.
        len: usize,
    },
    /// The size to resize to has no pixel.
    #[error("size to resize to is {} x {} pixels (height x width), expected 1 x 1 to 2^26 pixels in all", size[0], size[1])]
    ResizeTo {
        /// Height and width in pixels.
        size: [u32; 2],
    },
    /// An interpolation can't be read from text.
    #[error("`{text}` is no interpolation; there are {}", Interpolation::ALL.map(Interpolation::name).join(", "))]
    Interpolation {
        /// The text.
        text: String,
    },
    /// A file says something about preprocessing that isn't understood.
    #[error("`{}`: `{key}` is {found}, expected {expected}", path.display())]
    ModelConfig {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is understood.
        expected: String,
    },
    /// A normalisation can't be read from text.
    #[error("cannot read the normalisation `{text}`: expected one of {presets}, or `MEAN,…/STD,…`")]
    Normalization {
        /// The text.
        text: String,
        /// The presets that there are.
        presets: String,
    },
    /// A normalisation has the wrong number of values.
    #[error("{part} has {found} values, expected 1 or {channels} (one for each channel)")]
    PerChannel {
        /// `mean` or `std`.
        part: &'static str,
        /// How many values it has.
        found: usize,
        /// How many channels the images have.
        channels: usize,
    },
    /// A number of a normalisation can't be used.
    #[error("{part} of the normalisation is {found}, expected {expected}")]
    NormalizationValue {
        /// `mean`, `std` or `scale`.
        part: &'static str,
        /// The number.
        found: f32,
        /// What it has to be.
        expected: &'static str,
    },
    /// The batch size is 0.
    #[error("batch size is 0, expected at least 1")]
    BatchSize,
    /// Incomplete batches are dropped, and there is no complete one.
    #[error("the data set has {len} images, fewer than one full batch of {batch_size}")]
    NoFullBatch {
        /// How many images there are.
        len: usize,
        /// How many images are in a batch.
        batch_size: usize,
    },
    /// The padding is wider than the images.
    #[error("crop padding is {pad} pixels, expected less than the image's smaller side of {side}")]
    Padding {
        /// Padding on each side in pixels.
        pad: usize,
        /// The image's smaller side in pixels.
        side: usize,
    },
    /// The thread that makes batches could not be started.
    #[error("cannot start the thread that makes batches")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// Images can't be augmented as asked.
    #[error(transparent)]
    Augment(#[from] AugmentError),
}

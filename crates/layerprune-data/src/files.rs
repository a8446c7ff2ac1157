//! Images that stay on disk until they are needed.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use image::{DynamicImage, ImageDecoder, ImageReader};
use rayon::prelude::*;

use crate::dataset::planes;
use crate::error::DataError;
use crate::geometry::{Geometry, MAX_PIXELS};

/// How many images are looked at when a data set is opened.
const SAMPLES: usize = 256;

/// Most bytes of a file that are read to find an image's size; JPEG files may have thumbnails and profiles before it.
const HEADER: u64 = 1 << 18;

/// The images of a data set, in order, of which memory holds only where they lie.
#[derive(Debug)]
pub(crate) struct Files {
    source: Source,
    gray: bool,
    /// Height and width of the first image, in pixels.
    first_size: [u32; 2],
    geometry: Geometry,
}

/// Where images lie.
#[derive(Debug)]
pub(crate) enum Source {
    /// Each in a JPEG or PNG file of its own.
    Paths(Vec<PathBuf>),
    /// Encoded as JPEG or PNG in parts of larger files.
    Parts { files: Vec<Container>, parts: Vec<Part> },
    /// One after another as plain bytes.
    Raw(Raw),
}

/// A file that holds many encoded images.
#[derive(Debug)]
pub(crate) struct Container {
    /// The file as the user knows it.
    pub(crate) path: PathBuf,
    /// The place of the bytes, if they were unpacked to an unnamed file.
    pub(crate) unpacked: Option<std::sync::Arc<Mutex<File>>>,
}

/// Where an encoded image lies in its file.
#[derive(Debug)]
pub(crate) struct Part {
    /// The file's place in the list.
    pub(crate) file: usize,
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// The image as the user knows it within the file.
    pub(crate) name: Box<str>,
}

/// Images of one shape that lie in a file as plain bytes.
#[derive(Debug)]
pub(crate) struct Raw {
    /// The file as the user knows it.
    pub(crate) name: PathBuf,
    pub(crate) file: Mutex<File>,
    /// Where the first image begins.
    pub(crate) start: u64,
    pub(crate) count: usize,
    /// Channels, height and width.
    pub(crate) shape: [usize; 3],
    /// Whether channels are the last axis.
    pub(crate) interleaved: bool,
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Source::Paths(paths) => paths.len(),
            Source::Parts { parts, .. } => parts.len(),
            Source::Raw(raw) => raw.count,
        }
    }

    /// An image as the user knows it.
    fn name(&self, index: usize) -> PathBuf {
        match self {
            Source::Paths(paths) => paths[index].clone(),
            Source::Parts { files, parts } => {
                let part = &parts[index];
                format!("{}: {}", files[part.file].path.display(), part.name).into()
            }
            Source::Raw(raw) => format!("{}: image {index}", raw.name.display()).into(),
        }
    }

    /// The first `limit` bytes of an image's file; all pixels of one that is stored plain.
    fn read(&self, index: usize, limit: u64) -> Result<Vec<u8>, DataError> {
        let bytes = match self {
            Source::Paths(paths) => read_some(&paths[index], limit),
            Source::Parts { files, parts } => {
                let part = &parts[index];
                let container = &files[part.file];
                let length = part.length.min(limit);
                match &container.unpacked {
                    Some(file) => read_at(&mut lock(file), part.start, length),
                    None => File::open(&container.path).and_then(|mut file| read_at(&mut file, part.start, length)),
                }
            }
            Source::Raw(raw) => raw.read(index),
        };
        bytes.map_err(|source| DataError::Read { path: self.name(index), source })
    }
}

impl Raw {
    fn read(&self, index: usize) -> io::Result<Vec<u8>> {
        let size = self.shape.iter().product::<usize>() as u64;
        read_at(&mut lock(&self.file), self.start + index as u64 * size, size)
    }
}

fn lock(file: &Mutex<File>) -> std::sync::MutexGuard<'_, File> {
    // Every reader seeks first, so that what a panic left of the file's position is of no account.
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_some(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if limit == u64::MAX {
        return fs::read(path);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_at(file: &mut File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl Files {
    /// Looks at some of the images, spread over all, for their size and whether they have colour; there is one at least.
    pub(crate) fn new(source: Source, geometry: Geometry) -> Result<Files, DataError> {
        if let Source::Raw(raw) = &source {
            let [channels, height, width] = raw.shape;
            let files = Files { gray: channels == 1, first_size: [height as u32, width as u32], geometry, source };
            files.expect_size(0, files.first_size)?;
            return Ok(files);
        }
        let step = source.len().div_ceil(SAMPLES);
        let samples: Vec<usize> = (0..source.len()).step_by(step).collect();
        let headers: Vec<Result<Header, DataError>> =
            samples.par_iter().map(|&index| Header::read(&source, index)).collect();
        let headers = headers.into_iter().collect::<Result<Vec<Header>, DataError>>()?;
        let gray = headers.iter().all(|header| !header.colour);
        let files = Files { gray, first_size: headers[0].size, geometry, source };
        for (index, header) in samples.into_iter().zip(&headers) {
            files.check(index, header)?;
        }
        Ok(files)
    }

    pub(crate) fn len(&self) -> usize {
        self.source.len()
    }

    /// Channels, height and width of every image after resizing and cropping.
    pub(crate) fn shape(&self) -> [usize; 3] {
        let [height, width] = self.geometry.output_size(self.first_size);
        [self.channels(), height as usize, width as usize]
    }

    fn channels(&self) -> usize {
        match &self.source {
            Source::Raw(raw) => raw.shape[0],
            _ if self.gray => 1,
            _ => 3,
        }
    }

    /// The pixels of an image in CHW order, resized and cropped.
    pub(crate) fn decode(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let (image, [height, width]) = self.decode_whole(index)?;
        Ok(self.geometry.apply(image, [self.channels(), height, width]))
    }

    /// The pixels of an image in CHW order and of its own size, with its height and width.
    pub(crate) fn decode_whole(&self, index: usize) -> Result<(Vec<u8>, [usize; 2]), DataError> {
        let bytes = self.source.read(index, u64::MAX)?;
        if let Source::Raw(raw) = &self.source {
            let channels = raw.shape[0];
            let image = if raw.interleaved { planes(&bytes, channels) } else { bytes };
            return Ok((image, [raw.shape[1], raw.shape[2]]));
        }
        if bytes.starts_with(&[0xff, 0xd8]) && !jpeg_ends(&bytes) {
            return Err(DataError::Truncated { path: self.source.name(index), found: bytes.len() });
        }
        let name = || self.source.name(index);
        let decoder = decoder(&bytes, name)?;
        self.check(index, &Header::of(&decoder, name)?)?;
        let image = DynamicImage::from_decoder(decoder).map_err(|source| DataError::Decode { path: name(), source })?;
        let size = [image.height() as usize, image.width() as usize];
        Ok((if self.gray { image.into_luma8().into_raw() } else { planes(&image.into_rgb8(), 3) }, size))
    }

    fn check(&self, index: usize, header: &Header) -> Result<(), DataError> {
        if self.gray && header.colour {
            return Err(DataError::Colour { first: self.source.name(0), other: self.source.name(index) });
        }
        self.expect_size(index, header.size)
    }

    fn expect_size(&self, index: usize, size: [u32; 2]) -> Result<(), DataError> {
        if self.geometry.is_too_large(size) {
            let size = self.geometry.resized(size);
            return Err(DataError::ResizedTooLarge { path: self.source.name(index), size, limit: MAX_PIXELS });
        }
        if self.geometry.output_size(size) != self.geometry.output_size(self.first_size) {
            return Err(DataError::Sizes {
                first: self.source.name(0),
                first_size: self.first_size,
                other: self.source.name(index),
                other_size: size,
            });
        }
        Ok(())
    }
}

/// What an image file says before its pixels.
struct Header {
    /// Height and width in pixels.
    size: [u32; 2],
    colour: bool,
}

impl Header {
    fn read(source: &Source, index: usize) -> Result<Header, DataError> {
        let name = || source.name(index);
        let start = source.read(index, HEADER)?;
        match decoder(&start, name).and_then(|decoder| Header::of(&decoder, name)) {
            // What lies before the size may be longer than what was read.
            Err(DataError::Decode { .. }) if start.len() as u64 == HEADER => {
                let bytes = source.read(index, u64::MAX)?;
                Header::of(&decoder(&bytes, name)?, name)
            }
            header => header,
        }
    }

    fn of(decoder: &impl ImageDecoder, name: impl Fn() -> PathBuf) -> Result<Header, DataError> {
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(DataError::TooLarge { path: name(), width, height, limit: MAX_PIXELS });
        }
        Ok(Header { size: [height, width], colour: decoder.color_type().has_color() })
    }
}

/// A decoder for what the bytes are, whatever their name says.
fn decoder<'a>(bytes: &'a [u8], name: impl Fn() -> PathBuf) -> Result<impl ImageDecoder + 'a, DataError> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| DataError::Read { path: name(), source })?;
    reader.into_decoder().map_err(|source| DataError::Decode { path: name(), source })
}

/// Whether the last scan of a JPEG file is followed by its end marker; decoders fill up what is missing with gray.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    bytes.ends_with(&[0xff, 0xd9]) || last(0xd9) > last(0xda)
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;
    use crate::{Crop, CropRounding, Resize};

    fn write(dir: &Path, name: &str, height: u32, width: u32) -> PathBuf {
        let path = dir.join(name);
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7]))
            .save_with_format(&path, ImageFormat::Png)
            .unwrap();
        path
    }

    #[test]
    fn images_of_several_sizes_are_made_one_size_by_resizing_and_cropping() {
        let dir = tempfile::tempdir().unwrap();
        let paths = vec![write(dir.path(), "a.png", 4, 6), write(dir.path(), "b.png", 9, 4)];
        let crop = Some(Crop { size: [2, 2], rounding: CropRounding::HalfEven });
        let cropped = Files::new(Source::Paths(paths.clone()), Geometry { crop, ..Geometry::default() }).unwrap();
        assert_eq!(cropped.shape(), [3, 2, 2]);
        assert_eq!(cropped.decode(0).unwrap(), [2, 3, 2, 3, 1, 1, 2, 2, 7, 7, 7, 7]);
        // Half of 9 - 2 lies between two rows, of which 4 is the even one.
        assert_eq!(cropped.decode(1).unwrap(), [1, 2, 1, 2, 4, 4, 5, 5, 7, 7, 7, 7]);
        assert_eq!(cropped.decode_whole(1).unwrap().1, [9, 4]);
        let shorter = Geometry { resize: Resize::Shorter(4), ..Geometry::default() };
        let error = Files::new(Source::Paths(paths), shorter).unwrap_err();
        assert!(matches!(error, DataError::Sizes { other_size: [9, 4], .. }), "{error}");
    }

    #[test]
    fn an_image_that_resizing_would_blow_up_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let paths = vec![write(dir.path(), "long.png", 1, 2000)];
        let geometry = Geometry {
            resize: Resize::Shorter(224),
            crop: Some(Crop { size: [224, 224], rounding: CropRounding::HalfEven }),
            ..Geometry::default()
        };
        let error = Files::new(Source::Paths(paths), geometry).unwrap_err().to_string();
        let expected =
            "long.png` would be 224 x 448000 pixels (height x width) after resizing, more than 67108864 pixels in all";
        assert!(error.ends_with(expected), "{error}");
    }
}

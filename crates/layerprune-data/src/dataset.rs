//! A data set and what can be taken from it.

use std::sync::Arc;

use layerprune::batch::Targets;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::error::DataError;
use crate::files::Files;
use crate::geometry::Geometry;
use crate::random::{Purpose, generator};
use crate::resize::Pixel;

/// Images of one shape, with a class each, or a row of numbers each, or neither.
///
/// Subsets share the images, so that taking them is cheap.
#[derive(Debug, Clone)]
pub struct Dataset {
    store: Arc<Store>,
    /// The images of the store that belong to this data set, in its order.
    order: Arc<[usize]>,
}

#[derive(Debug)]
struct Store {
    pixels: Pixels,
    /// Channels, height and width.
    shape: [usize; 3],
    labels: Vec<usize>,
    classes: Vec<String>,
    targets: Option<TargetRows>,
}

/// What is to be learned where it isn't one class for each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// Whether each class is in the image, as 0 or 1; [`Dataset::classes`] names the columns.
    MultiLabel,
    /// Any numbers.
    Regression,
}

/// A row of numbers for each image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetRows {
    pub(crate) kind: TargetKind,
    pub(crate) values: Vec<f32>,
    pub(crate) width: usize,
}

/// What is known of each image of a split.
#[derive(Debug, PartialEq)]
pub(crate) enum Annotation {
    /// The place of its class among these names.
    Classes { labels: Vec<usize>, names: Vec<String> },
    /// The numbers to be learned; the names are those of the classes of several labels, else none.
    Targets { rows: TargetRows, names: Vec<String> },
    /// Nothing.
    None,
}

/// The images of a data set in NCHW order.
#[derive(Debug)]
pub(crate) enum Pixels {
    /// 0 to 255.
    Bytes(Vec<u8>),
    /// 0 to 1.
    Floats(Vec<f32>),
    /// 0 to 255, read from disk when they are needed.
    Files(Files),
}

/// `0`, `1`, … as names for classes that have none.
pub(crate) fn class_numbers(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

impl Dataset {
    /// A data set in memory, from bytes in NHWC order and the height, width and channels of an image.
    ///
    /// `labels` are indices into `class_names`. Refuses no pixels, bytes missing or left over, and labels out of range.
    pub fn from_u8(
        images: Vec<u8>,
        [height, width, channels]: [usize; 3],
        labels: Vec<usize>,
        class_names: Vec<String>,
    ) -> Result<Dataset, DataError> {
        let file = "images in memory".to_owned();
        let image = [height, width, channels].into_iter().try_fold(1_usize, usize::checked_mul);
        let expected = image.and_then(|image| image.checked_mul(labels.len()));
        if expected != Some(images.len()) {
            let expected = format!("{} x {height} x {width} x {channels}", labels.len());
            return Err(DataError::Length { file, found: images.len() as u64, expected });
        }
        if images.is_empty() {
            return Err(DataError::Empty { file });
        }
        let planar = if channels == 1 {
            images
        } else {
            let mut planar = Vec::with_capacity(images.len());
            images.chunks_exact(height * width * channels).for_each(|image| add_planes(&mut planar, image, channels));
            planar
        };
        Dataset::new(file, Pixels::Bytes(planar), [channels, height, width], labels, class_names)
    }

    /// A data set of all images that are given, each of one class; `shape` is channels, height and width.
    pub(crate) fn new(
        file: String,
        pixels: Pixels,
        shape: [usize; 3],
        labels: Vec<usize>,
        names: Vec<String>,
    ) -> Result<Dataset, DataError> {
        Dataset::annotated(file, pixels, shape, Annotation::Classes { labels, names })
    }

    /// A data set of all images that are given; `shape` is channels, height and width.
    pub(crate) fn annotated(
        file: String,
        pixels: Pixels,
        shape: [usize; 3],
        annotation: Annotation,
    ) -> Result<Dataset, DataError> {
        let stored = match &pixels {
            Pixels::Bytes(bytes) => bytes.len(),
            Pixels::Floats(floats) => floats.len(),
            Pixels::Files(files) => files.len() * shape.iter().product::<usize>(),
        };
        let image: usize = shape.iter().product();
        if stored == 0 || image == 0 {
            return Err(DataError::Empty { file });
        }
        let images = stored / image;
        let (labels, classes, targets) = match annotation {
            Annotation::Classes { labels, names } => {
                if images != labels.len() {
                    return Err(DataError::Count { file, images, labels: labels.len() });
                }
                if let Some((index, label)) = labels.iter().enumerate().find(|(_, label)| **label >= names.len()) {
                    return Err(DataError::Label { file, index, label: *label as i128, classes: names.len() });
                }
                (labels, names, None)
            }
            Annotation::Targets { rows, names } => {
                let found = rows.values.len() / rows.width.max(1);
                if images != found {
                    return Err(DataError::Count { file, images, labels: found });
                }
                (vec![0; images], names, Some(rows))
            }
            Annotation::None => (vec![0; images], Vec::new(), None),
        };
        let order = (0..images).collect();
        Ok(Dataset { store: Arc::new(Store { pixels, shape, labels, classes, targets }), order })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The names of the classes; a label is an index into them, and so is the column of several labels. None where images
    /// have no classes.
    pub fn classes(&self) -> &[String] {
        &self.store.classes
    }

    /// Channels, height and width of each image as stored; see also
    /// [`Preprocess::output_shape`](crate::Preprocess::output_shape).
    pub fn image_shape(&self) -> [usize; 3] {
        self.store.shape
    }

    /// Whether each image has one class; else all labels are 0 and mean nothing.
    pub fn has_labels(&self) -> bool {
        self.store.targets.is_none() && !self.store.classes.is_empty()
    }

    /// What the rows of [`Dataset::target`] are; none where there are no such rows.
    pub fn target_kind(&self) -> Option<TargetKind> {
        self.store.targets.as_ref().map(|rows| rows.kind)
    }

    /// How many numbers there are for each image beside its label; none where there are no such rows.
    pub fn target_width(&self) -> Option<usize> {
        self.store.targets.as_ref().map(|rows| rows.width)
    }

    /// The row of numbers of an image.
    ///
    /// # Panics
    ///
    /// If `index` isn't less than [`Dataset::len`].
    pub fn target(&self, index: usize) -> Option<&[f32]> {
        let rows = self.store.targets.as_ref()?;
        Some(&rows.values[self.order[index] * rows.width..][..rows.width])
    }

    /// The rows of numbers of these images, as a batch carries them; none where there are no such rows.
    ///
    /// # Panics
    ///
    /// If an index isn't less than [`Dataset::len`].
    pub fn targets(&self, indices: &[usize]) -> Option<Targets> {
        let width = self.target_width()?;
        let values = indices.iter().filter_map(|&index| self.target(index)).flatten().copied().collect();
        Some(Targets { values, width })
    }

    /// The label of an image.
    ///
    /// # Panics
    ///
    /// If `index` isn't less than [`Dataset::len`].
    pub fn label(&self, index: usize) -> usize {
        self.store.labels[self.order[index]]
    }

    /// The labels of all images, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.order.iter().map(|&stored| self.store.labels[stored])
    }

    /// How many images each class has, by label; with several labels, how many images have each.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes().len()];
        if self.has_labels() {
            self.labels().for_each(|label| counts[label] += 1);
            return counts;
        }
        for row in (0..self.len()).filter_map(|index| self.target(index)) {
            counts.iter_mut().zip(row).for_each(|(count, value)| *count += usize::from(*value > 0.5));
        }
        counts
    }

    /// The images at these places, in this order; one may be taken more than once.
    pub fn subset(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        let stored = |&index: &usize| self.order.get(index).copied().ok_or(DataError::Index { index, len: self.len() });
        let order = indices.iter().map(stored).collect::<Result<_, _>>()?;
        Ok(Dataset { store: Arc::clone(&self.store), order })
    }

    /// Divides the images into those kept and those held out, the same fraction of each class being held out; of images
    /// that don't have one class each, the same fraction of all.
    ///
    /// The fraction, more than 0 and less than 1, of a class's images is rounded, but a class with two or more images
    /// is left with at least one on each side; the only image of a class is kept. Both sides are in this set's order.
    pub fn hold_out(&self, fraction: f64, seed: u64) -> Result<(Dataset, Dataset), DataError> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(DataError::Fraction { found: fraction });
        }
        let mut held_out = Vec::new();
        for mut members in self.members(seed, Purpose::HoldOut) {
            if members.len() > 1 {
                let count = (members.len() as f64 * fraction).round() as usize;
                members.truncate(count.clamp(1, members.len() - 1));
                held_out.append(&mut members);
            }
        }
        if held_out.is_empty() {
            return Err(DataError::NothingToHoldOut { images: self.len() });
        }
        held_out.sort_unstable();
        let kept: Vec<usize> = (0..self.len()).filter(|index| held_out.binary_search(index).is_err()).collect();
        Ok((self.subset(&kept)?, self.subset(&held_out)?))
    }

    /// The same number of images of every class, chosen at random, in this set's order; of images that don't have one class
    /// each, as many of all as that would be, or `per_class` where there are no classes.
    ///
    /// Refuses when there are fewer.
    pub fn balanced(&self, per_class: usize, seed: u64) -> Result<Dataset, DataError> {
        let mut chosen = Vec::new();
        if !self.has_labels() {
            let expected = per_class.saturating_mul(self.classes().len().max(1));
            chosen = self.members(seed, Purpose::Balance).concat();
            if chosen.len() < expected {
                return Err(DataError::TooFewImages { found: chosen.len(), expected });
            }
            chosen.truncate(expected);
            chosen.sort_unstable();
            return self.subset(&chosen);
        }
        for (class, members) in self.members(seed, Purpose::Balance).into_iter().enumerate() {
            let Some(members) = members.get(..per_class) else {
                let class = self.classes()[class].clone();
                return Err(DataError::TooFew { class, found: members.len(), expected: per_class });
            };
            chosen.extend_from_slice(members);
        }
        chosen.sort_unstable();
        self.subset(&chosen)
    }

    /// Refuses a set in which some class has no image, naming all such classes.
    pub fn require_every_class(&self) -> Result<(), DataError> {
        let missing = self.class_counts().into_iter().zip(self.classes()).filter(|(count, _)| *count == 0);
        let classes: Vec<String> = missing.map(|(_, class)| class.clone()).collect();
        if classes.is_empty() { Ok(()) } else { Err(DataError::MissingClasses { classes, of: self.classes().len() }) }
    }

    /// The indices of each class's images, shuffled; what a class gets doesn't depend on the other classes. Images that
    /// don't have one class each are together.
    fn members(&self, seed: u64, purpose: Purpose) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); if self.has_labels() { self.classes().len() } else { 1 }];
        for (index, label) in self.labels().enumerate() {
            members[label].push(index);
        }
        for (class, members) in members.iter_mut().enumerate() {
            members.shuffle(&mut generator(seed, purpose, class as u64, 0));
        }
        members
    }

    pub(crate) fn pixels(&self) -> &Pixels {
        &self.store.pixels
    }

    /// The place in the store of the image at `index`.
    pub(crate) fn stored(&self, index: usize) -> usize {
        self.order[index]
    }

    /// How many data sets share these images.
    #[cfg(test)]
    pub(crate) fn sharers(&self) -> usize {
        Arc::strong_count(&self.store)
    }

    /// The same data set with images resized and cropped; those that are read when needed are as they come.
    pub(crate) fn with_geometry(self, geometry: &Geometry) -> Result<Dataset, DataError> {
        let [channels, height, width] = self.store.shape;
        // Images of a size beyond u32 would not fit into memory.
        let size = [height as u32, width as u32];
        let pixels = match &self.store.pixels {
            Pixels::Files(_) => return Ok(self),
            _ if *geometry == Geometry::default() => return Ok(self),
            _ if geometry.is_too_large(size) => return Err(DataError::ResizeTo { size: geometry.resized(size) }),
            Pixels::Bytes(bytes) => Pixels::Bytes(apply(geometry, bytes, [height, width])),
            Pixels::Floats(floats) => Pixels::Floats(apply(geometry, floats, [height, width])),
        };
        let [height, width] = geometry.output_size(size);
        let shape = [channels, height as usize, width as usize];
        let Store { labels, classes, targets, .. } = &*self.store;
        let store = Store { pixels, shape, labels: labels.clone(), classes: classes.clone(), targets: targets.clone() };
        Ok(Dataset { store: Arc::new(store), order: self.order })
    }
}

/// Every channel of every image resized and cropped.
fn apply<P: Pixel + Default + Send + Sync>(geometry: &Geometry, pixels: &[P], [height, width]: [usize; 2]) -> Vec<P> {
    let planes = pixels.par_chunks_exact(height * width);
    planes.flat_map_iter(|plane| geometry.apply(plane.to_vec(), [1, height, width])).collect()
}

/// The channels of an image in HWC order, one after the other.
pub(crate) fn planes(image: &[u8], channels: usize) -> Vec<u8> {
    let mut planar = Vec::with_capacity(image.len());
    add_planes(&mut planar, image, channels);
    planar
}

/// Writes the channels of an image in HWC order behind what is there.
fn add_planes(planar: &mut Vec<u8>, image: &[u8], channels: usize) {
    for channel in 0..channels {
        match channels {
            // With a length that the compiler knows, channels are taken apart many pixels at a time.
            3 => planar.extend(image.as_chunks::<3>().0.iter().map(|pixel| pixel[channel])),
            _ => planar.extend(image.chunks_exact(channels).map(|pixel| pixel[channel])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BatchOptions;

    /// One gray pixel for each label, whose value is the image's place.
    fn with_labels(labels: &[usize], classes: usize) -> Dataset {
        let pixels = (0..labels.len()).map(|index| index as u8).collect();
        Dataset::from_u8(pixels, [1, 1, 1], labels.to_vec(), class_numbers(classes)).unwrap()
    }

    fn pixels(data: &Dataset) -> Vec<usize> {
        let options = BatchOptions { batch_size: 1000, ..BatchOptions::default() };
        let batch = data.batches(&options).unwrap().next().unwrap().unwrap();
        batch.images.iter().map(|value| (value * 255.0).round() as usize).collect()
    }

    #[test]
    fn images_in_memory_are_turned_from_hwc_to_chw() {
        let bytes = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let data = Dataset::from_u8(bytes, [2, 1, 3], vec![0, 0], class_numbers(1)).unwrap();
        assert_eq!(data.image_shape(), [3, 2, 1]);
        assert_eq!(pixels(&data), [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
    }

    #[test]
    fn images_in_memory_that_do_not_fit_their_labels_are_refused() {
        let make = |bytes: usize, size, labels: &[usize]| {
            Dataset::from_u8(vec![0; bytes], size, labels.to_vec(), class_numbers(2)).unwrap_err().to_string()
        };
        let expected = "`images in memory` holds 5 bytes of data, expected 1 x 2 x 1 x 3";
        assert_eq!(make(5, [2, 1, 3], &[0]), expected);
        assert_eq!(make(0, [2, 1, 3], &[]), "`images in memory` holds no images");
        assert_eq!(make(0, [0, 1, 3], &[0]), "`images in memory` holds no images");
        assert_eq!(make(2, [1, 1, 1], &[1, 2]), "`images in memory`: label 2 of image 1 is not in 0..2");
        assert!(make(2, [usize::MAX, 2, 1], &[1, 2]).starts_with("`images in memory` holds 2 bytes"));
    }

    #[test]
    fn a_subset_keeps_labels_and_images_together() {
        let data = with_labels(&[0, 1, 2, 1], 3);
        let subset = data.subset(&[3, 0, 3]).unwrap().subset(&[1, 2]).unwrap();
        assert_eq!(pixels(&subset), [0, 3]);
        assert_eq!((subset.label(0), subset.label(1), subset.len()), (0, 1, 2));
        assert_eq!(subset.class_counts(), [1, 1, 0]);
        let error = data.subset(&[0, 4]).unwrap_err().to_string();
        assert_eq!(error, "image 4 does not exist: the data set has 4 images");
    }

    #[test]
    fn the_held_out_part_is_stratified() {
        // 10, 5, 3, 2 and 1 images of the five classes; 30 % is 3, 1.5, 0.9, 0.6 and none of one.
        let labels: Vec<usize> =
            [(0, 10), (1, 5), (2, 3), (3, 2), (4, 1)].iter().flat_map(|&(class, count)| vec![class; count]).collect();
        let data = with_labels(&labels, 5);
        let (kept, held_out) = data.hold_out(0.3, 1).unwrap();
        assert_eq!(held_out.class_counts(), [3, 2, 1, 1, 0]);
        assert_eq!(kept.class_counts(), [7, 3, 2, 1, 1]);
        let mut all = [pixels(&kept), pixels(&held_out)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..21).collect::<Vec<_>>());
    }

    #[test]
    fn each_side_keeps_an_image_of_a_class_that_has_two() {
        let data = with_labels(&[0, 0, 0], 1);
        assert_eq!(data.hold_out(0.01, 0).unwrap().1.len(), 1);
        assert_eq!(data.hold_out(0.99, 0).unwrap().0.len(), 1);
    }

    #[test]
    fn what_is_held_out_depends_on_the_seed_alone() {
        let data = with_labels(&(0..200).map(|index| index % 4).collect::<Vec<_>>(), 4);
        let held_out = |seed| pixels(&data.hold_out(0.25, seed).unwrap().1);
        assert_eq!(held_out(3), held_out(3));
        assert_ne!(held_out(3), held_out(4));
        assert!(held_out(3).is_sorted());
    }

    #[test]
    fn fractions_that_leave_a_side_empty_are_refused() {
        let data = with_labels(&[0, 1, 2], 3);
        for fraction in [0.0, 1.0, -0.5, f64::NAN, f64::INFINITY] {
            let error = data.hold_out(fraction, 0).unwrap_err().to_string();
            assert_eq!(error, format!("fraction to hold out is {fraction}, expected more than 0 and less than 1"));
        }
        let error = data.hold_out(0.5, 0).unwrap_err().to_string();
        assert_eq!(error, "nothing can be held out of 3 images: no class has more than one");
    }

    #[test]
    fn a_balanced_set_has_as_many_of_each_class() {
        let data = with_labels(&[0, 0, 0, 0, 1, 1, 1, 2, 2], 3);
        let balanced = data.balanced(2, 5).unwrap();
        assert_eq!(balanced.class_counts(), [2, 2, 2]);
        assert_eq!(pixels(&balanced), pixels(&data.balanced(2, 5).unwrap()));
        let several: Vec<_> = (0..8).map(|seed| pixels(&data.balanced(2, seed).unwrap())).collect();
        assert!(several.iter().any(|other| *other != several[0]));
        let error = data.balanced(3, 5).unwrap_err().to_string();
        assert_eq!(error, "class `2` has 2 images, expected at least 3");
    }

    #[test]
    fn all_classes_without_an_image_are_named() {
        assert!(with_labels(&[1, 0], 2).require_every_class().is_ok());
        let error = with_labels(&[1, 3], 5).require_every_class().unwrap_err().to_string();
        assert_eq!(error, "3 of 5 classes have no image: 0, 2, 4");
    }

    #[test]
    fn resizing_averages_when_shrinking() {
        let bytes = vec![0, 100, 100, 200, 40, 40, 40, 40];
        let data = Dataset::from_u8(bytes, [2, 2, 1], vec![0, 0], class_numbers(1)).unwrap();
        let stretched = |size| Geometry { resize: crate::Resize::Stretch(size), ..Geometry::default() };
        let resized = data.clone().with_geometry(&stretched([1, 1])).unwrap();
        assert_eq!(resized.image_shape(), [1, 1, 1]);
        assert_eq!(pixels(&resized), [100, 40]);
        assert_eq!(pixels(&data.with_geometry(&stretched([2, 2])).unwrap()), [0, 100, 100, 200, 40, 40, 40, 40]);
    }
}

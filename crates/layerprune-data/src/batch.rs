//! Batches, made ahead on another thread.

use std::iter::FusedIterator;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use layerprune::batch::Batch;
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Pixels};
use crate::error::DataError;
use crate::preprocess::{Normalizer, Preprocess};
use crate::random::{Purpose, generator};

/// How many finished batches wait for their use.
const AHEAD: usize = 2;

/// Random changes of the images that are trained on; the default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Pads each side with so many black pixels (value 0 before normalising) and takes a window of the image's size
    /// at a random place.
    pub pad_crop: Option<usize>,
    /// Mirrors left and right with probability 1/2, after cropping.
    pub flip: bool,
}

/// How to make batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// Images in a batch; the last one may have fewer. 32 by default.
    pub batch_size: usize,
    /// What is done to each pixel.
    pub preprocess: Preprocess,
    /// Random changes, other ones for each image and epoch.
    pub augment: Augment,
    /// Takes the images in a random order, another one for each epoch.
    pub shuffle: bool,
    /// What order and random changes are drawn from.
    pub seed: u64,
    /// The number of this pass over the data.
    pub epoch: u64,
    /// Leaves out a last batch with fewer images.
    pub drop_last: bool,
    /// Begins with this batch, counted from 0; those before it are not made.
    pub first_batch: usize,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            batch_size: 32,
            preprocess: Preprocess::default(),
            augment: Augment::default(),
            shuffle: false,
            seed: 0,
            epoch: 0,
            drop_last: false,
            first_batch: 0,
        }
    }
}

impl Dataset {
    /// One pass over all images in batches, each made while those before it are in use.
    ///
    /// Order and augmentation depend on seed, epoch and each image's place in this set alone. Image files are decoded
    /// in parallel on rayon's global pool, so [`Batches::next`] must not be called from inside one of its threads.
    pub fn batches(&self, options: &BatchOptions) -> Result<Batches, DataError> {
        let maker = BatchMaker::new(self, options)?;
        let mut order: Vec<usize> = (0..self.len()).collect();
        if options.shuffle {
            order.shuffle(&mut generator(options.seed, Purpose::Shuffle, options.epoch, 0));
        }
        if options.drop_last {
            order.truncate(self.len() / options.batch_size * options.batch_size);
            if order.is_empty() {
                return Err(DataError::NoFullBatch { len: self.len(), batch_size: options.batch_size });
            }
        }
        order.drain(..(options.first_batch.saturating_mul(options.batch_size)).min(order.len()));
        let remaining = order.len().div_ceil(options.batch_size);
        let (sender, receiver) = sync_channel(AHEAD);
        let worker = thread::Builder::new()
            .name("layerprune-data".to_owned())
            .spawn(move || maker.send_all(&order, &sender))
            .map_err(|source| DataError::Thread { source })?;
        Ok(Batches { receiver: Some(receiver), worker: Some(worker), remaining })
    }
}

/// Iterator of [`Batch`]es; it ends after the first error.
///
/// Dropping it stops the thread that makes them and waits for its end, at most the time that one batch takes.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    worker: Option<JoinHandle<()>>,
    remaining: usize,
}

impl Batches {
    /// How many batches are still to come, if there is no error.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    fn finish(&mut self) -> thread::Result<()> {
        self.remaining = 0;
        // The worker only notices that it is to stop once nobody can receive.
        self.receiver = None;
        self.worker.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Result<Batch, DataError>> {
        let received = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        self.remaining = self.remaining.saturating_sub(1);
        if !matches!(received, Some(Ok(_)))
            && let Err(panic) = self.finish()
        {
            // An end that looks like that of the data would be a wrong result.
            std::panic::resume_unwind(panic);
        }
        received
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining))
    }
}

impl FusedIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// All that batches are made from.
#[derive(Debug)]
struct BatchMaker {
    data: Dataset,
    normalizer: Normalizer,
    options: BatchOptions,
    shape: [usize; 3],
}

impl BatchMaker {
    fn new(data: &Dataset, options: &BatchOptions) -> Result<BatchMaker, DataError> {
        let [_, height, width] = data.image_shape();
        if options.batch_size == 0 {
            return Err(DataError::BatchSize);
        }
        if let Some(pad) = options.augment.pad_crop
            && pad >= height.min(width)
        {
            return Err(DataError::Padding { pad, side: height.min(width) });
        }
        let normalizer = options.preprocess.compile(data.image_shape())?;
        let shape = [normalizer.channels(), height, width];
        Ok(BatchMaker { data: data.clone(), normalizer, options: options.clone(), shape })
    }

    fn send_all(&self, order: &[usize], sender: &SyncSender<Result<Batch, DataError>>) {
        for indices in order.chunks(self.options.batch_size) {
            let batch = self.make(indices);
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn make(&self, indices: &[usize]) -> Result<Batch, DataError> {
        let [channels, height, width] = self.shape;
        let size = channels * height * width;
        let mut images = vec![0.0; indices.len() * size];
        let outputs = images.chunks_exact_mut(size);
        match self.data.pixels() {
            Pixels::Bytes(bytes) => outputs.zip(indices).for_each(|(output, &index)| {
                self.render(self.stored(bytes, index), index, output, |channel, pixel| {
                    self.normalizer.byte(channel, pixel)
                });
            }),
            Pixels::Floats(floats) => outputs.zip(indices).for_each(|(output, &index)| {
                self.render(self.stored(floats, index), index, output, |channel, pixel| {
                    self.normalizer.float(channel, pixel)
                });
            }),
            Pixels::Files(folder) => {
                // All results are collected, so that the error is that of the first image, not of the first thread.
                let decoded: Vec<Result<(), DataError>> = images
                    .par_chunks_exact_mut(size)
                    .zip(indices)
                    .map(|(output, &index)| {
                        let image = folder.decode(self.data.stored(index))?;
                        self.render(&image, index, output, |channel, pixel| self.normalizer.byte(channel, pixel));
                        Ok(())
                    })
                    .collect();
                decoded.into_iter().collect::<Result<(), DataError>>()?;
            }
        }
        let labels = indices.iter().map(|&index| self.data.label(index)).collect();
        let shape = [indices.len(), channels, height, width];
        Ok(Batch { targets: self.data.targets(indices), ..Batch::new(images, shape, labels) })
    }

    fn stored<'a, T>(&self, pixels: &'a [T], index: usize) -> &'a [T] {
        let size: usize = self.data.image_shape().iter().product();
        &pixels[self.data.stored(index) * size..][..size]
    }

    /// Writes an image, cropped and flipped as drawn for it, with `value` applied to each pixel.
    fn render<T: Copy + Default>(
        &self,
        image: &[T],
        index: usize,
        output: &mut [f32],
        value: impl Fn(usize, T) -> f32,
    ) {
        let [_, height, width] = self.shape;
        let window = Window::draw(&self.options, index);
        let channels = image.chunks_exact(height * width).cycle();
        for (channel, (output, image)) in output.chunks_exact_mut(height * width).zip(channels).enumerate() {
            if window == Window::default() {
                output.iter_mut().zip(image).for_each(|(output, &pixel)| *output = value(channel, pixel));
                continue;
            }
            for (row, output) in output.chunks_exact_mut(width).enumerate() {
                for (column, output) in output.iter_mut().enumerate() {
                    let pixel = window.source(row, column, height, width).map(|place| image[place]);
                    *output = value(channel, pixel.unwrap_or_default());
                }
            }
        }
    }
}

/// Which part of an image is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Window {
    /// Rows that it lies further down, and columns further right, than the image.
    offset: [isize; 2],
    flipped: bool,
}

impl Window {
    fn draw(options: &BatchOptions, index: usize) -> Window {
        let mut random = generator(options.seed, Purpose::Augment, options.epoch, index as u64);
        let pad = options.augment.pad_crop.unwrap_or(0);
        let mut draw = || if pad == 0 { 0 } else { random.random_range(0..=2 * pad) as isize - pad as isize };
        let offset = [draw(), draw()];
        Window { offset, flipped: options.augment.flip && random.random() }
    }

    /// The place in the image of a pixel of the window, none where it is padding.
    fn source(&self, row: usize, column: usize, height: usize, width: usize) -> Option<usize> {
        let column = if self.flipped { width - 1 - column } else { column };
        let row = row.checked_add_signed(self.offset[0]).filter(|row| *row < height)?;
        let column = column.checked_add_signed(self.offset[1]).filter(|column| *column < width)?;
        Some(row * width + column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one gray pixel whose value is their place.
    fn points(count: usize) -> Dataset {
        let pixels = (0..count).map(|index| index as u8).collect();
        Dataset::from_u8(pixels, [1, 1, 1], vec![0; count], vec!["point".to_owned()]).unwrap()
    }

    fn raw() -> Preprocess {
        Preprocess { scale: 1.0, ..Preprocess::default() }
    }

    fn collect(data: &Dataset, options: &BatchOptions) -> Vec<Batch> {
        data.batches(options).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn images(data: &Dataset, options: &BatchOptions) -> Vec<f32> {
        collect(data, options).into_iter().flat_map(|batch| batch.images).collect()
    }

    #[test]
    fn the_last_batch_is_smaller_or_dropped() {
        let options = BatchOptions { batch_size: 3, preprocess: raw(), ..BatchOptions::default() };
        let sizes = |options: &BatchOptions| {
            collect(&points(7), options).iter().map(|batch| batch.shape[0]).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&options), [3, 3, 1]);
        assert_eq!(sizes(&BatchOptions { drop_last: true, ..options.clone() }), [3, 3]);
        assert_eq!(images(&points(7), &options), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(images(&points(7), &BatchOptions { first_batch: 2, ..options.clone() }), [6.0]);
        assert_eq!(sizes(&BatchOptions { first_batch: 3, ..options.clone() }), [0_usize; 0]);
        let mut batches = points(7).batches(&options).unwrap();
        assert_eq!(batches.remaining(), 3);
        batches.next();
        assert_eq!((batches.remaining(), batches.size_hint()), (2, (0, Some(2))));
    }

    #[test]
    fn options_that_give_no_batch_are_refused() {
        let refuse = |options: BatchOptions| points(7).batches(&options).unwrap_err().to_string();
        assert_eq!(
            refuse(BatchOptions { batch_size: 0, ..BatchOptions::default() }),
            "batch size is 0, expected at least 1"
        );
        let dropped = BatchOptions { batch_size: 8, drop_last: true, ..BatchOptions::default() };
        assert_eq!(refuse(dropped), "the data set has 7 images, fewer than one full batch of 8");
        let padded = BatchOptions { augment: Augment { pad_crop: Some(1), flip: false }, ..BatchOptions::default() };
        assert_eq!(refuse(padded), "crop padding is 1 pixels, expected less than the image's smaller side of 1");
        let rgb = BatchOptions { preprocess: "imagenet".parse().unwrap(), ..BatchOptions::default() };
        assert_eq!(refuse(rgb), "mean has 3 values, expected 1 or 1 (one for each channel)");
    }

    #[test]
    fn shuffling_is_a_permutation_that_depends_on_seed_and_epoch() {
        let order = |seed, epoch| {
            let options = BatchOptions {
                batch_size: 16,
                preprocess: raw(),
                shuffle: true,
                seed,
                epoch,
                ..BatchOptions::default()
            };
            images(&points(100), &options)
        };
        let first = order(1, 0);
        assert_eq!(first, order(1, 0));
        assert_ne!(first, order(1, 1));
        assert_ne!(first, order(2, 0));
        let mut sorted = first;
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, (0..100).map(|value| value as f32).collect::<Vec<_>>());
    }

    #[test]
    fn labels_follow_their_images_when_shuffled() {
        let data = Dataset::from_u8(
            vec![0, 1, 2, 3, 4],
            [1, 1, 1],
            vec![4, 3, 2, 1, 0],
            (0..5).map(|c| c.to_string()).collect(),
        )
        .unwrap();
        let options = BatchOptions { batch_size: 2, preprocess: raw(), shuffle: true, ..BatchOptions::default() };
        for batch in collect(&data, &options) {
            let expected: Vec<usize> = batch.images.iter().map(|value| 4 - *value as usize).collect();
            assert_eq!(batch.labels, expected);
        }
    }

    #[test]
    fn gray_images_are_given_as_three_channels_on_request() {
        let data = Dataset::from_u8(vec![10, 20], [1, 2, 1], vec![0], vec!["gray".to_owned()]).unwrap();
        let preprocess = Preprocess { mean: vec![0.0, 10.0, 20.0], gray_to_rgb: true, ..raw() };
        let batch = collect(&data, &BatchOptions { preprocess, ..BatchOptions::default() }).remove(0);
        assert_eq!(batch.shape, [1, 3, 1, 2]);
        assert_eq!(batch.images, [10.0, 20.0, 0.0, 10.0, -10.0, 0.0]);
    }

    #[test]
    fn a_window_shifts_pads_and_flips() {
        // 1 2 3
        // 4 5 6
        let image = [1, 2, 3, 4, 5, 6];
        let take = |offset, flipped| {
            let window = Window { offset, flipped };
            [0, 1].map(|row| [0, 1, 2].map(|column| window.source(row, column, 2, 3).map_or(0, |place| image[place])))
        };
        assert_eq!(take([0, 0], false), [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(take([0, 0], true), [[3, 2, 1], [6, 5, 4]]);
        assert_eq!(take([1, 0], false), [[4, 5, 6], [0, 0, 0]]);
        assert_eq!(take([-1, 1], false), [[0, 0, 0], [2, 3, 0]]);
        // The crop comes first: its padding on the right is on the left once flipped.
        assert_eq!(take([-1, 1], true), [[0, 0, 0], [0, 3, 2]]);
        assert_eq!(take([0, -2], false), [[0, 0, 1], [0, 0, 4]]);
    }

    #[test]
    fn padding_is_black_before_it_is_normalised() {
        let data = Dataset::from_u8(vec![200; 400], [2, 2, 1], vec![0; 100], vec!["flat".to_owned()]).unwrap();
        let preprocess = Preprocess { mean: vec![100.0], std: vec![10.0], ..raw() };
        let augment = Augment { pad_crop: Some(1), flip: false };
        let options = BatchOptions { preprocess, augment, ..BatchOptions::default() };
        let values = images(&data, &options);
        assert!(values.iter().all(|value| [10.0, -10.0].contains(value)));
        assert!(values.contains(&-10.0));
    }

    #[test]
    fn all_windows_and_flips_are_drawn_and_equally_often() {
        let augment = Augment { pad_crop: Some(1), flip: true };
        let options = BatchOptions { augment, ..BatchOptions::default() };
        let mut counts = [0; 18];
        for index in 0..18_000 {
            let Window { offset: [row, column], flipped } = Window::draw(&options, index);
            counts[((row + 1) * 6 + (column + 1) * 2) as usize + usize::from(flipped)] += 1;
        }
        // Standard deviation of a count is about 31.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_is_drawn_for_an_image_depends_on_epoch_and_place_not_on_batch_or_order() {
        let bytes: Vec<u8> = (0..=255).cycle().take(64 * 16).collect();
        let classes: Vec<String> = (0..64).map(|class| class.to_string()).collect();
        let data = Dataset::from_u8(bytes, [4, 4, 1], (0..64).collect(), classes).unwrap();
        let augment = Augment { pad_crop: Some(2), flip: true };
        let by_label = |batch_size, shuffle, epoch| {
            let options =
                BatchOptions { batch_size, shuffle, epoch, augment, preprocess: raw(), ..BatchOptions::default() };
            let mut images = vec![Vec::new(); 64];
            for batch in collect(&data, &options) {
                for (image, label) in batch.images.chunks_exact(16).zip(batch.labels) {
                    images[label] = image.to_vec();
                }
            }
            images
        };
        assert_eq!(by_label(64, false, 3), by_label(5, true, 3));
        assert_ne!(by_label(64, false, 3), by_label(64, false, 4));
    }

    #[test]
    fn dropping_batches_early_stops_the_thread() {
        let options = BatchOptions { batch_size: 1, ..BatchOptions::default() };
        let data = points(200);
        let mut batches = data.batches(&options).unwrap();
        assert!(batches.next().unwrap().is_ok());
        assert_eq!(data.sharers(), 2);
        drop(batches);
        assert_eq!(data.sharers(), 1);
        drop(data.batches(&options).unwrap());
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut batches = points(1).batches(&BatchOptions::default()).unwrap();
        assert!(batches.next().is_some());
        assert!(batches.next().is_none() && batches.next().is_none());
        let empty = points(1).subset(&[]).unwrap();
        assert!(empty.batches(&BatchOptions::default()).unwrap().next().is_none());
    }
}

//! Batches, made ahead on another thread.

use std::iter::FusedIterator;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use layerprune::batch::Batch;
use rand::Rng;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use crate::augment::{Augment, AugmentError, Mix, Picture, Window};
use crate::dataset::{Dataset, Pixels};
use crate::error::DataError;
use crate::preprocess::{Normalizer, Preprocess};
use crate::random::{Purpose, generator};

/// How many finished batches wait for their use.
const AHEAD: usize = 2;

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
    /// How many classes a model scores, where that may be more than the data set has: mixup and cutmix give the shares of so
    /// many, 0 for those without images.
    pub scores: Option<usize>,
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
            scores: None,
        }
    }
}

impl Dataset {
    /// One pass over all images in batches, each made while those before it are in use.
    ///
    /// Order and augmentation depend on seed, epoch and each image's place in this set alone, mixup and cutmix on the batch's
    /// number; so batches from [`BatchOptions::first_batch`] on are those of the whole pass.
    ///
    /// Image files, and images whose augmentation computes new pixels, are made in parallel on threads of their own, as many
    /// as rayon's global pool has: a training step on that pool neither waits behind a file nor takes one up. Images in memory
    /// that are only cropped, flipped, erased or mixed are made on one thread.
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
        let batches = order.len().div_ceil(options.batch_size);
        let remaining = batches.saturating_sub(options.first_batch);
        let (sender, receiver) = sync_channel(AHEAD);
        let worker = thread::Builder::new()
            .name("layerprune-data".to_owned())
            .spawn(move || maker.send_all(&order, &sender))
            .map_err(|source| DataError::Thread { source })?;
        Ok(Batches { receiver: Some(receiver), worker: Some(worker), remaining, waited: Duration::ZERO })
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
    waited: Duration,
}

impl Batches {
    /// How long calls of `next` have waited for batches so far, the first one included, which is never made ahead.
    ///
    /// Where this is a good part of the time since, data are made more slowly than they are used.
    pub fn waited(&self) -> Duration {
        self.waited
    }

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
        let start = Instant::now();
        let received = self.receiver.as_ref().and_then(|receiver| receiver.recv().ok());
        self.waited += start.elapsed();
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
    mix: Mix,
    shape: [usize; 3],
    /// Threads for images that take time to make; none where one thread keeps up.
    pool: Option<ThreadPool>,
    /// Memory that images have been made in, for those to come.
    pictures: Mutex<Vec<Picture>>,
}

impl BatchMaker {
    fn new(data: &Dataset, options: &BatchOptions) -> Result<BatchMaker, DataError> {
        if options.batch_size == 0 {
            return Err(DataError::BatchSize);
        }
        check(data, &options.augment)?;
        let [_, height, width] = data.image_shape();
        let normalizer = options.preprocess.compile(data.image_shape())?;
        let shape = [normalizer.channels(), height, width];
        let takes_time = matches!(data.pixels(), Pixels::Files(_)) || options.augment.rewrites().is_some();
        let pool = takes_time.then(pool).transpose()?;
        let mix = Mix::of(&options.augment);
        let (data, options) = (data.clone(), options.clone());
        Ok(BatchMaker { data, normalizer, options, mix, shape, pool, pictures: Mutex::default() })
    }

    fn send_all(&self, order: &[usize], sender: &SyncSender<Result<Batch, DataError>>) {
        let batches = order.chunks(self.options.batch_size).enumerate();
        for (number, indices) in batches.skip(self.options.first_batch) {
            let batch = self.make(number, indices);
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    /// The batch of this number, from images at these places.
    fn make(&self, number: usize, indices: &[usize]) -> Result<Batch, DataError> {
        let [channels, height, width] = self.shape;
        let size = channels * height * width;
        let mut images = vec![0.0; indices.len() * size];
        match &self.pool {
            None => {
                let mut outputs = images.chunks_exact_mut(size).zip(indices);
                outputs.try_for_each(|(output, &index)| self.render(index, output))?;
            }
            Some(pool) => {
                // All results are collected, so that the error is that of the first image, not of the first thread.
                let rendered: Vec<Result<(), DataError>> = pool.install(|| {
                    let outputs = images.par_chunks_exact_mut(size).zip(indices).with_max_len(1);
                    outputs.map(|(output, &index)| self.render(index, output)).collect()
                });
                rendered.into_iter().collect::<Result<(), DataError>>()?;
            }
        }
        let labels = indices.iter().map(|&index| self.data.label(index)).collect();
        let shape = [indices.len(), channels, height, width];
        let mut batch = Batch { targets: self.data.targets(indices), ..Batch::new(images, shape, labels) };
        let mut random = generator(self.options.seed, Purpose::Mix, self.options.epoch, number as u64);
        let classes = match self.data.classes().len() {
            0 => 0,
            classes => self.options.scores.map_or(classes, |scores| scores.max(classes)),
        };
        self.mix.apply(&mut batch, classes, &mut random);
        Ok(batch)
    }

    /// Makes the image at a place of the set: cropped, flipped and changed as drawn for it, and normalised.
    fn render(&self, index: usize, output: &mut [f32]) -> Result<(), DataError> {
        let augment = &self.options.augment;
        let mut random = generator(self.options.seed, Purpose::Augment, self.options.epoch, index as u64);
        if augment.rewrites().is_some() {
            let mut picture = self.pictures().pop().unwrap_or_default();
            self.draw(index, &mut picture, &mut random)?;
            self.write(&picture.pixels, Window::default(), output, Normalizer::byte);
            self.pictures().push(picture);
        } else {
            let window = Window::draw(augment, &mut random);
            let stored = self.data.stored(index);
            match self.data.pixels() {
                Pixels::Bytes(bytes) => self.write(self.of(bytes, stored), window, output, Normalizer::byte),
                Pixels::Floats(floats) => self.write(self.of(floats, stored), window, output, Normalizer::float),
                Pixels::Files(folder) => self.write(&folder.decode(stored)?, window, output, Normalizer::byte),
            }
        }
        if let Some(erasing) = &augment.random_erasing {
            erasing.apply(output, [self.shape[1], self.shape[2]], &mut random);
        }
        Ok(())
    }

    /// Makes the pixels of the image at a place of the set, cropped, flipped and changed as drawn for it.
    fn draw(&self, index: usize, picture: &mut Picture, random: &mut impl Rng) -> Result<(), DataError> {
        let augment = &self.options.augment;
        let stored = self.data.stored(index);
        let [channels, height, width] = self.data.image_shape();
        let size = [height, width];
        let decoded;
        let (image, image_size) = match self.data.pixels() {
            Pixels::Bytes(bytes) => (self.of(bytes, stored), size),
            Pixels::Files(folder) if augment.random_resized_crop.is_some() => {
                let (pixels, image_size) = folder.decode_whole(stored)?;
                decoded = pixels;
                (&decoded[..], image_size)
            }
            Pixels::Files(folder) => {
                decoded = folder.decode(stored)?;
                (&decoded[..], size)
            }
            Pixels::Floats(_) => unreachable!("such images were refused before the first was made"),
        };
        picture.reshape([channels, height, width]);
        match &augment.random_resized_crop {
            Some(crop) => {
                let part = crop.draw(image_size, random);
                part.resized(image, [channels, image_size[0], image_size[1]], size, &mut picture.pixels);
                picture.turn(Window::draw(augment, random));
            }
            None => picture.take(image, Window::draw(augment, random)),
        }
        augment.rewrite(picture, random);
        Ok(())
    }

    /// One of the images in memory.
    fn of<'a, T>(&self, pixels: &'a [T], stored: usize) -> &'a [T] {
        let size: usize = self.data.image_shape().iter().product();
        &pixels[stored * size..][..size]
    }

    /// Writes the window of an image, normalised.
    fn write<T: Copy + Default>(
        &self,
        image: &[T],
        window: Window,
        output: &mut [f32],
        value: impl Fn(&Normalizer, usize, T) -> f32,
    ) {
        let [_, height, width] = self.shape;
        // A gray image is the source of all three channels.
        let channels = image.chunks_exact(height * width).cycle();
        for (channel, (output, image)) in output.chunks_exact_mut(height * width).zip(channels).enumerate() {
            window.copy(image, [height, width], output, |pixel| value(&self.normalizer, channel, pixel));
        }
    }

    fn pictures(&self) -> std::sync::MutexGuard<'_, Vec<Picture>> {
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads that nothing but data runs on; they end with the pass.
fn pool() -> Result<ThreadPool, DataError> {
    ThreadPoolBuilder::new()
        .num_threads(rayon::current_num_threads())
        .thread_name(|number| format!("layerprune-data-{number}"))
        .build()
        .map_err(|source| DataError::Thread { source: std::io::Error::other(source) })
}

/// Refuses augmentation that is out of range, or not for these images.
fn check(data: &Dataset, augment: &Augment) -> Result<(), DataError> {
    augment.check()?;
    let [channels, height, width] = data.image_shape();
    if let Some(pad) = augment.pad_crop
        && pad >= height.min(width)
    {
        return Err(DataError::Padding { pad, side: height.min(width) });
    }
    if let (Some(field), Pixels::Floats(_)) = (augment.rewrites(), data.pixels()) {
        return Err(AugmentError::Floats { field }.into());
    }
    if let Some(field) = augment.needs_color()
        && ![1, 3].contains(&channels)
    {
        return Err(AugmentError::Channels { field, channels }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::augment::{RandAugment, RandomErasing, ResizedCrop};
    use crate::{DataSpec, Geometry, OpenOptions, Resize, Split};

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
        let padded =
            BatchOptions { augment: Augment { pad_crop: Some(1), ..Augment::default() }, ..BatchOptions::default() };
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
    fn padding_is_black_before_it_is_normalised() {
        let data = Dataset::from_u8(vec![200; 400], [2, 2, 1], vec![0; 100], vec!["flat".to_owned()]).unwrap();
        let preprocess = Preprocess { mean: vec![100.0], std: vec![10.0], ..raw() };
        let augment = Augment { pad_crop: Some(1), ..Augment::default() };
        let options = BatchOptions { preprocess, augment, ..BatchOptions::default() };
        let values = images(&data, &options);
        assert!(values.iter().all(|value| [10.0, -10.0].contains(value)));
        assert!(values.contains(&-10.0));
    }

    #[test]
    fn what_is_drawn_for_an_image_depends_on_epoch_and_place_not_on_batch_or_order() {
        let bytes: Vec<u8> = (0..=255).cycle().take(64 * 16).collect();
        let classes: Vec<String> = (0..64).map(|class| class.to_string()).collect();
        let data = Dataset::from_u8(bytes, [4, 4, 1], (0..64).collect(), classes).unwrap();
        let augment = Augment { pad_crop: Some(2), flip: true, ..Augment::default() };
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

    /// Images of noise, 10 of each of 3 classes.
    fn noise(shape: [usize; 3]) -> Dataset {
        let mut random = generator(1, Purpose::Shuffle, 0, 0);
        let pixels = (0..30 * shape.iter().product::<usize>()).map(|_| random.random()).collect();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        Dataset::from_u8(pixels, shape, (0..30).map(|image| image % 3).collect(), classes).unwrap()
    }

    /// Everything there is.
    fn everything() -> Augment {
        Augment {
            pad_crop: None,
            random_resized_crop: Some(ResizedCrop::default()),
            flip: true,
            vertical_flip: true,
            rotation: Some("30".parse().unwrap()),
            rand_augment: Some(RandAugment::default()),
            color_jitter: Some("0.4,0.4,0.4,0.1".parse().unwrap()),
            random_erasing: Some(RandomErasing::default()),
            mixup: Some(0.2),
            cutmix: Some(1.0),
        }
    }

    #[test]
    fn batches_from_any_one_on_are_those_of_the_whole_pass_on_any_number_of_threads() {
        let data = noise([8, 9, 3]);
        let options = |first_batch| BatchOptions {
            batch_size: 4,
            shuffle: true,
            seed: 5,
            epoch: 2,
            augment: everything(),
            first_batch,
            ..BatchOptions::default()
        };
        let whole = collect(&data, &options(0));
        assert_eq!(whole.len(), 8);
        assert!(whole.iter().all(|batch| batch.targets.as_ref().is_some_and(|targets| targets.width == 3)));
        for first in [1, 5, 7, 8, 100] {
            assert_eq!(collect(&data, &options(first)), whole[first.min(8)..]);
        }
        for threads in [1, 3] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let batches = pool.install(|| data.batches(&options(0))).unwrap();
            assert_eq!(batches.collect::<Result<Vec<_>, _>>().unwrap(), whole);
        }
        assert_ne!(collect(&data, &BatchOptions { epoch: 3, ..options(0) }), whole);
    }

    #[test]
    fn targets_sum_to_one_and_the_label_is_the_class_of_the_greatest_share() {
        let augment = Augment { mixup: Some(1.0), cutmix: Some(1.0), ..Augment::default() };
        for batch in collect(&noise([8, 8, 3]), &BatchOptions { batch_size: 5, augment, ..BatchOptions::default() }) {
            for (row, label) in batch.targets.unwrap().values.chunks_exact(3).zip(batch.labels) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                assert!(row.iter().all(|share| *share <= row[label]), "{row:?} {label}");
            }
        }
    }

    #[test]
    fn gray_images_are_augmented_and_given_as_three_channels() {
        let preprocess = Preprocess { gray_to_rgb: true, ..Preprocess::default() };
        let augment = Augment { random_erasing: None, mixup: None, cutmix: None, ..everything() };
        let batches = collect(&noise([8, 9, 1]), &BatchOptions { preprocess, augment, ..BatchOptions::default() });
        for image in batches[0].images.chunks_exact(3 * 72) {
            assert!(image[..72] == image[72..144] && image[..72] == image[144..]);
        }
    }

    #[test]
    fn augmentation_that_images_do_not_allow_is_refused_by_name() {
        let refuse = |data: &Dataset, augment| {
            data.batches(&BatchOptions { augment, ..BatchOptions::default() }).unwrap_err().to_string()
        };
        let jitter = Augment { color_jitter: Some("0.4".parse().unwrap()), ..Augment::default() };
        let expected = "color-jitter takes gray or RGB images, but these have 2 channels: leave it out";
        assert_eq!(refuse(&noise([8, 8, 2]), jitter), expected);
        let mixup = Augment { mixup: Some(0.0), ..Augment::default() };
        let expected = "mixup is 0, expected 0.01 to 100 (alpha of its distribution)";
        assert_eq!(refuse(&noise([8, 8, 3]), mixup), expected);
        let class = vec!["x".to_owned()];
        let floats = Dataset::new("x".to_owned(), Pixels::Floats(vec![0.5; 4]), [1, 2, 2], vec![0], class).unwrap();
        let rotated = Augment { rotation: Some("5".parse().unwrap()), ..Augment::default() };
        let expected =
            "rotation changes 8-bit pixels, but these images are stored as floats: leave it out, or store bytes";
        assert_eq!(refuse(&floats, rotated), expected);
        let erased = Augment { flip: true, random_erasing: Some(RandomErasing::default()), ..Augment::default() };
        assert!(floats.batches(&BatchOptions { augment: erased, ..BatchOptions::default() }).is_ok());
    }

    #[test]
    fn files_are_cropped_before_they_are_resized() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("train/class");
        std::fs::create_dir_all(&class).unwrap();
        for side in [4, 9, 16] {
            let image = image::RgbImage::from_fn(side, side, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, side as u8]));
            image.save(class.join(format!("{side}.png"))).unwrap();
        }
        let spec = DataSpec::ImageFolder(dir.path().to_owned());
        let geometry = Geometry { resize: Resize::Stretch([6, 6]), ..Geometry::default() };
        let data = crate::open(&spec, Split::Train, &OpenOptions { geometry }).unwrap();
        let with = |scale, ratio| {
            let random_resized_crop = Some(ResizedCrop { scale, ratio });
            let augment = Augment { random_resized_crop, ..Augment::default() };
            images(&data, &BatchOptions { preprocess: raw(), augment, ..BatchOptions::default() })
        };
        let plain = images(&data, &BatchOptions { preprocess: raw(), ..BatchOptions::default() });
        assert_eq!(with([1.0; 2], [1.0; 2]), plain);
        // A fourth of the 16 x 16 image is 8 x 8 pixels, whose reds are 7 steps of 9 apart before resizing to 6 x 6.
        let part = &with([0.25; 2], [1.0; 2])[..36];
        let range = part[5] - part[0];
        assert!((50.0..65.0).contains(&range), "{range}");
    }

    #[test]
    fn mixed_targets_have_a_share_for_every_score() {
        let data = points(4);
        let classes = data.classes().len();
        let augment = Augment { mixup: Some(1.0), ..Augment::default() };
        for (scores, width) in [(None, classes), (Some(classes + 3), classes + 3), (Some(1), classes)] {
            let options = BatchOptions { augment, scores, ..BatchOptions::default() };
            let targets = data.batches(&options).unwrap().next().unwrap().unwrap().targets.unwrap();
            assert_eq!((targets.width, targets.values.len()), (width, 4 * width));
            assert!(targets.values.chunks_exact(width).all(|row| row[classes..].iter().all(|share| *share == 0.0)));
        }
    }

    #[test]
    fn the_time_that_batches_are_waited_for_is_counted() {
        let mut batches = points(100).batches(&BatchOptions::default()).unwrap();
        assert_eq!(batches.waited(), Duration::ZERO);
        batches.next();
        assert!(batches.waited() > Duration::ZERO);
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

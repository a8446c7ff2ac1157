//! Times making batches: alone, and beside a training step that keeps rayon's global pool busy.
//!
//! `cargo bench -p layerprune-data --bench batches [-- ROUNDS]`. Images of 32x32 pixels lie in memory (10,240)
//! or in JPEG files written for the occasion (1,024), those of 400x500 in such files (128); each with several augmentations.
//! Beside training, each step works for as long as a batch takes to make, on as many threads as there are.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use layerprune_data::{Augment, BatchOptions, DataSpec, Dataset, Geometry, OpenOptions, Resize, Split};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let dir = tempfile::tempdir().unwrap();
    let small = Augment { pad_crop: Some(4), flip: true, ..Augment::default() };
    let large = Augment {
        random_resized_crop: Some("0.08,1".parse().unwrap()),
        flip: true,
        color_jitter: Some("0.4,0.4,0.4".parse().unwrap()),
        ..Augment::default()
    };
    let hue = Augment { color_jitter: Some("0.4,0.4,0.4,0.1".parse().unwrap()), ..large };
    let rand_augment = Augment { color_jitter: None, rand_augment: Some("2,9".parse().unwrap()), ..large };

    let files = folder(&dir.path().join("small"), 1024, [32, 32], Resize::Keep);
    let memory = in_memory(10_240);
    let photos = folder(&dir.path().join("large"), 128, [400, 500], Resize::Stretch([224, 224]));
    println!("{} threads", rayon::current_num_threads());
    for (name, data, augment, batch_size) in [
        ("32x32 in memory, plain", &memory, Augment::default(), 64),
        ("32x32 in memory, pad-crop, flip", &memory, small, 64),
        ("32x32 JPEG, plain", &files, Augment::default(), 64),
        ("32x32 JPEG, pad-crop, flip", &files, small, 64),
        ("400x500 JPEG, resized to 224x224", &photos, Augment::default(), 32),
        ("400x500 JPEG, random-resized-crop, flip, jitter", &photos, large, 32),
        ("400x500 JPEG, random-resized-crop, flip, jitter with hue", &photos, hue, 32),
        ("400x500 JPEG, random-resized-crop, flip, rand-augment", &photos, rand_augment, 32),
    ] {
        let options = BatchOptions { batch_size, augment, shuffle: true, ..BatchOptions::default() };
        let alone = median(rounds, |epoch| pass(data, &BatchOptions { epoch, ..options.clone() }, Duration::ZERO).0);
        let step = alone / data.len().div_ceil(batch_size) as u32;
        let idle = median(rounds, |_| {
            let start = Instant::now();
            (0..data.len().div_ceil(batch_size)).for_each(|_| train(step));
            start.elapsed()
        });
        let mut waited = Vec::new();
        let beside = median(rounds, |epoch| {
            let (time, waiting) = pass(data, &BatchOptions { epoch, ..options.clone() }, step);
            waited.push(waiting.as_secs_f64() / time.as_secs_f64());
            time
        });
        waited.sort_by(f64::total_cmp);
        println!(
            "{name}: {:.0} images/s; training alone {:.0} ms, with data {:.0} ms, of which waiting {:.0} %",
            data.len() as f64 / alone.as_secs_f64(),
            idle.as_secs_f64() * 1e3,
            beside.as_secs_f64() * 1e3,
            100.0 * waited[waited.len() / 2],
        );
    }
}

/// One pass with a step of training for each batch: how long it took, and how long of it was waited for data.
fn pass(data: &Dataset, options: &BatchOptions, step: Duration) -> (Duration, Duration) {
    let start = Instant::now();
    let mut batches = data.batches(options).unwrap();
    for batch in batches.by_ref() {
        black_box(batch.unwrap());
        train(step);
    }
    (start.elapsed(), batches.waited())
}

/// Work on rayon's global pool, in 20 stages that each end together as the layers of a network do, which takes so long on
/// threads that nothing else runs on.
fn train(step: Duration) {
    if step.is_zero() {
        return;
    }
    let rounds = (step.as_secs_f64() * ROUNDS_PER_SECOND / 20.0) as u64;
    for _ in 0..20 {
        (0..rayon::current_num_threads() as u64).into_par_iter().for_each(|thread| {
            black_box((0..rounds).fold(thread, |sum, round| black_box(sum ^ round.wrapping_mul(0x9e37_79b9))));
        });
    }
}

/// About what a core does of the work of `train`; it need not be right, since training is also timed alone.
const ROUNDS_PER_SECOND: f64 = 5e8;

fn median(rounds: u64, time: impl FnMut(u64) -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..rounds).map(time).collect();
    times.sort();
    times[times.len() / 2]
}

fn folder(dir: &Path, count: usize, [height, width]: [u32; 2], resize: Resize) -> Dataset {
    let class = dir.join("train").join("class");
    fs::create_dir_all(&class).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for number in 0..count {
        // Waves and a little noise compress about as photographs do.
        let waves: [f64; 4] = std::array::from_fn(|_| random.random_range(0.02..0.2));
        let image = RgbImage::from_fn(width, height, |x, y| {
            let (x, y) = (f64::from(x), f64::from(y));
            let value = 128.0 + 50.0 * (x * waves[0] + y * waves[1]).sin() + 50.0 * (x * waves[2] - y * waves[3]).cos();
            Rgb([0.0, 10.0, 20.0].map(|shift| (value + shift + random.random_range(-8.0..8.0)) as u8))
        });
        image.save(class.join(format!("{number}.jpg"))).unwrap();
    }
    let geometry = Geometry { resize, ..Geometry::default() };
    layerprune_data::open(&DataSpec::ImageFolder(dir.to_owned()), Split::Train, &OpenOptions { geometry }).unwrap()
}

fn in_memory(count: usize) -> Dataset {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let pixels = (0..count * 3072).map(|_| random.random()).collect();
    Dataset::from_u8(pixels, [32, 32, 3], vec![0; count], vec!["class".to_owned()]).unwrap()
}

//! What a teacher said of images that come again.

use std::collections::HashMap;

use layerprune::batch::Batch;
use rayon::prelude::*;

use super::Lesson;
use crate::checkpoint::{Kept, Section};
use crate::error::TrainError;

/// How many numbers are kept at most: 64 MiB. What comes behind is computed each time.
const MOST: usize = 1 << 24;
/// Bits of one number of a key: floats, of which checkpoints are made, hold integers of so many exactly.
const BITS: u32 = 24;

/// An image's pixels by 96 bits of their hash.
type Key = [u32; KEY];
/// Numbers of a key.
const KEY: usize = 4;

/// The outputs for each image seen so far, by its pixels.
///
/// They go into checkpoints. Were they computed anew in a resumed run, the image would mostly be among others, with which
/// matrix products round otherwise.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    places: HashMap<Key, usize>,
    /// A row for each image: its key, then the outputs.
    rows: Vec<f32>,
    /// Number and length of the rows.
    dims: [usize; 2],
}

impl Memory {
    /// The section of a checkpoint.
    pub(crate) const SECTION: &str = "teacher";
    /// The one tensor in it.
    pub(crate) const TENSOR: &str = "outputs";

    /// The outputs for `batch`, without tapped values; `compute` is asked for those of images that are not known.
    pub(super) fn outputs(
        &mut self,
        batch: &Batch,
        compute: impl FnOnce(&Batch) -> Result<Lesson, TrainError>,
    ) -> Result<Lesson, TrainError> {
        let keys = keys(batch);
        let unknown: Vec<usize> = (0..keys.len()).filter(|&image| !self.places.contains_key(&keys[image])).collect();
        let new = match &unknown[..] {
            all if all.len() == keys.len() => compute(batch)?,
            [] => Lesson { outputs: Vec::new(), width: self.dims[1] - KEY, taps: Vec::new() },
            some => compute(&part(batch, some))?,
        };
        let mut outputs = Vec::with_capacity(keys.len() * new.width);
        let mut computed = new.outputs.chunks_exact(new.width);
        let mut unknown = unknown.into_iter().peekable();
        for (image, key) in keys.iter().enumerate() {
            match unknown.next_if_eq(&image).and_then(|_| computed.next()) {
                Some(row) => {
                    outputs.extend_from_slice(row);
                    self.keep(*key, row);
                }
                None => outputs.extend_from_slice(self.known(key).unwrap_or_default()),
            }
        }
        Ok(Lesson { outputs, width: new.width, taps: Vec::new() })
    }

    fn known(&self, key: &Key) -> Option<&[f32]> {
        let length = self.dims[1];
        self.places.get(key).map(|place| &self.rows[place * length..][KEY..length])
    }

    fn keep(&mut self, key: Key, outputs: &[f32]) {
        let length = KEY + outputs.len();
        if self.rows.len() + length > MOST || self.places.contains_key(&key) {
            return;
        }
        self.places.insert(key, self.dims[0]);
        self.rows.extend(key.map(|part| part as f32));
        self.rows.extend_from_slice(outputs);
        self.dims = [self.dims[0] + 1, length];
    }

    /// For a checkpoint; `None` where nothing is known.
    pub(crate) fn section(&self) -> Option<Section<'_>> {
        let kept = Kept { name: Self::TENSOR, dims: &self.dims, data: &self.rows };
        (self.dims[0] > 0).then(|| Section { name: Self::SECTION, tensors: vec![kept] })
    }

    /// What a checkpoint kept: `dims` and elements of the tensor in [`Memory::section`]. `None` where they are no such thing.
    pub(crate) fn from_rows(dims: [usize; 2], rows: &[f32]) -> Option<Self> {
        let [count, length] = dims;
        if length <= KEY || count.checked_mul(length) != Some(rows.len()) {
            return None;
        }
        let key = |row: &[f32]| -> Option<Key> {
            let whole = |&x: &f32| (x >= 0.0 && x < (1 << BITS) as f32 && x.fract() == 0.0).then_some(x as u32);
            let parts: Option<Vec<u32>> = row[..KEY].iter().map(whole).collect();
            parts?.try_into().ok()
        };
        let places = rows.chunks_exact(length).enumerate().map(|(place, row)| Some((key(row)?, place)));
        let places: HashMap<Key, usize> = places.collect::<Option<_>>()?;
        (places.len() == count).then(|| Self { places, rows: rows.to_vec(), dims })
    }
}

fn keys(batch: &Batch) -> Vec<Key> {
    let pixels: usize = batch.shape[1..].iter().product();
    let key = |image: &[f32]| {
        let bytes: Vec<u8> = image.iter().flat_map(|x| x.to_le_bytes()).collect();
        let hash = blake3::hash(&bytes);
        let (parts, _) = hash.as_bytes().as_chunks::<3>();
        std::array::from_fn(|i| u32::from_le_bytes([parts[i][0], parts[i][1], parts[i][2], 0]))
    };
    batch.images.par_chunks_exact(pixels.max(1)).map(key).collect()
}

/// Some images of a batch, without what is to be learned of them.
fn part(batch: &Batch, some: &[usize]) -> Batch {
    let [_, channels, height, width] = batch.shape;
    let pixels = channels * height * width;
    let images = some.iter().flat_map(|image| &batch.images[image * pixels..][..pixels]).copied().collect();
    Batch::new(images, [some.len(), channels, height, width], vec![0; some.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one pixel each.
    fn batch(images: &[f32]) -> Batch {
        Batch::new(images.to_vec(), [images.len(), 1, 1, 1], vec![0; images.len()])
    }

    /// The outputs for `images`, and those of which they were asked for: twice the pixel and how often it was asked.
    fn ask(memory: &mut Memory, images: &[f32], times: &mut f32) -> (Vec<f32>, Vec<f32>) {
        let mut asked = Vec::new();
        let rows = memory.outputs(&batch(images), |unknown| {
            *times += 1.0;
            asked.clone_from(&unknown.images);
            assert_eq!(unknown.shape, [unknown.images.len(), 1, 1, 1]);
            let outputs = unknown.images.iter().flat_map(|x| [2.0 * x, *times]).collect();
            Ok(Lesson { outputs, width: 2, taps: Vec::new() })
        });
        let rows = rows.unwrap();
        assert_eq!(rows.width, 2);
        (rows.outputs, asked)
    }

    #[test]
    fn an_image_is_asked_for_once() {
        let (mut memory, mut times) = (Memory::default(), 0.0);
        assert!(memory.section().is_none());
        let first = ask(&mut memory, &[1.0, 2.0], &mut times);
        assert_eq!(first, (vec![2.0, 1.0, 4.0, 1.0], vec![1.0, 2.0]));
        let some = ask(&mut memory, &[3.0, 2.0, 0.0, 1.0], &mut times);
        assert_eq!(some, (vec![6.0, 2.0, 4.0, 1.0, 0.0, 2.0, 2.0, 1.0], vec![3.0, 0.0]));
        let none = ask(&mut memory, &[0.0, 3.0], &mut times);
        assert_eq!(none, (vec![0.0, 2.0, 6.0, 2.0], vec![]));
        // Other bits are another image.
        assert_eq!(ask(&mut memory, &[-0.0], &mut times), (vec![0.0, 3.0], vec![-0.0]));
    }

    #[test]
    fn what_a_checkpoint_kept_is_known_again() {
        let (mut memory, mut times) = (Memory::default(), 0.0);
        ask(&mut memory, &[1.0, 2.0, 1.0], &mut times);
        let section = memory.section().unwrap();
        let kept = &section.tensors[0];
        assert_eq!((section.name, kept.dims), ("teacher", &[2, 6][..]));
        let mut again = Memory::from_rows([2, 6], kept.data).unwrap();
        assert_eq!(ask(&mut again, &[2.0, 1.0], &mut times), (vec![4.0, 1.0, 2.0, 1.0], vec![]));
    }

    #[test]
    fn rows_that_no_memory_wrote_are_refused() {
        let row = [1.0, 2.0, 3.0, 4.0, 0.5];
        assert!(Memory::from_rows([1, 5], &row).is_some());
        let with = |x| [&[x][..], &row[1..]].concat();
        for key in [0.5, -1.0, 16_777_216.0, f32::NAN] {
            assert!(Memory::from_rows([1, 5], &with(key)).is_none(), "{key}");
        }
        assert!(Memory::from_rows([2, 5], &[row, row].concat()).is_none(), "one image twice");
        for dims in [[1, 4], [2, 5], [5, 1], [usize::MAX, 5]] {
            assert!(Memory::from_rows(dims, &row).is_none(), "{dims:?}");
        }
    }
}

//! What a window sees at chosen places: patches as columns, and their sums.

use crate::batch::Maps;
use crate::fit::{FitError, Moments};
use crate::ops::conv::Window;
use crate::stats::SplitMix;
use crate::surgery::Consumer;

/// Places of each image that are looked at. He et al. (ICCV 2017) take 10, of 5000 images.
const PLACES: usize = 32;

/// The moments of what each conv group of a consumer reads and is to give, over places of images.
#[derive(Clone)]
pub(super) struct PatchSums<'c> {
    consumer: &'c Consumer,
    /// For each conv group.
    pub(super) groups: Vec<Moments>,
}

impl<'c> PatchSums<'c> {
    pub(super) fn new(consumer: &'c Consumer) -> Self {
        let outputs = consumer.of.kept.len() / consumer.groups;
        Self { consumer, groups: vec![Moments::new(consumer.inputs(), outputs, [1, 1]); consumer.groups] }
    }

    /// Adds what the consumer reads at some places of these images, and what the whole model gives there.
    ///
    /// # Errors
    /// [`FitError::OtherNode`] where the maps are not those of the consumer, [`FitError::NotFinite`].
    pub(super) fn add(&mut self, entry: Maps<'_>, target: Maps<'_>, random: &mut SplitMix) -> Result<(), FitError> {
        let Consumer { of, group_channels, groups, window, .. } = self.consumer;
        if entry.shape.get(1) != Some(&(group_channels * groups)) {
            return Err(FitError::OtherNode { found: entry.shape.to_vec() });
        }
        let places = Places::choose(window.as_ref(), entry, target, random)?;
        let filters = of.kept.len() / groups;
        for (group, moments) in self.groups.iter_mut().enumerate() {
            let patches = places.patches(entry, group * group_channels..(group + 1) * group_channels);
            let outputs = places.outputs(target, &of.kept[group * filters..(group + 1) * filters]);
            let count = places.count();
            moments.add(&patches, &[1, self.consumer.inputs(), count, 1], &outputs, &[1, filters, count, 1])?;
        }
        Ok(())
    }
}

/// Places of the outputs of a batch, with the elements of the input that the window covers there.
struct Places {
    /// Image and place on its output map.
    outputs: Vec<(usize, usize)>,
    /// For each place, and each element of the window: where on the input map; `None` in the padding.
    covered: Vec<Option<usize>>,
    area: usize,
}

impl Places {
    /// Up to [`PLACES`] of each image, at random where there are more.
    ///
    /// # Errors
    /// [`FitError::OtherNode`] where the maps are not those of the window.
    fn choose(
        window: Option<&Window>,
        entry: Maps<'_>,
        target: Maps<'_>,
        random: &mut SplitMix,
    ) -> Result<Self, FitError> {
        let axes = window.map_or(0, |window| window.kernel.len());
        let misfit = |maps: Maps<'_>| FitError::OtherNode { found: maps.shape.to_vec() };
        for maps in [entry, target] {
            if maps.shape.len() != axes + 2 || maps.data.len() != maps.shape.iter().product::<usize>() {
                return Err(misfit(maps));
            }
        }
        let (inside, outside) = (&entry.shape[2..], &target.shape[2..]);
        if entry.shape[0] != target.shape[0] {
            return Err(misfit(target));
        }
        let pixels: usize = outside.iter().product();
        let mut outputs = Vec::new();
        for image in 0..target.shape[0] {
            if pixels <= PLACES {
                outputs.extend((0..pixels).map(|pixel| (image, pixel)));
            } else {
                outputs.extend((0..PLACES).map(|_| (image, random.below(pixels))));
            }
        }
        let area = window.map_or(1, |window| window.kernel.iter().product());
        let mut covered = Vec::with_capacity(outputs.len() * area);
        for &(_, pixel) in &outputs {
            let at = coordinates(pixel, outside);
            for element in 0..area {
                covered.push(window.map_or(Some(0), |window| under(window, inside, &at, element)));
            }
        }
        Ok(Self { outputs, covered, area })
    }

    /// How many places there are.
    fn count(&self) -> usize {
        self.outputs.len()
    }

    /// Rows of `channels` of `entry` and the window's elements, channels outermost; a column for each place.
    fn patches(&self, entry: Maps<'_>, channels: std::ops::Range<usize>) -> Vec<f32> {
        let pixels: usize = entry.shape[2..].iter().product();
        let mut rows = Vec::with_capacity(channels.len() * self.area * self.count());
        for channel in channels {
            for element in 0..self.area {
                rows.extend(self.outputs.iter().enumerate().map(|(place, &(image, _))| {
                    let plane = (image * entry.shape[1] + channel) * pixels;
                    self.covered[place * self.area + element].map_or(0.0, |at| entry.data[plane + at])
                }));
            }
        }
        rows
    }

    /// A row for each of `channels` of `target`, a column for each place.
    fn outputs(&self, target: Maps<'_>, channels: &[usize]) -> Vec<f32> {
        let pixels: usize = target.shape[2..].iter().product();
        let at = |channel: usize, image: usize, pixel: usize| (image * target.shape[1] + channel) * pixels + pixel;
        let row =
            |channel: usize| self.outputs.iter().map(move |&(image, pixel)| target.data[at(channel, image, pixel)]);
        channels.iter().flat_map(|&channel| row(channel)).collect()
    }
}

/// The element of the input map under `element` of the window at `at`.
fn under(window: &Window, sizes: &[usize], at: &[usize], element: usize) -> Option<usize> {
    let element = coordinates(element, &window.kernel);
    let mut place = 0;
    for (axis, &size) in sizes.iter().enumerate() {
        let (before, _) = window.pads_for(axis, size);
        let along = at[axis] * window.strides[axis] + element[axis] * window.dilations[axis];
        place = place * size + along.checked_sub(before).filter(|&along| along < size)?;
    }
    Some(place)
}

fn coordinates(mut place: usize, sizes: &[usize]) -> Vec<usize> {
    let mut at = vec![0; sizes.len()];
    for (at, &size) in at.iter_mut().zip(sizes).rev() {
        *at = place % size;
        place /= size;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv::Padding;

    #[test]
    fn patches_are_what_the_window_covers() {
        // A 3x3 map of 1..9, a 2x2 window with a stride of 2 and one zero before each axis: outputs at (0, 0) … (1, 1).
        let window = Window {
            kernel: vec![2, 2],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            padding: Padding::Explicit(vec![(1, 0), (1, 0)]),
        };
        let data: Vec<f32> = (1..=9).map(|number| number as f32).collect();
        let entry = Maps { data: &data, shape: &[1, 1, 3, 3] };
        let target = Maps { data: &[10.0, 20.0, 30.0, 40.0], shape: &[1, 1, 2, 2] };
        let places = Places::choose(Some(&window), entry, target, &mut SplitMix::new(1)).unwrap();
        assert_eq!(places.count(), 4);
        let rows = places.patches(entry, 0..1);
        assert_eq!(rows[0..4], [0.0, 0.0, 0.0, 5.0]);
        assert_eq!(rows[4..8], [0.0, 0.0, 4.0, 6.0]);
        assert_eq!(rows[8..12], [0.0, 2.0, 0.0, 8.0]);
        assert_eq!(rows[12..16], [1.0, 3.0, 7.0, 9.0]);
        assert_eq!(places.outputs(target, &[0]), [10.0, 20.0, 30.0, 40.0]);
    }
}

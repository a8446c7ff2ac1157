//! Pad-crop and flips: a window of an image, moved and mirrored.

use rand::{Rng, RngExt};

use super::Augment;

/// Which part of an image is taken, and how it is turned over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows that it lies further down, and columns further right, than the image.
    pub(crate) offset: [isize; 2],
    /// Whether left and right are exchanged, after cropping.
    pub(crate) flipped: bool,
    /// Whether top and bottom are exchanged, after cropping.
    pub(crate) upside_down: bool,
}

impl Window {
    pub(crate) fn draw(augment: &Augment, random: &mut impl Rng) -> Window {
        let pad = augment.pad_crop.unwrap_or(0);
        let mut draw = || if pad == 0 { 0 } else { random.random_range(0..=2 * pad) as isize - pad as isize };
        let offset = [draw(), draw()];
        let flipped = augment.flip && random.random();
        Window { offset, flipped, upside_down: augment.vertical_flip && random.random() }
    }

    /// Writes the window of one channel, `value` being made of each pixel; where the image ends, of the default one.
    ///
    /// The image is of `height` and `width`, and so is the output.
    pub(crate) fn copy<T: Copy + Default, U: Copy>(
        &self,
        image: &[T],
        [height, width]: [usize; 2],
        output: &mut [U],
        value: impl Fn(T) -> U,
    ) {
        if *self == Window::default() {
            output.iter_mut().zip(image).for_each(|(output, &pixel)| *output = value(pixel));
            return;
        }
        let padding = value(T::default());
        let left = self.offset[1].min(0).unsigned_abs();
        let first = self.offset[1].max(0).unsigned_abs();
        for (row, output) in output.chunks_exact_mut(width).enumerate() {
            let row = if self.upside_down { height - 1 - row } else { row };
            let row = row.checked_add_signed(self.offset[0]).filter(|row| *row < height);
            let Some(row) = row.map(|row| &image[row * width + first.min(width)..(row + 1) * width]) else {
                output.fill(padding);
                continue;
            };
            let inside = row.len().min(width.saturating_sub(left));
            let write = |(output, &pixel): (&mut U, &T)| *output = value(pixel);
            // The crop comes first: what is its left side is the right one once flipped.
            if self.flipped {
                let start = width - left - inside;
                output[..start].fill(padding);
                output[width - left..].fill(padding);
                output[start..][..inside].iter_mut().rev().zip(row).for_each(write);
            } else {
                output[..left].fill(padding);
                output[left + inside..].fill(padding);
                output[left..][..inside].iter_mut().zip(row).for_each(write);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    #[test]
    fn a_window_is_moved_then_flipped() {
        let image = [1_u8, 2, 3, 4, 5, 6];
        let take = |offset, flipped, upside_down| {
            let mut output = [9_u8; 6];
            Window { offset, flipped, upside_down }.copy(&image, [2, 3], &mut output, |pixel| pixel);
            output
        };
        assert_eq!(take([0, 0], false, false), [1, 2, 3, 4, 5, 6]);
        assert_eq!(take([0, 0], true, false), [3, 2, 1, 6, 5, 4]);
        assert_eq!(take([0, 0], false, true), [4, 5, 6, 1, 2, 3]);
        assert_eq!(take([1, 0], false, false), [4, 5, 6, 0, 0, 0]);
        assert_eq!(take([-1, 1], false, false), [0, 0, 0, 2, 3, 0]);
        // The crop comes first: its padding on the right is on the left once flipped.
        assert_eq!(take([-1, 1], true, false), [0, 0, 0, 0, 3, 2]);
        assert_eq!(take([-1, 1], false, true), [2, 3, 0, 0, 0, 0]);
        assert_eq!(take([0, -2], false, false), [0, 0, 1, 0, 0, 4]);
        assert_eq!(take([0, -2], true, false), [1, 0, 0, 4, 0, 0]);
    }

    #[test]
    fn all_windows_and_flips_are_drawn_and_equally_often() {
        let augment = Augment { pad_crop: Some(1), flip: true, vertical_flip: true, ..Augment::default() };
        let mut counts = [0; 36];
        for image in 0..36_000 {
            let Window { offset: [row, column], flipped, upside_down } =
                Window::draw(&augment, &mut generator(0, Purpose::Augment, 0, image));
            let place = ((row + 1) * 3 + column + 1) as usize;
            counts[place * 4 + usize::from(flipped) * 2 + usize::from(upside_down)] += 1;
        }
        // Standard deviation of a count is about 31.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}

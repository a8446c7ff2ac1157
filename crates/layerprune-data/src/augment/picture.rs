//! An image that operations are made on.

use super::window::Window;

/// Pixels of 0 to 255 in CHW order, with memory for another image of the same size.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) pixels: Vec<u8>,
    /// What the last operation read; its contents mean nothing.
    spare: Vec<u8>,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Picture {
    /// Makes place for an image of this shape (C, H, W), whose pixels are yet to be written.
    pub(crate) fn reshape(&mut self, [channels, height, width]: [usize; 3]) {
        (self.channels, self.height, self.width) = (channels, height, width);
        self.pixels.resize(channels * height * width, 0);
    }

    /// Takes a window of an image of this size.
    pub(crate) fn take(&mut self, image: &[u8], window: Window) {
        copy(window, image, [self.height, self.width], &mut self.pixels);
    }

    /// Takes a window of itself.
    pub(crate) fn turn(&mut self, window: Window) {
        if window != Window::default() {
            let size = [self.height, self.width];
            let (old, new) = self.renew();
            copy(window, old, size, new);
        }
    }

    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let plane = self.height * self.width;
        self.pixels.chunks_exact_mut(plane)
    }

    /// Replaces every pixel by what stands in the table.
    pub(crate) fn map(&mut self, table: &[u8; 256]) {
        self.pixels.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
    }

    /// The image as it is, and memory of its size for a new one, which takes its place.
    pub(crate) fn renew(&mut self) -> (&[u8], &mut [u8]) {
        std::mem::swap(&mut self.pixels, &mut self.spare);
        self.pixels.resize(self.spare.len(), 0);
        (&self.spare, &mut self.pixels)
    }

    /// Red, green and blue, none where there are not three channels.
    pub(crate) fn rgb_mut(&mut self) -> Option<[&mut [u8]; 3]> {
        let plane = self.height * self.width;
        if self.channels != 3 {
            return None;
        }
        let (red, rest) = self.pixels.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        Some([red, green, blue])
    }
}

/// Writes a window of each plane of `image`, which has this height and width.
fn copy(window: Window, image: &[u8], [height, width]: [usize; 2], output: &mut [u8]) {
    let plane = height * width;
    for (image, output) in image.chunks_exact(plane).zip(output.chunks_exact_mut(plane)) {
        window.copy(image, [height, width], output, |pixel| pixel);
    }
}

//! Operations on each channel's tones, computed as Pillow's `ImageOps` does.

use super::picture::Picture;

/// Keeps so many of each pixel's 8 bits, the upper ones.
pub(super) fn posterize(picture: &mut Picture, bits: u32) {
    let mask = !(0xff_u32 >> bits.min(8)) as u8;
    picture.map(&std::array::from_fn(|pixel| pixel as u8 & mask));
}

/// Inverts the pixels that are not below the threshold.
pub(super) fn solarize(picture: &mut Picture, threshold: f64) {
    picture.map(&std::array::from_fn(|pixel| if (pixel as f64) < threshold { pixel as u8 } else { 255 - pixel as u8 }));
}

/// Stretches each channel so that its darkest pixel becomes 0 and its lightest 255.
pub(super) fn autocontrast(picture: &mut Picture) {
    for plane in picture.planes_mut() {
        let low = plane.iter().min().copied().unwrap_or(0);
        let high = plane.iter().max().copied().unwrap_or(0);
        if low < high {
            let scale = 255.0 / f64::from(high - low);
            let offset = -f64::from(low) * scale;
            let table: [u8; 256] = std::array::from_fn(|pixel| (pixel as f64 * scale + offset) as u8);
            plane.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
        }
    }
}

/// Maps each channel so that its pixels are spread evenly.
pub(super) fn equalize(picture: &mut Picture) {
    for plane in picture.planes_mut() {
        let mut counts = [0_usize; 256];
        plane.iter().for_each(|&pixel| counts[usize::from(pixel)] += 1);
        let lightest = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (plane.len() - lightest) / 255;
        if step == 0 {
            continue;
        }
        let mut sum = step / 2;
        let table = counts.map(|count| {
            let tone = (sum / step).min(255) as u8;
            sum += count;
            tone
        });
        plane.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
    }
}

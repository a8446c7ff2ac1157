//! Brightness, contrast, saturation, hue and sharpness, computed as Pillow does.

use super::picture::Picture;

/// Pillow's `Image.blend` of one pixel: `from` at factor 0, `to` at factor 1, and beyond both for other factors.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    // The cast drops what is behind the point and clips to 0 to 255.
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Pillow's `convert("L")` of one pixel: ITU-R 601-2 in fixed point.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// Factor 0 gives black, 1 the image as it is.
pub(super) fn brightness(picture: &mut Picture, factor: f64) {
    let factor = factor as f32;
    picture.map(&std::array::from_fn(|pixel| blend(0, pixel as u8, factor)));
}

/// Factor 0 gives the image's mean gray, 1 the image as it is.
pub(super) fn contrast(picture: &mut Picture, factor: f64) {
    let factor = factor as f32;
    let count = (picture.height * picture.width) as f64;
    let sum: u64 = match picture.rgb_mut() {
        Some([red, green, blue]) => {
            red.iter().zip(&*green).zip(&*blue).map(|((&r, &g), &b)| u64::from(luma(r, g, b))).sum()
        }
        None => picture.pixels.iter().map(|&pixel| u64::from(pixel)).sum(),
    };
    let mean = (sum as f64 / count + 0.5) as u8;
    picture.map(&std::array::from_fn(|pixel| blend(mean, pixel as u8, factor)));
}

/// Factor 0 gives a gray image, 1 the image as it is. Gray images stay.
pub(super) fn saturation(picture: &mut Picture, factor: f64) {
    let factor = factor as f32;
    let Some([red, green, blue]) = picture.rgb_mut() else { return };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let gray = luma(*red, *green, *blue);
        [*red, *green, *blue] = [*red, *green, *blue].map(|pixel| blend(gray, pixel, factor));
    }
}

/// Turns hues by a fraction of the circle, −0.5 to 0.5. Gray images stay.
///
/// As in Pillow, hues are whole numbers of 0 to 255, so that even a turn by 0 changes colours a little.
pub(super) fn hue(picture: &mut Picture, turn: f64) {
    let turn = (turn * 255.0) as i32 as u8;
    let Some([red, green, blue]) = picture.rgb_mut() else { return };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let [hue, saturation, value] = hsv([*red, *green, *blue]);
        [*red, *green, *blue] = rgb([hue.wrapping_add(turn), saturation, value]);
    }
}

/// Pillow's `rgb2hsv`, whose types of float decide the last bit.
fn hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [r, g, b] = [red, green, blue].map(|value| f32::from(most - value) / range);
    let hue = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Pillow's `hsv2rgb`.
fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixth = (f64::from(hue) * 6.0 / 255.0).floor();
    let rest = f64::from((f64::from(hue) * 6.0 / 255.0 - sixth) as f32);
    let saturation = f64::from((f64::from(saturation) / 255.0) as f32);
    let part = |lost: f64| (f64::from(value) * (1.0 - lost)).round() as u8;
    let (low, falling, rising) = (part(saturation), part(saturation * rest), part(saturation * (1.0 - rest)));
    match sixth as u32 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Factor 0 gives a smoothed image, 1 the image as it is, more a sharper one. The pixels of the edge stay, and so do
/// images of fewer than three rows or columns.
pub(super) fn sharpness(picture: &mut Picture, factor: f64) {
    let factor = factor as f32;
    let (height, width) = (picture.height, picture.width);
    if height < 3 || width < 3 {
        return;
    }
    let (old, new) = picture.renew();
    new.copy_from_slice(old);
    for (old, new) in old.chunks_exact(height * width).zip(new.chunks_exact_mut(height * width)) {
        for row in 1..height - 1 {
            let rows = [row - 1, row, row + 1].map(|row| &old[row * width..][..width]);
            for column in 1..width - 1 {
                let around = rows.iter().flat_map(|row| &row[column - 1..=column + 1]);
                let pixel = rows[1][column];
                let sum = around.map(|&pixel| u32::from(pixel)).sum::<u32>() + 4 * u32::from(pixel);
                // ImageFilter.SMOOTH: weights 1 around 5, over 13, rounded.
                let smooth = (2 * sum + 13) / 26;
                new[row * width + column] = blend(smooth as u8, pixel, factor);
            }
        }
    }
}

//! What the figures share: colours that have a dark form, a canvas for marks and text, and axes with round numbers.

use std::io;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use crate::record::format::{plain, significant};

pub(super) type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// A colour of the figures, with the one that takes its place on a dark page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink {
    light: RGBColor,
    dark: &'static str,
}

pub(super) const TEXT: Ink = Ink { light: RGBColor(0x1f, 0x23, 0x28), dark: "#e6edf3" };
pub(super) const MUTED: Ink = Ink { light: RGBColor(0x59, 0x63, 0x6e), dark: "#9aa4ae" };
pub(super) const GRID: Ink = Ink { light: RGBColor(0xdf, 0xe3, 0xe8), dark: "#343b44" };
/// What is kept, and the pruned model.
pub(super) const KEPT: Ink = Ink { light: RGBColor(0x00, 0x5f, 0xa3), dark: "#58a6e8" };
/// What is removed.
pub(super) const REMOVED: Ink = Ink { light: RGBColor(0xb8, 0x3f, 0x00), dark: "#ff9153" };
/// The baseline, and what is behind.
pub(super) const BASE: Ink = Ink { light: RGBColor(0x86, 0x8e, 0x99), dark: "#8b949e" };

const INKS: [Ink; 6] = [TEXT, MUTED, GRID, KEPT, REMOVED, BASE];

/// Style rules that give every colour its dark form inside `.chart`.
pub(super) fn dark_rules() -> String {
    INKS.iter()
        .map(|ink| {
            let RGBColor(r, g, b) = ink.light;
            let light = format!("#{r:02X}{g:02X}{b:02X}");
            let dark = ink.dark;
            format!(".chart [fill=\"{light}\"]{{fill:{dark}}}.chart [stroke=\"{light}\"]{{stroke:{dark}}}\n")
        })
        .collect()
}

/// A drawing, and what it shows in words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) title: String,
    /// How to read it.
    pub(super) caption: String,
    /// For those who can't see it.
    pub(super) description: String,
    pub(super) width: i32,
    pub(super) height: i32,
    /// The SVG elements, without the root; `None` where drawing failed.
    pub(super) marks: Option<String>,
}

impl Figure {
    pub(super) fn draw(mut self, draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> Self {
        let mut svg = String::new();
        let size = (self.width.unsigned_abs(), self.height.unsigned_abs());
        let drawn = {
            let canvas = Canvas { root: SVGBackend::with_string(&mut svg, size).into_drawing_area() };
            draw(&canvas).and_then(|()| canvas.root.present())
        };
        self.marks = drawn.ok().and_then(|()| {
            let (_, rest) = svg.split_once('>')?;
            Some(rest.strip_suffix("</svg>\n")?.trim_start().to_owned())
        });
        self
    }
}

/// Where marks go, in pixels from the upper left.
pub(super) struct Canvas<'a> {
    root: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Size of ordinary text in pixels.
const TEXT_SIZE: f64 = 12.0;
/// Width of an average character of it.
const CHAR_WIDTH: f64 = 7.5;
/// The backend writes sizes divided by this.
const FONT_SCALE: f64 = 1.24;

/// About how many pixels a text takes.
pub(super) fn width(text: &str) -> i32 {
    (text.chars().count() as f64 * CHAR_WIDTH).ceil() as i32
}

/// The text with its middle left out where it is longer than `most` characters.
pub(super) fn elided(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    if chars.len() <= most {
        return chars.into_iter().collect();
    }
    let tail = (most - 1) * 2 / 3;
    let head = most - 1 - tail;
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

/// Which side of its point a text is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Canvas<'_> {
    /// Text beside its point, centred in height.
    pub(super) fn text(&self, text: &str, at: (i32, i32), anchor: Anchor, ink: Ink) -> Drawn {
        self.root.draw_text(text, &style(anchor, ink, FontTransform::None), at)
    }

    /// Text that reads upwards and ends at its point.
    pub(super) fn upright(&self, text: &str, at: (i32, i32), ink: Ink) -> Drawn {
        self.root.draw_text(text, &style(Anchor::End, ink, FontTransform::Rotate270), at)
    }

    pub(super) fn line(&self, points: &[(i32, i32)], ink: Ink, width: u32) -> Drawn {
        if points.len() < 2 {
            return Ok(());
        }
        self.root.draw(&PathElement::new(points.to_vec(), stroke(ink, width)))
    }

    /// A dashed line between two points.
    pub(super) fn dashed(&self, points: &[(i32, i32)], ink: Ink, width: u32) -> Drawn {
        const DASH: f64 = 6.0;
        let mut walked = 0.0;
        for pair in points.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (f64::from(x), f64::from(y)));
            let length = (x1 - x0).hypot(y1 - y0);
            let at = |way: f64| {
                let part = if length > 0.0 { way / length } else { 0.0 };
                ((x0 + part * (x1 - x0)).round() as i32, (y0 + part * (y1 - y0)).round() as i32)
            };
            let mut way = 0.0;
            while way < length {
                let phase = (walked + way) % (2.0 * DASH);
                let next = (way + if phase < DASH { DASH - phase } else { 2.0 * DASH - phase }.max(0.5)).min(length);
                if phase < DASH {
                    self.line(&[at(way), at(next)], ink, width)?;
                }
                way = next;
            }
            walked += length;
        }
        Ok(())
    }

    pub(super) fn filled(&self, corner: (i32, i32), opposite: (i32, i32), ink: Ink) -> Drawn {
        let (left, right) = (corner.0.min(opposite.0), corner.0.max(opposite.0).max(corner.0.min(opposite.0) + 1));
        self.root.draw(&Rectangle::new([(left, corner.1), (right, opposite.1)], ink.light.filled()))
    }

    /// As [`Canvas::filled`], let through by all but `share` of it.
    pub(super) fn shaded(&self, corner: (i32, i32), opposite: (i32, i32), ink: Ink, share: f64) -> Drawn {
        self.root.draw(&Rectangle::new([corner, opposite], ink.light.mix(share).filled()))
    }

    pub(super) fn hollow(&self, corner: (i32, i32), opposite: (i32, i32), ink: Ink) -> Drawn {
        let [(x0, y0), (x1, y1)] = [corner, opposite];
        self.line(&[(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], ink, 2)
    }

    pub(super) fn dot(&self, at: (i32, i32), ink: Ink) -> Drawn {
        self.root.draw(&Circle::new(at, 3, ink.light.filled()))
    }

    pub(super) fn ring(&self, at: (i32, i32), ink: Ink) -> Drawn {
        self.root.draw(&Circle::new(at, 4, stroke(ink, 2)))
    }

    pub(super) fn cross(&self, (x, y): (i32, i32), ink: Ink) -> Drawn {
        self.line(&[(x - 5, y - 5), (x + 5, y + 5)], ink, 3)?;
        self.line(&[(x - 5, y + 5), (x + 5, y - 5)], ink, 3)
    }

    /// A vertical interval with its ends marked.
    pub(super) fn whisker(&self, x: i32, low: i32, high: i32, ink: Ink) -> Drawn {
        self.line(&[(x, low), (x, high)], ink, 1)?;
        self.line(&[(x - 4, low), (x + 4, low)], ink, 1)?;
        self.line(&[(x - 4, high), (x + 4, high)], ink, 1)
    }

    /// A horizontal interval with its ends marked.
    pub(super) fn span(&self, y: i32, low: i32, high: i32, ink: Ink) -> Drawn {
        self.line(&[(low, y), (high, y)], ink, 1)?;
        self.line(&[(low, y - 4), (low, y + 4)], ink, 1)?;
        self.line(&[(high, y - 4), (high, y + 4)], ink, 1)
    }

    /// Signs and their meaning in a row from `at`.
    pub(super) fn legend(&self, at: (i32, i32), entries: &[(Sign, &str)]) -> Drawn {
        let (mut x, y) = at;
        for (sign, meaning) in entries {
            match *sign {
                Sign::Dot(ink) => self.dot((x + 6, y), ink)?,
                Sign::Ring(ink) => self.ring((x + 6, y), ink)?,
                Sign::Cross(ink) => self.cross((x + 6, y), ink)?,
                Sign::Whisker(ink) => self.whisker(x + 6, y + 7, y - 7, ink)?,
                Sign::Bar(ink) => self.filled((x, y - 5), (x + 12, y + 5), ink)?,
                Sign::Hollow(ink) => self.hollow((x + 1, y - 5), (x + 11, y + 5), ink)?,
                Sign::Dashed(ink) => self.dashed(&[(x - 3, y), (x + 15, y)], ink, 2)?,
            }
            self.text(meaning, (x + 19, y), Anchor::Start, MUTED)?;
            x += 19 + width(meaning) + 18;
        }
        Ok(())
    }

    /// Grid lines and numbers of a vertical axis, from `left` to `right`.
    pub(super) fn rows(&self, axis: &Axis, left: i32, right: i32) -> Drawn {
        for tick in axis.ticks(6) {
            let y = axis.at(tick);
            self.line(&[(left, y), (right, y)], GRID, 1)?;
            self.text(&axis.label(tick, 6), (left - 7, y), Anchor::End, MUTED)?;
        }
        Ok(())
    }

    /// Grid lines and numbers of a horizontal axis, from `top` to `bottom`.
    pub(super) fn columns(&self, axis: &Axis, top: i32, bottom: i32) -> Drawn {
        for tick in axis.ticks(6) {
            let x = axis.at(tick);
            self.line(&[(x, top), (x, bottom)], GRID, 1)?;
            self.text(&axis.label(tick, 6), (x, bottom + 11), Anchor::Middle, MUTED)?;
        }
        Ok(())
    }
}

/// What a legend shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sign {
    Dot(Ink),
    Ring(Ink),
    Cross(Ink),
    Whisker(Ink),
    Bar(Ink),
    Hollow(Ink),
    Dashed(Ink),
}

fn style(anchor: Anchor, ink: Ink, transform: FontTransform) -> TextStyle<'static> {
    let side = match anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let font = ("sans-serif", TEXT_SIZE * FONT_SCALE).into_font().transform(transform);
    TextStyle { color: ink.light.to_backend_color(), ..TextStyle::from(font) }.pos(Pos::new(side, VPos::Center))
}

fn stroke(ink: Ink, width: u32) -> ShapeStyle {
    ShapeStyle { color: ink.light.into(), filled: false, stroke_width: width }
}

/// A linear scale from numbers to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: i32,
    to: i32,
}

impl Axis {
    /// The scale whose ends `low` and `high` are at the pixels `from` and `to`. An empty range is widened; so is one
    /// too small to be told apart at its size.
    pub(super) fn new((low, high): (f64, f64), from: i32, to: i32) -> Self {
        let least = (low.abs().max(high.abs()) * 1e-6).max(f64::MIN_POSITIVE * 1e6);
        let (low, high) = match high - low >= least {
            true => (low, high),
            false if low == 0.0 && high == 0.0 => (0.0, 1.0),
            false => (low - 10.0 * least, high + 10.0 * least),
        };
        Self { low, high, from, to }
    }

    /// The pixel of a number; one outside the range is put on its edge.
    pub(super) fn at(&self, value: f64) -> i32 {
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + (part * f64::from(self.to - self.from)).round() as i32
    }

    /// Whether the number is within the range.
    pub(super) fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// At most `most` round numbers within the range, evenly spaced.
    fn ticks(&self, most: usize) -> Vec<f64> {
        let step = self.step(most);
        let first = (self.low / step - 1e-9).ceil();
        (0..=most).map(|k| (first + k as f64) * step).take_while(|tick| *tick <= self.high + step * 1e-9).collect()
    }

    fn step(&self, most: usize) -> f64 {
        let raw = (self.high - self.low) / most.max(1) as f64;
        let scale = 10f64.powf(raw.log10().floor());
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * scale).find(|step| *step >= raw * 0.999).unwrap_or(raw)
    }

    fn label(&self, tick: f64, most: usize) -> String {
        let step = self.step(most);
        let decimals = (-(step * 1.001).log10().floor()).max(0.0);
        match decimals > 4.0 || tick.abs() >= 1e7 {
            true => significant(if tick.abs() < step / 2.0 { 0.0 } else { tick }, 3),
            false => plain(tick, decimals as usize),
        }
    }
}

/// The least and the greatest of the finite numbers.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    // Numbers beyond this would overflow the differences below.
    let values = values.into_iter().filter(|value| value.abs() < 1e150);
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// The range with a twentieth of its size added at both ends.
pub(super) fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let pad = (high - low) * 0.05;
    (low - pad, high + pad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |low, high| {
            let axis = Axis::new((low, high), 0, 100);
            axis.ticks(6).into_iter().map(|tick| axis.label(tick, 6)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(0.0, 100.0), "0 20 40 60 80 100");
        assert_eq!(labels(-0.13, 0.42), "−0.1 0.0 0.1 0.2 0.3 0.4");
        assert_eq!(labels(0.0, 3e-9), "0.00 5.00e−10 1.00e−9 1.50e−9 2.00e−9 2.50e−9 3.00e−9");
        assert_eq!(labels(91.02, 91.98), "91.2 91.4 91.6 91.8");
    }

    #[test]
    fn hostile_ranges_give_few_ticks_and_pixels_inside() {
        for range in [(0.0, 0.0), (5.0, 5.0), (-1e149, 1e149), (1e-300, 1e-300), (1e12, 1e12 + 1e-3), (7.0, 3.0)] {
            let axis = Axis::new(range, 10, 90);
            assert!(axis.ticks(6).len() <= 8, "{range:?}: {:?}", axis.ticks(6));
            for value in [range.0, range.1, 0.0, f64::INFINITY] {
                assert!((10..=90).contains(&axis.at(value)), "{range:?} {value}");
            }
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(elided("short", 10), "short");
        assert_eq!(elided("features/stage3/block7/conv2/Conv", 14), "featu…nv2/Conv");
        assert_eq!(elided("a\nb", 10), "a b");
    }
}

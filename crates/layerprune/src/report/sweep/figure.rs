//! Accuracy against latency.

use super::super::figures::{WIDTH, percent_range};
use super::super::page::svg_file;
use super::super::plot::{
    Anchor, Axis, BASE, Canvas, Drawn, Figure, KEPT, MUTED, Sign, TEXT, elided, padded, range, width,
};
use crate::record::format::{counted, plain};
use crate::record::{Proportion, Sweep};

/// Longest label of a point, in characters.
const LABEL: usize = 24;
const HEIGHT: i32 = 460;
const PLOT: Area = Area { left: 64, right: WIDTH - 24, top: 38, bottom: HEIGHT - 52 };
/// Where labels may be.
const INSIDE: Area = Area { right: WIDTH - 4, ..PLOT };

/// The figure of the sweep as an SVG file; none where no accuracy was measured.
#[must_use]
pub fn sweep_svg(sweep: &Sweep) -> Option<String> {
    svg_file(&figure(sweep)?)
}

pub(super) fn figure(sweep: &Sweep) -> Option<Figure> {
    let points = points(sweep);
    points.iter().find(|point| point.kind != Kind::Baseline)?;
    let reductions =
        |point: &Point<'_>| [point.reduction].into_iter().chain(point.reduction_interval.into_iter().flatten());
    let x_range = range(points.iter().flat_map(reductions))?;
    let y_range =
        percent_range(points.iter().flat_map(|point| [point.top1.percent].into_iter().chain(point.top1.interval)))?;
    let (common, labels) = labels(&points);
    let labelled = match common.as_str() {
        "" => "Points carry their budget where there is room.".to_owned(),
        common => format!("Points carry their budget ({common} …) where there is room."),
    };
    let words = points.iter().map(|point| {
        let kind = match point.kind {
            Kind::Dominated => ", dominated",
            Kind::Baseline | Kind::Frontier => "",
        };
        let (reduction, top1) = (plain(point.reduction, 1), plain(point.top1.percent, 1));
        format!("{}: reduction {reduction} %, top-1 {top1} %{kind}", elided(point.name, 2 * LABEL))
    });
    let figure = Figure {
        title: "Accuracy against latency".to_owned(),
        caption: format!(
            "Top-1 over the latency reduction against the baseline, both with their 95 % interval; up and to the right \
             is better. The line joins the models that no other dominates. {labelled} The scales need not begin at zero."
        ),
        description: format!(
            "Scatter chart of {}. {}.",
            counted(points.len() as u64, "model", "models"),
            words.collect::<Vec<_>>().join("; ")
        ),
        width: WIDTH,
        height: HEIGHT,
        marks: None,
    };
    let x = Axis::new(padded(x_range), PLOT.left, PLOT.right);
    let y = Axis::new(y_range, PLOT.bottom, PLOT.top);
    Some(figure.draw(|canvas| draw(canvas, &points, &labels, &x, &y)))
}

/// What is drawn of a model.
struct Point<'a> {
    name: &'a str,
    kind: Kind,
    reduction: f64,
    reduction_interval: Option<[f64; 2]>,
    top1: &'a Proportion,
    /// Whether the line goes through it.
    joined: bool,
}

/// In the order in which labels are placed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Baseline,
    Frontier,
    Dominated,
}

/// The baseline, the points on the frontier and the others, as far as their accuracy is known.
fn points(sweep: &Sweep) -> Vec<Point<'_>> {
    let baseline = sweep.baseline.accuracy.iter().map(|accuracy| Point {
        name: "baseline",
        kind: Kind::Baseline,
        reduction: 0.0,
        reduction_interval: None,
        top1: &accuracy.top1,
        joined: sweep.baseline_is_on_frontier(),
    });
    let made = sweep.points.iter().zip(sweep.frontier()).filter_map(|(point, joined)| {
        Some(Point {
            name: &point.budget,
            kind: if joined { Kind::Frontier } else { Kind::Dominated },
            reduction: point.latency.latency_reduction_percent,
            reduction_interval: Some(point.latency.latency_reduction_interval),
            top1: &point.accuracy.as_ref()?.top1,
            joined,
        })
    });
    let known = |point: &Point<'_>| point.reduction.is_finite() && point.top1.percent.is_finite();
    let mut points: Vec<_> = baseline.chain(made).filter(known).collect();
    points.sort_by_key(|point| point.kind);
    points
}

/// The words that all budgets begin with, and what each point is called without them.
fn labels(points: &[Point<'_>]) -> (String, Vec<String>) {
    let split = |name: &str| -> Vec<String> { name.split_whitespace().map(ToOwned::to_owned).collect() };
    let budgets: Vec<_> =
        points.iter().filter(|point| point.kind != Kind::Baseline).map(|point| split(point.name)).collect();
    let shared =
        |count: &usize| budgets.iter().all(|words| words.len() > *count && words[..*count] == budgets[0][..*count]);
    let differ = budgets.iter().any(|words| *words != budgets[0]);
    let shared = if differ { (1..).take_while(shared).last().unwrap_or(0) } else { 0 };
    let label = |point: &Point<'_>| match point.kind {
        Kind::Baseline => point.name.to_owned(),
        Kind::Frontier | Kind::Dominated => elided(&split(point.name)[shared..].join(" "), LABEL),
    };
    let common = budgets.first().map_or_else(String::new, |words| words[..shared].join(" "));
    (common, points.iter().map(label).collect())
}

fn draw(canvas: &Canvas<'_>, points: &[Point<'_>], labels: &[String], x: &Axis, y: &Axis) -> Drawn {
    canvas.text("top-1 in %", (12, 16), Anchor::Start, MUTED)?;
    canvas.rows(y, PLOT.left, PLOT.right)?;
    canvas.columns(x, PLOT.top, PLOT.bottom)?;
    let middle = (i32::midpoint(PLOT.left, PLOT.right), PLOT.bottom + 36);
    canvas.text("latency reduction in %", middle, Anchor::Middle, MUTED)?;
    let mut signs = vec![(Sign::Dot(KEPT), "on the frontier"), (Sign::Whisker(MUTED), "95 % interval")];
    if points.iter().any(|point| point.kind == Kind::Dominated) {
        signs.insert(1, (Sign::Ring(BASE), "dominated"));
    }
    if points.iter().any(|point| point.kind == Kind::Baseline) {
        signs.insert(0, (Sign::Bar(BASE), "baseline"));
    }
    canvas.legend((PLOT.left + 90, 16), &signs)?;

    let at: Vec<_> = points.iter().map(|point| (x.at(point.reduction), y.at(point.top1.percent))).collect();
    let mut intervals = Vec::new();
    for (point, &at) in points.iter().zip(&at) {
        let [low, high] = point.top1.interval.map(|end| y.at(end));
        canvas.whisker(at.0, low, high, MUTED)?;
        intervals.push(Area { left: at.0 - 4, right: at.0 + 4, top: high, bottom: low });
        if let Some([low, high]) = point.reduction_interval.map(|ends| ends.map(|end| x.at(end))) {
            canvas.span(at.1, low, high, MUTED)?;
            intervals.push(Area { left: low, right: high, top: at.1 - 4, bottom: at.1 + 4 });
        }
    }
    let mut joined: Vec<_> = points.iter().zip(&at).filter_map(|(point, at)| point.joined.then_some(*at)).collect();
    joined.sort_by_key(|(x, y)| (*x, *y));
    canvas.line(&joined, KEPT, 2)?;
    let line: Vec<Area> = joined.windows(2).flat_map(|pair| along(pair[0], pair[1])).collect();
    for (point, &at) in points.iter().zip(&at) {
        match point.kind {
            Kind::Baseline => canvas.filled((at.0 - 5, at.1 - 5), (at.0 + 5, at.1 + 5), BASE)?,
            Kind::Frontier => canvas.dot(at, KEPT)?,
            Kind::Dominated => canvas.ring(at, BASE)?,
        }
    }
    for ((label, point), place) in labels.iter().zip(points).zip(places(&at, labels, line, &intervals)) {
        let ink = if point.kind == Kind::Frontier { TEXT } else { MUTED };
        if let Some(place) = place {
            canvas.text(label, (place.left, i32::midpoint(place.top, place.bottom)), Anchor::Start, ink)?;
        }
    }
    Ok(())
}

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Area {
    fn around((x, y): (i32, i32), half: i32) -> Self {
        Self { left: x - half, right: x + half, top: y - half, bottom: y + half }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left <= other.right && other.left <= self.right && self.top <= other.bottom && other.top <= self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && other.right <= self.right && self.top <= other.top && other.bottom <= self.bottom
    }
}

/// Small areas that cover a line.
fn along((x0, y0): (i32, i32), (x1, y1): (i32, i32)) -> impl Iterator<Item = Area> {
    let steps = ((x1 - x0).abs().max((y1 - y0).abs()) / 4).max(1);
    (0..=steps).map(move |step| Area::around((x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps), 2))
}

/// A place for each label beside its point, clear of all points, of other labels and of what is in `full`, and of what is
/// in `busy` where there is such a place; none where there isn't any.
fn places(points: &[(i32, i32)], labels: &[String], mut full: Vec<Area>, busy: &[Area]) -> Vec<Option<Area>> {
    full.extend(points.iter().map(|&at| Area::around(at, 6)));
    let mut places = Vec::new();
    for (&(x, y), label) in points.iter().zip(labels) {
        let long = width(label);
        let beside = [-13, 13, -26, 26].into_iter().flat_map(|down| {
            let (top, bottom) = (y + down - 7, y + down + 7);
            [x + 7, x - 7 - long, x - long / 2].map(|left| Area { left, right: left + long, top, bottom })
        });
        let free: Vec<Area> =
            beside.filter(|place| INSIDE.holds(place) && !full.iter().any(|other| other.meets(place))).collect();
        let clear = free.iter().find(|place| !busy.iter().any(|other| other.meets(place)));
        let place = clear.or(free.first()).copied();
        full.extend(place);
        places.push(place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn no_figure_without_an_accuracy() {
        let mut sweep = samples::small();
        sweep.points.iter_mut().for_each(|point| point.accuracy = None);
        assert_eq!(figure(&sweep), None);
        assert_eq!(sweep_svg(&sweep), None);
        assert_eq!(figure(&Sweep::default()), None);
    }

    #[test]
    fn a_point_without_accuracy_is_not_drawn() {
        let figure = figure(&samples::small()).unwrap();
        assert_eq!(
            figure.description,
            "Scatter chart of 4 models. baseline: reduction 0.0 %, top-1 93.4 %; \
             latency reduction 25 %: reduction 25.0 %, top-1 93.0 %; \
             latency reduction 40 %: reduction 41.2 %, top-1 90.5 %; \
             latency reduction 30 %: reduction 30.4 %, top-1 89.0 %, dominated."
        );
        let marks = figure.marks.unwrap();
        // Every point and its sign in the legend.
        assert_eq!(marks.matches("<circle").count(), 3 + 2, "{marks}");
    }

    #[test]
    fn labels_leave_out_the_words_that_all_budgets_share() {
        let mut sweep = samples::small();
        let called = |sweep: &Sweep| {
            let (common, labels) = labels(&points(sweep));
            format!("{common}: {}", labels.join(", "))
        };
        assert_eq!(called(&sweep), "latency reduction: baseline, 25 %, 40 %, 30 %");
        sweep.points[0].budget = "latency reduction".to_owned();
        assert_eq!(called(&sweep), "latency: baseline, reduction, reduction 40 %, reduction 30 %");
        sweep.points[0].budget = "4 ms".to_owned();
        assert_eq!(called(&sweep), ": baseline, 4 ms, latency reduction 40 %, latency reduction 30 %");
        sweep.points.truncate(1);
        assert_eq!(called(&sweep), ": baseline, 4 ms");
        sweep.points[0].budget = String::new();
        assert_eq!(called(&sweep), ": baseline, ");
    }

    #[test]
    fn labels_stay_inside_and_off_each_other_and_the_points() {
        let at: Vec<_> = (0..30).map(|index| (70 + 25 * index, 44 + 11 * index)).collect();
        let labels: Vec<_> = (0..30).map(|index| format!("{index} % by weight norm")).collect();
        let placed: Vec<_> = places(&at, &labels, Vec::new(), &[]).into_iter().flatten().collect();
        assert!(placed.len() > 10, "{placed:?}");
        for (index, one) in placed.iter().enumerate() {
            assert!(INSIDE.holds(one) && !at.iter().any(|&at| Area::around(at, 3).meets(one)), "{one:?}");
            assert!(!placed[..index].iter().any(|other| other.meets(one)), "{one:?}");
        }
    }

    #[test]
    fn a_label_gives_way_to_an_interval_but_rather_crosses_it_than_goes() {
        let (at, label) = ((400, 200), ["40 %".to_owned()]);
        let [first] = places(&[at], &label, Vec::new(), &[])[..] else { panic!() };
        let [second] = places(&[at], &label, Vec::new(), &first.map_or(vec![], |place| vec![place]))[..] else {
            panic!()
        };
        assert_ne!(first, second);
        assert_eq!(places(&[at], &label, Vec::new(), &[PLOT]), [first]);
        assert_eq!(places(&[at], &label, vec![PLOT], &[]), [None]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_left_out_of_the_marks() {
        let mut sweep = samples::small();
        sweep.points[0].latency.latency_reduction_percent = f64::NAN;
        sweep.points[1].latency.latency_reduction_interval = [f64::NEG_INFINITY, f64::NAN];
        let marks = figure(&sweep).unwrap().marks.unwrap();
        assert_eq!(marks.matches("<circle").count(), 2 + 2, "{marks}");
    }

    #[test]
    fn the_file_is_a_picture_of_its_own() {
        let mut sweep = samples::crowded();
        sweep.points[0].budget = "<b>&\"\u{1}".to_owned();
        let svg = sweep_svg(&sweep).unwrap();
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 460\""), "{svg}");
        assert!(svg.ends_with("</svg>\n") && svg.matches("<svg").count() == 1);
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>") && !svg.contains('\u{1}'), "{svg}");
    }
}

//! The figures of the page, each from its part of the record; a part that is absent has no figure.

use super::plot::{
    Anchor, Axis, BASE, Canvas, Drawn, Figure, GRID, KEPT, MUTED, REMOVED, Sign, TEXT, elided, padded, range, width,
};
use super::ranked;
use crate::record::format::{circumstances, counted, milliseconds, plain, significant};
use crate::record::{Accuracy, LatencyComparison, LatencyStats, PlanSummary, Proportion, Record, ScoreRow, ScoreTable};

/// Width of a figure that needs no more, in pixels.
pub(super) const WIDTH: i32 = 860;
/// Longest name of a layer that is written out, in characters.
const NAME: usize = 34;

/// Accuracy of the classifiers imprinted along the depth, for each criterion that has them.
pub(super) fn depths(record: &Record) -> Vec<Figure> {
    record.scores.iter().filter_map(depth).collect()
}

fn depth(table: &ScoreTable) -> Option<Figure> {
    let points: Vec<(&ScoreRow, &Proportion)> =
        table.rows.iter().filter_map(|row| Some((row, row.accuracy.as_ref()?))).collect();
    let ends = points.iter().flat_map(|(_, accuracy)| [accuracy.percent, accuracy.interval[0], accuracy.interval[1]]);
    let (low, high) = percent_range(ends)?;
    let names: Vec<String> = points.iter().map(|(row, _)| elided(&row.layer, NAME)).collect();
    let frame = Frame::along(&names, 360);
    let first = points.first()?;
    let last = points.last()?;
    let figure = Figure {
        title: format!("Accuracy along the depth ({})", table.criterion),
        caption: "Top-1 of a classifier on each layer's output, with its 95 % interval. A layer after which \
                  the curve doesn't rise adds little; a rise smaller than the intervals can't be told from none. \
                  The scale need not begin at zero."
            .to_owned(),
        description: format!(
            "Line chart over {}: from {} % at {} to {} % at {}. {}",
            counted(points.len() as u64, "layer", "layers"),
            plain(first.1.percent, 1),
            first.0.layer,
            plain(last.1.percent, 1),
            last.0.layer,
            removed_names(points.iter().map(|(row, _)| *row)),
        ),
        width: frame.width,
        height: frame.height,
        marks: None,
    };
    Some(figure.draw(|canvas| {
        let y = Axis::new((low, high), frame.bottom, frame.top);
        frame.draw(canvas, &y, "top-1 in %", &names)?;
        let signs =
            [(Sign::Dot(KEPT), "kept"), (Sign::Cross(REMOVED), "removed"), (Sign::Whisker(MUTED), "95 % interval")];
        canvas.legend((frame.left + 90, 18), &signs)?;
        let at: Vec<_> =
            points.iter().enumerate().map(|(i, (_, accuracy))| (frame.x(i), y.at(accuracy.percent))).collect();
        canvas.line(&at, BASE, 2)?;
        for ((row, accuracy), &at) in points.iter().zip(&at) {
            let [low, high] = accuracy.interval;
            canvas.whisker(at.0, y.at(low), y.at(high), MUTED)?;
            match row.removed {
                true => canvas.cross(at, REMOVED)?,
                false => canvas.dot(at, KEPT)?,
            }
        }
        Ok(())
    }))
}

/// Scores as bars, the least important on top, one figure for each criterion.
pub(super) fn scores(record: &Record) -> Vec<Figure> {
    record.scores.iter().filter_map(bars).collect()
}

fn bars(table: &ScoreTable) -> Option<Figure> {
    const ROW: i32 = 20;
    let rows = ranked(&table.rows);
    let ends = rows
        .iter()
        .flat_map(|row| [Some(row.score), row.interval.map(|[low, _]| low), row.interval.map(|[_, high]| high)]);
    let (low, high) = range(ends.flatten())?;
    let last = rows.iter().rfind(|row| row.score.is_finite())?;
    let names: Vec<String> = rows.iter().map(|row| elided(&row.layer, NAME)).collect();
    let left = 12 + names.iter().map(|name| width(name)).max().unwrap_or(0);
    let right = WIDTH - 200;
    let top = 34;
    let bottom = top + ROW * i32::try_from(rows.len()).ok()?;
    let ties = rows.iter().any(|row| row.tied_with_next);
    let figure = Figure {
        title: format!("Scores ({})", table.criterion),
        caption: match ties {
            true => "Least important first. ≈ marks a layer whose score can't be told from that of the next one down: \
                     their intervals overlap. A thin line is the 95 % interval of a score that was estimated from samples."
                .to_owned(),
            false => "Least important first. A thin line is the 95 % interval of a score that was estimated from samples."
                .to_owned(),
        },
        description: format!(
            "Bar chart of {}: from {} for {} to {} for {}. {}",
            counted(rows.len() as u64, "score", "scores"),
            significant(rows.first()?.score, 3),
            rows.first()?.layer,
            significant(last.score, 3),
            last.layer,
            removed_names(rows.iter().copied()),
        ),
        width: WIDTH,
        height: bottom + 24,
        marks: None,
    };
    Some(figure.draw(|canvas| {
        let x = Axis::new((low.min(0.0), high.max(0.0)), left, right);
        canvas.legend((left, 16), &[(Sign::Bar(KEPT), "kept"), (Sign::Hollow(REMOVED), "removed")])?;
        canvas.columns(&x, top, bottom)?;
        for (index, (row, name)) in (0..).zip(rows.iter().zip(&names)) {
            let y = top + ROW * index + ROW / 2;
            canvas.text(name, (left - 8, y), Anchor::End, if row.removed { REMOVED } else { TEXT })?;
            canvas.text(&significant(row.score, 3), (right + 82, y), Anchor::End, MUTED)?;
            if row.removed {
                canvas.text("removed", (right + 96, y), Anchor::Start, REMOVED)?;
            }
            if row.tied_with_next && y + ROW < bottom {
                canvas.text("≈", (right + 160, y + ROW / 2), Anchor::Middle, TEXT)?;
            }
            if row.score.is_finite() {
                let (from, to) = (x.at(0.0), x.at(row.score));
                match row.removed {
                    true => canvas.hollow((from, y - 6), (to, y + 6), REMOVED)?,
                    false => canvas.filled((from, y - 6), (to, y + 6), KEPT)?,
                }
                if let Some([low, high]) = row.interval {
                    canvas.line(&[(x.at(low), y), (x.at(high), y)], TEXT, 1)?;
                }
            }
        }
        canvas.line(&[(x.at(0.0), top), (x.at(0.0), bottom)], MUTED, 1)
    }))
}

/// Medians with p90 and p99 of both models, a panel for each comparison.
pub(super) fn latency(record: &Record) -> Option<Figure> {
    const PANEL: i32 = 116;
    let panels = i32::try_from(record.latency.len()).ok().filter(|panels| *panels > 0)?;
    let words = record.latency.iter().map(|one| {
        format!(
            "{}: baseline {}, pruned {}",
            circumstances(one, &record.latency),
            milliseconds(one.baseline.median_ms),
            milliseconds(one.candidate.median_ms)
        )
    });
    let figure = Figure {
        title: "Latency".to_owned(),
        caption: "Bars end at the median of the interleaved samples; the thin line goes on to p90 (short stroke) and \
                  p99 (long stroke), with an arrow where that is off the scale. Each panel has its own scale."
            .to_owned(),
        description: format!("Bar chart of median latencies. {}.", words.collect::<Vec<_>>().join("; ")),
        width: WIDTH,
        height: 34 + PANEL * panels,
        marks: None,
    };
    Some(figure.draw(|canvas| {
        canvas.legend((84, 16), &[(Sign::Bar(BASE), "baseline"), (Sign::Bar(KEPT), "pruned")])?;
        for (one, panel) in record.latency.iter().zip(0..) {
            latency_panel(canvas, one, &record.latency, 34 + PANEL * panel)?;
        }
        Ok(())
    }))
}

fn latency_panel(canvas: &Canvas<'_>, one: &LatencyComparison, among: &[LatencyComparison], top: i32) -> Drawn {
    let (left, right) = (84, WIDTH - 250);
    let models = [("baseline", &one.baseline, BASE), ("pruned", &one.candidate, KEPT)];
    let medians = models.map(|(_, stats, _)| stats.median_ms);
    let ends = models.iter().flat_map(|(_, stats, _)| [stats.median_ms, stats.p90_ms, stats.p99_ms]);
    let (Some((_, end)), Some((_, median))) = (range(ends), range(medians)) else { return Ok(()) };
    // One straggler must not shrink the bars to nothing; its number stands beside.
    let x = Axis::new((0.0, end.min(2.0 * median)), left, right);
    canvas.text(&format!("{}, in ms", circumstances(one, among)), (left, top + 12), Anchor::Start, TEXT)?;
    canvas.columns(&x, top + 24, top + 84)?;
    for ((name, stats, ink), row) in models.into_iter().zip(0..) {
        let y = top + 39 + 30 * row;
        canvas.text(name, (left - 8, y), Anchor::End, TEXT)?;
        latency_bar(canvas, &x, stats, y, ink)?;
        let numbers = format!(
            "{} (p90 {}, p99 {})",
            milliseconds(stats.median_ms),
            significant(stats.p90_ms, 3),
            significant(stats.p99_ms, 3)
        );
        canvas.text(&numbers, (right + 14, y), Anchor::Start, TEXT)?;
    }
    Ok(())
}

fn latency_bar(canvas: &Canvas<'_>, x: &Axis, stats: &LatencyStats, y: i32, ink: super::plot::Ink) -> Drawn {
    canvas.filled((x.at(0.0), y - 8), (x.at(stats.median_ms), y + 8), ink)?;
    canvas.line(&[(x.at(stats.median_ms), y), (x.at(stats.p99_ms), y)], TEXT, 1)?;
    for (value, half) in [(stats.p90_ms, 4), (stats.p99_ms, 8)] {
        let at = x.at(value);
        match x.covers(value) {
            true => canvas.line(&[(at, y - half), (at, y + half)], TEXT, 1)?,
            false => canvas.line(&[(at - 5, y - 4), (at, y), (at - 5, y + 4)], TEXT, 1)?,
        }
    }
    Ok(())
}

/// Top-1 of the baseline and of the pruned model at each stage.
pub(super) fn accuracy(record: &Record) -> Option<Figure> {
    let baseline = record.baseline.as_ref().and_then(|baseline| baseline.accuracy.as_ref());
    let mut points: Vec<(String, &Accuracy)> =
        baseline.map(|accuracy| ("baseline".to_owned(), accuracy)).into_iter().collect();
    points.extend(record.pruned.iter().flat_map(|pruned| pruned.stages()).map(|(stage, one)| (stage.to_string(), one)));
    if points.len() < 2 {
        return None;
    }
    let ends = points.iter().flat_map(|(_, one)| [one.top1.percent, one.top1.interval[0], one.top1.interval[1]]);
    let (low, high) = percent_range(ends)?;
    let (left, right, top, bottom, height) = (64, WIDTH - 24, 36, 236, 268);
    let words = points.iter().map(|(stage, one)| format!("{stage} {} %", plain(one.top1.percent, 1)));
    let figure = Figure {
        title: "Accuracy".to_owned(),
        caption: "Top-1 with its 95 % interval. The scale does not begin at zero.".to_owned(),
        description: format!("Point chart of top-1: {}.", words.collect::<Vec<_>>().join(", ")),
        width: WIDTH,
        height,
        marks: None,
    };
    Some(figure.draw(|canvas| {
        let y = Axis::new((low, high), bottom, top);
        canvas.text("top-1 in %", (12, 14), Anchor::Start, MUTED)?;
        canvas.rows(&y, left, right)?;
        let step = (right - left) / i32::try_from(points.len()).unwrap_or(i32::MAX);
        let at: Vec<_> =
            (0..).zip(&points).map(|(i, (_, one))| (left + step * i + step / 2, y.at(one.top1.percent))).collect();
        if baseline.is_some() {
            canvas.dashed(&[(left, at[0].1), (right, at[0].1)], BASE, 1)?;
        }
        canvas.line(&at[usize::from(baseline.is_some())..], KEPT, 2)?;
        for (index, ((stage, one), &at)) in points.iter().zip(&at).enumerate() {
            let ink = if index == 0 && baseline.is_some() { BASE } else { KEPT };
            canvas.whisker(at.0, y.at(one.top1.interval[0]), y.at(one.top1.interval[1]), TEXT)?;
            canvas.dot(at, ink)?;
            canvas.text(&format!("{} %", plain(one.top1.percent, 1)), (at.0 + 12, at.1 + 13), Anchor::Start, TEXT)?;
            canvas.text(stage, (at.0, bottom + 18), Anchor::Middle, TEXT)?;
        }
        Ok(())
    }))
}

/// Loss and top-1 over the epochs of all stages.
pub(super) fn training(record: &Record) -> Option<Figure> {
    let epochs = &record.training;
    let (_, loss) = range(epochs.iter().map(|epoch| epoch.loss))?;
    let top1 = range(epochs.iter().flat_map(|epoch| [epoch.train_top1, epoch.held_out_top1]).flatten());
    let last = epochs.last()?;
    let figure = Figure {
        title: "Training".to_owned(),
        caption: "Mean training loss and top-1 after each epoch; where there are several stages, a dashed line is \
                  between them."
            .to_owned(),
        description: format!(
            "Line chart of {}: the loss ends at {}{}.",
            counted(epochs.len() as u64, "epoch", "epochs"),
            significant(last.loss, 3),
            last.held_out_top1.map_or_else(String::new, |top1| format!(", top-1 held out at {} %", plain(top1, 1)))
        ),
        width: WIDTH,
        height: 290,
        marks: None,
    };
    let panels = |record: &Record, canvas: &Canvas<'_>| {
        let (top, bottom) = (40, 240);
        let right = if top1.is_some() { WIDTH / 2 - 20 } else { WIDTH - 24 };
        let x = Axis::new(epoch_range(record), 64, right);
        let y = Axis::new((0.0, loss.max(0.0)), bottom, top);
        canvas.text("training loss", (12, 14), Anchor::Start, MUTED)?;
        epoch_axis(canvas, record, &x, &y, (64, right), (top, bottom))?;
        curve(canvas, &x, &y, epochs.iter().map(|epoch| Some(epoch.loss)), false)?;
        let Some((low, high)) = top1 else { return Ok(()) };
        let (left, right) = (WIDTH / 2 + 52, WIDTH - 24);
        let x = Axis::new(epoch_range(record), left, right);
        let y = Axis::new(within_percent(padded((low, high))), bottom, top);
        canvas.text("top-1 in %", (WIDTH / 2, 14), Anchor::Start, MUTED)?;
        let held_out = epochs.iter().any(|epoch| epoch.held_out_top1.is_some());
        let mut signs = Vec::new();
        if epochs.iter().any(|epoch| epoch.train_top1.is_some()) {
            signs.push((Sign::Dot(KEPT), "training images"));
        }
        if held_out {
            signs.push((Sign::Ring(REMOVED), "held-out images"));
        }
        canvas.legend((left + 60, 14), &signs)?;
        epoch_axis(canvas, record, &x, &y, (left, right), (top, bottom))?;
        curve(canvas, &x, &y, epochs.iter().map(|epoch| epoch.train_top1), false)?;
        curve(canvas, &x, &y, epochs.iter().map(|epoch| epoch.held_out_top1), true)
    };
    Some(figure.draw(|canvas| panels(record, canvas)))
}

fn epoch_range(record: &Record) -> (f64, f64) {
    match record.training.len() {
        0 | 1 => (0.0, 2.0),
        epochs => (1.0, epochs as f64),
    }
}

fn epoch_axis(
    canvas: &Canvas<'_>,
    record: &Record,
    x: &Axis,
    y: &Axis,
    (left, right): (i32, i32),
    (top, bottom): (i32, i32),
) -> Drawn {
    canvas.rows(y, left, right)?;
    let epochs = record.training.len();
    let step = epochs.div_ceil(8).max(1);
    for epoch in (1..=epochs).filter(|epoch| *epoch == 1 || epoch % step == 0) {
        canvas.text(&epoch.to_string(), (x.at(epoch as f64), bottom + 14), Anchor::Middle, MUTED)?;
    }
    canvas.text("epoch", (i32::midpoint(left, right), bottom + 34), Anchor::Middle, MUTED)?;
    for (index, pair) in record.training.windows(2).enumerate() {
        if pair[0].stage != pair[1].stage {
            let at = x.at(index as f64 + 1.5);
            canvas.dashed(&[(at, top), (at, bottom)], MUTED, 1)?;
        }
    }
    Ok(())
}

/// The points that are there, joined where they follow each other.
fn curve(canvas: &Canvas<'_>, x: &Axis, y: &Axis, values: impl Iterator<Item = Option<f64>>, second: bool) -> Drawn {
    let points: Vec<_> = (1..)
        .zip(values)
        .map(|(epoch, value)| Some((x.at(f64::from(epoch)), y.at(value.filter(|value| value.is_finite())?))))
        .collect();
    for run in points.split(Option::is_none) {
        let run: Vec<_> = run.iter().copied().flatten().collect();
        match second {
            true => canvas.dashed(&run, REMOVED, 2)?,
            false => canvas.line(&run, KEPT, 2)?,
        }
    }
    if points.len() <= 40 {
        for point in points.into_iter().flatten() {
            match second {
                true => canvas.ring(point, REMOVED)?,
                false => canvas.dot(point, KEPT)?,
            }
        }
    }
    Ok(())
}

/// The measured latency reduction of each cut that was tried.
pub(super) fn steps(record: &Record) -> Option<Figure> {
    let plan = record.plan.as_ref().filter(|plan| !plan.steps.is_empty())?;
    let reductions = plan.steps.iter().map(|step| step.latency_reduction_percent);
    let reach = range(reductions.chain([0.0]).chain(plan.target_reduction_percent))?;
    let mut names = vec!["baseline".to_owned()];
    names.extend(plan.steps.iter().map(|step| elided(&step.removed, NAME)));
    let frame = Frame::along(&names, 280);
    let last = plan.steps.last()?;
    let figure = Figure {
        title: "The way to the target".to_owned(),
        caption: match &plan.target {
            Some(target) => format!("Measured latency reduction of each cut that was tried; the target was: {target}."),
            None => "Measured latency reduction of each cut that was tried.".to_owned(),
        },
        description: format!(
            "Line chart of {}, ending at {} % lower latency after {}.",
            counted(plan.steps.len() as u64, "cut", "cuts"),
            plain(last.latency_reduction_percent, 1),
            last.removed
        ),
        width: frame.width,
        height: frame.height,
        marks: None,
    };
    Some(figure.draw(|canvas| draw_steps(canvas, plan, &frame, reach, &names)))
}

fn draw_steps(canvas: &Canvas<'_>, plan: &PlanSummary, frame: &Frame, reach: (f64, f64), names: &[String]) -> Drawn {
    let (low, high) = padded(reach);
    let y = Axis::new((if reach.0 < 0.0 { low } else { 0.0 }, high), frame.bottom, frame.top);
    frame.draw(canvas, &y, "latency reduction in %", names)?;
    let mut signs = vec![(Sign::Dot(KEPT), "measured")];
    if let Some(target) = plan.target_reduction_percent {
        canvas.dashed(&[(frame.left, y.at(target)), (frame.right, y.at(target))], REMOVED, 2)?;
        signs.push((Sign::Dashed(REMOVED), "target"));
    }
    canvas.legend((frame.left + 130, 18), &signs)?;
    let values = [0.0].into_iter().chain(plan.steps.iter().map(|step| step.latency_reduction_percent));
    let at: Vec<_> = values
        .enumerate()
        .filter(|(_, value)| value.is_finite())
        .map(|(index, value)| (frame.x(index), y.at(value)))
        .collect();
    canvas.line(&at, KEPT, 2)?;
    for &at in &at {
        canvas.dot(at, KEPT)?;
    }
    if frame.step >= 60 {
        for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| step.latency_ms.is_finite()) {
            let at = (frame.x(index + 1) + 7, y.at(step.latency_reduction_percent) + 13);
            canvas.text(&milliseconds(step.latency_ms), at, Anchor::Start, MUTED)?;
        }
    }
    Ok(())
}

/// Where a figure over layers has its axes: the layers from left to right, their names upright below.
struct Frame {
    width: i32,
    height: i32,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    /// Pixels from one layer to the next.
    step: i32,
}

impl Frame {
    /// A frame `tall` pixels high without the names; it grows in width where there are many.
    fn along(names: &[String], tall: i32) -> Self {
        let count = i32::try_from(names.len()).unwrap_or(i32::MAX).clamp(1, 2000);
        let (left, margin, top) = (64, 24, 38);
        let step = ((WIDTH - left - margin) / count).max(18);
        let right = (left + step * count).max(WIDTH - margin);
        let longest = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let bottom = top + tall - 60;
        Self { width: right + margin, height: bottom + longest + 24, left, right, top, bottom, step }
    }

    fn x(&self, index: usize) -> i32 {
        self.left + self.step * i32::try_from(index).unwrap_or(0) + self.step / 2
    }

    fn draw(&self, canvas: &Canvas<'_>, y: &Axis, quantity: &str, names: &[String]) -> Drawn {
        canvas.text(quantity, (12, 18), Anchor::Start, MUTED)?;
        canvas.rows(y, self.left, self.right)?;
        for (index, name) in names.iter().enumerate() {
            let x = self.x(index);
            canvas.line(&[(x, self.bottom), (x, self.bottom + 5)], GRID, 1)?;
            canvas.upright(name, (x, self.bottom + 10), TEXT)?;
        }
        Ok(())
    }
}

/// The padded range of percentages, from zero where they begin near it.
pub(super) fn percent_range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    range(values).map(padded).map(within_percent).map(|(low, high)| (if low < 25.0 { 0.0 } else { low }, high))
}

fn within_percent((low, high): (f64, f64)) -> (f64, f64) {
    (low.max(0.0), high.min(100.0).max(low.max(0.0)))
}

fn removed_names<'a>(rows: impl Iterator<Item = &'a ScoreRow>) -> String {
    let names: Vec<_> = rows.filter(|row| row.removed).map(|row| row.layer.as_str()).collect();
    match names.as_slice() {
        [] => "None is removed.".to_owned(),
        names => format!("Removed: {}.", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{EpochRow, PlanStep};
    use crate::report::samples;

    #[test]
    fn absent_parts_have_no_figure() {
        let record = Record::default();
        assert!(depths(&record).is_empty() && scores(&record).is_empty());
        assert!([latency(&record), accuracy(&record), training(&record), steps(&record)].iter().all(Option::is_none));
    }

    #[test]
    fn a_realistic_record_has_every_figure() {
        let record = samples::realistic();
        let mut all = depths(&record);
        all.extend(scores(&record));
        all.extend([latency(&record), accuracy(&record), training(&record), steps(&record)].into_iter().flatten());
        assert_eq!(all.len(), 1 + 2 + 4);
        for figure in all {
            let marks = figure.marks.expect(&figure.title);
            assert!(marks.contains("<text") && !marks.contains("<svg"), "{}", figure.title);
        }
    }

    #[test]
    fn names_are_escaped_in_figures() {
        let mut record = samples::small();
        record.scores[0].rows[0].layer = "<b>&\"".to_owned();
        let marks = scores(&record).remove(0).marks.unwrap();
        assert!(marks.contains("&lt;b&gt;&amp;") && !marks.contains("<b>"), "{marks}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_left_out_of_the_marks() {
        let mut record = samples::realistic();
        record.training.push(EpochRow { loss: f64::NAN, ..EpochRow::default() });
        record.scores[0].rows[0].score = f64::INFINITY;
        record.scores[1].rows.iter_mut().for_each(|row| row.score = f64::NAN);
        let step = PlanStep { latency_ms: f64::NAN, latency_reduction_percent: f64::NAN, ..PlanStep::default() };
        record.plan.as_mut().unwrap().steps.push(step);
        record.latency[0].candidate.p99_ms = f64::INFINITY;
        assert_eq!(scores(&record).len(), 1);
        for figure in [latency(&record), training(&record), steps(&record)] {
            assert!(figure.unwrap().marks.is_some());
        }
    }
}

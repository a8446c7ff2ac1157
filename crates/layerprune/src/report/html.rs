use maud::{Markup, html};

use super::heat_map::heat_map;
use super::page::{absent, circumstances, drawings, page, table, warned};
use super::{figures, headline, ranked, removability, score, warnings};
use crate::record::format::{grouped, plain, proportion, shape, significant};
use crate::record::{Accuracy, LatencyComparison, Record, ScoreTable};

/// The record as one page that needs nothing but itself: no script, no font, no address.
#[must_use]
pub fn html(record: &Record) -> String {
    let title = match record.model.path.as_str() {
        "" => "Layer pruning".to_owned(),
        path => format!("Layer pruning of {path}"),
    };
    let parts = html! {
        (warned(&warnings(record)))
        (summary(record))
        (figures_part(record))
        (accuracy_part(record))
        (latency_part(record))
        (layers_part(record))
        @for scores in &record.scores { (scores_part(scores)) }
        (training_part(record))
        (circumstances(&record.circumstances(), &record.settings))
    };
    page(&title, &headline(record), &parts)
}

fn summary(record: &Record) -> Markup {
    let rows = record.summary_table();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Summary" }
                (table("Accuracies with their 95 % interval; latencies as median ± median absolute deviation.", html! {
                    tr { th scope="col" {} th.n scope="col" { "baseline" } th.n scope="col" { "pruned" } th.n scope="col" { "change" } }
                }, html! {
                    @for row in &rows {
                        tr {
                            th scope="row" { (row.quantity) }
                            td.n { (absent(row.baseline.as_deref())) }
                            td.n { (absent(row.pruned.as_deref())) }
                            td.n { (absent(row.change.as_deref())) }
                        }
                    }
                }))
            }
        }
    }
}

fn figures_part(record: &Record) -> Markup {
    let mut all = figures::depths(record);
    all.extend(heat_map(record));
    all.extend(figures::latency(record));
    all.extend(figures::accuracy(record));
    all.extend(figures::steps(record));
    all.extend(figures::training(record));
    all.extend(figures::scores(record));
    drawings(&all)
}

fn accuracy_part(record: &Record) -> Markup {
    let baseline = record.baseline.as_ref().and_then(|baseline| baseline.accuracy.as_ref());
    let mut rows: Vec<(String, &Accuracy)> = baseline.map(|one| ("baseline".to_owned(), one)).into_iter().collect();
    let stages = record.pruned.iter().flat_map(|pruned| pruned.stages());
    rows.extend(stages.map(|(stage, one)| (format!("pruned, {stage}"), one)));
    let top5 = rows.iter().any(|(_, one)| one.top5.is_some());
    let loss = rows.iter().any(|(_, one)| one.loss.is_some());
    let on = record.data.as_ref().and_then(|data| data.evaluated_on.as_deref());
    let caption = match on {
        Some(on) => format!("Measured on the {on}, with 95 % intervals."),
        None => "With 95 % intervals.".to_owned(),
    };
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Accuracy" }
                (table(&caption, html! {
                    tr {
                        th scope="col" { "model" } th.n scope="col" { "images" } th.n scope="col" { "top-1" }
                        @if top5 { th.n scope="col" { "top-5" } }
                        @if loss { th.n scope="col" { "loss" } }
                    }
                }, html! {
                    @for (name, one) in &rows {
                        tr {
                            th scope="row" { (name) }
                            td.n { (grouped(one.images)) }
                            td.n { (proportion(&one.top1)) }
                            @if top5 { td.n { (absent(one.top5.as_ref().map(proportion).as_deref())) } }
                            @if loss { td.n { (absent(one.loss.map(|loss| significant(loss, 4)).as_deref())) } }
                        }
                    }
                }))
            }
        }
    }
}

fn latency_part(record: &Record) -> Markup {
    html! {
        @if !record.latency.is_empty() {
            section {
                h2 { "Latency" }
                (table("Milliseconds; both models timed in turns. Reduction and speed-up with their 95 % interval.", html! {
                    tr {
                        @for name in ["batch", "threads"] { th.n scope="col" { (name) } }
                        @for name in ["engine", "input", "model"] { th scope="col" { (name) } }
                        @for name in ["samples", "median", "MAD", "min", "mean", "p90", "p99"] { th.n scope="col" { (name) } }
                    }
                }, html! { @for one in &record.latency { (latency_rows(one)) } }))
                @if let Some(cpu) = &record.machine.cpu { p { "CPU: " (cpu) } }
            }
        }
    }
}

fn latency_rows(one: &LatencyComparison) -> Markup {
    let [low, high] = one.latency_reduction_interval;
    let [least, most] = one.speedup_interval;
    html! {
        @for (model, stats) in [("baseline", &one.baseline), ("pruned", &one.candidate)] {
            tr {
                td.n { (one.batch) } td.n { (one.threads) }
                td { (one.engine.name) " " (one.engine.version) }
                td { (shape(&one.shape)) }
                th scope="row" { (model) }
                td.n { (stats.samples) }
                @for ms in [stats.median_ms, stats.mad_ms, stats.min_ms, stats.mean_ms, stats.p90_ms, stats.p99_ms] {
                    td.n { (significant(ms, 3)) }
                }
            }
        }
        tr.verdict {
            td colspan="12" {
                "Latency reduction " (plain(one.latency_reduction_percent, 1)) " % ("
                (plain(low, 1)) " to " (plain(high, 1)) "), speed-up " (plain(one.speedup, 3)) " ("
                (plain(least, 3)) " to " (plain(most, 3)) "): " strong { (one.verdict) }
            }
        }
    }
}

fn layers_part(record: &Record) -> Markup {
    html! {
        @if !record.layers.is_empty() {
            section {
                h2 { "Layers" }
                (table("All layers and blocks of the model that was given. A removal is exact where it is the same as \
                        zeroing the branch.", html! {
                    tr {
                        @for name in ["layer", "kind", "output"] { th scope="col" { (name) } }
                        @for name in ["parameters", "MACs"] { th.n scope="col" { (name) } }
                        th scope="col" { "removable" } th scope="col" { "plan" }
                    }
                }, html! {
                    @for layer in &record.layers {
                        @let (verdict, reason) = removability(layer);
                        tr.removed[layer.removed] {
                            th.name scope="row" { (layer.name) }
                            td { (layer.kind) }
                            td { (absent(layer.shape.as_deref())) }
                            td.n { (absent(layer.parameters.map(grouped).as_deref())) }
                            td.n { (absent(layer.macs.map(grouped).as_deref())) }
                            td.why { (verdict) @if let Some(reason) = reason { ": " (reason) } }
                            td { @if layer.removed { "removed" } }
                        }
                    }
                }))
            }
        }
    }
}

fn scores_part(scores: &ScoreTable) -> Markup {
    let accuracies = scores.rows.iter().any(|row| row.accuracy.is_some());
    let caption = match scores.meaning.as_str() {
        "" => "Least important first.".to_owned(),
        meaning => format!("{meaning}. Least important first."),
    };
    html! {
        section {
            h2 { "Scores: " (scores.criterion) }
            (table(&caption, html! {
                tr {
                    th scope="col" { "layer" } th.n scope="col" { "score" }
                    @if accuracies { th.n scope="col" { "accuracy behind it" } }
                    th scope="col" { "tie" } th scope="col" { "plan" }
                }
            }, html! {
                @for row in ranked(&scores.rows) {
                    tr.removed[row.removed] {
                        th.name scope="row" { (row.layer) }
                        td.n { (score(row)) }
                        @if accuracies { td.n { (absent(row.accuracy.as_ref().map(proportion).as_deref())) } }
                        td { @if row.tied_with_next { "can't be told from the next" } }
                        td { @if row.removed { "removed" } }
                    }
                }
            }))
        }
    }
}

fn training_part(record: &Record) -> Markup {
    let percent = |value: Option<f64>| value.map(|value| format!("{} %", plain(value, 1)));
    let kept = record.training.iter().any(|epoch| epoch.kept);
    let caption = match kept {
        true => "Every epoch; the model of the one that is kept is what training came to.",
        false => "Every epoch.",
    };
    html! {
        @if !record.training.is_empty() {
            section {
                h2 { "Training" }
                (table(caption, html! {
                    tr {
                        th scope="col" { "stage" }
                        @for name in ["epoch", "loss", "top-1, training", "top-1, held out", "learning rate", "seconds"] {
                            th.n scope="col" { (name) }
                        }
                        @if kept { th scope="col" { "model" } }
                    }
                }, html! {
                    @for epoch in &record.training {
                        tr.kept[epoch.kept] {
                            th scope="row" { (epoch.stage) }
                            td.n { (epoch.epoch) }
                            td.n { (significant(epoch.loss, 4)) }
                            td.n { (absent(percent(epoch.train_top1).as_deref())) }
                            td.n { (absent(percent(epoch.held_out_top1).as_deref())) }
                            td.n { (absent(epoch.learning_rate.map(|rate| significant(rate, 3)).as_deref())) }
                            td.n { (absent(epoch.seconds.map(|seconds| significant(seconds, 3)).as_deref())) }
                            @if kept { td { @if epoch.kept { "kept" } } }
                        }
                    }
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LayerRow;
    use crate::report::samples;

    #[test]
    fn the_same_record_gives_the_same_page() {
        let record = samples::realistic();
        let again = Record::from_json(&record.to_json()).unwrap();
        assert_eq!(html(&record), html(&record.clone()));
        assert_eq!(html(&record), html(&again));
    }

    #[test]
    fn the_epoch_whose_model_was_kept_is_marked() {
        let mut record = samples::realistic();
        assert!(!html(&record).contains("<tr class=\"kept\">"));
        record.training[5].kept = true;
        let page = html(&record);
        let row = page.split_once("<tr class=\"kept\">").unwrap().1.split_once("</tr>").unwrap().0;
        assert!(row.starts_with("<th scope=\"row\">fine-tuning</th><td class=\"n\">6</td>"), "{row}");
        assert!(row.ends_with("<td>kept</td>"), "{row}");
        assert_eq!(page.matches("<td>kept</td>").count(), 1);
    }

    #[test]
    fn what_was_done_to_images_is_told_beside_the_data() {
        let page = html(&samples::realistic());
        let told = "<dt>preprocessing</dt><dd>sizes as they are; pixels / 255, mean 0.5, std 0.25</dd>";
        assert!(page.contains(told), "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let page = html(&samples::realistic());
        for outside in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn names_and_settings_are_escaped() {
        let mut record = samples::small();
        record.layers[0].name = "<img onerror=x>|&\"\n'".to_owned();
        record.model.path = "</title><b>".to_owned();
        record.settings = serde_json::json!({ "</pre><i>": "</script>" });
        let page = html(&record);
        for raw in ["<img", "<b>", "<i>", "</script>"] {
            assert!(!page.contains(raw), "{raw}");
        }
        assert!(page.contains("&lt;img onerror=x&gt;|&amp;&quot;"), "{page}");
    }

    #[test]
    fn absent_parts_are_left_out() {
        let page = html(&Record { complete: true, ..Record::default() });
        let body = page.split_once("<body>").unwrap().1;
        assert_eq!(
            body,
            "<main><header><h1>Layer pruning</h1><p class=\"headline\">Nothing was removed.</p></header></main>\
             </body></html>\n"
        );
    }

    #[test]
    fn a_count_that_is_not_known_is_not_zero() {
        let layer = LayerRow { name: "a".to_owned(), ..LayerRow::default() };
        let page = html(&Record { layers: vec![layer], ..Record::default() });
        assert!(page.contains("<td class=\"n\"><span class=\"absent\" title=\"not measured\">–</span></td>"), "{page}");
    }

    #[test]
    fn every_figure_says_what_it_shows_and_every_table_has_a_caption() {
        let page = html(&samples::realistic());
        assert_eq!(page.matches("<svg").count(), page.matches("role=\"img\" aria-label=\"").count());
        assert_eq!(page.matches("<svg").count(), 8);
        assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
    }
}

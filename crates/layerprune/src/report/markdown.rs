use super::{headline, ranked, removability, score, warnings};
use crate::record::format::{grouped, milliseconds, plain, proportion, significant, threads};
use crate::record::{Agreement, Record};

/// The record as GitHub-flavoured Markdown: headline, warnings, summary, then the tables behind it.
#[must_use]
pub fn markdown(record: &Record) -> String {
    let parts = [
        ("Summary", summary(record)),
        ("Removed layers", removed(record)),
        ("Latency", latency(record)),
        ("Layers", layers(record)),
        ("Scores", scores(record)),
        ("Agreement of the criteria", agreement(record)),
        ("Training", training(record)),
        ("Circumstances", circumstances(&record.circumstances())),
    ];
    page("Layer pruning", &record.model.path, &headline(record), &warnings(record), &parts)
}

/// A page on `what` was done to the model, of a sentence that says it all and of parts; those that are empty are left out.
pub(super) fn page(what: &str, model: &str, headline: &str, warnings: &[String], parts: &[(&str, String)]) -> String {
    let of = if model.is_empty() { String::new() } else { format!(" of {}", code(model)) };
    let mut text = format!("# {what}{of}\n\n{}\n", escaped(headline));
    for warning in warnings {
        text.push_str(&format!("\n> **Warning:** {}\n", escaped(warning)));
    }
    for (title, part) in parts {
        if !part.is_empty() {
            text.push_str(&format!("\n## {title}\n\n{part}"));
        }
    }
    text
}

fn summary(record: &Record) -> String {
    let rows = record.summary_table().into_iter().map(|row| {
        let cell = |text: Option<String>| text.map_or_else(String::new, |text| escaped(&text));
        [escaped(&row.quantity), cell(row.baseline), cell(row.pruned), cell(row.change)]
    });
    let text = table([("", Left), ("baseline", Right), ("pruned", Right), ("change", Right)], rows);
    match text.is_empty() {
        true => text,
        false => {
            format!("{text}\nAccuracies with their 95 % interval; latencies as median ± median absolute deviation.\n")
        }
    }
}

fn removed(record: &Record) -> String {
    let Some(plan) = &record.plan else { return String::new() };
    let mut text = String::new();
    if !plan.criterion.is_empty() {
        text.push_str(&format!("Chosen by {}", escaped(&plan.criterion)));
        if let Some(target) = &plan.target {
            text.push_str(&format!(", target: {}", escaped(target)));
        }
        text.push_str(".\n");
    }
    let rows: Vec<_> = plan
        .removed
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let step = plan.steps.get(index).filter(|step| step.removed == *name);
            [
                (index + 1).to_string(),
                code(name),
                step.map_or_else(String::new, |step| milliseconds(step.latency_ms)),
                step.map_or_else(String::new, |step| format!("{} %", plain(step.latency_reduction_percent, 1))),
            ]
        })
        .collect();
    let header = [("", Right), ("removed", Left), ("latency after", Right), ("latency reduction", Right)];
    let body = table(header, rows.into_iter());
    if !text.is_empty() && !body.is_empty() {
        text.push('\n');
    }
    text + &body
}

fn latency(record: &Record) -> String {
    let rows = record.latency.iter().flat_map(|one| {
        [("baseline", &one.baseline), ("pruned", &one.candidate)].map(|(model, stats)| {
            [
                one.batch.to_string(),
                threads(one.threads),
                escaped(&format!("{} {}", one.engine.name, one.engine.version)),
                model.to_owned(),
                milliseconds(stats.median_ms),
                milliseconds(stats.mad_ms),
                milliseconds(stats.p90_ms),
                milliseconds(stats.p99_ms),
                stats.samples.to_string(),
            ]
        })
    });
    let header = [
        ("batch", Right),
        ("threads", Left),
        ("engine", Left),
        ("model", Left),
        ("median", Right),
        ("MAD", Right),
        ("p90", Right),
        ("p99", Right),
        ("samples", Right),
    ];
    table(header, rows)
}

fn layers(record: &Record) -> String {
    let rows = record.layers.iter().map(|layer| {
        let (verdict, reason) = removability(layer);
        let why = reason.map_or_else(|| verdict.clone(), |reason| format!("{verdict}: {reason}"));
        [
            code(&layer.name),
            escaped(&layer.kind),
            escaped(layer.shape.as_deref().unwrap_or_default()),
            layer.parameters.map_or_else(String::new, grouped),
            layer.macs.map_or_else(String::new, grouped),
            escaped(&why),
            if layer.removed { "removed".to_owned() } else { String::new() },
        ]
    });
    let header = [
        ("layer", Left),
        ("kind", Left),
        ("output", Left),
        ("parameters", Right),
        ("MACs", Right),
        ("removable", Left),
        ("", Left),
    ];
    table(header, rows)
}

fn scores(record: &Record) -> String {
    let mut text = String::new();
    for scores in &record.scores {
        let rows = ranked(&scores.rows).into_iter().map(|row| {
            [
                code(&row.layer),
                score(row),
                row.accuracy.as_ref().map_or_else(String::new, proportion),
                if row.tied_with_next { "can't be told from the next".to_owned() } else { String::new() },
                if row.removed { "removed".to_owned() } else { String::new() },
            ]
        });
        let header = [("layer", Left), ("score", Right), ("accuracy behind it", Right), ("tie", Left), ("", Left)];
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("### {}\n\n", escaped(&scores.criterion)));
        if !scores.meaning.is_empty() {
            text.push_str(&format!("{}. ", escaped(&scores.meaning)));
        }
        text.push_str(&format!("Least important first.\n\n{}", table(header, rows)));
    }
    text
}

fn agreement(record: &Record) -> String {
    let Some(agreement) = Agreement::of(&record.scores) else { return String::new() };
    let count = agreement.criteria.len();
    let numbers = (1..=count).map(|number| format!("[{number}]"));
    let mut text = "Kendall's τ between each two, over the layers that both score.\n\n".to_owned();
    text.push_str(&format!("| | {} |\n|---|{}\n", numbers.collect::<Vec<_>>().join(" | "), "---:|".repeat(count)));
    for ((name, taus), number) in agreement.criteria.iter().zip(&agreement.tau).zip(1..) {
        let taus = taus.iter().map(|tau| tau.map_or_else(String::new, |tau| plain(tau, 2)));
        text.push_str(&format!("| [{number}] {} | {} |\n", escaped(name), taus.collect::<Vec<_>>().join(" | ")));
    }
    text
}

fn training(record: &Record) -> String {
    let percent = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{} %", plain(value, 1)));
    let rows = record.training.iter().map(|epoch| {
        [
            escaped(&epoch.stage),
            epoch.epoch.to_string(),
            significant(epoch.loss, 4),
            percent(epoch.train_top1),
            percent(epoch.held_out_top1),
            epoch.learning_rate.map_or_else(String::new, |rate| significant(rate, 3)),
            epoch.seconds.map_or_else(String::new, |seconds| significant(seconds, 3)),
            if epoch.kept { "kept".to_owned() } else { String::new() },
        ]
    });
    let header = [
        ("stage", Left),
        ("epoch", Right),
        ("loss", Right),
        ("top-1, training", Right),
        ("top-1, held out", Right),
        ("learning rate", Right),
        ("seconds", Right),
        ("model", Left),
    ];
    table(header, rows)
}

pub(super) fn circumstances(known: &[(&str, String)]) -> String {
    known.iter().map(|(name, value)| format!("- {name}: {}\n", escaped(value))).collect()
}

#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
}
pub(super) use Align::{Left, Right};

/// A table, or nothing where it has no rows. Columns that are empty in every row are left out.
pub(super) fn table<const N: usize>(header: [(&str, Align); N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns: Vec<_> = (0..N).filter(|&column| rows.iter().any(|row| !row[column].is_empty())).collect();
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(columns.iter().map(|&column| header[column].0).collect());
    text.push_str(&line(
        columns
            .iter()
            .map(|&column| match header[column].1 {
                Left => "---",
                Right => "---:",
            })
            .collect(),
    ));
    for row in &rows {
        text.push_str(&line(columns.iter().map(|&column| row[column].as_str()).collect()));
    }
    text
}

/// Text in which Markdown and HTML find nothing to read; one line, fit for a table cell.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => out.extend(['\\', char]),
            char if char.is_control() => out.push(' '),
            char => out.push(char),
        }
    }
    out
}

/// A code span, fit for a table cell.
pub(super) fn code(text: &str) -> String {
    let text: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    if text.trim().is_empty() {
        return String::new();
    }
    if text.contains('|') {
        // A pipe in a code span is read differently in and out of a table.
        return escaped(&text);
    }
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LayerRow;
    use crate::report::samples;

    #[test]
    fn a_small_record_is_this_page() {
        assert_eq!(markdown(&samples::small()), include_str!("samples/small.md"));
    }

    #[test]
    fn the_epoch_whose_model_was_kept_is_marked() {
        let mut record = samples::realistic();
        assert!(!markdown(&record).contains("kept"));
        record.training[5].kept = true;
        let page = markdown(&record);
        assert!(page.contains("| learning rate | seconds | model |\n"), "{page}");
        let marked: Vec<_> = page.lines().filter(|line| line.ends_with(" | kept |")).collect();
        assert_eq!(marked, ["| fine-tuning | 6 | 0.1833 | 97.5 % | 92.7 % | 0.000100 | 81.2 | kept |"]);
    }

    #[test]
    fn what_was_done_to_images_is_told_beside_the_data() {
        let page = markdown(&samples::realistic());
        assert!(page.contains("- preprocessing: sizes as they are; pixels / 255, mean 0.5, std 0.25\n"), "{page}");
    }

    #[test]
    fn an_empty_record_has_no_empty_parts() {
        let text = markdown(&Record { complete: true, ..Record::default() });
        assert_eq!(text, "# Layer pruning\n\nNothing was removed.\n");
    }

    #[test]
    fn names_cannot_break_out_of_their_cell() {
        assert_eq!(code("a.b_c"), "`a.b_c`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`a"), "`` `a ``");
        assert_eq!(code("a|b<c>\n&\"d\""), "a\\|b&lt;c&gt; &amp;\"d\"");
        assert_eq!(escaped("a|b_*<i>\r\n[x](y)"), "a\\|b\\_\\*&lt;i&gt;  \\[x\\](y)");
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_header() {
        let layer = LayerRow { name: "a|b\n<c>".to_owned(), reason: Some("x | y".to_owned()), ..LayerRow::default() };
        let text = markdown(&Record { layers: vec![layer], ..Record::default() });
        let cells: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.replace("\\|", "").matches('|').count())
            .collect();
        assert_eq!(cells, [3, 3, 3], "{text}");
    }
}

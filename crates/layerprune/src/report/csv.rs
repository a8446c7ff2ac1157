use crate::record::{LayerRow, Record, ScoreRow, ScoreTable};

/// All layers with their costs and scores as CSV after RFC 4180, lines ended by `\n`: one line for each layer, and for
/// each criterion the columns `C score` and `C tied`, with `C accuracy`, `C accuracy low` and `C accuracy high` where
/// it is one that has accuracies. What is absent is an empty field.
#[must_use]
pub fn csv(record: &Record) -> String {
    let mut header: Vec<String> = ["layer", "kind", "way", "reason", "exact", "parameters", "macs", "shape", "removed"]
        .map(ToOwned::to_owned)
        .to_vec();
    for table in &record.scores {
        let columns = if has_accuracy(table) { &SCORE_COLUMNS[..] } else { &SCORE_COLUMNS[..2] };
        header.extend(columns.iter().map(|column| format!("{} {column}", table.criterion)));
    }
    let mut text = line(&header);
    for layer in layers(record) {
        let mut fields = vec![
            layer.name.clone(),
            layer.kind.clone(),
            layer.way.clone().unwrap_or_default(),
            layer.reason.clone().unwrap_or_default(),
            layer.way.as_ref().map_or_else(String::new, |_| layer.exact.to_string()),
            layer.parameters.map_or_else(String::new, |count| count.to_string()),
            layer.macs.map_or_else(String::new, |count| count.to_string()),
            layer.shape.clone().unwrap_or_default(),
            layer.removed.to_string(),
        ];
        for table in &record.scores {
            fields.extend(score(table, table.rows.iter().find(|row| row.layer == layer.name)));
        }
        text.push_str(&line(&fields));
    }
    text
}

const SCORE_COLUMNS: [&str; 5] = ["score", "tied", "accuracy", "accuracy low", "accuracy high"];

fn has_accuracy(table: &ScoreTable) -> bool {
    table.rows.iter().any(|row| row.accuracy.is_some())
}

/// The record's layers, then those that only a score table knows.
fn layers(record: &Record) -> Vec<LayerRow> {
    let mut layers = record.layers.clone();
    for row in record.scores.iter().flat_map(|table| &table.rows) {
        if !layers.iter().any(|layer| layer.name == row.layer) {
            layers.push(LayerRow { name: row.layer.clone(), removed: row.removed, ..LayerRow::default() });
        }
    }
    layers
}

fn score(table: &ScoreTable, row: Option<&ScoreRow>) -> Vec<String> {
    let mut fields = match row {
        Some(row) if row.score.is_finite() => vec![row.score.to_string(), row.tied_with_next.to_string()],
        Some(row) => vec![String::new(), row.tied_with_next.to_string()],
        None => vec![String::new(); 2],
    };
    if has_accuracy(table) {
        match row.and_then(|row| row.accuracy.as_ref()) {
            Some(accuracy) => {
                let [low, high] = accuracy.interval;
                fields.extend([accuracy.percent, low, high].map(|number| number.to_string()));
            }
            None => fields.extend(vec![String::new(); 3]),
        }
    }
    fields
}

pub(super) fn line(fields: &[String]) -> String {
    let mut text = fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",");
    text.push('\n');
    text
}

fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) || field.trim() != field {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_small_record_is_one_line_for_each_layer() {
        assert_eq!(
            csv(&samples::small()),
            "layer,kind,way,reason,exact,parameters,macs,shape,removed,\
             imprinting score,imprinting tied,imprinting accuracy,imprinting accuracy low,imprinting accuracy high\n\
             stem,conv-layer,,the first layer,,448,442368,16 x 32 x 32,false,,,,,\n\
             layer1.0,block,bypass,,true,4672,4718592,16 x 32 x 32,true,-0.5,true,40.5,38,43\n\
             layer1.1,block,bypass,,true,4672,4718592,16 x 32 x 32,false,1.25,false,41.75,39.25,44.25\n"
        );
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("a|b<c>&d"), "a|b<c>&d");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"no\"\r\nnow"), "\"say \"\"no\"\"\r\nnow\"");
        assert_eq!(quoted(" a"), "\" a\"");
        assert_eq!(quoted(""), "");
    }

    #[test]
    fn every_line_has_as_many_fields_as_the_header() {
        let mut record = samples::small();
        record.scores.push(ScoreTable {
            criterion: "weight, L2".to_owned(),
            rows: vec![ScoreRow { layer: "elsewhere".to_owned(), score: f64::NAN, ..ScoreRow::default() }],
            ..ScoreTable::default()
        });
        let text = csv(&record);
        assert!(text.starts_with("layer,") && text.contains("\"weight, L2 score\",\"weight, L2 tied\"\n"), "{text}");
        assert!(text.ends_with("elsewhere,,,,,,,,false,,,,,,,false\n"), "{text}");
    }
}

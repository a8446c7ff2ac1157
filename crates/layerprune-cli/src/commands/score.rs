use anyhow::Result;
use layerprune::analysis::{Units, Way};
use layerprune::criteria::{self, Scores};

use crate::args::{Global, ScoreArgs};
use crate::output::{self, Align, table};
use crate::{Usage, data, model, scoring};

/// Scores the units of a model and prints them.
pub(crate) fn run(args: &ScoreArgs, global: &Global) -> Result<()> {
    let criteria = scoring::criteria(&args.criterion)?;
    if args.output.is_some() && criteria.len() != 1 {
        return Err(Usage("`--output` holds the scores of one criterion".to_owned()).into());
    }
    args.output.as_deref().map_or(Ok(()), output::expect_writable)?;
    let model = model::read(&args.model)?;
    let units = model::units(&model, &model::input_shapes(&args.shapes, &model)?)?;
    let data = args.data.given().map(|given| data::open(&given, &model, true, global)).transpose()?;
    let scores = scoring::score(&model, &units, &criteria, data.as_ref(), &args.options, global)?;
    if let (Some(path), [only]) = (&args.output, scores.as_slice()) {
        output::write_file(path, &serde_json::to_string_pretty(only)?)?;
    }
    output::print(global, &scores, |scores| {
        scores.iter().map(|scores| text(scores, &units)).collect::<Vec<_>>().join("\n\n")
    })
}

/// The scores of one criterion in forward order, with a bar and what the noise allows to say.
pub(crate) fn text(scores: &Scores, units: &Units) -> String {
    let ties = scores.ties();
    let mut order: Vec<usize> = (0..scores.rows.len()).collect();
    order.sort_by(|&a, &b| scores.rows[a].score.total_cmp(&scores.rows[b].score));
    let mut rank = vec![0; order.len()];
    for (place, &row) in order.iter().enumerate() {
        rank[row] = place + 1;
    }
    let with_accuracy = scores.rows.iter().any(|row| row.accuracy.is_some());
    let largest = scores.rows.iter().filter_map(|row| row.accuracy.as_ref()).map(|a| a.percent).fold(0.0, f64::max);
    let rows: Vec<Vec<String>> = scores
        .rows
        .iter()
        .enumerate()
        .map(|(place, row)| {
            let spread = row.interval.map(|[low, high]| format!(" ± {:.2}", (high - low) / 2.0)).unwrap_or_default();
            let mut cells = vec![row.unit.clone(), format!("{:.4}{spread}", row.score), rank[place].to_string()];
            cells.push(if ties[place] { "≈ next".to_owned() } else { String::new() });
            let way = units.named(&row.unit).and_then(|unit| unit.removals.first()).map(|removal| removal.way);
            cells.push(match way {
                Some(Way::Bypass | Way::DropFeatures) => "yes".to_owned(),
                Some(Way::DropBranch) => "branch only".to_owned(),
                Some(Way::Bridge | Way::ScaleShift) => "by a fitted bridge".to_owned(),
                Some(Way::ShrinkChain) => "by shrinking".to_owned(),
                None => "no".to_owned(),
            });
            if let Some(accuracy) = &row.accuracy {
                let [low, high] = accuracy.interval;
                let bar = "█".repeat((24.0 * accuracy.percent / largest.max(1.0)).round() as usize);
                cells.push(format!("{:.1} % ({low:.1} to {high:.1})", accuracy.percent));
                cells.push(bar);
            }
            cells
        })
        .collect();
    let mut head = vec![
        ("layer", Align::Left),
        ("score", Align::Right),
        ("rank", Align::Right),
        ("tie", Align::Left),
        ("removable", Align::Left),
    ];
    if with_accuracy {
        head.extend([("imprinted accuracy (95 %)", Align::Left), ("", Align::Left)]);
    }
    let measures = criteria::named(&scores.criterion).map_or("", |criterion| criterion.measures());
    format!("{}: {measures}; the least important has rank 1\n\n{}", scores.criterion, table(&head, &rows))
}

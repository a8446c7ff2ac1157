use std::path::Path;

use anyhow::Result;
use layerprune::analysis::{Units, Way};
use layerprune::criteria::{self, SCORES_SCHEMA, Scores, Scoring};
use layerprune::onnx::Model;
use layerprune::pipeline::{Target, layer_row, score_table};
use layerprune::plan::{self, Constraints, PlanError};
use layerprune::record::{Agreement, Record, ScoreTable};

use crate::args::{Global, ScoreArgs};
use crate::commands::{prune, report};
use crate::compare::{self, Compared};
use crate::output::{self, Align, table};
use crate::scoring::{self, Gather};
use crate::{Usage, data, job, model, progress};

/// Scores the units of a model and prints them.
pub(crate) fn run(args: &ScoreArgs, global: &Global) -> Result<()> {
    let ids = match (args.criterion.is_empty(), args.compare) {
        (false, _) => args.criterion.clone(),
        (true, false) => vec!["imprint".to_owned()],
        (true, true) => criteria::CRITERIA.iter().map(|criterion| criterion.id.to_owned()).collect(),
    };
    let all = scoring::parse(&ids, &args.options)?;
    if args.output.is_some() && (all.len() != 1 || args.compare) {
        return Err(Usage("`--output` holds the scores of one criterion; `--report` holds several".to_owned()).into());
    }
    let form = args.report.as_deref().map(form).transpose()?;
    for path in args.output.iter().chain(&args.report) {
        output::expect_writable(path)?;
    }
    let model = model::read(&args.model)?;
    let units = model::units(&model, &model::input_shapes(&args.shapes, &model)?)?;
    if let Some(count) = args.layers {
        prune::expect_possible(&units, &Target::Layers(count), &Constraints::plain())?;
    }
    let others = args.with.iter().map(|path| other_scores(path, &units)).collect::<Result<Vec<_>>>()?;
    let mut no_labels = None;
    let data = match args.data.given().zip(scoring::needs_data(&all)) {
        Some((given, true)) => match data::open(&given, &args.model, &model, true, global) {
            // Without labels that fit, a comparison still has the criteria that need none.
            Err(error) if args.compare => {
                no_labels = Some(format!("{error:#}"));
                Some(data::open_images(&given, &args.model, &model, global).map_err(|_| error)?)
            }
            opened => Some(opened?),
        },
        Some((given, false)) => Some(data::open_images(&given, &args.model, &model, global)?),
        None => None,
    };
    let gather = Gather { model: &model, units: &units, data: data.as_ref(), options: &args.options, global };
    let compared = match args.compare {
        true => compare::compare(gather, &all, no_labels.as_deref())?,
        false => Compared { scores: gather.score(&all)?, refused: Vec::new() },
    };
    let Compared { mut scores, refused } = compared;
    scores.extend(others);
    if let (Some(path), [only]) = (&args.output, scores.as_slice()) {
        output::write_file(path, &serde_json::to_string_pretty(only)?)?;
    }
    let tables = || scores.iter().map(|scores| score_table(&meaning(scores), scores)).collect::<Vec<_>>();
    if let (Some(path), Some(form)) = (&args.report, form) {
        let mut record = record(&args.model, &model, &units, tables());
        if let Some(count) = args.layers {
            mark(&mut record, &units, &scores, count, global);
        }
        output::write_file(path, &form(&record))?;
    }
    if !args.compare {
        return output::print(global, &scores, |scores| {
            scores.iter().map(|scores| text(scores, &units)).collect::<Vec<_>>().join("\n\n")
        });
    }
    let agreement = Agreement::of(&tables());
    let outcome = compare::Outcome { scores, agreement, refused };
    output::print(global, &outcome, |outcome| compare::text(outcome, &units))
}

/// Scores of the same model from a file, named after it.
fn other_scores(path: &Path, units: &Units) -> Result<Scores> {
    let found: Scores = output::read_json(path, "scores", SCORES_SCHEMA)?;
    if found.model != units.model {
        return Err(PlanError::OtherModel { found: found.model, expected: units.model.clone() }.into());
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Scores { criterion: format!("{} of {name}", found.criterion), ..found })
}

/// What writes the file at `path`, by its extension.
fn form(path: &Path) -> Result<fn(&Record) -> String> {
    let is_record = path.extension().is_some_and(|extension| extension == "json");
    let form = is_record.then_some(Record::to_json as fn(&Record) -> String).or_else(|| report::form(path));
    form.ok_or_else(|| Usage(format!("`{}` should end in .html, .md, .csv or .json", path.display())).into())
}

/// Layers and scores as a record, without a plan.
fn record(path: &Path, model: &Model, units: &Units, scores: Vec<ScoreTable>) -> Record {
    let constraints = Constraints::plain();
    let layers = units.rows(&model.graph).units.iter().map(|row| layer_row(row, &constraints)).collect();
    Record {
        tool: job::tool(),
        machine: job::machine(),
        model: job::model_info(model, &path.display().to_string()),
        layers,
        scores,
        complete: true,
        ..Record::default()
    }
}

/// Marks the layers that `prune --layers` would remove by each criterion that leaves so many.
fn mark(record: &mut Record, units: &Units, scores: &[Scores], count: usize, global: &Global) {
    for (table, scores) in record.scores.iter_mut().zip(scores) {
        match plan::lowest(units, scores, &Constraints::plain(), count) {
            Ok(plan) => {
                for row in &mut table.rows {
                    row.removed = plan.removed.iter().any(|planned| planned.unit == row.layer);
                }
            }
            Err(error) => progress::note(global, &format!("nothing is marked by `{}`: {error}", scores.criterion)),
        }
    }
}

/// What a higher score says; nothing of scores by a criterion that is not known here.
fn meaning(scores: &Scores) -> String {
    Scoring::parse(&scores.criterion, scores.normalize).map(|scoring| scoring.measures()).unwrap_or_default()
}

/// The scores of one criterion in forward order, with a bar and what the noise allows to say.
pub(crate) fn text(scores: &Scores, units: &Units) -> String {
    let ties = scores.ties();
    let ranks = scores.ranks();
    let with_accuracy = scores.rows.iter().any(|row| row.accuracy.is_some());
    let largest = scores.rows.iter().filter_map(|row| row.accuracy.as_ref()).map(|a| a.percent).fold(0.0, f64::max);
    let rows: Vec<Vec<String>> = scores
        .rows
        .iter()
        .enumerate()
        .map(|(place, row)| {
            let spread = row.interval.map(|[low, high]| format!(" ± {}", output::brief((high - low) / 2.0)));
            let score = format!("{}{}", output::brief(row.score), spread.unwrap_or_default());
            let mut cells = vec![row.unit.clone(), score, (ranks[place] + 1).to_string()];
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
        head.extend([("accuracy behind it (95 %)", Align::Left), ("", Align::Left)]);
    }
    let mut text =
        format!("{}: {}; the least important has rank 1\n\n{}", scores.criterion, meaning(scores), table(&head, &rows));
    for unscored in &scores.unscored {
        text.push_str(&format!("\nno score: {} ({})", unscored.unit, unscored.reason));
    }
    text
}

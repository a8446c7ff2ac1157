use anyhow::Result;
use layerprune::analysis::{Kind, Outside, TreeRow, UnitRow, UnitTable, UnitTree, Way};
use layerprune::cost::Cost;

use crate::args::{Global, InspectArgs};
use crate::output::{Align, count, print, table};
use crate::{CannotBeDone, model};

/// Prints the units of a model.
pub(crate) fn run(args: &InspectArgs, global: &Global) -> Result<()> {
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    if args.tree {
        print(global, &units.tree(&model.graph), tree_text)?;
    } else {
        print(global, &units.rows(&model.graph), text)?;
    }
    if units.units.is_empty() {
        return Err(CannotBeDone("the model holds no layer that this program knows".to_owned()).into());
    }
    Ok(())
}

const HEAD: [(&str, Align); 6] = [
    ("layer", Align::Left),
    ("kind", Align::Left),
    ("output", Align::Left),
    ("parameters", Align::Right),
    ("MACs", Align::Right),
    ("removable", Align::Left),
];

fn tree_text(tree: &UnitTree) -> String {
    fn add(rows: &mut Vec<Vec<String>>, children: &[TreeRow], depth: usize, total: &Cost) {
        for child in children {
            let mut cells = row(&child.unit, total.macs);
            cells[0].insert_str(0, &"  ".repeat(depth));
            rows.push(cells);
            add(rows, &child.children, depth + 1, total);
        }
    }
    let mut rows = Vec::new();
    add(&mut rows, &tree.units, 0, &tree.total);
    let mut text = table(&HEAD, &rows);
    text.push_str(
        "\n\nWhat is indented lies in what stands above it. `prune --remove NAME` takes any of these names.\n",
    );
    push_rest(&mut text, &tree.outside, &tree.barriers);
    text
}

fn text(table_of: &UnitTable) -> String {
    let total_macs = table_of.total.macs;
    let rows: Vec<Vec<String>> = table_of.units.iter().map(|unit| row(unit, total_macs)).collect();
    let mut text = table(&HEAD, &rows);
    let macs = total_macs.map_or_else(|| "unknown".to_owned(), count);
    let removable = table_of.units.iter().filter(|unit| unit.ways.contains(&Way::Bypass)).count();
    let first = |way: Way| table_of.units.iter().filter(|unit| unit.ways.first() == Some(&way)).count();
    let by = [(first(Way::DropBranch), "--drop-branches"), (first(Way::ShrinkChain), "--shrink-chains")];
    let more: String =
        by.iter().filter(|(count, _)| *count > 0).map(|(count, flag)| format!(", {count} more by `{flag}`")).collect();
    text.push_str(&format!(
        "\n\n{removable} of {} layers can be removed{more}. Model: {} parameters, {macs} MACs for one sample.\n",
        table_of.units.len(),
        count(table_of.total.parameters),
    ));
    push_rest(&mut text, &table_of.outside, &table_of.barriers);
    text
}

/// Adds what is in no unit, with the reasons.
fn push_rest(text: &mut String, outside: &[Outside], barriers: &[Outside]) {
    if !outside.is_empty() {
        text.push_str("\nWeights in no layer of their own:\n");
        for outside in outside {
            text.push_str(&format!("  {}: {}\n", outside.node, outside.reason));
        }
    }
    if !barriers.is_empty() {
        text.push_str(&format!("\n{} nodes that no rule can follow (barriers):\n", barriers.len()));
        let shown = 20;
        for barrier in barriers.iter().take(shown) {
            text.push_str(&format!("  {}: {}\n", barrier.node, barrier.reason));
        }
        if barriers.len() > shown {
            text.push_str(&format!("  … and {} more (`--format json` has all)\n", barriers.len() - shown));
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "block",
        Kind::Layer => "layer",
        Kind::Stage => "stage",
        Kind::DenseLayer => "dense layer",
    }
}

fn row(unit: &UnitRow, total: Option<u64>) -> Vec<String> {
    let share = |macs: u64| match total {
        Some(total) if total > 0 => format!("{} {:4.1} %", count(macs), 100.0 * macs as f64 / total as f64),
        _ => count(macs),
    };
    let verdict = match (unit.ways.first(), &unit.reason) {
        (Some(Way::Bypass), _) if unit.exact => "yes: bypass, exact".to_owned(),
        (Some(Way::Bypass), _) => "yes: bypass".to_owned(),
        (Some(Way::DropBranch), Some(reason)) => format!("branch only: {reason}"),
        (Some(Way::DropBranch), None) => "branch only".to_owned(),
        (Some(Way::ShrinkChain), reason) => format!("by shrinking: {}", reason.as_deref().unwrap_or("")),
        (Some(Way::DropFeatures), reason) => format!("not yet: {}", reason.as_deref().unwrap_or("")),
        (None, reason) => format!("no: {}", reason.as_deref().unwrap_or("")),
    };
    vec![
        unit.name.clone(),
        kind(unit.kind).to_owned(),
        unit.exit_shape.clone(),
        count(unit.cost.parameters),
        unit.cost.macs.map_or_else(|| "?".to_owned(), share),
        verdict,
    ]
}

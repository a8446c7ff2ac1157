use anyhow::Result;
use layerprune::analysis::{ChannelTable, Channels, Kind, Outside, TreeRow, UnitRow, UnitTable, UnitTree, Units, Way};
use layerprune::cost::Cost;
use layerprune::onnx::Model;
use layerprune::plan::Constraints;
use serde::Serialize;

use crate::args::{Global, InspectArgs};
use crate::output::{Align, count, print, table};
use crate::{CannotBeDone, Usage, model};

/// Prints the units of a model.
pub(crate) fn run(args: &InspectArgs, global: &Global) -> Result<()> {
    let model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.shapes, &model)?;
    let units = model::units(&model, &shapes)?;
    if args.channels || args.why.is_some() {
        let channels = Channels::find(&model, &units.model, &units.shapes);
        return match &args.why {
            Some(name) => why(name, &model, &units, &channels, global),
            None => print(global, &channels.rows(&units.costs), channels_text),
        };
    }
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

/// What `inspect --why --format json` prints.
#[derive(Serialize)]
struct Why {
    name: String,
    /// Why the layer as a whole stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    /// From one of its channels to what holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
}

fn why(name: &str, model: &Model, units: &Units, channels: &Channels, global: &Global) -> Result<()> {
    let unit = units.named(name);
    let outside = units.outside.iter().find(|(id, _)| model.graph.label(*id) == name);
    let steps = channels.why(&model.graph, name);
    if unit.is_none() && outside.is_none() && steps.is_none() {
        let text = format!("there is no layer `{name}`; `inspect MODEL` and `inspect MODEL --channels` list them");
        return Err(Usage(text).into());
    }
    let layer = match (unit, outside) {
        (Some(unit), _) => Some(unit.reason.clone().unwrap_or_else(|| "nothing: it can be bypassed".to_owned())),
        (None, outside) => outside.map(|(_, reason)| reason.clone()),
    };
    print(global, &Why { name: name.to_owned(), layer, channels: steps }, |why| {
        let mut text = String::new();
        if let Some(layer) = &why.layer {
            text.push_str(&format!("what keeps `{}` from being removed: {layer}\n", why.name));
        }
        match why.channels.as_deref() {
            None => {}
            Some([]) => text.push_str("nothing holds its channels: each can go\n"),
            Some(steps) => text.push_str(&format!("what holds its channels:\n  {}\n", steps.join("\n  "))),
        }
        text
    })
}

fn channels_text(channels: &ChannelTable) -> String {
    let head = [("channels of", Align::Left), ("number", Align::Right), ("made by", Align::Left)];
    let rows = channels.groups.iter().map(|group| {
        let layers = match group.layers.as_slice() {
            [only] => only.clone(),
            layers => format!("{} layers: {}", layers.len(), layers.join(", ")),
        };
        vec![group.name.clone(), group.channels.to_string(), layers]
    });
    let mut text = table(&head, &rows.collect::<Vec<_>>());
    let share = 100.0 * channels.parameters_in_groups;
    text.push_str(&format!(
        "\n\n{} groups; {share:.1} % of the parameters lie in channels that can go.\n",
        channels.groups.len()
    ));
    let held: Vec<_> = channels.layers.iter().filter(|layer| layer.removable < layer.channels).collect();
    if !held.is_empty() {
        text.push_str("\nChannels that stay (`--why LAYER` shows the way to what holds them):\n");
    }
    for layer in held {
        let stay = layer.channels - layer.removable;
        let reason = layer.reason.as_deref().unwrap_or("");
        text.push_str(&format!("  {}: {stay} of {}: {reason}\n", layer.layer, layer.channels));
    }
    text
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
    let plain = Constraints::plain().ways;
    let removable = table_of.units.iter().filter(|unit| unit.ways.iter().any(|way| plain.contains(way))).count();
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
        (Some(Way::Bridge | Way::ScaleShift), _) => "by a fitted bridge".to_owned(),
        (Some(Way::ShrinkChain), reason) => format!("by shrinking: {}", reason.as_deref().unwrap_or("")),
        (Some(Way::DropFeatures), _) => "yes: with its features".to_owned(),
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

use anyhow::{Context, Result};
use layerprune::analysis::{ChannelCut, Channels, Units};
use layerprune::graph::{ValueId, tensor};
use layerprune::onnx::Model;
use layerprune::ops::Dim;
use layerprune::plan;
use layerprune::proto::tensor_proto::DataType;
use layerprune::shapes::InputShapes;
use layerprune::stats::SplitMix;
use layerprune::surgery;
use layerprune_infer::{Array, Input, Session, bind_shapes, compare, random_inputs};
use serde::Serialize;

use crate::args::{Global, SelfcheckArgs};
use crate::{CannotBeDone, data, interrupt, model, output, progress};

/// What `selfcheck --format json` prints.
#[derive(Serialize)]
struct Verdict {
    rounds: usize,
    groups: usize,
    channels: usize,
    removed: usize,
    tolerance: f64,
    /// The largest difference of an output, relative to its largest value.
    worst: f64,
    /// Share of the model's parameters that lie in channels which can go.
    parameters_in_groups: f64,
}

/// Cuts random channels, masks the same ones, and compares.
pub(crate) fn run(args: &SelfcheckArgs, global: &Global) -> Result<()> {
    let mut model = model::read(&args.model)?;
    let shapes = model::input_shapes(&args.shapes, &model)?;
    let replaced = with_random_weights(&mut model, &shapes, global.seed())?;
    if replaced > 0 {
        let text = format!(
            "{replaced} weights that the file fills with one number were given random ones: equal filters would hide faults"
        );
        progress::note(global, &text);
    }
    let units = model::units(&model, &shapes)?;
    let channels = Channels::find(&model, &units.model, &units.shapes);
    if channels.groups.is_empty() {
        return Err(CannotBeDone("the model has no channel that could be removed".to_owned()))
            .context("nothing to check");
    }
    let options = data::session_options(global);
    let session = Session::load(&model, &options).context("cannot run the model")?;
    let bound = bind_shapes(session.inputs(), &shapes, session.fixed_batch().or(Some(1)))?;
    let mut random = SplitMix::new(global.seed());
    let mut verdict = Verdict {
        rounds: args.rounds,
        groups: channels.groups.len(),
        channels: channels.groups.iter().map(|group| group.channels.len()).sum(),
        removed: 0,
        tolerance: args.tolerance,
        worst: 0.0,
        parameters_in_groups: channels.share_of_parameters(&units.costs),
    };
    let bar = progress::bar(global, "selfcheck", args.rounds as u64);
    for round in 0..args.rounds {
        if interrupt::asked() {
            return Err(CannotBeDone(format!("interrupted after {round} rounds, all of them good")).into());
        }
        let plan = plan::random_channels(&model.graph, &units, &channels, &mut random);
        let cut = plan::cut_of(&model.graph, &channels, &plan.channels)?;
        let pruned = surgery::apply(&model, &units, &plan).with_context(|| format!("round {}", round + 1))?;
        let pruned = Model::from_bytes(&pruned.to_bytes()).context("what was written cannot be read back")?;
        let counted = Units::find(&pruned, &shapes)?.costs.total();
        if counted != plan.after {
            return Err(CannotBeDone(format!("{:?} was predicted, {counted:?} is there", plan.after)).into());
        }
        let masked = surgery::masked(&model, &units.shapes, &channels.coupling, &cut)?;
        let sessions = [Session::load(&masked, &options)?, Session::load(&pruned, &options)?];
        let inputs = random_inputs(session.inputs(), &bound, global.seed().wrapping_add(round as u64));
        for output in compare(&sessions[0], &sessions[1], &inputs)? {
            if output.relative > args.tolerance {
                let fault = fault(&masked, &pruned, &model, &units, &cut, &inputs, args.tolerance, global)?;
                return Err(CannotBeDone(format!(
                    "round {}: output `{}` differs by {:.1e}; {fault}",
                    round + 1,
                    output.output,
                    output.relative
                ))
                .into());
            }
            verdict.worst = verdict.worst.max(output.relative);
        }
        verdict.removed += plan.channel_count();
        bar.inc(1);
    }
    bar.finish_and_clear();
    output::print(global, &verdict, text)
}

/// Gives weights that a `ConstantOfShape` fills random numbers of a standard deviation of √(2 / fan-in).
fn with_random_weights(model: &mut Model, shapes: &InputShapes, seed: u64) -> Result<usize> {
    let units = model::units(model, shapes)?;
    let uses = model.graph.uses();
    let mut random = SplitMix::new(seed);
    let mut filled = Vec::new();
    for source in Channels::find(model, &units.model, &units.shapes).coupling.filters() {
        let value = source.weight.value;
        let producer = uses.producer(value).filter(|&id| model.graph.node(id).op_type() == "ConstantOfShape");
        let dims: Option<Vec<usize>> =
            units.shapes.fact(value).shape.as_ref().and_then(|dims| dims.iter().map(Dim::known).collect());
        if let (Some(producer), Some(dims)) = (producer, dims) {
            filled.push((producer, value, dims, source.weight.axis));
        }
    }
    filled.sort_by_key(|(producer, ..)| *producer);
    filled.dedup_by_key(|(producer, ..)| *producer);
    let count = filled.len();
    for (producer, value, dims, filters) in filled {
        let elements: usize = dims.iter().product();
        let deviation = (2.0 * dims[filters] as f64 / elements as f64).sqrt();
        let numbers: Vec<f32> = (0..elements).map(|_| (random.normal() * deviation) as f32).collect();
        model.graph.remove_nodes(&[producer].into());
        model.graph.set_initializer(value, tensor::from_f32(&dims, &numbers));
    }
    Ok(count)
}

/// The first node whose output is wrong in the cut model.
#[allow(clippy::too_many_arguments)]
fn fault(
    masked: &Model,
    pruned: &Model,
    model: &Model,
    units: &Units,
    cut: &ChannelCut,
    inputs: &[Input<'_>],
    tolerance: f64,
    global: &Global,
) -> Result<String> {
    let names =
        model.graph.nodes().flat_map(|(id, node)| node.outputs().iter().flatten().map(move |&value| (id, value)));
    let floats = names.filter(|(_, value)| units.shapes.fact(*value).data_type == Some(DataType::Float));
    let taps: Vec<_> = floats
        .filter_map(|(id, value)| {
            let name = model.graph.value_name(value);
            Some((id, value, masked.graph.value_named(name)?, pruned.graph.value_named(name)?))
        })
        .collect();
    let options = data::session_options(global);
    let run = |model: &Model, values: Vec<ValueId>| -> Result<Vec<Array>> {
        Ok(Session::with_taps(model, &values, &options)?.run_inputs(inputs)?.taps().cloned().collect())
    };
    let whole = run(masked, taps.iter().map(|tap| tap.2).collect())?;
    let small = run(pruned, taps.iter().map(|tap| tap.3).collect())?;
    for ((&(id, value, ..), whole), small) in taps.iter().zip(whole).zip(small) {
        let kept = selected(whole, |axis| cut.kept(layerprune::analysis::ValueAxis { value, axis }));
        let scale = kept.data.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let apart = kept.data.iter().zip(&small.data).fold(0.0_f32, |largest, (a, b)| largest.max((a - b).abs()));
        if kept.shape != small.shape || f64::from(apart) > tolerance * f64::from(scale) {
            let node = model.graph.node(id);
            return Ok(format!("the first node that goes wrong is `{}` ({})", model.graph.label(id), node.op_type()));
        }
    }
    Ok("no single node is at fault".to_owned())
}

/// The elements at the kept indices of every axis.
fn selected<'c>(array: Array, kept: impl Fn(usize) -> Option<&'c [usize]>) -> Array {
    let mut array = array;
    for axis in 0..array.shape.len() {
        let Some(kept) = kept(axis) else { continue };
        let inner: usize = array.shape[axis + 1..].iter().product();
        let mut data = Vec::new();
        for outer in array.data.chunks_exact((array.shape[axis] * inner).max(1)) {
            kept.iter().for_each(|&index| data.extend_from_slice(&outer[index * inner..(index + 1) * inner]));
        }
        array.shape[axis] = kept.len();
        array.data = data;
    }
    array
}

fn text(verdict: &Verdict) -> String {
    format!(
        "{} random cuts of {} channels in {} groups: each gave what the masked model gives, and the predicted cost\n\
         channels removed in all: {}; largest difference of an output: {:.1e} of its largest value (allowed: {:.0e})\n\
         {:.1} % of the parameters lie in channels that can go; `inspect --channels` says why the rest cannot",
        verdict.rounds,
        verdict.channels,
        verdict.groups,
        verdict.removed,
        verdict.worst,
        verdict.tolerance,
        100.0 * verdict.parameters_in_groups,
    )
}

use anyhow::Result;
use layerprune::onnx::Model;

use crate::args::{FinetuneArgs, Global, Init, TrainArgs};
use crate::data::{self, Data};
use crate::model;
use crate::output::{expect_writable, print};
use crate::training::{self, Run, Trained};

/// Trains a model from initial weights, or as a control on the weights it has, and writes it.
pub(crate) fn train(args: &TrainArgs, global: &Global) -> Result<()> {
    let (training, scratch) = (&args.training, &args.scratch);
    expect_writable(&training.output)?;
    training::chosen(&args.training.settings, training::TRAIN, global.seed())?;
    let mut model = model::read(&training.model)?;
    let whole =
        scratch.as_much_as.as_deref().map(|path| Ok::<_, anyhow::Error>((model::read(path)?, path))).transpose()?;
    let judge = match scratch.init {
        Init::Given => Some(&model),
        Init::Random => whole.as_ref().map(|(whole, _)| whole),
    };
    let data = open(training, &model, judge, global)?;
    if scratch.init == Init::Random {
        model = layerprune_train::initialize(&model, global.seed())?;
    }
    let mut run = Run { stage: "training", ..run(training, &data, training::TRAIN, global)? };
    if let Some((whole, path)) = &whole {
        run = run.at_equal_compute((&model, &training.model), (whole, path))?;
    }
    finish(training, &run, &model, global)
}

/// Trains on from the weights of a model and writes it.
pub(crate) fn finetune(args: &FinetuneArgs, global: &Global) -> Result<()> {
    expect_writable(&args.output)?;
    training::chosen(&args.settings, training::FINETUNE, global.seed())?;
    let model = model::read(&args.model)?;
    let data = open(args, &model, Some(&model), global)?;
    finish(args, &run(args, &data, training::FINETUNE, global)?, &model, global)
}

/// The data, with the normalisation that suits `judge` where none is given.
fn open(args: &FinetuneArgs, model: &Model, judge: Option<&Model>, global: &Global) -> Result<Data> {
    let data = match args.settings.without_labels.unwrap_or_default() {
        true => data::open_images_judged_by(&args.data, &args.model, model, judge, global)?,
        false => data::open_judged_by(&args.data, &args.model, model, judge, global)?,
    };
    data.expect_clear_normalisation()?;
    Ok(data)
}

fn run<'a>(args: &FinetuneArgs, data: &'a Data, learning_rate: f64, global: &'a Global) -> Result<Run<'a>> {
    let mut settings = args.settings.clone();
    if settings.loss.is_none() {
        settings.loss = Some(training::told_loss(&data.train));
    }
    let chosen = training::chosen(&settings, learning_rate, global.seed())?;
    let mut run = Run::new(data, chosen, &args.output, &args.records.keeping, global);
    if let Some(log) = &args.records.log {
        expect_writable(log)?;
        run.log = log.clone();
    }
    run.going_on = args.going_on.clone();
    Ok(run)
}

/// Goes on where an interrupted run left off, or begins, and writes what it comes to.
fn finish(args: &FinetuneArgs, run: &Run<'_>, model: &Model, global: &Global) -> Result<()> {
    let trained = run.train(model)?;
    trained.model.write(&args.output)?;
    run.forget();
    print(global, &trained.rows, |_| format!("{}; written: {}", text(&trained), args.output.display()))
}

/// `12 epochs, kept epoch 9: held-out top-1 83.33 % (the last: 81.67 %)`.
fn text(trained: &Trained) -> String {
    let rows = &trained.rows;
    let mut text = format!("{} epoch{}", rows.len(), if rows.len() == 1 { "" } else { "s" });
    let Some(kept) = trained.kept() else { return text };
    text.push_str(&format!(", kept epoch {}", kept.epoch));
    if let Some(top1) = kept.held_out_top1 {
        text.push_str(&format!(": held-out top-1 {top1:.2} %"));
        let last = rows.last().filter(|last| last.epoch != kept.epoch).and_then(|last| last.held_out_top1);
        text.push_str(&last.map(|last| format!(" (the last: {last:.2} %)")).unwrap_or_default());
    } else if let Some(loss) = kept.held_out_loss {
        text.push_str(&format!(": held-out loss {loss:.4}"));
    }
    text
}

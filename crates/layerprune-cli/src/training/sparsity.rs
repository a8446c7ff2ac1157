//! Scales for training towards sparsity: put in before it, read off and folded away behind it.

use anyhow::{Context, Result};
use layerprune::analysis::Units;
use layerprune::onnx::Model;
use layerprune::surgery::{ScaleOf, find_scales, fold_scales, insert_scales, scale_sites, zero_scales};
use layerprune_train::{Settings, Sparsity};

use crate::args::Global;
use crate::progress;

/// The model with the scales that `settings` want and that it does not have.
pub(super) fn with_scales(model: &Model, settings: &Settings) -> Result<Model> {
    let mut scaled = model.clone();
    for sparsity in &settings.sparsity {
        let of = match sparsity {
            Sparsity::Sss(sss) if sss.on.is_empty() => ScaleOf::Block,
            Sparsity::Masks(masks) if masks.on.is_empty() => ScaleOf::Filters,
            _ => continue,
        };
        if find_scales(&scaled.graph).iter().any(|scale| scale.of == of) {
            continue;
        }
        let units = Units::find(&scaled, &Default::default())?;
        let sites = scale_sites(&scaled, &units, of);
        scaled = insert_scales(&scaled, &units, &sites, 1.0)
            .with_context(|| format!("cannot put the scales into the model that `--{}` trains", sparsity.name()))?;
    }
    Ok(scaled)
}

/// The trained model with its scales folded into weights, and a note of what they switched off.
pub(super) fn without_scales(model: Model, global: &Global) -> Result<Model> {
    if find_scales(&model.graph).is_empty() {
        return Ok(model);
    }
    let zeros = zero_scales(&model.graph);
    if !zeros.blocks.is_empty() {
        let blocks = zeros.blocks.join(",");
        progress::note(global, &format!("at zero: the branches of {blocks}; `prune --remove {blocks}` takes them out"));
    }
    let filters: usize = zeros.filters.values().map(Vec::len).sum();
    if filters > 0 {
        let text = format!("at zero: {filters} filters; `prune --dead-channels` takes out what they feed alone");
        progress::note(global, &text);
    }
    if zeros.blocks.is_empty() && filters == 0 {
        progress::note(global, "no scale reached zero; a greater strength draws more of them there");
    }
    let (folded, scales) = fold_scales(&model, &Default::default())?;
    for scale in scales {
        if let Err(reason) = scale.into {
            progress::note(global, &format!("the scale `{}` stays in the model: {reason}", scale.name));
        }
    }
    Ok(folded)
}

use std::fs;

use anyhow::{Context, Result};

use crate::args::{Global, RunArgs};
use crate::recipe::{self, Recipe};
use crate::{job, model, output};

/// Does the whole job as a recipe says.
pub(crate) fn run(args: &RunArgs, global: &Global) -> Result<()> {
    let Some(path) = args.recipe.as_ref().filter(|_| !args.example) else {
        return output::print_text(recipe::EXAMPLE);
    };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the recipe `{}`", path.display()))?;
    let mut recipe = Recipe::parse(&text)?;
    let global = global.or_seed(recipe.seed);
    recipe.seed = global.seed();
    let model = model::read(&recipe.model)?;
    let finished = job::run(&recipe, &model, &recipe.model.display().to_string(), &global)?;
    output::print_record(&global, &finished.record, &job::text(&finished))
}

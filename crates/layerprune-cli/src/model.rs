//! Reading models and the shapes given for their inputs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use globset::{Glob, GlobMatcher};
use layerprune::analysis::{Channels, Unit, Units, Way};
use layerprune::onnx::Model;
use layerprune::plan::Constraints;
use layerprune::shapes::InputShapes;

use crate::Usage;
use crate::args::{LimitArgs, ShapeArgs};

/// Reads the model in file `path`.
pub(crate) fn read(path: &Path) -> Result<Model> {
    Model::read(path).with_context(|| format!("cannot use the model `{}`", path.display()))
}

/// Shapes given on the command line; one without a name is for the only input.
pub(crate) fn input_shapes(args: &ShapeArgs, model: &Model) -> Result<InputShapes> {
    let mut shapes = InputShapes::new();
    for text in &args.input_shape {
        let (name, sizes) = match text.rsplit_once('=') {
            Some((name, sizes)) => (name.to_owned(), sizes),
            None => {
                let mut fed = model.graph.fed_inputs();
                match (fed.next(), fed.next()) {
                    (Some(port), None) => (model.graph.value_name(port.value).to_owned(), text.as_str()),
                    _ => {
                        let names: Vec<_> = model.graph.fed_inputs().map(|p| model.graph.value_name(p.value)).collect();
                        let text = format!("`--input-shape {text}` needs a name: the inputs are {}", names.join(", "));
                        return Err(Usage(text).into());
                    }
                }
            }
        };
        let sizes: Option<Vec<usize>> =
            sizes.split([',', 'x']).map(|size| size.trim().parse().ok().filter(|&size| size > 0)).collect();
        let sizes = sizes.ok_or_else(|| Usage(format!("`--input-shape {text}` is no list of sizes above 0")))?;
        shapes.insert(name, sizes);
    }
    Ok(shapes)
}

/// Finds the units of a model.
pub(crate) fn units(model: &Model, shapes: &InputShapes) -> Result<Units> {
    Ok(Units::find(model, shapes)?)
}

/// What may go, by the globs of the command line.
pub(crate) fn constraints(args: &LimitArgs, units: &Units) -> Result<Constraints> {
    let mut constraints = Constraints::plain();
    if args.drop_branches {
        constraints.ways.insert(Way::DropBranch);
    }
    if args.shrink_chains {
        constraints.ways.insert(Way::ShrinkChain);
    }
    fn names(units: Vec<&Unit>) -> impl Iterator<Item = String> {
        units.into_iter().map(|unit| unit.name.clone())
    }
    for glob in &args.protect {
        constraints.protected.extend(names(matching(glob, units)?));
    }
    if !args.only.is_empty() {
        let mut allowed = Vec::new();
        for glob in &args.only {
            allowed.extend(names(matching(glob, units)?));
        }
        let others = units.units.iter().filter(|unit| !allowed.contains(&unit.name));
        constraints.protected.extend(others.map(|unit| unit.name.clone()));
    }
    Ok(constraints)
}

/// Channel groups that must stay whole: those with a layer that is protected, or that is none of the only ones allowed.
pub(crate) fn protected_groups(args: &LimitArgs, channels: &Channels) -> Result<BTreeSet<String>> {
    let matchers = |globs: &[String]| -> Result<Vec<GlobMatcher>> {
        let matchers: Vec<GlobMatcher> = globs.iter().map(|glob| matcher(glob)).collect::<Result<_>>()?;
        let unused = |matcher: &&GlobMatcher| !channels.layers.iter().any(|layer| matcher.is_match(&layer.name));
        match matchers.iter().find(unused) {
            Some(unused) => Err(no_match(unused.glob().glob(), "`layerprune inspect MODEL --channels` lists them")),
            None => Ok(matchers),
        }
    };
    let (protect, only) = (matchers(&args.protect)?, matchers(&args.only)?);
    let any = |matchers: &[GlobMatcher], name: &String| matchers.iter().any(|matcher| matcher.is_match(name));
    let protected = channels.groups.iter().filter(|group| {
        let names = &group.source_names;
        names.iter().any(|name| any(&protect, name)) || (!only.is_empty() && !names.iter().all(|name| any(&only, name)))
    });
    Ok(protected.map(|group| group.name.clone()).collect())
}

fn matcher(glob: &str) -> Result<GlobMatcher> {
    let glob = Glob::new(glob).map_err(|error| Usage(format!("`{glob}` is no glob: {error}")))?;
    Ok(glob.compile_matcher())
}

fn no_match(glob: &str, hint: &str) -> anyhow::Error {
    Usage(format!("no layer matches `{glob}`; {hint}")).into()
}

/// Units whose names match `glob`; matching none is an error.
pub(crate) fn matching<'u>(glob: &str, units: &'u Units) -> Result<Vec<&'u Unit>> {
    let matcher = matcher(glob)?;
    let found: Vec<&Unit> = units.units.iter().filter(|unit| matcher.is_match(&unit.name)).collect();
    if found.is_empty() {
        return Err(no_match(glob, "`layerprune inspect MODEL` lists them"));
    }
    Ok(found)
}

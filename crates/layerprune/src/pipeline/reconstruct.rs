//! Channels chosen by what the next layer makes of them, group by group, and that layer fitted anew.

use serde::{Deserialize, Serialize};

use super::compensate::{Compensation, compensate};
use super::observe::{Observe, Part, RecoveryError, up_to};
use super::patches::PatchSums;
use crate::analysis::{ChannelGroup, Channels, Units, ValueAxis};
use crate::fit::{self, Contributions, FitError};
use crate::onnx::Model;
use crate::plan::{self, ChannelConstraints, Plan, PlanError, PlannedChannels};
use crate::stats::SplitMix;
use crate::surgery::{self, Consumer};

/// How channels are chosen by what they contribute to the outputs of the layers that read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chooser {
    /// Those stay that the LASSO leaves, see [`fit::lasso`].
    Lasso,
    /// Those go whose loss changes the sums least, one by one, see [`fit::greedy`].
    Greedy,
}

/// What channels are to be taken out of, and how.
#[derive(Debug, Clone, Copy)]
pub struct Reconstruct<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its units.
    pub units: &'a Units,
    /// Its channel groups.
    pub channels: &'a Channels,
    /// Which channels may go.
    pub constraints: &'a ChannelConstraints,
    /// How those that go are chosen.
    pub chooser: Chooser,
    /// Of the least squares behind, see [`fit::ridge`]; [`fit::DEFAULT_PENALTY`] where in doubt.
    pub penalty: f64,
}

/// A group that lost channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconstructed {
    /// What it lost.
    #[serde(flatten)]
    pub lost: PlannedChannels,
    /// How well the nodes that read it fit.
    pub fits: Vec<Compensation>,
}

/// A group that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftWhole {
    /// Its name.
    pub group: String,
    /// Why.
    pub reason: String,
}

/// What became of a model.
#[derive(Debug, Clone)]
pub struct Reconstruction {
    /// The model without what goes, with new weights behind it. What is fitted and had no bias has one, which the plan's cost
    /// does not count.
    pub model: Model,
    /// What goes, in names and numbers of the model as it was.
    pub plan: Plan,
    /// Groups that lost channels, in forward order.
    pub groups: Vec<Reconstructed>,
    /// Groups that stay whole whatever is asked for.
    pub whole: Vec<LeftWhole>,
}

impl Reconstruct<'_> {
    /// The groups that stay whole whatever is asked for: protected ones; those whose channels several layers make together,
    /// as on the trunk of a ResNet, which both papers leave alone; and those that something reads whose weights cannot be
    /// fitted, or nothing does.
    #[must_use]
    pub fn left_whole(&self) -> Vec<LeftWhole> {
        let whole =
            |group: &ChannelGroup| Some(LeftWhole { group: group.name.clone(), reason: self.why_whole(group)? });
        self.channels.groups.iter().filter_map(whole).collect()
    }

    fn why_whole(&self, group: &ChannelGroup) -> Option<String> {
        if self.constraints.protected.contains(&group.name) {
            return Some("it is protected".to_owned());
        }
        let makers = makers(self.channels, group);
        if makers.len() > 1 {
            return Some(format!("its channels are made by several layers together: {}", makers.join(", ")));
        }
        readers(self.model, self.units, self.channels, group).err()
    }
}

/// Takes channels out of one group after the other, in forward order, until as many are left of each as `kept` says, within
/// the constraints. For each it looks at places of what the layers that read the group read in the model cut so far, and of
/// what they give in the whole one; chooses the channels that go by what each contributes; cuts them; and fits the weights
/// of these layers by least squares ([`compensate`]). No label is needed. These are the ways of He, Zhang and Sun ("Channel
/// Pruning for Accelerating Very Deep Neural Networks", ICCV 2017) and of Luo, Wu and Lin ("ThiNet", ICCV 2017). What
/// differs:
///
/// * He et al. take 10 places of each of 5000 images, ThiNet 10 of each of 10 images a class, and one output each; here 32 places
///   of each image that the port hands over are taken, with all their outputs.
/// * The least squares have an intercept and a small penalty that draws to the weights as they were, and are not taken where
///   they explain less of held-out images. Those of ThiNet find one scale for each channel only, which these include.
/// * Where several layers read a group, contributions to all of them add up.
/// * Nothing is trained between groups.
///
/// `step` is told of each group. Takes two passes over the images, of both models, for each layer that reads a group which
/// loses channels. Memory: 24 bytes times the square of the elements that one output of such a layer is made of, as for
/// [`compensate`], and 8 times the square of the channels of the largest group.
///
/// # Errors
/// See [`RecoveryError`]; what the port reports is the source of [`RecoveryError::Observe`].
pub fn reconstruct(
    task: &Reconstruct<'_>,
    kept: &dyn Fn(&ChannelGroup) -> usize,
    port: &mut dyn Observe,
    step: &mut dyn FnMut(&Reconstructed),
) -> Result<Reconstruction, RecoveryError> {
    let mut model = task.model.clone();
    let (mut groups, mut whole): (Vec<Reconstructed>, _) = (Vec::new(), task.left_whole());
    for group in &task.channels.groups {
        let size = group.channels.len();
        let stays = task.constraints.staying(group, kept(group));
        if stays == size || whole.iter().any(|left| left.group == group.name) {
            continue;
        }
        match without(task, &model, group, stays, port)? {
            Ok((cut, done)) => {
                model = cut;
                step(&done);
                groups.push(done);
            }
            Err(reason) => whole.push(LeftWhole { group: group.name.clone(), reason }),
        }
    }
    let planned = groups.iter().map(|done| done.lost.clone()).collect();
    let plan = plan::of_channels(&task.model.graph, task.units, task.channels, None, task.chooser.target(), planned);
    Ok(Reconstruction { model, plan, groups, whole })
}

/// What could be done with a group, or why it stays whole.
type Attempt = Result<(Model, Reconstructed), String>;

/// `left`, which earlier cuts left of the model, with `stays` channels of `group` and its readers fitted.
fn without(
    task: &Reconstruct<'_>,
    left: &Model,
    group: &ChannelGroup,
    stays: usize,
    port: &mut dyn Observe,
) -> Result<Attempt, RecoveryError> {
    let units = surgery::found_anew(left, task.units);
    let channels = Channels::find(left, &units.model, &units.shapes);
    let Some(now) = left_of(&channels, group) else {
        return Ok(Err("its channels are held after the cuts before it".to_owned()));
    };
    let consumers = match readers(left, &units, &channels, now) {
        Ok(consumers) => consumers,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut contributions = Contributions::new(now.channels.len());
    for consumer in &consumers {
        let part_of = channels.along(ValueAxis { value: consumer.entry, axis: 1 }, now);
        add_contributions(&mut contributions, task.model, left, consumer, &part_of, port)?;
    }
    let going = task.chooser.going(&contributions, stays);
    let lost = vec![lost(now, &going)];
    if let Err(PlanError::Emptied { value }) = plan::cut_of(&left.graph, &channels, &lost) {
        return Ok(Err(format!("no channel of `{value}` would be left")));
    }
    let target = task.chooser.target();
    let mut cut = surgery::apply(left, &units, &plan::of_channels(&left.graph, &units, &channels, None, target, lost))?;
    let done = self::lost(group, &going);
    let axes = plan::cut_of(&task.model.graph, task.channels, std::slice::from_ref(&done)).map_err(surgery_error)?;
    let (consumers, _) = surgery::consumers(task.units, task.channels, &axes, &cut);
    let fits = compensate(task.model, &mut cut, &consumers, task.penalty, port, &mut |_| {})?;
    Ok(Ok((cut, Reconstructed { lost: done, fits })))
}

fn surgery_error(error: PlanError) -> RecoveryError {
    RecoveryError::Surgery(error.into())
}

/// Adds what the channels contribute to the outputs of `consumer`: it reads what `left` gives, and is to give what it gave in
/// `model`. `part_of` has the number of the channel of each index that it reads.
fn add_contributions(
    contributions: &mut Contributions,
    model: &Model,
    left: &Model,
    consumer: &Consumer,
    part_of: &[Option<usize>],
    port: &mut dyn Observe,
) -> Result<(), RecoveryError> {
    let what = || format!("what channels contribute to `{}`", consumer.of.name);
    let (mut sums, mut random) = (PatchSums::new(consumer), SplitMix::new(0));
    port.pairs(
        &up_to(left, consumer.entry),
        &up_to(model, consumer.of.output),
        &mut |part, entry, target| match part {
            Part::Fitted => sums.add(entry, target, &mut random),
            Part::HeldOut => Ok(()),
        },
    )
    .map_err(|source| RecoveryError::Observe { what: what(), source })?;
    let maps = consumer.maps()?;
    let area = consumer.inputs() / consumer.group_channels;
    for (group, (moments, map)) in sums.groups.iter().zip(&maps).enumerate() {
        if moments.count() == 0 {
            return Err(RecoveryError::Fit { what: what(), source: FitError::Empty });
        }
        let own = &part_of[group * consumer.group_channels..(group + 1) * consumer.group_channels];
        let own: Vec<Option<usize>> = own.iter().flat_map(|&part| std::iter::repeat_n(part, area)).collect();
        contributions.add(moments, map, &own);
    }
    Ok(())
}

impl Chooser {
    /// Numbers of the channels that go where `stays` are to stay, in rising order.
    fn going(self, contributions: &Contributions, stays: usize) -> Vec<usize> {
        let all = contributions.parts();
        let mut going = match self {
            Self::Lasso => {
                let stay = fit::lasso(contributions, stays);
                (0..all).filter(|channel| !stay.contains(channel)).collect()
            }
            Self::Greedy => fit::greedy(contributions, all - stays),
        };
        going.sort_unstable();
        going
    }

    fn target(self) -> String {
        match self {
            Self::Lasso => "channels that the LASSO takes out, layer by layer".to_owned(),
            Self::Greedy => "channels that the next layer misses least, layer by layer".to_owned(),
        }
    }
}

/// Names of the layers that make channels of `group`, without those that only pass each one on, as depthwise convolutions do.
fn makers(channels: &Channels, group: &ChannelGroup) -> Vec<String> {
    let adds_up = |source: usize| channels.coupling.sums().iter().any(|(node, _)| *node == group.sources[source].node);
    let makers = (0..group.sources.len()).filter(|&source| source == 0 || adds_up(source));
    makers.map(|source| group.source_names[source].clone()).collect()
}

/// The nodes that add up over channels of `group`.
///
/// # Errors
/// Why one of them cannot be fitted, or that there is none.
fn readers(model: &Model, units: &Units, channels: &Channels, group: &ChannelGroup) -> Result<Vec<Consumer>, String> {
    let (consumers, others) = surgery::consumers(units, channels, &channels.cut(&group.channels), model);
    if let Some(other) = others.first() {
        return Err(format!("`{}` reads its channels and cannot be fitted: {}", other.name, other.reason));
    }
    if consumers.is_empty() { Err("no layer adds up over its channels".to_owned()) } else { Ok(consumers) }
}

/// The group that has the channels of `group` after cuts of others: ids of nodes stay.
fn left_of<'c>(channels: &'c Channels, group: &ChannelGroup) -> Option<&'c ChannelGroup> {
    let nodes = |group: &ChannelGroup| group.sources.iter().map(|source| source.node).collect::<Vec<_>>();
    let same = |now: &&ChannelGroup| now.channels.len() == group.channels.len() && nodes(now) == nodes(group);
    channels.groups.iter().find(same)
}

fn lost(group: &ChannelGroup, going: &[usize]) -> PlannedChannels {
    let removed = going.iter().map(|&number| group.channels[number].index).collect();
    PlannedChannels { group: group.name.clone(), channels: group.channels.len(), removed }
}

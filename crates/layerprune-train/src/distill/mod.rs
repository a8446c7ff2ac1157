//! Knowledge distillation: a model learns what another one, its teacher, says.

mod memory;
mod pairs;
mod terms;

use layerprune::batch::Batch;
use layerprune::onnx::{Model, ModelDigest};
use layerprune::shapes::InputShapes;
use serde::{Deserialize, Serialize};

pub(crate) use memory::Memory;
pub use pairs::{BlockPair, block_pairs};
use terms::Term;

use crate::device::Open;
use crate::error::TrainError;
use crate::loss::{Judgement, Loss};
use crate::lower::Mode;
use crate::session::{Marks, Said, Session};
use crate::settings::refuse;
use crate::value::Value;

/// How a model learns from its teacher.
///
/// With the loss `task` of the labels, outputs `s` of the model and `t` of the teacher, the loss of a batch is
///
/// ```text
/// (1 - α) · task + α · T² · KL(softmax(t / T) ‖ softmax(s / T)) + β · blocks
/// ```
///
/// where KL is summed over the classes and is the mean over the images, as PyTorch's `KLDivLoss(reduction="batchmean")`
/// (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015). With [`Loss::BinaryCrossEntropy`] it is
/// the divergence of each label's sigmoid, the mean over all labels of all images; with [`Loss::MeanSquared`] and
/// [`Loss::MeanAbsolute`] that loss itself, with the teacher's outputs as targets and neither `T` nor `T²`.
///
/// `blocks` is the mean, over the values that [`block_pairs`] lists, of the squared difference between model and teacher
/// divided by the mean square of the teacher's value. So it is a share of what the teacher gives, of which values of any size
/// and number can be compared; that is ours, after the hints of Romero et al., "FitNets", ICLR 2015.
///
/// The teacher runs as in inference: with stored batch-norm statistics and without dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Distill {
    /// T; the default is that of Tian et al., "Contrastive Representation Distillation", ICLR 2020, for distillation after
    /// Hinton.
    pub temperature: f64,
    /// α, from 0 to 1; the default is of the same source.
    pub weight: f64,
    /// β; 0 leaves the blocks out. 1 is a good start.
    pub block_weight: f64,
    /// Patterns of names of the values that are compared, globs whose `*` also stands for dots and slashes; all that
    /// [`block_pairs`] lists where there is none.
    pub blocks: Vec<String>,
    /// Whether labels are there to learn from. Without them α is 1, `task` is left out, labels and targets are never looked
    /// at, and answers count as right where they are the teacher's.
    pub labels: bool,
    /// Whether the outputs `t` are the mean of what the teacher says of an image and of its mirror image, left and right
    /// exchanged. Of values of blocks, those of the image itself count.
    pub mirrored: bool,
    /// Whether the outputs for an image are kept, up to 64 MiB of them, for when an image with the same pixels comes again;
    /// checkpoints hold them. Of use where images are trained on as they are, or are only flipped. With a `block_weight` the
    /// teacher runs each time all the same.
    pub remember: bool,
}

impl Default for Distill {
    fn default() -> Self {
        Self {
            temperature: 4.0,
            weight: 0.9,
            block_weight: 0.0,
            blocks: Vec::new(),
            labels: true,
            mirrored: false,
            remember: false,
        }
    }
}

impl Distill {
    pub(crate) fn check(&self, loss: &Loss) -> Result<(), TrainError> {
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return refuse("distill.temperature", self.temperature, "a number above 0");
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return refuse("distill.weight", self.weight, "a number from 0 to 1");
        }
        if !(self.block_weight.is_finite() && self.block_weight >= 0.0) {
            return refuse("distill.block-weight", self.block_weight, "a number of at least 0");
        }
        if self.labels && self.weight == 0.0 && self.block_weight == 0.0 {
            return refuse("distill.weight", self.weight, "a number above 0, here or for `block-weight`,");
        }
        if !self.blocks.is_empty() && self.block_weight == 0.0 {
            return refuse("distill.blocks", self.blocks.join(", "), "none, or a `block-weight` above 0,");
        }
        if matches!(loss, Loss::MeanSquared | Loss::MeanAbsolute) && self.temperature != Self::default().temperature {
            return refuse(
                "distill.temperature",
                self.temperature,
                "4, the default, beside a loss of numbers, which are not softened,",
            );
        }
        if let Loss::CrossEntropy(cross_entropy) = loss
            && !self.labels
            && cross_entropy.label_smoothing != 0.0
        {
            return refuse("loss.label-smoothing", cross_entropy.label_smoothing, "0 where no labels are looked at");
        }
        Ok(())
    }

    /// α as it counts.
    fn share(&self) -> f64 {
        if self.labels { self.weight } else { 1.0 }
    }
}

/// What a model learns from.
pub(crate) struct Teacher<'a> {
    settings: &'a Distill,
    session: Session,
    pairs: Vec<BlockPair>,
    pub(crate) digest: ModelDigest,
    /// Where outputs are kept.
    pub(crate) memory: Option<Memory>,
}

/// What a teacher says of a batch.
pub(crate) struct Lesson {
    outputs: Vec<f32>,
    width: usize,
    /// The teacher's values of the pairs.
    taps: Vec<Option<Value>>,
}

impl<'a> Teacher<'a> {
    /// Makes `teacher` ready for `model`.
    pub(crate) fn new(
        model: &Model,
        teacher: &Model,
        settings: &'a Distill,
        loss: &Loss,
        device: &Open,
    ) -> Result<Self, TrainError> {
        let pairs = match settings.block_weight > 0.0 {
            true => pairs::selected(model, teacher, &InputShapes::default(), &settings.blocks)?,
            false => Vec::new(),
        };
        let tapped: Vec<_> = pairs.iter().map(|pair| pair.teacher).collect();
        let session = Session::marked(teacher, loss, &Marks { tapped: &tapped, ..Marks::default() });
        let mut session = session.map_err(|source| TrainError::Teacher { source: Box::new(source) })?;
        session.device = device.clone();
        let memory = (settings.remember && pairs.is_empty()).then(Memory::default);
        Ok(Self { settings, session, pairs, digest: teacher.digest(), memory })
    }

    /// The values of the model that it compares.
    pub(crate) fn tapped(&self) -> Vec<layerprune::graph::ValueId> {
        self.pairs.iter().map(|pair| pair.student).collect()
    }

    /// What it says of a batch.
    pub(crate) fn lesson(&mut self, batch: &Batch) -> Result<Lesson, TrainError> {
        let (session, mirrored) = (&self.session, self.settings.mirrored);
        match &mut self.memory {
            None => lesson(session, mirrored, batch),
            Some(memory) => memory.outputs(batch, |unknown| lesson(session, mirrored, unknown)),
        }
    }

    /// Judges the outputs and tapped values of the model for a batch by `said` of it; also gives the gradient at each of
    /// these values.
    pub(crate) fn judge(
        &self,
        said: &Lesson,
        loss: &Loss,
        batch: &Batch,
        outputs: &[f32],
        width: usize,
        taps: &[Option<Value>],
    ) -> Result<(Judgement, Vec<Vec<f32>>), TrainError> {
        if said.width != width {
            return Err(TrainError::TeacherWidth { teacher: said.width, model: width });
        }
        let images = batch.labels.len();
        let mut judgement = match self.settings.labels {
            true => loss.judge(outputs, width, batch)?,
            false => terms::agreement(loss, outputs, &said.outputs, width),
        };
        let share = self.settings.share();
        scale(&mut judgement, if self.settings.labels { 1.0 - share } else { 0.0 });
        let learned = terms::outputs(loss, outputs, &said.outputs, width, self.settings.temperature);
        judgement.sum += share * learned.value * images as f64;
        for (sum, new) in judgement.gradient.iter_mut().zip(&learned.gradient) {
            *sum += share as f32 * new;
        }
        let mut gradients = Vec::with_capacity(self.pairs.len());
        let each = self.settings.block_weight / self.pairs.len().max(1) as f64;
        for ((pair, own), teacher) in self.pairs.iter().zip(taps).zip(&said.taps) {
            let (own, teacher) = same_sizes(pair, own.as_ref(), teacher.as_ref())?;
            if !teacher.iter().all(|number| number.is_finite()) {
                return Err(TrainError::TeacherNotFinite { what: format!("`{}`", pair.name) });
            }
            let Term { value, mut gradient } = terms::relative_error(&own, &teacher);
            judgement.sum += each * value * images as f64;
            gradient.iter_mut().for_each(|gradient| *gradient *= each as f32);
            gradients.push(gradient);
        }
        Ok((judgement, gradients))
    }
}

fn lesson(session: &Session, mirrored: bool, batch: &Batch) -> Result<Lesson, TrainError> {
    let say = |batch: &Batch| {
        session.outputs(batch, Mode::Evaluate).map_err(|source| TrainError::Teacher { source: Box::new(source) })
    };
    let Said { mut outputs, width, taps, .. } = say(batch)?;
    if mirrored {
        let other = say(&mirror(batch))?.outputs;
        outputs.iter_mut().zip(other).for_each(|(a, b)| *a = 0.5 * (*a + b));
    }
    // A class that gets nothing may have a score of -∞.
    if outputs.iter().any(|score| score.is_nan() || *score == f32::INFINITY) {
        return Err(TrainError::TeacherNotFinite { what: "an output".to_owned() });
    }
    Ok(Lesson { outputs, width, taps })
}

/// The images with left and right exchanged.
fn mirror(batch: &Batch) -> Batch {
    let rows = batch.images.chunks(batch.shape[3].max(1));
    let images = rows.flat_map(|row| row.iter().rev()).copied().collect();
    Batch::new(images, batch.shape, batch.labels.clone())
}

fn scale(judgement: &mut Judgement, share: f64) {
    judgement.sum *= share;
    judgement.gradient.iter_mut().for_each(|gradient| *gradient *= share as f32);
}

/// The elements of both values.
fn same_sizes(
    pair: &BlockPair,
    own: Option<&Value>,
    teacher: Option<&Value>,
) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
    let dims = |value: Option<&Value>| value.map(Value::dims).unwrap_or_default();
    match (own, teacher) {
        (Some(own), Some(teacher)) if own.dims() == teacher.dims() => Ok((own.to_f32(), teacher.to_f32())),
        _ => Err(TrainError::BlockShapes { value: pair.name.clone(), model: dims(own), teacher: dims(teacher) }),
    }
}

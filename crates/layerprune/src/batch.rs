//! Labelled images as every stage hands them on, and what models make of them.

/// Some images with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Pixels after preprocessing, in N,C,H,W order.
    pub images: Vec<f32>,
    /// N, C, H, W.
    pub shape: [usize; 4],
    /// One class index for each image; that of the greater share where two images were mixed, 0 where images have no class.
    pub labels: Vec<usize>,
    /// What is to be learned instead of the labels alone, where there is such a thing.
    pub targets: Option<Targets>,
}

/// One row of numbers for each image: the share of each class in a mixed image, whether each of several classes is there
/// (0 or 1), or the values of a regression.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Row after row.
    pub values: Vec<f32>,
    /// Numbers of a row.
    pub width: usize,
}

impl Batch {
    /// Images with a label each and no other targets. `shape` is N, C, H, W.
    #[must_use]
    pub fn new(images: Vec<f32>, shape: [usize; 4], labels: Vec<usize>) -> Self {
        Self { images, shape, labels, targets: None }
    }
}

/// Maps of some images, row-major: N, C and any number of spatial axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Maps<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Size of each axis.
    pub shape: &'a [usize],
}

//! Labelled images as every stage hands them on, and what models make of them.

/// Some images with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Pixels after preprocessing, in N,C,H,W order.
    pub images: Vec<f32>,
    /// N, C, H, W.
    pub shape: [usize; 4],
    /// One class index for each image.
    pub labels: Vec<usize>,
}

/// Maps of some images, row-major: N, C and any number of spatial axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Maps<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Size of each axis.
    pub shape: &'a [usize],
}

//! Labelled images as every stage hands them on.

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

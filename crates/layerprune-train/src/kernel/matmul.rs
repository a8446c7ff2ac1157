/// A matrix inside a slice: where it begins is where the slice begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` elements, `stride` apart.
    pub(super) fn rows(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride < self.data.len()
    }
}

/// `out = a · b`, or `out += a · b` where `accumulate`; rows of `out` are `stride` apart. Runs on this thread.
///
/// # Safety
/// `out` must point at `a.rows` rows of `b.columns` floats, `stride >= b.columns` apart, that nothing else reads or
/// writes meanwhile; they must be initialised where `accumulate`.
pub(super) unsafe fn multiply(out: *mut f32, stride: usize, accumulate: bool, a: Matrix<'_>, b: Matrix<'_>) {
    assert!(a.columns == b.rows && a.fits() && b.fits(), "matrices must lie inside their slices");
    // SAFETY: `a` and `b` lie inside their slices (asserted), `out` is the caller's promise; all strides are positive.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

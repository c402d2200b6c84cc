//! Matrices inside slices.

/// A strided matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows lie `row_stride` apart.
    pub(crate) fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self {
            data,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose, without a copy.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// What lies right of and below an entry.
    pub(crate) fn from(self, row: usize, col: usize) -> Self {
        let start = row * self.row_stride + col * self.col_stride;
        Self {
            data: self.data.get(start..).unwrap_or_default(),
            ..self
        }
    }

    pub(super) fn holds(&self, rows: usize, cols: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        last < self.data.len()
    }
}

//! Matrices inside slices.

use super::batch_norm::Channels;
use super::elementary::Elementary;

/// A strided matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
    pub(crate) map: Option<Map<'a, T>>,
}

/// What a matrix's entries go through, row by row or column by column.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a, T> {
    pub(crate) lines: Channels<'a, T>,
    /// Whether the lines are the rows.
    pub(crate) by_row: bool,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix whose rows lie `row_stride` apart.
    pub(crate) fn rows(data: &'a [T], row_stride: usize) -> Self {
        Self {
            data,
            row_stride,
            col_stride: 1,
            map: None,
        }
    }

    /// The transpose, without a copy.
    pub(crate) fn transposed(self) -> Self {
        Self {
            data: self.data,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            map: self.map.map(|map| Map {
                by_row: !map.by_row,
                ..map
            }),
        }
    }

    pub(super) fn holds(&self, rows: usize, cols: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        last < self.data.len()
    }
}

impl<'a, T: Elementary> Matrix<'a, T> {
    /// The same with a map for each row, if there is one.
    pub(crate) fn through(self, lines: Option<Channels<'a, T>>) -> Self {
        let map = lines.map(|lines| Map {
            lines,
            by_row: true,
        });
        Self { map, ..self }
    }

    /// What lies right of and below an entry.
    pub(crate) fn from(self, row: usize, col: usize) -> Self {
        let start = row * self.row_stride + col * self.col_stride;
        Self {
            data: self.data.get(start..).unwrap_or_default(),
            map: self.map.map(|map| map.from(row, col)),
            ..self
        }
    }

    /// The entries behind the map as they lie, without gaps: rows, or columns where those lie behind each other.
    pub(super) fn mapped(&self, rows: usize, cols: usize) -> Vec<T> {
        if self.row_stride == 1 && self.col_stride > 1 {
            return self.transposed().mapped(cols, rows);
        }
        let at = |i: usize, j: usize| self.data[i * self.row_stride + j * self.col_stride];
        let places = (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j)));
        let one = |(i, j): (usize, usize)| {
            let mut entry = [at(i, j)];
            if let Some(map) = self.map {
                map.from(i, j).lines.line(&mut entry);
            }
            entry[0]
        };
        places.map(one).collect()
    }
}

impl<T: Elementary> Map<'_, T> {
    /// That of what lies right of and below an entry.
    #[inline(always)]
    pub(crate) fn from(self, row: usize, col: usize) -> Self {
        Self {
            lines: self.lines.from(if self.by_row { row } else { col }),
            ..self
        }
    }
}

// Sums over the middle of (outer, reduced, inner): partial sums of pieces, then the sums of those.

// Rows of neighbouring entries: one block for each row and piece.
ROUTINE sum_rows(const T* x, double* partial, i64 reduced, i64 piece) {
    i64 row = blockIdx.x, part = blockIdx.y;
    i64 first = part * piece, last = first + piece < reduced ? first + piece : reduced;
    double sum[1] = {0};
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) sum[0] += get(x[row * reduced + i]);
    block_sum(sum);
    if (threadIdx.x == 0) partial[row * gridDim.y + part] = sum[0];
}

// Short rows: a thread each.
ROUTINE sum_short_rows(const T* x, T* out, i64 rows, i64 reduced) {
    EACH(row, rows) {
        double sum = 0;
        for (i64 i = 0; i < reduced; i++) sum += get(x[row * reduced + i]);
        out[row] = put((A)sum);
    }
}

// Columns: a thread for each column and piece; neighbouring threads read neighbouring entries.
ROUTINE sum_columns(const T* x, double* partial, i64 outer, i64 reduced, i64 inner, i64 piece, i64 pieces) {
    EACH(i, outer * pieces * inner) {
        i64 column = i % inner, part = i / inner % pieces, o = i / inner / pieces;
        i64 last = (part + 1) * piece < reduced ? (part + 1) * piece : reduced;
        double sum = 0;
        for (i64 r = part * piece; r < last; r++) sum += get(x[(o * reduced + r) * inner + column]);
        partial[(o * inner + column) * pieces + part] = sum;
    }
}

ROUTINE sum_pieces(const double* partial, T* out, i64 count, i64 pieces) {
    EACH(i, count) {
        double sum = 0;
        for (i64 p = 0; p < pieces; p++) sum += partial[i * pieces + p];
        out[i] = put((A)sum);
    }
}

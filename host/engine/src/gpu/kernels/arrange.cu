// Matrices turned around, tile by tile, so that neighbouring threads both read and write neighbouring entries.

#define TILE 32

// (count, rows, columns) gives (count, columns, rows).
ROUTINE turn(const T* x, T* out, i64 count, i64 rows, i64 cols) {
    // A column more than it holds: threads that read a column meet different banks.
    __shared__ T tile[TILE][TILE + 1];
    i64 down = (rows + TILE - 1) / TILE, across = (cols + TILE - 1) / TILE;
    int lane = threadIdx.x % TILE, first = threadIdx.x / TILE, lines = blockDim.x / TILE;
    for (i64 t = blockIdx.x; t < count * down * across; t += gridDim.x) {
        i64 matrix = t / (down * across) * rows * cols, row = t / across % down * TILE, col = t % across * TILE;
        for (int k = first; k < TILE; k += lines)
            if (row + k < rows && col + lane < cols) tile[k][lane] = x[matrix + (row + k) * cols + col + lane];
        __syncthreads();
        for (int k = first; k < TILE; k += lines)
            if (col + k < cols && row + lane < rows) out[matrix + (col + k) * rows + row + lane] = tile[lane][k];
        __syncthreads();
    }
}

// Maximum pooling.

// Where the windows of one axis start and end.
struct Windows {
    const u32* starts;
    const u32* ends;
    i64 size, count;
};

// Index within its plane of the first largest entry of each window.
ROUTINE largest(Windows rows, Windows cols, Lie lie, const T* x, u32* out, i64 planes) {
    i64 apart = step(lie);
    EACH(i, planes * rows.count * cols.count) {
        Spot to = spot(lie, i, rows.count * cols.count);
        i64 row = to.at / cols.count, col = to.at % cols.count;
        const T* from = x + start(lie, to.plane, rows.size * cols.size);
        u32 best = rows.starts[row] * (u32)cols.size + cols.starts[col];
        A top = get(from[best * apart]);
        for (u32 r = rows.starts[row]; r < rows.ends[row]; r++) {
            for (u32 c = cols.starts[col]; c < cols.ends[col]; c++) {
                u32 at = r * (u32)cols.size + c;
                A v = get(from[at * apart]);
                if (v > top) {
                    top = v;
                    best = at;
                }
            }
        }
        out[i] = best;
    }
}

// The entries of each plane at the given places.
ROUTINE pick(Lie lie, const T* x, const u32* at, T* y, i64 planes, i64 size, i64 count) {
    i64 apart = step(lie);
    EACH(i, planes * count) y[i] = x[start(lie, spot(lie, i, count).plane, size) + at[i] * apart];
}

// Zeros with each entry added at its place: the transpose of `pick`. An entry looks through the windows that hold it, so
// nothing is added in an order that changes.
ROUTINE place(Windows rows, Windows cols, Lie lie, const T* g, const u32* at, T* x, i64 planes) {
    i64 size = rows.size * cols.size, count = rows.count * cols.count, apart = step(lie);
    EACH(i, planes * size) {
        Spot to = spot(lie, i, size);
        i64 row = to.at / cols.size, col = to.at % cols.size, first = start(lie, to.plane, count);
        A sum = 0;
        for (i64 r = 0; r < rows.count; r++) {
            if (rows.ends[r] <= row) continue;
            if (rows.starts[r] > row) break;
            for (i64 c = 0; c < cols.count; c++) {
                if (cols.ends[c] <= col) continue;
                if (cols.starts[c] > col) break;
                i64 window = first + (r * cols.count + c) * apart;
                if (at[window] == to.at) sum += get(g[window]);
            }
        }
        x[i] = put(sum);
    }
}

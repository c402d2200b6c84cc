// Places of extremes.

// Index of the first largest (or smallest) entry of the middle of (outer, size, inner), a thread for each result.
ROUTINE extreme(const T* x, u32* out, i64 outer, i64 size, i64 inner, int smallest) {
    EACH(i, outer * inner) {
        const T* row = x + i / inner * size * inner + i % inner;
        A best = get(row[0]);
        u32 at = 0;
        for (i64 k = 1; k < size; k++) {
            A v = get(row[k * inner]);
            if (smallest ? v < best : v > best) {
                best = v;
                at = (u32)k;
            }
        }
        out[i] = at;
    }
}

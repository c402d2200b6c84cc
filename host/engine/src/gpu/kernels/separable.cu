// Linear maps of planes along rows and columns.

// Taps of the results along one axis, for each map one after another: those of result `i` of map `m` stand at
// `starts[m * (count + 1) + i]` up to the next.
struct Axis {
    const u32* starts;
    const u32* places;
    const double* weights;
    i64 size;  // entries of a line
    i64 count; // results
};

// Planes of `rows.size` x `cols.size` give planes of `rows.count` x `cols.count`; `per_map` planes share a map.
ROUTINE mapped(Axis rows, Axis cols, Lie lie, const T* x, T* y, i64 planes, i64 per_map, i64 maps) {
    i64 apart = step(lie);
    EACH(i, planes * rows.count * cols.count) {
        Spot to = spot(lie, i, rows.count * cols.count);
        i64 row = to.at / cols.count, col = to.at % cols.count, map = to.plane / per_map;
        map = map < maps ? map : 0;
        const u32* row_starts = rows.starts + map * (rows.count + 1) + row;
        const u32* col_starts = cols.starts + map * (cols.count + 1) + col;
        const T* from = x + start(lie, to.plane, rows.size * cols.size);
        A sum = 0;
        for (u32 c = col_starts[0]; c < col_starts[1]; c++) {
            A line = 0;
            for (u32 r = row_starts[0]; r < row_starts[1]; r++)
                line += get(from[((i64)rows.places[r] * cols.size + cols.places[c]) * apart]) * (A)rows.weights[r];
            sum += line * (A)cols.weights[c];
        }
        y[i] = put(sum);
    }
}

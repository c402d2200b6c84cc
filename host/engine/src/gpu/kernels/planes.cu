// Linear maps of planes along rows and columns, pooling, mirroring and affine sampling.

// How planes lie: one after another, or, channels-last, the planes of each image interleaved.
struct Lie {
    i64 channels, last;
};

// A plane, and which of its entries.
struct Spot {
    i64 plane, at;
};

// Entry `i` in the order in which planes of `size` entries lie.
__device__ inline Spot spot(Lie lie, i64 i, i64 size) {
    if (!lie.last) return {i / size, i % size};
    i64 image = i / (size * lie.channels), channel = i % lie.channels;
    return {image * lie.channels + channel, i / lie.channels % size};
}

// Where entry 0 of a plane of `size` entries lies; the others follow `step` apart.
__device__ inline i64 start(Lie lie, i64 plane, i64 size) {
    if (!lie.last) return plane * size;
    return plane / lie.channels * lie.channels * size + plane % lie.channels;
}
__device__ inline i64 step(Lie lie) { return lie.last ? lie.channels : 1; }

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

// Mirrors the lines of every image whose flag is set.
ROUTINE mirror(const T* x, const u8* flags, T* y, i64 count, i64 image, i64 width) {
    EACH(i, count) {
        i64 col = i % width;
        y[i] = flags[i / image] ? x[i - col + (width - 1 - col)] : x[i];
    }
}

struct Taps {
    i64 at[4];
    double weights[4];
};

// The four entries that a place of the result reads; those outside of the plane have no weight.
__device__ inline Taps taps(const double* map, i64 height, i64 width, i64 row, i64 col) {
    double x = (double)(2 * col + 1) / width - 1, y = (double)(2 * row + 1) / height - 1;
    double u = ((map[0] * x + map[1] * y + map[2] + 1) * width - 1) / 2;
    double v = ((map[3] * x + map[4] * y + map[5] + 1) * height - 1) / 2;
    // Far outside a plane all places are alike; a number that no integer holds stays out of the conversion.
    u = u < -2 ? -2 : u > width + 1 ? width + 1 : u;
    v = v < -2 ? -2 : v > height + 1 ? height + 1 : v;
    i64 left = (i64)floor(u), top = (i64)floor(v);
    double right = u - left, down = v - top;
    Taps t;
    for (int k = 0; k < 4; k++) {
        i64 i = top + k / 2, j = left + k % 2;
        bool inside = i >= 0 && i < height && j >= 0 && j < width;
        t.at[k] = inside ? i * width + j : 0;
        t.weights[k] = inside ? (k / 2 ? down : 1 - down) * (k % 2 ? right : 1 - right) : 0;
    }
    return t;
}

// Samples each plane where the map of its image leads.
ROUTINE sample(const T* x, const double* maps, T* y, i64 images, i64 channels, i64 height, i64 width, i64 map_count) {
    i64 plane = height * width;
    EACH(i, images * channels * plane) {
        i64 n = i / (channels * plane), at = i % plane;
        Taps t = taps(maps + (n < map_count ? n : 0) * 6, height, width, at / width, at % width);
        const T* from = x + (i - at);
        A sum = 0;
        for (int k = 0; k < 4; k++) sum += get(from[t.at[k]]) * (A)t.weights[k];
        y[i] = put(sum);
    }
}

// The transpose, a thread for each plane: entries are added in a fixed order. `y` is of type A and starts at 0.
ROUTINE sample_transposed(const T* x, const double* maps, A* y, i64 images, i64 channels, i64 height, i64 width,
                          i64 map_count) {
    i64 plane = height * width;
    EACH(p, images * channels) {
        i64 n = p / channels;
        for (i64 at = 0; at < plane; at++) {
            Taps t = taps(maps + (n < map_count ? n : 0) * 6, height, width, at / width, at % width);
            A v = get(x[p * plane + at]);
            for (int k = 0; k < 4; k++) y[p * plane + t.at[k]] += v * (A)t.weights[k];
        }
    }
}

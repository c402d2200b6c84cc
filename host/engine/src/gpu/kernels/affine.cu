// Bilinear sampling of planes at affinely mapped places.

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

// Views of images that lie on the device as bytes: crop, bilinear resize, flip, mix, normalise. The arithmetic is the CPU's
// (`stages/render.rs`).

// A crop: image, first row and column, rows, columns, whether it is mirrored.
struct Crop {
    i64 image, top, left, height, width, flip;
};

// How a view mixes in another crop: 0 not at all, 1 a box of it, 2 a share of it (of 65536).
struct View {
    Crop crop;
    i64 kind;
    Crop partner;
    i64 top, left, bottom, right;
    i64 weight;
};

struct Tap {
    i64 low, high;
    float share; // of the second
};

__device__ inline Tap tap(i64 i, i64 out, i64 size) {
    float at = ((float)i + 0.5f) * ((float)size / (float)out) - 0.5f;
    at = at < 0.f ? 0.f : at;
    Tap t;
    t.low = (i64)at < size - 1 ? (i64)at : size - 1;
    t.high = t.low + 1 < size - 1 ? t.low + 1 : size - 1;
    t.share = at - (float)t.low;
    return t;
}

// What lies outside of an image is black.
__device__ inline float pixel(const u8* plane, i64 side, i64 row, i64 col) {
    return row >= 0 && row < side && col >= 0 && col < side ? (float)plane[row * side + col] : 0.f;
}

__device__ inline float sample(const u8* images, const Crop& crop, i64 side, i64 channel, i64 row, i64 col) {
    const u8* plane = images + (crop.image * 3 + channel) * side * side;
    Tap y = tap(row, side, crop.height), x = tap(crop.flip ? side - 1 - col : col, side, crop.width);
    float line[2];
    for (int k = 0; k < 2; k++) {
        i64 r = crop.top + (k ? y.high : y.low);
        line[k] = pixel(plane, side, r, crop.left + x.low) * (1.f - x.share) +
                  pixel(plane, side, r, crop.left + x.high) * x.share;
    }
    return (line[0] * (1.f - y.share) + line[1] * y.share) / 255.f;
}

ROUTINE render(const u8* images, const View* views, const float* scaling, float* out, i64 count, i64 side) {
    EACH(i, count * 3 * side * side) {
        i64 col = i % side, row = i / side % side, channel = i / (side * side) % 3;
        const View& view = views[i / (3 * side * side)];
        float v = sample(images, view.crop, side, channel, row, col);
        bool boxed = row >= view.top && row < view.bottom && col >= view.left && col < view.right;
        if (view.kind == 1 && boxed) v = sample(images, view.partner, side, channel, row, col);
        if (view.kind == 2) {
            float weight = (float)view.weight / 65536.f;
            v = v * weight + sample(images, view.partner, side, channel, row, col) * (1.f - weight);
        }
        out[i] = (v - scaling[channel]) / scaling[3 + channel];
    }
}

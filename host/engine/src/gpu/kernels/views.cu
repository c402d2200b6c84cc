// Views of images that lie on the device as bytes: crop, bilinear resize, flip, colours, mix, normalise. The arithmetic is the CPU's
// (`stages/render.rs`, `stages/color_jitter.rs`).

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

// Changes of a crop's colours: their order (0 brightness, 1 contrast, 2 saturation, 3 hue), three factors of 65536, and the shift of
// the hue in 1/65536 of a turn. All zeros change nothing.
struct Colors {
    i64 order[4];
    i64 brightness, contrast, saturation, hue;
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

__device__ inline bool in_box(const View& view, i64 row, i64 col) {
    return row >= view.top && row < view.bottom && col >= view.left && col < view.right;
}

__device__ inline float shared_by(const View& view, float own, float other) {
    float weight = (float)view.weight / 65536.f;
    return own * weight + other * (1.f - weight);
}

// Views whose colours stay as they are, in one pass.
ROUTINE render(const u8* images, const View* views, const float* scaling, float* out, i64 count, i64 side) {
    EACH(i, count * 3 * side * side) {
        i64 col = i % side, row = i / side % side, channel = i / (side * side) % 3;
        const View& view = views[i / (3 * side * side)];
        float v = sample(images, view.crop, side, channel, row, col);
        if (view.kind == 1 && in_box(view, row, col)) v = sample(images, view.partner, side, channel, row, col);
        if (view.kind == 2) v = shared_by(view, v, sample(images, view.partner, side, channel, row, col));
        out[i] = (v - scaling[channel]) / scaling[3 + channel];
    }
}

__device__ inline float grey(const float (&rgb)[3]) { return rgb[0] * 0.2989f + rgb[1] * 0.587f + rgb[2] * 0.114f; }

__device__ inline float cut(float v) { return v < 0.f ? 0.f : v > 1.f ? 1.f : v; }

// `f` of a pixel and the rest of `other`.
__device__ inline void blend(float (&rgb)[3], i64 factor, float other) {
    if (factor == 65536) return;
    float f = (float)factor / 65536.f, rest = (1.f - f) * other;
    for (int c = 0; c < 3; c++) rgb[c] = cut(f * rgb[c] + rest);
}

__device__ inline void shift_hue(float (&rgb)[3], i64 shift) {
    float r = rgb[0], g = rgb[1], b = rgb[2];
    float high = fmaxf(fmaxf(r, g), b), low = fminf(fminf(r, g), b), chroma = high - low;
    float hue = 0.f, saturation = 0.f;
    if (chroma > 0.f) {
        float rc = (high - r) / chroma, gc = (high - g) / chroma, bc = (high - b) / chroma;
        float sixths = high == r ? bc - gc : high == g ? 2.f + rc - bc : 4.f + gc - rc;
        hue = fmodf(sixths / 6.f + 1.f, 1.f);
        saturation = chroma / high;
    }
    hue = fmodf(hue + (float)shift / 65536.f, 1.f);
    if (hue < 0.f) hue += 1.f;
    float sixths = hue * 6.f, f = sixths - floorf(sixths);
    float p = cut(high * (1.f - saturation)), q = cut(high * (1.f - saturation * f));
    float t = cut(high * (1.f - saturation * (1.f - f)));
    int sector = (int)sixths % 6;
    rgb[0] = sector == 0 || sector == 5 ? high : sector == 1 ? q : sector == 4 ? t : p;
    rgb[1] = sector == 1 || sector == 2 ? high : sector == 0 ? t : sector == 3 ? q : p;
    rgb[2] = sector == 3 || sector == 4 ? high : sector == 2 ? t : sector == 5 ? q : p;
}

// The changes `from..to` of the order; `mean` is the mean grey of the crop as the contrast finds it.
__device__ inline void change(float (&rgb)[3], const Colors& colors, int from, int to, float mean) {
    for (int k = from; k < to; k++) {
        if (colors.order[k] == 0) blend(rgb, colors.brightness, 0.f);
        if (colors.order[k] == 1) blend(rgb, colors.contrast, mean);
        if (colors.order[k] == 2) blend(rgb, colors.saturation, grey(rgb));
        if (colors.order[k] == 3 && colors.hue != 0) shift_hue(rgb, colors.hue);
    }
}

// Crops in their colours: along x one block for each view, along y first its own crop, then its partner's. A thread has the same
// pixels throughout, so that the threads meet for the mean alone.
ROUTINE colored_crops(const u8* images, const View* views, const Colors* colors, float* crops, i64 side) {
    const View& view = views[blockIdx.x];
    if (blockIdx.y == 1 && view.kind == 0) return;
    const Crop& crop = blockIdx.y == 1 ? view.partner : view.crop;
    const Colors& color = colors[2 * blockIdx.x + blockIdx.y];
    i64 plane = side * side;
    float* out = crops + ((i64)blockIdx.y * gridDim.x + blockIdx.x) * 3 * plane;
    int end = color.order[0] == color.order[1] ? 0 : 4, contrast = end;
    for (int k = 0; k < end; k++) {
        if (color.order[k] == 1 && color.contrast != 65536) contrast = k;
    }
    double sum[1] = {0};
    for (i64 i = threadIdx.x; i < plane; i += blockDim.x) {
        float rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = sample(images, crop, side, c, i / side, i % side);
        change(rgb, color, 0, contrast, 0.f);
        sum[0] += (double)grey(rgb);
        for (int c = 0; c < 3; c++) out[c * plane + i] = rgb[c];
    }
    if (contrast == end) return;
    block_sum(sum);
    float mean = (float)(sum[0] / (double)plane);
    for (i64 i = threadIdx.x; i < plane; i += blockDim.x) {
        float rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = out[c * plane + i];
        change(rgb, color, contrast, end, mean);
        for (int c = 0; c < 3; c++) out[c * plane + i] = rgb[c];
    }
}

// Views of those crops.
ROUTINE join(const float* crops, const View* views, const float* scaling, float* out, i64 count, i64 side) {
    i64 all = count * 3 * side * side;
    EACH(i, all) {
        i64 col = i % side, row = i / side % side, channel = i / (side * side) % 3;
        const View& view = views[i / (3 * side * side)];
        float v = crops[i];
        if (view.kind == 1 && in_box(view, row, col)) v = crops[all + i];
        if (view.kind == 2) v = shared_by(view, v, crops[all + i]);
        out[i] = (v - scaling[channel]) / scaling[3 + channel];
    }
}

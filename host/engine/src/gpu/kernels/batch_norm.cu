// Batch normalisation with limits, residual and statistics, and its first-order gradients, of images whose channels come first or
// last. Channels are cut into pieces of a size that the shape fixes, one block for each; partial sums are in f64.
// Statistics, weights and biases are of type A.

struct Planes {
    i64 batch, channels, plane;
    i64 apart; // entries from a channel to the next: a plane, or 1 where channels come last
    i64 piece; // entries of a channel that a block sums up
    i64 pieces;
};

// Entry `i` of a channel that comes first, counted over all images.
__device__ inline i64 entry(const Planes& p, i64 channel, i64 i) {
    return (i / p.plane * p.channels + channel) * p.plane + i % p.plane;
}

__device__ inline i64 channel_of(const Planes& p, i64 i) { return i / p.apart % p.channels; }

// Where channels come last a block sums up WIDTH of them: its threads are lines of neighbouring channels.
#define WIDTH 32

struct Share {
    i64 channel; // this thread's
    i64 first, last, step; // its places
};

__device__ inline Share share_of(const Planes& p) {
    Share s;
    i64 count = p.batch * p.plane, begin = blockIdx.y * p.piece;
    s.channel = (i64)blockIdx.x * WIDTH + threadIdx.x % WIDTH;
    s.first = begin + threadIdx.x / WIDTH;
    s.last = begin + p.piece < count ? begin + p.piece : count;
    s.last = s.channel < p.channels ? s.last : s.first;
    s.step = blockDim.x / WIDTH;
    return s;
}

// The sums of a piece over the lines of a block, in their order.
__device__ inline void sum_lines(const Planes& p, Share s, const double (&sums)[2], double* partial) {
    __shared__ double lines[2][1024];
    for (int k = 0; k < 2; k++) lines[k][threadIdx.x] = sums[k];
    __syncthreads();
    if (threadIdx.x >= WIDTH || s.channel >= p.channels) return;
    for (int k = 0; k < 2; k++) {
        double sum = 0;
        for (unsigned t = threadIdx.x; t < blockDim.x; t += WIDTH) sum += lines[k][t];
        partial[(s.channel * p.pieces + blockIdx.y) * 2 + k] = sum;
    }
}

// The sums of a channel's pieces, by the threads of a warp.
__device__ inline void sum_pieces(const Planes& p, const double* partial, i64 channel, double (&sums)[2]) {
    sums[0] = sums[1] = 0;
    for (i64 k = threadIdx.x % 32; k < p.pieces; k += 32) {
        sums[0] += partial[(channel * p.pieces + k) * 2];
        sums[1] += partial[(channel * p.pieces + k) * 2 + 1];
    }
    for (int k = 0; k < 2; k++) sums[k] = warp_sum(sums[k]);
}

// Every channel, a warp for each.
#define EACH_CHANNEL(c, p) for (i64 c = THREAD / 32; c < (p).channels; c += THREADS / 32)

// Sums of x - k and of its square for each piece, where k is the channel's first entry: no digits are lost to a large mean.
ROUTINE statistics(Planes p, const T* x, double* partial) {
    i64 channel = blockIdx.x, first = blockIdx.y * p.piece, count = p.batch * p.plane;
    i64 last = first + p.piece < count ? first + p.piece : count;
    A shift = get(x[channel * p.apart]);
    double sums[2] = {0, 0};
    for (i64 i = first + threadIdx.x; i < last; i += blockDim.x) {
        A v = get(x[entry(p, channel, i)]) - shift;
        sums[0] += v;
        sums[1] += (double)v * v;
    }
    block_sum(sums);
    if (threadIdx.x == 0) {
        double* to = partial + (channel * p.pieces + blockIdx.y) * 2;
        to[0] = sums[0];
        to[1] = sums[1];
    }
}

ROUTINE statistics_last(Planes p, const T* x, double* partial) {
    Share s = share_of(p);
    A shift = s.first < s.last ? get(x[s.channel]) : (A)0;
    double sums[2] = {0, 0};
    for (i64 i = s.first; i < s.last; i += s.step) {
        A v = get(x[i * p.channels + s.channel]) - shift;
        sums[0] += v;
        sums[1] += (double)v * v;
    }
    sum_lines(p, s, sums, partial);
}

// Mean and population variance of each channel.
ROUTINE moments(Planes p, const T* x, const double* partial, A* mean, A* var) {
    EACH_CHANNEL(channel, p) {
        double sums[2], count = (double)p.batch * p.plane;
        sum_pieces(p, partial, channel, sums);
        double off = sums[0] / count, spread = sums[1] / count - off * off;
        if (threadIdx.x % 32 > 0) continue;
        mean[channel] = (A)(get(x[channel * p.apart]) + off);
        var[channel] = (A)(spread < 0 ? 0 : spread);
    }
}

struct Line {
    A scale, shift;
};

// Forward and backward share it, so that a recomputed mask has the very bits of the forward pass.
__device__ inline Line normaliser(A mean, A var, double eps, A weight, A bias) {
    double scale = weight / sqrt((double)var + eps);
    Line line;
    line.scale = (A)scale;
    line.shift = (A)(bias - mean * scale);
    return line;
}

__device__ inline A at(Line line, A x) { return FN(fma)(x, line.scale, line.shift); }

// The lines of all channels, once.
ROUTINE lines(Planes p, const A* mean, const A* var, const A* weight, const A* bias, A* to, double eps) {
    EACH(c, p.channels) {
        Line line = normaliser(mean[c], var[c], eps, weight[c], bias[c]);
        to[2 * c] = line.scale;
        to[2 * c + 1] = line.shift;
    }
}

__device__ inline Line line_of(const A* from, i64 c) {
    Line line;
    line.scale = from[2 * c];
    line.shift = from[2 * c + 1];
    return line;
}

// What results are limited to, as they are stored.
struct Limits {
    A min, max;
};

__device__ inline Limits limits_of(double min, double max) {
    Limits l;
    l.min = get(put((A)min));
    l.max = get(put((A)max));
    return l;
}

// NaN passes.
__device__ inline A limited(Limits l, A v) { return v < l.min ? l.min : v > l.max ? l.max : v; }

__device__ inline bool lets_through(Limits l, A y) { return y > l.min && y < l.max; }

ROUTINE forward(Planes p, const T* x, const A* from, const T* residual, T* y, u8* mask, double min, double max) {
    Limits limits = limits_of(min, max);
    EACH(i, p.batch * p.channels * p.plane) {
        A v = at(line_of(from, channel_of(p, i)), get(x[i]));
        if (residual) v += get(residual[i]);
        T out = put(limited(limits, v));
        y[i] = out;
        if (mask) mask[i] = lets_through(limits, get(out));
    }
}

// How it is known where the limits let a derivative through.
#define OPEN 0    // there are none
#define BY_X 1    // recomputed from x
#define BY_MASK 2 // bytes
#define BY_Y 3    // the result

__device__ inline A passed(int gate, Limits limits, A g, i64 i, const T* x, const u8* mask, const T* y, Line line) {
    bool through = true;
    if (gate == BY_X) through = lets_through(limits, get(put(at(line, get(x[i])))));
    if (gate == BY_MASK) through = mask[i] != 0;
    if (gate == BY_Y) through = lets_through(limits, get(y[i]));
    return through ? g : (A)0;
}

// Sums of what passed the limits, and of that times x - centre, for each piece.
ROUTINE gradient_sums(Planes p, const T* g, const T* x, const u8* mask, const T* y, const A* from, const A* centre,
                      double* partial, int gate, double min, double max) {
    Limits limits = limits_of(min, max);
    i64 channel = blockIdx.x, first = blockIdx.y * p.piece, count = p.batch * p.plane;
    i64 last = first + p.piece < count ? first + p.piece : count;
    Line line = line_of(from, channel);
    A middle = centre[channel];
    double sums[2] = {0, 0};
    for (i64 k = first + threadIdx.x; k < last; k += blockDim.x) {
        i64 i = entry(p, channel, k);
        A v = passed(gate, limits, get(g[i]), i, x, mask, y, line);
        sums[0] += v;
        if (x) sums[1] += (double)v * (get(x[i]) - middle);
    }
    block_sum(sums);
    if (threadIdx.x == 0) {
        double* to = partial + (channel * p.pieces + blockIdx.y) * 2;
        to[0] = sums[0];
        to[1] = sums[1];
    }
}

ROUTINE gradient_sums_last(Planes p, const T* g, const T* x, const u8* mask, const T* y, const A* from, const A* centre,
                           double* partial, int gate, double min, double max) {
    Limits limits = limits_of(min, max);
    Share s = share_of(p);
    double sums[2] = {0, 0};
    if (s.first < s.last) {
        Line line = line_of(from, s.channel);
        A middle = centre[s.channel];
        for (i64 k = s.first; k < s.last; k += s.step) {
            i64 i = k * p.channels + s.channel;
            A v = passed(gate, limits, get(g[i]), i, x, mask, y, line);
            sums[0] += v;
            if (x) sums[1] += (double)v * (get(x[i]) - middle);
        }
    }
    sum_lines(p, s, sums, partial);
}

// The gradients of weight and bias, and the line `dx = scale g + (slope (x - origin) + level)` of each channel.
// `partial`, `g_mean` and `g_var` may be absent; `mean` is the batch's.
ROUTINE gradient_lines(Planes p, const double* partial, const A* centre, const A* spread, const A* weight, const A* mean,
                       const A* g_mean, const A* g_var, A* d_weight, A* d_bias, A* to, double eps, int frozen) {
    EACH_CHANNEL(c, p) {
        double sums[2] = {0, 0}, count = (double)p.batch * p.plane;
        if (partial) sum_pieces(p, partial, c, sums);
        if (threadIdx.x % 32 > 0) continue;
        double sum_g = sums[0], sum_gx = sums[1];
        double rstd = 1 / sqrt((double)spread[c] + eps), scale = weight[c] * rstd;
        double slope = g_var ? 2 * (double)g_var[c] / count : 0;
        double level = g_mean ? (double)g_mean[c] / count : 0;
        double origin = mean ? (double)mean[c] : 0;
        if (!frozen) {
            slope -= scale * rstd * rstd * sum_gx / count;
            level -= scale * sum_g / count;
            origin = centre[c];
        }
        d_weight[c] = (A)(sum_gx * rstd);
        d_bias[c] = (A)sum_g;
        to[4 * c] = (A)scale;
        to[4 * c + 1] = (A)slope;
        to[4 * c + 2] = (A)level;
        to[4 * c + 3] = (A)origin;
    }
}

// The gradients of x and of the residual; each may be absent, and so may g, and x where the slope is 0.
ROUTINE backward(Planes p, const T* g, const T* x, const u8* mask, const T* y, const A* from, const A* grads, T* dx,
                 T* d_residual, int gate, int reads_x, double min, double max) {
    Limits limits = limits_of(min, max);
    EACH(i, p.batch * p.channels * p.plane) {
        i64 c = channel_of(p, i);
        A v = g ? passed(gate, limits, get(g[i]), i, x, mask, y, line_of(from, c)) : (A)0;
        if (d_residual) d_residual[i] = put(v);
        if (dx) {
            const A* k = grads + 4 * c;
            A rest = reads_x ? k[1] * (get(x[i]) - k[3]) + k[2] : k[2];
            dx[i] = put(k[0] * v + rest);
        }
    }
}

// Group, instance and layer normalisation: statistics of each image's groups of channels, one block for each (a row).
// The formulas of the derivative of the backward are those of the CPU's kernel. Sums are in f64.
// Weights and biases are of type A, and so are the statistics.

struct Groups {
    i64 batch, groups, per_group, plane;
};

__device__ inline i64 row_size(const Groups& s) { return s.per_group * s.plane; }

// What one channel of a row is normalised with.
struct Affine {
    A mean, scale, bias;
};

__device__ inline Affine affine(A mean, double rstd, A weight, A bias) {
    Affine a;
    a.mean = mean;
    a.scale = (A)(weight * rstd);
    a.bias = bias;
    return a;
}

__device__ inline A apply(Affine a, A x) { return FN(fma)(x - a.mean, a.scale, a.bias); }

__device__ inline A gate(Affine a, int relu, A g, A x) {
    return !relu || get(put(apply(a, x))) > (A)0 ? g : (A)0;
}

__device__ inline double rstd_of(A var, double eps) { return 1 / sqrt((double)var + eps); }

ROUTINE forward(Groups s, const T* data, const A* weight, const A* bias, T* out, A* means, A* vars, double eps, int relu) {
    i64 at = blockIdx.x, row = row_size(s), first = at % s.groups * s.per_group;
    const T* x = data + at * row;
    T* y = out + at * row;
    double sum[1] = {0};
    for (i64 i = threadIdx.x; i < row; i += blockDim.x) sum[0] += get(x[i]);
    block_sum(sum);
    double mean = sum[0] / row;
    sum[0] = 0;
    for (i64 i = threadIdx.x; i < row; i += blockDim.x) {
        double v = get(x[i]) - mean;
        sum[0] += v * v;
    }
    block_sum(sum);
    A var = (A)(sum[0] / row);
    double rstd = rstd_of(var, eps);
    for (i64 i = threadIdx.x; i < row; i += blockDim.x) {
        i64 c = first + i / s.plane;
        A v = apply(affine((A)mean, rstd, weight[c], bias[c]), get(x[i]));
        y[i] = put(relu ? rectified(v) : v);
    }
    if (threadIdx.x == 0) {
        means[at] = (A)mean;
        vars[at] = var;
    }
}

// The gradient of x (which may be absent); where a plane has several entries, also the sums that the gradients of weight and
// bias are made of, for each image and channel.
ROUTINE backward(Groups s, const T* data, const T* gs, const A* weight, const A* bias, const A* means, const A* vars, T* dx,
                 double* sums, double eps, int relu) {
    i64 at = blockIdx.x, row = row_size(s), first = at % s.groups * s.per_group;
    const T *x = data + at * row, *g = gs + at * row;
    A mean = means[at];
    double rstd = rstd_of(vars[at], eps), level = 0, slope = 0;
    if (s.plane > 1) {
        for (i64 c = 0; c < s.per_group; c++) {
            Affine a = affine(mean, rstd, weight[first + c], bias[first + c]);
            double v[2] = {0, 0};
            for (i64 i = c * s.plane + threadIdx.x; i < (c + 1) * s.plane; i += blockDim.x) {
                double p = gate(a, relu, get(g[i]), get(x[i]));
                v[0] += p * ((double)get(x[i]) - mean);
                v[1] += p;
            }
            block_sum(v);
            if (threadIdx.x == 0) {
                double* to = sums + (at * s.per_group + c) * 2;
                to[0] = v[0] * rstd;
                to[1] = v[1];
            }
            slope += v[0] * weight[first + c];
            level += v[1] * weight[first + c];
        }
    } else if (dx) {
        double v[2] = {0, 0};
        for (i64 i = threadIdx.x; i < row; i += blockDim.x) {
            A w = weight[first + i];
            double p = (double)gate(affine(mean, rstd, w, bias[first + i]), relu, get(g[i]), get(x[i])) * w;
            v[0] += p * ((double)get(x[i]) - mean);
            v[1] += p;
        }
        block_sum(v);
        slope = v[0];
        level = v[1];
    }
    if (!dx) return;
    A by_x = (A)(-slope * rstd * rstd * rstd / row), constant = (A)(-level * rstd / row);
    T* out = dx + at * row;
    for (i64 i = threadIdx.x; i < row; i += blockDim.x) {
        i64 c = first + i / s.plane;
        Affine a = affine(mean, rstd, weight[c], bias[c]);
        A p = gate(a, relu, get(g[i]), get(x[i]));
        out[i] = put(a.scale * p + (by_x * (get(x[i]) - mean) + constant));
    }
}

// Where a plane is a single entry: a thread for each channel and piece of the rows that have it.
ROUTINE backward_columns(Groups s, const T* data, const T* gs, const A* weight, const A* bias, const A* means, const A* vars,
                         double* sums, double eps, int relu, i64 piece, i64 pieces) {
    i64 channels = s.groups * s.per_group;
    EACH(k, pieces * channels) {
        i64 c = k % channels, part = k / channels;
        i64 last = (part + 1) * piece < s.batch ? (part + 1) * piece : s.batch;
        double d_weight = 0, d_bias = 0;
        for (i64 n = part * piece; n < last; n++) {
            i64 row = n * s.groups + c / s.per_group, i = n * channels + c;
            double rstd = rstd_of(vars[row], eps);
            double p = gate(affine(means[row], rstd, weight[c], bias[c]), relu, get(gs[i]), get(data[i]));
            d_weight += p * ((double)get(data[i]) - means[row]) * rstd;
            d_bias += p;
        }
        sums[k * 2] = d_weight;
        sums[k * 2 + 1] = d_bias;
    }
}

// The sums over the batch (or its pieces) of value `which` of `stride` that each channel has.
ROUTINE per_channel(const double* sums, A* out, i64 batch, i64 channels, i64 stride, i64 which) {
    EACH(c, channels) {
        double sum = 0;
        for (i64 n = 0; n < batch; n++) sum += sums[(n * channels + c) * stride + which];
        out[c] = (A)sum;
    }
}

// The derivative of the backward: gradients by g and x, and the weight's share of each image and channel.
// G, H and B are the gradients of its gradients of x, weight and bias.
ROUTINE backward_twice(Groups s, const T* data, const T* gs, const T* big_gs, const A* weight, const A* bias,
                       const A* by_weight, const A* by_bias, const A* means, const A* vars, T* dg, T* dx, double* sums,
                       double eps, int relu) {
    i64 at = blockIdx.x, row = row_size(s), first = at % s.groups * s.per_group;
    const T *x = data + at * row, *g = gs + at * row, *big_g = big_gs + at * row;
    A mean = means[at];
    double r = rstd_of(vars[at], eps), n = (double)row;
    double total_big[2] = {0, 0}, total_u[2] = {0, 0}, total_h[2] = {0, 0}, product = 0;
    double* shares = sums + at * s.per_group * 5;
    for (i64 c = 0; c < s.per_group; c++) {
        Affine a = affine(mean, r, weight[first + c], bias[first + c]);
        double v[5] = {0, 0, 0, 0, 0};
        for (i64 i = c * s.plane + threadIdx.x; i < (c + 1) * s.plane; i += blockDim.x) {
            double p = gate(a, relu, get(g[i]), get(x[i])), b = get(big_g[i]), centred = (double)get(x[i]) - mean;
            v[0] += p;
            v[1] += p * centred;
            v[2] += b;
            v[3] += b * centred;
            v[4] += b * p;
        }
        block_sum(v);
        if (threadIdx.x == 0)
            for (int k = 0; k < 5; k++) shares[c * 5 + k] = v[k];
        double w = weight[first + c], h = by_weight[first + c];
        total_big[0] += v[2];
        total_big[1] += v[3];
        total_u[0] += w * v[0];
        total_u[1] += w * v[1];
        product += w * v[4];
        total_h[0] += h * v[0];
        total_h[1] += h * v[1];
    }
    __syncthreads();
    double mean_g = total_big[0] / n, q = r * total_big[1] / n, mean_u = total_u[0] / n, u = r * total_u[1] / n;
    double share = product - n * (mean_g * mean_u + q * u);
    double mean_h = total_h[0] / n - r * (mean_g * u + mean_u * q), slope_h = r * total_h[1] / n - 2 * r * q * u;
    double by_big = -r * r * u, by_centred = -r * r * slope_h - share * r * r * r / n, level = -r * mean_h;
    for (i64 i = threadIdx.x; i < row; i += blockDim.x) {
        i64 c = first + i / s.plane;
        double w = weight[c], h = by_weight[c];
        Affine a = affine(mean, r, weight[c], bias[c]);
        A v = get(x[i]), centred = v - mean, p = gate(a, relu, get(g[i]), v), b = get(big_g[i]);
        A slope = (A)(w * r) * b + (A)(r * h - w * r * r * q) * centred + (A)(by_bias[c] - w * r * mean_g);
        dg[at * row + i] = put(gate(a, relu, slope, v));
        dx[at * row + i] = put((A)by_big * b + (A)(r * (h - r * q * w)) * p + (A)by_centred * centred + (A)level);
    }
    for (i64 c = threadIdx.x; c < s.per_group; c += blockDim.x) {
        double* v = shares + c * 5;
        v[0] = r * (v[4] - mean_g * v[0] - q * r * v[1]);
    }
}

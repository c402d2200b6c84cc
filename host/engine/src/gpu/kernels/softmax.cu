// Softmax, its logarithm and log-sum-exp of rows, and the gradients of the first two: one block for each row.

// A maximum is limited to this before it is subtracted: an infinite one would give inf - inf.
#define FINITE ((A)3.0e38)

__device__ inline A peak(const T* x, i64 size) {
    A best = -FINITE;
    for (i64 i = threadIdx.x; i < size; i += blockDim.x) {
        A v = get(x[i]);
        best = v > best ? v : best;
    }
    best = block_max(best);
    return best > FINITE ? FINITE : best;
}

__device__ inline double exp_sum(const T* x, i64 size, A top) {
    double sum[1] = {0};
    for (i64 i = threadIdx.x; i < size; i += blockDim.x) sum[0] += FN(exp)(get(x[i]) - top);
    block_sum(sum);
    return sum[0];
}

ROUTINE softmax(const T* data, T* out, i64 size) {
    const T* x = data + blockIdx.x * size;
    T* y = out + blockIdx.x * size;
    A top = peak(x, size), total = (A)exp_sum(x, size, top);
    for (i64 i = threadIdx.x; i < size; i += blockDim.x) y[i] = put(FN(exp)(get(x[i]) - top) / total);
}

ROUTINE log_softmax(const T* data, T* out, i64 size) {
    const T* x = data + blockIdx.x * size;
    T* y = out + blockIdx.x * size;
    A top = peak(x, size), log_sum = (A)log(exp_sum(x, size, top));
    for (i64 i = threadIdx.x; i < size; i += blockDim.x) y[i] = put(get(x[i]) - top - log_sum);
}

ROUTINE logsumexp(const T* data, T* out, i64 size) {
    const T* x = data + blockIdx.x * size;
    A top = peak(x, size), log_sum = (A)log(exp_sum(x, size, top));
    if (threadIdx.x == 0) out[blockIdx.x] = put(top + log_sum);
}

// y (g - sum(g y))
ROUTINE softmax_grad(const T* ys, const T* gs, T* out, i64 size) {
    i64 start = blockIdx.x * size;
    double sum[1] = {0};
    for (i64 i = start + threadIdx.x; i < start + size; i += blockDim.x) sum[0] += (double)get(ys[i]) * get(gs[i]);
    block_sum(sum);
    A mean = (A)sum[0];
    for (i64 i = start + threadIdx.x; i < start + size; i += blockDim.x) out[i] = put(get(ys[i]) * (get(gs[i]) - mean));
}

// g - e^y sum(g)
ROUTINE log_softmax_grad(const T* ys, const T* gs, T* out, i64 size) {
    i64 start = blockIdx.x * size;
    double sum[1] = {0};
    for (i64 i = start + threadIdx.x; i < start + size; i += blockDim.x) sum[0] += get(gs[i]);
    block_sum(sum);
    A total = (A)sum[0];
    for (i64 i = start + threadIdx.x; i < start + size; i += blockDim.x)
        out[i] = put(get(gs[i]) - FN(exp)(get(ys[i])) * total);
}

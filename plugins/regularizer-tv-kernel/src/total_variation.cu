// Total variation of images and its gradient. Each thread sums up pixels, each block its threads, and one thread the blocks, always
// in the same order. Scratch memory: 8 sums for each block (|d| and d^2 in each of four directions), then 8 factors.

#define BLOCK 256

// The neighbour that a pixel has in direction k, subtracted from it: right, below, above right, below right.
__device__ inline int rows_down(int k) { return k == 0 ? 0 : k == 2 ? -1 : 1; }
__device__ inline int columns_right(int k) { return k == 1 ? 0 : 1; }

__device__ inline bool inside(long long row, long long column, long long height, long long width) {
    return row >= 0 && row < height && column >= 0 && column < width;
}

__device__ inline double count(int k, long long planes, long long height, long long width) {
    return (double)planes * (k == 0 ? height : height - 1) * (k == 1 ? width : width - 1);
}

__device__ inline void add_up(const real* x, double* scratch, long long planes, long long height, long long width) {
    __shared__ double shared[8 * BLOCK];
    double sums[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    long long pixels = planes * height * width, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += step) {
        long long row = i / width % height, column = i % width;
        for (int k = 0; k < 4; k++) {
            int down = rows_down(k), right = columns_right(k);
            if (!inside(row + down, column + right, height, width)) continue;
            double d = (double)x[i] - (double)x[i + down * width + right];
            sums[k] += d < 0 ? -d : d;
            sums[4 + k] += d * d;
        }
    }
    for (int k = 0; k < 8; k++) shared[k * BLOCK + threadIdx.x] = sums[k];
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            for (int k = 0; k < 8; k++) shared[k * BLOCK + threadIdx.x] += shared[k * BLOCK + threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        for (int k = 0; k < 8; k++) scratch[blockIdx.x * 8 + k] = shared[k * BLOCK];
}

__device__ inline double total(const double* scratch, long long blocks, int k) {
    double sum = 0;
    for (long long b = 0; b < blocks; b++) sum += scratch[b * 8 + k];
    return sum;
}

extern "C" __global__ void forward_sums(const real* x, real* y, double* scratch, long long planes, long long height,
                                        long long width) {
    add_up(x, scratch, planes, height, width);
}

extern "C" __global__ void forward(const real* x, real* y, double* scratch, long long planes, long long height, long long width,
                                   long long blocks, double l1, double l2) {
    if (threadIdx.x > 0) return;
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        if (l1 > 0) sum += l1 * total(scratch, blocks, k) / count(k, planes, height, width);
        if (l2 > 0) sum += l2 * sqrt(total(scratch, blocks, 4 + k));
    }
    y[0] = (real)sum;
}

extern "C" __global__ void backward_sums(const real* x, const real* g, real* dx, double* scratch, long long planes,
                                         long long height, long long width) {
    add_up(x, scratch, planes, height, width);
}

// The factors of sign(d) and of d in each direction.
extern "C" __global__ void factors(const real* x, const real* g, real* dx, double* scratch, long long planes, long long height,
                                   long long width, long long blocks, double l1, double l2) {
    if (threadIdx.x > 0) return;
    double* to = scratch + blocks * 8;
    for (int k = 0; k < 4; k++) {
        double norm = sqrt(total(scratch, blocks, 4 + k));
        to[k] = l1 * g[0] / count(k, planes, height, width);
        to[4 + k] = norm > 0 ? l2 * g[0] / norm : 0;
    }
}

extern "C" __global__ void backward(const real* x, const real* g, real* dx, const double* scratch, long long planes,
                                    long long height, long long width, long long blocks) {
    const double* by = scratch + blocks * 8;
    long long pixels = planes * height * width, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += step) {
        long long row = i / width % height, column = i % width;
        double sum = 0;
        for (int k = 0; k < 4; k++) {
            int down = rows_down(k), right = columns_right(k);
            // Once as the pixel that the neighbour is subtracted from, once as the neighbour.
            for (int side = 1; side >= -1; side -= 2) {
                if (!inside(row + side * down, column + side * right, height, width)) continue;
                double d = (double)x[i] - (double)x[i + side * (down * width + right)];
                sum += by[k] * ((d > 0) - (d < 0)) + by[4 + k] * d;
            }
        }
        dx[i] = (real)sum;
    }
}

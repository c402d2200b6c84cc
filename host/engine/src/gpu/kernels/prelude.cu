// What every kernel stands on. Before it stands one of the lines `#define F32`, `#define F64` and `#define BF16`:
// T is the type in memory, A the type that is computed in.
typedef unsigned char u8;
typedef unsigned int u32;
typedef long long i64;

#if defined(F64)
typedef double T;
typedef double A;
#define FN(name) name
__device__ inline A get(T v) { return v; }
__device__ inline T put(A v) { return v; }
#elif defined(F32)
typedef float T;
typedef float A;
#define FN(name) name##f
__device__ inline A get(T v) { return v; }
__device__ inline T put(A v) { return v; }
#else
struct bf16 {
    unsigned short bits;
};
typedef bf16 T;
typedef float A;
#define FN(name) name##f
union Bits {
    float number;
    u32 bits;
};
__device__ inline A get(T v) {
    Bits b;
    b.bits = (u32)v.bits << 16;
    return b.number;
}
// To the nearest, ties to even; NaN stays NaN.
__device__ inline T put(A v) {
    Bits b;
    b.number = v;
    T out;
    bool nan = v != v;
    out.bits = nan ? 0x7fc0 : (unsigned short)((b.bits + 0x7fff + ((b.bits >> 16) & 1)) >> 16);
    return out;
}
#endif

#define ROUTINE extern "C" __global__ void
// Number of this thread among all of the launch, and how many there are.
#define THREAD ((i64)blockIdx.x * blockDim.x + threadIdx.x)
#define THREADS ((i64)gridDim.x * blockDim.x)

// Every entry `i` of `n`, shared among all threads.
#define EACH(i, n) for (i64 i = THREAD; i < (n); i += THREADS)

// NaN passes, as through PyTorch's.
__device__ inline A rectified(A v) { return v < (A)0 ? (A)0 : v; }

__device__ inline double warp_sum(double v) {
    for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}

// The sums of N values over the threads of a block of at most 1024, in a fixed order; all threads get them.
template <int N> __device__ inline void block_sum(double (&v)[N]) {
    __shared__ double shared[8 * 32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
    for (int k = 0; k < N; k++) {
        double sum = warp_sum(v[k]);
        if (lane == 0) shared[k * 32 + warp] = sum;
    }
    __syncthreads();
    for (int k = 0; k < N; k++) {
        double sum = 0;
        for (int w = 0; w < warps; w++) sum += shared[k * 32 + w];
        v[k] = sum;
    }
    __syncthreads();
}

// The largest of a value over the threads of a block.
__device__ inline A block_max(A v) {
    __shared__ double shared_max[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = (blockDim.x + 31) >> 5;
    double best = v;
    for (int offset = 16; offset > 0; offset >>= 1) {
        double other = __shfl_xor_sync(0xffffffffu, best, offset);
        best = other > best ? other : best;
    }
    if (lane == 0) shared_max[warp] = best;
    __syncthreads();
    for (int w = 0; w < warps; w++) best = shared_max[w] > best ? shared_max[w] : best;
    __syncthreads();
    return (A)best;
}

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

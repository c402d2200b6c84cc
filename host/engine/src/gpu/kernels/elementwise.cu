// Functions of one, two or three strided operands, entry by entry.

#define RANK 8
// Sizes of the result, and for each operand the distance between neighbours along each dimension.
struct Walk {
    i64 count;
    i64 rank;
    i64 sizes[RANK];
    i64 steps[3][RANK];
};

// Where the operands stand at entry `i` of the result.
__device__ inline void places(const Walk& walk, i64 i, i64* at, int operands) {
    for (int k = 0; k < operands; k++) at[k] = 0;
    for (int d = (int)walk.rank - 1; d > 0; d--) {
        i64 place = i % walk.sizes[d];
        i /= walk.sizes[d];
        for (int k = 0; k < operands; k++) at[k] += place * walk.steps[k][d];
    }
    for (int k = 0; k < operands; k++) at[k] += i * walk.steps[k][0];
}

ROUTINE binary(Walk walk, const T* a, const T* b, T* out, int kind) {
    EACH(i, walk.count) {
        i64 at[2];
        places(walk, i, at, 2);
        A x = get(a[at[0]]), y = get(b[at[1]]), v;
        switch (kind) {
        case 0: v = x + y; break;
        case 1: v = x - y; break;
        case 2: v = x * y; break;
        case 3: v = x / y; break;
        default: v = y > (A)0 ? x : (A)0; // gate
        }
        out[i] = put(v);
    }
}

// The first where the mask is not 0, the second elsewhere.
ROUTINE select_by(Walk walk, const u8* mask, const T* a, const T* b, T* out) {
    EACH(i, walk.count) {
        i64 at[3];
        places(walk, i, at, 3);
        out[i] = mask[at[0]] ? a[at[1]] : b[at[2]];
    }
}

ROUTINE copy(Walk walk, const T* x, T* out) {
    EACH(i, walk.count) {
        i64 at[1];
        places(walk, i, at, 1);
        out[i] = x[at[0]];
    }
}

// The standard normal distribution and its density.
__device__ inline A below(A x) { return (FN(erf)(x * (A)0.70710678118654752440) + (A)1) * (A)0.5; }
__device__ inline A bell(A x) { return FN(exp)(-(x * x * (A)0.5)) * (A)0.39894228040143267794; }

ROUTINE unary(Walk walk, const T* x, T* out, int kind, double p, double q) {
    A first = (A)p, second = (A)q;
    EACH(i, walk.count) {
        i64 at[1];
        places(walk, i, at, 1);
        A v = get(x[at[0]]), y;
        switch (kind) {
        case 0: y = -v; break;
        case 1: y = FN(exp)(v); break;
        case 2: y = FN(log)(v); break;
        case 3: y = FN(sqrt)(v); break;
        case 4: y = (A)1 / v; break;
        case 5: y = v == (A)0 ? (A)0 : (A)1 / v; break;
        case 6: y = v * v; break;
        case 7: y = v > (A)0 ? v : (A)0 - v; break;
        case 8: y = rectified(v); break;
        case 9: y = FN(tanh)(v); break;
        case 10: y = (A)1 / ((A)1 + FN(exp)(-v)); break;
        case 11: y = FN(erf)(v); break;
        case 12: y = below(v) * v; break;
        case 13: y = below(v) + v * bell(v); break;
        case 14: y = FN(sin)(v); break;
        case 15: y = FN(cos)(v); break;
        case 16: y = v * first + second; break;
        case 17: y = FN(pow)(v, first); break;
        default: // clamp
            y = v < first ? first : v;
            y = y > second ? second : y;
        }
        out[i] = put(y);
    }
}

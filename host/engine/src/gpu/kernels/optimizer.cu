// Steps of the optimizers, one pass over parameter, gradient and moments. Moments that are absent are zeros.

ROUTINE sgd(const T* p, const T* g, const T* m, T* new_p, T* new_m, i64 n, double lr, double decay, double momentum,
            int nesterov) {
    A rate = (A)lr, shrink = (A)decay, keep = (A)momentum;
    EACH(i, n) {
        A w = get(p[i]), v = get(g[i]) + shrink * w, step = v;
        if (new_m) {
            A moment = m ? keep * get(m[i]) + v : v;
            new_m[i] = put(moment);
            step = nesterov ? v + keep * moment : moment;
        }
        new_p[i] = put(w - rate * step);
    }
}

struct Adam {
    double step_size, root, shrink, coupled, keep1, take1, keep2, take2, eps;
};

ROUTINE adam(const T* p, const T* g, const T* m, const T* v, T* new_p, T* new_m, T* new_v, i64 n, Adam k) {
    EACH(i, n) {
        A w = get(p[i]), d = get(g[i]) + (A)k.coupled * w;
        A first = (A)k.keep1 * (m ? get(m[i]) : (A)0) + (A)k.take1 * d;
        A second = (A)k.keep2 * (v ? get(v[i]) : (A)0) + (A)k.take2 * (d * d);
        A step = (A)k.step_size * (first / (FN(sqrt)(second) / (A)k.root + (A)k.eps));
        new_p[i] = put(w * (A)k.shrink - step);
        new_m[i] = put(first);
        new_v[i] = put(second);
    }
}

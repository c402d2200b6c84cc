//! The tensor operations of the host, by number. An open set: adding one never changes a layout, and an older host answers
//! that it has no such operation.

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        $($(#[$doc])* pub const $name: u32 = $code;)*

        /// The operation's name in messages.
        pub fn name(op: u32) -> &'static str {
            match op { $($code => stringify!($name),)* _ => "an operation of a newer version" }
        }

        /// Every operation of this version.
        pub const ALL: &[u32] = &[$($code),*];
    };
}

ops! {
    /// `a + b`, broadcast.
    ADD = 1,
    /// `a - b`, broadcast.
    SUB = 2,
    /// `a * b`, broadcast.
    MUL = 3,
    /// `a / b`, broadcast.
    DIV = 4,
    /// Elementwise maximum, broadcast; a tie gives half its gradient to each.
    MAXIMUM = 5,
    /// Elementwise minimum, broadcast; a tie gives half its gradient to each.
    MINIMUM = 6,
    /// `a == b` as u8, broadcast. Not differentiable, like the five that follow.
    EQ = 10,
    /// `a != b` as u8.
    NE = 11,
    /// `a < b` as u8.
    LT = 12,
    /// `a <= b` as u8.
    LE = 13,
    /// `a > b` as u8.
    GT = 14,
    /// `a >= b` as u8.
    GE = 15,
    /// `mask ? a : b`; inputs mask (u8), a, b, broadcast.
    WHERE_COND = 16,
    /// `-a`.
    NEG = 20,
    /// `exp(a)`.
    EXP = 21,
    /// Natural logarithm.
    LOG = 22,
    /// Square root; its gradient at 0 is 0.
    SQRT = 23,
    /// `a * a`.
    SQR = 24,
    /// Absolute value; its gradient at 0 is 0.
    ABS = 25,
    /// `max(a, 0)`; its gradient at 0 is 0.
    RELU = 26,
    /// Hyperbolic tangent.
    TANH = 27,
    /// `1 / (1 + exp(-a))`.
    SIGMOID = 28,
    /// Gaussian error linear unit, exact (erf) form.
    GELU = 29,
    /// Error function.
    ERF = 30,
    /// Sine.
    SIN = 31,
    /// Cosine.
    COS = 32,
    /// `1 / a`.
    RECIP = 33,
    /// Sign: -1, 0 or 1. Its gradient is 0, like that of the three that follow.
    SIGN = 34,
    /// Round down.
    FLOOR = 35,
    /// Round up.
    CEIL = 36,
    /// Round to nearest, ties away from zero.
    ROUND = 37,
    /// `mul * a + add`; floats [mul, add].
    AFFINE = 38,
    /// `a ^ e`; floats [e].
    POWF = 39,
    /// Clamp; floats [min, max]. The gradient passes where min <= a <= max.
    CLAMP = 40,
    /// Another element type; ints [dtype].
    TO_DTYPE = 41,
    /// The same values without history.
    DETACH = 42,
    /// Constant of the input's shape; floats [value].
    FULL_LIKE = 43,
    /// A leaf: the same values, tracked, without history.
    LEAF = 44,
    /// 1 (u8 scalar) when gradients flow to the tensor.
    IS_TRACKED = 45,
    /// Sum; ints [keepdim, dims...], no dims: all.
    SUM = 50,
    /// Mean; ints as SUM.
    MEAN = 51,
    /// Variance; ints [keepdim, unbiased, dims...].
    VAR = 52,
    /// Euclidean norm; ints as SUM. Its gradient is 0 where the norm is 0.
    NORM = 53,
    /// Maximum of one dim; ints [keepdim, dim]; a tie gives its gradient to the first.
    MAX = 54,
    /// Minimum of one dim; ints [keepdim, dim].
    MIN = 55,
    /// Index of the maximum (u32), first of a tie; ints [keepdim, dim].
    ARGMAX = 56,
    /// Index of the minimum (u32), first of a tie; ints [keepdim, dim].
    ARGMIN = 57,
    /// log(sum(exp)); ints [keepdim, dim].
    LOG_SUM_EXP = 58,
    /// Softmax; ints [dim].
    SOFTMAX = 59,
    /// Logarithm of the softmax; ints [dim].
    LOG_SOFTMAX = 60,
    /// Largest `k` of the last dim, descending, ties by index; ints [k]; outputs values, indices (u32).
    TOPK = 61,
    /// Matrix product, leading dims broadcast.
    MATMUL = 70,
    /// `x @ w^T + b`; inputs x [.., I], w [O, I], optionally b [O].
    LINEAR = 71,
    /// Convolution; inputs x [N, C, H, W], w [O, C/groups, KH, KW]; ints [stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups].
    CONV2D = 72,
    /// Average pooling; ints [kh, kw, stride_h, stride_w, pad_h, pad_w, count_include_pad].
    AVG_POOL2D = 73,
    /// Max pooling; ints [kh, kw, stride_h, stride_w, pad_h, pad_w].
    MAX_POOL2D = 74,
    /// Adaptive average pooling; ints [out_h, out_w].
    ADAPTIVE_AVG_POOL2D = 75,
    /// BatchNorm; inputs x [N, C, H, W], weight, bias, running_mean, running_var, optionally a residual; ints [mode, relu];
    /// floats [eps]; outputs y, mean, var (population; absent in eval mode).
    BATCH_NORM = 80,
    /// GroupNorm; inputs x, weight, bias; ints [groups, relu]; floats [eps].
    GROUP_NORM = 81,
    /// LayerNorm over the last dim; inputs x, weight, bias; floats [eps].
    LAYER_NORM = 82,
    /// New shape; ints are the dims.
    RESHAPE = 90,
    /// New order of dims; ints [order...].
    PERMUTE = 91,
    /// Part of a dim; ints [dim, start, len].
    NARROW = 92,
    /// Every `step`-th of a part of a dim; ints [dim, start, end, step].
    SLICE = 93,
    /// Concatenation of all inputs; ints [dim].
    CAT = 94,
    /// Stack of all inputs along a new dim; ints [dim].
    STACK = 95,
    /// Broadcast to a shape; ints are the dims.
    BROADCAST_AS = 96,
    /// Rows by index; inputs x, index (u32, 1-D); ints [dim].
    INDEX_SELECT = 97,
    /// Adds rows at indices; inputs x, index (u32, 1-D), source; ints [dim].
    INDEX_ADD = 98,
    /// Elements by index; inputs x, index (u32, same rank); ints [dim].
    GATHER = 99,
    /// Adds elements at indices; inputs x, index (u32), source; ints [dim].
    SCATTER_ADD = 100,
    /// Cyclic shift; ints [shift, dim].
    ROLL = 101,
    /// Reversal; ints [dim].
    FLIP = 102,
    /// Constant padding; ints [dim, before, after]; floats [value].
    PAD = 103,
    /// Bilinear crops, without antialiasing; input x [N, C, H, W]; ints [out_h, out_w]; floats: one box (top, left, height, width)
    /// for the batch or one for each image.
    CROP_RESIZE = 104,
    /// Gradients of a scalar; inputs loss, leaves...; ints [create_graph]; one output for each leaf, absent where it is not reached.
    GRAD = 110,
}

#[cfg(test)]
mod tests {
    #[test]
    fn codes_are_unique() {
        let mut codes = super::ALL.to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), super::ALL.len());
    }

    #[test]
    fn names_are_found() {
        assert_eq!(super::name(super::CONV2D), "CONV2D");
        assert_eq!(super::name(9_999), "an operation of a newer version");
    }
}

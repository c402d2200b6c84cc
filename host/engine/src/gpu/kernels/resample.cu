// Horizontal flips of images.

// Mirrors the lines of every image whose flag is set.
ROUTINE mirror(const T* x, const u8* flags, T* y, i64 count, i64 image, i64 width) {
    EACH(i, count) {
        i64 col = i % width;
        y[i] = flags[i / image] ? x[i - col + (width - 1 - col)] : x[i];
    }
}

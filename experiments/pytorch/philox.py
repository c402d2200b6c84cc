"""Counter-based random numbers, number for number those of the Rust side (`plugin-api/src/rng.rs`): Philox4x32-10.

What is drawn depends on seed, stage, purpose and a counter alone. Needs NumPy. Checked by `test_vectors.py`.
"""

import math

import numpy as np

WORD = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox4x32(counter, key):
    """Ten rounds of Philox4x32. `counter`: uint64 [.., 4], 32-bit words; `key`: two ints. Gives uint64 [.., 4]."""
    c0, c1, c2, c3 = (counter[..., i] for i in range(4))
    k0, k1 = key
    for _ in range(10):
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (b >> SHIFT) ^ c1 ^ np.uint64(k0), b & WORD
        c2, c3 = (a >> SHIFT) ^ c3 ^ np.uint64(k1), a & WORD
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1)


def stream_key(seed, stage, purpose):
    """`splitmix64(seed ^ fnv1a64("<stage>/<purpose>"))` as two words, the low one first."""
    mask = 2**64 - 1
    hashed = 0xCBF29CE484222325
    for byte in f"{stage}/{purpose}".encode():
        hashed = ((hashed ^ byte) * 0x100000001B3) & mask
    s = ((seed ^ hashed) + 0x9E3779B97F4A7C15) & mask
    s = ((s ^ (s >> 30)) * 0xBF58476D1CE4E5B9) & mask
    s = ((s ^ (s >> 27)) * 0x94D049BB133111EB) & mask
    s ^= s >> 31
    return s & 0xFFFFFFFF, s >> 32


def uniform_of(high, low):
    """Uniform in [0, 1) from two words each."""
    return (((high << SHIFT) | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Rng:
    """One stream, read in order."""

    def __init__(self, seed, stage, purpose, iteration=0, item=0, class_index=0):
        self.key = stream_key(seed, stage, purpose)
        self.counter = (iteration, item, class_index)
        self.at = 0
        self.spare = None
        self.held_from, self.held = 0, np.empty(0, np.uint64)

    def peek(self, count):
        """The next `count` words, uint64 [count], without moving on."""
        start = self.at - self.held_from
        if start + count > len(self.held):
            block = self.at // 4
            blocks = np.arange(block, (self.at + max(count, 64) + 3) // 4 + 1, dtype=np.uint64)
            counter = np.empty((len(blocks), 4), np.uint64)
            counter[:, 0], counter[:, 1:] = blocks & WORD, self.counter
            self.held_from, self.held = 4 * block, philox4x32(counter, self.key).reshape(-1)
            start = self.at - self.held_from
        return self.held[start : start + count]

    def words(self, count):
        """The next `count` words, uint64 [count]."""
        words = self.peek(count)
        self.at += count
        return words

    def uniforms(self, count):
        """The next `count` uniforms in [0, 1), f64 [count]."""
        words = self.words(2 * count)
        return uniform_of(words[0::2], words[1::2])

    def uniform(self):
        """Uniform in [0, 1)."""
        return float(self.uniforms(1)[0])

    def normals(self, count):
        """The first `count` standard normals of a fresh stream by Box and Muller, f64 [count]."""
        u, v = self.uniforms(2 * ((count + 1) // 2)).reshape(-1, 2).T
        radius, angle = np.sqrt(-2 * np.log(1 - u)), 2 * math.pi * v
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]

    def normal(self):
        """Standard normal; the second of each pair is kept for the next call."""
        if self.spare is not None:
            spare, self.spare = self.spare, None
            return spare
        u, v = self.uniforms(2)
        radius, angle = math.sqrt(-2 * math.log(1 - u)), 2 * math.pi * v
        self.spare = radius * math.sin(angle)
        return radius * math.cos(angle)

    def belows(self, bounds):
        """A number in 0..bound for each of `bounds` (uint64 [n], at least 1) by Lemire's method, uint64 [n]."""
        bounds = np.asarray(bounds, np.uint64)
        found = np.empty(len(bounds), np.uint64)
        done = 0
        while done < len(bounds):
            left = bounds[done:]
            product = self.peek(len(left)) * left
            refused = np.flatnonzero((product & WORD) < (np.uint64(2**32) - left) % left)
            whole = refused[0] if len(refused) else len(left)
            found[done : done + whole] = product[:whole] >> SHIFT
            self.at += int(whole) + (whole < len(left))
            done += int(whole)
        return found

    def below(self, bound):
        """Uniform in 0..bound, without bias."""
        return int(self.belows([bound])[0])

    def permutation(self, count):
        """A permutation of 0..count by Fisher and Yates from the end, int64 [count]."""
        order = list(range(count))
        picks = self.belows(np.arange(count, 1, -1)).tolist()
        for i, j in zip(range(count - 1, 0, -1), picks):
            order[i], order[j] = order[j], order[i]
        return np.array(order, np.int64)

    def gamma(self, shape):
        """Gamma(shape), by Marsaglia and Tsang (2000)."""
        if shape < 1:
            boost = (1 - self.uniform()) ** (1 / shape)
            return self.gamma(shape + 1) * boost
        d = shape - 1 / 3
        c = 1 / math.sqrt(9 * d)
        while True:
            x = self.normal()
            v = (1 + c * x) ** 3
            u = 1 - self.uniform()
            if v > 0 and math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
                return d * v

    def beta(self, a, b):
        """Beta(a, b); one uniform for (1, 1)."""
        if a == 1 and b == 1:
            return self.uniform()
        x, y = self.gamma(a), self.gamma(b)
        return x / (x + y) if x + y > 0 else 0.5


class Streams:
    """Many streams that differ in their item, read side by side, each with a place of its own."""

    def __init__(self, seed, stage, purpose, iteration, items):
        self.key = stream_key(seed, stage, purpose)
        self.counter = np.zeros((len(items), 4), np.uint64)
        self.counter[:, 1], self.counter[:, 2] = iteration, items
        self.at = np.zeros(len(items), np.int64)
        self.table = np.empty((len(items), 0), np.uint64)

    def word(self, rows):
        """The next word of the streams `rows` (int [n]), uint64 [n]."""
        if len(rows) and self.at[rows].max() >= self.table.shape[1]:
            self.extend(2)
        words = self.table[rows, self.at[rows]]
        self.at[rows] += 1
        return words

    def extend(self, blocks):
        """So many further blocks of each stream."""
        start = self.table.shape[1] // 4
        for block in range(start, start + blocks):
            self.counter[:, 0] = block
            self.table = np.concatenate([self.table, philox4x32(self.counter, self.key)], axis=1)

    def uniform(self, rows):
        """Uniform in [0, 1) from the streams `rows`, f64 [n]."""
        high = self.word(rows)
        return uniform_of(high, self.word(rows))

    def below(self, rows, bounds):
        """Uniform in 0..bound from the streams `rows`; `bounds` int [n], at least 1. Gives int64 [n]."""
        bounds = np.broadcast_to(np.asarray(bounds, np.uint64), rows.shape)
        found = np.zeros(len(rows), np.uint64)
        open_ = np.arange(len(rows))
        while len(open_):
            bound = bounds[open_]
            product = self.word(rows[open_]) * bound
            taken = (product & WORD) >= (np.uint64(2**32) - bound) % bound
            found[open_[taken]] = product[taken] >> SHIFT
            open_ = open_[~taken]
        return found.astype(np.int64)

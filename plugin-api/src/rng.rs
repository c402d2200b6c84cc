//! Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011), keyed by what they are for.
//!
//! Draws depend only on the key, never on batch size, threads, order or interruptions. Version 1 of the scheme:
//!
//! - key: `splitmix64(seed ^ fnv1a64("<stage>/<purpose>"))`, low word first;
//! - counter: word 0 the block within a stream, word 1 the iteration (or epoch), word 2 the image (or batch), word 3 the class;
//! - each block gives four u32, taken in order;
//! - uniform in [0, 1): two words `a`, `b` as `(((a << 32) | b) >> 11) * 2^-53`;
//! - normal: Box-Muller on two uniforms, `r = sqrt(-2 ln(1 - u))`, first `r cos(2 pi v)`, then `r sin(2 pi v)`;
//! - below(n): Lemire's multiply-shift on one word `w`, again while `(w * n) mod 2^32 < 2^32 mod n`;
//! - permutation: Fisher-Yates from the end, `swap(i, below(i + 1))`;
//! - gamma(a): Marsaglia and Tsang (2000), boosted for a < 1; beta(a, b) = x / (x + y) of two gammas, and one uniform for (1, 1).

/// The version of the key layout and of the maps. It changes when the numbers do.
pub const RNG_VERSION: u32 = 1;

/// The counter of a stream of numbers, in addition to seed, stage and purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamId {
    /// Class, when drawn for a class.
    pub class: u32,
    /// Image or batch.
    pub item: u32,
    /// Iteration or epoch.
    pub iteration: u32,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    id: StreamId,
    block: u32,
    words: [u32; 4],
    used: usize,
    spare: Option<f64>,
}

/// Ten rounds of Philox4x32.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [
                key[0].wrapping_add(0x9E37_79B9),
                key[1].wrapping_add(0xBB67_AE85),
            ];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        let (a_hi, a_lo) = ((a >> 32) as u32, a as u32);
        let (b_hi, b_lo) = ((b >> 32) as u32, b as u32);
        counter = [
            b_hi ^ counter[1] ^ key[0],
            b_lo,
            a_hi ^ counter[3] ^ key[1],
            a_lo,
        ];
    }
    counter
}

pub(crate) fn fnv1a64(text: &[&str]) -> u64 {
    let bytes = text.iter().flat_map(|t| t.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3)
    })
}

pub(crate) fn splitmix64(seed: u64) -> u64 {
    let s = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let s = (s ^ (s >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let s = (s ^ (s >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    s ^ (s >> 31)
}

impl Rng {
    /// The stream of `id` for one seed, stage and purpose.
    pub fn new(seed: u64, stage: &str, purpose: &str, id: StreamId) -> Self {
        let key = splitmix64(seed ^ fnv1a64(&[stage, "/", purpose]));
        Self {
            key: [key as u32, (key >> 32) as u32],
            id,
            block: 0,
            words: [0; 4],
            used: 4,
            spare: None,
        }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let counter = [self.block, self.id.iteration, self.id.item, self.id.class];
            self.words = philox4x32(counter, self.key);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        let (a, b) = (u64::from(self.next_u32()), u64::from(self.next_u32()));
        (((a << 32) | b) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn uniform_in(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `p`.
    pub fn coin(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u, v) = (self.uniform(), self.uniform());
        let radius = (-2. * (1. - u).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// Uniform in 0..n, without bias. `n` of 0 gives 0.
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A permutation of 0..n.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            let j = self.below(i as u32 + 1) as usize;
            order.swap(i, j);
        }
        order
    }

    /// Beta(a, b), for a, b > 0.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        if a == 1. && b == 1. {
            return self.uniform();
        }
        let (x, y) = (self.gamma(a), self.gamma(b));
        if x + y > 0. { x / (x + y) } else { 0.5 }
    }

    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1. {
            let boost = (1. - self.uniform()).powf(1. / shape);
            return self.gamma(shape + 1.) * boost;
        }
        let d = shape - 1. / 3.;
        let c = 1. / (9. * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1. + c * x).powi(3);
            let u = 1. - self.uniform();
            if v > 0. && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The known answers that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_by_every_part_of_the_key() {
        let first = |seed, stage, purpose, id| Rng::new(seed, stage, purpose, id).next_u32();
        let id = StreamId::default();
        let base = first(0, "recover", "init", id);
        assert_eq!(base, first(0, "recover", "init", id));
        assert_ne!(base, first(1, "recover", "init", id));
        assert_ne!(base, first(0, "relabel", "init", id));
        assert_ne!(base, first(0, "recover", "crop", id));
        for other in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            let id = StreamId {
                class: other.0,
                item: other.1,
                iteration: other.2,
            };
            assert_ne!(base, first(0, "recover", "init", id));
        }
    }

    #[test]
    fn moments_are_right() {
        let mut rng = Rng::new(3, "test", "moments", StreamId::default());
        let n = 200_000;
        let mean_var = |draws: Vec<f64>| {
            let mean = draws.iter().sum::<f64>() / n as f64;
            (
                mean,
                draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64,
            )
        };
        let mut check = |name: &str, draw: &mut dyn FnMut(&mut Rng) -> f64, mean: f64, var: f64| {
            let (m, v) = mean_var((0..n).map(|_| draw(&mut rng)).collect());
            assert!(
                (m - mean).abs() < 0.01 && (v - var).abs() < 0.02,
                "{name}: {m} {v}"
            );
        };
        check("uniform", &mut Rng::uniform, 0.5, 1. / 12.);
        check("normal", &mut Rng::normal, 0., 1.);
        check("beta(1, 1)", &mut |r| r.beta(1., 1.), 0.5, 1. / 12.);
        check("beta(.8, .8)", &mut |r| r.beta(0.8, 0.8), 0.5, 0.25 / 2.6);
        check("beta(2, 3)", &mut |r| r.beta(2., 3.), 0.4, 0.04);
        check("below(5)", &mut |r| f64::from(r.below(5)), 2., 2.);
    }

    #[test]
    fn a_permutation_holds_each_once() {
        let mut order = Rng::new(0, "test", "permutation", StreamId::default()).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &v)| i == v as usize));
    }
}

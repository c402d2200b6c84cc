//! Logits in few bytes: the largest ones by class and in steps, and one value for all others.
//!
//! A row: the largest logit, the gap from it to the smallest kept one, the gap to the value of all others (three f16, little
//! endian); then, packed from the lowest bit on, the `top_k` classes in descending order of their logits, each in as many bits as
//! the largest class number needs, and the gaps of all but the first, in steps of the largest gap over `2^bits - 1`.

use half::f16;
use plugin_api::prelude::*;

use crate::prune::Prune;

/// Name of the stored tensor, u8 [N, bytes].
pub(crate) const PACKED: &str = "packed";

/// Bytes of the three values in front.
const HEAD: usize = 6;

/// Options of `fkd-compact`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    /// Number of classes whose logits are kept for each view
    #[serde(default = "twenty")]
    #[schemars(range(min = 1))]
    top_k: u32,
    /// Bits per kept logit: 4 or 8
    #[serde(default = "eight")]
    bits: u32,
    /// Temperature at which the shared value preserves the probability of the logits it replaces, above 0; ideally the student's temperature
    #[serde(default = "students")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    temperature: f64,
    /// Which views' labels are kept; all by default
    #[serde(default)]
    prune: Option<Prune>,
}

fn twenty() -> u32 {
    20
}
fn eight() -> u32 {
    8
}
/// SRe2L's student loss.
fn students() -> f64 {
    20.
}

impl TryFrom<Options> for crate::Compact {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let (bits, temperature) = (options.bits, options.temperature);
        ensure!(options.top_k > 0, "top_k: expected at least 1, got 0");
        ensure!(bits == 4 || bits == 8, "bits: expected 4 or 8, got {bits}");
        ensure!(
            temperature > 0. && temperature.is_finite(),
            "temperature: expected a number above 0, got {temperature}"
        );
        Ok(Self(options))
    }
}

/// Sizes of a row.
struct Row {
    kept: usize,
    class_bits: u32,
    bytes: usize,
}

impl Options {
    /// Which views are labelled.
    pub(crate) fn prune(&self) -> Prune {
        self.prune.unwrap_or(Prune::NONE)
    }

    fn row(&self, classes: usize) -> Row {
        let kept = (self.top_k as usize).min(classes);
        let class_bits = usize::BITS - classes.saturating_sub(1).leading_zeros();
        let bits = kept * class_bits as usize + kept.saturating_sub(1) * self.bits as usize;
        Row {
            kept,
            class_bits,
            bytes: HEAD + bits.div_ceil(8),
        }
    }

    /// The record of logits [N, classes].
    pub(crate) fn encode(&self, logits: &Tensor) -> Result<Records> {
        let [views, classes] = logits.dims().context("logits")?;
        let row = self.row(classes);
        let values = logits.to_vec_f64()?;
        let mut packed = Vec::with_capacity(views * row.bytes);
        for logits in values.chunks(classes.max(1)) {
            self.pack(logits, &row, &mut packed)?;
        }
        let packed = logits.new_u8(&packed, &[views, row.bytes])?;
        Ok(vec![(PACKED.to_owned(), packed)])
    }

    /// Logits [N, classes] of a record; those of one view may all be off by the same rounding of the largest.
    pub(crate) fn decode(&self, packed: &Tensor, classes: usize, ctx: &Ctx) -> Result<Tensor> {
        let row = self.row(classes);
        let [views, got] = packed.dims().context("packed")?;
        ensure!(
            got == row.bytes,
            "record \"{PACKED}\" has {got} bytes per view, expected {} for {classes} classes with these options; relabel the set",
            row.bytes
        );
        let mut logits = Vec::with_capacity(views * classes);
        for bytes in packed.to_vec_u8()?.chunks(row.bytes) {
            self.unpack(bytes, &row, classes, &mut logits)?;
        }
        ctx.tensor(&logits, &[views, classes])
    }

    fn pack(&self, logits: &[f64], row: &Row, to: &mut Vec<u8>) -> Result<()> {
        ensure!(
            logits.iter().all(|z| z.is_finite()),
            "a teacher's logits are not finite"
        );
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        let (kept, others) = order.split_at(row.kept);
        let top = logits[kept[0]];
        let gap = |class: usize| top - logits[class];
        let widest = f16::from_f64(gap(kept[row.kept - 1]));
        let shared = match others.is_empty() {
            true => 0.,
            false => self.shared_gap(others.iter().map(|c| gap(*c)), others.len()),
        };
        for value in [f16::from_f64(top), widest, f16::from_f64(shared)] {
            to.extend(value.to_le_bytes());
        }
        let mut bits = BitWriter::new(to);
        kept.iter()
            .for_each(|class| bits.put(*class as u64, row.class_bits));
        let step = self.step(widest);
        for class in &kept[1..] {
            let level = if step > 0. { gap(*class) / step } else { 0. };
            bits.put((level.round() as u64).min(self.levels()), self.bits);
        }
        bits.finish();
        Ok(())
    }

    fn unpack(&self, bytes: &[u8], row: &Row, classes: usize, to: &mut Vec<f64>) -> Result<()> {
        let half = |i: usize| f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]);
        let [top, shared] = [half(0), half(2)].map(f16::to_f64);
        let step = self.step(half(1));
        let start = to.len();
        to.resize(start + classes, top - shared);
        let mut bits = BitReader::new(&bytes[HEAD..]);
        let kept: Vec<usize> = (0..row.kept)
            .map(|_| bits.get(row.class_bits) as usize)
            .collect();
        for (i, class) in kept.iter().enumerate() {
            ensure!(
                *class < classes,
                "record \"{PACKED}\" names class {class}, expected 0 to {}; the labels are damaged",
                classes - 1
            );
            let level = if i == 0 { 0 } else { bits.get(self.bits) };
            to[start + class] = top - step * level as f64;
        }
        Ok(())
    }

    fn levels(&self) -> u64 {
        (1 << self.bits) - 1
    }

    fn step(&self, widest: f16) -> f64 {
        widest.to_f64() / self.levels() as f64
    }

    /// The gap whose `count`-fold has the sum of `exp(-gap / T)`.
    fn shared_gap(&self, gaps: impl Iterator<Item = f64>, count: usize) -> f64 {
        let sum: f64 = gaps.map(|gap| (-gap / self.temperature).exp()).sum();
        // Below the smallest positive number all are as far away as f16 can say.
        let gap = -self.temperature * (sum / count as f64).ln();
        gap.min(f16::MAX.to_f64())
    }
}

/// Bits from the lowest on.
struct BitWriter<'a> {
    to: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    fn new(to: &'a mut Vec<u8>) -> Self {
        Self {
            to,
            held: 0,
            count: 0,
        }
    }

    fn put(&mut self, value: u64, bits: u32) {
        self.held |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.to.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    fn finish(self) {
        if self.count > 0 {
            self.to.push(self.held as u8);
        }
    }
}

/// What [`BitWriter`] wrote.
struct BitReader<'a> {
    from: std::slice::Iter<'a, u8>,
    held: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    fn new(from: &'a [u8]) -> Self {
        Self {
            from: from.iter(),
            held: 0,
            count: 0,
        }
    }

    fn get(&mut self, bits: u32) -> u64 {
        while self.count < bits {
            self.held |= u64::from(self.from.next().copied().unwrap_or(0)) << self.count;
            self.count += 8;
        }
        let value = self.held & ((1 << bits) - 1);
        self.held >>= bits;
        self.count -= bits;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{
        rng::{Rng, StreamId},
        testing,
    };

    const CODEC: Options = Options {
        top_k: 20,
        bits: 8,
        temperature: 20.,
        prune: None,
    };

    /// Logits as a network gives them: one high, some near it, a crowd around 0.
    fn logits(classes: usize, seed: u64) -> Vec<f64> {
        let mut rng = Rng::new(seed, "relabel", "logits", StreamId::default());
        (0..classes)
            .map(|i| 2. * rng.normal() + if i == 3 { 9. } else { 0. })
            .collect()
    }

    fn round_trip(codec: Options, values: &[f64], classes: usize) -> Vec<f64> {
        let ctx = testing::ctx("relabel");
        let shape = [values.len() / classes, classes];
        let records = codec.encode(&ctx.tensor(values, &shape).unwrap()).unwrap();
        let decoded = codec.decode(&records[0].1, classes, &ctx).unwrap();
        decoded.to_vec_f64().unwrap()
    }

    #[test]
    fn a_view_of_a_thousand_classes_takes_fifty_bytes() {
        assert_eq!(CODEC.row(1000).bytes, 50);
        let half = Options { bits: 4, ..CODEC };
        assert_eq!(half.row(1000).bytes, 41);
        assert_eq!(CODEC.row(10).bytes, 6 + 14);
        assert_eq!(CODEC.row(1).bytes, 6);
    }

    #[test]
    fn kept_logits_are_within_half_a_step_and_the_others_share_their_mass() {
        let classes = 300;
        let values = logits(classes, 0);
        let decoded = round_trip(CODEC, &values, classes);
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        let step = (values[order[0]] - values[order[19]]) / 255.;
        for class in &order[..20] {
            let error = (decoded[*class] - values[*class]).abs();
            assert!(error < 0.5 * step + 0.01, "class {class}: {error}");
        }
        let mass = |z: &[f64]| -> f64 { order[20..].iter().map(|c| (z[*c] / 20.).exp()).sum() };
        assert!((mass(&decoded) / mass(&values) - 1.).abs() < 1e-3);
        assert!(
            order[21..]
                .iter()
                .all(|c| decoded[*c] == decoded[order[20]])
        );
    }

    #[test]
    fn few_classes_are_all_kept() {
        let values = [1., 3., 2., -4., 3.];
        let decoded = round_trip(CODEC, &values, 5);
        let error = |(a, b): (&f64, &f64)| (a - b).abs();
        assert!(
            values.iter().zip(&decoded).map(error).all(|e| e < 0.02),
            "{decoded:?}"
        );
        assert_eq!(round_trip(CODEC, &[7.; 4], 4), [7.; 4]);
        assert_eq!(round_trip(CODEC, &[2.5], 1), [2.5]);
    }

    #[test]
    fn bits_come_back_as_they_were_put() {
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        let values = [(5, 3), (1023, 10), (0, 1), (77, 8), (1, 1), (513, 10)];
        values
            .iter()
            .for_each(|(value, bits)| writer.put(*value, *bits));
        writer.finish();
        assert_eq!(bytes.len(), 33usize.div_ceil(8));
        let mut reader = BitReader::new(&bytes);
        assert!(
            values
                .iter()
                .all(|(value, bits)| reader.get(*bits) == *value)
        );
    }

    #[test]
    fn damage_and_other_options_are_errors() {
        let ctx = testing::ctx("relabel");
        let error = |bytes: &[u8], classes| {
            let packed = ctx
                .indices(&[0], &[1])
                .unwrap()
                .new_u8(bytes, &[1, bytes.len()])
                .unwrap();
            CODEC
                .decode(&packed, classes, &ctx)
                .err()
                .unwrap()
                .to_string()
        };
        let wrong_size = error(&[0; 19], 10);
        assert!(
            wrong_size.contains("has 19 bytes per view, expected 20 for 10 classes"),
            "{wrong_size}"
        );
        let damaged = error(&[255; 20], 10);
        assert!(
            damaged.contains("names class 15, expected 0 to 9"),
            "{damaged}"
        );
        let nan = ctx.tensor(&[0., f64::NAN], &[1, 2]).unwrap();
        let error = CODEC.encode(&nan).err().unwrap().to_string();
        assert!(error.contains("not finite"), "{error}");
    }
}

//! Logits as they are, in 16 or 32 bits.

use plugin_api::prelude::*;

/// Name of the stored tensor, [N, classes].
pub(crate) const LOGITS: &str = "logits";

/// How logits are stored.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoredType {
    /// 16-bit floats, like the original code
    #[default]
    F16,
    /// 32-bit floats
    F32,
}

/// The mean of the teachers' logits, [N, classes].
pub(crate) fn mean(teachers: &[Tensor]) -> Result<Tensor> {
    let [first, others @ ..] = teachers else {
        bail!("fkd needs a teacher, and there is none; expected at least 1")
    };
    let sum = others
        .iter()
        .try_fold(first.clone(), |sum, logits| sum + logits)?;
    sum / teachers.len() as f64
}

/// The record of some views.
pub(crate) fn encode(dtype: StoredType, teachers: &[Tensor]) -> Result<Records> {
    let dtype = match dtype {
        StoredType::F16 => DType::F16,
        StoredType::F32 => DType::F32,
    };
    Ok(vec![(LOGITS.to_owned(), mean(teachers)?.to_dtype(dtype)?)])
}

/// The targets of a batch.
pub(crate) fn decode(batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
    // Losses see f32 (f64 in parity runs), and a softmax in f16 would lose half of the digits.
    soft(record(batch, LOGITS)?.to_dtype(ctx.dtype())?)
}

/// Targets of these logits.
pub(crate) fn soft(logits: Tensor) -> Result<Targets> {
    Ok(Targets::Soft(SoftTargets::new(
        logits.log_softmax(1)?,
        Some(logits),
    )))
}

/// A record of a batch, with a row for each view.
pub(crate) fn record<'a>(batch: &LabelBatch<'a>, name: &str) -> Result<&'a Tensor> {
    let Some((_, stored)) = batch.records.iter().find(|(found, _)| found == name) else {
        let have: Vec<&str> = batch
            .records
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        bail!(
            "no record \"{name}\" among the labels (have: {}); relabel the set",
            have.join(", ")
        )
    };
    let (got, expected) = (
        stored.shape().first().copied().unwrap_or(0),
        batch.views.len(),
    );
    ensure!(
        got == expected,
        "record \"{name}\" has {got} rows for {expected} views"
    );
    Ok(stored)
}

//! One soft label an image: the teachers look at each whole image once, and all its views share what they said (knowledge
//! distillation after Hinton et al., 2015; the single-label mode "S" of DD-Ranking, Li et al., 2025).

#[cfg(test)]
mod tests;

use plugin_api::prelude::*;

/// Name of the stored tensor, [N, classes].
const LOGITS: &str = "logits";

/// How logits are stored.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum StoredType {
    /// 16-bit floats
    #[default]
    F16,
    /// 32-bit floats
    F32,
}

/// Options of `soft`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Temperature T of the teachers' probabilities, above 0; 1 leaves them as they are
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    temperature: f64,
    /// Element type of what is stored
    #[serde(default)]
    dtype: StoredType,
}

fn one() -> f64 {
    1.
}

/// The label of an image is the mean of its teachers' probabilities, `p = 1/K sum_k softmax(z_k / T)`.
///
/// Stored are logits `z` with `softmax(z / T) = p`: of one teacher its own, of several `T log p`. A mixed view has
/// `lambda p_own + (1 - lambda) p_partner`, which no logits stand for; a batch without mixes gives its logits as well, so that a
/// loss can soften them with its own temperature.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct Soft(Options);

impl TryFrom<Options> for Soft {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let t = options.temperature;
        ensure!(
            t > 0. && t.is_finite(),
            "temperature: expected a number above 0, got {t}"
        );
        Ok(Self(options))
    }
}

impl Soft {
    /// `log p` from logits, [N, classes].
    fn log_probs(&self, logits: &Tensor) -> Result<Tensor> {
        (logits / self.0.temperature)?.log_softmax(1)
    }

    /// `T log(1/K sum_k p_k)`, [N, classes].
    fn ensemble(&self, teachers: &[Tensor]) -> Result<Tensor> {
        let log_probs = teachers
            .iter()
            .map(|logits| self.log_probs(logits))
            .collect::<Result<Vec<_>>>()?;
        let log_sum = Tensor::stack(&log_probs.iter().collect::<Vec<_>>(), 0)?.log_sum_exp(0)?;
        (log_sum - (teachers.len() as f64).ln())? * self.0.temperature
    }
}

impl Relabeler for Soft {
    fn layout(&self, _set: &SetInfo) -> Result<LabelLayout> {
        Ok(LabelLayout {
            passes: 1,
            index: RecordIndex::Image,
            stores_views: false,
        })
    }

    fn encode(
        &self,
        _set: &SetInfo,
        _views: &[View],
        teachers: &[Tensor],
        _ctx: &Ctx,
    ) -> Result<Records> {
        let logits = match teachers {
            [] => bail!("soft labels need a teacher, and there is none; expected at least 1"),
            [teacher] => teacher.clone(),
            teachers => self.ensemble(teachers)?,
        };
        let dtype = match self.0.dtype {
            StoredType::F16 => DType::F16,
            StoredType::F32 => DType::F32,
        };
        Ok(vec![(LOGITS.to_owned(), logits.to_dtype(dtype)?)])
    }

    fn decode(&self, set: &SetInfo, batch: &LabelBatch<'_>, ctx: &Ctx) -> Result<Targets> {
        let lambdas: Vec<f64> = batch
            .views
            .iter()
            .map(|v| v.lambda(set.resolution))
            .collect();
        let lambda = ctx.tensor(&lambdas, &[lambdas.len(), 1])?;
        // Losses see the element type of the context, f32 (f64 in parity runs), whatever is stored.
        let logits = find(batch.records)?.to_dtype(lambda.dtype())?;
        let own = self.log_probs(&logits)?;
        if batch.views.iter().all(|view| view.mix == Mix::None) {
            return Ok(Targets::Soft(SoftTargets::new(own, Some(logits))));
        }
        let partner = find(batch.partner_records).context("partners")?;
        let partner = self.log_probs(&partner.to_dtype(lambda.dtype())?)?;
        // log(lambda p + (1 - lambda) q); the clamp keeps a weight of 0 finite.
        let log_weight = |weight: Tensor| weight.clamp(1e-30, 1.)?.log();
        let partner_weight = lambda.affine(-1., 1.)?;
        let terms = [
            (own + log_weight(lambda))?,
            (partner + log_weight(partner_weight))?,
        ];
        let log_probs = Tensor::stack(&[&terms[0], &terms[1]], 0)?.log_sum_exp(0)?;
        Ok(Targets::Soft(SoftTargets::new(log_probs, None)))
    }
}

fn find(records: &[(String, Tensor)]) -> Result<&Tensor> {
    let Some((_, logits)) = records.iter().find(|(name, _)| name == LOGITS) else {
        let have: Vec<&str> = records.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "no record \"{LOGITS}\" among the labels (have: {}); relabel the set",
            have.join(", ")
        )
    };
    Ok(logits)
}

export_plugin! { relabeler "soft": Soft = "one soft label per image, shared by all its views" }

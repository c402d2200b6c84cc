//! Selector "__NAME__": crops in which the teacher sees nothing but the class. An example; replace it with your own.

use plugin_api::prelude::*;
use plugin_api::selector::ascending;

/// The crops whose largest logit of another class is furthest below that of their own: the largest margins.
///
/// A selector is its own options: each field is a key of `params` in an experiment file, and its documentation is what
/// `alambic plugin show __NAME__` prints. How many crops there are to choose from is set in the experiment file, not here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// Take the smallest margins instead
    #[serde(default)]
    hardest: bool,
}

impl Selector for __TYPE__ {
    fn select(&self, x: &SelectorInput<'_>) -> Result<Vec<u32>> {
        let [crops, classes] = x.logits.dims().context("logits")?;
        ensure!(crops >= x.count, "{} crops are needed, and there are {crops}", x.count);
        let logits = x.logits.to_vec_f64()?;
        let margins = logits.chunks(classes).map(|row| {
            let others = row.iter().enumerate().filter(|&(class, _)| class != x.class as usize);
            let other = others.map(|(_, &z)| z).fold(f64::NEG_INFINITY, f64::max);
            let margin = row[x.class as usize] - other;
            if self.hardest { margin } else { -margin }
        });
        Ok(ascending(&margins.collect::<Vec<_>>()).into_iter().take(x.count).collect())
    }
}

export_plugin! { selector "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_selector::<__TYPE__>("__NAME__", json!({})).unwrap();
        testing::check_selector::<__TYPE__>("__NAME__", json!({"hardest": true})).unwrap();
    }

    #[test]
    fn the_largest_margin_comes_first() {
        let ctx = testing::ctx("recover");
        // margins of class 1: 1, 3 and -2
        let logits = ctx.tensor(&[0., 1., 2., 5., 2., 0.], &[3, 2]).unwrap();
        let input =
            SelectorInput { class: 1, count: 2, logits: &logits, features: &[], images: &[0, 1, 2], ctx: &ctx };
        assert_eq!(__TYPE__ { hardest: false }.select(&input).unwrap(), [1, 0]);
        assert_eq!(__TYPE__ { hardest: true }.select(&input).unwrap(), [2, 0]);
    }
}

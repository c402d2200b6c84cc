//! Canvas hook "__NAME__": noise on the images, less and less of it. An example; replace it with your own.

use plugin_api::prelude::*;

/// Adds normal noise of standard deviation `std (1 - t / T)` each time that it is called, t of T iterations done.
///
/// A canvas hook is its own options: each field is a key of `params` in an experiment file, and its documentation is what
/// `alambic plugin show __NAME__` prints. How often it is called is set in the experiment file, not here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct __TYPE__ {
    /// Standard deviation at the first iteration
    #[serde(default = "hundredth")]
    std: f64,
}

fn hundredth() -> f64 {
    0.01
}

impl CanvasHook for __TYPE__ {
    fn change(&self, x: &CanvasInput<'_>) -> Result<Changes> {
        let left = 1. - x.ctx.iteration() as f64 / x.ctx.total().max(1) as f64;
        // The same numbers whenever this call is made again.
        let mut rng = x.ctx.rng("__NAME__");
        let noise: Vec<f64> = (0..x.canvas.elem_count()).map(|_| self.std * left * rng.normal()).collect();
        let noise = x.ctx.tensor(&noise, &x.canvas.shape())?;
        Ok(Changes { canvas: Some((x.canvas + noise)?), ..Changes::default() })
    }
}

export_plugin! { canvas "__NAME__": __TYPE__ = __DESCRIPTION__ }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{serde_json::json, testing};

    #[test]
    fn keeps_the_contract() {
        testing::check_canvas::<__TYPE__>("__NAME__", json!({})).unwrap();
        testing::check_canvas::<__TYPE__>("__NAME__", json!({"std": 0.5})).unwrap();
    }

    #[test]
    fn the_last_noise_is_the_least() {
        let moved = |iteration| {
            let ctx = testing::ctx("recover").at(iteration, 10);
            let canvas = testing::random(&[2, 3, 8, 8], 1);
            let input = CanvasInput {
                canvas: &canvas,
                start: &canvas,
                labels: &[0, 1],
                images: &[0, 0],
                images_per_class: 1,
                ctx: &ctx,
            };
            let changes = __TYPE__ { std: 1. }.change(&input).unwrap();
            let apart = (changes.canvas.unwrap() - &canvas).unwrap();
            apart.norm_all().unwrap().to_scalar().unwrap()
        };
        assert!(moved(9) < 0.5 * moved(0));
    }
}

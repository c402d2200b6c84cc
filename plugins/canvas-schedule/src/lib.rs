//! What happens to the images between two iterations: FADRM's residual connections (Cui et al., 2025), and DELT's groups that join one
//! after the other (Shen et al., 2024).

use plugin_api::prelude::*;

/// Options of `residual`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResidualOptions {
    /// Share of the images under way, from 0 to 1; the rest is of those that they started from
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    share: f64,
    /// The optimizer begins anew each time, as in FADRM's code
    #[serde(default = "yes")]
    reset: bool,
}

fn half() -> f64 {
    0.5
}
fn yes() -> bool {
    true
}

/// Mixes the images that it all started from into those under way, each time that it is called but before the first iteration:
///
/// `x <- share x + (1 - share) start`.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "ResidualOptions")]
struct Residual(ResidualOptions);

impl TryFrom<ResidualOptions> for Residual {
    type Error = Error;

    fn try_from(options: ResidualOptions) -> Result<Self> {
        let share = options.share;
        ensure!(
            (0. ..=1.).contains(&share),
            "share: expected a number from 0 to 1, got {share}"
        );
        Ok(Self(options))
    }
}

impl CanvasHook for Residual {
    fn change(&self, x: &CanvasInput<'_>) -> Result<Changes> {
        if x.ctx.iteration() == 0 {
            return Ok(Changes::default());
        }
        let share = self.0.share;
        let mixed = ((x.canvas * share)? + (x.start * (1. - share))?)?;
        Ok(Changes {
            canvas: Some(mixed),
            reset: self.0.reset,
            ..Changes::default()
        })
    }
}

/// Options of `early-late`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EarlyLateOptions {
    /// Groups of images, by their numbers within their classes
    #[serde(default = "eight")]
    #[schemars(range(min = 1))]
    groups: u32,
}

fn eight() -> u32 {
    8
}

/// DELT's early and late images: of each class the images are split by number into `groups`, and group g, counted from 0, joins after
/// `g / groups` of the iterations. Until then its images are as they were, and the network does not see them. Call it every
/// `iterations / groups` iterations.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "EarlyLateOptions")]
struct EarlyLate(EarlyLateOptions);

impl TryFrom<EarlyLateOptions> for EarlyLate {
    type Error = Error;

    fn try_from(options: EarlyLateOptions) -> Result<Self> {
        ensure!(options.groups > 0, "groups: expected at least 1, got 0");
        Ok(Self(options))
    }
}

impl CanvasHook for EarlyLate {
    fn change(&self, x: &CanvasInput<'_>) -> Result<Changes> {
        let groups = u64::from(self.0.groups);
        let each = x.images_per_class.max(1) as u64;
        let joined = |&number: &u32| {
            let group = u64::from(number) * groups / each;
            x.ctx.iteration() * groups >= group * x.ctx.total()
        };
        let numbered = (0..).zip(x.images);
        let active: Vec<u32> = numbered
            .filter(|(_, number)| joined(number))
            .map(|(place, _)| place)
            .collect();
        Ok(Changes {
            active: Some(active),
            ..Changes::default()
        })
    }
}

export_plugin! {
    canvas "residual": Residual = "mixes what the images started from into them (FADRM)",
    canvas "early-late": EarlyLate = "lets the images of a class join in groups (DELT)",
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    fn changes(hook: &dyn CanvasHook, iteration: u64, each: usize) -> Result<Changes> {
        let ctx = testing::ctx("recover").at(iteration, 4000);
        let canvas = ctx.tensor(&[1., -2., 0.5, 3.], &[4, 1, 1, 1])?;
        let start = ctx.tensor(&[0., 1., -0.5, 7.], &[4, 1, 1, 1])?;
        hook.change(&CanvasInput {
            canvas: &canvas,
            start: &start,
            labels: &[0, 1, 0, 1],
            images: &[0, 1, 2, 9],
            images_per_class: each,
            ctx: &ctx,
        })
    }

    #[test]
    fn the_start_is_mixed_in() {
        let residual: Residual = parse_options("{}").unwrap();
        assert!(changes(&residual, 0, 10).unwrap().canvas.is_none());
        let changed = changes(&residual, 500, 10).unwrap();
        // .5 * torch.tensor([1, -2, .5, 3]) + .5 * torch.tensor([0, 1, -.5, 7])
        let expected = [0.5, -0.5, 0., 5.];
        assert_eq!(changed.canvas.unwrap().to_vec_f64().unwrap(), expected);
        assert!(changed.reset);
        assert!(parse_options::<Residual>(r#"{"share": 2}"#).is_err());
    }

    #[test]
    fn groups_join_one_after_the_other() {
        let early_late: EarlyLate = parse_options("{}").unwrap();
        let active = |iteration| changes(&early_late, iteration, 10).unwrap().active.unwrap();
        // Numbers 0 and 1 are of group 0, 2 of group 1, 9 of group 7.
        assert_eq!(active(0), [0, 1]);
        assert_eq!(active(500), [0, 1, 2]);
        assert_eq!(active(3499), [0, 1, 2]);
        assert_eq!(active(3500), [0, 1, 2, 3]);
    }

    #[test]
    fn both_keep_the_contract() {
        testing::check_canvas::<Residual>("residual", json!({})).unwrap();
        testing::check_canvas::<EarlyLate>("early-late", json!({"groups": 3})).unwrap();
    }
}

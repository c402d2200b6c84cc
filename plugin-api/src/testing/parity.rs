//! Networks against those of PyTorch: the number of parameters, and the logits from weights that are filled by name.

use super::{ctx, device, params_by_name, values_by_name};
use crate::{
    Result,
    architecture::{Architecture, InputShape},
    ensure,
    nn::{ParamBuilder, Params},
    tensor::BatchNormMode,
};

/// The L2 distance between logits in f64 up to which they are the same.
const TOLERANCE: f64 = 1e-9;

/// What a network of PyTorch gives for one image in f64 and eval mode, its state dict and the image filled as
/// [`values_by_name`] does it.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// Channels, rows and columns of the image, which is called `input`.
    pub image: [usize; 3],
    /// Gain of the weights: 1, or more where the image would fade on its way to the logits.
    pub gain: f64,
    /// `sum(p.numel() for p in model.parameters())`.
    pub parameters: usize,
    /// `model(image)[0].tolist()`, one number for each class.
    pub logits: &'a [f64],
}

/// Checks that a network has as many learned parameters as PyTorch's and gives the same logits, to 1e-9 in the L2 norm.
///
/// # Errors
/// What differs, or a name without values.
pub fn check_parity(architecture: &impl Architecture, expected: &Reference<'_>) -> Result<()> {
    let [channels, height, width] = expected.image;
    let input = InputShape {
        channels,
        height,
        width,
        classes: expected.logits.len(),
    };
    let builder = ParamBuilder::new();
    let module = architecture.build(&input, &builder)?;
    let spec = builder.spec();
    let learned = spec.params.iter().filter(|p| p.trainable);
    let count: usize = learned.map(|p| p.shape.iter().product::<usize>()).sum();
    ensure!(
        count == expected.parameters,
        "got {count} learned parameters, expected {}",
        expected.parameters
    );
    let ctx = ctx("validate");
    let dims = [1, channels, height, width];
    let image = ctx.tensor(&values_by_name("input", &dims, 1.)?, &dims)?;
    let tensors = params_by_name(&device(), &spec, expected.gain)?;
    let params = Params::new(tensors, BatchNormMode::EVAL);
    let logits = module.forward(&params, &image, &ctx)?.to_vec_f64()?;
    let pairs = logits.iter().zip(expected.logits);
    let error = pairs
        .map(|(got, expected)| (got - expected).powi(2))
        .sum::<f64>()
        .sqrt();
    ensure!(
        logits.len() == expected.logits.len() && error < TOLERANCE,
        "got the logits {logits:?}, expected {:?}",
        expected.logits
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// A linear layer on all pixels.
    struct Flat;

    impl Architecture for Flat {
        fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
            struct Net(Linear);

            impl Module for Net {
                fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
                    self.0.forward(params, &x.flatten_from(1)?)
                }
            }

            let pixels = input.channels * input.height * input.width;
            Ok(Box::new(Net(Linear::new(
                &p.pp("fc"),
                pixels,
                input.classes,
            )?)))
        }
    }

    // u = make_reference.tensor; w, b, x = u("fc.weight", (2, 2)), u("fc.bias", (2,)), u("input", (1, 2))
    // (x @ w.T + b)[0].tolist(), and with w = u("fc.weight", (2, 2), 2)
    const REFERENCE: Reference<'_> = Reference {
        image: [1, 1, 2],
        gain: 1.,
        parameters: 6,
        logits: &[-0.6898849497353019, 1.7721784390131912],
    };

    fn error(expected: &Reference<'_>) -> String {
        check_parity(&Flat, expected)
            .err()
            .map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn the_same_network_passes() {
        assert_eq!(error(&REFERENCE), "");
        let logits = &[-1.3753001590798262, 3.599272616132156];
        let gain = 2.;
        let twice = Reference {
            gain,
            logits,
            ..REFERENCE
        };
        assert_eq!(error(&twice), "");
    }

    #[test]
    fn what_differs_is_told() {
        let parameters = 7;
        let more = Reference {
            parameters,
            ..REFERENCE
        };
        assert_eq!(error(&more), "got 6 learned parameters, expected 7");
        let logits = &[REFERENCE.logits[0], REFERENCE.logits[1] + 2e-9];
        let other = Reference {
            logits,
            ..REFERENCE
        };
        assert!(
            error(&other).starts_with("got the logits ["),
            "{}",
            error(&other)
        );
    }
}

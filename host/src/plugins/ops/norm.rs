//! Batch, group and layer normalisation.

use plugin_api::tensor::{BatchNormMode as Mode, Norm};

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs},
    precision::Class,
};
use crate::engine::{
    Tensor,
    ops::{After, BatchNormConfig, BatchNormMode, Limits, batch_norm, group_norm, layer_norm},
};

answers! {
    Norm, call;
    Class::Norm { images: &[0, 5] }, BatchNorm { mode, relu, eps } => {
        normalised(call, *mode, *eps, if *relu { After::RELU } else { After::NOTHING })?
    };
    Class::Norm { images: &[0, 5] }, LimitedBatchNorm { mode, min, max, eps } => {
        normalised(call, *mode, *eps, After::Limits(Limits { min: *min, max: *max }))?
    };
    Class::Norm { images: &[0] }, SiluBatchNorm { mode, eps } => {
        normalised(call, *mode, *eps, After::Silu)?
    };
    Class::Norm { images: &[0] }, GroupNorm { groups, relu, eps } => {
        let (x, weight, bias) = (call.float_input(0)?, call.float_input(1)?, call.float_input(2)?);
        group_norm(x, *groups, weight, bias, *eps, *relu)?
    };
    Class::Single, LayerNorm { eps } => {
        layer_norm(call.float_input(0)?, call.float_input(1)?, call.float_input(2)?, *eps)?
    };
}

fn normalised(
    call: &Call<'_>,
    mode: Mode,
    eps: f64,
    after: After,
) -> Result<Vec<Option<Tensor>>, Fault> {
    let mode = engine_mode(mode)?;
    let config = BatchNormConfig { mode, eps, after };
    let operand = |i| call.float_input(i);
    let (x, residual) = (operand(0)?, call.optional_float(5)?);
    let made = batch_norm(
        x,
        operand(1)?,
        operand(2)?,
        operand(3)?,
        operand(4)?,
        &config,
        residual,
    )?;
    Ok(vec![Some(made.y), made.mean, made.var])
}

fn engine_mode(mode: Mode) -> Result<BatchNormMode, Fault> {
    Ok(match mode {
        Mode::TRAIN => BatchNormMode::Train,
        Mode::EVAL => BatchNormMode::Eval,
        Mode::RECOVER => BatchNormMode::Recover,
        Mode::TRAIN_STATISTICS => BatchNormMode::TrainStatistics,
        Mode(other) => return Err(Fault::Call(format!("unknown mode {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{
        Case, Cases,
        Input::{Free, Positive},
        case, constant,
    };

    impl Cases for Norm {
        fn cases() -> Vec<Case> {
            let mut cases = Vec::new();
            let running = [constant(&[0.1, -0.2], &[2]), constant(&[0.7, 1.3], &[2])];
            let eps = 1e-2;
            // Images, and tokens (N L, C, 1, 1).
            let batches: [&'static [usize]; 2] = [&[3, 2, 3, 1], &[5, 2, 1, 1]];
            for dims in batches {
                for flags in 0..4 * 2 * 2 {
                    let (mode, relu, residual) = (flags / 4, flags / 2 % 2 == 1, flags % 2 == 1);
                    let mut inputs = vec![Free(dims), Positive(&[2]), Free(&[2])];
                    inputs.extend(running.clone());
                    if residual {
                        inputs.push(Free(dims));
                    }
                    let mode = Mode(mode);
                    cases.push(case(Self::BatchNorm { mode, relu, eps }, &inputs));
                    let (min, max) = (-0.35, 0.55);
                    let limited = Self::LimitedBatchNorm {
                        mode,
                        min,
                        max,
                        eps,
                    };
                    if relu {
                        cases.push(case(limited, &inputs));
                    } else if !residual {
                        cases.push(case(Self::SiluBatchNorm { mode, eps }, &inputs));
                    }
                }
            }
            let affine = [Positive(&[4]), Free(&[4])];
            let batches: [&'static [usize]; 3] = [&[2, 4, 3, 1], &[3, 4, 1, 1], &[1, 4, 5, 7]];
            for dims in batches {
                let inputs = [&[Free(dims)][..], &affine].concat();
                // One entry to a statistic has no slope to check.
                for groups in [1, 2, 4]
                    .into_iter()
                    .filter(|groups| dims[2] > 1 || *groups < 4)
                {
                    for relu in [false, true] {
                        cases.push(case(Self::GroupNorm { groups, relu, eps }, &inputs));
                    }
                }
            }
            let batches: [&'static [usize]; 3] = [&[3, 4], &[2, 3, 4], &[4]];
            for dims in batches {
                let inputs = [&[Free(dims)][..], &affine].concat();
                cases.push(case(Self::LayerNorm { eps }, &inputs));
            }
            cases
        }
    }
}

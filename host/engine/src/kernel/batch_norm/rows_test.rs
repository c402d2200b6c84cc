use super::*;

const ROWS: usize = 70;
/// More than a task has, and no multiple.
const CHANNELS: usize = 45;

fn numbers(count: usize, seed: usize) -> Vec<f64> {
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f64 / 504.5 - 1.0;
    (0..count).map(number).collect()
}

/// Channels first.
fn turned<T: Copy>(rows: &[T]) -> Vec<T> {
    let column = |c: usize| (0..ROWS).map(move |r| r * CHANNELS + c);
    (0..CHANNELS).flat_map(column).map(|i| rows[i]).collect()
}

fn agree(name: &str, rows: &[f64], images: &[f64]) {
    assert_eq!(rows.len(), images.len(), "{name}");
    for (a, b) in rows.iter().zip(images) {
        assert!((a - b).abs() < 1e-12, "{name}: {a} {b}");
    }
}

/// The gradients, which are the same where one takes the place of the result's.
fn both_ways(args: Backward<'_, [f64], [u8]>) -> Gradients<Vec<f64>> {
    let expected = backward(&args, None);
    let mut place = args.g_y.unwrap().to_vec();
    let got = backward(&Backward { g_y: None, ..args }, Some(&mut place));
    match &expected.residual {
        Some(residual) => {
            assert_eq!(&place, residual);
            assert_eq!(got.x, expected.x);
        }
        None => assert_eq!(Some(&place), expected.x.as_ref()),
    }
    assert!(got.residual.is_none());
    assert_eq!((&got.weight, &got.bias), (&expected.weight, &expected.bias));
    expected
}

#[test]
fn rows_are_images_of_one_position() {
    let rows = Planes {
        batch: ROWS,
        channels: CHANNELS,
        plane: 1,
    };
    let image = Planes {
        batch: 1,
        channels: CHANNELS,
        plane: ROWS,
    };
    let len = ROWS * CHANNELS;
    let [x, residual, g_y] = [1, 2, 3].map(|seed| numbers(len, seed));
    let [weight, bias, mean, g_mean, g_var] = [4, 5, 6, 7, 8].map(|seed| numbers(CHANNELS, seed));
    let var: Vec<f64> = numbers(CHANNELS, 9).iter().map(|v| v * v + 0.1).collect();
    let [turned_x, turned_residual, turned_g] = [&x, &residual, &g_y].map(|t| turned(t));
    let both = After::Limits(Limits {
        min: -0.3,
        max: 0.6,
    });
    for (after, frozen, beside) in [
        (After::NOTHING, false, false),
        (After::RELU, false, true),
        (both, true, true),
        (both, false, false),
        (After::Silu, false, false),
        (After::Silu, true, false),
    ] {
        let name = format!("{after:?} {frozen} {beside}");
        let to = |planes, x, residual| Forward {
            planes,
            x,
            weight: &weight[..],
            bias: &bias[..],
            frozen: frozen.then_some([&mean[..], &var[..]]),
            residual,
            statistics: true,
            after,
            mask: beside,
            eps: 1e-3,
        };
        let residuals = [&residual, &turned_residual].map(|r| beside.then_some(&r[..]));
        let got = super::forward(&to(rows, &x[..], residuals[0]));
        let expected = super::forward(&to(image, &turned_x[..], residuals[1]));
        agree(&name, &turned(&got.y), &expected.y);
        agree(&name, &got.mean, &expected.mean);
        agree(&name, &got.var, &expected.var);
        assert!(!beside || turned(&got.mask) == expected.mask, "{name}");
        let normaliser = match frozen {
            true => [&mean, &var],
            false => [&expected.mean, &expected.var],
        };
        for by_mask in [true, false] {
            let back = |planes, x, g_y, mask, y| Backward {
                planes,
                x: Some(x),
                weight: &weight[..],
                bias: &bias[..],
                normaliser: normaliser.map(Vec::as_slice),
                frozen,
                mean: Some(&expected.mean[..]),
                gate: match (after.is_some(), beside, by_mask) {
                    (false, ..) => Gate::Open,
                    (_, false, _) => Gate::ByX,
                    (_, true, true) => Gate::Mask(mask),
                    (_, true, false) => Gate::Result(y),
                },
                after,
                eps: 1e-3,
                g_y: Some(g_y),
                g_mean: Some(&g_mean[..]),
                g_var: Some(&g_var[..]),
                needs_x: true,
                needs_affine: true,
                needs_residual: beside,
            };
            let got = back(rows, &x[..], &g_y[..], &got.mask[..], &got.y[..]);
            let got = both_ways(got);
            let (mask, y) = (&expected.mask[..], &expected.y[..]);
            let expected = back(image, &turned_x[..], &turned_g[..], mask, y);
            let expected = both_ways(expected);
            agree(&name, &turned(&got.x.unwrap()), &expected.x.unwrap());
            agree(&name, &got.weight, &expected.weight);
            agree(&name, &got.bias, &expected.bias);
            let both = got.residual.zip(expected.residual);
            assert_eq!(both.is_some(), beside);
            if let Some((got, expected)) = both {
                agree(&name, &turned(&got), &expected);
            }
        }
    }
}

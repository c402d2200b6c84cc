//! Regularizer `densification`: the data densification of G-VBSM (Shao et al., CVPR 2024), which spreads the images of a class.

use nalgebra::{DMatrix, SymmetricEigen};
use plugin_api::prelude::*;

/// `sum over the classes of the batch of KL(softmax(l / temperature) || softmax(l))`, `l` the eigenvalues of `X X^T`, `X` the class's
/// views after adaptive average pooling to `side` x `side`, a row for each. The first distribution is a constant for the gradient, as in
/// the authors' code. A class with a single image adds 0.
#[derive(Deserialize, JsonSchema)]
#[serde(try_from = "Options")]
struct Densification(Options);

/// Options of `densification`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Side to which the views are pooled, 1 to 4,096 pixels
    #[serde(default = "thirty_two")]
    #[schemars(range(min = 1, max = 4096))]
    side: u32,
    /// Temperature of the flatter distribution, above 0
    #[serde(default = "four")]
    #[schemars(range(min = 0.0))]
    temperature: f64,
}

fn thirty_two() -> u32 {
    32
}
fn four() -> f64 {
    4.
}

impl TryFrom<Options> for Densification {
    type Error = Error;

    fn try_from(options: Options) -> Result<Self> {
        let Options { side, temperature } = options;
        ensure!(side > 0, "side: expected at least 1 pixel, got 0");
        ensure!(
            temperature > 0. && temperature.is_finite(),
            "temperature: expected a number above 0, got {temperature}"
        );
        Ok(Self(options))
    }
}

impl Regularizer for Densification {
    fn forward(&self, x: &RegularizerInput<'_>) -> Result<Tensor> {
        let side = self.0.side as usize;
        let [n, channels, height, width] = x.view.dims().context("view")?;
        ensure!(
            x.labels.len() == n,
            "{} labels for {n} views; densification needs the class of each",
            x.labels.len()
        );
        let pooled = match (height, width) == (side, side) {
            true => x.view.clone(),
            false => x.view.adaptive_avg_pool2d(side, side)?,
        };
        let rows = pooled.reshape(&[n, channels * side * side])?;
        let mut classes = x.labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let mut sum = (x.view.mean_all()? * 0.)?;
        for class in classes {
            let own = (0u32..).zip(x.labels).filter(|&(_, &label)| label == class);
            let own: Vec<u32> = own.map(|(i, _)| i).collect();
            if own.len() < 2 {
                continue;
            }
            let own = rows.index_select(&x.ctx.indices(&own, &[own.len()])?, 0)?;
            let values = eigenvalues(&own.matmul(&own.t()?)?)?.unsqueeze(0)?;
            let flat = (&values / self.0.temperature)?.detach()?;
            let (flat, logs) = (flat.softmax(1)?, flat.log_softmax(1)?);
            let apart = (flat * (logs - values.log_softmax(1)?)?)?.sum_all()?;
            sum = (sum + apart)?;
        }
        Ok(sum)
    }

    fn needs(&self) -> Needs {
        Needs {
            stops_gradient: true,
            ..Needs::default()
        }
    }
}

/// The eigenvalues of a symmetric matrix, descending, with their gradients: that of `v^T A v` for a fixed unit eigenvector `v`.
///
/// # Shapes
/// [n, n] -> [n]
fn eigenvalues(matrix: &Tensor) -> Result<Tensor> {
    let [n, _] = matrix.dims()?;
    let entries = matrix.to_vec_f64()?;
    let finite = entries.iter().all(|v| v.is_finite());
    ensure!(finite, "the products of views are not finite");
    let eigen = SymmetricEigen::new(DMatrix::from_row_slice(n, n, &entries));
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let column = |&i: &usize| eigen.eigenvectors.column(i).iter().copied().collect();
    let vectors: Vec<f64> = order.iter().map(column).collect::<Vec<Vec<f64>>>().concat();
    // A row for each vector.
    let vectors = matrix.new_like(&vectors, &[n, n])?;
    (vectors.matmul(matrix)? * &vectors)?.sum(&[1])
}

export_plugin! { regularizer "densification": Densification = "how unlike each other the images of a class are (G-VBSM)" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, serde_json::json, testing};

    const LABELS: [u32; 5] = [3, 1, 3, 3, 1];

    /// Value and gradient on five images of 2 x 2 pixels, `sin(k)` for the k-th value, times `scale`.
    fn at(options: &str, scale: f64) -> Result<(f64, Vec<f64>)> {
        let ctx = testing::ctx("recover");
        let pixels: Vec<f64> = (0..60).map(|k| scale * f64::from(k).sin()).collect();
        let view = ctx.tensor(&pixels, &[5, 3, 2, 2])?.leaf()?;
        let input = RegularizerInput {
            labels: &LABELS,
            ..RegularizerInput::new(&view, &ctx)
        };
        let value = parse_options::<Densification>(options)?.forward(&input)?;
        let gradient = plugin_api::grad(&value, &[&view], false)?.remove(0);
        let gradient = gradient.expect("a gradient").to_vec_f64()?;
        Ok((value.to_scalar()?, gradient))
    }

    // x = (scale * torch.sin(torch.arange(60, dtype=torch.float64))).reshape(5, 3, 2, 2).requires_grad_()
    // y = torch.tensor([3, 1, 3, 3, 1]); loss = 0
    // p = F.adaptive_avg_pool2d(x, side).reshape(5, -1)
    // for c in (1, 3):
    //     l = torch.linalg.eigvalsh(p[y == c] @ p[y == c].t())
    //     loss += F.kl_div(l.log_softmax(-1), (l / 4).softmax(-1).detach(), reduction="sum")
    // loss.backward(); loss.item(), x.grad.flatten()[[0, 17, 59]]
    #[test]
    fn values_are_pytorchs() {
        for (options, scale, expected, slopes) in CASES {
            let (value, gradient) = at(options, scale).unwrap();
            assert!((value - expected).abs() < 1e-11, "{options}: {value}");
            for (i, slope) in [0, 17, 59].into_iter().zip(slopes) {
                let got = gradient[i];
                assert!((got - slope).abs() < 1e-11, "{options}, {i}: {got} {slope}");
            }
        }
    }

    const CASES: [(&str, f64, f64, [f64; 3]); 4] = [
        (
            r#"{"side": 2}"#,
            1.0,
            1.0128929317144986,
            [
                -0.23436851790520907,
                -0.02932308764370365,
                0.5032751716647907,
            ],
        ),
        (
            r#"{"side": 1}"#,
            1.0,
            0.029352059624314364,
            [
                0.0012574180240339976,
                -0.006351234863698974,
                -0.006202248268352215,
            ],
        ),
        (
            r#"{"side": 4}"#,
            0.5,
            1.0128929317144981,
            [
                -0.4687370358104184,
                -0.058646175287408404,
                1.0065503433295817,
            ],
        ),
        (
            r#"{"side": 2}"#,
            3.0,
            0.18269550071691204,
            [
                -0.00021073490470285781,
                -0.0055976318127035785,
                0.09607273100585377,
            ],
        ),
    ];

    #[test]
    fn a_single_image_of_a_class_adds_nothing_and_labels_are_needed() {
        let ctx = testing::ctx("recover");
        let view = testing::random(&[2, 3, 4, 4], 1);
        let value = |labels| {
            let input = RegularizerInput {
                labels,
                ..RegularizerInput::new(&view, &ctx)
            };
            parse_options::<Densification>("{}")?.forward(&input)
        };
        assert_eq!(value(&[0, 1]).unwrap().to_scalar().unwrap(), 0.);
        let error = value(&[0]).err().expect("refused").to_string();
        assert!(error.contains("1 labels for 2 views"), "{error}");
        let error = at(r#"{"temperature": 0}"#, 1.).unwrap_err();
        assert!(error.to_string().contains("above 0"), "{error}");
    }

    #[test]
    fn keeps_the_contract() {
        testing::check_regularizer::<Densification>("densification", json!({})).unwrap();
    }
}

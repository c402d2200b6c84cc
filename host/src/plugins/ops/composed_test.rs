//! The methods of tensors that are composed of operations, against PyTorch, and their gradients.

use candle_core::Device;
use plugin_api::contract::gradient_check;

use super::*;

fn handle(dims: &[usize]) -> Handle {
    let count: usize = dims.iter().product();
    let values: Vec<f64> = (0..count).map(|i| (i as f64 * 0.7).sin()).collect();
    export(Tensor::from_vec(values, dims, &Device::Cpu).unwrap())
}

fn values(x: &Handle) -> Vec<f64> {
    x.to_vec_f64().unwrap()
}

#[track_caller]
fn near(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{got:?}");
    let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0., f64::max) < 1e-12, "{got:?} {expected:?}");
}

// x = torch.sin(0.7 * torch.arange(6, dtype=torch.float64)).reshape(2, 3)
// torch.arange(1, 3, 0.5); F.one_hot(torch.tensor([2, 0]), 3)
#[test]
fn numbers_in_a_row_and_classes() {
    let x = handle(&[2, 3]);
    assert_eq!(
        values(&x.arange_like(1., 0.5, 4).unwrap()),
        [1., 1.5, 2., 2.5]
    );
    let labels = x.new_u32(&[2, 0], &[2]).unwrap();
    let hot = labels.one_hot(3, &x).unwrap();
    assert_eq!(hot.shape(), [2, 3]);
    assert_eq!(values(&hot), [0., 0., 1., 1., 0., 0.]);
    let error = labels.one_hot(2, &x).err().unwrap().to_string();
    assert!(error.contains("class 2, expected one below 2"), "{error}");
}

// v, i = x.sort(0); v.tolist(), i.tolist(); x.sort(1, descending=True)
#[test]
fn elements_in_order() {
    let x = handle(&[3, 2]);
    let all = values(&x);
    for (dim, descending, places) in [
        (0, false, [0u32, 2, 2, 0, 1, 1]),
        (0, true, [1, 1, 2, 0, 0, 2]),
        (1, false, [0, 1, 1, 0, 1, 0]),
    ] {
        let (sorted, at) = x.sort(dim, descending).unwrap();
        assert_eq!(at.to_vec_u32().unwrap(), places, "{dim} {descending}");
        let expected = places.iter().enumerate().map(|(i, &place)| match dim {
            0 => all[place as usize * 2 + i % 2],
            _ => all[i / 2 * 2 + place as usize],
        });
        assert_eq!(values(&sorted), expected.collect::<Vec<_>>());
    }
    let slopes = |x: &[Handle]| (x[0].sort(0, false)?.0 * handle(&[3, 2]))?.sum_all();
    gradient_check(slopes, &[x], 1e-6).unwrap();
}

// x.cumsum(0), x.cumsum(1) of torch.sin(0.7 * torch.arange(4)).reshape(2, 2)
#[test]
fn running_sums() {
    let x = handle(&[2, 2]);
    let [a, b, c, d] = values(&x).try_into().unwrap();
    near(&values(&x.cumsum(0).unwrap()), &[a, b, a + c, b + d]);
    near(&values(&x.cumsum(1).unwrap()), &[a, a + b, c, c + d]);
    let cube = handle(&[2, 3, 2]);
    let middle = values(&cube.cumsum(1).unwrap());
    let plain = values(&cube);
    near(
        &middle[4..6],
        &[
            plain[0] + plain[2] + plain[4],
            plain[1] + plain[3] + plain[5],
        ],
    );
    let slopes = |x: &[Handle]| (x[0].cumsum(1)?.sqr()? * handle(&[2, 3, 2]))?.sum_all();
    gradient_check(slopes, &[cube], 1e-6).unwrap();
}

// u = lambda *s: torch.sin(0.7 * torch.arange(math.prod(s), dtype=torch.float64)).reshape(s)
// torch.einsum("nc,dc->nd", u(2, 3), u(2, 3)), ..
#[test]
fn sums_of_products() {
    type Case<'a> = (&'a str, &'a [&'a [usize]], &'a [f64]);
    let cases: [Case<'_>; 6] = [
        (
            "nc,dc->nd",
            &[&[2, 3], &[2, 3]],
            &[
                1.3861275988842086,
                -0.12987394566574684,
                -0.12987394566574684,
                0.9803963442435729,
            ],
        ),
        (
            "bij,bjk->bki",
            &[&[2, 1, 3], &[2, 3, 2]],
            &[
                0.9649581280626434,
                0.21041550477323323,
                -1.1942790934150247,
                -1.189062682665549,
            ],
        ),
        (
            "ab->b",
            &[&[2, 3]],
            &[0.8632093666488739, 0.9792058373935961, 0.6346665022988403],
        ),
        ("ab,cd->", &[&[2, 2], &[2, 1]], &[1.6059553162765021]),
        (
            "nc,c,nd->dn",
            &[&[2, 3], &[3], &[2, 2]],
            &[
                0.0,
                -0.12798424468884617,
                0.8929679159695187,
                -0.11210840638231959,
            ],
        ),
        (
            "abc->cab",
            &[&[1, 2, 2]],
            &[
                0.0,
                0.9854497299884601,
                0.644217687237691,
                0.8632093666488739,
            ],
        ),
    ];
    for (equation, dims, expected) in cases {
        let operands: Vec<Handle> = dims.iter().map(|d| handle(d)).collect();
        let all: Vec<&Handle> = operands.iter().collect();
        near(&values(&Handle::einsum(equation, &all).unwrap()), expected);
        let sum = |x: &[Handle]| {
            Handle::einsum(equation, &x.iter().collect::<Vec<_>>())?
                .sqr()?
                .sum_all()
        };
        gradient_check(sum, &operands, 1e-6).unwrap();
    }
}

#[test]
fn letters_that_do_not_fit_are_told() {
    let (a, b) = (handle(&[2, 3]), handle(&[2, 3]));
    for (equation, part) in [
        ("nc,cd", "after \"->\""),
        ("nc->n", "2 operands for the letters of 1"),
        ("nc,ncd->n", "3 letters for shape [2, 3]"),
        ("nc,cd->nd", "'c' is 3 and 2"),
        ("nc,nn->c", "each once an operand"),
        ("nc,nc->x", "'x' in the result"),
    ] {
        let error = Handle::einsum(equation, &[&a, &b])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(part) && error.contains(equation), "{error}");
    }
}

//! Products of factors in any layout, and long sums that are split.

use super::*;

#[test]
fn products_of_transposed_and_plain_matrices_agree_with_the_definition() {
    let (m, n, k) = (131, 7, 5);
    let a: Vec<f64> = (0..m * k).map(|i| (i * 7 % 11) as f64 - 5.0).collect();
    let b: Vec<f64> = (0..k * n).map(|i| (i * 5 % 13) as f64 - 6.0).collect();
    let at: Vec<f64> = (0..m * k).map(|i| a[i % m * k + i / m]).collect();
    let plain = batched(
        1,
        (m, n, k),
        Factors::AsGiven,
        |_| Matrix::rows(&a, k),
        |_| Matrix::rows(&b, n),
    );
    let turned = batched(
        1,
        (m, n, k),
        Factors::AsGiven,
        |_| Matrix::rows(&at, m).transposed(),
        |_| Matrix::rows(&b, n),
    );
    for i in 0..m {
        for j in 0..n {
            let expected: f64 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            assert_eq!(plain[i * n + j], expected);
            assert_eq!(turned[i * n + j], expected);
        }
    }
}

#[test]
fn long_sums_are_split_and_every_step_counts_once() {
    for (terms, k) in [(1, 5000), (3, 1001), (40, 49), (7, 384)] {
        let (m, n) = (23, 37);
        let number = |i: usize| ((i * 7919) % 13) as f32 - 6.0;
        let a: Vec<f32> = (0..terms * m * k).map(number).collect();
        let b: Vec<f32> = (0..terms * k * n).map(|i| number(i + 5)).collect();
        assert!(Plan::new(1, terms, (m, n, k), 14).splits > 1);
        let left = |i: usize| Matrix::rows(&a[i * m * k..], k);
        let right = |i: usize| Matrix::rows(&b[i * k * n..], n);
        let got = summed(terms, (m, n, k), Factors::AsGiven, left, right);
        for (place, got) in got.iter().enumerate() {
            let (i, j) = (place / n, place % n);
            let of = |t: usize, l: usize| a[(t * m + i) * k + l] * b[(t * k + l) * n + j];
            let all = (0..terms).flat_map(|t| (0..k).map(move |l| (t, l)));
            // Whole numbers: exact in f32.
            assert_eq!(*got, all.map(|(t, l)| of(t, l)).sum::<f32>());
        }
    }
}

#[test]
fn an_empty_inner_dimension_gives_zeros() {
    let out = batched::<f32>(
        2,
        (2, 3, 0),
        Factors::AsGiven,
        |_| Matrix::rows(&[], 1),
        |_| Matrix::rows(&[], 3),
    );
    assert_eq!(out, [0.0; 12]);
}

#[test]
fn products_are_added_to_what_is_there() {
    // Whole numbers: exact in f32.
    let number = |i: usize| ((i * 7919) % 13) as f32 - 6.0;
    for (batch, m, n, k) in [(3, 40, 300, 17), (1, 8, 33, 3000), (2, 3, 5, 4)] {
        let a: Vec<f32> = (0..m * k).map(number).collect();
        let b: Vec<f32> = (0..batch * k * n).map(|i| number(i + 5)).collect();
        let before: Vec<f32> = (0..batch * m * n).map(|i| number(i + 9)).collect();
        let left = |_: usize| Matrix::rows(&a, k);
        let right = |i: usize| Matrix::rows(&b[i * k * n..], n);
        let product = batched(batch, (m, n, k), Factors::AsGiven, left, right);
        let mut got = before.clone();
        batched_onto(&mut got, (m, n, k), Factors::AsGiven, left, right);
        let sums = product.iter().zip(&before).map(|(a, b)| a + b);
        assert_eq!(got, sums.collect::<Vec<_>>());
    }
}

//! Mean and deviation of some accuracies.

/// Mean and sample standard deviation `sqrt(Σ(x - mean)² / (n - 1))`: no mean of nothing, no deviation of one value.
pub fn mean_std(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let count = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some((
        mean,
        (values.len() > 1).then(|| (squares / (count - 1.)).sqrt()),
    ))
}

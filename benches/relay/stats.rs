//! Medians, and how far a median may be trusted.

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Within each round, one over the other.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter()
        .zip(theirs)
        .filter(|(_, theirs)| **theirs > 0.0)
        .map(|(ours, theirs)| ours / theirs)
        .collect()
}

/// The 95 % interval of the median by order statistics: of how many values lie below the true
/// median, the binomial distribution tells, whatever the values' own distribution is. `None` for
/// fewer than six values, of which no interval is that sure.
pub(crate) fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let mut below = 0.0;
    let mut chance = 0.5_f64.powi(n as i32);
    let mut cut = None;
    for k in 0..n / 2 {
        below += chance;
        if below > 0.025 {
            break;
        }
        cut = Some(k);
        chance = chance * (n - k) as f64 / (k + 1) as f64;
    }
    cut.map(|k| (sorted[k], sorted[n - 1 - k]))
}

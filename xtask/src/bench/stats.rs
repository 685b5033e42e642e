//! Medians and ratios of interleaved rounds.

/// The middle of some values; the mean of the two middle ones when there is none. `NaN` of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.len() % 2, half.checked_sub(1).and_then(|below| sorted.get(below)), sorted.get(half)) {
        (1, _, Some(middle)) => *middle,
        (0, Some(below), Some(above)) => f64::midpoint(*below, *above),
        _ => f64::NAN,
    }
}

/// Median, least and greatest of the ratios round by round: what else the machine did in a round is in both values.
pub(super) fn ratio(values: &[f64], of: &[f64]) -> (f64, f64, f64) {
    let ratios: Vec<f64> = values.iter().zip(of).map(|(value, of)| value / of).collect();
    let least = ratios.iter().copied().fold(f64::NAN, f64::min);
    let greatest = ratios.iter().copied().fold(f64::NAN, f64::max);
    (median(&ratios), least, greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0]).to_bits(), 2.5_f64.to_bits());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // Everything doubles in the second round; the ratio does not move.
        let (middle, least, greatest) = ratio(&[2.0, 4.0, 3.0], &[1.0, 2.0, 2.0]);
        assert_eq!([middle, least, greatest].map(f64::to_bits), [2.0, 1.5, 2.0].map(f64::to_bits));
    }
}

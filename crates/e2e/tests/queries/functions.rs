//! Prometheus' functions of ranges and buckets, written from its documentation: what it extrapolates, and how it interpolates.

use artstore_e2e::prometheus::Point;

/// How much a counter grew within a window, extrapolated to the window's ends as Prometheus does.
///
/// A counter that falls has begun again at 0. The growth between first and last sample is stretched to the ends of the window, or by half an
/// average distance where the window begins or ends further away than 1.1 distances: there the series began or ended; and never
/// to before the moment at which the counter would have been 0.
pub(crate) fn increase(points: &[Point], time: f64, window: f64) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let covered = last.time - first.time;
    if points.len() < 2 || covered <= 0.0 {
        return None;
    }
    let resets: f64 = points.windows(2).filter(|pair| pair[1].value < pair[0].value).map(|pair| pair[0].value).sum();
    let growth = last.value - first.value + resets;
    let distance = covered / (points.len() - 1) as f64;
    let stretch = |gap: f64| if gap < distance * 1.1 { gap } else { distance / 2.0 };
    let mut before = first.time - (time - window);
    if growth > 0.0 && first.value >= 0.0 {
        before = before.min(covered * first.value / growth);
    }
    Some(growth * (covered + stretch(before) + stretch(time - last.time)) / covered)
}

/// Where the straight line through the points (least squares) is `ahead` seconds after `time`.
pub(crate) fn predict(points: &[Point], time: f64, ahead: f64) -> Option<f64> {
    if points.len() < 2 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |of: fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (middle, level) = (mean(|point| point.time), mean(|point| point.value));
    let moved: f64 = points.iter().map(|point| (point.time - middle) * (point.value - level)).sum();
    let spread: f64 = points.iter().map(|point| (point.time - middle).powi(2)).sum();
    Some(level + moved / spread * (time + ahead - middle))
}

/// A quantile from cumulative buckets (upper bound, count): linear within a bucket, the lowest begins at 0, and of what lies
/// beyond the highest finite bound no more is known than that bound.
pub(crate) fn quantile(q: f64, buckets: &mut [(f64, f64)]) -> f64 {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(&(top, all)) = buckets.last() else { return f64::NAN };
    if top != f64::INFINITY || buckets.len() < 2 || all == 0.0 || all.is_nan() {
        return f64::NAN;
    }
    // Samples of one scrape cannot contradict each other, rounding errors of rates can.
    for index in 1..buckets.len() {
        buckets[index].1 = buckets[index].1.max(buckets[index - 1].1);
    }
    let rank = q * all;
    let finite = buckets.len() - 1;
    let index = buckets[..finite].iter().position(|(_, count)| *count >= rank).unwrap_or(finite);
    if index == finite {
        return buckets[finite - 1].0;
    }
    let (start, below) = if index == 0 { (0.0, 0.0) } else { buckets[index - 1] };
    let (end, count) = buckets[index];
    start + (end - start) * ((rank - below) / (count - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[(f64, f64)]) -> Vec<Point> {
        values.iter().map(|&(time, value)| Point { time, value }).collect()
    }

    /// By hand: 10 in 4 s; the window of 5 s begins half a second before the first and ends half a second after the last.
    #[test]
    fn growth_is_stretched_to_near_ends() {
        let all = points(&[(0.5, 100.0), (1.5, 102.0), (2.5, 105.0), (3.5, 107.0), (4.5, 110.0)]);
        assert_eq!(increase(&all, 5.0, 5.0), Some(10.0 * 5.0 / 4.0));
        // Far ends: half a distance each.
        assert_eq!(increase(&all, 100.0, 100.0), Some(10.0 * 5.0 / 4.0));
        // A counter that was 0 a quarter of a second before the first sample.
        let young = points(&[(0.5, 0.25), (1.5, 1.25), (2.5, 2.25)]);
        assert_eq!(increase(&young, 2.5, 2.5), Some(2.0 * 2.25 / 2.0));
        assert_eq!(increase(&all[..1], 5.0, 5.0), None);
    }

    #[test]
    fn a_counter_that_falls_began_again_at_zero() {
        let all = points(&[(0.0, 10.0), (1.0, 12.0), (2.0, 3.0)]);
        assert_eq!(increase(&all, 2.0, 2.0), Some(5.0));
    }

    /// Of 100 within 0.1, 0.2 and beyond: 50, 40, 10.
    #[test]
    fn quantiles_are_interpolated_within_their_bucket() {
        let mut buckets = [(0.2, 90.0), (0.1, 50.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(0.25, &mut buckets), 0.05);
        assert!((quantile(0.7, &mut buckets) - 0.15).abs() < 1e-12);
        assert_eq!(quantile(0.95, &mut buckets), 0.2);
        assert!(quantile(0.5, &mut [(0.1, 0.0), (f64::INFINITY, 0.0)]).is_nan());
    }

    #[test]
    fn a_straight_line_goes_on() {
        assert_eq!(predict(&points(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0, 3.0), Some(11.0));
    }
}

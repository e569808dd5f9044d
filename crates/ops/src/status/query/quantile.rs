//! A quantile from cumulative buckets, interpolated as Prometheus does.

/// The quantile of buckets (upper bound, cumulative count), in any order; NaN without observations or without `+Inf`.
pub(super) fn quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(&(last, total)) = buckets.last() else { return f64::NAN };
    if last != f64::INFINITY || buckets.len() < 2 || total.is_nan() || total <= 0.0 {
        return f64::NAN;
    }
    let rank = q * total;
    let index = buckets.iter().position(|(_, count)| *count >= rank).unwrap_or(buckets.len() - 1);
    if index == buckets.len() - 1 {
        return buckets[index - 1].0;
    }
    let (bound, count) = buckets[index];
    let (below, before) = if index == 0 { (0.0, 0.0) } else { buckets[index - 1] };
    if index == 0 && bound <= 0.0 {
        return bound;
    }
    below + (bound - below) * (rank - before) / (count - before)
}

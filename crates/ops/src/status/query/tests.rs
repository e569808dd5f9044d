//! Expressions on numbers that can be followed by hand.

use super::*;
use crate::status::history::Memory;
use artstore_metrics::{Family, Label, Sample};
use std::collections::BTreeMap;

const C: Family = Family::counter("c_total", "C.").labels(&[Label::open("a", "two")]);
const G: Family = Family::gauge("g", "G.").labels(&[Label::open("a", "two")]);
const H: Family = Family::histogram("h_seconds", "H.", &[0.5, 1.0]);

fn sample(family: &'static Family, name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sample { family, name: name.to_owned(), labels, value }
}

/// Readings every 60 s from 0 to 600 s: `c` grows by 1 and by 3 a minute, `g` is 10 − minutes and, from minute 5 on, 7.
fn memory() -> Memory {
    let wanted = ["c_total", "g", "h_seconds_bucket"].map(|name| (name.to_owned(), 0.0));
    let mut memory = Memory::new(&BTreeMap::from(wanted), Labels::from([("job".to_owned(), "j".to_owned())]));
    for minute in 0..=10_u32 {
        let at = f64::from(minute);
        let mut samples = vec![
            sample(&C, "c_total", &[("a", "x")], at),
            sample(&C, "c_total", &[("a", "y")], at * 3.0),
            sample(&G, "g", &[("a", "x")], 10.0 - at),
            sample(&H, "h_seconds_bucket", &[("le", "0.5")], at * 2.0),
            sample(&H, "h_seconds_bucket", &[("le", "1.0")], at * 3.0),
            sample(&H, "h_seconds_bucket", &[("le", "+Inf")], at * 4.0),
        ];
        if minute >= 5 {
            samples.push(sample(&G, "g", &[("a", "y")], 7.0));
        }
        memory.push(at * 60.0, &samples);
    }
    memory
}

/// The rows at minute 10: `a=x 1` and so on, sorted.
fn at_the_end(text: &str) -> Vec<String> {
    rows(text, &[600.0]).into_iter().map(|(labels, points)| format!("{labels}{}", points[0])).collect()
}

fn rows(text: &str, times: &[f64]) -> Vec<(String, Vec<f64>)> {
    let (memory, expression) = (memory(), Expression::read(text).unwrap_or_else(|| panic!("not read: {text}")));
    let twice = Expression::read("sum by (a) (increase(c_total[5m])) * 2").unwrap();
    let records = BTreeMap::from([("level:c:twice", twice)]);
    let at = Evaluation { memory: &memory, records: &records, times, wall_ahead: 1_000.0 };
    let named = |labels: Labels| labels.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
    at.series(&expression).into_iter().map(|(labels, points)| (named(labels), points)).collect()
}

#[test]
fn expressions_are_worth_what_they_are_by_hand() {
    for (text, expected) in [
        ("g", vec!["a=x job=j 0", "a=y job=j 7"]),
        ("increase(c_total[5m])", vec!["a=x job=j 5", "a=y job=j 15"]),
        ("rate(c_total{a=\"y\"}[2m])", vec!["a=y job=j 0.05"]),
        // There is no more than ten minutes to look back on.
        ("rate(c_total{a!=\"y\"}[1h])", vec!["a=x job=j 0.016666666666666666"]),
        ("sum by (job) (increase(c_total[5m]))", vec!["job=j 20"]),
        ("sum(increase(c_total{a=~\"x|y\"}[5m])) - 1", vec!["19"]),
        ("min by (job) (g)", vec!["job=j 0"]),
        ("max by (job) (g)", vec!["job=j 7"]),
        ("g < 7", vec!["a=x job=j 0"]),
        ("g >= 7 and g > 6", vec!["a=y job=j 7"]),
        ("g == 0 or g <= 7", vec!["a=x job=j 0", "a=y job=j 7"]),
        ("g > 7", vec![]),
        ("1 - g / 7", vec!["a=x job=j 1", "a=y job=j 0"]),
        ("time() - 600 + 0 * 3", vec!["1000"]),
        ("level:c:twice{a=\"y\"} / 10", vec!["a=y 3"]),
        ("g < 1 and on (job) increase(c_total[1m]) > 2", vec!["a=x job=j 0"]),
        ("g < 1 and on (job) increase(c_total[1m]) > 3", vec![]),
        // 20, 30 and 40 in all: the 30th is at 1 s, the 20th at 0.5 s; the 40th is beyond all bounds.
        ("histogram_quantile(0.75, sum by (le) (rate(h_seconds_bucket[5m])))", vec!["1"]),
        ("histogram_quantile(0.5, rate(h_seconds_bucket[5m]))", vec!["job=j 0.5"]),
        ("histogram_quantile(0.25, rate(h_seconds_bucket[5m]))", vec!["job=j 0.25"]),
        ("histogram_quantile(0.99, rate(h_seconds_bucket[5m]))", vec!["job=j 1"]),
        ("rate(c_total{a=\"x\",job=~\"$job\"}[$__rate_interval]) * 60", vec!["a=x job=j 1"]),
    ] {
        assert_eq!(at_the_end(text), expected, "{text}");
    }
}

/// Many moments at once: what is not there is a gap.
#[test]
fn a_series_that_comes_later_has_a_gap_before() {
    let rows = rows("g", &[240.0, 300.0, 330.0]);
    assert_eq!(rows[0], ("a=x job=j ".to_owned(), vec![6.0, 5.0, 5.0]));
    assert!(rows[1].1[0].is_nan() && rows[1].1[1..] == [7.0, 7.0], "{rows:?}");
    assert_eq!(self::rows("increase(c_total[5m])", &[0.0]).len(), 0, "one reading does not grow");
}

/// Whatever is not part of the rules' language is refused, not guessed.
#[test]
fn other_expressions_are_not_read() {
    for text in [
        "",
        "vector(1)",
        "absent(up)",
        "avg_over_time(g[5m])",
        "g[5m]",
        "rate(g)",
        "rate(g[5x])",
        "(g",
        "g)",
        "g{a}",
        "g{a=b}",
        "g{a=\"b}",
        "1 +",
        "g ? 1",
        "sum by job (g)",
        "histogram_quantile(g, g)",
        "up{a<\"b\"}",
        "[5m",
        "sum by (1) (g)",
        "\"text\"",
    ] {
        assert_eq!(Expression::read(text), None, "{text}");
    }
    assert_eq!(
        ["90s", "1h30m", "3d", "2w", "250ms", "0s"].map(hold),
        [90.0, 5_400.0, 259_200.0, 1_209_600.0, 0.25, 0.0].map(Some)
    );
    assert_eq!(["5", "m", "5y"].map(hold), [None; 3]);
}

#[test]
fn quantiles_without_observations_or_without_an_end_are_none() {
    use super::quantile::quantile;
    assert!(quantile(0.5, vec![]).is_nan());
    assert!(quantile(0.5, vec![(0.5, 1.0), (1.0, 2.0)]).is_nan());
    assert!(quantile(0.5, vec![(0.5, 0.0), (f64::INFINITY, 0.0)]).is_nan());
    assert_eq!(quantile(0.5, vec![(f64::INFINITY, 4.0), (0.0, 4.0)]), 0.0);
}

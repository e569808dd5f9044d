//! The texts of alerts, filled in: as much of Prometheus' templates as our rules use.

use super::query::Labels;

/// A text with its labels and value; what is not understood stays as it is.
pub(super) fn fill(template: &str, labels: &Labels, value: f64) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, tail)) = after.split_once("}}") else { break };
        filled.push_str(before);
        match fill_one(action.trim(), labels, value) {
            Some(text) => filled.push_str(&text),
            None => filled.extend(["{{", action, "}}"]),
        }
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

fn fill_one(action: &str, labels: &Labels, value: f64) -> Option<String> {
    if let Some(label) = action.strip_prefix("$labels.") {
        return Some(labels.get(label).cloned().unwrap_or_default());
    }
    Some(match action.strip_prefix("$value")?.trim() {
        "" => format!("{value}"),
        "| humanizePercentage" => percentage(value),
        "| humanizeDuration" => duration(value),
        "| printf \"%.1f\"" => format!("{value:.1}"),
        _ => return None,
    })
}

/// `0.1234` as `12.3 %`.
pub(super) fn percentage(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent != 0.0 && percent.abs() < 1.0 { format!("{percent:.2} %") } else { trimmed(percent, 1) + " %" }
}

/// Seconds as people say them: `1 d 2 h`, `4 min 10 s`, `3.2 s`, `45 ms`.
pub(super) fn duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "−" } else { "" };
    let length = seconds.abs();
    let parts = |unit: f64, name: &str, small: f64, small_name: &str| {
        let (large, rest) = ((length / unit).floor(), ((length % unit) / small).floor());
        format!("{sign}{large:.0} {name} {rest:.0} {small_name}")
    };
    if length >= 86_400.0 {
        parts(86_400.0, "d", 3_600.0, "h")
    } else if length >= 3_600.0 {
        parts(3_600.0, "h", 60.0, "min")
    } else if length >= 60.0 {
        parts(60.0, "min", 1.0, "s")
    } else if length >= 1.0 || length == 0.0 {
        format!("{sign}{} s", trimmed(length, 1))
    } else {
        format!("{sign}{} ms", trimmed(length * 1_000.0, 1))
    }
}

/// A number with at most so many decimals, without zeros at its end.
pub(super) fn trimmed(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_with_labels_and_the_value() {
        let labels = Labels::from([("job".to_owned(), "artstore-ingester".to_owned())]);
        let all = "{{ $labels.job }}{{ $labels.none }}: {{ $value }} {{ $value | humanizePercentage }} \
            {{ $value | humanizeDuration }} {{ $value | printf \"%.1f\" }} {{ other }} {{ open";
        assert_eq!(fill(all, &labels, 0.25), "artstore-ingester: 0.25 25 % 250 ms 0.2 {{ other }} {{ open");
        assert_eq!(fill("plain", &labels, 1.0), "plain");
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, said) in [
            (93_784.0, "1 d 2 h"),
            (7_320.0, "2 h 2 min"),
            (250.9, "4 min 10 s"),
            (60.0, "1 min 0 s"),
            (3.24, "3.2 s"),
            (0.0, "0 s"),
            (0.045, "45 ms"),
            (-90.0, "−1 min 30 s"),
        ] {
            assert_eq!(duration(seconds), said);
        }
    }

    #[test]
    fn small_percentages_keep_their_digits() {
        assert_eq!([1.0, 0.999, 0.1444, 0.004_56, 0.0].map(percentage), ["100 %", "99.9 %", "14.4 %", "0.46 %", "0 %"]);
    }
}

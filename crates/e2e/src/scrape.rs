//! A scrape in either text format, strictly read, and sums over it.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a sample, by name.
pub type Labels = BTreeMap<String, String>;

/// One sample of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The sample's name, with `_total`, `_bucket`, `_sum` or `_count` where it has one.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Label names in the order of the text.
    pub order: Vec<String>,
    /// Its value.
    pub value: f64,
    /// The exemplar of a bucket.
    pub exemplar: Option<Exemplar>,
}

/// What a bucket names as an example of its observations.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its labels.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// When, in seconds since 1970.
    pub time: f64,
}

/// One family.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scraped {
    /// From its TYPE line.
    pub kind: String,
    /// From its HELP line.
    pub help: String,
    /// From its UNIT line (OpenMetrics).
    pub unit: Option<String>,
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

/// All families of a scrape, by the name that HELP and TYPE give.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    /// The families.
    pub families: BTreeMap<String, Scraped>,
    /// Whether it ended with `# EOF`.
    pub ended: bool,
}

impl Scrape {
    /// Reads a scrape: every sample must follow the HELP and TYPE of its family, and no sample may appear twice.
    ///
    /// # Panics
    /// When a line is none of the format's.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mut scrape, mut current) = (Self::default(), String::new());
        for line in text.lines() {
            assert!(!scrape.ended, "after # EOF: {line}");
            if line == "# EOF" {
                scrape.ended = true;
            } else if let Some(rest) = line.strip_prefix("# ") {
                current = scrape.describe(rest);
            } else {
                let sample = parse_sample(line);
                assert!(sample.name.starts_with(&current) && !current.is_empty(), "{line} after {current}");
                scrape.families.get_mut(&current).unwrap().samples.push(sample);
            }
        }
        for (name, family) in &scrape.families {
            assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name} has HELP and TYPE");
            let keys: BTreeSet<_> = family.samples.iter().map(|s| (&s.name, &s.labels)).collect();
            assert_eq!(keys.len(), family.samples.len(), "{name}: a sample appears twice");
        }
        scrape
    }

    fn describe(&mut self, rest: &str) -> String {
        let mut words = rest.splitn(3, ' ');
        let (what, name, text) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
        let family = self.families.entry(name.to_owned()).or_default();
        assert!(family.samples.is_empty(), "{what} of {name} after its samples");
        match what {
            "HELP" => family.help = text.to_owned(),
            "TYPE" => family.kind = text.to_owned(),
            "UNIT" => family.unit = Some(text.to_owned()),
            _ => panic!("an unknown comment: {rest}"),
        }
        name.to_owned()
    }

    /// The family of this name, which for a counter may stand with or without `_total`.
    #[must_use]
    pub fn family(&self, name: &str) -> Option<&Scraped> {
        self.families.get(name).or_else(|| self.families.get(name.strip_suffix("_total")?))
    }

    /// The samples of this exact name.
    pub fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.families.values().flat_map(|family| &family.samples).filter(move |sample| sample.name == name)
    }

    /// The sum of the samples of this name that carry all these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        self.samples(name).filter(carries).map(|sample| sample.value).sum()
    }

    /// The one sample of this name with exactly these labels.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Labels = labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        let found = self.samples(name).find(|sample| sample.labels == wanted);
        found.unwrap_or_else(|| panic!("no {name}{wanted:?}")).value
    }

    /// How much every sample has grown since `before`; those that did not move are left out.
    #[must_use]
    pub fn moved_since(&self, before: &Self) -> BTreeMap<(String, Labels), f64> {
        let key = |sample: &Sample| (sample.name.clone(), sample.labels.clone());
        let all = |scrape: &Self| -> BTreeMap<_, _> {
            scrape.families.values().flat_map(|f| &f.samples).map(|s| (key(s), s.value)).collect()
        };
        let old = all(before);
        let growth = all(self).into_iter().map(|(key, value)| {
            let was = old.get(&key).copied().unwrap_or(0.0);
            (key, value - was)
        });
        growth.filter(|(_, by)| *by != 0.0 && !by.is_nan()).collect()
    }
}

fn parse_sample(line: &str) -> Sample {
    let head_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let name = line[..head_end].to_owned();
    let (pairs, rest) = if line[head_end..].starts_with('{') {
        parse_labels(&line[head_end + 1..])
    } else {
        (Vec::new(), &line[head_end..])
    };
    let text = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (text, exemplar) = match text.split_once(" # {") {
        Some((text, exemplar)) => (text, Some(parse_exemplar(exemplar))),
        None => (text, None),
    };
    let value = match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        _ => text.parse().unwrap_or_else(|_| panic!("no number, or more than one: {line}")),
    };
    let order = pairs.iter().map(|(name, _)| name.clone()).collect();
    Sample { name, order, labels: pairs.into_iter().collect(), value, exemplar }
}

/// Reads `a="b"} 0.5 1700000000.123`.
fn parse_exemplar(text: &str) -> Exemplar {
    let (pairs, rest) = parse_labels(text);
    let numbers: Vec<f64> = rest.split_ascii_whitespace().map(|number| number.parse().unwrap()).collect();
    let [value, time] = numbers[..] else { panic!("an exemplar has a value and a time: {text}") };
    Exemplar { labels: pairs.into_iter().collect(), value, time }
}

/// Reads `a="b",…}`; what follows the brace.
fn parse_labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut pairs = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return (pairs, after);
        }
        let (name, after) = rest.split_once("=\"").unwrap();
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (index, c) in after.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (true, other) => value.push(other),
                (false, '\\') => {
                    escaped = true;
                    continue;
                }
                (false, '"') => {
                    end = Some(index);
                    break;
                }
                (false, other) => value.push(other),
            }
            escaped = false;
        }
        pairs.push((name.to_owned(), value));
        rest = &after[end.unwrap() + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unescaped_and_sums_select() {
        let text = "# HELP a x\n# TYPE a counter\na{l=\"q\\\"\\\\\\n,}\",m=\"1\"} 2\na{l=\"z\",m=\"1\"} 3.5\n";
        let scrape = Scrape::parse(text);
        assert_eq!(scrape.value("a", &[("l", "q\"\\\n,}"), ("m", "1")]), 2.0);
        assert_eq!(scrape.sum("a", &[("m", "1")]), 5.5);
        assert_eq!(scrape.sum("a", &[("m", "2")]), 0.0);
    }

    #[test]
    #[should_panic(expected = "appears twice")]
    fn a_sample_that_appears_twice_is_refused() {
        let _ = Scrape::parse("# HELP a x\n# TYPE a counter\na 2\na 3\n");
    }
}

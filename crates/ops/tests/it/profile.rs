//! The fast profile is the same source with other durations and volume guards, and nothing else: shown by a diff.

use crate::promtool::run;
use artstore_ops::{Profile, documents, documents_in};
use std::collections::BTreeSet;
use std::fs;

/// What a word that differs is, by what stands before it in its line.
fn kind(before: &str) -> &'static str {
    let key = before.trim_start().trim_start_matches("- ").trim_end();
    match key {
        "for:" => "hold",
        "scrape_interval:" | "evaluation_interval:" | "interval:" => "scrape",
        "group_wait:" => "group_wait",
        "group_interval:" => "group_interval",
        "repeat_interval:" => "repeat_interval",
        _ if before.ends_with('[') => "window",
        _ if before.ends_with(">= ") => "guard",
        _ if before.ends_with("_seconds < ") || before.ends_with("_seconds > ") => "seconds",
        _ => "something else",
    }
}

/// The differences of one line: kind, true word, fast word.
fn differences(line: &str, fast: &str) -> Vec<(&'static str, String, String)> {
    let words = |line: &str| -> Vec<String> {
        line.split_inclusive(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect()
    };
    let (line_words, fast_words) = (words(line), words(fast));
    assert_eq!(line_words.len(), fast_words.len(), "{line}\n{fast}");
    let mut before = String::new();
    let mut out = Vec::new();
    for (word, fast) in line_words.iter().zip(&fast_words) {
        if word != fast {
            let bare = |word: &str| word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
            out.push((kind(&before), bare(word), bare(fast)));
        }
        before.push_str(word);
    }
    out
}

#[test]
fn the_fast_profile_differs_in_durations_and_volume_guards_only() {
    let mut seen = BTreeSet::new();
    for ((path, text), (fast_path, fast)) in documents().into_iter().zip(documents_in(Profile::Fast)) {
        assert_eq!((path, text.lines().count()), (fast_path, fast.lines().count()));
        for (line, fast) in text.lines().zip(fast.lines()).filter(|(line, fast)| line != fast) {
            println!("{path}\n  - {}\n  + {}", line.trim_start(), fast.trim_start());
            seen.extend(differences(line, fast));
        }
    }
    let expected = [
        ("window", "5m", "6s"),
        ("window", "15m", "8s"),
        ("window", "1h", "9s"),
        ("window", "6h", "10s"),
        ("window", "3d", "20s"),
        ("hold", "1m", "1s"),
        ("hold", "2m", "2s"),
        ("hold", "5m", "3s"),
        ("hold", "10m", "4s"),
        ("hold", "15m", "5s"),
        ("scrape", "15s", "1s"),
        ("group_wait", "10s", "0s"),
        ("group_wait", "30s", "1s"),
        ("group_interval", "5m", "1s"),
        ("repeat_interval", "5m", "1s"),
        ("repeat_interval", "1h", "1m"),
        ("repeat_interval", "12h", "12m"),
        ("seconds", "240", "4"),
        ("seconds", "300", "5"),
        ("guard", "3", "2"),
        ("guard", "5", "1"),
        ("guard", "10", "1"),
        ("guard", "50", "8"),
    ];
    let expected = expected.map(|(kind, from, to)| (kind, from.to_owned(), to.to_owned()));
    assert_eq!(seen, BTreeSet::from(expected));
}

/// Nothing is left at a true duration: every word that is one in the rules differs.
#[test]
fn no_duration_of_the_rules_is_left_as_it_was() {
    let fast = documents_in(Profile::Fast);
    let (_, rules) = fast.iter().find(|(path, _)| path.ends_with("artstore.rules.yml")).unwrap();
    let windows = rules.split('[').skip(1).filter_map(|rest| Some(rest.split_once("])")?.0));
    let holds = rules.lines().filter_map(|line| line.trim_start().strip_prefix("for: "));
    for duration in windows.chain(holds) {
        assert!(duration.ends_with('s') && duration.len() <= 3, "{duration}");
    }
}

#[test]
fn promtool_and_amtool_accept_the_fast_profile() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in documents_in(Profile::Fast) {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let checks = [
        ("promtool", ["check", "rules", "prometheus/artstore.rules.yml"].as_slice()),
        ("promtool", &["check", "config", "prometheus/prometheus.yml"]),
        ("amtool", &["check-config", "alertmanager/alertmanager.yml"]),
    ];
    for (program, arguments) in checks {
        let (valid, said) = run(program, arguments, folder.path());
        assert!(valid, "{said}");
    }
}

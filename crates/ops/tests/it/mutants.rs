//! How much the stories prove: rules with one slip in them must make at least one story fail.

use crate::cases::{Case, all};
use crate::mutation::mutants;
use crate::promtool::{rules_json, tell};
use artstore_ops::{Group, groups};
use std::env;

/// A rule set with one change: which alert's stories are to find it, what was done, and all that the alert needs.
struct Changed {
    alert: &'static str,
    change: String,
    group: Group,
}

/// Every mutant of every alert, and of the recording rules that it uses.
fn changed() -> Vec<Changed> {
    let mut out = Vec::new();
    for group in groups() {
        for alert in &group.alerts {
            let records: Vec<_> =
                group.records.iter().filter(|record| alert.expr.contains(record.name)).cloned().collect();
            let whole = Group { name: group.name, records, alerts: vec![alert.clone()] };
            for mutant in mutants(&alert.expr) {
                let mut group = whole.clone();
                group.alerts[0].expr = mutant.expr;
                out.push(Changed { alert: alert.name, change: mutant.change, group });
            }
            for index in 0..whole.records.len() {
                for mutant in mutants(&whole.records[index].expr) {
                    let mut group = whole.clone();
                    let record = &mut group.records[index];
                    record.expr = mutant.expr;
                    out.push(Changed {
                        alert: alert.name,
                        change: format!("{}: {}", record.name, mutant.change),
                        group,
                    });
                }
            }
        }
    }
    out
}

/// The mutants that no story noticed, of those that `is_tried` picks, and how many were tried.
fn survivors(is_tried: impl Fn(usize, &Changed) -> bool) -> (Vec<String>, usize) {
    let (cases, folder) = (all(), tempfile::tempdir().unwrap());
    let (mut survivors, mut tried) = (Vec::new(), 0);
    for (_, changed) in changed().iter().enumerate().filter(|(index, changed)| is_tried(*index, changed)) {
        tried += 1;
        let rules = rules_json(std::slice::from_ref(&changed.group)).to_string();
        let told: Vec<&Case> = cases.iter().filter(|case| case.alert == changed.alert).collect();
        // The cheap stories first: most slips show there.
        let (quick, slow): (Vec<&Case>, Vec<&Case>) = told.into_iter().partition(|case| case.is_short());
        let noticed =
            [quick, slow].iter().any(|told| !told.is_empty() && !tell(folder.path(), &rules, told, |_| Vec::new()).0);
        if !noticed {
            survivors.push(format!("{}: {}", changed.alert, changed.change));
        }
    }
    (survivors, tried)
}

/// At least 95 % of all mutants are noticed. An ordinary run tries a sample of them, `ARTSTORE_OPS_SOAK=1` all.
#[test]
fn stories_notice_mutants() {
    let soak = env::var_os("ARTSTORE_OPS_SOAK").is_some();
    // The stories of days take seconds each.
    let (survivors, tried) =
        survivors(|index, changed| soak || (index % 17 == 0 && changed.alert != "ArtstoreAdminModuleLatencySLO"));
    println!("{} of {tried} mutants noticed; not noticed: {survivors:#?}", tried - survivors.len());
    assert!(tried > 10);
    assert!(survivors.len() * 20 <= tried, "{} of {tried} mutants survive: {survivors:#?}", survivors.len());
}

/// Without a change nothing fails: a mutant that is noticed is noticed for its change.
#[test]
fn rules_as_the_mutants_are_written_pass() {
    let folder = tempfile::tempdir().unwrap();
    let cases = all();
    // A group of records for the dashboards has no story.
    for group in groups().into_iter().filter(|group| !group.alerts.is_empty()) {
        let told: Vec<&Case> =
            cases.iter().filter(|case| case.is_short() && group.alerts.iter().any(|a| a.name == case.alert)).collect();
        let mut group = group;
        for expr in group.records.iter_mut().map(|r| &mut r.expr).chain(group.alerts.iter_mut().map(|a| &mut a.expr)) {
            *expr = promql_parser::parser::parse(expr).unwrap().to_string();
        }
        let (passes, said) = tell(folder.path(), &rules_json(&[group]).to_string(), &told, |_| Vec::new());
        assert!(passes, "{said}");
    }
}

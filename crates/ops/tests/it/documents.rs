//! Queries and links in documents; a runbook for every alert.

use crate::committed::root;
use crate::lint::findings;
use crate::pages::{pages, queries};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_query_in_the_documents_is_sound_and_every_one_that_is_called_wrong_is_found_to_be() {
    let mut sound = 0;
    for path in pages(&root()) {
        for query in queries(&fs::read_to_string(&path).unwrap()) {
            let findings = findings(&query.text);
            assert_eq!(!findings.is_empty(), query.is_wrong, "{}: {}: {findings:#?}", path.display(), query.text);
            sound += usize::from(!query.is_wrong);
        }
    }
    assert!(sound > 50, "{sound}");
}

#[test]
fn every_alert_has_a_runbook_with_all_sections_and_every_runbook_of_that_name_an_alert() {
    let groups = artstore_ops::groups();
    let alerts: BTreeSet<&str> = groups.iter().flat_map(|group| &group.alerts).map(|alert| alert.name).collect();
    let folder = root().join("docs/runbooks");
    for alert in &alerts {
        let page = fs::read_to_string(folder.join(format!("{alert}.md"))).unwrap_or_default();
        let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, ["Meaning", "Impact", "Diagnosis", "Mitigation"], "{alert}");
        assert!(page.starts_with(&format!("# {alert}\n")), "{alert}");
        let (_, diagnosis) = page.split_once("## Diagnosis").unwrap();
        let (diagnosis, mitigation) = diagnosis.split_once("## Mitigation").unwrap();
        assert!(!queries(diagnosis).is_empty(), "{alert}: no query in its diagnosis");
        assert!(mitigation.contains("```sh\nartstore "), "{alert}: no command in its mitigation");
    }
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".md");
        assert!(!name.starts_with("Artstore") || alerts.contains(name), "{name} is no alert");
    }
}

/// Links between the pages for operators lead somewhere.
#[test]
fn links_of_runbooks_lead_to_pages() {
    for path in pages(&root()).into_iter().filter(|path| path.parent().unwrap().ends_with("runbooks")) {
        let page = fs::read_to_string(&path).unwrap();
        for target in page.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            let local = !target.contains("://") && !target.is_empty();
            assert!(!local || path.parent().unwrap().join(target).exists(), "{}: {target}", path.display());
        }
    }
}

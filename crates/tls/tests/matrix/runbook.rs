//! The runbook has a section for every error type, with every part, and no section for a word that is none.

use artstore_metrics::LabelValue as _;
use artstore_tls::TlsErrorType;
use std::collections::BTreeMap;

const PARTS: [&str; 4] = ["- **Found by us:** ", "- **Found by the peer:** ", "- **Check:** ", "- **Do:** "];

#[test]
fn every_error_type_has_its_section() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/runbooks/tls.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (of_types, around) = text.split_once("\n# Around TLS\n").unwrap();
    let sections: BTreeMap<&str, &str> =
        of_types.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let mut words: Vec<&str> = TlsErrorType::ALL.iter().map(|kind| kind.label()).collect();
    words.sort_unstable();
    assert_eq!(sections.keys().copied().collect::<Vec<_>>(), words);
    for (word, section) in sections {
        for part in PARTS {
            assert_eq!(section.matches(part).count(), 1, "{word}: {part}");
        }
    }
    let around: Vec<&str> = around.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap().0).collect();
    assert_eq!(around, ["files", "dns", "connect", "token", "elements"]);
}

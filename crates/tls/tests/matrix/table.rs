//! The committed table: one line a cell, what is counted and said there, or why there is no such cell.

use crate::cell::{Cell, Fault, Peer, Role, Version, Whose};
use std::collections::BTreeMap;
use toml::Table;

/// What is to be seen in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// `error_type` of the one series of our handshakes that moves, by one.
    pub(crate) counts: String,
    /// Who noticed, as our error tells.
    pub(crate) found_by: String,
    /// The one verdict that moves on our side, or `-`.
    pub(crate) verdict: String,
    /// When we learn of it: in the handshake, or in the first read after it.
    pub(crate) when: String,
    /// What the other side reports.
    pub(crate) peer_says: String,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Expected(Expected),
    /// There is no such cell, for this reason.
    Impossible(String),
}

/// Reads the table; a cell that is there twice is an error.
pub(crate) fn read() -> BTreeMap<Cell, Entry> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/matrix/table.toml");
    let file: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let mut table = BTreeMap::new();
    for line in file["cells"].as_array().unwrap() {
        let line = line.as_table().unwrap();
        let (cell, entry) = parse(line);
        assert_eq!(table.insert(cell, entry), None, "{line}");
    }
    table
}

fn parse(line: &Table) -> (Cell, Entry) {
    let text = |key: &str| line.get(key).and_then(toml::Value::as_str).unwrap_or_else(|| panic!("no {key}: {line}"));
    let cell = Cell {
        fault: Fault::parse(text("fault")),
        whose: Whose::parse(text("whose")),
        we: Role::parse(text("we")),
        version: Version::parse(text("tls")),
        peer: Peer::parse(text("peer")),
    };
    if line.contains_key("impossible") {
        return (cell, Entry::Impossible(text("impossible").to_owned()));
    }
    let expected = Expected {
        counts: text("counts").to_owned(),
        found_by: text("found_by").to_owned(),
        verdict: text("verdict").to_owned(),
        when: text("when").to_owned(),
        peer_says: text("peer_says").to_owned(),
    };
    (cell, Entry::Expected(expected))
}

/// The cell as the table writes it.
pub(crate) fn key(cell: &Cell) -> String {
    let Cell { fault, whose, we, version, peer } = cell;
    format!(r#"fault = "{fault}", whose = "{whose}", we = "{we}", peer = "{peer}", tls = "{version}""#)
}

/// The line of the table.
pub(crate) fn line(cell: &Cell, entry: &Entry) -> String {
    let rest = match entry {
        Entry::Impossible(reason) => format!(r#"impossible = "{reason}""#),
        Entry::Expected(Expected { counts, found_by, verdict, when, peer_says }) => format!(
            r#"counts = "{counts}", found_by = "{found_by}", verdict = "{verdict}", when = "{when}", peer_says = "{peer_says}""#
        ),
    };
    format!("    {{ {}, {rest} }},", key(cell))
}

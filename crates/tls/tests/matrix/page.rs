//! The table as a section of the page on TLS.

use crate::cell::{Cell, Fault, Version, Whose};
use crate::table::Entry;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const BEGIN: &str = "<!-- the matrix begins -->\n";
const END: &str = "<!-- the matrix ends -->\n";

/// What the page has between its marks.
pub(crate) fn between_marks(page: &str) -> &str {
    let (_, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("no {BEGIN}"));
    rest.split_once(END).unwrap_or_else(|| panic!("no {END}")).0
}

/// A section with its marks.
pub(crate) fn marked(section: &str) -> String {
    format!("{BEGIN}{section}{END}")
}

/// The section.
pub(crate) fn section(table: &BTreeMap<Cell, Entry>) -> String {
    let mut text = String::new();
    for &fault in Fault::ALL {
        let cells: Vec<(&Cell, &Entry)> = table.iter().filter(|(cell, _)| cell.fault == fault).collect();
        writeln!(text, "\n#### {fault}\n").unwrap();
        text.push_str(
            "| certificate | we are | peer | TLS | counted as | found by | when | our verdict | the peer says |\n",
        );
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for (cell, versions) in by_version(&cells) {
            let whose = match cell.whose {
                Whose::Nobodys => "",
                Whose::Ours | Whose::Theirs => cell.whose.word(),
            };
            let head = format!("| {whose} | {} | {} | {versions} |", cell.we, cell.peer);
            match &table[&cell] {
                Entry::Impossible(reason) => writeln!(text, "{head} cannot exist: {reason} | | | | |"),
                Entry::Expected(seen) => writeln!(
                    text,
                    "{head} `{}` | {} | {} | {} | {} |",
                    seen.counts, seen.found_by, seen.when, seen.verdict, seen.peer_says
                ),
            }
            .unwrap();
        }
    }
    text
}

/// Cells that differ in nothing but the version share a row.
fn by_version(cells: &[(&Cell, &Entry)]) -> Vec<(Cell, String)> {
    let mut rows: Vec<(Cell, &Entry, Vec<&str>)> = Vec::new();
    let mut ordered: Vec<_> = cells.to_vec();
    ordered.sort_by_key(|(cell, _)| (cell.whose, cell.we, cell.peer, cell.version));
    for (cell, entry) in ordered {
        let same = |row: &Cell| Cell { version: Version::V12, ..*row } == Cell { version: Version::V12, ..*cell };
        match rows.last_mut() {
            Some((row, shown, versions)) if same(row) && *shown == entry => versions.push(cell.version.word()),
            Some(_) | None => rows.push((*cell, entry, vec![cell.version.word()])),
        }
    }
    rows.into_iter().map(|(cell, _, versions)| (cell, versions.join(", "))).collect()
}

//! Queries as they stand in pages for people: blocks marked `promql`, separated by empty lines.

use std::fs;
use std::path::{Path, PathBuf};

/// Every page below `docs/`, and the README.
pub(crate) fn pages(root: &Path) -> Vec<PathBuf> {
    fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                into.push(path);
            }
        }
    }
    let mut pages = vec![root.join("README.md")];
    collect(&root.join("docs"), &mut pages);
    pages
}

/// One query of a page. A comment that begins with `wrong` stands before one that must not be copied.
pub(crate) struct Query {
    pub(crate) text: String,
    pub(crate) is_wrong: bool,
}

/// The queries of a page.
pub(crate) fn queries(page: &str) -> Vec<Query> {
    let blocks = page.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(|block| block.split("\n\n"))
        .map(|query| Query {
            is_wrong: query.lines().any(|line| line.starts_with("# wrong")),
            text: query.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"),
        })
        .collect()
}

//! The table of `artstore certs inspect`: a line for each certificate or list, columns aligned over all files, details below.

use super::{Bounds, State, summary};
use artstore_metrics::UnixTime;
use artstore_tls::{CertificateInfo, CrlInfo, Inspection, Problem};
use std::fmt::Write as _;
use std::path::Path;
use time::OffsetDateTime;
use time::macros::format_description;

/// One line, and what stands below it.
struct Line {
    state: State,
    cells: Vec<String>,
    details: Vec<String>,
}

/// A file's lines under their headings.
struct Block {
    title: String,
    headings: &'static [&'static str],
    lines: Vec<Line>,
}

const CERTIFICATES: &[&str] = &["STATE", "DAYS", "EXPIRES (UTC)", "SUBJECT", "ISSUER", "KEY"];
const LISTS: &[&str] = &["STATE", "AGE", "NEXT UPDATE (UTC)", "ISSUER", "NUMBER", "REVOKED"];

/// The text of all files.
pub(super) fn render(found: &[(&Path, Inspection)], bounds: Bounds, colours: bool) -> String {
    let blocks: Vec<Block> = found.iter().map(|(file, inspection)| block(file, inspection, bounds)).collect();
    let mut out = String::new();
    for (place, block) in blocks.iter().enumerate() {
        let alike = blocks.iter().filter(|other| other.headings == block.headings);
        let widths = widths(alike, block.headings);
        if place > 0 {
            out.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", block.title);
        let headings: Vec<String> = block.headings.iter().map(|heading| (*heading).to_owned()).collect();
        let _ = writeln!(out, "  {}", row(&headings, &widths, None));
        for line in &block.lines {
            let _ = writeln!(out, "  {}", row(&line.cells, &widths, colours.then_some(line.state)));
            for detail in &line.details {
                let _ = writeln!(out, "      {detail}");
            }
        }
    }
    out
}

fn block(file: &Path, inspection: &Inspection, bounds: Bounds) -> Block {
    match inspection {
        Inspection::Certificates(found) => Block {
            title: format!("{}: {}", file.display(), summary(found)),
            headings: CERTIFICATES,
            lines: found.certificates.iter().map(|(info, problems)| certificate(info, problems, bounds)).collect(),
        },
        Inspection::Lists(lists) => Block {
            title: format!("{}: revocation lists", file.display()),
            headings: LISTS,
            lines: lists.iter().map(|each| list(each, bounds)).collect(),
        },
    }
}

fn certificate(info: &CertificateInfo, problems: &[Problem], bounds: Bounds) -> Line {
    let state = bounds.certificate(info, !problems.is_empty());
    let mut details: Vec<String> = Vec::new();
    if state == State::NotYetValid {
        details.push(format!("valid from {}", date(info.not_before)));
    }
    details.extend(problems.iter().map(|problem| format!("! {}: {}", problem.what(), problem.advice())));
    if !info.names.is_empty() {
        details.push(format!("names   {}", info.names.join(", ")));
    }
    details.push(format!("signed  {}", info.profile.signature));
    details.push(format!("serial  {}", info.serial));
    details.push(format!("sha256  {}", info.fingerprint()));
    let cells = vec![
        state.as_str().to_owned(),
        format!("{:.1}", info.days_left(bounds.now)),
        date(info.not_after),
        info.subject.clone(),
        if info.profile.self_issued { "itself".to_owned() } else { info.issuer.clone() },
        info.profile.key.clone(),
    ];
    Line { state, cells, details }
}

fn list(list: &CrlInfo, bounds: Bounds) -> Line {
    let state = bounds.list(list);
    let hours = bounds.now.since(list.this_update).as_secs() / 3600;
    let cells = vec![
        state.as_str().to_owned(),
        if hours < 48 { format!("{hours} h") } else { format!("{} d", hours / 24) },
        list.next_update.map_or_else(|| "never".to_owned(), date),
        list.issuer.clone(),
        list.number.clone().unwrap_or_else(|| "none".to_owned()),
        list.revoked.to_string(),
    ];
    Line { state, cells, details: vec![format!("sha256  {}", list.fingerprint())] }
}

fn widths<'a>(blocks: impl Iterator<Item = &'a Block>, headings: &[&str]) -> Vec<usize> {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for line in blocks.flat_map(|block| &block.lines) {
        for (width, cell) in widths.iter_mut().zip(&line.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// The cells side by side; numbers to the right, the state in its colour.
fn row(cells: &[String], widths: &[usize], state: Option<State>) -> String {
    let mut out = String::new();
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width - cell.chars().count().min(*width));
        let padded = if place == 1 { format!("{padding}{cell}") } else { format!("{cell}{padding}") };
        match state.filter(|_| place == 0) {
            Some(state) => out.push_str(&format!("{}{padded}\x1b[0m", colour(state))),
            None => out.push_str(&padded),
        }
        out.push_str("  ");
    }
    out.trim_end().to_owned()
}

const fn colour(state: State) -> &'static str {
    match state {
        State::Expired | State::NotYetValid | State::Unusable | State::Critical => "\x1b[31m",
        State::Soon => "\x1b[33m",
        State::Good => "\x1b[32m",
    }
}

fn date(moment: UnixTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    let date = i64::try_from(moment.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    date.and_then(|date| date.format(format).ok()).unwrap_or_else(|| moment.as_secs().to_string())
}

//! The `Range` header (RFC 9110, section 14) as far as this server takes it: one range of bytes.

use std::ops::Range;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it: there is no range, or one that need not be understood.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Unsatisfiable,
}

impl Asked {
    /// What this header asks for, of so many bytes. A set of several ranges, another unit and what is malformed are ignored,
    /// as the RFC allows.
    pub(crate) fn parse(header: Option<&str>, size: u64) -> Self {
        let Some(spec) = header.and_then(|header| header.trim().split_once('=')) else { return Self::Whole };
        let (unit, ranges) = spec;
        if !unit.eq_ignore_ascii_case("bytes") || ranges.contains(',') {
            return Self::Whole;
        }
        let Some((first, last)) = ranges.trim().split_once('-') else { return Self::Whole };
        match (position(first), position(last)) {
            (Position::Given(first), Position::Given(last)) if last < first => Self::Whole,
            (Position::Given(first), _) if first >= size => Self::Unsatisfiable,
            (Position::Given(first), Position::Given(last)) => Self::Part(first..last.saturating_add(1).min(size)),
            (Position::Given(first), Position::Absent) => Self::Part(first..size),
            (Position::Absent, Position::Given(0)) => Self::Unsatisfiable,
            (Position::Absent, Position::Given(_)) if size == 0 => Self::Unsatisfiable,
            (Position::Absent, Position::Given(suffix)) => Self::Part(size.saturating_sub(suffix)..size),
            (Position::Absent, Position::Absent) | (Position::Malformed, _) | (_, Position::Malformed) => Self::Whole,
        }
    }
}

enum Position {
    Absent,
    Given(u64),
    Malformed,
}

fn position(text: &str) -> Position {
    match text.trim() {
        "" => Position::Absent,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            // More digits than fit are a position past any end.
            Position::Given(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Position::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let cases = [
            (None, 10, Asked::Whole),
            (Some("bytes=0-0"), 10, Asked::Part(0..1)),
            (Some("bytes=0-9"), 10, Asked::Part(0..10)),
            (Some("bytes=2-"), 10, Asked::Part(2..10)),
            (Some("bytes=2-100"), 10, Asked::Part(2..10)),
            (Some("bytes=-3"), 10, Asked::Part(7..10)),
            (Some("bytes=-30"), 10, Asked::Part(0..10)),
            (Some("BYTES= 1 - 2 "), 10, Asked::Part(1..3)),
            (Some("bytes=10-"), 10, Asked::Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), 10, Asked::Unsatisfiable),
            (Some("bytes=0-99999999999999999999999"), 10, Asked::Part(0..10)),
            (Some("bytes=-0"), 10, Asked::Unsatisfiable),
            (Some("bytes=-5"), 0, Asked::Unsatisfiable),
            (Some("bytes=0-"), 0, Asked::Unsatisfiable),
            (Some("bytes=3-2"), 10, Asked::Whole),
            (Some("bytes=-"), 10, Asked::Whole),
            (Some("bytes=a-b"), 10, Asked::Whole),
            (Some("bytes=+1-2"), 10, Asked::Whole),
            (Some("bytes=0-1,3-4"), 10, Asked::Whole),
            (Some("items=0-1"), 10, Asked::Whole),
            (Some("bytes"), 10, Asked::Whole),
        ];
        for (header, size, expected) in cases {
            assert_eq!(Asked::parse(header, size), expected, "{header:?} of {size}");
        }
    }
}

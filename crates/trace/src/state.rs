//! `tracestate`: what other systems want to be handed on, checked by the grammar of W3C Trace Context (level 1) and bounded.

use std::sync::Arc;

/// Members of a list that is handed on.
const MEMBERS_MAX: usize = 32;
/// A longer list is shortened to this: longer members go first, then the last ones.
const LENGTH_MAX: usize = 512;
/// Members longer than this go first.
const LONG_MEMBER: usize = 128;

/// The list that these headers are together; `None` if it is empty or any of it is not as it should be.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Option<Arc<str>> {
    let mut members: Vec<&str> = Vec::new();
    for header in headers {
        let header = std::str::from_utf8(header).ok()?;
        for member in header.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let key = key_of(member)?;
            let taken = members.iter().any(|other| other.split('=').next() == Some(key));
            if taken || members.len() == MEMBERS_MAX {
                return None;
            }
            members.push(member);
        }
    }
    shorten(&mut members);
    (!members.is_empty()).then(|| members.join(",").into())
}

fn shorten(members: &mut Vec<&str>) {
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(members) > LENGTH_MAX {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
}

/// The key of a member that is as it should be.
fn key_of(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let valid_key = match key.split_once('@') {
        None => is_word(key, 256) && key.starts_with(|first: char| first.is_ascii_lowercase()),
        Some((tenant, system)) => {
            is_word(tenant, 241) && is_word(system, 14) && system.starts_with(|first: char| first.is_ascii_lowercase())
        }
    };
    // Blanks at its end are those around the comma, which are gone already.
    let valid_value = (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='));
    (valid_key && valid_value).then_some(key)
}

/// Letters, digits and `_-*/`, beginning with a letter or digit.
fn is_word(text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = |byte: u8| plain(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/');
    text.len() <= longest && text.bytes().next().is_some_and(plain) && text.bytes().all(valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(headers: &[&str]) -> Option<String> {
        parse(headers.iter().map(|header| header.as_bytes())).map(|state| state.to_string())
    }

    /// The cases of the harness of w3c/trace-context (`test/test.py`).
    #[test]
    fn lists_of_the_specifications_harness_are_handed_on_in_order() {
        for (headers, expected) in [
            (&["foo=1,bar=2"][..], "foo=1,bar=2"),
            (&["foo=1", ""], "foo=1"),
            (&["", "foo=1"], "foo=1"),
            (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
            (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
            (&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], "foo=1,bar=2,baz=3"),
            (&["\t foo=1 \t"], "foo=1"),
            (&["congo=t61rcWkgMzE"], "congo=t61rcWkgMzE"),
            (&["1@sys= a"], "1@sys= a"),
        ] {
            assert_eq!(parsed(headers).as_deref(), Some(expected), "{headers:?}");
        }
        let value: String = (' '..='~').filter(|c| !matches!(c, ',' | '=')).collect();
        for key in ["abcdefghijklmnopqrstuvwxyz0123456789_-*/", "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/"] {
            let member = format!("{key}={value}");
            assert_eq!(parsed(&[&member]), Some(member), "{key}");
        }
    }

    #[test]
    fn a_list_that_is_wrong_anywhere_is_not_handed_on() {
        for headers in [
            &["foo=1,foo=1"][..],
            &["foo=1,foo=2"],
            &["foo=1", "foo=2"],
            &["foo =1"],
            &["FOO=1"],
            &["foo.bar=1"],
            &["foo@=1,bar=2"],
            &["@foo=1,bar=2"],
            &["foo@@bar=1,bar=2"],
            &["foo@bar@baz=1,bar=2"],
            &["foo@1bar=1"],
            &["1foo=1"],
            &["foo"],
            &["=1"],
            &["foo="],
            &["foo=1=2"],
            &["foo=\u{e4}"],
            &["foo=a\tb"],
            &[""],
            &[" , ,"],
            &[],
        ] {
            assert_eq!(parsed(headers), None, "{headers:?}");
        }
        assert_eq!(parse([&b"foo=\xff"[..]]), None);
    }

    #[test]
    fn lengths_and_numbers_are_bounded() {
        let members = |count: usize| (1..=count).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",");
        assert_eq!(parsed(&[&members(32)]), Some(members(32)));
        assert_eq!(parsed(&[&members(33)]), None);
        for (key, longest) in [("z".repeat(256), true), ("z".repeat(257), false)] {
            assert_eq!(parsed(&[&format!("{key}=1")]).is_some(), longest);
        }
        for (tenant, system, fits) in [(241, 14, true), (242, 14, false), (241, 15, false)] {
            let key = format!("{}@{}", "t".repeat(tenant), "v".repeat(system));
            assert_eq!(parsed(&[&format!("{key}=1")]).is_some(), fits, "{tenant}@{system}");
        }
        assert_eq!(parsed(&[&format!("a={}", "x".repeat(256))]), Some(format!("a={}", "x".repeat(256))));
        assert_eq!(parsed(&[&format!("a={}", "x".repeat(257))]), None);
    }

    #[test]
    fn a_list_that_is_too_long_loses_long_members_and_then_the_last() {
        let (long, short) = (format!("long={}", "x".repeat(200)), |n: usize| format!("s{n:02}={}", "y".repeat(36)));
        let list = (0..10).map(short).collect::<Vec<_>>().join(",");
        assert_eq!(list.len(), 409);
        assert_eq!(parsed(&[&format!("{long},{list}")]), Some(list));
        let list = (0..13).map(short).collect::<Vec<_>>().join(",");
        let kept = (0..12).map(short).collect::<Vec<_>>().join(",");
        assert_eq!((list.len(), kept.len()), (532, 491));
        assert_eq!(parsed(&[&list]), Some(kept));
    }
}

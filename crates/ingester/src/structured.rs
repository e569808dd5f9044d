//! Dictionaries of structured fields (RFC 9651), as far as digest fields need them: byte sequences are read, the rest checked.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Most members of a dictionary that are read; a field with more is refused.
pub const MAX_MEMBERS: usize = 64;

/// RFC 9651 section 4.2.7: padding is not insisted on, nor are zero trailing bits.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The value of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// One item.
    Item(BareItem),
    /// A list in parentheses.
    InnerList,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BareItem {
    /// A byte sequence, `:base64:`.
    Bytes(Vec<u8>),
    /// A well-formed item of another type.
    Other,
}

/// Where a field stops being a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a structured field from character {at} on")]
pub struct NotStructured {
    /// The index of the offending character.
    at: usize,
}

/// The members of a dictionary in their order.
///
/// # Errors
/// The whole field is refused if any part of it is malformed, as RFC 9651 demands.
pub fn dictionary(text: &str) -> Result<Vec<(String, Member)>, NotStructured> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    parser.skip(|byte| byte == b' ');
    let mut members = Vec::new();
    while parser.peek().is_some() {
        let key = parser.key()?;
        let member = if parser.eat(b'=') { parser.member()? } else { Member::Item(BareItem::Other) };
        parser.parameters()?;
        members.push((key, member));
        parser.skip(is_ows);
        if parser.peek().is_none() {
            break;
        }
        parser.expect(b',')?;
        parser.skip(is_ows);
        if parser.peek().is_none() || members.len() == MAX_MEMBERS {
            return parser.fail();
        }
    }
    Ok(members)
}

const fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotStructured> {
        if self.eat(byte) { Ok(()) } else { self.fail() }
    }

    fn skip(&mut self, what: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&what) {
            self.at += 1;
        }
        self.at - start
    }

    const fn fail<T>(&self) -> Result<T, NotStructured> {
        Err(NotStructured { at: self.at })
    }

    fn key(&mut self) -> Result<String, NotStructured> {
        let start = self.at;
        if !self.peek().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'*') {
            return self.fail();
        }
        self.skip(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        });
        Ok(String::from_utf8_lossy(&self.text[start..self.at]).into_owned())
    }

    fn member(&mut self) -> Result<Member, NotStructured> {
        if !self.eat(b'(') {
            return self.item().map(Member::Item);
        }
        loop {
            self.skip(|byte| byte == b' ');
            if self.eat(b')') {
                return Ok(Member::InnerList);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return self.fail();
            }
        }
    }

    fn parameters(&mut self) -> Result<(), NotStructured> {
        while self.eat(b';') {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.eat(b'=') {
                self.item()?;
            }
        }
        Ok(())
    }

    fn item(&mut self) -> Result<BareItem, NotStructured> {
        match self.peek() {
            Some(b':') => return self.bytes().map(BareItem::Bytes),
            Some(b'"') => self.string()?,
            Some(b'?') => self.boolean()?,
            Some(b'@') => {
                self.at += 1;
                self.number(false)?;
            }
            Some(b'%') => self.display_string()?,
            Some(b'-' | b'0'..=b'9') => self.number(true)?,
            Some(b'*' | b'A'..=b'Z' | b'a'..=b'z') => {
                self.skip(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
            }
            Some(_) | None => return self.fail(),
        }
        Ok(BareItem::Other)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, NotStructured> {
        self.expect(b':')?;
        let start = self.at;
        let length = self.skip(|byte| byte != b':');
        let decoded = LENIENT.decode(&self.text[start..start + length]);
        self.expect(b':')?;
        decoded.map_err(|_| NotStructured { at: start })
    }

    fn string(&mut self) -> Result<(), NotStructured> {
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') if matches!(self.text.get(self.at + 1), Some(b'"' | b'\\')) => self.at += 2,
                Some(b'\\') | None => return self.fail(),
                Some(0x20..=0x7e) => self.at += 1,
                Some(_) => return self.fail(),
            }
        }
        self.expect(b'"')
    }

    fn display_string(&mut self) -> Result<(), NotStructured> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        self.skip(|byte| matches!(byte, 0x20..=0x7e) && byte != b'"');
        self.expect(b'"')
    }

    fn boolean(&mut self) -> Result<(), NotStructured> {
        self.expect(b'?')?;
        if self.eat(b'0') || self.eat(b'1') { Ok(()) } else { self.fail() }
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3.
    fn number(&mut self, decimal: bool) -> Result<(), NotStructured> {
        self.eat(b'-');
        let whole = self.skip(|byte| byte.is_ascii_digit());
        let fits = if decimal && self.eat(b'.') {
            let fraction = self.skip(|byte| byte.is_ascii_digit());
            whole <= 12 && (1..=3).contains(&fraction)
        } else {
            whole <= 15
        };
        if whole > 0 && fits { Ok(()) } else { self.fail() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_item_is_passed_over() {
        let text = "a=1, b=-2.5;p, c=\"x\\\"\\\\,\";q=:AA==:, d=tok/en:x, e=?0, f=@-12, g=%\"f%c3%bc\", h=(1 \"a\";z=?1 tok), i, *j=:AQI:";
        let members = dictionary(text).unwrap();
        let keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "*j"]);
        assert_eq!(members[7].1, Member::InnerList);
        assert_eq!(members[9].1, Member::Item(BareItem::Bytes(vec![1, 2])));
        assert_eq!(members[0].1, Member::Item(BareItem::Other));
        assert_eq!(dictionary("  "), Ok(vec![]));
    }

    #[test]
    fn what_is_not_a_dictionary_is_refused_where_it_stops_being_one() {
        for (text, at) in [
            ("A=1", 0),
            ("a=1,", 4),
            ("a=1 b=2", 4),
            ("a=", 2),
            ("a=:", 3),
            ("a=:!:", 3),
            ("a=\"x", 4),
            ("a=\"\\x\"", 3),
            ("a=\"\u{7f}\"", 3),
            ("a=?2", 3),
            ("a=1.", 4),
            ("a=1.2345", 8),
            ("a=1234567890123456", 18),
            ("a=1234567890123.1", 17),
            ("a=-", 3),
            ("a=@1.5", 4),
            ("a=(1 2", 6),
            ("a=(1\"x\")", 4),
            ("a=%x", 3),
            ("a;1", 2),
            ("a=}", 2),
        ] {
            assert_eq!(dictionary(text), Err(NotStructured { at }), "{text}");
        }
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let many = |n| vec!["a"; n].join(",");
        assert_eq!(dictionary(&many(MAX_MEMBERS)).unwrap().len(), MAX_MEMBERS);
        assert!(dictionary(&many(MAX_MEMBERS + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,80}") {
            let _ = dictionary(&text);
        }

        #[test]
        fn any_bytes_read_back(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let text = format!("sha-256=:{}:", LENIENT.encode(&bytes));
            let expected = vec![("sha-256".to_owned(), Member::Item(BareItem::Bytes(bytes)))];
            proptest::prop_assert_eq!(dictionary(&text).unwrap(), expected);
        }
    }
}

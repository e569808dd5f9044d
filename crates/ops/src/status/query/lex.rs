//! Words of an expression: names, numbers, strings, signs, and durations in brackets.

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// A metric, label, function or keyword.
    Name(String),
    /// A number.
    Number(f64),
    /// What stands between double quotes, unescaped.
    Text(String),
    /// A range in brackets, in seconds.
    Range(f64),
    /// An operator or a sign.
    Sign(&'static str),
}

/// Longer ones first, so that `>=` is not read as `>`.
const SIGNS: [&str; 19] =
    ["=~", "!~", "!=", "==", ">=", "<=", ">", "<", "=", "+", "-", "*", "/", "(", ")", "{", "}", ",", "%"];

/// The words of a text; `None` if there is something else in it.
pub(super) fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = if first == '"' {
            quoted(rest)?
        } else if first == '[' {
            let (inside, after) = rest[1..].split_once(']')?;
            (Word::Range(seconds(inside)?), after)
        } else if first.is_ascii_digit() || first == '.' {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            (Word::Number(rest[..end].parse().ok()?), &rest[end..])
        } else if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
            (Word::Name(rest[..end].to_owned()), &rest[end..])
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
            (Word::Sign(sign), &rest[sign.len()..])
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

/// A string from its opening quote on, and what follows it.
fn quoted(text: &str) -> Option<(Word, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((Word::Text(value), &text[index + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            plain => value.push(plain),
        }
    }
    None
}

/// A duration such as `5m` or `1h30m`, in seconds.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let (mut sum, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        let unit = match &rest[end..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        sum += number * unit;
        rest = &rest[unit_end..];
    }
    Some(sum)
}

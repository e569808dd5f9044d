//! A small writer of YAML: the order of keys is kept, and what a person reads (expressions, texts) stands unescaped.

/// A YAML document or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    /// A string.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A sequence.
    List(Vec<Yaml>),
    /// A mapping, in this order.
    Map(Vec<(&'static str, Yaml)>),
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<const N: usize> From<[(&'static str, Yaml); N]> for Yaml {
    fn from(entries: [(&'static str, Yaml); N]) -> Self {
        Self::Map(entries.into())
    }
}

impl FromIterator<Yaml> for Yaml {
    fn from_iter<I: IntoIterator<Item = Yaml>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

impl Yaml {
    /// A sequence of strings.
    pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        texts.into_iter().map(Self::from).collect()
    }

    /// The document, ending in a new line.
    pub(crate) fn write(&self) -> String {
        let mut out = String::new();
        self.write_value(0, &mut out);
        out.trim_start_matches(['\n', ' ']).to_owned()
    }

    /// Writes what follows `key:` or `-`, with everything below it indented by `indent`.
    fn write_value(&self, indent: usize, out: &mut String) {
        match self {
            Self::Bool(value) => out.push_str(if *value { " true\n" } else { " false\n" }),
            Self::Text(text) => write_text(text, indent, out),
            Self::List(items) => {
                out.push('\n');
                for item in items {
                    pad(indent, out);
                    out.push('-');
                    match item {
                        Self::Map(entries) => write_entries(entries, indent + 2, true, out),
                        Self::Text(_) | Self::Bool(_) | Self::List(_) => item.write_value(indent + 2, out),
                    }
                }
            }
            Self::Map(entries) => {
                out.push('\n');
                write_entries(entries, indent, false, out);
            }
        }
    }
}

/// Writes entries; the first one stands on the line of its dash if `inline`.
fn write_entries(entries: &[(&'static str, Yaml)], indent: usize, inline: bool, out: &mut String) {
    for (position, (key, value)) in entries.iter().enumerate() {
        if inline && position == 0 {
            out.push(' ');
        } else {
            pad(indent, out);
        }
        out.push_str(key);
        out.push(':');
        value.write_value(indent + 2, out);
    }
}

/// Plain where YAML reads it as itself, a literal block where it has lines or quotes, else in double quotes.
fn write_text(text: &str, indent: usize, out: &mut String) {
    if is_plain(text) {
        out.push(' ');
        out.push_str(text);
        out.push('\n');
    } else if text.contains(['\n', '"', '\\']) && !text.starts_with([' ', '\n']) && !text.ends_with('\n') {
        out.push_str(" |-\n");
        for line in text.lines() {
            if !line.is_empty() {
                pad(indent, out);
                out.push_str(line);
            }
            out.push('\n');
        }
    } else {
        out.push(' ');
        // A JSON string is a YAML string.
        out.push_str(&serde_json::Value::from(text).to_string());
        out.push('\n');
    }
}

/// Whether YAML reads the bare text as this very string: words of letters, digits and a few marks that no rule of YAML knows.
fn is_plain(text: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    let is_duration = text.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    text.chars().all(harmless) && !is_word && (text.starts_with(|c: char| c.is_ascii_alphabetic()) || is_duration)
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_yaml_would_read_as_something_else_is_quoted() {
        for (text, written) in [
            ("yes", " \"yes\"\n"),
            ("0.5", " \"0.5\"\n"),
            ("", " \"\"\n"),
            ("a: b", " \"a: b\"\n"),
            ("*x", " \"*x\"\n"),
            (" x\"", " \" x\\\"\"\n"),
            ("- x", " \"- x\"\n"),
            ("5m", " 5m\n"),
            ("/metrics", " \"/metrics\"\n"),
            ("monitoring.coreos.com/v1", " monitoring.coreos.com/v1\n"),
        ] {
            let mut out = String::new();
            write_text(text, 0, &mut out);
            assert_eq!(out, written, "{text}");
        }
    }

    #[test]
    fn nested_lists_and_maps_keep_their_order_and_literals_their_lines() {
        let document = Yaml::from([
            ("b", Yaml::texts(["x", "y z"])),
            ("a", [[("expr", "up{job=\"j\"}\n\n> 0".into()), ("on", Yaml::Bool(true))].into()].into_iter().collect()),
            ("c", Yaml::from([("d", "e".into())])),
        ]);
        let expected =
            "b:\n  - x\n  - \"y z\"\na:\n  - expr: |-\n      up{job=\"j\"}\n\n      > 0\n    on: true\nc:\n  d: e\n";
        assert_eq!(document.write(), expected);
    }
}

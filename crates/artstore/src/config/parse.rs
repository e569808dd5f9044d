//! From file, environment and flags to checked values; every mistake by its key.

use super::{Key, Kind};
use std::collections::BTreeMap;
use std::net::ToSocketAddrs as _;
use std::time::Duration;
use toml::{Table, Value};

/// Something wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The key, or `""` when the file as a whole cannot be read.
    pub(crate) key: String,
    /// What is wrong and what is allowed.
    pub(crate) message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.key.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// The values of all keys that have one; each of the kind that its key declares.
#[derive(Default)]
pub(crate) struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// The text of a key.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// The text of a key, `""` when it has none.
    pub(crate) fn text_or_empty(&self, key: &str) -> String {
        self.text(key).unwrap_or_default().to_owned()
    }

    /// The truth of a key; `false` when it has none.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The whole number of a key.
    pub(crate) fn integer(&self, key: &str) -> Option<u64> {
        self.0.get(key).and_then(Value::as_integer).and_then(|number| u64::try_from(number).ok())
    }

    /// The duration of a key; zero when it has none.
    pub(crate) fn seconds(&self, key: &str) -> Duration {
        self.0.get(key).and_then(as_number).and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or_default()
    }

    /// The number of a key; zero when it has none.
    pub(crate) fn ratio(&self, key: &str) -> f64 {
        self.0.get(key).and_then(as_number).unwrap_or_default()
    }

    /// The texts of a key.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let texts = self.0.get(key).and_then(Value::as_array);
        texts.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// Reads a configuration.
///
/// `environment` looks a variable up; `flags` are `key=value` texts.
///
/// # Errors
/// All mistakes, in the order of the keys.
pub(crate) fn load(
    keys: &[Key],
    file: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    flags: &[String],
) -> Result<Values, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut given = match file.parse::<Table>() {
        Ok(table) => flatten(table),
        Err(error) => return Err(vec![Mistake { key: String::new(), message: format!("not TOML: {error}") }]),
    };
    for path in given.keys().filter(|path| !keys.iter().any(|key| key.path == path.as_str())) {
        mistakes.push(Mistake { key: path.clone(), message: unknown(path, keys) });
    }
    let flags = flag_values(flags, keys, &mut mistakes);
    let mut values = Values::default();
    for key in keys {
        let from_flag = flags.get(key.path).map(|text| from_text(key.kind, text));
        let from_env = || environment(key.env).filter(|_| !key.env.is_empty()).map(|text| from_text(key.kind, &text));
        let default = || format!("value = {}", key.default).parse::<Table>().ok()?.remove("value");
        let value = from_flag.or_else(from_env).or_else(|| given.remove(key.path)).or_else(default);
        match value.map(|value| check(key, value)) {
            Some(Ok(value)) => _ = values.0.insert(key.path, value),
            Some(Err(message)) => mistakes.push(Mistake { key: key.path.to_owned(), message }),
            None if key.required => {
                let or_env = if key.env.is_empty() { String::new() } else { format!(" (or {})", key.env) };
                mistakes
                    .push(Mistake { key: key.path.to_owned(), message: format!("is required{or_env}: {}", key.help) });
            }
            None => {}
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}

/// `{a = {b = 1}}` becomes `a.b = 1`.
fn flatten(table: Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                flat.extend(inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => _ = flat.insert(name, value),
        }
    }
    flat
}

fn flag_values<'a>(flags: &'a [String], keys: &[Key], mistakes: &mut Vec<Mistake>) -> BTreeMap<&'a str, &'a str> {
    let mut values = BTreeMap::new();
    for flag in flags {
        match flag.split_once('=') {
            Some((path, value)) if keys.iter().any(|key| key.path == path) => _ = values.insert(path, value),
            Some((path, _)) => mistakes.push(Mistake { key: path.to_owned(), message: unknown(path, keys) }),
            None => mistakes.push(Mistake { key: flag.clone(), message: "--set wants KEY=VALUE".to_owned() }),
        }
    }
    values
}

/// Names the nearest known keys: those of the same table, or the tables.
fn unknown(path: &str, keys: &[Key]) -> String {
    let table = path.split('.').next().unwrap_or_default();
    let same_table: Vec<&str> =
        keys.iter().map(|key| key.path).filter(|known| known.split('.').next() == Some(table)).collect();
    if same_table.is_empty() {
        let mut tables: Vec<&str> = keys.iter().filter_map(|key| key.path.split('.').next()).collect();
        tables.dedup();
        return format!("unknown key; the tables are {}", tables.join(", "));
    }
    format!("unknown key; this table has {}", same_table.join(", "))
}

/// A text of the environment or of a flag as the value that its kind wants; what does not fit stays a text, for [`check`].
fn from_text(kind: Kind, text: &str) -> Value {
    let text = text.trim();
    let as_is = || Value::String(text.to_owned());
    match kind {
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Value::Boolean(true),
            "false" | "0" | "no" | "off" => Value::Boolean(false),
            _ => as_is(),
        },
        Kind::Integer(..) => text.parse().map_or_else(|_| as_is(), Value::Integer),
        Kind::Seconds(..) | Kind::Ratio => text.parse().map_or_else(|_| as_is(), Value::Float),
        Kind::List => {
            let parts = text.split([',', ':']).map(str::trim).filter(|part| !part.is_empty());
            let urls = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let texts = |parts: &mut dyn Iterator<Item = &str>| parts.map(|p| Value::String(p.to_owned())).collect();
            // OpenSSL writes suites with colons between them; URLs have colons of their own.
            Value::Array(if text.contains("://") { texts(&mut { urls }) } else { texts(&mut { parts }) })
        }
        Kind::Choice(words) => {
            let same = words.iter().find(|word| word.eq_ignore_ascii_case(text));
            Value::String((*same.unwrap_or(&text)).to_owned())
        }
        Kind::Text | Kind::Secret | Kind::Address | Kind::Url => as_is(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers within the bounds of the keys are exact")]
fn as_number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

/// The value, if it is what its key wants. The message never repeats a secret.
fn check(key: &Key, value: Value) -> Result<Value, String> {
    let found = if key.kind == Kind::Secret { String::new() } else { format!(", not {value}") };
    let wrong = |wanted: String| Err(format!("must be {wanted}{found}"));
    match key.kind {
        Kind::Text | Kind::Secret if value.as_str().is_some_and(|text| !text.is_empty()) => Ok(value),
        Kind::Text | Kind::Secret => wrong("a text that is not empty".to_owned()),
        Kind::Bool if value.is_bool() => Ok(value),
        Kind::Bool => wrong("true or false".to_owned()),
        Kind::Integer(low, high) => {
            let fits = value.as_integer().and_then(|number| u64::try_from(number).ok());
            if fits.is_some_and(|number| (low..=high).contains(&number)) {
                return Ok(value);
            }
            wrong(format!("a whole number from {low} to {high}"))
        }
        #[expect(clippy::cast_precision_loss, reason = "the bounds of the keys are small")]
        Kind::Seconds(low, high) => {
            if as_number(&value).is_some_and(|seconds| (low as f64..=high as f64).contains(&seconds)) {
                return Ok(value);
            }
            wrong(format!("seconds from {low} to {high}"))
        }
        Kind::Ratio if as_number(&value).is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) => Ok(value),
        Kind::Ratio => wrong("a number from 0 to 1".to_owned()),
        Kind::Choice(words) => {
            if value.as_str().is_some_and(|text| words.contains(&text)) {
                return Ok(value);
            }
            wrong(format!("one of {}", words.join(", ")))
        }
        Kind::List => match value.as_array() {
            Some(texts) if texts.iter().all(|text| text.as_str().is_some_and(|text| !text.is_empty())) => Ok(value),
            _ => wrong("a list of texts".to_owned()),
        },
        Kind::Address => match value.as_str().map(|text| text.to_socket_addrs().map(|mut found| found.next())) {
            Some(Ok(Some(_))) => Ok(value),
            _ => wrong("an address to listen on, host:port".to_owned()),
        },
        Kind::Url if value.as_str().is_some_and(is_base_url) => Ok(value),
        Kind::Url => wrong("a URL of scheme, host and port alone".to_owned()),
    }
}

/// Whether a text is `http(s)://host[:port]` without anything after it.
pub(crate) fn is_base_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    scheme && bare && matches!(uri.path(), "" | "/") && uri.query().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[Key] = &[
        Key::new("log.level", Kind::Choice(&["info", "debug"]), "\"info\"", "Level.").env("LOG_LEVEL"),
        Key::new("auth.timeout", Kind::Seconds(1, 60), "10", "Time-out.").env("TIMEOUT"),
        Key::new("auth.client_secret", Kind::Secret, "", "Secret.").env("SECRET"),
        Key::new("auth.client_id", Kind::Text, "", "Who.").required(),
        Key::new("listen.max", Kind::Integer(1, 9), "3", "Most."),
        Key::new("listen.address", Kind::Address, "\"127.0.0.1:0\"", "Where."),
        Key::new("tls.enabled", Kind::Bool, "true", "Whether.").env("TLS_ENABLED"),
        Key::new("admin.urls", Kind::List, "", "Instances.").env("URLS"),
    ];

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file = "[auth]\nclient_id = 'me'\ntimeout = 3\n";
        let env = |name: &str| (name == "TIMEOUT").then(|| "4.5".to_owned());
        let seconds = |env: &dyn Fn(&str) -> Option<String>, flags: &[String], file: &str| {
            load(KEYS, file, env, flags).map(|values| values.seconds("auth.timeout").as_millis()).unwrap()
        };
        assert_eq!(seconds(&env, &["auth.timeout=5".to_owned()], file), 5_000);
        assert_eq!(seconds(&env, &[], file), 4_500);
        assert_eq!(seconds(&no_env, &[], file), 3_000);
        assert_eq!(seconds(&no_env, &[], "[auth]\nclient_id = 'me'\n"), 10_000);
    }

    #[test]
    fn all_mistakes_come_together_by_key_and_no_secret_with_them() {
        let file =
            "x = 1\n[auth]\nclient_secret = 77007\ntimeout = 61\n[listen]\nmax = 0\nmaximum = 2\naddress = 'nowhere'\n";
        let mistakes = load(KEYS, file, &no_env, &["tls.enabled=perhaps".to_owned(), "y".to_owned()]).err().unwrap();
        let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let expected = [
            "listen.maximum: unknown key; this table has listen.max, listen.address",
            "x: unknown key; the tables are log, auth, listen, tls, admin",
            "y: --set wants KEY=VALUE",
            "auth.timeout: must be seconds from 1 to 60, not 61",
            "auth.client_secret: must be a text that is not empty",
            "auth.client_id: is required: Who.",
            "listen.max: must be a whole number from 1 to 9, not 0",
            "listen.address: must be an address to listen on, host:port, not \"nowhere\"",
            "tls.enabled: must be true or false, not \"perhaps\"",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn lists_in_the_environment_are_comma_separated_urls_or_colon_separated_suites() {
        let urls = |text: &'static str| {
            let env = move |name: &str| (name == "URLS").then(|| text.to_owned());
            load(KEYS, "[auth]\nclient_id = 'me'\n", &env, &[]).unwrap().list("admin.urls")
        };
        assert_eq!(urls("https://a:1, https://b:2"), ["https://a:1", "https://b:2"]);
        assert_eq!(urls("A:B,C"), ["A", "B", "C"]);
    }

    #[test]
    fn a_base_url_has_no_user_path_or_query() {
        for good in ["https://a", "https://127.0.0.1:8000", "http://[::1]:80/"] {
            assert!(is_base_url(good), "{good}");
        }
        for bad in ["a:80", "ftp://a", "https://u:p@a", "https://a/x", "https://a/?q", ""] {
            assert!(!is_base_url(bad), "{bad}");
        }
    }
}

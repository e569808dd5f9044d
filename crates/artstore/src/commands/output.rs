//! What a command says: results on standard output, one line each; errors, warnings and the progress bar on standard error.

use crate::exit::Exit;
use artstore_client::{Error, Event, Progress, no_progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

/// Where and how a command speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// One JSON document per line on standard output.
    pub(super) json: bool,
    /// Nothing but results and errors.
    pub(super) quiet: bool,
}

/// The failure of one piece of work, for machines.
#[derive(Debug, Serialize)]
pub(super) struct FailureDocument {
    /// What kind of failure it is.
    category: &'static str,
    /// The server's stable code, if it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// What happened.
    message: String,
    /// What to do.
    advice: &'static str,
}

impl From<&Error> for FailureDocument {
    fn from(error: &Error) -> Self {
        Self {
            category: error.category().as_str(),
            code: error.code().map(artstore_api::Code::as_str),
            message: error.to_string(),
            advice: advice(error),
        }
    }
}

impl Output {
    /// Writes a document to standard output.
    pub(super) fn document(self, document: &impl Serialize) -> Result<(), Exit> {
        match serde_json::to_string(document) {
            Ok(text) => line(&text),
            Err(error) => {
                complain(&format!("the result cannot be written as JSON: {error}"));
                Err(Exit::Failure)
            }
        }
    }

    /// Says something that is no result, unless it is to be quiet.
    pub(super) fn note(self, text: &str) {
        if !self.quiet && !self.json {
            say("", "", text);
        }
    }

    /// A progress bar, on a terminal only.
    pub(super) fn bar(self, what: &str) -> Bar {
        if self.quiet || self.json || !std::io::stderr().is_terminal() {
            return Bar { bar: None, quiet: self.quiet };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(printable(what));
        Bar { bar: Some(bar), quiet: self.quiet }
    }
}

/// A progress bar that may be absent, and leaves the terminal clean when dropped.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Bar {
    /// What feeds it.
    pub(super) fn progress(&self) -> Progress {
        match (self.bar.clone(), self.quiet) {
            (Some(bar), _) => Arc::new(move |event| show(&bar, event)),
            (None, false) => Arc::new(tell),
            (None, true) => no_progress(),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn show(bar: &ProgressBar, event: &Event) {
    // Nothing is drawn before there is something to show.
    if bar.is_hidden() {
        bar.set_draw_target(ProgressDrawTarget::stderr());
    }
    match event {
        Event::Hashing { done, total } => {
            bar.set_length(*total);
            bar.set_position(*done);
            bar.set_message("hashing");
        }
        Event::Moving { done, total } => {
            match total {
                Some(total) => bar.set_length(*total),
                None => bar.unset_length(),
            }
            bar.set_position(*done);
            bar.set_message("");
        }
        Event::Retrying { attempt, wait, reason } => {
            bar.set_message(format!("attempt {attempt} in {} ms: {}", wait.as_millis(), printable(reason)));
        }
        _ => {}
    }
}

/// Without a terminal only a pause is worth a line.
fn tell(event: &Event) {
    if let Event::Retrying { attempt, wait, reason } = event {
        warn(&format!("attempt {attempt} follows in {} ms: {reason}", wait.as_millis()));
    }
}

/// Writes one line to standard output.
pub(super) fn line(text: &str) -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
        complain(&format!("cannot write to standard output: {error}"));
        Exit::Failure
    })
}

/// One line on standard error: what failed, why, what to do.
pub(super) fn report(what: &str, error: &Error) {
    complain(&sentence(what, error));
}

/// What failed, why, what to do.
fn sentence(what: &str, error: &Error) -> String {
    format!("{}: {error}; {}", printable(what), advice(error))
}

/// What to do, in the words of the command line.
fn advice(error: &Error) -> &'static str {
    match error {
        Error::TargetExists(_) => "choose another name with -o, or replace it with --force",
        _ => error.advice(),
    }
}

/// One line on standard error that begins with `error:`.
pub(super) fn complain(text: &str) {
    say("error:", "31;1", text);
}

/// One line on standard error that begins with `warning:`.
pub(super) fn warn(text: &str) {
    say("warning:", "33;1", text);
}

fn say(mark: &str, colour: &str, text: &str) {
    let mut err = std::io::stderr().lock();
    let text = printable(text);
    // Nobody is left to tell when standard error is gone.
    let _unheard = if mark.is_empty() {
        writeln!(err, "{text}")
    } else if coloured() {
        writeln!(err, "\u{1b}[{colour}m{mark}\u{1b}[0m {text}")
    } else {
        writeln!(err, "{mark} {text}")
    };
}

/// Colours are for terminals whose user has not switched them off (no-color.org).
fn coloured() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A text on one line and without what could steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_client::{TokenError, WireError, WireErrorKind};

    fn broken() -> Error {
        let source = WireError::new(WireErrorKind::Connect, "connection refused");
        Error::Wire { url: "https://127.0.0.1:8020/api/v1/files".to_owned(), source }
    }

    #[test]
    fn an_error_says_what_where_why_and_what_to_do() {
        assert_eq!(
            sentence("upload a\u{1b}.txt", &broken()),
            "upload a?.txt: no answer from https://127.0.0.1:8020/api/v1/files: connection refused; \
             check that the server runs and that the address and port are right"
        );
    }

    #[test]
    fn a_failure_for_machines_has_category_message_and_advice() {
        let error = Error::Token(TokenError {
            kind: "invalid_client",
            detail: "invalid_client: the issuer refused the client".to_owned(),
            refused: true,
            retryable: false,
        });
        assert_eq!(
            serde_json::to_value(FailureDocument::from(&error)).unwrap(),
            serde_json::json!({
                "category": "authentication",
                "message": "no access token: invalid_client: the issuer refused the client",
                "advice": "check the client id and its secret, and that the account is active"
            })
        );
    }

    #[test]
    fn no_bar_without_a_terminal() {
        let bar = Output { json: true, quiet: false }.bar("a");
        assert!(bar.bar.is_none());
    }
}

//! The page around its sections, and the small parts that they are made of. All text that is not ours is escaped here.

use super::panels::Judgement;
use super::report::Report;
use super::sections;
use artstore_http::escape_html;
use time::OffsetDateTime;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let title = format!("ArtStore {}: {}", escape_html(report.module), report.health.status.as_str());
    let live = |id: &str, html: &str| format!("<div id=\"{id}\" data-live>{html}</div>");
    let parts = [
        live("overview", &sections::overview(report)),
        format!(
            "<div class=\"pair\">{}{}</div>",
            section("alerts", "Alerts", &sections::alerts(report)),
            section("dependencies", "Dependencies", &live("dependencies-live", &sections::dependencies(report))),
        ),
        section("errors", "Last errors", &live("errors-live", &sections::errors(report))),
        sections::panels(report),
        section("certificates", "Certificates", &live("certificates-live", &sections::certificates(report))),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
         <link rel=\"icon\" href=\"status.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"status.css\">\
         <script src=\"status.js\" defer></script></head><body>\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\
         <header><div id=\"head\" data-live>{head}</div>{CONTROLS}</header>\
         <p id=\"stale\" class=\"stale\" role=\"alert\" hidden></p>\
         <main id=\"main\" tabindex=\"-1\">{main}</main>{foot}</body></html>\n",
        head = sections::head(report),
        main = parts.concat(),
        foot = sections::foot(report),
    )
}

/// What only works with the script is hidden until the script shows it.
const CONTROLS: &str = "<div class=\"controls\"><span id=\"refreshing\" class=\"quiet\" hidden></span>\
    <button id=\"pause\" type=\"button\" hidden>Pause</button>\
    <noscript><span class=\"quiet\">Reload the page for newer numbers; with JavaScript it does so by itself.</span></noscript></div>";

/// A section with its heading.
pub(super) fn section(id: &str, heading: &str, inside: &str) -> String {
    format!("<section aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{heading}</h2>{inside}</section>")
}

/// How a thing is: never by colour alone, a sign and a word beside it.
pub(super) fn pill(judgement: Judgement, word: &str) -> String {
    let (class, sign) = match judgement {
        Judgement::Good => ("good", "✓"),
        Judgement::Watch => ("watch", "!"),
        Judgement::Bad => ("bad", "✕"),
    };
    format!("<span class=\"pill {class}\"><span aria-hidden=\"true\">{sign}</span> {}</span>", escape_html(word))
}

/// A table: its caption for screen readers, its heads, and rows of cells that are HTML already. It scrolls by itself where it
/// is too wide.
pub(super) fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let row = |cells: &Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>")
    };
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption class=\"unseen\">{caption}</caption>\
         <thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

/// A text that is not ours, on its own as far as the direction of writing goes.
pub(super) fn foreign(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape_html(text))
}

/// A link to a runbook whose text is the alert.
pub(super) fn runbook_of(url: &str, alert: &str) -> String {
    let (url, alert) = (escape_html(url), escape_html(alert));
    format!("<a href=\"{url}\" rel=\"noreferrer\"><span class=\"unseen\">Runbook for </span>{alert}</a>")
}

/// A link to a runbook.
pub(super) fn runbook(url: &str, about: &str) -> String {
    let (url, about) = (escape_html(url), escape_html(about));
    format!("<a href=\"{url}\" rel=\"noreferrer\">Runbook<span class=\"unseen\"> for {about}</span></a>")
}

/// A moment, in UTC.
pub(super) fn moment(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a date has whole seconds; what is no date is said below")]
    let whole = seconds as i64;
    match OffsetDateTime::from_unix_timestamp(whole) {
        Ok(date) => {
            let (hour, minute, second) = (date.hour(), date.minute(), date.second());
            let day = date.date();
            format!(
                "<time datetime=\"{day}T{hour:02}:{minute:02}:{second:02}Z\">{day} {hour:02}:{minute:02}:{second:02} UTC</time>"
            )
        }
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_utc_and_anything_is_a_moment() {
        assert_eq!(moment(1_800_000_000.9), "<time datetime=\"2027-01-15T08:00:00Z\">2027-01-15 08:00:00 UTC</time>");
        assert_eq!(moment(f64::MAX), "unknown");
    }

    #[test]
    fn what_is_not_ours_is_escaped_and_cannot_turn_the_line_around() {
        assert_eq!(foreign("CN=\u{202e}<script>\"'&"), "<bdi>CN=\u{202e}&lt;script&gt;&quot;&#39;&amp;</bdi>");
        assert!(pill(Judgement::Bad, "<b>").ends_with("✕</span> &lt;b&gt;</span>"));
        assert!(
            runbook("https://x/\"", "<a>").contains("href=\"https://x/&quot;\"") && !runbook("", "<a>").contains("<a>")
        );
    }
}

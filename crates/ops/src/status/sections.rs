//! The sections of the page.

use super::alerts::{AlertView, State};
use super::chart;
use super::html::{foreign, moment, pill, runbook, runbook_of, section, table};
use super::panels::{Chart, Judgement, PanelView, with_unit};
use super::report::{Report, Token};
use super::templates::{duration, trimmed};
use artstore_http::{Dependency, Status as Health, escape_html};

const fn judged(health: Health) -> Judgement {
    match health {
        Health::Ok => Judgement::Good,
        Health::Degraded => Judgement::Watch,
        Health::Fail => Judgement::Bad,
    }
}

/// Name, state, where and since when.
pub(super) fn head(report: &Report) -> String {
    format!(
        "<h1>ArtStore {module} {pill}</h1><p class=\"quiet\">{instance} · version {version} · up {up} · as of {now}</p>",
        module = escape_html(report.module),
        pill = pill(judged(report.health.status), report.health.status.as_str()),
        instance = foreign(&report.instance),
        version = report.version,
        up = duration(report.up_seconds.floor()),
        now = moment(report.now),
    )
}

/// The four things that one wants to know at once.
pub(super) fn overview(report: &Report) -> String {
    let firing = report.alerts.iter().filter(|alert| alert.state == State::Firing).count();
    let pending = report.alerts.iter().filter(|alert| alert.state == State::Pending).count();
    let alerts = match (firing, pending) {
        (0, 0) => pill(Judgement::Good, "none"),
        (0, _) => pill(Judgement::Watch, "pending"),
        _ => pill(Judgement::Bad, "firing"),
    };
    let troubled = report.health.dependencies.iter().filter(|dependency| dependency.status != Health::Ok).count();
    let of = report.health.dependencies.len();
    let next = report.certificates.first();
    let cards = [
        ("Health", report.health.status.as_str().to_owned(), format!("{} of {of} dependencies well", of - troubled)),
        ("Token", token(report), about_token(report.token).to_owned()),
        ("Alerts", alerts, format!("{firing} firing, {pending} pending")),
        (
            "Next certificate to expire",
            next.map_or_else(|| "none".to_owned(), |next| trimmed(next.days_left, 1) + " d"),
            next.map_or_else(|| "This module holds none.".to_owned(), |next| foreign(&next.subject)),
        ),
    ];
    let card = |(label, value, about): &(&str, String, String)| {
        format!(
            "<div class=\"card\"><dt>{label}</dt><dd class=\"big\">{value}</dd><dd class=\"quiet\">{about}</dd></div>"
        )
    };
    format!("<dl class=\"cards\">{}</dl>", cards.iter().map(card).collect::<String>())
}

const fn about_token(token: Token) -> &'static str {
    match token {
        Token::Held { .. } => "until it expires",
        Token::None => "nobody has asked for one, or it cannot be had",
        Token::NotOfThisModule => "this module asks nobody for tokens",
    }
}

/// The seconds that are left, for the script to count down.
fn token(report: &Report) -> String {
    match report.token {
        Token::Held { seconds_left } => {
            let left = seconds_left.max(0.0);
            format!("<span id=\"token-left\" data-seconds=\"{left:.1}\">{}</span>", duration(left.floor()))
        }
        Token::None => "none yet".to_owned(),
        Token::NotOfThisModule => "not used here".to_owned(),
    }
}

/// What fires or is about to, read out when it changes; and all rules in a table.
pub(super) fn alerts(report: &Report) -> String {
    let active: String =
        report.alerts.iter().filter(|alert| matches!(alert.state, State::Firing | State::Pending)).map(alert).collect();
    let active = if active.is_empty() {
        "<p>No alert holds.</p>".to_owned()
    } else {
        format!("<ul class=\"alerts\">{active}</ul>")
    };
    let row = |alert: &AlertView| {
        vec![
            alert.name.to_owned(),
            alert.severity.to_owned(),
            pill(of_alert(alert), alert.state.words()),
            escape_html(&alert.note),
            runbook(&alert.runbook, alert.name),
        ]
    };
    let rows: Vec<Vec<String>> = report.alerts.iter().map(row).collect();
    let all = table("All alert rules and how they stand", &["Alert", "Severity", "State", "Note", "Read on"], &rows);
    format!(
        "<div id=\"alerts-live\" data-live aria-live=\"polite\">{active}</div>\
         <details><summary>All {count} rules</summary><p class=\"quiet\">By the text of the rules that Prometheus gets, over what this \
         process counted itself. Prometheus sees every instance and keeps on judging when this process is gone.</p>\
         <div id=\"rules-live\" data-live>{all}</div></details>",
        count = report.alerts.len(),
    )
}

fn of_alert(alert: &AlertView) -> Judgement {
    match alert.state {
        State::Firing => Judgement::Bad,
        State::Pending => Judgement::Watch,
        State::Inactive | State::JudgedOutside | State::NotOfThisModule => Judgement::Good,
    }
}

fn alert(alert: &AlertView) -> String {
    let finding = |finding: &super::alerts::Finding| {
        format!(
            "<li><strong>{}</strong><br>{} <span class=\"quiet\">Since {}.</span></li>",
            foreign(&finding.summary),
            foreign(&finding.description),
            moment(finding.since)
        )
    };
    let findings: String = alert.findings.iter().map(finding).collect();
    format!(
        "<li class=\"alert {class}\"><p>{pill} <b>{name}</b> <span class=\"quiet\">{severity}</span> {link}</p><ul>{findings}</ul>{note}</li>",
        class = if alert.state == State::Firing { "bad" } else { "watch" },
        pill = pill(of_alert(alert), alert.state.words()),
        name = alert.name,
        severity = alert.severity,
        link = runbook(&alert.runbook, alert.name),
        note = if alert.note.is_empty() {
            String::new()
        } else {
            format!("<p class=\"quiet\">{}</p>", escape_html(&alert.note))
        },
    )
}

/// Each dependency with its reason.
pub(super) fn dependencies(report: &Report) -> String {
    if report.health.dependencies.is_empty() {
        return "<p>This module depends on nothing.</p>".to_owned();
    }
    let one = |dependency: &Dependency| {
        let state = pill(judged(dependency.status), dependency.status.as_str());
        let reason = match dependency.reason.as_str() {
            "" => String::new(),
            reason => format!("<p class=\"quiet\">{}</p>", foreign(reason)),
        };
        format!("<li class=\"card\"><b>{}</b> {state}{reason}</li>", foreign(&dependency.name))
    };
    let all: String = report.health.dependencies.iter().map(one).collect();
    format!("<ul class=\"dependencies\">{all}</ul>")
}

/// The dashboards' panels, row by row, and which of them this module does not have.
pub(super) fn panels(report: &Report) -> String {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for (index, view) in report.panels.iter().enumerate().filter(|(_, view)| view.is_exported) {
        let html = panel(report, view, index + 1);
        match rows.last_mut() {
            Some((row, panels)) if *row == view.row => panels.push(html),
            _ => rows.push((view.row, vec![html])),
        }
    }
    let row = |(index, (title, panels)): (usize, (&str, Vec<String>))| {
        section(&format!("row-{index}"), &escape_html(title), &format!("<div class=\"grid\">{}</div>", panels.concat()))
    };
    let drawn: String = rows.into_iter().enumerate().map(row).collect();
    let missing: Vec<String> =
        report.panels.iter().filter(|view| !view.is_exported).map(|view| escape_html(view.title)).collect();
    let missing = match missing.as_slice() {
        [] => String::new(),
        titles => format!("<p class=\"quiet\">Not counted by this module: {}.</p>", titles.join(", ")),
    };
    let other = if report.token == Token::NotOfThisModule {
        ""
    } else if report.has_all_panels {
        "<p><a href=\"./\">Leave out the panels of connection pool and listener</a></p>"
    } else {
        "<p><a href=\"?panels=all\">Show the panels of connection pool and listener too</a></p>"
    };
    format!("{drawn}{missing}{other}")
}

fn panel(report: &Report, view: &PanelView, number: usize) -> String {
    let inside = if view.is_table {
        next_certificates(report)
    } else {
        view.charts.iter().map(|one| drawn(report, view, one)).collect()
    };
    let worst = view.charts.iter().map(|chart| chart.judgement).max_by_key(|judgement| *judgement as u8);
    let mark = match worst {
        Some(Judgement::Bad) => pill(Judgement::Bad, "bad"),
        Some(Judgement::Watch) => pill(Judgement::Watch, "watch"),
        Some(Judgement::Good) | None => String::new(),
    };
    let links: Vec<String> = view.runbooks.iter().map(|one| runbook_of(&one.url, one.alert)).collect();
    let links =
        if links.is_empty() { String::new() } else { format!("<p class=\"links\">Runbooks: {}</p>", links.join(" ")) };
    format!(
        "<article class=\"card panel\" aria-labelledby=\"panel-{number}\"><div id=\"panel-{number}-live\" data-live>\
         <h3 id=\"panel-{number}\">{title} {mark}</h3>{inside}</div><p class=\"quiet\">{description}</p>{links}</article>",
        title = escape_html(view.title),
        description = escape_html(view.description),
    )
}

/// The certificates that expire first, in a panel.
fn next_certificates(report: &Report) -> String {
    let row = |one: &super::report::Certificate| {
        let (subject, days) = (foreign(&one.subject), trimmed(one.days_left, 1));
        format!("<tr><th scope=\"row\">{subject}</th><td>{}</td><td>{days}</td></tr>", escape_html(&one.cert_type))
    };
    let rows: String = report.certificates.iter().take(6).map(row).collect();
    format!(
        "<table class=\"legend\"><caption class=\"unseen\">Certificates that expire first</caption><thead><tr><th scope=\"col\">Subject</th>\
         <th scope=\"col\">Role</th><th scope=\"col\">Days left</th></tr></thead><tbody>{rows}</tbody></table>\
         <p><a href=\"#certificates-title\">All of them</a></p>"
    )
}

/// A drawing and, as its legend and for whoever does not see it, its values in a table.
fn drawn(report: &Report, view: &PanelView, one: &Chart) -> String {
    let last =
        one.curves.iter().filter_map(|curve| Some(format!("{} {}", curve.name, with_unit(one.unit, curve.now?))));
    let label = escape_html(&format!("{}, now: {}", view.title, last.collect::<Vec<_>>().join(", ")));
    let Some(drawing) = chart::svg(one, &report.times, &label) else {
        return "<p class=\"empty\">Nothing to draw: none in the last hour.</p>".to_owned();
    };
    let value = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| with_unit(one.unit, value));
    let row = |(index, curve): (usize, &super::panels::Curve)| {
        let most = curve.points.iter().flatten().copied().reduce(f64::max);
        format!(
            "<tr><th scope=\"row\"><span class=\"swatch s{slot}\" aria-hidden=\"true\"></span>{name}</th><td>{now}</td><td>{most}</td></tr>",
            slot = index + 1,
            name = foreign(&curve.name),
            now = value(curve.now),
            most = value(most),
        )
    };
    let rows: String = one.curves.iter().enumerate().map(row).collect();
    let hidden = match one.hidden {
        0 => String::new(),
        hidden => format!("<p class=\"quiet\">{hidden} more at or near zero</p>"),
    };
    format!(
        "<div class=\"figure\">{drawing}<div><table class=\"legend\"><caption class=\"unseen\">{title}</caption><thead><tr><th scope=\"col\">Curve</th>\
         <th scope=\"col\">Now</th><th scope=\"col\">Most</th></tr></thead><tbody>{rows}</tbody></table>{hidden}</div></div>",
        title = escape_html(view.title),
    )
}

/// The held certificates.
pub(super) fn certificates(report: &Report) -> String {
    if report.certificates.is_empty() {
        return "<p>This module holds no certificates.</p>".to_owned();
    }
    let row = |one: &super::report::Certificate| {
        vec![
            escape_html(&one.cert_type),
            foreign(&one.subject),
            trimmed(one.days_left, 1),
            pill(one.judgement, one.state()),
            format!("<code>{}</code>", escape_html(&one.fingerprint)),
        ]
    };
    let rows: Vec<Vec<String>> = report.certificates.iter().map(row).collect();
    let more = match report.more_certificates {
        0 => String::new(),
        more => format!("<p>And {more} more, which expire later.</p>"),
    };
    table("Certificates that this module holds", &["Role", "Subject", "Days left", "State", "SHA-256"], &rows) + &more
}

/// The last errors.
pub(super) fn errors(report: &Report) -> String {
    if report.errors.is_empty() {
        return "<p>No error was counted since this module started.</p>".to_owned();
    }
    let row = |one: &super::errors::ErrorView| {
        let place = if one.place.is_empty() { String::new() } else { format!(" {}", foreign(&one.place)) };
        let kind =
            if one.kind.is_empty() { String::new() } else { format!(" <code>{}</code>", escape_html(&one.kind)) };
        vec![
            moment(one.last),
            one.count.to_string(),
            format!("{}{place}", escape_html(&one.meaning)),
            format!("<code>{}</code>{kind}", one.family),
            runbook(&one.runbook, &one.meaning),
        ]
    };
    let rows: Vec<Vec<String>> = report.errors.iter().map(row).collect();
    table("The last errors by kind", &["Last", "Count", "Meaning", "Counted by", "Read on"], &rows)
}

/// Where else to look.
pub(super) fn foot(report: &Report) -> String {
    let truncated = if report.is_truncated { " There are more series than are kept; some are not shown." } else { "" };
    format!(
        "<footer><nav aria-label=\"More of this module\"><a href=\"metrics\">Metrics</a> <a href=\"status.json\">This page as JSON</a> \
         <a href=\"health/ready\">Readiness</a> <a href=\"health/live\">Liveness</a></nav>\
         <p class=\"quiet\">The last hour, a reading every {} seconds, kept in memory.{truncated}</p></footer>",
        report.interval_seconds
    )
}

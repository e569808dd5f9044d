//! The panels of `artstore-ingest` about connections: the pool of those that a module opens, and the listener for those that it accepts.

use super::ingest::percentiles;
use super::panel::{Panel, Thresholds, lines};
use super::{STEP, of};
use crate::promql::{buckets, quantile, sum_by};
use artstore_http::metrics::{
    CLIENT_CLOSED, CLIENT_IDLE, CLIENT_OPEN, CLIENT_OPENED, CLIENT_REQUEST_DURATION, CLIENT_REQUESTS, CLIENT_RETRIES,
    CLIENT_WAITING, SERVER_ACCEPTED, SERVER_ACTIVE, SERVER_DURATION, SERVER_FAULTS, SERVER_OPEN, SERVER_PANICS,
    SERVER_REQUESTS,
};
use artstore_tls::metrics::{
    SERVER_CERTIFICATE_VALIDATION, SERVER_CLIENT_HELLO_WAIT, SERVER_CONNECTIONS_ACTIVE, SERVER_CONNECTIONS_CUT,
    SERVER_HANDSHAKE_DURATION, SERVER_HANDSHAKES,
};

pub(super) fn by_peer() -> Panel {
    let sum = |family| sum_by("job, peer", &of(family).to_string());
    Panel {
        unit: "short",
        alerts: &["ArtstoreTlsLowConnectionReuse"],
        ..lines(
            "Connections by peer",
            "Connections to each peer, those that wait in the pool for the next request, and requests that wait for a connection.",
            vec![
                (sum(&CLIENT_OPEN), "open {{peer}} {{job}}"),
                (sum(&CLIENT_IDLE), "idle {{peer}} {{job}}"),
                (format!("{} > 0", sum(&CLIENT_WAITING)), "waiting {{peer}} {{job}}"),
            ],
        )
    }
}

pub(super) fn turnover() -> Panel {
    let opened = sum_by("peer", &of(&CLIENT_OPENED).rate(STEP));
    let closed = sum_by("reason", &of(&CLIENT_CLOSED).rate(STEP));
    Panel {
        alerts: &["ArtstoreTlsLowConnectionReuse"],
        ..lines(
            "Connections opened and closed",
            "Connections opened a second by peer, and closed by reason. A healthy pool opens few.",
            vec![(opened, "opened {{peer}}"), (closed, "closed {{reason}}")],
        )
    }
}

pub(super) fn outcomes() -> Panel {
    let requests = sum_by("outcome", &of(&CLIENT_REQUESTS).rate(STEP));
    let retries = sum_by("job", &of(&CLIENT_RETRIES).rate(STEP));
    lines(
        "Requests to other modules",
        "Requests a second by how they ended, and those sent again because an idle connection proved dead.",
        vec![(requests, "{{outcome}}"), (format!("{retries} > 0"), "retries {{job}}")],
    )
}

pub(super) fn durations() -> Panel {
    Panel {
        unit: "s",
        thresholds: Thresholds::High(0.5, 2.5),
        exemplars: true,
        alerts: &["ArtstoreAdminModuleLatencySLO"],
        ..lines(
            "Answers of other modules",
            "From the start of a request to the head of its response, answered requests only.",
            percentiles(&CLIENT_REQUEST_DURATION),
        )
    }
}

pub(super) fn admission() -> Panel {
    let accepted = sum_by("listener", &of(&SERVER_ACCEPTED).rate(STEP));
    let faults = sum_by("listener, fault", &of(&SERVER_FAULTS).rate(STEP));
    lines(
        "Admission of connections",
        "Connections accepted a second by listener, and those that ended before they should: turned away by a limit, silent, broken.",
        vec![(accepted, "accepted {{listener}}"), (format!("{faults} > 0"), "{{fault}} {{listener}}")],
    )
}

pub(super) fn in_flight() -> Panel {
    let sum = |family| sum_by("job, listener", &of(family).to_string());
    Panel {
        unit: "short",
        ..lines(
            "Open connections and requests in progress",
            "Accepted connections that are open, and requests until the end of their response.",
            vec![
                (sum(&SERVER_OPEN), "open {{listener}} {{job}}"),
                (sum(&SERVER_ACTIVE), "requests {{listener}} {{job}}"),
            ],
        )
    }
}

pub(super) fn served() -> Panel {
    let requests = sum_by("outcome", &of(&SERVER_REQUESTS).with("listener", "main").rate(STEP));
    let panics = sum_by("job", &of(&SERVER_PANICS).rate(STEP));
    lines(
        "Answers of the main listener",
        "Requests a second by the class of their answer; aborted are those whose response did not reach its end. A panic is a defect.",
        vec![(requests, "{{outcome}}"), (format!("{panics} > 0"), "panics {{job}}")],
    )
}

pub(super) fn served_durations() -> Panel {
    let main = buckets(&SERVER_DURATION).with("listener", "main").chosen();
    let at = |q| quantile(q, "", &main, STEP);
    Panel {
        unit: "s",
        thresholds: Thresholds::High(2.5, 30.0),
        exemplars: true,
        ..lines(
            "Duration of requests to the main listener",
            "From the head of a request to the end of its response, transfers of large files included.",
            vec![(at("0.5"), "p50"), (at("0.95"), "p95"), (at("0.99"), "p99")],
        )
    }
}

pub(super) fn tls_handshakes() -> Panel {
    let good = sum_by("job", &of(&SERVER_HANDSHAKES).with("status", "success").rate(STEP));
    let failed = sum_by("error_type", &of(&SERVER_HANDSHAKES).with("status", "failure").rate(STEP));
    lines(
        "Handshakes of clients",
        "Handshakes of accepted connections a second, and those that failed by kind. Strangers make these fail: no alert is raised by it.",
        vec![(good, "success {{job}}"), (format!("{failed} > 0"), "{{error_type}}")],
    )
}

pub(super) fn tls_durations() -> Panel {
    let p95 = |family| quantile("0.95", "", &buckets(family).chosen(), STEP);
    Panel {
        unit: "s",
        thresholds: Thresholds::High(0.1, 0.5),
        exemplars: true,
        ..lines(
            "Handshake p95 and wait for the client's hello",
            "From a client's hello to the end of the handshake, and from the connection to the hello: the latter is the client's own time.",
            vec![(p95(&SERVER_HANDSHAKE_DURATION), "handshake p95"), (p95(&SERVER_CLIENT_HELLO_WAIT), "hello p95")],
        )
    }
}

pub(super) fn tls_clients() -> Panel {
    let open = sum_by("protocol", &of(&SERVER_CONNECTIONS_ACTIVE).to_string());
    let verdicts = sum_by("result", &of(&SERVER_CERTIFICATE_VALIDATION).rate(STEP));
    let cut = sum_by("error_type", &of(&SERVER_CONNECTIONS_CUT).rate(STEP));
    Panel {
        unit: "short",
        other_unit: Some(("verdict|cut", "ops")),
        alerts: &["ArtstoreTlsCrlStale"],
        ..lines(
            "Connections of clients and their certificates",
            "Open accepted connections by protocol; verdicts a second on the certificates that clients show; connections cut because trust or \
             revocation lists turned against them.",
            vec![
                (open, "{{protocol}}"),
                (verdicts, "verdict {{result}}"),
                (format!("{cut} > 0"), "cut {{error_type}}"),
            ],
        )
    }
}

//! What the dashboard `artstore-ingest` shows of files: uploads and downloads at the Ingester, storage at the elements. Files come often, so
//! that the panel's own window will do.

use super::panel::{Panel, Thresholds, lines};
use super::{STEP, of, pool};
use crate::promql::{buckets, quantile, series, share, sum_by};
use artstore_element::metrics::{
    CAPACITY, COMMIT_DURATION, FREE, OUTBOX_AGE, OUTBOX_DEPTH, REPORTS, TRANSFERRED, UPLOADS,
};
use artstore_ingester::metrics::{
    ABANDONED_TOTAL, DOWNLOAD_SENT_BYTES_TOTAL, DOWNLOADS_ACTIVE, DOWNLOADS_TOTAL, ELEMENTS_ONLINE, ERRORS_TOTAL,
    FAILOVERS_TOTAL, LIST_FETCHES_TOTAL, UPLOAD_DURATION_SECONDS, UPLOAD_RECEIVED_BYTES_TOTAL, UPLOAD_SIZE_BYTES,
    UPLOADS_ACTIVE, UPLOADS_TOTAL,
};
use artstore_metrics::Family;

/// Titles of rows, and their panels from left to right.
pub(super) fn rows() -> Vec<(&'static str, Vec<Panel>)> {
    vec![
        ("Uploads and downloads", vec![success_ratio(), outcomes(), under_way()]),
        ("Bytes and time", vec![bytes(), durations(), sizes()]),
        ("What clients are told, and the elements as the Ingester sees them", vec![problems(), detours(), online()]),
        ("Connection pool", vec![pool::by_peer(), pool::turnover(), pool::outcomes(), pool::durations()]),
        ("Listener", vec![pool::admission(), pool::in_flight(), pool::served(), pool::served_durations()]),
        ("Listener: TLS", vec![pool::tls_handshakes(), pool::tls_durations(), pool::tls_clients()]),
        ("Storage", vec![free(), outbox(), commits(), at_elements()]),
    ]
}

/// Median, 95th and 99th percentile of a histogram in seconds, of all chosen instances together.
pub(super) fn percentiles(family: &Family) -> Vec<(String, &'static str)> {
    let at = |q| quantile(q, "", &buckets(family).chosen(), STEP);
    vec![(at("0.5"), "p50"), (at("0.95"), "p95"), (at("0.99"), "p99")]
}

fn success_ratio() -> Panel {
    let ended = series(&UPLOADS_TOTAL).among("outcome", &["stored", "failed"]).chosen();
    Panel {
        unit: "percentunit",
        thresholds: Thresholds::Low(0.95, 0.99),
        alerts: &["ArtstoreUploadFailures"],
        ..lines(
            "Upload success ratio",
            "Share of the uploads that were stored. Those that the client got wrong or gave up count on neither side.",
            vec![(share("job", &of(&UPLOADS_TOTAL).with("outcome", "stored"), &ended, STEP), "{{job}}")],
        )
    }
}

fn outcomes() -> Panel {
    let uploads = sum_by("policy, outcome", &of(&UPLOADS_TOTAL).rate(STEP));
    let downloads = sum_by("outcome", &of(&DOWNLOADS_TOTAL).rate(STEP));
    Panel {
        alerts: &["ArtstoreUploadFailures"],
        ..lines(
            "Uploads and downloads by outcome",
            "Uploads a second by retention policy and outcome, and downloads by outcome.",
            vec![(uploads, "upload {{policy}} {{outcome}}"), (downloads, "download {{outcome}}")],
        )
    }
}

fn under_way() -> Panel {
    let uploads = sum_by("way", &of(&UPLOADS_ACTIVE).to_string());
    let downloads = sum_by("job", &of(&DOWNLOADS_ACTIVE).to_string());
    Panel {
        unit: "short",
        ..lines(
            "Uploads and downloads under way",
            "Requests that move file bytes right now, uploads by the way they came in.",
            vec![(uploads, "upload {{way}}"), (downloads, "download {{job}}")],
        )
    }
}

fn bytes() -> Panel {
    let received = sum_by("way", &of(&UPLOAD_RECEIVED_BYTES_TOTAL).rate(STEP));
    let sent = sum_by("job", &of(&DOWNLOAD_SENT_BYTES_TOTAL).rate(STEP));
    let stored = sum_by("direction", &of(&TRANSFERRED).rate(STEP));
    Panel {
        unit: "Bps",
        ..lines(
            "File bytes",
            "File bytes a second at the Ingester, however the transfers ended, and those that elements received and sent.",
            vec![(received, "upload {{way}}"), (sent, "download {{job}}"), (stored, "element {{direction}}")],
        )
    }
}

fn durations() -> Panel {
    Panel {
        unit: "s",
        thresholds: Thresholds::High(2.5, 30.0),
        exemplars: true,
        ..lines(
            "Upload duration",
            "From the head of the request to publication, of stored uploads. Large files take long by right: read it beside their sizes.",
            percentiles(&UPLOAD_DURATION_SECONDS),
        )
    }
}

fn sizes() -> Panel {
    Panel {
        unit: "bytes",
        ..lines("Upload size", "Sizes of stored files, as far as the buckets tell.", percentiles(&UPLOAD_SIZE_BYTES))
    }
}

fn problems() -> Panel {
    let rate = sum_by("code", &of(&ERRORS_TOTAL).rate(STEP));
    Panel {
        alerts: &["ArtstoreUploadFailures"],
        ..lines(
            "Problem answers by code",
            "Problem documents answered a second, and requests given up because their client had gone.",
            vec![(format!("{rate} > 0"), "{{code}}")],
        )
    }
}

fn detours() -> Panel {
    let failovers = sum_by("reason", &of(&FAILOVERS_TOTAL).rate(STEP));
    let abandoned = sum_by("result", &of(&ABANDONED_TOTAL).rate(STEP));
    let lists = sum_by("job", &of(&LIST_FETCHES_TOTAL).with("status", "failure").rate(STEP));
    Panel {
        alerts: &["ArtstoreStorageNearlyFull", "ArtstoreUploadFailures"],
        ..lines(
            "Failovers and what was given up",
            "A second: elements that did not take an upload, by reason; sessions given up, by what became of them; lists of elements that could \
             not be had.",
            vec![
                (format!("{failovers} > 0"), "failover {{reason}}"),
                (format!("{abandoned} > 0"), "session {{result}}"),
                (format!("{lists} > 0"), "no list {{job}}"),
            ],
        )
    }
}

fn online() -> Panel {
    let elements = format!("min by (job, instance, mode) ({})", of(&ELEMENTS_ONLINE));
    Panel {
        unit: "short",
        thresholds: Thresholds::Low(1.0, 2.0),
        ..lines(
            "Elements online",
            "Elements that an Ingester may choose from, by mode. With one there is no other to fall back on.",
            vec![(elements, "{{mode}} {{instance}}")],
        )
    }
}

fn free() -> Panel {
    let share = format!("min by (job, instance) ({})\n/\nmin by (job, instance) ({})", of(&FREE), of(&CAPACITY));
    let free = format!("min by (job, instance) ({})", of(&FREE));
    Panel {
        unit: "percentunit",
        thresholds: Thresholds::Low(0.1, 0.2),
        other_unit: Some(("free", "bytes")),
        alerts: &["ArtstoreStorageNearlyFull"],
        ..lines(
            "Free storage",
            "What is free for new files at each element, less what open uploads have reserved: as a share of its capacity, and in bytes.",
            vec![(share, "{{instance}}"), (free, "free {{instance}}")],
        )
    }
}

fn outbox() -> Panel {
    let age = format!("max by (job, instance) ({})", of(&OUTBOX_AGE));
    let changes = format!("max by (job, instance) ({})", of(&OUTBOX_DEPTH));
    Panel {
        unit: "s",
        thresholds: Thresholds::High(60.0, 300.0),
        other_unit: Some(("changes", "short")),
        alerts: &["ArtstoreOutboxLagging"],
        ..lines(
            "Changes that the Admin Module does not know yet",
            "Age of the oldest change that the Admin Module has not acknowledged, and how many there are.",
            vec![(age, "{{instance}}"), (changes, "changes {{instance}}")],
        )
    }
}

fn commits() -> Panel {
    Panel {
        unit: "s",
        thresholds: Thresholds::High(0.25, 1.0),
        exemplars: true,
        ..lines(
            "Commit duration",
            "From the last byte's arrival at an element to the durable publication of the file: how fast its disk syncs.",
            percentiles(&COMMIT_DURATION),
        )
    }
}

fn at_elements() -> Panel {
    let uploads = sum_by("outcome", &of(&UPLOADS).rate(STEP));
    let reports = sum_by("report, result", &of(&REPORTS).with_not("result", "acknowledged").rate(STEP));
    Panel {
        alerts: &["ArtstoreOutboxLagging"],
        ..lines(
            "Uploads at elements, and reports that failed",
            "A second: uploads that ended at elements, by outcome, and reports to the Admin Module that were not acknowledged.",
            vec![(uploads, "{{outcome}}"), (format!("{reports} > 0"), "{{report}} {{result}}")],
        )
    }
}

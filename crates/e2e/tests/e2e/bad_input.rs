//! Bad input, each with its status, code and message, and nothing left behind on the elements.

use artstore_e2e::certificates::Authority;
use artstore_e2e::curl::{Answer, Curl};
use artstore_e2e::parts::{More, Part, Parts};
use artstore_e2e::payload::{Payload, files_below, sha256};
use artstore_e2e::poll;
use artstore_e2e::token::{Token, signing_key};
use artstore_e2e::up::stored;
use artstore_e2e::wire::Wire;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: u64 = 2 << 20;
const LIMITS: More<'_> =
    &[(Part::Ingester, "ingester.max_file_bytes = 2097152"), (Part::Ingester, "ingester.read_timeout = 1")];

/// What the folders of both elements hold of files and uploads. Attributes lose their suffix, which says only whether the
/// Admin Module has acknowledged them.
fn held(parts: &Parts) -> BTreeSet<PathBuf> {
    let of = |part| files_below(&parts.data(part)).into_iter().map(move |path| (part, path));
    let all = [Part::Edit, Part::Rw].into_iter().flat_map(of);
    all.map(|(part, path)| PathBuf::from(format!("{part:?}")).join(path.with_extension(""))).collect()
}

/// Fails unless the folders hold what they held before, soon.
fn nothing_left(parts: &Parts, before: &BTreeSet<PathBuf>, what: &str) {
    poll::until(&format!("nothing is left of {what}"), Duration::from_secs(10), || {
        (held(parts) == *before).then_some(())
    });
    let open: f64 = ["ARTSTORE_ELEMENT_EDIT_OPS_URL", "ARTSTORE_ELEMENT_RW_OPS_URL"]
        .iter()
        .map(|element| parts.scrape(element).sum("element_open_uploads", &[]))
        .sum();
    assert_eq!(open, 0.0, "{what}: no upload is open");
}

/// Fails unless this is the problem document of this status and code, whose detail contains `part`.
fn is_problem(what: &str, answer: &Answer, status: u16, code: &str, part: &str) {
    assert_eq!(answer.status, status, "{what}: {answer}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}: {answer}");
    let problem = answer.json();
    assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{what}: {answer}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(part), "{what}: {detail:?} does not say {part:?}");
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("{what}: no request id"));
    assert_eq!(problem["request_id"], id, "{what}");
}

#[test]
fn tokens_that_do_not_allow_an_upload_are_refused() {
    let parts = Parts::start(LIMITS);
    let (small, large) = (parts.payload("small", 1_000, 1), parts.payload("large", 1 << 20, 2));
    let real = parts.token();
    let token = Token::read(&real);
    let key = signing_key(&parts.data(Part::Admin));
    let mut tampered = real.clone();
    let middle = real.rfind('.').unwrap() + 20;
    tampered.replace_range(middle..=middle, if &real[middle..=middle] == "A" { "B" } else { "A" });
    let read_only = parts.ask_token(Some("files:read")).expect(200).json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(parts.upload_raw(&token.signed(&key), &small.path, &[("filename", "a")]).status, 201, "forging works");
    let before = held(&parts);
    let later = token.clone().moved_by(3_600);
    let unknown_key = {
        let mut token = token.clone();
        token.header["kid"] = "nobody's".into();
        token
    };
    let mut no_type = token.clone();
    no_type.header["typ"] = "JWT".into();
    let cases = [
        ("wrong audience", parts.forge("files:write", "artstore-element"), 401, "UNAUTHORIZED"),
        ("wrong scope", read_only, 403, "FORBIDDEN"),
        ("no scope", parts.forge("", "artstore-ingester"), 403, "FORBIDDEN"),
        ("expired", token.clone().moved_by(-3_600).signed(&key), 401, "UNAUTHORIZED"),
        ("not yet valid", later.signed(&key), 401, "UNAUTHORIZED"),
        ("alg=none", token.clone().unsigned(), 401, "UNAUTHORIZED"),
        ("another issuer", token.claim("iss", "https://127.0.0.1:1").signed(&key), 401, "UNAUTHORIZED"),
        ("an unknown key", unknown_key.signed(&key), 401, "UNAUTHORIZED"),
        ("no access token", no_type.signed(&key), 401, "UNAUTHORIZED"),
        ("tampered with", tampered, 401, "UNAUTHORIZED"),
        ("no JWT", "abc".to_owned(), 401, "UNAUTHORIZED"),
    ];
    for (what, token, status, code) in cases {
        for payload in [&small, &large] {
            let answer = parts.upload_raw(&token, &payload.path, &[("filename", "a")]);
            is_problem(what, &answer, status, code, "");
            let challenge =
                answer.header("www-authenticate").unwrap_or_else(|| panic!("{what}: no challenge: {answer}"));
            let error = if status == 401 { "invalid_token" } else { "insufficient_scope" };
            assert!(challenge.starts_with("Bearer") && challenge.contains(error), "{what}: {challenge}");
            assert!(!answer.text().contains(&token), "{what}: the answer repeats the token");
        }
    }
    let none = parts.ingester("/api/v1/files?filename=a").with(["-T".as_ref(), small.path.as_os_str()]).run();
    is_problem("no token", &none, 401, "UNAUTHORIZED", "");
    assert!(none.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert!(
        !none.header("www-authenticate").unwrap().contains("error="),
        "RFC 6750, section 3: no error without a token"
    );
    nothing_left(&parts, &before, "bad tokens");
}

#[test]
fn fields_that_are_wrong_are_refused_and_an_empty_file_is_stored() {
    let parts = Parts::start(LIMITS);
    let token = parts.token();
    let (small, large) = (parts.payload("small", 1_000, 1), parts.payload("large", 1 << 20, 2));
    let empty = parts.payload("empty", 0, 0);
    let record = stored(&parts.upload_raw(&token, &empty.path, &[("filename", "empty")]), &empty);
    assert_eq!(record.checksum, sha256(b""));
    let record = stored(&parts.upload_form(&token, &[&format!("file=@{}", empty.path.display())]), &empty);
    assert_eq!(parts.content_sha256(&token, &record.file_id.to_string()), sha256(b""));
    let before = held(&parts);
    let invalid = |what: &str, answer: &Answer, part: &str| is_problem(what, answer, 400, "VALIDATION_ERROR", part);
    for payload in [&small, &large] {
        let file = format!("file=@{}", payload.path.display());
        let many = format!("tags={}", serde_json::json!(vec!["a"; 51]));
        let forms: [(&[&str], &str); 11] = [
            (&["description=x"], "file"),
            (&[&file, "retention_policy=permanent"], "send retention_policy before file"),
            (&["retention_policy=forever", &file], "temporary"),
            (&[&file, "tags=a"], "JSON array"),
            (&[&file, "tags={\"a\":1}"], "JSON array"),
            (&["tags=[1]", &file], "JSON array"),
            (&[&many, &file], "at most 50 tags"),
            (&[&file, "ttl_days=0"], "from 1 to 365"),
            (&[&file, "ttl_days=366"], "from 1 to 365"),
            (&["ttl_days=soon", &file], "ttl_days"),
            (&["retention_policy=permanent", &file, "ttl_days=3"], "does not expire"),
        ];
        for (form, part) in forms {
            invalid(&format!("{form:?}"), &parts.upload_form(&token, form), part);
        }
        let long = "é".repeat(1_001);
        invalid(
            "long description",
            &parts.upload_form(&token, &[&file, &format!("description={long}")]),
            "1000 characters",
        );
        for (name, value, part) in [
            ("ttl_days", "0", "from 1 to 365"),
            ("ttl_days", "366", "from 1 to 365"),
            ("tags", "a", "JSON array"),
            ("retention_policy", "x", "temporary"),
            ("colour", "x", "colour"),
        ] {
            let answer = parts.upload_raw(&token, &payload.path, &[("filename", "a"), (name, value)]);
            invalid(&format!("?{name}={value}"), &answer, part);
        }
        for name in ["../../etc/passwd", "/etc/passwd", "..", "a\\b", "a/b"] {
            let answer = parts.upload_raw(&token, &payload.path, &[("filename", name)]);
            invalid(name, &answer, "no path");
            invalid(name, &form_named(&parts, &token, name, payload), "no path");
        }
        for name in ["a\nb", "a\0b", "\u{7f}"] {
            let answer = parts.upload_raw(&token, &payload.path, &[("filename", name)]);
            invalid(name, &answer, "control characters");
        }
        invalid("a tab", &form_named(&parts, &token, "a\tb", payload), "control characters");
        for field in ["Content-Digest", "Repr-Digest"] {
            let curl = parts.put(&token, &[("filename", "a")]).with(["-T".as_ref(), payload.path.as_os_str()]);
            let wrong = curl.clone().header(field, &empty.digest_field()).run();
            is_problem(field, &wrong, 422, "CHECKSUM_MISMATCH", "sha-256");
            invalid(field, &curl.header(field, "sha-256=:AAAA:").run(), "32 bytes");
        }
    }
    for id in ["..%2F..%2Fformat", "%2e%2e", "format", "0198c5a2"] {
        let answer = parts.record(&token, id);
        assert!(answer.status == 400 || answer.status == 404, "{id}: {answer}");
    }
    nothing_left(&parts, &before, "wrong fields");
}

/// A form whose file has this very name, which curl would rewrite.
fn form_named(parts: &Parts, token: &str, name: &str, payload: &Payload) -> Answer {
    let name = name.replace('\\', "\\\\");
    let head = format!("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    let body = [head.as_bytes(), &std::fs::read(&payload.path).unwrap(), b"\r\n--B--\r\n"].concat();
    let file = parts.scratch().join("form");
    std::fs::write(&file, body).unwrap();
    let curl = parts.ingester("/api/v1/files/upload").bearer(token);
    let curl = curl.header("Content-Type", "multipart/form-data; boundary=B");
    curl.with(["--data-binary", &format!("@{}", file.display())]).run()
}

#[test]
fn bodies_over_the_limit_are_refused_with_and_without_a_length() {
    let parts = Parts::start(LIMITS);
    let token = parts.token();
    let (fits, over) = (parts.payload("fits", LIMIT, 1), parts.payload("over", LIMIT + 1, 2));
    let _ = stored(&parts.upload_raw(&token, &fits.path, &[("filename", "a")]), &fits);
    let before = held(&parts);
    let limit = format!("at most {LIMIT} bytes");
    let put =
        |payload: &Payload| parts.put(&token, &[("filename", "a")]).with(["-T".as_ref(), payload.path.as_os_str()]);
    let known = put(&over).header("Expect", "100-continue").run();
    is_problem("with a length", &known, 413, "FILE_TOO_LARGE", &limit);
    assert_eq!(known.sent, 0, "refused before a byte moves");
    let chunked = put(&over).header("Transfer-Encoding", "chunked").run();
    is_problem("without a length", &chunked, 413, "FILE_TOO_LARGE", &limit);
    let form = parts.upload_form(&token, &[&format!("file=@{}", over.path.display())]);
    is_problem("by form", &form, 413, "FILE_TOO_LARGE", &limit);
    nothing_left(&parts, &before, "too large bodies");
    let chunked = put(&fits).header("Transfer-Encoding", "chunked").run();
    let _ = stored(&chunked, &fits);
}

#[test]
fn clients_that_vanish_or_stall_leave_nothing() {
    let parts = Parts::start(LIMITS);
    let token = parts.token();
    let first = parts.payload("first", 1, 0);
    let _ = stored(&parts.upload_raw(&token, &first.path, &[("filename", "a")]), &first);
    let before = held(&parts);
    let bytes = vec![7_u8; 1 << 20];
    let active = || parts.scrape("ARTSTORE_OPS_URL").sum("ingester_uploads_active", &[]);
    for (what, length) in [("a small part", 10_000_usize), ("a large part", bytes.len())] {
        let curl = parts.put(&token, &[("filename", "a")]).with(["-T", "."]);
        let mut sending = curl.start(true);
        sending.child().stdin.as_mut().unwrap().write_all(&bytes[..length]).unwrap();
        poll::until("the upload is under way", Duration::from_secs(5), || (active() == 1.0).then_some(()));
        sending.vanish();
        poll::until("the upload has ended", Duration::from_secs(5), || (active() == 0.0).then_some(()));
        nothing_left(&parts, &before, &format!("a client that vanished after {what}"));

        let mut wire = Wire::open(parts.var("ARTSTORE_INGESTER_URL"), parts.ca());
        let head = format!(
            "PUT /api/v1/files?filename=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 1500000\r\n\r\n"
        );
        wire.send(head.as_bytes());
        wire.send(&bytes[..length]);
        let (answer, took) = poll::timed(|| wire.await_answer());
        is_problem(what, &answer, 400, "VALIDATION_ERROR", "no byte of the body arrived for 1 seconds");
        assert!(took < Duration::from_secs(5), "{took:?}");
        nothing_left(&parts, &before, &format!("a client that stalled after {what}"));
    }
    let scrape = parts.scrape("ARTSTORE_OPS_URL");
    assert_eq!(scrape.sum("ingester_uploads_total", &[("outcome", "cancelled")]), 2.0, "two have vanished");
    assert_eq!(scrape.sum("ingester_uploads_total", &[("outcome", "rejected")]), 2.0, "two have stalled");
}

#[test]
fn plain_http_and_foreign_certificates_are_refused() {
    let parts = Parts::start(&[]);
    let before = held(&parts);
    for address in ["ARTSTORE_INGESTER_URL", "ARTSTORE_ADMIN_URL", "ARTSTORE_ELEMENT_RW_URL"] {
        let url = parts.var(address).replace("https://", "http://");
        let answer = Curl::plain(&format!("{url}/api/v1/files")).run();
        assert!(answer.status == 400 || (answer.status == 0 && answer.exit != 0), "{address}: {answer}");
        assert!(answer.status == 0 || answer.text().contains("https"), "{address}: {answer}");
    }
    let foreign = Authority::new(&parts.scratch().join("foreign"), "another authority").identity("client");
    let token = parts.forge("storage:read", "artstore-element");
    let capacity = |curl: Curl| curl.bearer(&token).run();
    let good = capacity(parts.element("rw", "/api/v1/capacity"));
    assert_eq!(good.status, 200, "{good}");
    let bare = Curl::new(&format!("{}/api/v1/capacity", parts.var("ARTSTORE_ELEMENT_RW_URL")), parts.ca());
    let answer = capacity(bare.clone());
    assert!(answer.status == 0 && answer.exit != 0, "no certificate: {answer}");
    let answer = capacity(bare.client(&foreign.certificate, &foreign.key));
    assert!(answer.status == 0 && answer.exit != 0, "a certificate of another CA: {answer}");
    let answer = parts.ingester("/api/v1/health/live").client(&foreign.certificate, &foreign.key).run();
    assert!(answer.status == 0 && answer.exit != 0, "also where none is required: {answer}");
    let element = parts.scrape("ARTSTORE_ELEMENT_RW_OPS_URL");
    for (error, times) in [("not_tls", 1.0), ("cert_missing", 1.0), ("cert_untrusted", 1.0)] {
        let labels = [("status", "failure"), ("error_type", error)];
        assert_eq!(element.sum("tls_server_handshake_total", &labels), times, "{error}");
    }
    let ingester = parts.scrape("ARTSTORE_OPS_URL");
    assert_eq!(ingester.sum("tls_handshake_total", &[("status", "failure")]), 0.0, "what the listener sees is apart");
    nothing_left(&parts, &before, "refused connections");
}

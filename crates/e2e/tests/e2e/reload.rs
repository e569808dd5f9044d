//! Certificates, keys, trust and revocation lists change under running processes.

use artstore_e2e::certificates::Identity;
use artstore_e2e::curl::Answer;
use artstore_e2e::parts::{Part, Parts};
use artstore_e2e::poll;
use artstore_e2e::process::artstore;
use artstore_e2e::up::{Up, stored};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const OPS: &str = "ARTSTORE_OPS_URL";
/// Within which a revocation takes effect.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
/// Within which a change is counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);

fn reloads(parts: &Parts, part: &str, result: &str, reason: &str) -> f64 {
    parts.scrape(part).sum("tls_reload_total", &[("result", result), ("reason", reason)])
}

/// Waits for a count of reloads, and says how long it took.
fn await_reloads(parts: &Parts, part: &str, (result, reason): (&str, &str), count: f64) -> Duration {
    let what = format!("{part}: tls_reload_total {result} {reason} = {count}");
    let wait = || {
        poll::until(&what, Duration::from_secs(10), || (reloads(parts, part, result, reason) >= count).then_some(()))
    };
    poll::timed(wait).1
}

/// The subject that the Ingester shows.
fn shown_by_ingester(parts: &Parts) -> String {
    let address = parts.var("ARTSTORE_INGESTER_URL").trim_start_matches("https://").to_owned();
    let script =
        "openssl s_client -connect \"$0\" </dev/null 2>/dev/null | openssl x509 -noout -subject -nameopt RFC2253";
    let output = Command::new("sh").args(["-c", script, &address]).output().unwrap();
    assert!(output.status.success(), "openssl is needed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Keeps a TLS session with the Ingester in this file, or resumes it; whether a request over it was answered.
fn session(parts: &Parts, guest: &Identity, flag: &str, file: &Path) -> String {
    let address = parts.var("ARTSTORE_INGESTER_URL").trim_start_matches("https://").to_owned();
    let script = "printf 'GET /api/v1/health/live HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' | \
                  timeout 10 openssl s_client -ign_eof -connect \"$0\" -cert \"$1\" -key \"$2\" \"$3\" \"$4\" 2>&1";
    let arguments =
        [address.as_ref(), guest.certificate.as_os_str(), guest.key.as_os_str(), flag.as_ref(), file.as_os_str()];
    let output = Command::new("sh").args(["-c", script]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// New, resuming, and in the middle of an upload; a permitted client notices nothing.
#[test]
fn a_revoked_client_is_out_within_five_seconds() {
    let mut parts = Parts::start(&[]);
    let list = parts.scratch().join("list.pem");
    parts.authority.revoke(&list, 1, &[]);
    parts.restart_with(Part::Ingester, &format!("tls.crl_files = [{:?}]", list.display().to_string()));
    let guest = parts.authority.identity("guest");
    let token = parts.token();
    let big = parts.payload("big", 64 << 20, 1);
    let small = parts.payload("small", 300 << 10, 2);
    let upload =
        |parts: &Parts, name: &str| parts.put(&token, &[("filename", name)]).client(&guest.certificate, &guest.key);
    let _ = stored(&upload(&parts, "a").with(["-T".as_ref(), small.path.as_os_str()]).run(), &small);
    let kept = parts.scratch().join("session");
    let first = session(&parts, &guest, "-sess_out", &kept);
    assert!(first.contains("HTTP/1.1 200"), "openssl is needed: {first}");

    let received = |parts: &Parts| parts.scrape(OPS).sum("ingester_upload_received_bytes_total", &[]);
    let before = received(&parts);
    let live = upload(&parts, "b").with(["--limit-rate", "1M", "-T"]).with([big.path.as_os_str()]).start(false);
    poll::until("bytes of the upload", Duration::from_secs(10), || (received(&parts) > before).then_some(()));
    let (broken, took) = poll::timed(|| {
        parts.authority.revoke(&list, 2, &[&guest]);
        live.finish()
    });
    assert!(broken.status != 201 && broken.exit != 0, "{broken}");
    assert!(took < REVOKED_WITHIN, "the live upload went on for {took:?}");
    println!("a live upload was cut {took:?} after the list changed");

    let again = upload(&parts, "c").with(["-T".as_ref(), small.path.as_os_str()]).run();
    assert!(again.status == 0 && again.exit != 0, "{again}");
    let resumed = session(&parts, &guest, "-sess_in", &kept);
    assert!(!resumed.contains("HTTP/1.1 200") && resumed.contains("revoked"), "{resumed}");
    let _ = stored(&parts.upload_raw(&token, &small.path, &[("filename", "d")]), &small);
    let scrape = parts.scrape(OPS);
    assert_eq!(scrape.sum("tls_server_connections_cut_total", &[("error_type", "cert_revoked")]), 1.0);
    assert!(scrape.sum("tls_server_handshake_total", &[("error_type", "cert_revoked")]) >= 2.0);
    assert_eq!(scrape.sum("tls_crl_number", &[]), 2.0);
    assert_eq!(scrape.sum("tls_crl_revoked_certificates", &[]), 1.0);
}

/// Whatever the way of writing: what is broken is counted within two seconds and not used; what is right then is.
#[test]
fn broken_files_leave_the_old_certificate_in_use_however_they_are_written() {
    let parts = Parts::start(&[]);
    let folder = parts.scratch().join("tls");
    let (cert, key) = (folder.join("module.pem"), folder.join("module.key"));
    let shown = shown_by_ingester(&parts);
    let (mut successes, mut failures) = (0.0, 0.0);
    for (turn, way) in ["in place", "renamed over", "symbolic links"].into_iter().enumerate() {
        let name = format!("module-{turn}");
        let next = parts.authority.identity(&name);
        let write = |certificate: &Path, version: &str| {
            let pair = [(fs::read(certificate).unwrap(), &cert), (fs::read(&next.key).unwrap(), &key)];
            match way {
                "in place" => pair.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap()),
                "renamed over" => {
                    for (bytes, path) in pair {
                        fs::write(folder.join("beside"), bytes).unwrap();
                        fs::rename(folder.join("beside"), path).unwrap();
                    }
                }
                _ => swap_links(&folder, version, &pair),
            }
        };
        // The key is new, the certificate the old one: they do not match.
        let old = folder.join("old.pem");
        fs::write(&old, fs::read(&cert).unwrap()).unwrap();
        write(&old, "broken");
        failures += 1.0;
        let took = await_reloads(&parts, OPS, ("failure", "key_mismatch"), failures);
        assert!(took < COUNTED_WITHIN, "{way}: {took:?}");
        let gauge = parts.scrape(OPS).sum("tls_reload_pending_failure", &[]);
        let subject = if turn == 0 { shown.clone() } else { format!("subject=CN=module-{}", turn - 1) };
        assert_eq!((gauge, shown_by_ingester(&parts)), (1.0, subject), "{way}");
        write(&next.certificate, "right");
        successes += 1.0;
        let took = await_reloads(&parts, OPS, ("success", ""), successes);
        assert!(took < COUNTED_WITHIN, "{way}: {took:?}");
        assert_eq!(shown_by_ingester(&parts), format!("subject=CN={name}"), "{way}");
    }
    let scrape = parts.scrape(OPS);
    assert_eq!(scrape.sum("tls_reload_total", &[]), successes + failures);
    // Nothing of the old ones stays behind; the modules still reach each other.
    let subjects: Vec<_> = scrape.samples("tls_certificate_expiry_days").map(|s| s.labels["subject"].clone()).collect();
    assert_eq!(subjects, ["CN=a test's authority", "CN=module-2", "CN=module-2"]);
    let (payload, token) = (parts.payload("a", 1 << 20, 3), parts.token());
    let _ = stored(&parts.upload_raw(&token, &payload.path, &[("filename", "a")]), &payload);
}

/// As Kubernetes changes a mounted secret: a new folder, and one link that is renamed over.
fn swap_links(folder: &Path, version: &str, pair: &[(Vec<u8>, &std::path::PathBuf)]) {
    let dir = folder.join(format!("..{version}"));
    fs::create_dir_all(&dir).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    pair.iter().for_each(|(bytes, path)| fs::write(dir.join(name(path)), bytes).unwrap());
    std::os::unix::fs::symlink(format!("..{version}"), folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    for (_, path) in pair.iter().filter(|(_, path)| !path.is_symlink()) {
        std::os::unix::fs::symlink(Path::new("..data").join(name(path)), folder.join("..tmp")).unwrap();
        fs::rename(folder.join("..tmp"), path).unwrap();
    }
}

/// Tokens that are bound to the certificate, and a module whose account is its certificate: both change under uploads without
/// a pause, and none of these fails.
#[test]
fn certificates_of_bound_tokens_change_under_uploads() {
    let mut parts = Parts::start(&[]);
    for arguments in [
        &["keys", "an-ingester", "--bound-tokens"][..],
        &["keys", "an-element", "--certificate-subject", "CN=module", "--bound-tokens"],
    ] {
        let mut command = artstore();
        command
            .current_dir(parts.scratch())
            .args(["admin", "accounts"])
            .args(arguments)
            .args(["--config", "admin.toml"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    parts.restart_with(Part::Edit, "auth.method = 'tls_client_auth'");
    parts.restart_with(Part::Ingester, "");
    let token = parts.token();
    let payloads = [parts.payload("small", 1 << 10, 1), parts.payload("large", 2 << 20, 2)];
    // A token that goes over another certificate's connection is refused with 401, and a new one fetched: no upload would
    // fail by that, so it is looked for where it is refused.
    let refused = |parts: &Parts| {
        let refused = [("listener", "main"), ("outcome", "4xx")];
        let of = |part: &str| parts.scrape(part).sum("http_server_requests_total", &refused);
        ["ARTSTORE_ELEMENT_EDIT_OPS_URL", "ARTSTORE_ELEMENT_RW_OPS_URL", "ARTSTORE_ADMIN_OPS_URL"].map(of)
    };
    let refused_before = refused(&parts);
    let done = AtomicBool::new(false);
    let (answers, parts) = std::thread::scope(|scope| {
        let parts = &parts;
        let uploads: Vec<_> = payloads
            .iter()
            .map(|payload| {
                let (token, done) = (&token, &done);
                scope.spawn(move || {
                    let mut answers: Vec<Answer> = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        answers.push(parts.upload_raw(token, &payload.path, &[("filename", "a")]));
                    }
                    answers
                })
            })
            .collect();
        for turn in 1..=3 {
            // The same name, so that the element's account stays its own.
            drop(parts.authority.identity("module"));
            for part in [OPS, "ARTSTORE_ELEMENT_EDIT_OPS_URL", "ARTSTORE_ADMIN_OPS_URL"] {
                await_reloads(parts, part, ("success", ""), f64::from(turn));
            }
            for part in [OPS, "ARTSTORE_ELEMENT_EDIT_OPS_URL"] {
                let fetched = || parts.scrape(part).sum("auth_token_requests_total", &[("status", "success")]);
                poll::until("a token of the new certificate", Duration::from_secs(20), || {
                    (fetched() >= f64::from(1 + turn)).then_some(())
                });
            }
        }
        done.store(true, Ordering::Relaxed);
        let answers: Vec<Answer> = uploads.into_iter().flat_map(|upload| upload.join().unwrap()).collect();
        (answers, parts)
    });
    let failed: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 201).collect();
    println!("3 certificates under {} uploads, {} failed", answers.len(), failed.len());
    assert_eq!(refused(parts), refused_before);
    assert!(failed.is_empty(), "{} of {} uploads failed: {}", failed.len(), answers.len(), failed[0]);
    for part in [OPS, "ARTSTORE_ELEMENT_EDIT_OPS_URL"] {
        let scrape = parts.scrape(part);
        assert_eq!(scrape.sum("auth_errors_total", &[]), 0.0, "{part}");
        assert_eq!(scrape.sum("tls_reload_total", &[("result", "failure")]), 0.0, "{part}");
    }
    // Ten seconds later, when no request can hold an old token, the connections of the old certificates are closed.
    let retired = || parts.scrape(OPS).sum("http_client_connections_closed_total", &[("reason", "retired")]);
    poll::until("the old connections' end", Duration::from_secs(20), || (retired() >= 1.0).then_some(()));
    let _ = stored(&parts.upload_raw(&token, &payloads[1].path, &[("filename", "b")]), &payloads[1]);
    assert_eq!(refused(parts), refused_before);
}

/// SIGHUP ends nothing and looks at once.
#[test]
fn a_hangup_has_the_files_looked_at() {
    let mut up = Up::start();
    up.process.signal(Signal::HUP);
    poll::until("the log line", Duration::from_secs(5), || up.process.log().contains("SIGHUP: ").then_some(()));
    up.process.assert_alive();
    assert_eq!(up.ingester("/api/v1/health/live").run().status, 200);
}

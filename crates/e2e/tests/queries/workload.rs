//! What a test does to a house, counted: uploads, downloads, mistakes of clients, strangers.

use artstore_e2e::certificates::Authority;
use artstore_e2e::curl::Curl;
use artstore_e2e::scrape::{Sample, Scrape};
use artstore_e2e::up::{Up, stored};

/// How often each thing is done. No two numbers are the same, so that none can stand for another.
pub(crate) const RAW: u32 = 31;
pub(crate) const FORMS: u32 = 12;
pub(crate) const PERMANENT: u32 = 7;
pub(crate) const DOWNLOADS: u32 = 17;
pub(crate) const REJECTED: u32 = 9;
pub(crate) const BAD_TOKENS: u32 = 6;
pub(crate) const UNKNOWN_FILES: u32 = 5;
pub(crate) const WRONG_SECRETS: u32 = 2;
pub(crate) const FOREIGN_CLIENTS: u32 = 4;

/// The variables of the operations listeners.
pub(crate) const OPS: [&str; 4] =
    ["ARTSTORE_OPS_URL", "ARTSTORE_ADMIN_OPS_URL", "ARTSTORE_ELEMENT_EDIT_OPS_URL", "ARTSTORE_ELEMENT_RW_OPS_URL"];

/// Does all of it.
pub(crate) fn run(up: &Up) {
    let token = up.token();
    let sizes = [100, 3_000, 20_000, 90_000, 400_000, 2_000_000];
    let payloads: Vec<_> = (1..).zip(sizes).map(|(seed, size)| up.payload(&format!("p{size}"), size, seed)).collect();
    let of = |index: u32| &payloads[index as usize % payloads.len()];
    let mut files = Vec::new();
    for index in 0..RAW {
        let answer = up.upload_raw(&token, &of(index).path, &[("filename", "a")]);
        files.push(stored(&answer, of(index)).file_id.to_string());
    }
    for index in 0..FORMS {
        let file = format!("file=@{}", of(index).path.display());
        let _ = stored(&up.upload_form(&token, &[&file]), of(index));
    }
    for index in 0..PERMANENT {
        let query = [("filename", "b"), ("retention_policy", "permanent")];
        let _ = stored(&up.upload_raw(&token, &of(index).path, &query), of(index));
    }
    for id in files.iter().cycle().take(DOWNLOADS as usize) {
        let _ = up.content_sha256(&token, id);
    }
    for _ in 0..REJECTED {
        let _ = up.upload_raw(&token, &of(0).path, &[("filename", "a"), ("ttl_days", "0")]).expect(400);
    }
    for _ in 0..BAD_TOKENS {
        let _ = up.record("a.b.c", &files[0]).expect(401);
    }
    for index in 0..UNKNOWN_FILES {
        let _ = up.record(&token, &format!("00000000-0000-4000-8000-00000000000{index}")).expect(404);
    }
    for _ in 0..WRONG_SECRETS {
        let account = format!("{}:wrong", up.var("ARTSTORE_CLIENT_ID"));
        let ask = ["--user", &account, "--data", "grant_type=client_credentials"];
        let _ = up.admin("/oauth2/token").with(ask).run().expect(401);
    }
    strangers(up);
}

/// Clients with a certificate of an authority that nobody here knows.
fn strangers(up: &Up) {
    let foreign = Authority::new(&up.scratch().join("foreign"), "a stranger's authority").identity("stranger");
    for _ in 0..FOREIGN_CLIENTS {
        let url = format!("{}/api/v1/capacity", up.var("ARTSTORE_ELEMENT_EDIT_URL"));
        let answer = Curl::new(&url, up.ca()).client(&foreign.certificate, &foreign.key).run();
        assert_ne!(answer.exit, 0, "{answer}");
    }
}

/// Scrapes of all listeners, each sample with job and instance, as Prometheus would label it.
pub(crate) struct Scrapes(Vec<(&'static str, Scrape)>);

impl Scrapes {
    /// Now.
    pub(crate) fn of(up: &Up) -> Self {
        let jobs = ["artstore-ingester", "artstore-admin", "artstore-element", "artstore-element"];
        Self(jobs.into_iter().zip(OPS).map(|(job, ops)| (job, up.scrape(ops))).collect())
    }

    /// The sum over the samples of a job, or of all with `""`, that `fits`.
    fn sum(&self, job: &str, name: &str, fits: impl Fn(&Sample) -> bool) -> f64 {
        let of_job = self.0.iter().filter(|(of, _)| job.is_empty() || *of == job);
        of_job.flat_map(|(_, scrape)| scrape.samples(name)).filter(|s| fits(s)).map(|sample| sample.value).sum()
    }

    /// How much a family has grown since `before`.
    pub(crate) fn grown(&self, before: &Self, job: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits =
            |sample: &Sample| labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value));
        self.sum(job, name, fits) - before.sum(job, name, fits)
    }

    /// How much each bucket has grown since `before`: bounds and counts.
    pub(crate) fn buckets(&self, before: &Self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut bounds: Vec<String> = self
            .0
            .iter()
            .flat_map(|(_, scrape)| scrape.samples(&name))
            .map(|sample| sample.labels["le"].clone())
            .collect();
        bounds.sort();
        bounds.dedup();
        let grown = |le: String| {
            let labels = [labels, &[("le", le.as_str())]].concat();
            (le.parse().unwrap(), self.grown(before, "", &name, &labels))
        };
        bounds.into_iter().map(grown).collect()
    }
}

/// That what was counted is what was done, sample by sample.
pub(crate) fn assert_counted(before: &Scrapes, after: &Scrapes, rounds: u32) {
    let ingester = "artstore-ingester";
    type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], u32);
    let expected: [Row; 12] = [
        (ingester, "ingester_uploads_total", &[("policy", "temporary"), ("outcome", "stored")], RAW + FORMS),
        (ingester, "ingester_uploads_total", &[("policy", "permanent"), ("outcome", "stored")], PERMANENT),
        (ingester, "ingester_uploads_total", &[("outcome", "rejected")], REJECTED),
        (ingester, "ingester_uploads_total", &[("outcome", "failed")], 0),
        (ingester, "ingester_downloads_total", &[("outcome", "sent")], DOWNLOADS),
        (ingester, "ingester_errors_total", &[("code", "VALIDATION_ERROR")], REJECTED),
        (ingester, "ingester_errors_total", &[("code", "UNAUTHORIZED")], BAD_TOKENS),
        (ingester, "ingester_errors_total", &[("code", "NOT_FOUND")], UNKNOWN_FILES),
        (ingester, "ingester_upload_duration_seconds_count", &[("way", "multipart")], FORMS),
        ("artstore-admin", "admin_token_requests_total", &[("outcome", "invalid_client")], WRONG_SECRETS),
        ("artstore-element", "element_uploads_total", &[("outcome", "published")], RAW + FORMS + PERMANENT),
        ("artstore-element", "tls_server_handshake_total", &[("error_type", "cert_untrusted")], FOREIGN_CLIENTS),
    ];
    for (job, name, labels, count) in expected {
        assert_eq!(after.grown(before, job, name, labels), f64::from(count * rounds), "{name} {labels:?}");
    }
}

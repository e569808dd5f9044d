//! The keys of each module: one line each, the source of the default file, the checks and the documentation.

use super::{Key, Kind};
use crate::authentication::{AUDIENCES, METHODS};

/// The keys of `artstore admin --config`.
pub(crate) fn admin() -> Vec<Key> {
    let own = [
        Key::new("admin.data_dir", Kind::Text, "\"./artstore-admin\"", "Folder of the database and the signing keys."),
        Key::new("admin.issuer", Kind::Url, "", "The `iss` of tokens: the URL by which clients reach this module.")
            .required(),
        Key::new("admin.token_lifetime", Kind::Seconds(1, 86_400), "1800", "Lifetime of a token."),
        Key::new("admin.algorithm", Kind::Choice(&["RS256", "ES256", "EdDSA"]), "\"RS256\"", "Signature of tokens."),
        Key::new(
            "admin.element_offline_after",
            Kind::Seconds(1, 3_600),
            "30",
            "An element silent for this long is offline.",
        ),
        Key::new(
            "admin.jwks_max_age",
            Kind::Seconds(0, 86_400),
            "300",
            "How long others may keep the published keys; a new key signs only after that.",
        ),
        Key::new(
            "admin.key_check_interval",
            Kind::Seconds(1, 3_600),
            "30",
            "How often the folder of keys is read again.",
        ),
        Key::new(
            "admin.max_assertions",
            Kind::Integer(1, 10_000_000),
            "10000",
            "Client assertions of one account that are remembered at once, each for some minutes; more get 429.",
        ),
        Key::new(
            "admin.failures_per_client",
            Kind::Integer(1, 1_000_000),
            "10",
            "Failed authentications of one client at one address in a window; more get 429. Success is never refused.",
        ),
        Key::new(
            "admin.failures_per_address",
            Kind::Integer(1, 1_000_000),
            "100",
            "Failed authentications of one address in a window; of IPv6 a /64 is one address.",
        ),
        Key::new("admin.failure_window", Kind::Seconds(1, 86_400), "60", "That window."),
        Key::new(
            "admin.failure_entries",
            Kind::Integer(8, 16_777_216),
            "65536",
            "Clients and addresses whose failures are remembered, 16 bytes each.",
        ),
    ];
    [listen("\"127.0.0.1:8000\"", "\"127.0.0.1:9000\""), tls(), own.to_vec(), common()].concat()
}

/// The keys of `artstore element --config`.
pub(crate) fn element() -> Vec<Key> {
    let own = [
        Key::new("element.id", Kind::Text, "", "Identifier of this element, unique and stable.").required(),
        Key::new(
            "element.mode",
            Kind::Choice(&["edit", "rw"]),
            "",
            "`edit` holds temporary files, `rw` permanent ones.",
        )
        .required(),
        Key::new("element.url", Kind::Url, "", "The URL by which Ingesters reach this element.").required(),
        Key::new(
            "element.capacity_bytes",
            Kind::Integer(1, i64::MAX as u64),
            "",
            "Most bytes that it holds; the file system's room if absent.",
        ),
        Key::new("element.max_file_bytes", Kind::Integer(1, i64::MAX as u64), "1099511627776", "Largest file."),
        Key::new("element.read_timeout", Kind::Seconds(1, 3_600), "30", "Longest silence of a client inside a body."),
        Key::new(
            "element.lease",
            Kind::Seconds(1, 3_600),
            "60",
            "An upload session idle for this long may be taken over.",
        ),
        Key::new(
            "element.session_ttl",
            Kind::Seconds(60, 2_592_000),
            "86400",
            "An upload session idle for this long is removed.",
        ),
        Key::new("store.kind", Kind::Choice(&["folder", "s3"]), "\"folder\"", "Where bytes are kept."),
        Key::new(
            "store.dir",
            Kind::Text,
            "\"./artstore-element\"",
            "Folder of the store; with s3, of its sessions and outbox.",
        ),
        Key::new("store.s3_endpoint", Kind::Url, "", "S3: endpoint."),
        Key::new("store.s3_bucket", Kind::Text, "", "S3: bucket."),
        Key::new("store.s3_region", Kind::Text, "\"us-east-1\"", "S3: region."),
        Key::new("store.s3_access_key_id", Kind::Text, "", "S3: access key.").env("AWS_ACCESS_KEY_ID"),
        Key::new("store.s3_secret_access_key", Kind::Secret, "", "S3: its secret.").env("AWS_SECRET_ACCESS_KEY"),
        Key::new(
            "store.s3_part_bytes",
            Kind::Integer(5_242_880, 1_073_741_824),
            "8388608",
            "S3: bytes of a part, held in memory.",
        ),
    ];
    [listen("\"127.0.0.1:8010\"", "\"127.0.0.1:9010\""), tls(), auth(), own.to_vec(), common()].concat()
}

/// The keys of `artstore ingester --config`.
pub(crate) fn ingester() -> Vec<Key> {
    let own = [
        Key::new("ingester.max_file_bytes", Kind::Integer(1, i64::MAX as u64), "1099511627776", "Largest file."),
        Key::new(
            "ingester.one_shot_bytes",
            Kind::Integer(1_024, 16_777_216),
            "262144",
            "Largest file sent to an element in one request; each upload holds this much.",
        ),
        Key::new("ingester.read_timeout", Kind::Seconds(1, 3_600), "30", "Longest silence of a client inside a body."),
        Key::new(
            "ingester.element_list_ttl",
            Kind::Seconds(1, 3_600),
            "30",
            "How long the list of elements is taken as fresh.",
        ),
    ];
    [listen("\"127.0.0.1:8020\"", "\"127.0.0.1:9020\""), tls(), auth(), own.to_vec(), common()].concat()
}

fn listen(address: &'static str, ops_address: &'static str) -> Vec<Key> {
    vec![
        Key::new("listen.address", Kind::Address, address, "Where the module listens; port 0 is any free one."),
        Key::new("listen.ops_address", Kind::Address, ops_address, "Where metrics and health are served, without TLS."),
        Key::new(
            "listen.max_connections",
            Kind::Integer(1, 1_000_000),
            "1024",
            "Most connections at once, silent ones (max_silent) not included.",
        ),
        Key::new(
            "listen.max_handshakes",
            Kind::Integer(1, 1_000_000),
            "512",
            "Most TLS handshakes at once, from the client's hello on; more wait their turn.",
        ),
        Key::new(
            "listen.max_silent",
            Kind::Integer(1, 1_000_000),
            "1024",
            "Connections whose client has not said its hello or waits its turn; beyond it those silent for longest are closed.",
        ),
        Key::new(
            "listen.max_handshakes_per_address",
            Kind::Integer(0, 1_000_000),
            "256",
            "TLS handshakes of one address (of IPv6, a /64); beyond it its oldest are closed. 0: no limit, behind a balancer.",
        ),
        Key::new(
            "listen.max_connections_per_address",
            Kind::Integer(0, 1_000_000),
            "0",
            "Connections of one address (of IPv6, a /64); more are closed at once. 0: no limit.",
        ),
        Key::new("listen.header_timeout", Kind::Seconds(1, 3_600), "30", "Longest wait for the head of a request."),
        Key::new(
            "listen.drain_timeout",
            Kind::Seconds(0, 3_600),
            "30",
            "How long requests in flight may take after SIGTERM.",
        ),
    ]
}

fn tls() -> Vec<Key> {
    vec![
        Key::new("tls.enabled", Kind::Bool, "true", "TLS; false needs danger.allow_insecure.").env("TLS_ENABLED"),
        Key::new(
            "tls.cert_file",
            Kind::Text,
            "",
            "PEM: the certificate shown to clients and peers, then its intermediates.",
        )
        .env("TLS_CERT_FILE"),
        Key::new("tls.key_file", Kind::Text, "", "PEM: its private key.").env("TLS_KEY_FILE"),
        Key::new("tls.ca_cert_file", Kind::Text, "", "PEM: the certificates that clients and peers are trusted by.")
            .env("TLS_CA_CERT_FILE"),
        Key::new(
            "tls.protocol_version",
            Kind::Choice(&["TLSv1.3", "TLSv1.2"]),
            "\"TLSv1.3\"",
            "The oldest version that is accepted.",
        )
        .env("TLS_PROTOCOL_VERSION"),
        Key::new(
            "tls.ciphers",
            Kind::List,
            "",
            "Suites by IANA or OpenSSL names, best first; all good ones if absent.",
        )
        .env("TLS_CIPHERS"),
        Key::new(
            "tls.key_exchange_groups",
            Kind::List,
            "",
            "Groups by IANA names, best first; X25519MLKEM768, x25519, secp256r1, secp384r1 if absent.",
        ),
        Key::new(
            "tls.allowed_clients",
            Kind::List,
            "",
            "Whose certificates the listener lets in: dns:, uri: (spiffe://…/* too), ip:, email:, subject:. All good ones if absent.",
        ),
        Key::new(
            "tls.verify_mode",
            Kind::Choice(&["CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE"]),
            "\"CERT_REQUIRED\"",
            "CERT_NONE accepts any server on connections that the module opens, and needs danger.allow_insecure.",
        )
        .env("TLS_VERIFY_MODE"),
        Key::new("tls.handshake_timeout", Kind::Seconds(1, 120), "10", "Longest handshake."),
        Key::new(
            "tls.crl_files",
            Kind::List,
            "",
            "Revocation lists, PEM or DER; with any, a peer is refused unless a list of each issuer in its chain vouches for it.",
        ),
        Key::new(
            "tls.reload_interval",
            Kind::Seconds(0, 60),
            "0.5",
            "How often the files above are looked at for changes; never more often than every 0.05 s.",
        ),
    ]
}

fn auth() -> Vec<Key> {
    vec![
        Key::new("auth.admin_urls", Kind::List, "", "Instances of the Admin Module, tried in turn.")
            .env("SERVICE_ACCOUNT_ADMIN_MODULE_URL")
            .required(),
        Key::new("auth.issuer", Kind::Url, "", "The `iss` that tokens must have; the first of admin_urls if absent."),
        Key::new("auth.client_id", Kind::Text, "", "The module's own service account.")
            .env("SERVICE_ACCOUNT_CLIENT_ID")
            .required(),
        Key::new(
            "auth.method",
            Kind::Choice(METHODS),
            "\"client_secret_basic\"",
            "How the module shows the Admin Module who it is; tls_client_auth does it with tls.cert_file.",
        ),
        Key::new("auth.client_secret", Kind::Secret, "", "Its secret; or set auth.client_secret_file.")
            .env("SERVICE_ACCOUNT_CLIENT_SECRET"),
        Key::new(
            "auth.client_secret_file",
            Kind::Text,
            "",
            "File with its secret, read again when the secret is refused.",
        ),
        Key::new(
            "auth.key_file",
            Kind::Text,
            "",
            "private_key_jwt: PEM of its private key (PKCS#8; RSA, P-256 or Ed25519), read again when it is refused.",
        ),
        Key::new("auth.key_id", Kind::Text, "", "private_key_jwt: the key's `kid`; its RFC 7638 thumbprint if absent."),
        Key::new(
            "auth.assertion_audience",
            Kind::Choice(AUDIENCES),
            "\"issuer\"",
            "private_key_jwt: the `aud` of assertions; token_endpoint for issuers that know only that.",
        ),
        Key::new(
            "auth.discovery",
            Kind::Bool,
            "false",
            "Find the token endpoint and the keys by the issuer's metadata (RFC 8414).",
        ),
        Key::new("auth.timeout", Kind::Seconds(1, 30), "10", "Longest token request.").env("SERVICE_ACCOUNT_TIMEOUT"),
    ]
}

fn common() -> Vec<Key> {
    [tracing(), logging()].concat()
}

fn tracing() -> Vec<Key> {
    vec![
        Key::new(
            "tracing.otlp_endpoint",
            Kind::Url,
            "",
            "Receiver of spans by OTLP over HTTP, at /v1/traces below it; nothing is exported if absent.",
        )
        .env("OTEL_EXPORTER_OTLP_ENDPOINT"),
        Key::new("tracing.service_name", Kind::Text, "", "The module's name there; artstore-MODULE if absent.")
            .env("OTEL_SERVICE_NAME"),
        Key::new(
            "tracing.sample_ratio",
            Kind::Ratio,
            "1.0",
            "Share of the traces beginning here that is sampled; one that comes in is sampled as its sender says.",
        )
        .env("OTEL_TRACES_SAMPLER_ARG"),
        Key::new(
            "tracing.queue_spans",
            Kind::Integer(1, 1_000_000),
            "2048",
            "Spans that may wait to be exported; more are dropped and counted.",
        ),
        Key::new(
            "tracing.export_interval",
            Kind::Seconds(0, 300),
            "5",
            "How long a span waits for others to be exported with it.",
        ),
        Key::new("tracing.export_timeout", Kind::Seconds(1, 120), "10", "How long the receiver may take."),
    ]
}

fn logging() -> Vec<Key> {
    vec![
        Key::new(
            "log.level",
            Kind::Choice(&["critical", "error", "warning", "warn", "info", "debug", "trace"]),
            "\"info\"",
            "Least level that is logged.",
        )
        .env("LOG_LEVEL"),
        Key::new(
            "log.format",
            Kind::Choice(&["json", "text"]),
            "\"json\"",
            "One JSON object a line, or text for people.",
        )
        .env("LOG_FORMAT"),
        Key::new(
            "danger.allow_insecure",
            Kind::Bool,
            "false",
            "Allows what weakens security: tls.enabled = false, CERT_NONE.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{commented_default, load};

    /// The printed default is a valid file once its required keys are given, and says the same as no file at all.
    #[test]
    fn commented_defaults_load_and_equal_the_defaults() {
        for (module, keys) in [("admin", admin()), ("element", element()), ("ingester", ingester())] {
            let text = commented_default(module, &keys);
            let no_env = |_: &str| None;
            let mistakes = load(&keys, &text, &no_env, &[]).err().unwrap_or_default();
            let required = keys.iter().filter(|key| key.required).map(|key| key.path.to_owned());
            assert_eq!(
                mistakes.into_iter().map(|m| m.key).collect::<Vec<_>>(),
                required.collect::<Vec<_>>(),
                "{module}"
            );
            for key in keys {
                let name = key.path.split_once('.').unwrap().1;
                assert!(text.contains(&format!("{name} = ")), "{module}: {}", key.path);
            }
        }
    }

    #[test]
    fn no_key_is_declared_twice() {
        for keys in [admin(), element(), ingester()] {
            for key in &keys {
                assert_eq!(keys.iter().filter(|other| other.path == key.path).count(), 1, "{}", key.path);
            }
        }
    }
}

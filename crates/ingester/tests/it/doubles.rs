//! An element and an Admin Module as far as the Ingester sees them, which can be told to fail.

use artstore_api::element::{Capacity, Element, ElementList, ElementMode, ElementStatus};
use artstore_api::file::{Attributes, FileId, FileRecord, FileStatus, IndexedFile};
use artstore_api::upload::{CompleteUpload, CreateUpload, OneShot, UploadSession};
use artstore_api::{Code, Problem};
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What a double does instead of, or after, what it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Answers this status at once.
    Status(u16),
    /// Never answers and never reads.
    Stall,
    /// Does nothing, and breaks its answer off.
    TornBefore,
    /// Does what it is asked, and breaks its answer off.
    TornAfter,
    /// Answers 200 with what is no JSON of the contract.
    Nonsense,
    /// Takes the bytes and tells one byte fewer.
    Miscount,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<FileId, (Attributes, Vec<u8>)>,
    files: HashMap<FileId, (FileRecord, Bytes)>,
    faults: HashMap<&'static str, VecDeque<Fault>>,
    log: Vec<String>,
    tokens: Vec<String>,
    created_sizes: Vec<Option<u64>>,
}

/// A double of an element.
#[derive(Clone)]
pub(crate) struct ElementDouble {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    pub(crate) address: SocketAddr,
}

impl ElementDouble {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let double = Self { inner: Arc::default(), changed: Arc::default(), address };
        let router = Router::new()
            .route("/api/v1/uploads", post(create))
            .route("/api/v1/uploads/{id}", patch(append).delete(abandon))
            .route("/api/v1/uploads/{id}/complete", post(complete))
            .route("/api/v1/files/{id}", put(one_shot).get(content).delete(delete))
            .route("/api/v1/files/{id}/record", get(record))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(double.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        double
    }

    /// The next request of this kind fails so; several are used up one after the other.
    pub(crate) fn fail(&self, operation: &'static str, fault: Fault) {
        self.inner.lock().unwrap().faults.entry(operation).or_default().push_back(fault);
    }

    pub(crate) fn fail_always(&self, operation: &'static str, fault: Fault) {
        for _ in 0..50 {
            self.fail(operation, fault);
        }
    }

    pub(crate) fn sessions(&self) -> usize {
        self.inner.lock().unwrap().sessions.len()
    }

    pub(crate) fn files(&self) -> Vec<(FileRecord, Bytes)> {
        self.inner.lock().unwrap().files.values().cloned().collect()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.inner.lock().unwrap().log.clone()
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.inner.lock().unwrap().tokens.clone()
    }

    pub(crate) fn created_sizes(&self) -> Vec<Option<u64>> {
        self.inner.lock().unwrap().created_sizes.clone()
    }

    /// Waits until this is so.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if condition(self) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(crate::wire::PATIENCE, waiting).await;
        assert!(waited.is_ok(), "never so; log: {:?}", self.log());
    }

    fn note(&self, operation: &'static str, headers: &HeaderMap) -> Option<Fault> {
        let mut inner = self.inner.lock().unwrap();
        inner.log.push(operation.to_owned());
        let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        inner.tokens.push(token.to_owned());
        let fault = inner.faults.get_mut(operation).and_then(VecDeque::pop_front);
        drop(inner);
        self.changed.notify_waiters();
        fault
    }

    fn publish(
        &self,
        id: FileId,
        attributes: Attributes,
        bytes: Vec<u8>,
        sha256: Option<&str>,
    ) -> Result<FileRecord, Response> {
        let checksum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if sha256.is_some_and(|expected| expected != checksum) {
            return Err(problem(Code::ChecksumMismatch));
        }
        let record = FileRecord {
            file_id: id,
            original_filename: attributes.original_filename,
            content_type: attributes.content_type,
            size: bytes.len() as u64,
            checksum,
            uploaded_by: attributes.uploaded_by,
            uploaded_at: time::OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap(),
            description: attributes.description,
            tags: attributes.tags,
            status: FileStatus::Active,
            retention_policy: attributes.retention_policy,
            ttl_days: attributes.ttl_days,
            expires_at: None,
        };
        self.inner.lock().unwrap().files.insert(id, (record.clone(), bytes.into()));
        self.changed.notify_waiters();
        Ok(record)
    }
}

fn problem(code: Code) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap();
    (status, Json(Problem::new(code, "a detail of the element"))).into_response()
}

fn torn() -> Response {
    let pieces = futures_util::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("torn"))]);
    ([("content-length", "1000")], Body::from_stream(pieces)).into_response()
}

/// The answer of a fault that does nothing else.
async fn early(fault: Option<Fault>) -> Option<Response> {
    match fault? {
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            let code = Code::ALL.into_iter().find(|code| code.status() == status.as_u16()).unwrap_or(Code::Internal);
            Some((status, Json(Problem::new(code, "a detail of the element"))).into_response())
        }
        Fault::Stall => std::future::pending().await,
        Fault::TornBefore => Some(torn()),
        Fault::Nonsense => Some((StatusCode::CREATED, "{}").into_response()),
        Fault::TornAfter | Fault::Miscount => None,
    }
}

async fn read(body: Body) -> Option<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.ok()?);
    }
    Some(bytes)
}

async fn create(State(double): State<ElementDouble>, headers: HeaderMap, body: Body) -> Response {
    let fault = double.note("create", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let request: CreateUpload = serde_json::from_slice(&read(body).await.unwrap()).unwrap();
    let file_id = FileId::generate();
    let mut inner = double.inner.lock().unwrap();
    inner.created_sizes.push(request.size);
    inner.sessions.insert(file_id, (request.attributes, vec![]));
    drop(inner);
    double.changed.notify_waiters();
    let session = UploadSession { file_id, offset: 0, lease: Some("lease".to_owned()), lease_seconds: 60 };
    (StatusCode::CREATED, Json(session)).into_response()
}

async fn append(
    State(double): State<ElementDouble>,
    Path(id): Path<FileId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let fault = double.note("append", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    if headers.get("upload-lease").is_none_or(|lease| lease != "lease") {
        return problem(Code::Conflict);
    }
    let Some(bytes) = read(body).await else { return problem(Code::ValidationError) };
    let mut inner = double.inner.lock().unwrap();
    let Some((_, stored)) = inner.sessions.get_mut(&id) else { return problem(Code::NotFound) };
    let offset: usize = headers["upload-offset"].to_str().unwrap().parse().unwrap();
    if offset != stored.len() {
        return problem(Code::Conflict);
    }
    stored.extend_from_slice(&bytes);
    let offset = stored.len() - usize::from(matches!(fault, Some(Fault::Miscount)));
    drop(inner);
    double.changed.notify_waiters();
    (StatusCode::NO_CONTENT, [("upload-offset", offset.to_string())]).into_response()
}

async fn complete(
    State(double): State<ElementDouble>,
    Path(id): Path<FileId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let fault = double.note("complete", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let request: CompleteUpload = serde_json::from_slice(&read(body).await.unwrap()).unwrap();
    let removed = double.inner.lock().unwrap().sessions.remove(&id);
    let Some((mut attributes, bytes)) = removed else {
        let published = double.inner.lock().unwrap().files.get(&id).map(|(record, _)| record.clone());
        return published.map_or_else(|| problem(Code::NotFound), |record| Json(record).into_response());
    };
    assert_eq!(request.size, bytes.len() as u64);
    attributes.description = request.late.description.or(attributes.description);
    attributes.tags = request.late.tags.unwrap_or(attributes.tags);
    attributes.ttl_days = request.late.ttl_days.or(attributes.ttl_days);
    answer(fault, double.publish(id, attributes, bytes, request.sha256.as_deref()))
}

fn answer(fault: Option<Fault>, published: Result<FileRecord, Response>) -> Response {
    match (fault, published) {
        (Some(Fault::TornAfter), Ok(_)) => torn(),
        (_, Ok(record)) => (StatusCode::CREATED, Json(record)).into_response(),
        (_, Err(response)) => response,
    }
}

async fn one_shot(
    State(double): State<ElementDouble>,
    Path(id): Path<FileId>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let fault = double.note("put", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let json = URL_SAFE_NO_PAD.decode(headers["upload-attributes"].as_bytes()).unwrap();
    let request: OneShot = serde_json::from_slice(&json).unwrap();
    let Some(bytes) = read(body).await else { return problem(Code::ValidationError) };
    answer(fault, double.publish(id, request.attributes, bytes, request.sha256.as_deref()))
}

async fn abandon(State(double): State<ElementDouble>, Path(id): Path<FileId>, headers: HeaderMap) -> Response {
    let fault = double.note("abandon", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let removed = double.inner.lock().unwrap().sessions.remove(&id);
    double.changed.notify_waiters();
    removed.map_or_else(|| problem(Code::NotFound), |_| StatusCode::NO_CONTENT.into_response())
}

async fn record(State(double): State<ElementDouble>, Path(id): Path<FileId>, headers: HeaderMap) -> Response {
    let fault = double.note("record", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let found = double.inner.lock().unwrap().files.get(&id).map(|(record, _)| record.clone());
    found.map_or_else(|| problem(Code::NotFound), |record| Json(record).into_response())
}

async fn content(
    State(double): State<ElementDouble>,
    Path(id): Path<FileId>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let fault = double.note("content", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let found = double.inner.lock().unwrap().files.get(&id).cloned();
    let Some((record, bytes)) = found else { return problem(Code::NotFound) };
    if matches!(fault, Some(Fault::TornAfter)) {
        // The first byte goes out before the end comes: else the request would be sent again.
        let first = futures_util::stream::iter([Ok(bytes.slice(..1))]);
        let end = futures_util::stream::once(async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            Err(std::io::Error::other("torn"))
        });
        let pieces = first.chain(end);
        return ([("content-length", bytes.len().to_string())], Body::from_stream(pieces)).into_response();
    }
    let tag = format!("\"{}\"", record.checksum);
    let common = [("etag", tag.clone()), ("accept-ranges", "bytes".to_owned()), ("content-type", record.content_type)];
    if headers.get("if-none-match").is_some_and(|asked| asked.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    // One form of range is enough here: the element's own tests know them all.
    if let Some(range) = headers.get("range") {
        let (from, to) = range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        if from >= bytes.len() {
            let size = [("content-range", format!("bytes */{}", bytes.len()))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, size, problem(Code::ValidationError).into_body())
                .into_response();
        }
        let part = [("content-range", format!("bytes {from}-{to}/{}", bytes.len()))];
        return (StatusCode::PARTIAL_CONTENT, common, part, bytes.slice(from..=to)).into_response();
    }
    assert!(matches!(method, Method::GET | Method::HEAD));
    (common, [("x-internal", "not for clients")], bytes).into_response()
}

async fn delete(State(double): State<ElementDouble>, Path(id): Path<FileId>, headers: HeaderMap) -> Response {
    let fault = double.note("delete", &headers);
    if let Some(response) = early(fault).await {
        return response;
    }
    let removed = double.inner.lock().unwrap().files.remove(&id);
    double.changed.notify_waiters();
    removed.map_or_else(|| problem(Code::NotFound), |_| StatusCode::NO_CONTENT.into_response())
}

/// A double of the Admin Module's list and index.
#[derive(Clone)]
pub(crate) struct AdminDouble {
    inner: Arc<Mutex<AdminInner>>,
    pub(crate) address: SocketAddr,
}

#[derive(Default)]
struct AdminInner {
    elements: Vec<Element>,
    index: HashMap<FileId, IndexedFile>,
    down: bool,
    asked: usize,
}

impl AdminDouble {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let double = Self { inner: Arc::default(), address: listener.local_addr().unwrap() };
        let router = Router::new()
            .route("/api/v1/storage-elements", get(list))
            .route("/api/v1/files/{id}", get(indexed))
            .with_state(double.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        double
    }

    pub(crate) fn add(&self, id: &str, address: SocketAddr, mode: ElementMode, free_bytes: u64) {
        self.add_with_status(id, address, mode, free_bytes, ElementStatus::Online);
    }

    pub(crate) fn add_with_status(
        &self,
        id: &str,
        address: SocketAddr,
        mode: ElementMode,
        free_bytes: u64,
        status: ElementStatus,
    ) {
        let capacity = Capacity { capacity_bytes: u64::MAX >> 1, free_bytes };
        let element = Element { element_id: id.to_owned(), url: format!("http://{address}"), mode, status, capacity };
        let mut inner = self.inner.lock().unwrap();
        inner.elements.retain(|known| known.element_id != id);
        inner.elements.push(element);
    }

    pub(crate) fn index(&self, element_id: &str, record: FileRecord) {
        let file = IndexedFile { element_id: element_id.to_owned(), record };
        self.inner.lock().unwrap().index.insert(file.record.file_id, file);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }

    /// How often the list was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.inner.lock().unwrap().asked
    }
}

async fn list(State(double): State<AdminDouble>) -> Response {
    let mut inner = double.inner.lock().unwrap();
    inner.asked += 1;
    if inner.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(ElementList { elements: inner.elements.clone() }).into_response()
}

async fn indexed(State(double): State<AdminDouble>, Path(id): Path<FileId>) -> Response {
    let inner = double.inner.lock().unwrap();
    if inner.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    inner.index.get(&id).map_or_else(|| problem(Code::NotFound), |file| Json(file).into_response())
}

//! The two ways of uploading in one request, multipart and raw: each reads what the client says, then takes the one path.

use crate::app::App;
use crate::digest::requested_sha256;
use crate::failure::Failure;
use crate::fields::{NamedFile, from_query};
use crate::form::{FileBytes, Form};
use crate::metrics::{UploadSpan, Way};
use crate::pipeline::{KnownSize, Plan};
use crate::source::{ClientBody, too_large};
use artstore_api::file::FileRecord;
use artstore_api::scope::FILES_WRITE;
use artstore_auth::Claims;
use artstore_metrics::Clock;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderName, StatusCode};
use std::sync::Arc;

/// Parts of a form that are not the file: at most five, each with headers and a value of the limit.
const OTHER_PARTS: u64 = 10;

/// `POST /api/v1/files/upload`.
pub(crate) async fn multipart<C: Clock>(State(app): State<Arc<App<C>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = Box::pin(app.upload_form(&parts, body)).await;
    app.answer(outcome.map(|record| created(&record)))
}

/// `PUT /api/v1/files`.
pub(crate) async fn raw<C: Clock>(State(app): State<Arc<App<C>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = Box::pin(app.upload_raw(&parts, body)).await;
    app.answer(outcome.map(|record| created(&record)))
}

impl<C: Clock> App<C> {
    async fn upload_form(&self, parts: &Parts, body: Body) -> Result<FileRecord, Failure> {
        let mut span = self.metrics.upload_started(Way::Multipart);
        let prepared = async {
            let body = self.client_body(parts, body);
            let place = self.upload_place()?;
            let claims = self.authenticate(parts, FILES_WRITE).await?;
            let (plan, form, bytes) = self.prepare_form(&mut span, parts, body, &claims).await?;
            Ok((place, plan, form, bytes))
        };
        match prepared.await {
            Ok((_place, plan, form, bytes)) => self.pipeline.store(span, plan, bytes, form.finish()).await,
            Err(failure) => {
                span.ended_by(&failure);
                Err(failure)
            }
        }
    }

    async fn prepare_form(
        &self,
        span: &mut UploadSpan<C>,
        parts: &Parts,
        body: ClientBody,
        claims: &Claims,
    ) -> Result<(Plan, Form, FileBytes), Failure> {
        let overhead = OTHER_PARTS * self.settings.max_field_bytes as u64;
        let at_least = body.size().unwrap_or(0).saturating_sub(overhead);
        if at_least > self.settings.max_file_bytes {
            return Err(too_large(self.settings.max_file_bytes));
        }
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (form, file) = Form::open(content_type, body, self.settings.max_field_bytes).await?;
        span.policy(form.fields().policy());
        let attributes = form.fields().attributes(file.file, uploader(claims))?;
        let plan = Plan { attributes, size: KnownSize { exact: None, at_least }, sha256: None };
        Ok((plan, form, file.bytes))
    }

    async fn upload_raw(&self, parts: &Parts, body: Body) -> Result<FileRecord, Failure> {
        let mut span = self.metrics.upload_started(Way::Raw);
        let prepared = async {
            let body = self.client_body(parts, body);
            let place = self.upload_place()?;
            let claims = self.authenticate(parts, FILES_WRITE).await?;
            let plan = prepare_raw(&mut span, parts, &body, &claims)?;
            Ok((place, plan, body))
        };
        match prepared.await {
            Ok((_place, plan, body)) => self.pipeline.store(span, plan, body, async { Ok(Default::default()) }).await,
            Err(failure) => {
                span.ended_by(&failure);
                Err(failure)
            }
        }
    }
}

fn prepare_raw<C: Clock>(
    span: &mut UploadSpan<C>,
    parts: &Parts,
    body: &ClientBody,
    claims: &Claims,
) -> Result<Plan, Failure> {
    if parts.headers.contains_key(CONTENT_RANGE) {
        return Err(Failure::invalid("a part of a file cannot be put: send the whole body without Content-Range"));
    }
    let encoding = parts.headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Failure::invalid("the bytes are stored as they are: send them without Content-Encoding"));
    }
    let content_type = text(parts, &CONTENT_TYPE, "Content-Type")?;
    let sha256 = requested_sha256(&parts.headers)?;
    let (name, fields) = from_query(parts.uri.query().unwrap_or_default())?;
    span.policy(fields.policy());
    let attributes = fields.attributes(NamedFile { name, content_type }, uploader(claims))?;
    // hyper knows the size of HTTP/1 bodies; over HTTP/2 the header alone may say it.
    let declared = || parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let size = body.size().or_else(declared).map_or_else(KnownSize::default, KnownSize::exactly);
    Ok(Plan { attributes, size, sha256 })
}

/// Whom an upload is ascribed to: the client that got the token, or whom the token is about.
fn uploader(claims: &Claims) -> &str {
    if claims.client_id.is_empty() { &claims.sub } else { &claims.client_id }
}

fn text(parts: &Parts, name: &HeaderName, shown: &str) -> Result<Option<String>, Failure> {
    let text = parts.headers.get(name).map(|value| value.to_str().map(str::to_owned)).transpose();
    text.map_err(|_| Failure::invalid(format!("{shown} is not ASCII text")))
}

fn created(record: &FileRecord) -> Response {
    let location = format!("/api/v1/files/{}", record.file_id);
    (StatusCode::CREATED, [(LOCATION, location)], Json(record)).into_response()
}

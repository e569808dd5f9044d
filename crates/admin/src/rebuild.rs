//! The index restored from the elements, which hold the truth: every page of their records is read and the index made the same.

use crate::issuer::Grant;
use crate::module::Admin;
use crate::store::{Source, StoreError};
use artstore_api::FileId;
use artstore_api::element::{MAX_RECORDS, RecordChange, RecordPage};
use artstore_api::scope::{AUDIENCE_ELEMENT, STORAGE_READ};
use artstore_http::{Client, body};
use artstore_metrics::Clock;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashSet;
use std::time::Duration;

/// The client of the tokens with which the module reads from elements.
const OWN_CLIENT: &str = "artstore-admin";
/// How long one page may take from request to its last byte.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a rebuild did with one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltElement {
    /// The element.
    pub element_id: String,
    /// Records that it has.
    pub files: u64,
    /// Files that came into the index or got another record.
    pub restored: u64,
    /// Files that left the index, because the element does not have them.
    pub lost: u64,
    /// Why it was not read to its end; `None` if it was. What was read until then counts.
    pub error: Option<String>,
}

/// Reads one page of an element's records.
pub(crate) trait Pages {
    /// The records after this one of the element at `url`, with this token.
    fn page(
        &self,
        url: &str,
        token: &SecretString,
        after: Option<FileId>,
    ) -> impl Future<Output = Result<RecordPage, String>> + Send;
}

impl<C: Clock> Pages for Client<C> {
    async fn page(&self, url: &str, token: &SecretString, after: Option<FileId>) -> Result<RecordPage, String> {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|error| error.to_string())?;
        authorization.set_sensitive(true);
        let request = Request::get(format!("{url}/api/v1/files?limit={MAX_RECORDS}{after}"))
            .header(AUTHORIZATION, authorization)
            .header(ACCEPT, "application/json")
            .body(body::empty())
            .map_err(|error| error.to_string())?;
        let read = async {
            let response = self.send(request).await.map_err(|error| error.to_string())?;
            if response.status() != StatusCode::OK {
                return Err(format!("the element answered {}", response.status()));
            }
            let body = Limited::new(response.into_body(), MAX_PAGE_BYTES).collect().await;
            let bytes = body.map_err(|error| error.to_string())?.to_bytes();
            serde_json::from_slice(&bytes).map_err(|error| format!("the element's page is not readable: {error}"))
        };
        tokio::time::timeout(PAGE_TIMEOUT, read)
            .await
            .map_err(|_| "the element's page did not end in time".to_owned())?
    }
}

/// Longest page that is read, in bytes: [`MAX_RECORDS`] of the longest records.
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;

impl<C: Clock> Admin<C> {
    /// Makes the index agree with all elements of the list: reads every record that they have, and takes out what an element
    /// no longer has. An element that cannot be read is named in its entry; its files stay as they were. May run while the
    /// module serves. `client` must show the certificate that the elements ask for.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn rebuild(&self, client: &Client<C>) -> Result<Vec<RebuiltElement>, StoreError> {
        self.rebuild_from(client).await
    }

    pub(crate) async fn rebuild_from(&self, pages: &impl Pages) -> Result<Vec<RebuiltElement>, StoreError> {
        let shared = &*self.shared;
        let mut rebuilt = Vec::new();
        for element in shared.noted(shared.store.elements().await)? {
            let entry = self.rebuild_element(pages, &element.element_id, &element.report.url).await?;
            tracing::info!(element_id = %entry.element_id, files = entry.files, restored = entry.restored,
                lost = entry.lost, error = entry.error, "index rebuilt from element");
            rebuilt.push(entry);
        }
        Ok(rebuilt)
    }

    async fn rebuild_element(
        &self,
        pages: &impl Pages,
        element_id: &str,
        url: &str,
    ) -> Result<RebuiltElement, StoreError> {
        let shared = &*self.shared;
        // What is told while the pages are read is newer than they are, and stays.
        let started = shared.now();
        let mut rebuilt =
            RebuiltElement { element_id: element_id.to_owned(), files: 0, restored: 0, lost: 0, error: None };
        let mut after = None;
        loop {
            let page = match self.read_page(pages, url, after).await {
                Ok(page) => page,
                Err(error) => return Ok(RebuiltElement { error: Some(error), ..rebuilt }),
            };
            let next = page.next;
            rebuilt.files += page.records.len() as u64;
            let there: HashSet<FileId> = page.records.iter().map(|record| record.file_id).collect();
            let published = |record| RecordChange::Published { record: Box::new(record) };
            let changes: Vec<_> = page.records.into_iter().map(published).collect();
            let applied =
                shared.noted(shared.store.apply(element_id, &changes, Source::Rebuild, shared.now()).await)?;
            shared.metrics.applied(applied);
            rebuilt.restored += applied.published + applied.replaced;
            let mut gone = shared.noted(shared.store.held_between(element_id, after, next, started).await)?;
            gone.retain(|file_id| !there.contains(file_id));
            let lost = shared.noted(shared.store.drop_files(element_id, &gone, started).await)?;
            shared.metrics.lost(lost);
            rebuilt.lost += lost;
            match next {
                None => return Ok(rebuilt),
                Some(next) if after.is_some_and(|after| next <= after) => {
                    let error = Some("the element's pages do not advance".to_owned());
                    return Ok(RebuiltElement { error, ..rebuilt });
                }
                next => after = next,
            }
        }
    }

    async fn read_page(&self, pages: &impl Pages, url: &str, after: Option<FileId>) -> Result<RecordPage, String> {
        let (scopes, audiences) = ([STORAGE_READ.to_owned()], [AUDIENCE_ELEMENT.to_owned()]);
        let grant = Grant { client_id: OWN_CLIENT, scopes: &scopes, audiences: &audiences, certificate: None };
        let token = self.shared.issuer.issue(grant).map_err(|error| error.to_string())?.token;
        pages.page(url, &token, after).await
    }
}

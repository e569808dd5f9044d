//! The three modules, each from its plan: the same for `artstore up` and for one module from a configuration file.

use crate::assemble::{
    AuthPlan, ELEMENT_AUDIENCES, ELEMENT_SCOPES, Foundation, INGESTER_AUDIENCES, INGESTER_SCOPES, Listeners,
    ModuleParts, Running, TlsPlan,
};
use crate::failure::Failure;
use crate::traces::TracePlan;
use artstore_admin::{Admin, AdminSettings};
use artstore_api::scope;
use artstore_element::{Element, ElementDeps, ElementSettings};
use artstore_ingester::{Ingester, IngesterDeps, IngesterSettings};
use artstore_metrics::Clock;
use std::sync::Arc;

/// Opens the Admin Module, on this clock.
///
/// # Errors
/// A database, a folder or a certificate that cannot be used.
pub(crate) async fn open_admin<C: Clock>(
    settings: AdminSettings,
    tls: Option<&TlsPlan>,
    traces: &TracePlan,
    clock: C,
) -> Result<(Admin<C>, Foundation), Failure> {
    let foundation = Foundation::new("admin", tls, traces)?;
    let admin = Admin::open(settings, &foundation.registry, clock).await.map_err(|e| cannot_open("admin", &e))?;
    Ok((admin, foundation))
}

/// Starts the Admin Module.
pub(crate) fn start_admin<C: Clock>(admin: Admin<C>, foundation: Foundation, listeners: Listeners) -> Running {
    let (router, health) = (admin.router(), admin.health());
    let background = Box::new(|shutdown| Box::pin(async move { admin.run_background(shutdown).await }) as _);
    foundation.start(ModuleParts { router, health, background }, listeners)
}

/// Opens and starts a Storage Element. `name` tells several in one process apart.
///
/// # Errors
/// A store, a certificate or an account that cannot be used.
pub(crate) async fn start_element(
    name: &'static str,
    mut settings: ElementSettings,
    tls: Option<&TlsPlan>,
    auth: &AuthPlan,
    traces: &TracePlan,
    mut listeners: Listeners,
) -> Result<Running, Failure> {
    // The largest attributes of a file sent in one request make a header of 35 KiB.
    listeners.settings.max_header_bytes = listeners.settings.max_header_bytes.max(64 << 10);
    let mut foundation = Foundation::new(name, tls, traces)?;
    let client = foundation.client();
    settings.admin_urls.clone_from(&auth.admin_urls);
    let (service, verifier) =
        foundation.auth(auth, &client, &ELEMENT_SCOPES, &ELEMENT_AUDIENCES, scope::AUDIENCE_ELEMENT)?;
    // The store is none of our peers: it learns nothing of traces.
    let s3_client = Some(client.untraced());
    let deps = ElementDeps { client, s3_client, auth: Some(service.clone()), verifier };
    let element = Element::open(settings, deps, &foundation.registry, foundation.clock)
        .await
        .map_err(|e| cannot_open(name, &e))?;
    let element = Arc::new(element);
    let (router, health) = (element.router(), element.health());
    let background = Box::new(move |shutdown| {
        Box::pin(async move {
            element.run_background(shutdown).await;
            service.close();
        }) as _
    });
    Ok(foundation.start(ModuleParts { router, health, background }, listeners))
}

/// Opens and starts the Ingester.
///
/// # Errors
/// A certificate or an account that cannot be used.
pub(crate) async fn start_ingester(
    mut settings: IngesterSettings,
    tls: Option<&TlsPlan>,
    auth: &AuthPlan,
    traces: &TracePlan,
    mut listeners: Listeners,
) -> Result<Running, Failure> {
    // The longest description and tags, percent-encoded in the query of a raw upload, make a head of 72 KiB.
    listeners.settings.max_header_bytes = listeners.settings.max_header_bytes.max(96 << 10);
    let mut foundation = Foundation::new("ingester", tls, traces)?;
    let client = foundation.client();
    settings.admin_urls.clone_from(&auth.admin_urls);
    let (service, verifier) =
        foundation.auth(auth, &client, &INGESTER_SCOPES, &INGESTER_AUDIENCES, scope::AUDIENCE_INGESTER)?;
    let deps = IngesterDeps { client, auth: service.clone(), verifier };
    let ingester = Ingester::open(settings, deps, &foundation.registry, foundation.clock)
        .await
        .map_err(|e| cannot_open("ingester", &e))?;
    let ingester = Arc::new(ingester);
    let (router, health) = (ingester.router(), ingester.health());
    let background = Box::new(move |shutdown| {
        Box::pin(async move {
            ingester.run_background(shutdown).await;
            service.close();
        }) as _
    });
    Ok(foundation.start(ModuleParts { router, health, background }, listeners))
}

fn cannot_open(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("the {name} module cannot start: {error}"))
}

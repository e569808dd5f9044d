//! What comes after the handshake: a token, the elements that Admin lists, an Ingester's health.

use super::patient::{Account, ModuleAccount, Patient};
use super::peers::Way;
use super::report::{Finding, Report};
use crate::assemble::{AuthPlan, Foundation};
use crate::exit::Exit;
use crate::traces::TracePlan;
use artstore_api::Problem;
use artstore_api::element::{Capacity, Element, ElementList, ElementStatus};
use artstore_client::{ConnectSettings, Connection};
use artstore_http::{Client, HealthReport, Status};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;
use std::sync::{Mutex, PoisonError};

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A token from the Admin Module at this address, and with it the elements that it lists.
pub(super) async fn admin(
    patient: &Patient,
    url: &str,
    reached: bool,
    way: &Way,
    report: &mut Report,
) -> Result<(), Exit> {
    if matches!(patient.account, Account::Absent) {
        return Ok(());
    }
    if !reached {
        report.told("token", url, Finding::skipped("the Admin Module is not reached"))?;
        if patient.uses_elements {
            report.told("elements", url, Finding::skipped("there is no token"))?;
        }
        return Ok(());
    }
    let token = Mutex::new(None);
    let got = report.step("token", url, get_token(&patient.account, url, &token)).await?;
    if !patient.uses_elements {
        return Ok(());
    }
    let token = token.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some(token) = token.filter(|_| got) else {
        report.told("elements", url, Finding::skipped("there is no token"))?;
        return Ok(());
    };
    let list = Mutex::new(Vec::new());
    report.step("elements", url, get_list(&way.client, url, &token, &list)).await?;
    for element in list.into_inner().unwrap_or_else(PoisonError::into_inner) {
        self::element(&element, &token, way, report).await?;
    }
    Ok(())
}

async fn element(element: &Element, token: &HeaderValue, way: &Way, report: &mut Report) -> Result<(), Exit> {
    let url = element.url.trim_end_matches('/');
    if way.walk(url, report).await? {
        report.step("element", url, ask_element(&way.client, element, token)).await?;
    } else {
        report.told("element", url, Finding::skipped("the element is not reached"))?;
    }
    Ok(())
}

/// Whether an Ingester is ready.
pub(super) async fn ingester(url: &str, reached: bool, way: &Way, report: &mut Report) -> Result<(), Exit> {
    if reached {
        report.step("ingester", url, ask_ready(&way.client, url)).await?;
    } else {
        report.told("ingester", url, Finding::skipped("the Ingester is not reached"))?;
    }
    Ok(())
}

async fn get_token(account: &Account, url: &str, token: &Mutex<Option<HeaderValue>>) -> Finding {
    let got = match account {
        Account::Absent => return Finding::skipped("there is no account"),
        Account::Module(account) => as_module(account, url, token).await,
        Account::Client(settings) => as_client(settings, url).await,
    };
    got.unwrap_or_else(|failed| failed)
}

/// As the module does it, with this instance alone.
async fn as_module(account: &ModuleAccount, url: &str, token: &Mutex<Option<HeaderValue>>) -> Result<Finding, Finding> {
    let unusable = |error: &dyn std::fmt::Display| {
        Finding::failed(error.to_string(), "correct the table auth of the configuration", "token")
    };
    let mut foundation =
        Foundation::new("doctor", account.tls.as_ref(), &TracePlan::off()).map_err(|error| unusable(&error))?;
    let plan = AuthPlan { admin_urls: vec![url.to_owned()], ..account.auth.clone() };
    let client = foundation.client();
    let (service, _) = foundation
        .auth(&plan, &client, account.scopes, account.audiences, account.own_audience)
        .map_err(|error| unusable(&error))?;
    match service.access_token().await {
        Ok(got) => {
            *token.lock().unwrap_or_else(PoisonError::into_inner) = Some(got.authorization());
            Ok(Finding::ok(format!("{} got a token", plan.client_id)))
        }
        Err(error) => Err(no_token(&plan.client_id, &error.kind().to_string(), error.detail())),
    }
}

/// As a client does it, with this instance alone.
async fn as_client(settings: &ConnectSettings, url: &str) -> Result<Finding, Finding> {
    let only = |candidate: &&artstore_client::BaseUrl| candidate.as_str() == url;
    let settings = ConnectSettings { admin: settings.admin.iter().filter(only).cloned().collect(), ..settings.clone() };
    let account = settings.client_id.clone();
    let connection = Connection::open(settings)
        .map_err(|error| Finding::failed(error.to_string(), "correct the connection flags or variables", "token"))?;
    match connection.access_token().await {
        Ok(token) => {
            let scope = token.scope.unwrap_or_else(|| "no stated scope".to_owned());
            Ok(Finding::ok(format!("{account} got a token for {scope}")))
        }
        Err(error) => {
            let detail = error.to_string();
            let kind = match &error {
                artstore_client::Error::Token(token) => token.kind,
                _ => "internal",
            };
            Err(no_token(&account, kind, &detail))
        }
    }
}

fn no_token(account: &str, kind: &str, detail: &str) -> Finding {
    let advice = match kind {
        "invalid_client" | "unauthorized_client" => {
            "check the account's name, secret and method, and that it is active: artstore admin accounts show"
        }
        "invalid_scope" => "give the account the scopes that this module needs: artstore admin accounts",
        "clock_skew" => "set the clocks of both machines",
        "rate_limited" => "too many failures of late: correct their cause and wait a minute",
        "token_invalid" => "compare auth.issuer with the issuer of the Admin Module (admin.issuer)",
        "jwks_unavailable" => "the Admin Module's keys cannot be had: see its log",
        "server_error" | "timeout" | "transport" => "see the Admin Module's log and health",
        _ => "see the Admin Module's log at this moment",
    };
    Finding::failed(format!("{account} got no token: {detail}"), advice, "token").of_type(kind)
}

/// An answer's status and body; else why there is none.
async fn fetch(client: &Client, url: &str, token: Option<&HeaderValue>) -> Result<(StatusCode, Bytes), String> {
    let mut request = Request::get(url).body(artstore_http::body::empty()).map_err(|error| error.to_string())?;
    if let Some(token) = token {
        request.headers_mut().insert(AUTHORIZATION, token.clone());
    }
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}

/// An answer with status 200 as this type; else why not, with the status if there was an answer.
async fn ask<T: DeserializeOwned>(
    client: &Client,
    url: &str,
    token: &HeaderValue,
) -> Result<T, (Option<StatusCode>, String)> {
    let (status, body) = fetch(client, url, Some(token)).await.map_err(|why| (None, why))?;
    if status != StatusCode::OK {
        let problem = serde_json::from_slice(&body).map_or_else(|_| String::new(), |problem: Problem| problem.detail);
        return Err((Some(status), format!("answered {status}: {problem}")));
    }
    serde_json::from_slice(&body)
        .map_err(|error| (Some(status), format!("the answer is not what it should be: {error}")))
}

async fn get_list(client: &Client, admin: &str, token: &HeaderValue, found: &Mutex<Vec<Element>>) -> Finding {
    match ask::<ElementList>(client, &format!("{admin}/api/v1/storage-elements"), token).await {
        Ok(list) if list.elements.is_empty() => Finding::failed(
            "the Admin Module knows no element",
            "start the elements: they report themselves; run the doctor with an element's configuration",
            "elements",
        ),
        Ok(list) => {
            let online = list.elements.iter().filter(|element| element.status == ElementStatus::Online).count();
            let text = format!("{} elements, {online} online", list.elements.len());
            *found.lock().unwrap_or_else(PoisonError::into_inner) = list.elements;
            Finding::ok(text)
        }
        Err((status, why)) => refused(status, &why, "the scope elements:read"),
    }
}

async fn ask_element(client: &Client, element: &Element, token: &HeaderValue) -> Finding {
    let url = format!("{}/api/v1/capacity", element.url.trim_end_matches('/'));
    let capacity = match ask::<Capacity>(client, &url, token).await {
        Ok(capacity) => capacity,
        Err((status, why)) => return refused(status, &why, "the scope storage:read"),
    };
    let Element { element_id, mode, status, .. } = element;
    let room =
        format!("{element_id} ({}), {} bytes free of {}", mode.as_str(), capacity.free_bytes, capacity.capacity_bytes);
    match status {
        ElementStatus::Online => Finding::ok(room),
        ElementStatus::Offline => Finding::failed(
            format!("{room}: it answers, but has not reported itself to the Admin Module of late"),
            "run the doctor with this element's configuration",
            "elements",
        ),
    }
}

fn refused(status: Option<StatusCode>, why: &str, needs: &str) -> Finding {
    let advice = match status {
        Some(StatusCode::UNAUTHORIZED) => {
            "it does not accept the token: compare its auth.issuer with admin.issuer, and the clocks".to_owned()
        }
        Some(StatusCode::FORBIDDEN) => format!("the account needs {needs}: artstore admin accounts"),
        Some(_) | None => "see its log at this moment".to_owned(),
    };
    Finding::failed(why, advice, "elements")
}

/// An Ingester's own opinion of what it depends on.
async fn ask_ready(client: &Client, url: &str) -> Finding {
    let advice = "run the doctor with the Ingester's configuration";
    let (status, body) = match fetch(client, &format!("{url}/api/v1/health/ready"), None).await {
        Ok(answer) => answer,
        Err(why) => return Finding::failed(why, "see its log at this moment", "elements"),
    };
    let Ok(health) = serde_json::from_slice::<HealthReport>(&body) else {
        return Finding::failed(
            format!("answered {status}, and not as an Ingester does"),
            "check the address",
            "connect",
        );
    };
    let reasons: Vec<String> = health
        .dependencies
        .iter()
        .filter(|dependency| dependency.status != Status::Ok)
        .map(|dependency| format!("; {} {}: {}", dependency.name, dependency.status.as_str(), dependency.reason))
        .collect();
    let detail = format!("it says it is {}{}", health.status.as_str(), reasons.concat());
    match health.status {
        Status::Ok | Status::Degraded => Finding::ok(detail),
        Status::Fail => Finding::failed(detail, advice, "elements"),
    }
}

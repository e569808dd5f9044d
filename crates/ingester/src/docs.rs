//! The page for people at `/docs`: the OpenAPI description as one self-contained HTML document, without a script.

use crate::openapi::description;
use artstore_http::escape_html;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// The looks: light and dark by the reader's system, one column that fits a phone.
const STYLE: &str = include_str!("docs.css");

static PAGE: LazyLock<String> = LazyLock::new(|| page(&serde_json::to_value(description()).unwrap_or_default()));

/// `GET /docs`.
pub(crate) async fn serve() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE.as_str()).into_response()
}

/// The page of a description.
fn page(api: &Value) -> String {
    let title = text(&api["info"]["title"]);
    let about: String = api["info"]["description"].as_str().unwrap_or_default().split("\n\n").map(paragraph).collect();
    let operations = operations(api);
    let mut tags: Vec<&str> = Vec::new();
    for operation in &operations {
        if !tags.contains(&operation.tag) {
            tags.push(operation.tag);
        }
    }
    let mut contents = String::new();
    let mut body = String::new();
    for tag in tags {
        let _ = write!(contents, "<p>{}</p><ul>", escape_html(tag));
        let _ = write!(body, "<h2>{}</h2>", escape_html(tag));
        for operation in operations.iter().filter(|operation| operation.tag == tag) {
            let _ = write!(contents, "{}", operation.link());
            let _ = write!(body, "{}", operation.section());
        }
        contents.push_str("</ul>");
    }
    let schemas = schemas(api);
    let version = text(&api["info"]["version"]);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\
         <header><h1>{title} <small>{version}</small></h1>{about}{EXAMPLE}\
         <p>For programs: <a href=\"/api/v1/openapi.json\">openapi.json</a>.</p></header>\
         <nav aria-label=\"Contents\">{contents}<p><a href=\"#schemas\">Schemas</a></p></nav>\
         <main>{body}<h2 id=\"schemas\">Schemas</h2>{schemas}</main></body></html>"
    )
}

/// What works at once after `artstore up`.
const EXAMPLE: &str = "<details><summary>With curl, after <code>artstore up</code></summary><pre><code>. artstore-data/artstore.env\n\
token=$(curl -s --cacert $ARTSTORE_CA_CERT -u $ARTSTORE_CLIENT_ID:$ARTSTORE_CLIENT_SECRET \\\n  \
-d grant_type=client_credentials $ARTSTORE_ADMIN_URL/oauth2/token | sed 's/.*\"access_token\":\"\\([^\"]*\\).*/\\1/')\n\
curl --cacert $ARTSTORE_CA_CERT -H \"Authorization: Bearer $token\" \\\n  \
-F file=@photo.jpg $ARTSTORE_INGESTER_URL/api/v1/files/upload</code></pre></details>";

/// One operation, as the page shows it.
struct Operation<'a> {
    method: String,
    path: &'a str,
    tag: &'a str,
    value: &'a Value,
}

fn operations(api: &Value) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for (path, item) in object(&api["paths"]) {
        for (method, value) in item.as_object().into_iter().flatten() {
            let tag = value["tags"][0].as_str().unwrap_or("Other");
            operations.push(Operation { method: method.to_uppercase(), path, tag, value });
        }
    }
    // What people come for stands first.
    let rank = |tag: &str| ["Uploading", "Reading and deleting", "Health"].iter().position(|known| *known == tag);
    operations.sort_by_key(|operation| rank(operation.tag).unwrap_or(usize::MAX));
    operations
}

impl Operation<'_> {
    fn id(&self) -> String {
        text(&self.value["operationId"])
    }

    fn link(&self) -> String {
        let summary = text(&self.value["summary"]);
        format!("<li><a href=\"#{}\"><b class=\"{1}\">{1}</b> {summary}</a></li>", self.id(), self.method)
    }

    fn section(&self) -> String {
        let scope = self.value["security"][0]["bearer"][0].as_str();
        let scope = scope.map_or_else(String::new, |scope| {
            format!("<p class=\"scope\">Scope <code>{}</code></p>", escape_html(scope))
        });
        format!(
            "<section id=\"{id}\"><h3><b class=\"{method}\">{method}</b> <code>{path}</code></h3><p><strong>{summary}.</strong></p>{scope}\
             {about}{parameters}{body}{responses}</section>",
            id = self.id(),
            method = self.method,
            path = escape_html(self.path).replace('/', "/<wbr>"),
            summary = text(&self.value["summary"]),
            about = paragraph(self.value["description"].as_str().unwrap_or_default()),
            parameters = self.parameters(),
            body = self.body(),
            responses = self.responses(),
        )
    }

    fn parameters(&self) -> String {
        let rows: String = array(&self.value["parameters"])
            .iter()
            .map(|parameter| {
                let place = text(&parameter["in"]);
                let required = parameter["required"].as_bool().unwrap_or_default();
                row(
                    parameter["name"].as_str().unwrap_or_default(),
                    &place,
                    &parameter["schema"],
                    required,
                    &parameter["description"],
                )
            })
            .collect();
        if rows.is_empty() { rows } else { format!("<h4>Parameters</h4><dl>{rows}</dl>") }
    }

    fn body(&self) -> String {
        let mut html = String::new();
        for (media, content) in object(&self.value["requestBody"]["content"]) {
            let _ = write!(html, "<h4>Body <code>{}</code></h4>", escape_html(media));
            let schema = &content["schema"];
            let required = array(&schema["required"]);
            let rows: String = object(&schema["properties"])
                .map(|(name, schema)| {
                    row(name, "field", schema, required.iter().any(|r| r == name), &schema["description"])
                })
                .collect();
            if rows.is_empty() {
                html.push_str(&paragraph(self.value["requestBody"]["description"].as_str().unwrap_or_default()));
            } else {
                let _ = write!(html, "<dl>{rows}</dl>");
            }
        }
        html
    }

    fn responses(&self) -> String {
        let mut html = String::from("<h4>Answers</h4><dl>");
        for (status, response) in object(&self.value["responses"]) {
            let class = match status.as_bytes().first() {
                Some(b'2') => "good",
                Some(b'5') => "bad",
                Some(_) | None => "",
            };
            let schema =
                object(&response["content"]).next().and_then(|(_, content)| content["schema"]["$ref"].as_str());
            let schema = schema.map_or_else(String::new, |reference| format!(" {}", reference_link(reference)));
            let about = inline(response["description"].as_str().unwrap_or_default());
            let _ = write!(html, "<dt class=\"{class}\">{}</dt><dd>{about}{schema}</dd>", escape_html(status));
        }
        html.push_str("</dl>");
        html
    }
}

fn schemas(api: &Value) -> String {
    let mut html = String::new();
    for (name, schema) in object(&api["components"]["schemas"]) {
        let name = escape_html(name);
        let _ = write!(html, "<section id=\"schema-{name}\"><h3><code>{name}</code></h3>");
        html.push_str(&paragraph(schema["description"].as_str().unwrap_or_default()));
        let required = array(&schema["required"]);
        let rows: String = object(&schema["properties"])
            .map(|(name, schema)| row(name, "", schema, required.iter().any(|r| r == name), &schema["description"]))
            .collect();
        if rows.is_empty() {
            let _ = write!(html, "<p>{}</p>", kind(schema));
        } else {
            let _ = write!(html, "<dl>{rows}</dl>");
        }
        html.push_str("</section>");
    }
    html
}

fn row(name: &str, place: &str, schema: &Value, required: bool, about: &Value) -> String {
    let mut notes = Vec::new();
    if !place.is_empty() {
        notes.push(escape_html(place));
    }
    notes.push(kind(schema));
    if required {
        notes.push("<em>required</em>".to_owned());
    }
    let about = inline(about.as_str().unwrap_or_default());
    format!("<dt><code>{}</code></dt><dd>{about} <small>{}</small></dd>", escape_html(name), notes.join(", "))
}

/// What a schema allows, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference_link(reference);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let mut words = vec![match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        other => text(other),
    }];
    if let Some(values) = schema["enum"].as_array() {
        words = vec![values.iter().map(|value| format!("<code>{}</code>", text(value))).collect::<Vec<_>>().join(", ")];
    }
    if schema["items"].is_object() {
        words = vec![format!("array of ({})", kind(&schema["items"]))];
    }
    for (key, before, after) in [
        ("format", "", ""),
        ("minimum", "from ", ""),
        ("maximum", "to ", ""),
        ("minLength", "at least ", " characters"),
        ("maxLength", "at most ", " characters"),
        ("maxItems", "at most ", " items"),
        ("default", "default ", ""),
        ("examples", "for example ", ""),
    ] {
        let value = schema[key].get(0).unwrap_or(&schema[key]);
        if !value.is_null() {
            words.push(format!("{before}{}{after}", text(value)));
        }
    }
    words.join(", ")
}

fn reference_link(reference: &str) -> String {
    let name = escape_html(reference.rsplit('/').next().unwrap_or_default());
    format!("<a href=\"#schema-{name}\">{name}</a>")
}

fn paragraph(about: &str) -> String {
    if about.is_empty() { String::new() } else { format!("<p>{}</p>", inline(about)) }
}

/// Escaped text in which what stands between backticks is code.
fn inline(about: &str) -> String {
    let mut html = String::new();
    for (place, piece) in about.split('`').enumerate() {
        let piece = escape_html(piece);
        if place % 2 == 1 {
            let _ = write!(html, "<code>{piece}</code>");
        } else {
            html.push_str(&piece);
        }
    }
    html
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| escape_html(&value.to_string()), escape_html)
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE).iter()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_api::Code;

    #[test]
    fn the_page_shows_every_operation_field_and_code_and_loads_nothing() {
        let api = serde_json::to_value(description()).unwrap();
        let page = page(&api);
        for (path, item) in object(&api["paths"]) {
            assert!(page.contains(&format!("<code>{}</code>", path.replace('/', "/<wbr>"))), "{path}");
            for (method, operation) in object(item) {
                let id = operation["operationId"].as_str().unwrap();
                assert!(page.contains(&format!("<section id=\"{id}\">")) && page.contains(&format!("href=\"#{id}\"")));
                assert!(page.contains(&format!("<b class=\"{0}\">{0}</b>", method.to_uppercase())));
            }
        }
        for code in Code::ALL.iter().filter(|code| **code != Code::Conflict) {
            assert!(
                page.contains(&format!("<code>{}</code>: {}.", code.as_str(), escape_html(code.title()))),
                "{code:?}"
            );
        }
        for field in ["retention_policy", "ttl_days", "tags", "description", "file", "checksum", "expires_at"] {
            assert!(page.contains(&format!("<dt><code>{field}</code></dt>")), "{field}");
        }
        for outside in ["http://", "https://", "<script", "<link", "<img", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    }

    #[test]
    fn tags_are_balanced() {
        let page = PAGE.as_str();
        for tag in [
            "section", "dl", "dt", "dd", "p", "ul", "li", "h2", "h3", "h4", "code", "main", "nav", "header", "small",
            "b",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn foreign_text_is_escaped() {
        assert_eq!(inline("a `<b>` & c"), "a <code>&lt;b&gt;</code> &amp; c");
        assert_eq!(kind(&serde_json::json!({"type": "string", "enum": ["<"]})), "<code>&lt;</code>");
    }
}

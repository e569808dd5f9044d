//! The OpenAPI description: operations with all of their statuses and problem codes, and the schemas of what they carry.

use crate::fields::DEFAULT_CONTENT_TYPE;
use artstore_api::file::{
    DEFAULT_TTL_DAYS, FileId, FileRecord, FileStatus, MAX_DESCRIPTION_CHARS, MAX_FILENAME_BYTES, MAX_TAG_CHARS,
    MAX_TAGS, RetentionPolicy, TTL_DAYS,
};
use artstore_api::problem::PROBLEM_JSON;
use artstore_api::scope::{FILES_READ, FILES_WRITE};
use artstore_api::{Code, Problem};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder,
    Ref, Required, Response, ResponseBuilder, Schema,
};

/// The name of the security scheme.
const BEARER: &str = "bearer";
const UPLOADING: &str = "Uploading";
const READING: &str = "Reading and deleting";
const HEALTH: &str = "Health";

/// What a client must be told of the module as a whole.
const ABOUT: &str = "Files come in, are streamed over mutual TLS to a Storage Element, and can be read back.\n\n\
Every request but those for health and this description carries an access token of the Admin Module: \
`POST /oauth2/token` there (OAuth 2.0 client credentials) gives it, with the audience `artstore-ingester`.\n\n\
Errors are problem documents (RFC 9457) with a stable `code`.\n\n\
An upload is visible whole or not at all, and what was answered 201 is durable.";

/// What can go wrong with any request that carries a token.
const TOKEN_CODES: [Code; 4] = [Code::Unauthorized, Code::Forbidden, Code::AdminUnavailable, Code::Internal];
/// What else can go wrong with an upload.
const UPLOAD_CODES: [Code; 6] = [
    Code::ValidationError,
    Code::FileTooLarge,
    Code::RateLimited,
    Code::ElementUploadFailed,
    Code::NoStorageAvailable,
    Code::StorageFull,
];

static JSON: LazyLock<String> = LazyLock::new(|| serde_json::to_string(&description()).unwrap_or_default());

/// `GET /api/v1/openapi.json`.
pub(crate) async fn serve() -> HttpResponse {
    ([(CONTENT_TYPE, "application/json")], JSON.as_str()).into_response()
}

/// The description.
#[must_use]
pub fn description() -> OpenApi {
    let licence = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("ArtStore Ingester")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(licence));
    let file = "/api/v1/files/{file_id}";
    let content = "/api/v1/files/{file_id}/content";
    let operations = [
        ("/api/v1/files/upload", HttpMethod::Post, upload_form()),
        ("/api/v1/files", HttpMethod::Put, upload_raw()),
        (file, HttpMethod::Get, read_record()),
        (file, HttpMethod::Delete, delete_file()),
        (content, HttpMethod::Get, read_content(true)),
        (content, HttpMethod::Head, read_content(false)),
        ("/api/v1/health/live", HttpMethod::Get, health_live()),
        ("/api/v1/health/ready", HttpMethod::Get, health_ready()),
        ("/api/v1/openapi.json", HttpMethod::Get, this_description()),
    ];
    let mut paths = PathsBuilder::new().build();
    for (path, method, operation) in operations {
        paths.add_path_operation(path, vec![method], operation.build());
    }
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

fn upload_form() -> OperationBuilder {
    let description = "Send `retention_policy` before `file` unless it is the default: it chooses the element, and the bytes are on \
        their way when what follows `file` is read. The other fields may come before or after it. Each may come once; an unknown \
        field is refused, so that a misspelt policy does not store a file under another one. A client that sends nothing for 30 \
        seconds while its body is awaited is refused with `VALIDATION_ERROR`. Digest fields are about the form, not about the \
        file, and are ignored here: send the raw body to have them verified.";
    operation("uploadForm", UPLOADING, "Upload a file as multipart form", description)
        .request_body(Some(form_body()))
        .response("201", created())
        .pipe(|operation| with_problems(operation, FILES_WRITE, &UPLOAD_CODES))
}

fn upload_raw() -> OperationBuilder {
    let description = "The body is the file, byte for byte. A `sha-256` in `Content-Digest` or `Repr-Digest` (RFC 9530) is compared \
        with what the element stored before the file becomes visible; other algorithms are ignored. Unknown query parameters are \
        refused, and so are `Content-Encoding` and `Content-Range`. A client that sends nothing for 30 seconds while its body is \
        awaited is refused with `VALIDATION_ERROR`.";
    let codes: Vec<Code> = UPLOAD_CODES.into_iter().chain([Code::ChecksumMismatch]).collect();
    let body = RequestBodyBuilder::new()
        .description(Some("The bytes of the file; none are a file, too."))
        .content(DEFAULT_CONTENT_TYPE, ContentBuilder::new().schema(Some(binary())).build());
    operation("uploadRaw", UPLOADING, "Upload a file as raw body", description)
        .parameter(
            query("filename", "The file's name: its last part alone, no path.", filename()).required(Required::True),
        )
        .parameter(query("description", "Free text.", description_schema()))
        .parameter(query("tags", "Words to find it by: a JSON array of strings.", text(Some("[\"a\", \"b\"]"))))
        .parameter(query("retention_policy", "How long it is kept.", policy()))
        .parameter(query("ttl_days", "Days until a temporary file expires.", ttl()))
        .parameter(digest("Content-Digest", "The digest of the body (RFC 9530)."))
        .parameter(digest("Repr-Digest", "The digest of the file (RFC 9530); here the same."))
        .request_body(Some(body.build()))
        .response("201", created())
        .pipe(|operation| with_problems(operation, FILES_WRITE, &codes))
}

fn read_record() -> OperationBuilder {
    let description = "From the Admin Module's index, confirmed by the element that holds the file. While the Admin Module is away, \
        the known elements are asked.";
    operation("readRecord", READING, "Read a file's record", description)
        .parameter(file_id())
        .response("200", json_response("The record.", "FileRecord"))
        .pipe(|operation| with_problems(operation, FILES_READ, &[Code::NotFound, Code::ElementUploadFailed]))
}

fn read_content(get: bool) -> OperationBuilder {
    let description = "Ranges (`Range`, `If-Range`) and conditions (`If-Match`, `If-None-Match`, `If-Modified-Since`, \
        `If-Unmodified-Since`) are those of RFC 9110; the `ETag` is strong.";
    let (id, summary) = if get {
        ("readContent", "Read a file's content")
    } else {
        ("headContent", "Read the headers of a file's content")
    };
    let whole = |text: &str| {
        let response = ResponseBuilder::new().description(text);
        let response = ["ETag", "Accept-Ranges", "Content-Length"]
            .into_iter()
            .fold(response, |response, name| response.header(name, header("As RFC 9110 says.")));
        if get { response.content("*/*", ContentBuilder::new().schema(Some(binary())).build()) } else { response }
    };
    let range = header("Which bytes these are, or how many there are.");
    operation(id, READING, summary, description)
        .parameter(file_id())
        .parameter(request_header("Range", "The bytes that are wanted.", "bytes=0-1023"))
        .parameter(request_header("If-None-Match", "Do not send what the client has.", "\"…\""))
        .response("200", whole("The content.").build())
        .response("206", whole("A part of the content.").header("Content-Range", range.clone()).build())
        .response("304", ResponseBuilder::new().description("The client has it.").build())
        .response("412", ResponseBuilder::new().description("A condition of the request does not hold.").build())
        .response(
            "416",
            ResponseBuilder::new().description("The file has no such bytes.").header("Content-Range", range).build(),
        )
        .pipe(|operation| {
            let codes = [Code::NotFound, Code::RateLimited, Code::ElementUploadFailed];
            with_problems(operation, FILES_READ, &codes)
        })
}

fn delete_file() -> OperationBuilder {
    let description = "Temporary files only: a permanent file is never deleted by a client (`FORBIDDEN`).";
    operation("deleteFile", READING, "Delete a file", description)
        .parameter(file_id())
        .response("204", ResponseBuilder::new().description("It is gone.").build())
        .pipe(|operation| with_problems(operation, FILES_WRITE, &[Code::NotFound, Code::ElementUploadFailed]))
}

fn health_live() -> OperationBuilder {
    operation("healthLive", HEALTH, "Is the process alive", "Depends on nothing.")
        .response("200", inline_json("It is.", json!({"status": "ok"})))
}

fn health_ready() -> OperationBuilder {
    let example = json!({"status": "degraded", "dependencies": [
        {"name": "token", "status": "ok"},
        {"name": "elements", "status": "degraded", "reason": "none of mode rw is online"},
        {"name": "admin", "status": "ok"}]});
    let description = "`ok` and `degraded` are 200, `fail` is 503; each dependency with its reason.";
    operation("healthReady", HEALTH, "Can uploads be served", description)
        .response("200", inline_json("They can.", example.clone()))
        .response("503", inline_json("They cannot.", example))
}

fn this_description() -> OperationBuilder {
    operation("openApi", HEALTH, "This description", "For people there is a page at `/docs`.")
        .response("200", inline_json("OpenAPI 3.1.", json!({"openapi": "3.1.0"})))
}

fn operation(id: &str, tag: &str, summary: &str, description: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary)).description(Some(description))
}

/// Adds the scope and one response for each status of the codes that the operation can answer.
fn with_problems(operation: OperationBuilder, scope: &str, codes: &[Code]) -> OperationBuilder {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in TOKEN_CODES.iter().chain(codes) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let secured = operation.security(SecurityRequirement::new(BEARER, [scope]));
    by_status
        .into_iter()
        .fold(secured, |operation, (status, codes)| operation.response(status.to_string(), problem_response(&codes)))
}

fn problem_response(codes: &[Code]) -> Response {
    let words: Vec<String> = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title())).collect();
    let examples = codes.iter().map(|code| {
        let example = utoipa::openapi::example::ExampleBuilder::new()
            .value(Some(serde_json::to_value(Problem::new(*code, code.title())).unwrap_or_default()));
        (code.as_str(), example.build())
    });
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).examples_from_iter(examples).build();
    let response = ResponseBuilder::new().description(words.join(" ")).content(PROBLEM_JSON, content);
    match codes.first() {
        Some(Code::Unauthorized) => response.header("WWW-Authenticate", header("What RFC 6750 says of the token.")),
        Some(Code::RateLimited) => response.header("Retry-After", header("Seconds to wait.")),
        Some(_) | None => response,
    }
    .build()
}

fn created() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("FileRecord"))).build();
    ResponseBuilder::new()
        .description("The file is published and durable.")
        .header("Location", header("Where its record is."))
        .content("application/json", content)
        .build()
}

fn json_response(description: &str, schema: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn inline_json(description: &str, example: Value) -> Response {
    let content = ContentBuilder::new().schema(Some(ObjectBuilder::new().build())).example(Some(example)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

fn form_body() -> RequestBody {
    let form = ObjectBuilder::new()
        .property("retention_policy", policy())
        .property("description", description_schema())
        .property("tags", text(Some("[\"a\", \"b\"]")))
        .property("ttl_days", ttl())
        .property("file", binary())
        .required("file");
    RequestBodyBuilder::new()
        .content("multipart/form-data", ContentBuilder::new().schema(Some(form.build())).build())
        .required(Some(Required::True))
        .build()
}

fn query(name: &str, description: &str, schema: impl Into<Schema>) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema.into()))
}

fn request_header(name: &str, description: &str, example: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text(Some(example))))
        .build()
}

fn digest(name: &str, description: &str) -> Parameter {
    request_header(name, description, "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
}

fn file_id() -> Parameter {
    ParameterBuilder::new()
        .name("file_id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The identifier that the upload answered."))
        .schema(Some(string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).build()))
        .build()
}

fn header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(text(None))).description(Some(description)).build()
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn text(example: Option<&str>) -> Schema {
    string().examples(example).into()
}

fn binary() -> Schema {
    string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary))).into()
}

fn filename() -> Schema {
    string().min_length(Some(1)).max_length(Some(MAX_FILENAME_BYTES)).examples(["photo.jpg"]).into()
}

fn description_schema() -> Schema {
    string().max_length(Some(MAX_DESCRIPTION_CHARS)).into()
}

fn policy() -> Schema {
    let default = RetentionPolicy::default().as_str();
    string().enum_values(Some(["temporary", "permanent"])).default(Some(default.into())).into()
}

fn ttl() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(usize::from(*TTL_DAYS.start())))
        .maximum(Some(usize::from(*TTL_DAYS.end())))
        .default(Some(DEFAULT_TTL_DAYS.into()))
        .into()
}

fn components() -> Components {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token of the Admin Module with the audience artstore-ingester."));
    let mut components = ComponentsBuilder::new()
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .schema_from::<FileRecord>()
        .schema_from::<FileId>()
        .schema_from::<FileStatus>()
        .schema_from::<RetentionPolicy>()
        .schema_from::<Problem>()
        .schema_from::<Code>()
        .build();
    // The bounds of the limits that the derived schema does not know.
    if let Some(utoipa::openapi::RefOr::T(Schema::Object(record))) = components.schemas.get_mut("FileRecord") {
        let tag = string().min_length(Some(1)).max_length(Some(MAX_TAG_CHARS));
        let tags = ArrayBuilder::new().items(tag).max_items(Some(MAX_TAGS)).description(Some("Words to find it by."));
        record.properties.insert("tags".to_owned(), Schema::from(tags.build()).into());
    }
    components
}

/// Lets a chain of builder calls go through a function.
trait Pipe: Sized {
    fn pipe<T>(self, through: impl FnOnce(Self) -> T) -> T {
        through(self)
    }
}

impl Pipe for OperationBuilder {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn json() -> Value {
        serde_json::to_value(description()).unwrap()
    }

    #[test]
    fn every_code_that_the_ingester_answers_is_described_under_its_status() {
        let json = json();
        let mut described = BTreeSet::new();
        for (path, item) in json["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let Some(examples) = response["content"][PROBLEM_JSON]["examples"].as_object() else { continue };
                    for (code, example) in examples {
                        assert_eq!(example["value"]["status"].to_string(), *status, "{method} {path}");
                        assert_eq!(example["value"]["code"], *code);
                        described.insert(code.clone());
                    }
                }
            }
        }
        let expected: BTreeSet<String> =
            Code::ALL.iter().filter(|code| **code != Code::Conflict).map(|code| code.as_str().to_owned()).collect();
        assert_eq!(described, expected);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_what_a_reader_needs() {
        let json = json();
        let text = json.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(json["components"]["schemas"][name].is_object(), "{name}");
        }
        let mut ids = BTreeSet::new();
        for item in json["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                for key in ["summary", "description"] {
                    assert!(!operation[key].as_str().unwrap().is_empty());
                }
                assert!(operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')));
            }
        }
        assert_eq!(ids.len(), 9);
    }

    #[test]
    fn limits_are_those_of_the_checks() {
        let json = json();
        let parameters = json["paths"]["/api/v1/files"]["put"]["parameters"].as_array().unwrap();
        let schema = |name: &str| &parameters.iter().find(|parameter| parameter["name"] == name).unwrap()["schema"];
        assert_eq!((&schema("ttl_days")["minimum"], &schema("ttl_days")["maximum"]), (&1.into(), &365.into()));
        assert_eq!(schema("ttl_days")["default"], 30);
        assert_eq!(schema("description")["maxLength"], 1000);
        assert_eq!(schema("retention_policy")["default"], "temporary");
        assert_eq!(json["components"]["schemas"]["FileRecord"]["properties"]["tags"]["maxItems"], 50);
        let required = json["components"]["schemas"]["FileRecord"]["required"].as_array().unwrap();
        assert!(required.iter().any(|name| name == "checksum"));
    }
}

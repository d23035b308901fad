//! `/openapi.json`: every route of the server, written from the tables that route.

use crate::auth::Scope;
use crate::cube::routes::{Action, ROUTES, Route};
use crate::ingest::{PROTOCOLS, Path};
use crate::{admin, app::SharedApp};
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use utoipa::openapi::content::Content;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder, PathsBuilder,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Required};

#[cfg(test)]
mod tests;

/// Name of the scheme of tokens.
const TOKEN: &str = "token";
/// Name of the scheme of the operator's tokens.
const OPERATOR: &str = "operator";
/// Name of the scheme of write keys.
const WRITE_KEY: &str = "write_key";

/// A parameter of a call: its name, whether it is text (else any JSON), what it means.
type Parameter = (&'static str, bool, &'static str);

const QUERY: Parameter = ("query", false, "A query, a list of queries, or a text that holds JSON.");
const QUERY_TYPE: Parameter = (
    "queryType",
    true,
    "`multi` for an answer with `results`, as Cube's JavaScript client asks.",
);
const CACHE: Parameter = (
    "cache",
    true,
    "`stale-if-slow`, `stale-while-revalidate`, `must-revalidate` or `no-cache`. Answers are never stale; `no-cache` computes anew.",
);
const DOCUMENT: Parameter = ("query", true, "A GraphQL document.");
const VARIABLES: Parameter = ("variables", false, "The document's variables.");

/// What a call takes, in the query string of a GET and the JSON body of a POST.
fn parameters(action: Action) -> &'static [Parameter] {
    match action {
        Action::Load => &[QUERY, QUERY_TYPE, CACHE],
        Action::Sql => &[
            QUERY,
            ("format", true, "`sql` when the query is SQL over the cubes."),
            (
                "disable_post_processing",
                false,
                "Refuses SQL that is more than one query of cubes.",
            ),
        ],
        Action::DryRun => &[QUERY],
        Action::ConvertQuery => &[
            ("input", true, "`sql`."),
            ("output", true, "`rest`."),
            ("query", true, "SQL over the cubes."),
        ],
        Action::Meta => &[
            ("extended", true, "When present: what the members are made of, too."),
            ("onlyViews", true, "`true` leaves out the cubes."),
        ],
        Action::CubeSql => &[
            ("query", true, "SQL over the cubes."),
            ("timezone", true, "The zone of dates."),
            CACHE,
        ],
        Action::GraphQl => &[
            DOCUMENT,
            VARIABLES,
            ("operationName", true, "Which operation of the document."),
        ],
        Action::GraphQlToJson => &[DOCUMENT, VARIABLES],
        Action::Jobs => &[
            ("action", true, "`post` or `get`."),
            (
                "selector",
                false,
                "Which pre-aggregations: `contexts`, `timezones`, `cubes`, `preAggregations`, `dataSources`.",
            ),
            ("tokens", false, "The jobs to be told about."),
            ("resType", true, "`object` for an answer by token."),
        ],
        Action::CanUse => &[
            ("transformedQuery", false, "A query as `dry-run` shows it."),
            ("references", false, "The members of a pre-aggregation."),
        ],
        Action::CancelQuery | Action::RefreshNothing => &[],
    }
}

/// The document. `base` is the path in front of the Cube API's routes.
pub fn document(base: &str) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tally")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Product analytics: events in from SDKs, answers out to Cube clients. Cube's WebSocket is served under every path.",
        ))
        .license(Some(License::new("Apache-2.0")));
    let token = ApiKeyValue::with_description(
        "authorization",
        "A JSON Web Token, with or without `Bearer ` before it.",
    );
    let write_key = ApiKeyValue::with_description(
        "authorization",
        "`Bearer ` and a write key. SDKs send theirs where they are used to: in a header, the query or the body.",
    );
    let operator = ApiKeyValue::with_description(
        "authorization",
        "`Bearer ` and a token that the command line makes from the API secret for one request.",
    );
    let components = ComponentsBuilder::new()
        .security_scheme(OPERATOR, SecurityScheme::ApiKey(ApiKey::Header(operator)))
        .security_scheme(TOKEN, SecurityScheme::ApiKey(ApiKey::Header(token)))
        .security_scheme(WRITE_KEY, SecurityScheme::ApiKey(ApiKey::Header(write_key)));
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .paths(ingest(cube(operations(plain()), base)).build())
        .build()
}

/// The handler of `/openapi.json`.
pub(crate) async fn serve(State(app): State<SharedApp>) -> impl IntoResponse {
    let text = document(&app.settings.base_path).to_json().unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, text)
}

/// What operators can have done to the data.
fn operations(paths: PathsBuilder) -> PathsBuilder {
    admin::OPERATIONS.iter().fold(paths, |paths, row| {
        let object = row
            .parameters
            .iter()
            .fold(ObjectBuilder::new(), |object, (name, meaning)| {
                let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
                object.property(*name, any.description(Some(*meaning)).build())
            });
        let body = RequestBodyBuilder::new().content("application/json", Content::new(Some(object.build())));
        let told = "Lines of JSON: `progress` while it runs, then `result` or `error`.";
        let mut done = Response::new(told);
        let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue).build();
        done.content
            .insert("application/x-ndjson".to_owned(), Content::new(Some(any)));
        let operation = OperationBuilder::new()
            .tag("operations")
            .summary(Some(row.summary))
            .operation_id(Some(format!("admin_{}", row.name.replace('-', "_"))))
            .security(SecurityRequirement::new(OPERATOR, Vec::<String>::new()))
            .request_body(Some(body.build()))
            .response("200", done)
            .response("400", json_response("The parameters are wrong; `error` says how."))
            .response("403", json_response("The token is missing, wrong or too old."));
        let item = PathItemBuilder::new().operation(HttpMethod::Post, operation.build());
        paths.path(format!("{}{}", admin::operations::PREFIX, row.name), item.build())
    })
}

/// The routes of operators that need no token.
fn plain() -> PathsBuilder {
    admin::ROUTES.iter().fold(PathsBuilder::new(), |paths, route| {
        let operation = OperationBuilder::new()
            .tag("operations")
            .summary(Some(route.summary))
            .response("200", Response::new("Served without a token."));
        let item = PathItemBuilder::new().operation(HttpMethod::Get, operation.build());
        paths.path(route.path, item.build())
    })
}

fn cube(paths: PathsBuilder, base: &str) -> PathsBuilder {
    ROUTES.iter().fold(paths, |paths, route| {
        let item = route.methods.iter().fold(PathItemBuilder::new(), |item, method| {
            item.operation(http_method(method), cube_operation(route, method).build())
        });
        paths.path(format!("{base}{}", route.path.replace("{}", "{id}")), item.build())
    })
}

fn cube_operation(route: &Route, method: &Method) -> OperationBuilder {
    let scopes: Vec<&str> = route.scope.into_iter().map(Scope::name).collect();
    let mut operation = OperationBuilder::new()
        .tag("cube")
        .summary(Some(route.summary))
        .operation_id(Some(
            format!("{:?}_{method}", route.action).to_lowercase() + &id_suffix(route),
        ))
        .security(SecurityRequirement::new(TOKEN, scopes))
        .response(
            "200",
            json_response("The answer, or `{\"error\": \"Continue wait\"}`: ask again."),
        )
        .response("400", json_response("The request is wrong; `error` says how."))
        .response(
            "403",
            json_response("The token is missing, wrong, or has not the scope."),
        )
        .response("503", json_response("Too much at once; try again later."));
    if route.path.contains("{}") {
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True);
        operation = operation.parameter(id.schema(Some(text("The request's id."))).build());
    }
    let parameters = parameters(route.action);
    if *method == Method::POST {
        return operation.request_body((!parameters.is_empty()).then(|| body(parameters)));
    }
    parameters.iter().fold(operation, |operation, (name, _, meaning)| {
        let parameter = ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .schema(Some(text(meaning)));
        operation.parameter(parameter.build())
    })
}

/// Two routes may do the same; their ids differ.
fn id_suffix(route: &Route) -> String {
    let first = ROUTES.iter().find(|other| other.action == route.action);
    match first.is_some_and(|first| first.path == route.path) {
        true => String::new(),
        false => format!("_{}", route.path.rsplit('/').next().unwrap_or_default()),
    }
}

fn ingest(paths: PathsBuilder) -> PathsBuilder {
    PROTOCOLS.iter().fold(paths, |paths, protocol| {
        protocol.routes.iter().fold(paths, |paths, (methods, path)| {
            let (path, names): (String, &[&str]) = match path {
                Path::Is(exact) => ((*exact).to_owned(), &[]),
                Path::Begins(start) => (format!("{start}{{rest}}"), &["rest"]),
                Path::VendorVersion => ("/{vendor}/{version}".to_owned(), &["vendor", "version"]),
            };
            let item = methods.iter().fold(PathItemBuilder::new(), |item, method| {
                let operation = OperationBuilder::new()
                    .tag("events")
                    .summary(Some(format!(
                        "Takes events as SDKs of the dialect `{}` send them.",
                        protocol.name
                    )))
                    .security(SecurityRequirement::new(WRITE_KEY, Vec::<String>::new()))
                    .response("200", Response::new("The events are on disk."))
                    .response("401", Response::new("No project has this write key."))
                    .response("503", Response::new("The buffer is full; send them again later."));
                let operation = names.iter().fold(operation, |operation, name| {
                    let part = ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Path);
                    operation.parameter(part.required(Required::True).schema(Some(text("Any text."))).build())
                });
                let takes_body = *method == Method::POST;
                let operation = operation.request_body(takes_body.then(|| body(&[])));
                item.operation(http_method(method), operation.build())
            });
            paths.path(path, item.build())
        })
    })
}

fn http_method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        "PATCH" => HttpMethod::Patch,
        "HEAD" => HttpMethod::Head,
        "OPTIONS" => HttpMethod::Options,
        _ => HttpMethod::Get,
    }
}

fn text(meaning: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(meaning))
        .build()
}

/// A JSON body with these members; any JSON when there are none.
fn body(parameters: &[Parameter]) -> RequestBody {
    let object = match parameters {
        [] => ObjectBuilder::new().schema_type(SchemaType::AnyValue),
        members => members
            .iter()
            .fold(ObjectBuilder::new(), |object, (name, is_text, meaning)| {
                let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
                object.property(
                    *name,
                    match is_text {
                        true => text(meaning),
                        false => any.description(Some(*meaning)).build(),
                    },
                )
            }),
    };
    RequestBodyBuilder::new()
        .content("application/json", Content::new(Some(object.build())))
        .build()
}

fn json_response(meaning: &str) -> Response {
    let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue).build();
    let mut response = Response::new(meaning);
    response
        .content
        .insert("application/json".to_owned(), Content::new(Some(any)));
    response
}

//! The OpenAPI document of the Tenant Manager, made from one table of routes and the wire types.
//!
//! `openapi/tenant-manager.json` is what [`document`] returns; a test compares the two, and
//! another one asks a real server for every route of the table.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::admin::{
    AddServiceRequest, Change, ChangeRequest, CreateTenantRequest, DatabaseList, OperationPage,
    OperationRecord, ServerInfo, TenantPage, TenantRecord, UpdateTenantRequest, Verification,
};
use super::audit::{AuditHead, AuditPage, AuditVerification};
use super::isolation::{IsolationAnswer, IsolationRequest, IsolationStatus};
use super::keys::{
    CreateKeyRequest, KeyCreated, KeyPage, KeyRecord, RevokeKeyRequest, RotateKeyRequest,
};
use super::permission::{self, Permission};
use super::rekey::{KeyStatus, Rekey, RekeyRequest};
use super::wire::{
    ActiveTenant, AssociateService, AssociationCreated, CreateTenant, ErrorBody, TenantConfig,
    TenantCreated, TenantView,
};

type Make = fn(&mut SchemaGenerator) -> Schema;

/// A route: what it takes and what it answers.
#[derive(Clone)]
pub struct Route {
    /// `GET`, `POST`, `PUT` or `PATCH`.
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// One line.
    pub summary: &'static str,
    /// `contract`, `admin` or `open`; open routes need no key.
    pub tag: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<Make>,
    answers: Vec<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    what: &'static str,
    form: &'static str,
    make: Make,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const JSON: &str = "application/json";
const PAGE: [(&str, &str); 2] = [
    ("limit", "items per page, 1 to 1000; 100 when absent"),
    ("cursor", "`nextCursor` of the page before"),
];

fn route(
    method: &'static str,
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> Route {
    Route {
        method,
        path,
        summary,
        tag,
        query: &[],
        body: None,
        answers: Vec::new(),
    }
}

impl Route {
    fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(of::<T>);
        self
    }

    fn gives<T: JsonSchema>(mut self, status: u16, what: &'static str) -> Self {
        self.answer(status, what, JSON, of::<T>);
        self
    }

    fn gives_text(mut self, status: u16, what: &'static str, form: &'static str) -> Self {
        self.answer(status, what, form, of::<String>);
        self
    }

    /// Returns true when the route answers nothing but refusals.
    pub fn only_refuses(&self) -> bool {
        self.answers.iter().all(|answer| answer.status >= 400)
    }

    fn answer(&mut self, status: u16, what: &'static str, form: &'static str, make: Make) {
        self.answers.push(Answer {
            status,
            what,
            form,
            make,
        });
    }

    fn fails(mut self, answers: &[(u16, &'static str)]) -> Self {
        for (status, what) in answers {
            self.answer(*status, what, JSON, of::<ErrorBody>);
        }
        self
    }
}

/// Adds what every change can answer.
fn change(route: Route) -> Route {
    route
        .gives::<Change>(200, "the change, or its plan")
        .fails(&[
            (400, "malformed"),
            (404, "no such tenant"),
            (409, "wrong state, or the plan changed"),
            (422, "not valid"),
        ])
}

/// Returns every route of the Tenant Manager.
pub fn routes() -> Vec<Route> {
    let mut all = contract_routes();
    all.extend(admin_routes());
    all.extend(key_routes());
    all.extend([
        route("GET", "/healthz", "open", "Says that the process lives")
            .gives::<Value>(200, "alive"),
        route(
            "GET",
            "/readyz",
            "open",
            "Says whether requests can be served",
        )
        .gives::<Value>(200, "ready, with its checks")
        .gives::<Value>(503, "not ready, with its checks"),
        route("GET", "/metrics", "open", "Figures in Prometheus text form").gives_text(
            200,
            "figures",
            "application/openmetrics-text",
        ),
        route("GET", "/openapi.json", "open", "This document").gives::<Value>(200, "the document"),
        route(
            "GET",
            "/.well-known/jwks.json",
            "open",
            "Keys of development tokens; development servers only",
        )
        .gives::<Value>(200, "JSON Web Key Set")
        .fails(&[(404, "not a development server")]),
    ]);
    all
}

fn contract_routes() -> Vec<Route> {
    vec![
        route("POST", "/v1/tenants", "contract", "Creates a tenant")
            .takes::<CreateTenant>()
            .gives::<TenantCreated>(201, "created")
            .gives::<TenantCreated>(200, "exists with the same specification")
            .fails(&[
                (400, "malformed"),
                (409, "exists with another specification"),
                (422, "not valid"),
            ]),
        route(
            "GET",
            "/v1/tenants/active",
            "contract",
            "Lists the tenants that a service is active for",
        )
        .query(&[("service", "service name")])
        .gives::<Vec<ActiveTenant>>(200, "tenants")
        .fails(&[(400, "no service named")]),
        route(
            "GET",
            "/v1/tenants/{tenantId}",
            "contract",
            "Shows a tenant with its metadata",
        )
        .gives::<TenantView>(200, "the tenant")
        .fails(&[(404, "no such tenant")]),
        route(
            "POST",
            "/v1/tenants/{tenantId}/associations/{service}",
            "contract",
            "Associates a tenant with a service",
        )
        .takes::<AssociateService>()
        .gives::<AssociationCreated>(201, "associated; its databases are being made")
        .fails(&[
            (400, "malformed"),
            (404, "no such tenant"),
            (409, "associated already"),
            (422, "not valid"),
        ]),
        route(
            "GET",
            "/v1/tenants/{tenantId}/associations/{service}/connections",
            "contract",
            "Gives a product a tenant's connections, passwords included",
        )
        .gives::<TenantConfig>(200, "connections")
        .fails(&[
            (403, "suspended or purged, as `status` says"),
            (
                404,
                "no such tenant, not associated, or its databases are being made",
            ),
        ]),
        route(
            "GET",
            "/v1/tenants/{tenantId}/associations/{service}/principals",
            "contract",
            "Refuses: the parties whose tokens act for a tenant are the Access Manager's",
        )
        .fails(&[
            (404, "no such tenant"),
            (405, "known to the Access Manager"),
        ]),
        route(
            "PUT",
            "/v1/tenants/{tenantId}/associations/{service}/suspend",
            "contract",
            "Suspends a tenant in a service",
        )
        .gives::<Value>(200, "suspended")
        .fails(&[(404, "no such association"), (409, "suspended already")]),
        route(
            "PUT",
            "/v1/tenants/{tenantId}/reactivate",
            "contract",
            "Reactivates a tenant",
        )
        .gives::<Value>(200, "reactivated")
        .fails(&[(404, "no such tenant"), (409, "not suspended")]),
    ]
}

fn admin_routes() -> Vec<Route> {
    let mut all = vec![
        route(
            "GET",
            "/v1/admin/audit",
            "admin",
            "Lists the audit log, newest first",
        )
        .query(&[
            ("tenant", "about this tenant, by id or slug"),
            ("caller", "by this caller"),
            ("action", "of this action"),
            ("since", "not before this time"),
            ("until", "before this time"),
            ("order", "`newest` or `oldest` first"),
            PAGE[0],
            PAGE[1],
        ])
        .gives::<AuditPage>(200, "a page")
        .fails(&[(400, "malformed query"), (404, "no such tenant")]),
        route(
            "GET",
            "/v1/admin/audit/head",
            "admin",
            "Tells the end of the audit log, to be kept elsewhere",
        )
        .gives::<AuditHead>(200, "the end"),
        route(
            "GET",
            "/v1/admin/audit/verify",
            "admin",
            "Verifies a part of the audit log",
        )
        .query(&[
            (
                "after",
                "`SEQUENCE:HASH` of the entry before the part; the beginning when absent",
            ),
            (
                "anchors",
                "ends of the log that were kept elsewhere, `SEQUENCE:HASH` with commas between",
            ),
        ])
        .gives::<AuditVerification>(200, "what was found")
        .fails(&[(400, "malformed query")]),
        route(
            "GET",
            "/v1/admin/isolation",
            "admin",
            "Tells where the server's own check of isolation stands",
        )
        .gives::<IsolationStatus>(200, "what the last check said, and when"),
        route(
            "GET",
            "/v1/admin/isolation/report",
            "admin",
            "Returns the last report of the server's own check of isolation",
        )
        .gives::<IsolationAnswer>(200, "the report, with its attestation where it is signed")
        .fails(&[(404, "there is none")]),
        route(
            "POST",
            "/v1/admin/isolation/check",
            "admin",
            "Has the server check isolation as soon as no check is under way",
        )
        .takes::<IsolationRequest>()
        .gives::<IsolationStatus>(202, "asked for")
        .fails(&[
            (400, "malformed"),
            (409, "this server does not check by itself"),
        ]),
        route(
            "GET",
            "/v1/admin/rekey",
            "admin",
            "Tells which key seals how much of the registry",
        )
        .gives::<KeyStatus>(200, "the keys, never the keys themselves"),
        route(
            "POST",
            "/v1/admin/rekey",
            "admin",
            "Makes a new key and has every secret in the registry sealed with it",
        )
        .takes::<RekeyRequest>()
        .gives::<Rekey>(200, "the change, or its plan")
        .fails(&[(400, "malformed"), (409, "the plan changed")]),
        route("GET", "/v1/admin/openapi.json", "admin", "This document")
            .gives::<Value>(200, "the document"),
        route("GET", "/v1/admin/info", "admin", "Describes the server")
            .gives::<ServerInfo>(200, "the server"),
        route(
            "GET",
            "/v1/admin/services",
            "admin",
            "Lists the known services",
        )
        .gives::<Value>(200, "services by name"),
        route(
            "GET",
            "/v1/admin/tenants",
            "admin",
            "Lists or searches tenants, by slug",
        )
        .query(&[
            ("search", "part of slug, name or id"),
            ("status", "state"),
            ("environment", "environment"),
            ("service", "only tenants associated with it"),
            PAGE[0],
            PAGE[1],
        ])
        .gives::<TenantPage>(200, "a page")
        .fails(&[(400, "malformed query")]),
        change(
            route(
                "POST",
                "/v1/admin/tenants",
                "admin",
                "Creates, associates and provisions in one go",
            )
            .takes::<CreateTenantRequest>()
            .gives::<Change>(201, "created"),
        ),
        route(
            "GET",
            "/v1/admin/tenants/{tenant}",
            "admin",
            "Shows a tenant with services and databases",
        )
        .gives::<TenantRecord>(200, "the tenant")
        .fails(&[(404, "no such tenant")]),
        change(
            route(
                "PATCH",
                "/v1/admin/tenants/{tenant}",
                "admin",
                "Changes name, metadata, owner or pool settings",
            )
            .takes::<UpdateTenantRequest>(),
        ),
    ];
    for (verb, summary) in [
        ("suspend", "Refuses a tenant everywhere, keeping its data"),
        ("reactivate", "Serves a suspended tenant again"),
        (
            "rotate",
            "Gives a tenant new logins without a failed connection",
        ),
        ("purge", "Removes a tenant with all of its data"),
        ("provision", "Finishes or repairs a tenant's databases"),
        (
            "invalidate",
            "Tells products to drop what they cached of a tenant",
        ),
    ] {
        let path = match verb {
            "suspend" => "/v1/admin/tenants/{tenant}/suspend",
            "reactivate" => "/v1/admin/tenants/{tenant}/reactivate",
            "rotate" => "/v1/admin/tenants/{tenant}/rotate",
            "purge" => "/v1/admin/tenants/{tenant}/purge",
            "provision" => "/v1/admin/tenants/{tenant}/provision",
            _ => "/v1/admin/tenants/{tenant}/invalidate",
        };
        all.push(change(
            route("POST", path, "admin", summary).takes::<ChangeRequest>(),
        ));
    }
    all.push(
        route(
            "POST",
            "/v1/admin/tenants/{tenant}/verify",
            "admin",
            "Tries with a tenant's own login what it can reach",
        )
        .takes::<ChangeRequest>()
        .gives::<Verification>(200, "what was tried")
        .fails(&[(404, "no such tenant")]),
    );
    all.push(change(
        route(
            "POST",
            "/v1/admin/tenants/{tenant}/services/{service}",
            "admin",
            "Associates and provisions",
        )
        .takes::<AddServiceRequest>()
        .gives::<Change>(201, "associated"),
    ));
    for (path, summary) in [
        (
            "/v1/admin/tenants/{tenant}/services/{service}/suspend",
            "Refuses a tenant in one service",
        ),
        (
            "/v1/admin/tenants/{tenant}/services/{service}/reactivate",
            "Serves a tenant in a service again",
        ),
        (
            "/v1/admin/tenants/{tenant}/services/{service}/remove",
            "Ends an association, with its data or without",
        ),
    ] {
        all.push(change(
            route("POST", path, "admin", summary).takes::<ChangeRequest>(),
        ));
    }
    all.extend([
        route(
            "GET",
            "/v1/admin/databases",
            "admin",
            "Lists databases and schemas",
        )
        .query(&[("tenant", "id or slug"), ("service", "service name")])
        .gives::<DatabaseList>(200, "databases"),
        route(
            "GET",
            "/v1/admin/operations",
            "admin",
            "Lists operations, newest first",
        )
        .query(&[
            ("tenant", "id or slug"),
            ("state", "state"),
            PAGE[0],
            PAGE[1],
        ])
        .gives::<OperationPage>(200, "a page")
        .fails(&[(400, "malformed query")]),
        route(
            "GET",
            "/v1/admin/operations/{id}",
            "admin",
            "Shows an operation with its steps",
        )
        .gives::<OperationRecord>(200, "the operation")
        .fails(&[(404, "no such operation")]),
        route(
            "GET",
            "/v1/admin/operations/{id}/progress",
            "admin",
            "Streams an operation, one JSON object per line, until it ends",
        )
        .gives_text(
            200,
            "one operation record per line; blank lines are heartbeats",
            "application/x-ndjson",
        )
        .fails(&[(404, "no such operation")]),
    ]);
    all
}

fn key_routes() -> Vec<Route> {
    let malformed = (400, "malformed");
    let unknown = (404, "no such key");
    vec![
        route(
            "GET",
            "/v1/admin/keys",
            "admin",
            "Lists API keys, newest first",
        )
        .query(&[
            ("state", "`active` or `all`; active when absent"),
            ("search", "part of name or id"),
            PAGE[0],
            PAGE[1],
        ])
        .gives::<KeyPage>(200, "a page")
        .fails(&[(400, "malformed query")]),
        route(
            "POST",
            "/v1/admin/keys",
            "admin",
            "Creates an API key; shows its text once",
        )
        .takes::<CreateKeyRequest>()
        .gives::<KeyCreated>(201, "created")
        .fails(&[malformed, (409, "the name is taken"), (422, "not valid")]),
        route(
            "GET",
            "/v1/admin/keys/{key}",
            "admin",
            "Shows what is known of an API key",
        )
        .gives::<KeyRecord>(200, "the key; of several with one name the newest")
        .fails(&[unknown]),
        route(
            "POST",
            "/v1/admin/keys/{key}/rotate",
            "admin",
            "Makes a successor of an API key, and ends the old one after a grace period",
        )
        .takes::<RotateKeyRequest>()
        .gives::<KeyCreated>(201, "rotated")
        .fails(&[
            malformed,
            unknown,
            (409, "no longer active, or rotated already"),
            (422, "not valid"),
        ]),
        route(
            "POST",
            "/v1/admin/keys/{key}/revoke",
            "admin",
            "Withdraws an API key at once; by name, every active one of that name",
        )
        .takes::<RevokeKeyRequest>()
        .gives::<KeyPage>(200, "what was withdrawn")
        .fails(&[malformed, unknown, (422, "not valid")]),
    ]
}

/// Returns the OpenAPI 3.1 document.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let operation = operation(&route, &mut generator);
        if let Some(path) = paths
            .entry(route.path)
            .or_insert_with(|| json!({}))
            .as_object_mut()
        {
            path.insert(route.method.to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lerianctl Tenant Manager",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The Tenant Manager contract of Lerian's products (tag `contract`), and extensions under /v1/admin (tag `admin`).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "apiKey": [] }, { "operatorToken": [] }],
        "tags": [
            { "name": "contract", "description": "What Lerian's products call" },
            { "name": "admin", "description": "Extensions for operators" },
            { "name": "open", "description": "Health and figures; no key" },
        ],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "operatorToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of the Access Manager, where the server is told about one",
                },
            },
            "x-permissions": permissions(),
            "schemas": generator.take_definitions(true),
        },
    })
}

/// Returns every permission, with what it means and the roles that have it.
fn permissions() -> Value {
    let mut all = Map::new();
    for it in Permission::ALL {
        let roles: Vec<&str> = it.roles().iter().map(|role| role.as_str()).collect();
        all.insert(
            it.as_str().to_owned(),
            json!({ "description": it.what(), "roles": roles }),
        );
    }
    all.into()
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    parameters.extend(route.query.iter().map(|(name, what)| {
        let schema = if *name == "limit" {
            json!({ "type": "integer", "minimum": 1, "maximum": 1000 })
        } else {
            json!({ "type": "string" })
        };
        let required = route.path.ends_with("/active");
        json!({ "name": name, "in": "query", "required": required, "description": what, "schema": schema })
    }));
    let mut responses = Map::new();
    for answer in &route.answers {
        let content = json!({ answer.form: { "schema": (answer.make)(generator) } });
        responses.insert(
            answer.status.to_string(),
            json!({ "description": answer.what, "content": content }),
        );
    }
    if route.tag != "open" {
        let error = json!({ JSON: { "schema": of::<ErrorBody>(generator) } });
        let mut anywhere = vec![
            ("400", "malformed"),
            ("401", "no accepted API key or token"),
            ("403", "not permitted"),
            ("404", "there is nothing of that name"),
            ("422", "not valid"),
            (
                "429",
                "too many requests with this key; `Retry-After` says when to go on",
            ),
            ("503", "try again later"),
        ];
        if route.method != "GET" {
            anywhere.extend([
                ("408", "the body did not arrive in time"),
                ("409", "the state of things stands against it"),
                ("413", "the body is too large"),
            ]);
        }
        for (status, what) in anywhere {
            responses
                .entry(status)
                .or_insert_with(|| json!({ "description": what, "content": error }));
        }
    }
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "tags": [route.tag],
        "responses": responses,
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(make) = route.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": { JSON: { "schema": make(generator) } },
        });
    }
    if route.tag == "open" {
        operation["security"] = json!([]);
    } else {
        operation["x-permission"] = permission::needed(route.method, route.path).as_str().into();
    }
    operation
}

/// Returns a name made of method and path, such as `post_v1_tenants`.
fn operation_id(route: &Route) -> String {
    let path: Vec<&str> = route
        .path
        .split(['/', '.', '-'])
        .map(|part| part.trim_matches(['{', '}']))
        .filter(|part| !part.is_empty())
        .collect();
    format!("{}_{}", route.method.to_lowercase(), path.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route_once_and_no_dangling_reference() {
        let document = document();
        let count: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum();
        assert_eq!(count, routes().len());
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name} is not defined"
            );
        }
    }
}

//! Every route of the OpenAPI document is served, and guarded as the document says.

use lerianctl::contract::openapi::routes;

use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_served_and_guarded() {
    let server = Server::start_with(|settings| {
        settings.development_jwks = Some(serde_json::json!({ "keys": [] }));
    });
    let client = reqwest::Client::new();
    for route in routes() {
        let path = route
            .path
            .replace("{tenantId}", "7b0e1c5a9f3d4b62a1c8e4d7f0936b21")
            .replace("{tenant}", "nobody")
            .replace("{service}", "ledger")
            .replace("{id}", "019a1f7e-0000-7000-8000-000000000001");
        let method: reqwest::Method = route.method.parse().unwrap();
        let url = format!("{}{path}", server.url());
        let bare = client.request(method.clone(), &url).send().await.unwrap();
        let expected = if route.tag == "open" { None } else { Some(401) };
        if let Some(expected) = expected {
            assert_eq!(bare.status().as_u16(), expected, "{route:?} without a key");
        }
        let answer = client
            .request(method, &url)
            .header("X-API-Key", server.api_key().expose())
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        if route.only_refuses() {
            assert!((400..500).contains(&status), "{route:?}: {status} {body}");
        } else {
            assert_ne!(status, 405, "{route:?}: {body}");
        }
        assert!(
            !body.contains("route.not_found"),
            "{route:?} is not served: {status} {body}"
        );
        assert!(status < 500 || status == 503, "{route:?}: {status} {body}");
    }
    server.stop();
}

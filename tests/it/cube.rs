//! The Cube API's doors: who gets in, what the envelope is, and that a token never sees another project.

use crate::server::{Server, Wanted};
use crate::support::client::{Client, now_seconds, token, token_with};
use crate::support::events::{page_view, page_views};
use crate::support::{Random, SECRET};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const COUNT: &str = "TrackedEvents.count";

fn claims(project: &str) -> Value {
    json!({"appId": project, "iat": now_seconds(), "exp": now_seconds() + 180})
}

/// The token's three parts put together by hand, for what no library would make.
fn forge(header: &Value, payload: &str, signature: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{signature}", part(&header.to_string()), part(payload))
}

fn forged_tokens() -> Vec<(&'static str, String)> {
    let now = now_seconds();
    let good = token("shop");
    let parts: Vec<&str> = good.split('.').collect();
    let other = token_with(&claims("blog"), SECRET);
    let other_parts: Vec<&str> = other.split('.').collect();
    let payload = claims("shop").to_string();
    vec![
        (
            "another secret",
            token_with(&claims("shop"), "another-secret-of-thirty-two-bytes!!"),
        ),
        ("an empty secret", token_with(&claims("shop"), "")),
        (
            "expired",
            token_with(&json!({"appId": "shop", "exp": now - 181}), SECRET),
        ),
        (
            "not yet valid",
            token_with(&json!({"appId": "shop", "nbf": now + 3600, "exp": now + 7200}), SECRET),
        ),
        ("alg none", forge(&json!({"alg": "none", "typ": "JWT"}), &payload, "")),
        (
            "alg None with a signature",
            forge(&json!({"alg": "None"}), &payload, parts[2]),
        ),
        ("alg RS256", forge(&json!({"alg": "RS256"}), &payload, parts[2])),
        ("alg unknown", forge(&json!({"alg": "XX999"}), &payload, parts[2])),
        (
            "kid with a path",
            forge(&json!({"alg": "HS256", "kid": "../../dev/null"}), &payload, ""),
        ),
        (
            "jku",
            forge(
                &json!({"alg": "HS256", "jku": "http://127.0.0.1/k"}),
                &payload,
                parts[2],
            ),
        ),
        (
            "another token's payload",
            format!("{}.{}.{}", parts[0], other_parts[1], parts[2]),
        ),
        ("without a signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.{}", parts[2])),
        (
            "payload is no JSON",
            forge(&json!({"alg": "HS256"}), "not json", parts[2]),
        ),
        ("payload is an array", forge(&json!({"alg": "HS256"}), "[1]", parts[2])),
        ("not base64", "%%%.%%%.%%%".to_owned()),
        ("one word", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        (
            "a huge one",
            format!("{}.{}.{}", parts[0], "A".repeat(20_000), parts[2]),
        ),
    ]
}

#[test]
fn forged_tokens_get_403_and_cube_s_text() {
    let server = Server::start();
    let client = server.client();
    for (what, token) in forged_tokens() {
        for value in [token.clone(), format!("Bearer {token}")] {
            for call in ["load", "sql", "dry-run"] {
                let reply = client.cube(call, &value, &json!({"query": {"measures": [COUNT]}}));
                assert!(
                    reply.status == 403 || reply.status == 431,
                    "{what} on {call}: {} {}",
                    reply.status,
                    reply.text()
                );
                if reply.status == 403 {
                    assert_eq!(reply.json(), json!({"error": "Invalid token"}), "{what} on {call}");
                }
            }
        }
    }
}

#[test]
fn a_missing_token_is_403_with_cube_s_text() {
    let server = Server::start();
    let client = server.client();
    let body = json!({"query": {"measures": [COUNT]}});
    for path in ["/cubejs-api/v1/load", "/cubejs-api/v1/sql", "/cubejs-api/v1/dry-run"] {
        let reply = client.post(path, &body);
        assert_eq!(
            (reply.status, reply.json()),
            (403, json!({"error": "Authorization header isn't set"})),
            "{path}"
        );
    }
    let reply = client.get("/cubejs-api/v1/meta");
    assert_eq!(
        (reply.status, reply.json()),
        (403, json!({"error": "Authorization header isn't set"}))
    );
    for path in ["/readyz", "/livez"] {
        let reply = client.get(path);
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({"health": "HEALTH"})),
            "{path} needs no token"
        );
    }
}

#[test]
fn a_token_may_stand_bare_or_behind_bearer() {
    let server = Server::start();
    let client = server.client();
    let body = json!({"query": {"measures": [COUNT]}});
    for value in [token("shop"), format!("Bearer {}", token("shop"))] {
        assert_eq!(client.cube("load", &value, &body).status, 200);
    }
    let own = [
        ("x-cube-authorization", token("shop")),
        ("content-type", "application/json".to_owned()),
    ];
    let own: Vec<_> = own.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert_eq!(
        client
            .send("POST", "/cubejs-api/v1/load", &own, Some(body.to_string().as_bytes()))
            .status,
        200
    );
}

#[test]
fn get_and_post_bare_and_multi_agree() {
    let server = Server::start();
    let client = server.client();
    client.ingest("shop-key", &json!(page_views("e-", 12, now_seconds() - 60)));
    let query = json!({"measures": [COUNT], "dimensions": ["TrackedEvents.pageUrlpath"]});
    let bare = client.load("shop", &query).json();
    let multi = client
        .cube("load", &token("shop"), &json!({"query": query, "queryType": "multi"}))
        .json();
    assert_eq!(multi["queryType"], "regularQuery");
    assert_eq!(multi["results"][0]["data"], bare["data"]);
    assert_eq!(multi["slowQuery"], json!(false));
    assert!(multi["pivotQuery"].is_object());
    let encoded: String = query.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
    let headers = [("authorization", token("shop"))];
    let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let got = client.send("GET", &format!("/cubejs-api/v1/load?query={encoded}"), &headers, None);
    assert_eq!((got.status, &got.json()["data"]), (200, &bare["data"]));
    // client-core sends this header on its GETs after its first POST, with no body.
    let quirk = [headers[0], ("content-type", "application/json")];
    let got = client.send(
        "GET",
        &format!("/cubejs-api/v1/load?query={encoded}&queryType=multi"),
        &quirk,
        None,
    );
    assert_eq!((got.status, &got.json()["results"][0]["data"]), (200, &bare["data"]));
    // Clients join a base that ends in a slash with a path that begins with one.
    let doubled = client.send("GET", &format!("//cubejs-api//v1/load?query={encoded}"), &headers, None);
    assert_eq!(doubled.status, 200, "{}", doubled.text());
}

#[test]
fn an_unknown_project_is_an_empty_one() {
    let server = Server::start();
    let client = server.client();
    for project in ["nobody-knows-me", "gitlab_project_42"] {
        assert_eq!(client.count(project), 0);
        let headers = [("authorization", token(project))];
        let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(client.send("GET", "/cubejs-api/v1/meta", &headers, None).status, 200);
    }
}

/// Words that stand only in one project's data.
fn canaries(project: &str) -> [String; 3] {
    [
        format!("canary-id-{project}"),
        format!("/canary-path-{project}"),
        format!("canary-title-{project}"),
    ]
}

fn plant(client: &Client, project: &str, key: &str) {
    let [id, path, title] = canaries(project);
    let events = (0..40).map(|n| {
        let mut event = page_view(
            &format!("{id}-{n}"),
            &format!("visitor-{project}-{n}"),
            &format!("{path}/{}", n % 4),
            now_seconds() - 600,
        );
        event["title"] = json!(format!("{title}-{n}"));
        event
    });
    let events: Vec<Value> = events.collect();
    assert_eq!(client.ingest(key, &json!(events)).status, 200);
}

/// A query over everything a client can name, some of it nonsense.
fn some_query(random: &mut Random, foreign: &str) -> Value {
    let dimensions = [
        "eventId",
        "pageUrl",
        "pageUrlpath",
        "pageTitle",
        "userId",
        "eventName",
        "nonesuch",
    ];
    let operators = [
        "equals",
        "notEquals",
        "contains",
        "startsWith",
        "set",
        "gt",
        "inDateRange",
        "nonesuch",
    ];
    let pick = |random: &mut Random, list: &[&str]| list[random.below(list.len() as u64) as usize].to_owned();
    let [id, path, title] = canaries(foreign);
    let values = [
        id,
        path,
        title,
        "%".to_owned(),
        "' OR 1=1 --".to_owned(),
        "2024-01-01".to_owned(),
    ];
    let mut query = json!({"limit": 1000});
    if random.below(2) == 0 {
        query["measures"] = json!([format!(
            "TrackedEvents.{}",
            pick(random, &["count", "uniqueUsersCount", "nonesuch"])
        )]);
    }
    if random.below(4) > 0 {
        query["dimensions"] = json!([format!("TrackedEvents.{}", pick(random, &dimensions))]);
    }
    if random.below(2) == 0 {
        let value = &values[random.below(values.len() as u64) as usize];
        query["filters"] = json!([{
            "member": format!("TrackedEvents.{}", pick(random, &dimensions)), "operator": pick(random, &operators), "values": [value],
        }]);
    }
    query
}

/// The reply without the parts that echo the client's own words.
fn answers_only(text: &str, query: &Value) -> String {
    let mut text = text.to_owned();
    for word in query.to_string().split('"').filter(|word| word.len() > 3) {
        text = text.replace(word, "");
    }
    text
}

#[test]
fn a_token_never_sees_another_project() {
    let server = Server::start_with(Wanted::flushing(50, 50));
    let client = server.client();
    plant(&client, "shop", "shop-key");
    plant(&client, "blog", "blog-key");
    server.flush();
    plant(&client, "shop", "shop-key");
    let mut random = Random::new(20);
    for n in 0..300 {
        let (own, foreign) = if n % 2 == 0 { ("shop", "blog") } else { ("blog", "shop") };
        let query = some_query(&mut random, foreign);
        let calls = if n % 10 == 0 {
            &["load", "sql", "dry-run"][..]
        } else {
            &["load"]
        };
        for call in calls {
            let reply = client.cube(call, &token(own), &json!({ "query": query }));
            assert!(reply.status < 500, "{query}: {}", reply.text());
            let told = answers_only(&reply.text(), &query);
            for canary in canaries(foreign).iter().chain([&format!("visitor-{foreign}")]) {
                assert!(
                    !told.contains(canary.as_str()),
                    "{own} saw `{canary}` in the answer to {query}: {told}"
                );
            }
        }
    }
    for (own, foreign) in [("shop", "blog"), ("blog", "shop"), ("nobody", "shop")] {
        let meta = client
            .send("GET", "/cubejs-api/v1/meta", &[("authorization", &token(own))], None)
            .text();
        assert!(!meta.contains(&format!("canary-id-{foreign}")));
    }
}

#[test]
fn claims_that_name_no_project_get_nothing() {
    let server = Server::start();
    let client = server.client();
    plant(&client, "shop", "shop-key");
    let exp = now_seconds() + 180;
    let odd = [
        json!({"exp": exp}),
        json!({"exp": exp, "appId": null}),
        json!({"exp": exp, "appId": 7}),
        json!({"exp": exp, "appId": ["shop"]}),
        json!({"exp": exp, "appId": {"$ne": ""}}),
        json!({"exp": exp, "appId": ""}),
        json!({"exp": exp, "appId": "../shop"}),
        json!({"exp": exp, "appId": "shop\u{0}"}),
        json!({"exp": exp, "appId": "shop/"}),
        json!({"exp": exp, "appId": "SHOP"}),
        json!({"exp": exp, "appId": " shop"}),
        json!({"exp": exp, "appId": "x".repeat(5000)}),
    ];
    for claims in odd {
        let reply = client.cube(
            "load",
            &token_with(&claims, SECRET),
            &json!({"query": {"measures": [COUNT]}}),
        );
        match reply.status {
            200 => assert_eq!(reply.json()["data"][0][COUNT], "0", "{claims}"),
            403 => assert!(reply.json()["error"].is_string(), "{claims}"),
            status => panic!("{claims}: {status} {}", reply.text()),
        }
    }
}

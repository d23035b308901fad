//! Two projects and two policies, asked the same questions over the same connections: no row, no name and no kept answer
//! of one is ever seen by the other.
//!
//! `TALLY_TENANT_PAIRS` sets how many random pairs are asked.

use crate::server::{Server, Wanted};
use crate::support::client::{Client, now_seconds, token_with};
use crate::support::events::page_view;
use crate::support::{Random, SECRET, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

/// Pairs of queries when the environment says nothing.
const PAIRS_DEFAULT: u64 = 150;

const PROJECTS: [(&str, &str); 2] = [("shop", "shop-key"), ("blog", "blog-key")];
const REGIONS: [&str; 3] = ["north", "south", "west"];
const VISITORS: u64 = 7;
const EVENTS: u64 = 180;

/// What every project sees. The first part of a page's path is its project, the second its region.
const SHARED: &str = r#"
cubes:
  - name: Guarded
    sql: SELECT *, split_part(page_path, '/', 3) AS region, split_part(page_path, '/', 2) AS owner FROM events
    measures:
      - {name: count, type: count}
      - {name: visitors, type: count_distinct, sql: anonymous_id}
      - {name: hidden_count, type: count}
    dimensions:
      - {name: id, type: string, sql: event_id, primary_key: true, public: true}
      - {name: region, type: string, sql: "{CUBE}.region"}
      - {name: owner, type: string, sql: "{CUBE}.owner"}
      - {name: visitor, type: string, sql: anonymous_id, mask: nobody}
    segments:
      - {name: mine, sql: "{SECURITY_CONTEXT.region.filter('region')}"}
    access_policy:
      - group: regional
        member_level: {includes: "*", excludes: [hidden_count]}
        row_level:
          filters:
            - {member: region, operator: equals, values: ["{ securityContext.region }"]}
      - group: masked
        conditions: [{if: "{ securityContext.region in ['north', 'south'] }"}]
        member_level: {includes: [count, region, owner, id]}
        member_masking: {includes: [visitor]}
  - name: Plain
    sql: SELECT *, split_part(page_path, '/', 3) AS region, split_part(page_path, '/', 2) AS owner FROM events WHERE {SECURITY_CONTEXT.region.requiredFilter("split_part(page_path, '/', 3)")}
    measures: [{name: count, type: count}]
    dimensions:
      - {name: region, type: string, sql: "{CUBE}.region"}
      - {name: owner, type: string, sql: "{CUBE}.owner"}
"#;

/// Somebody who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Asker {
    project: usize,
    region: usize,
    /// `regional`, `masked`, or none.
    group: usize,
}

impl Asker {
    fn random(random: &mut Random) -> Self {
        Self {
            project: random.below(2) as usize,
            region: random.below(3) as usize,
            group: random.below(3) as usize,
        }
    }

    fn token(self) -> String {
        let groups: &[&str] = [&["regional"][..], &["masked"], &[]][self.group];
        token_with(
            &json!({
                "appId": PROJECTS[self.project].0, "region": REGIONS[self.region], "groups": groups,
                "iat": now_seconds(), "exp": now_seconds() + 600,
            }),
            SECRET,
        )
    }

    fn other_project(self) -> &'static str {
        PROJECTS[1 - self.project].0
    }
}

struct Row {
    project: usize,
    region: usize,
    visitor: u64,
}

fn rows() -> Vec<Row> {
    let mut random = Random::new(41);
    let row = |_| Row {
        project: random.below(2) as usize,
        region: random.below(3) as usize,
        visitor: random.below(VISITORS),
    };
    (0..EVENTS).map(row).collect()
}

fn ingest(client: &Client, rows: &[Row]) {
    for (project, (name, key)) in PROJECTS.iter().enumerate() {
        let own = rows.iter().enumerate().filter(|(_, row)| row.project == project);
        let events: Vec<Value> = own
            .map(|(at, row)| {
                let path = format!("/{name}/{}/page", REGIONS[row.region]);
                page_view(
                    &format!("{name}-{at}"),
                    &format!("{name}-visitor-{}", row.visitor),
                    &path,
                    1_710_000_000 + at as u64,
                )
            })
            .collect();
        assert_eq!(client.ingest(key, &json!(events)).status, 200);
    }
}

/// A question to the guarded cube or to the one whose SQL names the claim.
#[derive(Debug, Clone)]
struct Question {
    query: Value,
    guarded: bool,
    dimensions: Vec<&'static str>,
    narrowed: Option<usize>,
    denied_measure: bool,
}

impl Question {
    fn random(random: &mut Random) -> Self {
        let guarded = random.below(4) > 0;
        let cube = if guarded { "Guarded" } else { "Plain" };
        let all: &[&'static str] = match guarded {
            true => &["region", "owner", "visitor"],
            false => &["region", "owner"],
        };
        let dimensions: Vec<&'static str> = all.iter().copied().filter(|_| random.below(2) == 0).collect();
        let denied_measure = guarded && random.below(8) == 0;
        let measure = if denied_measure { "hidden_count" } else { "count" };
        let narrowed = (random.below(3) == 0).then(|| random.below(3) as usize);
        let mut query = json!({
            "measures": [format!("{cube}.{measure}")],
            "dimensions": dimensions.iter().map(|name| format!("{cube}.{name}")).collect::<Vec<_>>(),
        });
        if let Some(region) = narrowed {
            query["filters"] =
                json!([{"member": format!("{cube}.region"), "operator": "equals", "values": [REGIONS[region]]}]);
        }
        if guarded && random.below(5) == 0 {
            query["segments"] = json!(["Guarded.mine"]);
        }
        Self {
            query,
            guarded,
            dimensions,
            narrowed,
            denied_measure,
        }
    }

    /// The events that `asker` may count here; `None` when the answer must be refused or empty.
    fn counted(&self, asker: Asker, rows: &[Row]) -> Option<u64> {
        if self.guarded {
            let granted = match asker.group {
                0 => !self.denied_measure,
                1 => asker.region < 2 && !self.denied_measure && self.query.get("segments").is_none(),
                _ => false,
            };
            if !granted {
                return None;
            }
        }
        let only_own = !self.guarded || asker.group == 0 || self.query.get("segments").is_some();
        let seen = rows.iter().filter(|row| {
            row.project == asker.project
                && (!only_own || row.region == asker.region)
                && self.narrowed.is_none_or(|region| row.region == region)
        });
        Some(seen.count() as u64)
    }
}

/// What must never be read by `asker`: the other project's name in a value, the name of a cube or member of its model.
fn check_no_trace(asker: Asker, text: &str, what: &dyn std::fmt::Debug) {
    let other = asker.other_project();
    for trace in [
        format!("{other}-visitor"),
        format!("\"{other}\""),
        format!("Only{other}"),
        format!("secret_of_{other}"),
    ] {
        assert!(!text.contains(&trace), "{asker:?} read `{trace}` in {text} of {what:?}");
    }
}

fn check(client: &Client, asker: Asker, question: &Question, rows: &[Row]) {
    let reply = client.cube("load", &asker.token(), &json!({ "query": question.query }));
    let text = reply.text();
    check_no_trace(asker, &text, question);
    let Some(expected) = question.counted(asker, rows) else {
        let hidden = reply.status == 500 && text.contains("You requested hidden member");
        let empty = reply.status == 200 && reply.json()["data"] == json!([]);
        // A count over no rows is one row, but only of a member that the asker may know.
        assert!(
            hidden || empty || counted(&reply.json()) == 0,
            "{asker:?} {question:?}: {text}"
        );
        return;
    };
    assert_eq!(reply.status, 200, "{asker:?} {question:?}: {text}");
    let json = reply.json();
    assert_eq!(counted(&json), expected, "{asker:?} {question:?}: {text}");
    for row in json["data"].as_array().unwrap() {
        for (name, value) in row.as_object().unwrap() {
            let value = value.as_str().unwrap_or_default();
            match name.rsplit('.').next().unwrap() {
                "owner" => assert_eq!(value, PROJECTS[asker.project].0),
                "region" if asker.group == 0 || !question.guarded => assert_eq!(value, REGIONS[asker.region]),
                "visitor" if asker.group == 1 => assert_eq!(value, "nobody"),
                _ => {}
            }
        }
    }
    assert!(question.dimensions.len() < 4);
}

/// The sum of the counts of an answer.
fn counted(body: &Value) -> u64 {
    let rows = body["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let counts = rows.iter().flat_map(|row| row.as_object().unwrap());
    let counts = counts.filter(|(name, _)| name.ends_with("count"));
    counts
        .map(|(_, value)| value.as_str().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn check_meta(client: &Client, asker: Asker) {
    let headers = asker.token();
    let reply = client.send(
        "GET",
        "/cubejs-api/v1/meta?extended",
        &[("authorization", &headers)],
        None,
    );
    let text = reply.text();
    assert_eq!(reply.status, 200, "{text}");
    check_no_trace(asker, &text, &"meta");
    assert!(text.contains(&format!("Only{}", PROJECTS[asker.project].0)), "{text}");
    let shown = |name: &str| text.contains(&format!("\"{name}\""));
    assert!(!shown("Guarded.hidden_count"), "{asker:?}");
    assert_eq!(
        shown("Guarded.count"),
        asker.group == 0 || (asker.group == 1 && asker.region < 2),
        "{asker:?}"
    );
    assert_eq!(shown("Guarded.visitors"), asker.group == 0, "{asker:?}");
}

/// Names that only the other project's model has are as unknown as any.
fn check_foreign_names(client: &Client, asker: Asker) {
    let other = asker.other_project();
    let ask = |member: &str| {
        let reply = client.cube("load", &asker.token(), &json!({"query": {"measures": [member]}}));
        (reply.status, reply.error())
    };
    let (status, error) = ask(&format!("Only{other}.secret_of_{other}"));
    let (unknown, text) = ask("Nothing.at_all");
    assert_eq!(status, unknown);
    assert_eq!(
        error
            .replace(&format!("Only{other}.secret_of_{other}"), "M")
            .replace(&format!("Only{other}"), "C"),
        text.replace("Nothing.at_all", "M").replace("Nothing", "C")
    );
}

#[test]
fn random_pairs_of_askers_never_see_each_other() {
    let pairs = std::env::var("TALLY_TENANT_PAIRS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(PAIRS_DEFAULT);
    let server = Server::start_with(Wanted::default());
    let models = server.models_dir();
    std::fs::create_dir_all(&models).unwrap();
    std::fs::write(models.join("shared.yml"), SHARED).unwrap();
    for (name, _) in PROJECTS {
        let folder = models.join("projects").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let own = format!(
            "cubes:\n- name: Only{name}\n  sql_table: events\n  measures: [{{name: secret_of_{name}, type: count}}]\n"
        );
        std::fs::write(folder.join("own.yml"), own).unwrap();
    }
    let client = server.client();
    let rows = rows();
    ingest(&client, &rows);
    for (project, (name, _)) in PROJECTS.iter().enumerate() {
        let asker = Asker {
            project,
            region: 0,
            group: 0,
        };
        wait_for("the models are read", Duration::from_secs(20), || {
            let reply = client.send("GET", "/cubejs-api/v1/meta", &[("authorization", &asker.token())], None);
            (reply.text().contains(&format!("Only{name}")) && reply.text().contains("Guarded.count")).then_some(())
        });
        assert_eq!(server.model_problems(name), Vec::<String>::new());
    }
    let mut random = Random::new(7);
    for pair in 0..pairs {
        let (one, two) = (Asker::random(&mut random), Asker::random(&mut random));
        let question = Question::random(&mut random);
        // The same question by one, by the other and by the first again: an answer that is kept for one is not the other's.
        for asker in [one, two, one] {
            check(&client, asker, &question, &rows);
        }
        if pair % 10 == 0 {
            check_meta(&client, one);
            check_foreign_names(&client, two);
        }
    }
}

#[test]
fn a_token_reaches_only_what_its_scopes_allow() {
    let mut wanted = Wanted::default();
    wanted.settings.scopes_claim = Some("scope".to_owned());
    let server = Server::start_with(wanted);
    let client = server.client();
    let token = |scope: Option<&str>| {
        let mut claims = json!({"appId": "shop", "exp": now_seconds() + 600});
        if let Some(scope) = scope {
            claims["scope"] = json!(scope);
        }
        token_with(&claims, SECRET)
    };
    let query = json!({"query": {"measures": ["TrackedEvents.count"]}});
    let calls = [
        ("load", "data"),
        ("dry-run", "data"),
        ("sql", "sql"),
        ("pre-aggregations/jobs", "jobs"),
    ];
    for (call, needed) in calls {
        let refused = client.cube(call, &token(Some("openid meta")), &query);
        assert_eq!(
            (refused.status, refused.error()),
            (403, format!("API scope is missing: {needed}")),
            "{call}"
        );
        let allowed = client.cube(call, &token(Some(&format!("openid {needed}"))), &query);
        assert_ne!(allowed.status, 403, "{call}: {}", allowed.text());
        let default = client.cube(call, &token(None), &query);
        assert_eq!(default.status == 403, needed == "jobs", "{call}: {}", default.text());
    }
    let meta = |scope: &str| {
        let token = token(Some(scope));
        client
            .send("GET", "/cubejs-api/v1/meta", &[("authorization", &token)], None)
            .status
    };
    assert_eq!((meta("meta"), meta("data")), (200, 403));
}

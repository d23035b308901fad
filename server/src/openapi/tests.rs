use super::*;
use serde_json::Value;

/// The document as it is kept for readers.
const KEPT: &str = include_str!("../../../schemas/openapi.json");

fn written() -> Value {
    serde_json::to_value(document("/cubejs-api")).unwrap()
}

#[test]
fn the_kept_document_is_the_servers() {
    let kept: Value = serde_json::from_str(KEPT).unwrap_or_default();
    if kept != written() {
        let path = std::env::temp_dir().join("openapi.json");
        let text = serde_json::to_string_pretty(&written()).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
        panic!("schemas/openapi.json is behind: copy {} over it", path.display());
    }
}

#[test]
fn every_route_is_described() {
    let document = written();
    let described = |method: &Method, path: &str| {
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        assert!(operation["responses"]["200"].is_object(), "{method} {path}");
    };
    for route in ROUTES {
        for method in route.methods {
            described(method, &format!("/cubejs-api{}", route.path.replace("{}", "{id}")));
        }
    }
    for route in admin::ROUTES {
        described(&Method::GET, route.path);
    }
    for operation in admin::OPERATIONS {
        described(
            &Method::POST,
            &format!("{}{}", admin::operations::PREFIX, operation.name),
        );
    }
    let protocols = PROTOCOLS.iter().flat_map(|protocol| protocol.routes);
    for (methods, path) in protocols {
        for method in *methods {
            match path {
                Path::Is(exact) => described(method, exact),
                Path::Begins(start) => described(method, &format!("{start}{{rest}}")),
                Path::VendorVersion => described(method, "/{vendor}/{version}"),
            }
        }
    }
}

#[test]
fn ids_of_operations_differ() {
    let document = written();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.values().flat_map(|item| item.as_object().unwrap().values());
    let mut ids: Vec<&str> = operations
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), count > 10), (count, true));
}

use super::*;
use crate::query::tests::{Fixture, run_cases, samples};

const MODEL: &str = include_str!("tests/model.yml");

#[tokio::test]
async fn cases() {
    let fixture = Fixture::new(MODEL, &samples());
    run_cases(&fixture, &[("params.case", include_str!("tests/params.case"))]).await;
}

fn rendered(reference: &str) -> Result<String> {
    let expand = |template: &SqlTemplate| Ok(template.source.replace("{CUBE}", "\"C\""));
    let around = Surroundings {
        cube: "C",
        kind_of: &|_, _| None,
        expand: &expand,
    };
    render(reference, &around)
}

#[test]
fn references_become_markers() {
    let cases = [
        ("SECURITY_CONTEXT.a.b", "security_value('[\"a\",\"b\"]')"),
        ("securityContext['it''s'].unsafeValue()", ""),
        (
            "SECURITY_CONTEXT.a.filter('t.x')",
            "security_filter('[\"a\"]', 't.x', false, (t.x))",
        ),
        (
            "SECURITY_CONTEXT.a.requiredFilter(f\"{CUBE}.x\")",
            "security_filter('[\"a\"]', '{CUBE}.x', true, (\"C\".x))",
        ),
        ("FILTER_PARAMS.CUBE.m.filter('x')", "filter_params('C.m', (x))"),
        (
            "FILTER_PARAMS.C.m.time_shifts.year.filter('x')",
            "filter_params('C.m', NULL)",
        ),
        (
            "FILTER_GROUP(FILTER_PARAMS.C.m.filter('x'), FILTER_PARAMS.D.n.filter('y'))",
            "filter_params('C.m', (x),'D.n', (y))",
        ),
        ("SQL_UTILS.convertTz('x')", "convert_tz((x))"),
        ("SECURITY_CONTEXT.a.drop('x')", ""),
        ("SECURITY_CONTEXT.a.filter()", ""),
        ("SECURITY_CONTEXT.a.filter('x') OR 1=1", ""),
        ("FILTER_GROUP('x')", ""),
        ("FILTER_PARAMS.C.m", ""),
        ("COMPILE_CONTEXT.securityContext", ""),
        ("FILTER_PARAMS.C.m.filter(lambda x 'y')", ""),
        ("FILTER_PARAMS.C.m.filter('y)", ""),
    ];
    for (reference, expected) in cases {
        let got = rendered(reference);
        match expected.is_empty() {
            true => assert!(got.is_err(), "{reference}: {got:?}"),
            false => assert_eq!(got.unwrap(), expected, "{reference}"),
        }
    }
}

#[test]
fn quoted_texts_are_taken_apart_around_a_reference() {
    let shown = |sql: &str| -> String {
        let template = SqlTemplate::parse(sql, Default::default()).unwrap();
        let pieces = pieces(&template);
        let text = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            _ => "@".to_owned(),
        });
        text.collect()
    };
    let cases = [
        ("a = {SECURITY_CONTEXT.x}", "a = @"),
        ("a = '{SECURITY_CONTEXT.x}' b", "a = ('' || @ || '') b"),
        (
            "a = 'b{SECURITY_CONTEXT.x}c{SECURITY_CONTEXT.y}d'::text",
            "a = ('b' || @ || 'c' || @ || 'd')::text",
        ),
        ("'{SECURITY_CONTEXT.x}{SECURITY_CONTEXT.y}'", "('' || @ || @ || '')"),
        ("'it''s {SECURITY_CONTEXT.x}' || 'no'", "('it''s ' || @ || '') || 'no'"),
        ("'plain' = {SECURITY_CONTEXT.x}", "'plain' = @"),
        ("'plain {CUBE}'", "'plain @'"),
    ];
    for (sql, expected) in cases {
        assert_eq!(shown(sql), expected, "{sql}");
    }
}

use super::{Piece, SqlTemplate};
use crate::model::Location;

fn parse(source: &str) -> Result<Vec<Piece>, String> {
    SqlTemplate::parse(source, Location::default()).map(|template| template.pieces)
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn member(name: &str) -> Piece {
    Piece::Member(name.to_owned())
}

#[test]
fn references_are_split_out() {
    let filter = "FILTER_PARAMS.C.date.filter('ts')";
    let cases = [
        ("page_url", vec![text("page_url")]),
        ("{CUBE}.page_url = 'a'", vec![Piece::Cube, text(".page_url = 'a'")]),
        ("{CUBE.count}", vec![member("count")]),
        (
            "1.0 * {a} / NULLIF({ b }, 0)",
            vec![
                text("1.0 * "),
                member("a"),
                text(" / NULLIF("),
                member("b"),
                text(", 0)"),
            ],
        ),
        ("${CUBE}.x + ${y}", vec![Piece::Cube, text(".x + "), member("y")]),
        ("{Other.m}", vec![Piece::OtherMember("Other".into(), "m".into())]),
        (r"x ~ 'a\{2\}\d'", vec![text(r"x ~ 'a{2}\d'")]),
        (
            &format!("a AND {{{filter}}} b"),
            vec![text("a AND "), Piece::Context(filter.into()), text(" b")],
        ),
        (
            "{FILTER_PARAMS.C.d.filter(lambda x, y: f\"t >= {x}\")}",
            vec![Piece::Context(
                "FILTER_PARAMS.C.d.filter(lambda x, y: f\"t >= {x}\")".into(),
            )],
        ),
        (
            "{SECURITY_CONTEXT.tenant.filter('t')}",
            vec![Piece::Context("SECURITY_CONTEXT.tenant.filter('t')".into())],
        ),
        (
            "{CUBE.created.month}",
            vec![Piece::Context("CUBE.created.month".into())],
        ),
        ("", vec![]),
    ];
    for (source, pieces) in cases {
        assert_eq!(parse(source), Ok(pieces), "{source}");
    }
}

#[test]
fn wrong_braces_are_named() {
    for (source, part) in [
        ("a } b", "without `{`"),
        ("a {CUBE", "no closing"),
        ("{1 + 2}", "is no reference"),
        ("{}", "is no reference"),
        ("{{ jinja }}", "Jinja tag"),
    ] {
        let error = parse(source).expect_err(source);
        assert!(error.contains(part), "{source}: {error}");
    }
}

#[test]
fn names_are_sorted_when_all_cubes_are_known() {
    let source = "{E} {E.m} {m} {Other} {Other.x} {CUBE}";
    let mut template = SqlTemplate::parse(source, Location::default()).unwrap();
    let other = |cube: &str, member: Option<&str>| cube == "Other" && matches!(member, None | Some("x"));
    template.resolve(&["E"], |name| name == "m", other).unwrap();
    let references: Vec<_> = template.pieces.into_iter().filter(|p| *p != text(" ")).collect();
    let expected = [
        Piece::Cube,
        member("m"),
        member("m"),
        Piece::OtherCube("Other".into()),
        Piece::OtherMember("Other".into(), "x".into()),
        Piece::Cube,
    ];
    assert_eq!(references, expected);
    for (source, unknown) in [("{zzz}", "zzz"), ("{E.zzz}", "E.zzz"), ("{Other.y}", "Other.y")] {
        let mut template = SqlTemplate::parse(source, Location::default()).unwrap();
        assert_eq!(
            template.resolve(&["E"], |name| name == "m", other),
            Err(unknown.to_owned())
        );
    }
}

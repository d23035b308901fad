use super::*;
use crate::limits;
use crate::model::read::read_file;
use crate::model::{MeasureType, Member};

fn cubes(text: &str) -> Assembled {
    let content = read_file(&Arc::from("x.yml"), text);
    assert!(
        !content.problems.iter().any(Problem::is_error),
        "{:?}",
        content.problems
    );
    assemble(&[Input::Fresh(Layer::Shared, &content.cubes)])
}

const PARENT: &str = "
cubes:
  - name: Parent
    title: The parent
    sql: SELECT 1 AS x WHERE {FILTER_PARAMS.Parent.a.filter('x')}
    description: About
    measures:
      - {name: first, type: count, drill_members: [a, Parent.b]}
      - {name: second, type: sum, sql: '{Parent}.x'}
      - {name: third, type: number, sql: '{Parent.first} / {second}'}
    dimensions:
      - {name: a, type: string, sql: x}
      - {name: b, type: string, sql: y}
";

#[test]
fn a_child_has_its_parents_members_first_and_its_own_in_their_place() {
    let text = format!(
        "{PARENT}  - name: Child\n    extends: Parent\n    measures:\n      - {{name: own, type: count}}\n      - {{name: second, type: avg, sql: x}}\n"
    );
    let all = cubes(&text);
    assert_eq!(all.problems, []);
    let child = &all.cubes["Child"];
    let names: Vec<&str> = child.measures.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third", "own"]);
    assert_eq!(child.measure("second").unwrap().kind, MeasureType::Avg);
    assert_eq!(child.title, "Child");
    assert_eq!(child.description.as_deref(), Some("About"));
    // What the parent says of itself is said of the child.
    assert_eq!(child.measure("first").unwrap().drill_members, ["Child.a", "Child.b"]);
    let third = child.measure("third").unwrap().sql.clone().unwrap();
    assert_eq!(third.pieces[0], Piece::Member("first".to_owned()));
    let CubeSource::Sql(sql) = &child.source else {
        panic!("a query")
    };
    assert!(
        sql.pieces
            .contains(&Piece::Context("FILTER_PARAMS.Child.a.filter('x')".to_owned()))
    );
    let parent = &all.cubes["Parent"];
    assert_eq!(
        parent.measure("second").unwrap().sql.as_ref().unwrap().pieces[0],
        Piece::Cube
    );
}

#[test]
fn an_alias_is_a_whole_cube_that_speaks_of_itself() {
    let all = cubes(&PARENT.replace("    title:", "    aliases: [OldName]\n    title:"));
    assert_eq!(all.problems, []);
    let alias = &all.cubes["OldName"];
    assert_eq!(alias.alias_of.as_deref(), Some("Parent"));
    assert_eq!(alias.title, "Old Name");
    assert_eq!(
        alias.measure("first").unwrap().drill_members,
        ["OldName.a", "OldName.b"]
    );
    assert!(
        matches!(alias.member("second"), Some(Member::Measure(m)) if m.sql.as_ref().unwrap().pieces[0] == Piece::Cube)
    );
}

#[test]
fn members_that_need_a_join_say_that_they_are_not_answered() {
    let text = "
cubes:
  - name: A
    sql_table: events
    joins:
      - {name: B, relationship: many_to_one, sql: '{CUBE}.x = {B}.x'}
    dimensions:
      - {name: id, type: string, sql: id, primary_key: true}
      - {name: other, type: string, sql: '{B.name}'}
      - {name: raw, type: string, sql: '{B}.name'}
  - name: B
    sql_table: events
    dimensions:
      - {name: name, type: string, sql: name}
";
    let all = cubes(text);
    assert_eq!(all.problems, []);
    let cube = &all.cubes["A"];
    let unsupported = |name: &str| cube.dimension(name).unwrap().unsupported.clone();
    assert_eq!(unsupported("id"), None);
    assert_eq!(unsupported("other").as_deref(), Some("joins"));
    assert_eq!(unsupported("raw").as_deref(), Some("joins"));
}

#[test]
fn a_cube_with_rules_of_access_refuses_all_of_its_members() {
    let text = "cubes:\n- name: A\n  sql_table: t\n  access_policy: [{role: '*'}]\n  measures: [{name: c, type: count}]\n  segments: [{name: s, sql: x}]\n- name: B\n  extends: A\n";
    let content = read_file(&Arc::from("x.yml"), text);
    let all = assemble(&[Input::Fresh(Layer::Shared, &content.cubes)]);
    for cube in ["A", "B"] {
        assert_eq!(
            all.cubes[cube].measures[0].unsupported.as_deref(),
            Some("access_policy")
        );
        assert_eq!(
            all.cubes[cube].segments[0].unsupported.as_deref(),
            Some("access_policy")
        );
    }
}

#[test]
fn a_long_chain_of_references_is_refused_and_a_bearable_one_is_not() {
    let chain = |length: usize, sql: &str| {
        let mut text =
            "cubes:\n- name: A\n  sql_table: t\n  dimensions:\n  - {name: d0, type: number, sql: x}\n".to_owned();
        for n in 1..length {
            let sql = sql.replace('d', &format!("d{}", n - 1));
            text += &format!("  - {{name: d{n}, type: number, sql: '{sql}'}}\n");
        }
        cubes(&text).problems.len()
    };
    assert_eq!(chain(limits::MODEL_REFERENCE_DEPTH_MAX, "{d} + 1"), 0);
    assert_eq!(chain(limits::MODEL_REFERENCE_DEPTH_MAX + 1, "{d} + 1"), 1);
    // Each step doubles the SQL: what grows out of hand is refused, and found without making it.
    assert_eq!(chain(12, "{d} + {d}"), 0);
    assert!(chain(30, "{d} + {d}") > 0);
}

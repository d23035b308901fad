use super::*;
use crate::limits;
use crate::model::read::read_file;
use crate::model::{Audience, MeasureType, Member, Piece};

fn cubes(text: &str) -> Assembled {
    let content = read_file(&Arc::from("x.yml"), text);
    assert!(
        !content.problems.iter().any(Problem::is_error),
        "{:?}",
        content.problems
    );
    assemble(&[Input::Fresh(Layer::Shared, &content)])
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
    assert_eq!(child.title, "The parent");
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
fn members_may_refer_to_other_cubes() {
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
    assert_eq!(unsupported("other"), None);
    assert_eq!(unsupported("raw"), None);
}

#[test]
fn a_child_has_its_parents_policies_before_its_own() {
    let text = "cubes:\n- name: A\n  sql_table: t\n  access_policy: [{group: '*', member_level: {includes: [c, CUBE.s]}}]\n  measures: [{name: c, type: count}]\n  segments: [{name: s, sql: x}]\n- name: B\n  extends: A\n  access_policy: [{role: admin}]\n";
    let all = cubes(text);
    assert_eq!(all.problems, []);
    let groups = |cube: &str| -> Vec<Audience> {
        all.cubes[cube]
            .access_policy
            .iter()
            .map(|policy| policy.audience.clone())
            .collect()
    };
    let everybody = Audience::Groups(vec!["*".to_owned()]);
    assert_eq!(groups("A"), std::slice::from_ref(&everybody));
    assert_eq!(groups("B"), [everybody, Audience::Role("admin".to_owned())]);
    assert!(all.cubes["A"].access_policy[0].grants("s"));
    assert_eq!(all.cubes["A"].measures[0].unsupported, None);
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

const STAR: &str = "
cubes:
  - name: a
    sql_table: events
    joins:
      - {name: b, relationship: many_to_one, sql: '{CUBE}.x = {b}.x'}
      - {name: d, relationship: many_to_one, sql: '{CUBE}.x = {d}.x'}
    measures:
      - {name: c, type: count, drill_members: [id, name, b.id]}
      - {name: hidden, type: sum, sql: n, public: false, title: Concealed}
    dimensions:
      - {name: id, type: number, sql: id, primary_key: true}
      - {name: name, type: string, sql: name, description: A name}
      - {name: at, type: time, sql: at}
    segments:
      - {name: s, sql: x = 1}
    hierarchies:
      - {name: h, title: H, levels: [name, at]}
  - name: b
    sql_table: events
    joins:
      - {name: e, relationship: many_to_one, sql: '{CUBE}.x = {e}.x'}
    measures: [{name: c, type: count}]
    dimensions: [{name: id, type: number, sql: id, primary_key: true}, {name: kind, type: string, sql: kind}]
  - name: d
    sql_table: events
    joins:
      - {name: e, relationship: many_to_one, sql: '{CUBE}.x = {e}.x'}
    dimensions: [{name: id, type: number, sql: id, primary_key: true}]
  - name: e
    sql_table: events
    dimensions: [{name: w, type: number, sql: w, primary_key: true}]
views:
";

fn with_views(views: &str) -> Assembled {
    cubes(&format!("{STAR}{views}"))
}

#[test]
fn a_view_takes_members_with_prefixes_aliases_and_what_hierarchies_need() {
    let all = with_views(
        "  - name: v
    cubes:
      - join_path: a
        includes: [c, {name: name, alias: nom, title: Nom, description: dd, meta: {k: v}}, h, hidden]
      - join_path: a.b
        prefix: true
        includes: '*'
        excludes: [kind]
      - join_path: a.b.e
        prefix: true
        alias: eee
        includes: [w]
    folders:
      - name: One
        includes: [c, {name: Two, includes: [b_c]}, {join_path: a.b}]
    default_filters:
      - {member: nom, operator: equals, values: [x, 1, null], unless: [a.c]}
",
    );
    assert_eq!(all.problems, []);
    let view = &all.cubes["v"];
    let names = |cube: &Cube| {
        let measures = cube.measures.iter().map(|m| m.name.clone());
        let dimensions = cube.dimensions.iter().map(|d| d.name.clone());
        (measures.collect::<Vec<_>>(), dimensions.collect::<Vec<_>>())
    };
    let (measures, dimensions) = names(view);
    assert_eq!(measures, ["c", "hidden", "b_c"]);
    assert_eq!(dimensions, ["nom", "at", "b_id", "eee_w"]);
    assert_eq!(view.measure("c").unwrap().drill_members, ["v.nom", "v.b_id"]);
    assert!(view.measure("hidden").unwrap().public, "a view shows what it includes");
    assert_eq!(view.measure("hidden").unwrap().short_title, "Concealed");
    assert_eq!(view.dimension("b_id").unwrap().short_title, "B Id");
    assert!(view.dimension("b_id").unwrap().public);
    let origin = view.dimension("eee_w").unwrap().origin.clone().unwrap();
    assert_eq!(
        (origin.join_path.join("."), origin.path()),
        ("a.b.e".to_owned(), "e.w".to_owned())
    );
    assert_eq!(view.hierarchies[0].levels, ["v.nom", "v.at"]);
    let made = view.view().unwrap();
    assert_eq!(made.default_filters[0].unless, ["c"]);
    assert_eq!(made.folders[0].items.len(), 4);
}

#[test]
fn views_say_what_is_wrong_with_them_in_cubes_words() {
    let cases = [
        ("join_path: zzz, includes: '*'", "v cube: zzz is not defined"),
        (
            "join_path: a.zzz, includes: '*'",
            "v cube: a.zzz cannot be resolved. There's no such member or cube.",
        ),
        (
            "join_path: a, includes: [c, q]",
            "v cube: Member 'q' is included in 'v' but not defined in any cube",
        ),
        (
            "join_path: a, includes: [c]}, {join_path: a.b, includes: [c]",
            "v cube: Included member 'c' conflicts with existing member of 'v'. Please consider excluding this member or \
             assigning it an alias.",
        ),
        (
            "join_path: a.b.e, includes: [w]}, {join_path: a.d.e, prefix: true, includes: [w]",
            "v cube: Views can't define multiple join paths to the same cube. View 'v' has multiple paths to 'e' within \
             root 'a': 'a.b.e', 'a.d.e'. Use extends to create a child cube and reference it instead.",
        ),
    ];
    for (include, message) in cases {
        let all = with_views(&format!("  - name: v\n    cubes: [{{{include}}}]\n"));
        let texts: Vec<&str> = all.problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(texts, [message], "{include}");
    }
}

#[test]
fn views_extend_and_show_views_and_split_off_cubes() {
    let all = with_views(
        "  - name: later
    cubes: [{join_path: first, includes: [c]}]
  - name: first
    title: First
    view_group: g
    cubes: [{join_path: a, includes: [c]}, {join_path: a.b, split: true, includes: [c, kind]}]
    folders: [{name: One, includes: [c]}]
  - name: second
    extends: first
    cubes: [{join_path: a, includes: [name]}]
view_groups:
  - {name: g, includes: [later, {name: n, includes: [first]}]}
",
    );
    assert_eq!(all.problems, []);
    let order: Vec<&str> = all.cubes.keys().map(String::as_str).collect();
    assert_eq!(
        order,
        ["a", "b", "d", "e", "later", "first", "second", "first_b", "second_b"]
    );
    let later = all.cubes["later"].measure("c").unwrap();
    assert_eq!(later.origin.as_ref().unwrap().path(), "a.c");
    assert_eq!(all.cubes["second"].title, "First");
    assert!(all.cubes["second"].measure("c").is_some() && all.cubes["second"].dimension("name").is_some());
    assert!(all.cubes["first_b"].dimension("kind").is_some());
    assert_eq!(all.cubes["first"].view().unwrap().groups, ["g", "n"]);
    // A view that extends another is in its group too.
    assert_eq!(all.cubes["second"].view().unwrap().groups, ["g"]);
    assert_eq!(all.view_groups[0].items.len(), 4);
}

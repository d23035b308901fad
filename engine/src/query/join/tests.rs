use super::*;
use crate::query::tests::model;

/// A model of cubes without rows to speak of, from `Cube: target relationship, …` lines.
fn graph(lines: &str) -> Graph {
    let mut yaml = String::from("cubes:\n");
    for line in lines.split(';') {
        let (name, joins) = line.split_once(':').unwrap();
        let name = name.trim();
        yaml += &format!(
            "- name: {name}\n  sql_table: events\n  dimensions: [{{name: id, type: string, sql: event_id, primary_key: true}}]\n"
        );
        if !joins.trim().is_empty() {
            yaml += "  joins:\n";
        }
        for join in joins.split(',').map(str::trim).filter(|join| !join.is_empty()) {
            let (target, relationship) = join.split_once(' ').unwrap();
            yaml += &format!(
                "  - {{name: {target}, relationship: {relationship}, sql: '{{CUBE}}.event_id = {{{target}}}.event_id'}}\n"
            );
        }
    }
    Graph::new(&model(&yaml))
}

fn hints(texts: &[&str]) -> Vec<JoinPath> {
    let way = |text: &&str| text.split('.').map(str::to_owned).collect();
    texts.iter().map(way).collect()
}

fn shown(tree: &Tree) -> String {
    let mut text = tree.root.clone();
    for edge in &tree.edges {
        text += &format!(" {}-{}", edge.from, edge.to);
    }
    text
}

#[test]
fn roots_and_ways_are_cubes() {
    let graph = graph(
        "Events: Sessions many_to_one, Users many_to_one; Sessions: Users many_to_one; Users: Plans many_to_one; \
         Plans: ; Lonely: ; Orders: Events one_to_many",
    );
    let cases: &[(&[&str], &str)] = &[
        (&["Events"], "Events"),
        (&["Events", "Sessions"], "Events Events-Sessions"),
        // The first cube cannot be the root, so the second is.
        (&["Sessions", "Events"], "Events Events-Sessions"),
        (&["Users", "Events"], "Events Events-Users"),
        (&["Plans", "Events"], "Events Events-Users Users-Plans"),
        (&["Events.Sessions.Users"], "Events Events-Sessions Sessions-Users"),
        // What is joined already serves those that come after it.
        (
            &["Events.Sessions.Users", "Plans"],
            "Events Events-Sessions Sessions-Users Users-Plans",
        ),
        (
            &["Users", "Events.Sessions.Users"],
            "Events Events-Sessions Sessions-Users",
        ),
        (&["Users", "Lonely"], "! Can't find join path to join 'Users', 'Lonely'"),
        (
            &["Sessions", "Plans", "Orders"],
            "Orders Orders-Events Events-Sessions Events-Users Users-Plans",
        ),
        (
            &["Events.Sessions.Users", "Events.Users"],
            "! The query joins 'Users' by way of 'Sessions' and by way of 'Events': a cube can be joined by one way only",
        ),
    ];
    for (wanted, expected) in cases {
        let got = match graph.tree(&hints(wanted)) {
            Ok(tree) => shown(&tree),
            Err(error) => format!("! {}", error.message()),
        };
        assert_eq!(got, *expected, "{wanted:?}");
    }
}

#[test]
fn rows_are_multiplied_by_what_has_many() {
    let graph = graph(
        "Orders: Items one_to_many, Users many_to_one, Bills one_to_one; Items: Products many_to_one; Users: ; Bills: ; Products: ",
    );
    let tree = graph
        .tree(&hints(&["Orders", "Items", "Users", "Bills", "Products"]))
        .unwrap();
    let multiplied: Vec<&str> = tree.cubes().filter(|cube| tree.multiplies(cube)).collect();
    assert_eq!(multiplied, ["Orders", "Users", "Bills", "Products"]);
    assert!(!tree.multiplies_towards("Orders", "Users"));
    assert!(tree.multiplies_towards("Users", "Orders"));
    assert!(tree.multiplies_towards("Bills", "Products"));
    assert!(!tree.multiplies_towards("Items", "Users"));
    assert!(!tree.multiplies_towards("Bills", "Orders"));
    let alone = graph.tree(&hints(&["Orders", "Users"])).unwrap();
    assert!(!alone.multiplies("Orders"));
    assert!(alone.multiplies("Users"));
}

use super::check_models;
use std::fs;
use tempfile::TempDir;

fn check(text: &str) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.yml"), text).unwrap();
    check_models(dir.path())
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Opening fails when a built-in file does not plan, so an empty folder tries them all.
#[test]
fn the_sql_of_the_built_in_cubes_plans() {
    assert_eq!(check(""), Vec::<String>::new());
}

#[test]
fn sql_that_does_not_plan_is_told_with_its_line() {
    let text = "cubes:
  - name: A
    sql_table: events
    measures:
      - name: good
        type: count_distinct
        sql: visitor_id
      - name: bad
        type: sum
        sql: no_such_column
    dimensions:
      - name: worse
        sql: SELECT 1; DROP TABLE events
        type: string
  - name: B
    sql: SELECT * FROM secrets
  - name: C
    extends: TrackedEvents
    dimensions:
      - name: host
        sql: lower({pageUrlhosts})
        type: string
";
    let found = check(text);
    let lines: Vec<&str> = found.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(lines, ["a.yml:8", "a.yml:12", "a.yml:15"], "{found:#?}");
    assert!(found[0].contains("no_such_column"), "{found:#?}");
}

use super::*;

const AT: &str = "2026-01-01T00:00:00Z";

fn id(text: &str) -> ProjectId {
    ProjectId::new(text).unwrap()
}

#[test]
fn an_added_project_is_found_by_its_key_by_another_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Projects::open(folder.path()).unwrap();
    assert_eq!(server.by_write_key("wk_x"), None);
    let command_line = Projects::open(folder.path()).unwrap();
    let added = command_line.add(&id("shop"), "My shop", &[], AT).unwrap();
    assert!(added.write_keys[0].starts_with("wk_") && added.write_keys[0].len() == 35);
    assert_eq!(server.by_write_key(&added.write_keys[0]), Some(id("shop")));
    assert!(server.contains(&id("shop")) && !server.contains(&id("other")));
    assert_eq!(server.list(), [added]);
}

#[test]
fn keys_are_added_to_a_project_and_never_shared() {
    let folder = tempfile::tempdir().unwrap();
    let projects = Projects::open(folder.path()).unwrap();
    projects.add(&id("a"), "A", &["k1".into()], AT).unwrap();
    let both = projects.add(&id("a"), "A", &["k2".into(), "k1".into()], AT).unwrap();
    assert_eq!(both.write_keys, ["k1", "k2"]);
    let error = projects.add(&id("b"), "B", &["k1".into()], AT).unwrap_err();
    assert_eq!(error.to_string(), "write key `k1` already belongs to project `a`");
    assert!(projects.add(&id("b"), "B", &["has space".into()], AT).is_err());
    assert_eq!(projects.list().len(), 1);
}

#[test]
fn a_damaged_file_is_an_error_at_start_and_keeps_the_projects_at_run_time() {
    let folder = tempfile::tempdir().unwrap();
    let projects = Projects::open(folder.path()).unwrap();
    projects.add(&id("a"), "A", &["k1".into()], AT).unwrap();
    std::fs::write(folder.path().join("projects.json"), "{").unwrap();
    assert!(
        Projects::open(folder.path())
            .unwrap_err()
            .to_string()
            .contains("projects.json")
    );
    assert_eq!(projects.list().len(), 1);
    assert_eq!(projects.by_write_key("k1"), Some(id("a")));
}

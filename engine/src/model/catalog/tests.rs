use super::{Builtin, Catalog, CatalogOptions, check};
use crate::clock::{Clock, FixedClock};
use crate::model::{CubeSource, DimensionSql, Member, Model, Problem, Severity};
use crate::project::ProjectId;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const BUILTIN: Builtin = Builtin::All {
    sessions_padding: false,
};

fn project(id: &str) -> ProjectId {
    ProjectId::new(id).unwrap()
}

fn testdata(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/model/testdata")
        .join(path)
}

struct Folder {
    dir: TempDir,
    clock: Arc<FixedClock>,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder {
            dir: TempDir::new().unwrap(),
            clock: FixedClock::new(0),
        };
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn open(&self, builtin: Builtin) -> Catalog {
        let clock: Arc<dyn Clock> = Arc::<FixedClock>::clone(&self.clock);
        Catalog::open(CatalogOptions {
            builtin,
            models_dir: Some(self.dir.path().to_owned()),
            clock,
            check_sql: None,
        })
        .unwrap()
    }

    /// Lets the catalog look again.
    fn tick(&self) {
        self.clock.set(self.clock.now_micros() + 1_000_001);
    }
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn errors(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .filter(|p| p.is_error())
        .map(ToString::to_string)
        .collect()
}

fn names(model: &Model) -> Vec<&str> {
    model.cubes.keys().map(String::as_str).collect()
}

const ONE: &str =
    "cubes:\n  - name: One\n    sql_table: events\n    measures:\n      - name: count\n        type: count\n";

#[test]
fn the_built_in_cubes_load_without_a_problem() {
    let clock = FixedClock::new(0);
    let catalog = Catalog::open(CatalogOptions {
        builtin: BUILTIN,
        models_dir: None,
        clock,
        check_sql: None,
    })
    .unwrap();
    let model = catalog.model(&project("p"));
    assert_eq!(shown(&catalog.all_problems()), Vec::<String>::new());
    assert_eq!(
        names(&model),
        [
            "TrackedEvents",
            "Sessions",
            "ReturningUsers",
            "RejectedEvents",
            "SnowplowTrackedEvents",
            "Jitsu",
            "SnowplowSessions"
        ]
    );
    let (alias, member) = model.member("SnowplowTrackedEvents.brFamily").unwrap();
    assert_eq!(alias.alias_of.as_deref(), Some("TrackedEvents"));
    assert_eq!(alias.title, "Snowplow Tracked Events");
    assert!(matches!(member, Member::Dimension(_)));
    let (_, Member::Measure(count)) = model.member("SnowplowTrackedEvents.count").unwrap() else {
        panic!("count is a measure");
    };
    let drill = ["SnowplowTrackedEvents.eventId", "SnowplowTrackedEvents.pageTitle"];
    assert_eq!(count.drill_members, drill);
}

#[test]
fn sessions_are_padded_on_demand() {
    let sql = |padding| {
        let options = CatalogOptions {
            builtin: Builtin::All {
                sessions_padding: padding,
            },
            models_dir: None,
            clock: FixedClock::new(0),
            check_sql: None,
        };
        let model = Catalog::open(options).unwrap().model(&project("p"));
        let cube = Arc::clone(model.cube("Sessions", "Sessions").unwrap());
        match &cube.source {
            CubeSource::Sql(sql) => sql.source.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert!(sql(true).contains("WHEN NOT TRUE THEN"));
    assert!(sql(false).contains("WHEN NOT FALSE THEN"));
}

/// The built-in panels of GitLab, in their newest form and that of 2023, ask only for members that exist.
#[test]
fn every_gitlab_query_names_known_members() {
    let text = include_str!("../../../../schemas/gitlab-visualizations.json");
    let list: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(list.len(), 14);
    let model = Folder::new(&[]).open(BUILTIN).model(&project("p"));
    for entry in &list {
        for form in ["query", "query_2023"] {
            let query = &entry[form];
            let plain = ["measures", "dimensions", "segments"]
                .iter()
                .flat_map(|key| query[key].as_array().unwrap());
            let timed = query["timeDimensions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| &t["dimension"]);
            let filters = query["filters"].as_array().unwrap().iter().map(|f| &f["member"]);
            let date = &entry[form.replace("query", "date").as_str()];
            for path in plain.chain(timed).chain(filters).chain([date]) {
                model.member(path.as_str().unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn recorded_models_load_and_their_titles_are_cubes() {
    let catalog = Catalog::open(CatalogOptions {
        builtin: Builtin::None,
        models_dir: Some(testdata("conformance")),
        clock: FixedClock::new(0),
        check_sql: None,
    })
    .unwrap();
    let model = catalog.model(&project("p"));
    assert_eq!(errors(&catalog.all_problems()), Vec::<String>::new());
    let titles: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(testdata("titles.json")).unwrap()).unwrap();
    assert!(titles.len() > 100);
    for (path, title) in &titles {
        let title = title.as_str().unwrap();
        let parts: Vec<&str> = path.split('.').collect();
        let cube = model.cube(parts[0], path).unwrap();
        let made = match (parts.as_slice(), parts.get(1).and_then(|name| cube.member(name))) {
            ([_], _) => cube.title.clone(),
            ([_, _], Some(Member::Measure(m))) => format!("{} {}", cube.title, m.short_title),
            ([_, _], Some(Member::Dimension(d))) => format!("{} {}", cube.title, d.short_title),
            ([_, _], Some(Member::Segment(s))) => format!("{} {}", cube.title, s.short_title),
            ([_, _, name], Some(Member::Dimension(d))) => {
                d.granularities.iter().find(|g| g.name == *name).unwrap().title.clone()
            }
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(made, title, "{path}");
    }
    let (_, Member::Measure(rolling)) = model.member("TrackedEvents.rolling7dCount").unwrap() else {
        panic!("rolling7dCount is a measure");
    };
    assert_eq!(rolling.unsupported, None);
    assert!(rolling.rolling_window.is_some());
    assert!(rolling.cumulative);
    let cube = model.cube("TrackedEvents", "").unwrap();
    assert_eq!(cube.joins[0].target, "Sessions");
    assert!(matches!(
        cube.dimension("device").unwrap().sql,
        DimensionSql::Case { .. }
    ));
    let count = cube.measure("count").unwrap();
    assert_eq!(
        count.drill_members,
        [
            "TrackedEvents.eventId",
            "TrackedEvents.occurredAt",
            "TrackedEvents.pagePath"
        ]
    );
}

#[test]
fn the_funnel_of_the_manual_is_a_cube() {
    let text = fs::read_to_string(testdata("completed_purchase.yaml")).unwrap();
    let folder = Folder::new(&[(".gitlab/product_analytics/funnels/any.yaml", &text)]);
    let catalog = folder.open(Builtin::None);
    assert_eq!(shown(&catalog.all_problems()), Vec::<String>::new());
    let model = catalog.model(&project("p"));
    let cube = model.cube("completed_purchase", "").unwrap();
    assert_eq!(cube.title, "Completed Purchase");
    let CubeSource::Funnel(funnel) = &cube.source else {
        panic!("a funnel");
    };
    assert_eq!(funnel.seconds_to_convert, 3600);
    let targets: Vec<&str> = funnel.steps.iter().map(|step| step.target.as_str()).collect();
    assert_eq!(targets, ["/page1.html", "/page2.html", "/page3.html"]);
    let members: Vec<&str> = cube.dimensions.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(members, ["step", "step_name", "date"]);
    assert!(cube.measure("count").is_some());
}

#[test]
fn a_change_is_seen_within_a_second_and_a_broken_file_keeps_its_last_good_cubes() {
    let folder = Folder::new(&[("one.yml", ONE)]);
    let catalog = folder.open(Builtin::None);
    let p = project("p");
    let first = catalog.model(&p);
    assert_eq!(names(&first), ["One"]);

    folder.write(
        "one.yml",
        &ONE.replace("count\n", "visits\n")
            .replace("type: visits", "type: count"),
    );
    assert!(Arc::ptr_eq(&first, &catalog.model(&p)), "no look within a second");
    folder.tick();
    let second = catalog.model(&p);
    assert!(second.member("One.visits").is_ok());
    assert_ne!(first.version, second.version);

    folder.write(
        "one.yml",
        "cubes:\n  - name: One\n    sql_table: events\n    measurs: []\n",
    );
    folder.tick();
    assert!(catalog.model(&p).member("One.visits").is_ok());
    let problem = "one.yml:4: One cube: (measurs = []) is not allowed; did you mean `measures`?";
    assert_eq!(shown(&catalog.problems(&p)), [problem]);

    folder.write("two.yml", &ONE.replace("One", "Two"));
    folder.tick();
    let both = catalog.model(&p);
    assert!(both.member("One.visits").is_ok() && both.member("Two.count").is_ok());
    assert_eq!(catalog.problems(&p).len(), 1);

    folder.write("one.yml", ONE);
    folder.tick();
    assert!(catalog.model(&p).member("One.count").is_ok());
    assert_eq!(catalog.problems(&p), []);

    fs::remove_file(folder.dir.path().join("one.yml")).unwrap();
    folder.tick();
    assert_eq!(names(&catalog.model(&p)), ["Two"]);
}

#[test]
fn a_file_that_breaks_by_another_files_change_keeps_its_cubes() {
    let child = "cubes:\n  - name: Child\n    extends: One\n    measures:\n      - name: n\n        type: number\n        sql: \"{count}\"\n";
    let folder = Folder::new(&[("one.yml", ONE), ("child.yml", child)]);
    let catalog = folder.open(Builtin::None);
    let p = project("p");
    assert_eq!(shown(&catalog.problems(&p)), Vec::<String>::new());
    folder.write("one.yml", &ONE.replace("name: count", "name: total"));
    folder.tick();
    let model = catalog.model(&p);
    assert!(model.member("One.total").is_ok());
    assert!(model.member("Child.n").is_ok(), "{model:?}");
    assert!(model.member("Child.count").is_ok(), "{model:?}");
    assert_eq!(
        shown(&catalog.problems(&p)),
        ["child.yml:7: Child cube: count is not defined"]
    );
}

#[test]
fn a_vanished_folder_keeps_the_models_and_says_so() {
    let folder = Folder::new(&[("models/one.yml", ONE)]);
    let models = folder.dir.path().join("models");
    let clock: Arc<dyn Clock> = Arc::<FixedClock>::clone(&folder.clock);
    let options = CatalogOptions {
        builtin: Builtin::None,
        models_dir: Some(models.clone()),
        clock,
        check_sql: None,
    };
    let catalog = Catalog::open(options.clone()).unwrap();
    fs::rename(&models, folder.dir.path().join("gone")).unwrap();
    folder.tick();
    assert_eq!(names(&catalog.model(&project("p"))), ["One"]);
    assert_eq!(catalog.problems(&project("p")).len(), 1);
    let error = Catalog::open(options).unwrap_err();
    assert!(error.message().contains("does not exist"), "{error}");
    fs::rename(folder.dir.path().join("gone"), &models).unwrap();
    folder.tick();
    assert_eq!(catalog.problems(&project("p")), []);
}

#[test]
fn a_project_sees_its_own_files_before_the_others() {
    let folder = Folder::new(&[
        ("one.yml", ONE),
        ("projects/a/one.yml", &ONE.replace("name: count", "name: mine")),
        (
            "projects/a/.gitlab/analytics/funnels/f.yml",
            "name: f\nseconds_to_convert: 5\nsteps: [{name: s, target: /, action: pageview}]\n",
        ),
        ("projects/bad id/x.yml", ONE),
    ]);
    let catalog = folder.open(BUILTIN);
    assert!(catalog.model(&project("a")).member("One.mine").is_ok());
    assert!(catalog.model(&project("a")).member("f.count").is_ok());
    assert!(catalog.model(&project("b")).member("One.count").is_ok());
    assert!(catalog.model(&project("b")).member("f.count").is_err());
    assert!(catalog.model(&project("b")).member("TrackedEvents.count").is_ok());
    let problems = catalog.problems(&project("b"));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, Severity::Warning);
    folder.write("projects/a/one.yml", "cubes: 5\n");
    folder.tick();
    assert!(catalog.model(&project("a")).member("One.mine").is_ok());
    assert_eq!(
        errors(&catalog.problems(&project("a"))),
        ["projects/a/one.yml:1: \"cubes\" must be a list"]
    );
    assert_eq!(errors(&catalog.problems(&project("b"))), Vec::<String>::new());
}

#[test]
fn a_users_cube_takes_the_place_of_a_built_in_and_may_extend_it() {
    let own = "cubes:\n  - name: TrackedEvents\n    extends: TrackedEvents\n    measures:\n      - name: buyers\n        type: count_distinct\n        sql: \"{userId}\"\n";
    let folder = Folder::new(&[("own.yml", own), ("s.yml", &ONE.replace("One", "Sessions"))]);
    let catalog = folder.open(BUILTIN);
    assert_eq!(shown(&catalog.all_problems()), Vec::<String>::new());
    let model = catalog.model(&project("p"));
    assert!(model.member("TrackedEvents.buyers").is_ok());
    assert!(model.member("TrackedEvents.pageViewsCount").is_ok());
    assert!(model.member("Sessions.averagePerUser").is_err());
    assert!(model.member("SnowplowSessions.averagePerUser").is_ok());
}

#[test]
fn other_peoples_folders_are_left_alone() {
    let folder = Folder::new(&[
        (".gitlab/analytics/dashboards/a/a.yaml", "title: A\n"),
        (
            ".gitlab/analytics/dashboards/visualizations/v.yaml",
            "type: LineChart\n",
        ),
        (".git/x.yml", "nonsense: 1\n"),
        ("dashboards/x.yml", "title: x\n"),
        ("notes.txt", "no yaml"),
        ("empty.yml", "# nothing\n"),
        ("deep/er/one.yaml", ONE),
    ]);
    let catalog = folder.open(Builtin::None);
    assert_eq!(shown(&catalog.all_problems()), Vec::<String>::new());
    assert_eq!(names(&catalog.model(&project("p"))), ["One"]);
}

#[test]
fn sql_that_does_not_plan_keeps_the_last_good_file() {
    let folder = Folder::new(&[("one.yml", ONE), ("two.yml", &ONE.replace("One", "Two"))]);
    let clock: Arc<dyn Clock> = Arc::<FixedClock>::clone(&folder.clock);
    let catalog = Catalog::open(CatalogOptions {
        builtin: BUILTIN,
        models_dir: Some(folder.dir.path().to_owned()),
        clock,
        check_sql: Some(Arc::new(|model: &Model| {
            let bad = |cube: &&Arc<crate::model::Cube>| cube.source == CubeSource::Table("nowhere".to_owned());
            let wrong = model.cubes.values().filter(bad);
            wrong
                .map(|cube| Problem::error(cube.location.clone(), "no table `nowhere`"))
                .collect()
        })),
    })
    .unwrap();
    let p = project("p");
    assert_eq!(catalog.problems(&p), []);
    folder.write("one.yml", &ONE.replace("sql_table: events", "sql_table: nowhere"));
    folder.write("two.yml", &ONE.replace("One", "Three"));
    folder.tick();
    let model = catalog.model(&p);
    assert_eq!(
        model.cube("One", "").unwrap().source,
        CubeSource::Table("events".to_owned())
    );
    assert!(model.member("Three.count").is_ok() && model.member("Two.count").is_err());
    assert_eq!(shown(&catalog.problems(&p)), ["one.yml:2: no table `nowhere`"]);
}

#[test]
fn a_huge_or_unreadable_file_is_a_problem_of_that_file_only() {
    let folder = Folder::new(&[("one.yml", ONE), ("huge.yml", &"#".repeat(1024 * 1024 + 1))]);
    fs::write(folder.dir.path().join("latin.yml"), b"cubes: \xff\n").unwrap();
    let deep = format!("cubes: {}{}\n", "[".repeat(500), "]".repeat(500));
    folder.write("deep.yml", &deep);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    folder.write("bomb.yml", bomb);
    let catalog = folder.open(Builtin::None);
    assert_eq!(names(&catalog.model(&project("p"))), ["One"]);
    let found = errors(&catalog.all_problems());
    assert_eq!(found.len(), 4, "{found:#?}");
}

/// Each folder of broken files has the list of what must be said about it; `WRITE_EXPECTED=1` writes the lists anew.
#[test]
fn broken_files_are_reported_line_by_line() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(testdata("broken")).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read_to_string(path.join("expected.txt")).unwrap();
        let found = shown(&check(&path, None).unwrap());
        if std::env::var_os("WRITE_EXPECTED").is_some() {
            fs::write(path.join("expected.txt"), found.join("\n") + "\n").unwrap();
        } else if found.join("\n") != expected.trim_end() {
            wrong.push(format!("{}:\n{}", path.display(), found.join("\n")));
        }
        tried += 1;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
    assert!(tried >= 8);
}

//! The rules of this repository that no compiler keeps: who may import whom, how long files and functions may be, which
//! calls have one place only, what stands at the top level, and that the README's map is the tree.
//!
//! A violation is printed as `file:line: rule: what`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot read the tree has failed"
)]
#![allow(missing_docs, reason = "a test, not a library")]

#[path = "tidy/source.rs"]
mod source;

use source::{Source, rust_sources};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lines of code of one file, without tests, comments, doc comments and blank lines.
const FILE_LINES_MAX: usize = 600;
/// Lines of code of one function, counted the same way.
const FUNCTION_LINES_MAX: usize = 70;

/// What every module of the engine may import.
const LEAVES: &[&str] = &[
    "blocking",
    "clock",
    "error",
    "health",
    "limits",
    "metrics",
    "project",
    "Error",
    "ErrorKind",
    "ProjectId",
    "Result",
];

/// The engine's modules and what else each may import; `*` is everything.
const ENGINE_IMPORTS: &[(&str, &[&str])] = &[
    ("blocking", &[]),
    ("budget", &[]),
    ("clock", &[]),
    ("error", &[]),
    ("health", &[]),
    ("limits", &[]),
    ("project", &[]),
    ("metrics", &[]),
    ("event", &[]),
    ("model", &["event"]),
    ("wal", &["event"]),
    ("store", &["event", "wal"]),
    ("ingest", &["event", "wal", "store"]),
    ("functions", &[]),
    ("query", &["event", "model", "functions"]),
    ("exec", &["event", "model", "query", "store", "ingest"]),
    ("maintenance", &["event", "wal", "store"]),
    ("rollup", &["event", "model", "query", "store", "exec"]),
    ("engine", &["*"]),
    ("lib", &["*"]),
];

/// Modules of the engine that the server may name; the rest is the engine's own affair.
const ENGINE_PUBLIC: &[&str] = &[
    "check_models",
    "clock",
    "error",
    "event",
    "health",
    "ingest",
    "limits",
    "maintenance",
    "metrics",
    "model",
    "query",
];

/// Calls that have one place: the text, the files where it may stand, and what to do elsewhere.
const ONE_PLACE: &[(&str, &[&str], &str)] = &[
    (
        ".unwrap()",
        &[],
        "return the error, or use `expect` with the reason why it cannot fail",
    ),
    ("SystemTime::now", &["engine/src/clock.rs"], "take a `Clock`"),
    ("Utc::now", &[], "take a `Clock`"),
    ("Local::now", &[], "take a `Clock`"),
    (
        "println!",
        &["server/src/cli", "server/src/main.rs"],
        "use `tracing`, or `cli/output.rs` for people",
    ),
    (
        "eprintln!",
        &["server/src/cli", "server/src/main.rs"],
        "use `tracing`, or `cli/output.rs` for people",
    ),
    ("process::exit", &["server/src/cli"], "return an error"),
    ("env::var", &["server/src/cli", "server/src/config"], "add a setting"),
];

/// Everything that may stand at the top level, beside names that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "benches",
    "data",
    "engine",
    "schemas",
    "server",
    "tests",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn report(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// `engine/src/store/flush.rs` is `store`.
fn module_of(file: &str) -> &str {
    let inside = file.split("/src/").nth(1).unwrap_or(file);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

#[test]
fn files_and_functions_are_short() {
    let mut violations = Vec::new();
    for source in rust_sources(root(), &["engine/src", "server/src"]) {
        let lines = source.code_lines();
        if lines > FILE_LINES_MAX {
            violations.push(format!(
                "{}:1: file length: {lines} lines of code, {FILE_LINES_MAX} allowed",
                source.path
            ));
        }
        for function in source.functions() {
            if function.code_lines > FUNCTION_LINES_MAX {
                violations.push(format!(
                    "{}:{}: function length: `{}` has {} lines of code, {FUNCTION_LINES_MAX} allowed",
                    source.path, function.line, function.name, function.code_lines
                ));
            }
        }
    }
    report(&violations);
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let mut violations = Vec::new();
    for source in rust_sources(root(), &["engine/src"]) {
        let module = module_of(&source.path);
        let Some((_, allowed)) = ENGINE_IMPORTS.iter().find(|(name, _)| *name == module) else {
            violations.push(format!(
                "{}:1: imports: module `{module}` has no row in ENGINE_IMPORTS",
                source.path
            ));
            continue;
        };
        for (line, imported) in source.paths_after("crate::") {
            let fine = allowed.contains(&"*")
                || imported == module
                || LEAVES.contains(&imported.as_str())
                || allowed.contains(&imported.as_str());
            if !fine {
                violations.push(format!(
                    "{}:{line}: imports: `{module}` must not import `{imported}`",
                    source.path
                ));
            }
        }
        for (line, _) in source.paths_after("server::") {
            violations.push(format!(
                "{}:{line}: imports: the engine must not know the server",
                source.path
            ));
        }
        let sql_engine = ["datafusion::", "datafusion_"]
            .iter()
            .flat_map(|name| source.lines_with(name));
        for line in sql_engine.filter(|_| module == "model") {
            violations.push(format!(
                "{}:{line}: imports: the model must not know the query engine",
                source.path
            ));
        }
    }
    report(&violations);
}

#[test]
fn the_server_uses_the_public_face_of_the_engine() {
    let mut violations = Vec::new();
    for source in rust_sources(root(), &["server/src"]) {
        for (line, imported) in source.paths_after("engine::") {
            let is_item = imported.starts_with(|c: char| c.is_ascii_uppercase());
            if !is_item && !ENGINE_PUBLIC.contains(&imported.as_str()) {
                violations.push(format!(
                    "{}:{line}: imports: `engine::{imported}` is not for the server",
                    source.path
                ));
            }
        }
    }
    report(&violations);
}

#[test]
fn some_calls_have_one_place() {
    let mut violations = Vec::new();
    for source in rust_sources(root(), &["engine/src", "server/src"]) {
        for (call, places, instead) in ONE_PLACE {
            if places.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for line in source.lines_with(call) {
                violations.push(format!(
                    "{}:{line}: one place: no `{call}` here; {instead}",
                    source.path
                ));
            }
        }
    }
    report(&violations);
}

/// Files that belong to the repository, relative to its root.
fn tracked_files() -> Vec<String> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match listed {
        Ok(listed) if listed.status.success() => {
            let text = String::from_utf8(listed.stdout).expect("git prints UTF-8 or quotes");
            text.lines()
                .map(str::to_owned)
                .filter(|path| root().join(path).is_file())
                .collect()
        }
        // An unpacked archive has no git: then everything that lies there counts.
        _ => walk(root()),
    }
}

fn walk(folder: &Path) -> Vec<String> {
    const GENERATED: &[&str] = &["target", "tally-data", "node_modules", ".git", ".venv", "__pycache__"];
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if GENERATED.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else {
                let relative = path.strip_prefix(root()).unwrap();
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn the_top_level_holds_only_the_agreed_names() {
    let names: BTreeSet<String> = tracked_files()
        .iter()
        .filter_map(|path| path.split('/').next())
        .map(str::to_owned)
        .collect();
    let strangers = names
        .iter()
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    let violations: Vec<_> = strangers
        .map(|name| format!("{name}:1: top level: `{name}` does not belong here"))
        .collect();
    report(&violations);
}

#[test]
fn no_file_holds_a_path_of_the_machine_it_was_written_on() {
    let mut needles = vec![
        root().to_string_lossy().into_owned(),
        format!("/{}/", "work"),
        format!("/{}/.cargo", "root"),
    ];
    needles.extend(
        std::env::var("HOME")
            .ok()
            .filter(|home| home.len() > 1)
            .map(|home| format!("{home}/")),
    );
    let mut violations = Vec::new();
    for path in tracked_files() {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let found = needles.iter().find(|needle| stands_alone(line, needle));
            if let Some(needle) = found {
                violations.push(format!("{path}:{}: machine path: `{needle}`", number + 1));
            }
        }
    }
    report(&violations);
}

/// Whether `needle` is in `line` and not the middle of a longer path or name.
fn stands_alone(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-/}~".contains(c))
    })
}

/// The lines of the README's map: the path each begins with.
fn map_of_the_tree(readme: &str) -> Vec<(usize, String)> {
    let heading = readme
        .lines()
        .position(|line| line.starts_with("## Map"))
        .expect("README has a heading `## Map …`");
    let lines = readme.lines().enumerate().skip(heading);
    let block = lines.skip_while(|(_, line)| !line.starts_with("```")).skip(1);
    let entries = block.take_while(|(_, line)| !line.starts_with("```"));
    let mut folders: Vec<(usize, String)> = Vec::new();
    let mut found = Vec::new();
    for (number, line) in entries {
        let Some(name) = line.split_whitespace().next() else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        folders.retain(|(at, _)| *at < indent);
        let parents: String = folders.iter().map(|(_, name)| name.as_str()).collect();
        found.push((number + 1, format!("{parents}{name}")));
        if name.ends_with('/') {
            folders.push((indent, name.to_owned()));
        }
    }
    found
}

#[test]
fn the_map_in_the_readme_is_the_tree() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let map = map_of_the_tree(&readme);
    let mut violations = Vec::new();
    for (line, path) in &map {
        if !root().join(path).exists() {
            violations.push(format!("README.md:{line}: map: `{path}` does not exist"));
        }
    }
    let mapped: BTreeSet<PathBuf> = map
        .iter()
        .map(|(_, path)| root().join(path.trim_end_matches('/')))
        .collect();
    for folder in ["", "engine/src", "server/src", "tests"] {
        for file in tracked_files() {
            let Some(rest) = file.strip_prefix(folder).map(|rest| rest.trim_start_matches('/')) else {
                continue;
            };
            let Some((child, _)) = rest.split_once('/').filter(|(child, _)| !child.starts_with('.')) else {
                continue;
            };
            let path = root().join(folder).join(child);
            // `foo/` beside `foo.rs` is one module; the map names it once.
            let as_file = path.with_extension("rs");
            if !mapped.contains(&path) && !mapped.contains(&as_file) {
                violations.push(format!(
                    "README.md:1: map: `{}` is missing",
                    Path::new(folder).join(child).display()
                ));
            }
        }
    }
    violations.dedup();
    report(&violations);
}

#[test]
fn the_readme_lists_every_setting() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let table = std::fs::read_to_string(root().join("server/src/config/table.rs")).unwrap();
    let rows = table.lines().filter(|line| line.contains("[\"TALLY_"));
    let keys: Vec<&str> = rows
        .filter_map(|line| line.trim().trim_start_matches('"').split('"').next())
        .collect();
    assert!(keys.len() > 15, "the table of settings has changed its form: {keys:?}");
    let missing = keys.iter().filter(|key| !readme.contains(&format!("`{key}`")));
    let violations: Vec<_> = missing
        .map(|key| format!("README.md:1: settings: `{key}` is missing"))
        .collect();
    report(&violations);
}

#[test]
fn the_rules_see_what_they_should() {
    let text = "fn a() {\n    // crate::store\n    let x = \"crate::wal { \";\n    crate::store::b::<{ 1 }>();\n}\n\n\
                #[cfg(test)]\nmod tests {\n    fn t() { y.unwrap(); }\n}\nuse crate::{wal::Wal, exec};\n";
    let source = Source::new("engine/src/query/x.rs", text);
    let imports = source.paths_after("crate::");
    assert_eq!(
        imports,
        [(4, "store".to_owned()), (11, "wal".to_owned()), (11, "exec".to_owned())]
    );
    assert_eq!(source.lines_with(".unwrap()"), Vec::<usize>::new());
    let functions: Vec<_> = source
        .functions()
        .into_iter()
        .map(|f| (f.name, f.line, f.code_lines))
        .collect();
    assert_eq!(functions, [("a".to_owned(), 1, 4)]);
    assert_eq!(source.code_lines(), 5);
    assert!(stands_alone("see /x/y/z", "/x/") && !stands_alone("s3://bucket/x/y", "/x/"));
    let map = map_of_the_tree("## Map\n```\na/    one\n  b/  two\n    c.rs\n  d\n```\n");
    let paths: Vec<_> = map.into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["a/", "a/b/", "a/b/c.rs", "a/d"]);
}

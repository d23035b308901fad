//! The files of a model folder: which there are, whose they are and whether they changed.

use super::super::{Location, Problem};
use crate::limits;
use crate::project::ProjectId;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What tells a changed file from an unchanged one without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    identity: (u64, i64, i64),
}

impl Stamp {
    fn of(data: &std::fs::Metadata) -> Stamp {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Stamp {
            modified: data.modified().ok(),
            bytes: data.len(),
            #[cfg(unix)]
            identity: (data.ino(), data.ctime(), data.ctime_nsec()),
        }
    }
}

/// A model file.
#[derive(Debug)]
pub(super) struct Found {
    /// Path within the folder, `/` between the parts.
    pub name: Arc<str>,
    pub path: PathBuf,
    /// The project that alone sees it.
    pub scope: Option<ProjectId>,
    pub stamp: Stamp,
}

/// Folders whose YAML belongs to somebody else.
const LEFT_ALONE: &[&str] = &["dashboards", "visualizations"];

/// The only folders inside dot-folders that are read: where GitLab keeps funnels.
const GITLAB_FUNNELS: &[&str] = &["analytics/funnels", "product_analytics/funnels"];

/// Lists the model files in the order of their names, with problems of single folders and files.
///
/// # Errors
/// The problem, when the folder itself cannot be read.
pub(super) fn find(root: &Path) -> Result<(Vec<Found>, Vec<Problem>), Problem> {
    let mut search = Search::default();
    search
        .folder(root, "", 0)
        .map_err(|error| problem("", format!("the model folder cannot be read: {error}")))?;
    search.found.sort_by(|a, b| a.name.cmp(&b.name));
    if search.found.len() > limits::MODEL_FILES_MAX {
        let message = format!(
            "the model folder holds {} files, {} at the most are read",
            search.found.len(),
            limits::MODEL_FILES_MAX
        );
        search.problems.push(problem("", message));
        search.found.truncate(limits::MODEL_FILES_MAX);
    }
    Ok((search.found, search.problems))
}

fn problem(name: &str, message: String) -> Problem {
    let file = if name.is_empty() { "." } else { name };
    let location = Location {
        file: Arc::from(file),
        line: 0,
    };
    Problem::warning(location, message)
}

#[derive(Default)]
struct Search {
    found: Vec<Found>,
    problems: Vec<Problem>,
}

impl Search {
    /// Depth is bounded by [`limits::MODEL_FOLDER_DEPTH_MAX`], so links that lead in a circle end.
    fn folder(&mut self, path: &Path, name: &str, depth: usize) -> std::io::Result<()> {
        if depth > limits::MODEL_FOLDER_DEPTH_MAX || self.found.len() > limits::MODEL_FILES_MAX {
            return Ok(());
        }
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Ok(base) = entry.file_name().into_string() else {
                continue;
            };
            let inner = if name.is_empty() {
                base.clone()
            } else {
                format!("{name}/{base}")
            };
            // A file may vanish between the listing and the look; the next look sees it as it is then.
            let Ok(data) = std::fs::metadata(entry.path()) else {
                continue;
            };
            if data.is_dir() {
                self.inner_folder(&entry.path(), &base, &inner, depth);
            } else if is_yaml(&base) && data.is_file() {
                self.file(entry.path(), inner, &data);
            }
        }
        Ok(())
    }

    fn inner_folder(&mut self, path: &Path, base: &str, name: &str, depth: usize) {
        if LEFT_ALONE.contains(&base) {
            return;
        }
        let listed = if base == ".gitlab" {
            GITLAB_FUNNELS.iter().try_for_each(|inner| {
                let (path, name) = (path.join(inner), format!("{name}/{inner}"));
                if path.is_dir() {
                    self.folder(&path, &name, depth + 1)
                } else {
                    Ok(())
                }
            })
        } else if base.starts_with('.') {
            Ok(())
        } else {
            self.folder(path, name, depth + 1)
        };
        if let Err(error) = listed {
            self.problems
                .push(problem(name, format!("the folder cannot be read: {error}")));
        }
    }

    fn file(&mut self, path: PathBuf, name: String, data: &std::fs::Metadata) {
        let scope = match name.strip_prefix("projects/").and_then(|rest| rest.split_once('/')) {
            None => None,
            Some((id, _)) => match ProjectId::new(id) {
                Ok(project) => Some(project),
                Err(error) => {
                    self.problems
                        .push(problem(&name, format!("the file is not used: {}", error.message())));
                    return;
                }
            },
        };
        self.found.push(Found {
            name: Arc::from(name),
            path,
            scope,
            stamp: Stamp::of(data),
        });
    }
}

fn is_yaml(base: &str) -> bool {
    !base.starts_with('.') && [".yml", ".yaml", ".jinja"].iter().any(|ending| base.ends_with(ending))
}

/// The text of a file, bounded.
///
/// # Errors
/// A message for the user.
pub(super) fn text(found: &Found) -> Result<String, String> {
    let file = std::fs::File::open(&found.path).map_err(|error| format!("the file cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    let limit = limits::MODEL_FILE_BYTES_MAX;
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!("the file is larger than {limit} bytes: split it"));
    }
    String::from_utf8(bytes).map_err(|_| "the file is no UTF-8 text".to_owned())
}

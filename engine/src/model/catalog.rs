//! The models of all projects: the built-in cubes and a folder of files that is looked at again while queries come.
//!
//! The folder: `*.yml`, `*.yaml` and `*.jinja` anywhere hold cubes, views or funnels, by content. Files under `projects/<id>/` are
//! seen by that project only and go before the others. A checkout of a GitLab repository may be the folder: of its
//! dot-folders only the funnels are read. Folders named `dashboards` or `visualizations` are left alone.
//!
//! A file that has an error is not used: its last good cubes stay in the model until it is mended.

mod files;
mod templates;

use super::read::{FileContent, read_file, read_rendered};
use super::validate::{Assembled, Finished, Input, Layer, assemble};
use super::{Location, Model, Problem};
use crate::clock::{Clock, Micros};
use crate::error::{Error, Result};
use crate::limits;
use crate::project::ProjectId;
use files::{Found, Stamp};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Which cubes ship with the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// None; for tests of a model that stands alone.
    None,
    /// `TrackedEvents`, `Sessions`, `ReturningUsers`, `RejectedEvents` and their aliases.
    All {
        /// Whether a session lasts 30 minutes beyond its last event, as in Cube's recipe, instead of ending with it.
        sessions_padding: bool,
    },
}

/// Plans the SQL of a newly loaded model and reports what does not plan. The model itself knows no SQL.
pub type SqlCheck = Arc<dyn Fn(&Model) -> Vec<Problem> + Send + Sync>;

/// How a [`Catalog`] is opened.
#[derive(Clone)]
pub struct CatalogOptions {
    /// The cubes that ship with it.
    pub builtin: Builtin,
    /// The folder of the user's files.
    pub models_dir: Option<PathBuf>,
    /// Decides when the folder is looked at again.
    pub clock: Arc<dyn Clock>,
    /// Run on every newly loaded model; a file it reports an error in is treated as any broken file.
    pub check_sql: Option<SqlCheck>,
}

/// The built-in files: path in messages and text.
const BUILTIN: &[(&str, &str)] = &[
    (
        "builtin/tracked_events.yml",
        include_str!("../../../schemas/tracked_events.yml"),
    ),
    ("builtin/sessions.yml", include_str!("../../../schemas/sessions.yml")),
    (
        "builtin/returning_users.yml",
        include_str!("../../../schemas/returning_users.yml"),
    ),
    (
        "builtin/rejected_events.yml",
        include_str!("../../../schemas/rejected_events.yml"),
    ),
];

/// Placeholder in a built-in file for [`Builtin::All::sessions_padding`], as TRUE or FALSE.
const PADDING_PLACEHOLDER: &str = "{SETTING.sessions_padding}";

/// A file as it was last read.
struct Read {
    stamp: Stamp,
    scope: Option<ProjectId>,
    /// Whether it was rendered, so that a change of another file may change it.
    template: bool,
    content: FileContent,
}

/// One project's model, or the one that all projects without files of their own share.
#[derive(Clone, Default)]
struct Loaded {
    model: Arc<Model>,
    problems: Arc<Vec<Problem>>,
}

#[derive(Clone, Default)]
struct Current {
    shared: Loaded,
    projects: HashMap<ProjectId, Loaded>,
}

/// What was made of the last good version of a file, by project (none: shared) and file.
type Good = HashMap<(Option<ProjectId>, Arc<str>), Finished>;

#[derive(Default)]
struct Watched {
    read: BTreeMap<Arc<str>, Read>,
    good: Good,
    /// What was wrong with the folder itself at the last look.
    folder: Vec<Problem>,
}

/// The models of all projects. Cheap to ask: a read lock, and once a second a look at the folder.
pub struct Catalog {
    options: CatalogOptions,
    builtin: Vec<(Arc<str>, FileContent)>,
    looked_at: AtomicI64,
    watched: Mutex<Watched>,
    current: RwLock<Arc<Current>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalog")
            .field("models_dir", &self.options.models_dir)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Opens the catalog and loads the folder. Wrong files are no errors here: see [`Catalog::problems`].
    ///
    /// # Errors
    /// `Model` when the folder does not exist, `Internal` when a built-in file is wrong.
    pub fn open(options: CatalogOptions) -> Result<Catalog> {
        if let Some(dir) = options.models_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Error::model(format!(
                "the model folder `{}` does not exist: create it, or change the setting",
                dir.display()
            )));
        }
        let catalog = Catalog {
            builtin: read_builtin(options.builtin)?,
            looked_at: AtomicI64::new(options.clock.now_micros()),
            watched: Mutex::new(Watched::default()),
            current: RwLock::new(Arc::new(Current::default())),
            options,
        };
        catalog.look(&mut catalog.watched.lock(), true);
        let shared = Arc::clone(&catalog.current.read().shared.problems);
        let builtin = |problem: &&Problem| problem.is_error() && problem.location.file.starts_with("builtin/");
        if let Some(problem) = shared.iter().find(builtin) {
            return Err(Error::internal(format!("built-in cube: {problem}")));
        }
        Ok(catalog)
    }

    /// The model of a project: the last good one, at most a second behind the files.
    pub fn model(&self, project: &ProjectId) -> Arc<Model> {
        Arc::clone(&self.loaded(project).model)
    }

    /// What is wrong with the files that the project sees, by file and line. Empty when all is well.
    pub fn problems(&self, project: &ProjectId) -> Vec<Problem> {
        self.loaded(project).problems.to_vec()
    }

    /// What is wrong with any file, whichever project sees it.
    pub fn all_problems(&self) -> Vec<Problem> {
        self.refresh();
        let current = Arc::clone(&self.current.read());
        let mut all: Vec<Problem> = Vec::new();
        let loaded = std::iter::once(&current.shared).chain(current.projects.values());
        for problem in loaded.flat_map(|loaded| loaded.problems.iter()) {
            if !all.contains(problem) {
                all.push(problem.clone());
            }
        }
        sort(&mut all);
        all
    }

    fn loaded(&self, project: &ProjectId) -> Loaded {
        self.refresh();
        let current = self.current.read();
        current.projects.get(project).unwrap_or(&current.shared).clone()
    }

    /// Looks at the folder if the last look is a second ago. Only one caller looks, the others go on with what is there.
    fn refresh(&self) {
        if self.options.models_dir.is_none() {
            return;
        }
        let now: Micros = self.options.clock.now_micros();
        let last = self.looked_at.load(Ordering::Relaxed);
        if (0..limits::MODEL_CHECK_INTERVAL_MICROS).contains(&now.saturating_sub(last)) {
            return;
        }
        if let Some(mut watched) = self.watched.try_lock() {
            self.looked_at.store(now, Ordering::Relaxed);
            self.look(&mut watched, false);
        }
    }

    /// Looks at the folder, reads what has changed and makes new models when anything has.
    fn look(&self, watched: &mut Watched, first: bool) {
        let found = match self.options.models_dir.as_deref().map(files::find) {
            None => (Vec::new(), Vec::new()),
            Some(Ok(found)) => found,
            Some(Err(problem)) => {
                // The folder cannot be read at the moment: everything stays as it is.
                if watched.folder != [problem.clone()] {
                    tracing::warn!(%problem, "the model folder cannot be read; the last good models stay");
                    watched.folder = vec![problem];
                    self.publish_folder(watched);
                }
                return;
            }
        };
        let (files, folder) = found;
        let same_folder = watched.folder == folder;
        if !read_changed(watched, files) && same_folder && !first {
            return;
        }
        watched.folder = folder;
        let current = self.build(watched);
        report(&current, first);
        *self.current.write() = Arc::new(current);
    }

    /// The current models with the folder's own problems put in front.
    fn publish_folder(&self, watched: &Watched) {
        let mut current = Current::clone(&self.current.read());
        for loaded in std::iter::once(&mut current.shared).chain(current.projects.values_mut()) {
            let others = loaded.problems.iter().filter(|problem| problem.location.line != 0);
            loaded.problems = Arc::new(watched.folder.iter().chain(others).cloned().collect());
        }
        *self.current.write() = Arc::new(current);
    }

    fn build(&self, watched: &mut Watched) -> Current {
        let scopes: BTreeSet<ProjectId> = watched.read.values().filter_map(|read| read.scope.clone()).collect();
        let mut good = Good::new();
        let shared = self.load(None, watched, &mut good);
        let mut projects = HashMap::new();
        for project in scopes {
            let loaded = self.load(Some(&project), watched, &mut good);
            projects.insert(project, loaded);
        }
        watched.good = good;
        Current { shared, projects }
    }

    /// The files of one project in the order of their layers; the last good cubes for those in `broken`.
    fn inputs<'a>(
        &'a self,
        project: Option<&ProjectId>,
        watched: &'a Watched,
        broken: &BTreeSet<Arc<str>>,
    ) -> Vec<Input<'a>> {
        let builtin = self
            .builtin
            .iter()
            .map(|(_, content)| Input::Fresh(Layer::Builtin, content));
        let mut inputs: Vec<Input<'_>> = builtin.collect();
        for layer in [Layer::Shared, Layer::Project] {
            for (file, read) in &watched.read {
                let scope = if layer == Layer::Project { project } else { None };
                if read.scope.as_ref() != scope || (layer == Layer::Project && scope.is_none()) {
                    continue;
                }
                if !broken.contains(file) {
                    inputs.push(Input::Fresh(layer, &read.content));
                } else if let Some(kept) = watched.good.get(&(project.cloned(), Arc::clone(file))) {
                    inputs.push(Input::Kept(layer, kept));
                }
            }
        }
        inputs
    }

    /// The model of one project. Files with errors are replaced by their last good cubes until nothing is wrong.
    fn load(&self, project: Option<&ProjectId>, watched: &Watched, good: &mut Good) -> Loaded {
        let key = |file: &Arc<str>| (project.cloned(), Arc::clone(file));
        let mut broken: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut problems: Vec<Problem> = watched.folder.clone();
        let fresh = || {
            watched
                .read
                .iter()
                .filter(|(_, read)| read.scope.is_none() || read.scope.as_ref() == project)
        };
        for (file, read) in fresh() {
            problems.extend(read.content.problems.iter().cloned());
            if read.content.problems.iter().any(Problem::is_error) {
                broken.insert(Arc::clone(file));
            }
        }
        let (assembled, model) = loop {
            let mut assembled = assemble(&self.inputs(project, watched, &broken));
            let mut found = std::mem::take(&mut assembled.problems);
            let model = Arc::new(model_of(&assembled));
            if !found.iter().any(Problem::is_error)
                && let Some(check) = &self.options.check_sql
            {
                found.extend(check(&model));
            }
            let before = broken.len();
            let wrong = found.iter().filter(|problem| problem.is_error());
            broken.extend(wrong.map(|problem| Arc::clone(&problem.location.file)));
            problems.extend(found);
            if broken.len() == before {
                break (assembled, model);
            }
        };
        // What else is wrong with the broken files when they are put together with the others.
        if !broken.is_empty() {
            let all = assemble(&self.inputs(project, watched, &BTreeSet::new()));
            problems.extend(
                all.problems
                    .into_iter()
                    .filter(|problem| broken.contains(&problem.location.file)),
            );
        }
        for (file, _) in fresh() {
            let finished = if broken.contains(file) {
                watched.good.get(&key(file)).cloned()
            } else {
                Some(assembled.by_file.get(file).cloned().unwrap_or_default())
            };
            if let Some(finished) = finished {
                good.insert(key(file), finished);
            }
        }
        sort(&mut problems);
        problems.dedup();
        Loaded {
            model,
            problems: Arc::new(problems),
        }
    }
}

fn read_builtin(builtin: Builtin) -> Result<Vec<(Arc<str>, FileContent)>> {
    let Builtin::All { sessions_padding } = builtin else {
        return Ok(Vec::new());
    };
    let padding = if sessions_padding { "TRUE" } else { "FALSE" };
    let mut read = Vec::new();
    for (path, text) in BUILTIN {
        let file: Arc<str> = Arc::from(*path);
        let content = read_file(&file, &text.replace(PADDING_PLACEHOLDER, padding));
        if let Some(problem) = content.problems.first() {
            return Err(Error::internal(format!("built-in cube: {problem}")));
        }
        read.push((file, content));
    }
    Ok(read)
}

/// Reads the files whose stamp differs, and all templates when any has, and forgets those that are gone. Whether anything
/// changed.
fn read_changed(watched: &mut Watched, found: Vec<Found>) -> bool {
    let all: BTreeMap<Arc<str>, &Found> = found.iter().map(|file| (Arc::clone(&file.name), file)).collect();
    let same = |file: &Found| watched.read.get(&file.name).is_some_and(|old| old.stamp == file.stamp);
    if found.len() == watched.read.len() && found.iter().all(same) {
        return false;
    }
    let mut read = BTreeMap::new();
    for file in &found {
        let old = watched.read.remove(&file.name);
        let entry = match old.filter(|old| old.stamp == file.stamp && !old.template) {
            Some(old) => old,
            None => read_one(file, &all),
        };
        read.insert(Arc::clone(&file.name), entry);
    }
    watched.read = read;
    true
}

fn read_one(file: &Found, all: &BTreeMap<Arc<str>, &Found>) -> Read {
    let (content, template) = match templates::text(file, all) {
        Ok((text, None)) => (read_file(&file.name, &text), false),
        Ok((text, Some(rendered))) => (read_rendered(&file.name, &text, &rendered.lines), true),
        Err((line, message)) => {
            let location = Location {
                file: Arc::clone(&file.name),
                line,
            };
            let content = FileContent {
                problems: vec![Problem::error(location, message)],
                ..FileContent::default()
            };
            (content, true)
        }
    };
    Read {
        stamp: file.stamp.clone(),
        scope: file.scope.clone(),
        template,
        content,
    }
}

fn model_of(assembled: &Assembled) -> Model {
    let mut hash = blake3::Hasher::new();
    for cube in assembled.cubes.values() {
        hash.update(format!("{cube:?}").as_bytes());
    }
    hash.update(format!("{:?}", assembled.view_groups).as_bytes());
    Model {
        cubes: assembled.cubes.clone(),
        view_groups: assembled.view_groups.clone(),
        version: hash.finalize().to_hex().chars().take(32).collect(),
    }
}

fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| {
        let place = |problem: &Problem| {
            (
                Arc::clone(&problem.location.file),
                problem.location.line,
                problem.severity,
            )
        };
        place(a).cmp(&place(b)).then_with(|| a.message.cmp(&b.message))
    });
}

/// Logs what a change of the folder brought.
fn report(current: &Current, first: bool) {
    let cubes = current.shared.model.cubes.len();
    if !first {
        tracing::info!(cubes, projects = current.projects.len(), "models reloaded");
    }
    let mut seen: Vec<&Problem> = Vec::new();
    let loaded = std::iter::once(&current.shared).chain(current.projects.values());
    for problem in loaded.flat_map(|loaded| loaded.problems.iter()) {
        if seen.contains(&problem) {
            continue;
        }
        seen.push(problem);
        if problem.is_error() {
            tracing::error!(at = %problem.location, "{}; the file is not used until it is mended, its last good version is", problem.message);
        } else {
            tracing::warn!(at = %problem.location, "{}", problem.message);
        }
    }
}

/// Everything that is wrong with the files of a model folder. `engine::check_models` adds the check of the SQL.
///
/// # Errors
/// `Model` when the folder does not exist.
pub fn check(models_dir: &Path, check_sql: Option<SqlCheck>) -> Result<Vec<Problem>> {
    let catalog = Catalog::open(CatalogOptions {
        builtin: Builtin::All {
            sessions_padding: false,
        },
        models_dir: Some(models_dir.to_owned()),
        clock: crate::clock::FixedClock::new(0),
        check_sql,
    })?;
    Ok(catalog.all_problems())
}

#[cfg(test)]
mod tests;

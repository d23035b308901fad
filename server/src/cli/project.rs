//! `tally project`: adds and lists projects.

use super::output::say;
use super::{Context, Failed, Outcome};
use crate::app::make_folder;
use crate::auth::{Project, Projects, Retention};
use clap::Subcommand;
use engine::ProjectId;
use engine::clock::{Clock, SystemClock};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Adds a project, or further write keys to one
    Add {
        /// What people call it
        name: String,
        /// The id that tokens name, `gitlab_project_7` for instance; made from the name when it is not given
        #[arg(long)]
        id: Option<String>,
        /// A write key to accept, as an SDK is configured already; may be given several times
        #[arg(long = "write-key", value_name = "KEY")]
        write_keys: Vec<String>,
    },
    /// Changes a project
    Set {
        /// The project's id
        id: String,
        /// How long its events are kept: days (`400d`), `forever`, or `default` for what the setting retention_days says
        #[arg(long, value_name = "DAYS", value_parser = retention)]
        retention: Kept,
    },
    /// Lists the projects with their write keys
    List,
}

/// How long events are kept; `None`: as the setting says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept(Option<Retention>);

fn retention(text: &str) -> Result<Kept, String> {
    Ok(Kept(match text {
        "default" => None,
        "forever" => Some(Retention::Forever),
        days => Some(Retention::Days(
            crate::config::days(days).map_err(|allowed| format!("{allowed}, or `forever`, or `default`"))?,
        )),
    }))
}

/// Does it.
pub(super) fn run(context: &Context, action: Action) -> Outcome {
    let data_dir = &context.settings.data_dir;
    match action {
        Action::Add { name, id, write_keys } => {
            make_folder(data_dir)?;
            let projects = Projects::open(data_dir)?;
            let id = match id {
                Some(id) => ProjectId::new(&id)?,
                None => new_id(&name, &projects)?,
            };
            let project = projects.add(&id, &name, &write_keys, &now())?;
            say(&format!("project    {} ({})", project.id, project.name));
            say(&format!("write key  {}", project.write_keys.join(", ")));
        }
        Action::Set { id, retention } => {
            let project = Projects::open(data_dir)?.set_retention(&ProjectId::new(&id)?, retention.0)?;
            let words = project.retention.map_or_else(
                || "kept as the setting retention_days says".to_owned(),
                super::life::in_words,
            );
            say(&format!("{}: events are {words}", project.id));
        }
        Action::List => {
            let projects = Projects::open(data_dir)?.list();
            if projects.is_empty() {
                say(&format!(
                    "no projects yet in {}: `tally serve` makes the first",
                    data_dir.display()
                ));
            }
            for project in projects {
                say(&format!(
                    "{}  {}  {}",
                    project.id,
                    project.name,
                    project.write_keys.join(", ")
                ));
            }
        }
    }
    Ok(())
}

/// The first project of a new server.
pub(super) fn make_first(projects: &Projects) -> std::io::Result<Project> {
    let id = ProjectId::new("default").map_err(std::io::Error::other)?;
    projects.add(&id, "Default project", &[], &now())
}

/// An id made of the name's letters and digits.
fn new_id(name: &str, projects: &Projects) -> Result<ProjectId, Failed> {
    let lower = name.to_lowercase();
    let words = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let text: String = words.collect::<Vec<_>>().join("_").chars().take(64).collect();
    let id = ProjectId::new(&text)
        .map_err(|_| Failed::Message(format!("no id can be made from `{name}`: give one with --id")))?;
    if projects.contains(&id) {
        return Err(Failed::Message(format!(
            "project `{id}` exists already: give another id with --id, or --id {id} to add a write key to it"
        )));
    }
    Ok(id)
}

/// The current instant, RFC 3339.
pub(super) fn now() -> String {
    let micros = SystemClock.now_micros();
    let instant = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    instant.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

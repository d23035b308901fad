//! `tally token`: a token for queries of one project.

use super::output::{say, say_error};
use super::{Context, Failed, Outcome};
use crate::auth::{Projects, Secrets, jwt};
use crate::config::{Settings, duration};
use clap::Args;
use engine::ProjectId;
use engine::clock::{Clock, SystemClock};
use std::time::Duration;

/// Longest life a token is given: beyond it a leaked token is as good as a password.
const TTL_MAX: Duration = Duration::from_secs(3650 * 86_400);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The project's id; may be left out when there is only one
    #[arg(long, short)]
    project: Option<String>,
    /// How long it is valid: 90s, 15m, 12h, 30d
    #[arg(long, default_value = "30d", value_name = "TIME", value_parser = ttl)]
    ttl: Duration,
}

/// Prints the token alone, so that `$(tally token)` works.
pub(super) fn run(context: &Context, options: &Options) -> Outcome {
    let settings = &context.settings;
    let projects = Projects::open(&settings.data_dir)?;
    let project = match &options.project {
        Some(id) => ProjectId::new(id)?,
        None => only_project(&projects, settings)?,
    };
    if !projects.contains(&project) {
        say_error(&format!(
            "note: there is no project `{project}` in {}; its token answers as an empty project",
            settings.data_dir.display()
        ));
    }
    if !settings.data_dir.is_dir() && settings.api_secret.is_none() {
        return Err(Failed::Message(format!(
            "there is no secret yet in {}: start `tally serve` once, or name the folder with --data-dir",
            settings.data_dir.display()
        )));
    }
    let secrets = Secrets::open(settings)?;
    say(&mint(settings, &secrets, &project, options.ttl)?);
    Ok(())
}

/// A token for `project` that is valid from now on.
pub(super) fn mint(
    settings: &Settings,
    secrets: &Secrets,
    project: &ProjectId,
    ttl: Duration,
) -> engine::Result<String> {
    let secret = secrets.signing().expose().as_bytes();
    let claim = settings.project_claim.split(',').next().unwrap_or_default().trim();
    jwt::mint(secret, claim, project, SystemClock.now_micros(), ttl.as_secs())
}

/// The only project there is.
pub(super) fn only_project(projects: &Projects, settings: &Settings) -> Result<ProjectId, Failed> {
    match projects.list().as_slice() {
        [only] => Ok(only.id.clone()),
        [] => Err(Failed::Message(format!(
            "there are no projects in {}: start `tally serve` once, or name the folder with --data-dir",
            settings.data_dir.display()
        ))),
        several => {
            let ids: Vec<_> = several.iter().map(|project| project.id.as_str()).collect();
            Err(Failed::Message(format!(
                "name the project with --project: one of {}",
                ids.join(", ")
            )))
        }
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text).ok_or("write a number and s, m, h or d, such as `12h`")?;
    if ttl.is_zero() || ttl > TTL_MAX {
        return Err("it must be from 1s to 3650d".to_owned());
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("12h"), Ok(Duration::from_secs(43_200)));
        for wrong in ["", "5", "h", "-1s", "0s", "4000d", "1w", "99999999999999999999d"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }
}

//! `tally wiring`: how to connect SDKs, Cube clients and GitLab to this server, ready to paste.

use super::output::{program, say};
use super::{Context, Failed, Outcome, token};
use crate::auth::{Project, Projects, Secrets};
use crate::config::Settings;
use clap::Args;
use engine::ProjectId;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The project's id; may be left out when there is only one
    #[arg(long, short)]
    project: Option<String>,
}

/// Prints the sheet of one project.
pub(super) fn run(context: &Context, options: &Options) -> Outcome {
    let settings = &context.settings;
    let projects = Projects::open(&settings.data_dir)?;
    let id = match &options.project {
        Some(id) => ProjectId::new(id)?,
        None => token::only_project(&projects, settings)?,
    };
    let Some(project) = projects.list().into_iter().find(|project| project.id == id) else {
        return Err(Failed::Message(format!(
            "there is no project `{id}` in {}: `tally project list` shows all",
            settings.data_dir.display()
        )));
    };
    let secrets = Secrets::open(settings)?;
    say(&sheet(settings, &[project], &secrets, true));
    Ok(())
}

/// The sheet. `show_secret`: whether the API key itself may stand in it, or only where it is.
pub(super) fn sheet(settings: &Settings, projects: &[Project], secrets: &Secrets, show_secret: bool) -> String {
    let Some(project) = projects.first() else {
        return String::new();
    };
    let url = settings.base_url();
    let tally = format!("{}{}", program(), data_dir_flag(settings));
    let api_key = match (show_secret, &settings.api_secret) {
        (true, _) => secrets.signing().expose().to_owned(),
        (false, Some(_)) => "(the setting api_secret)".to_owned(),
        (false, None) => format!(
            "(in {}; `{tally} wiring` prints it)",
            settings.data_dir.join("secret").display()
        ),
    };
    let Facts { key, id, base } = &facts(settings, project);
    format!(
        r#"
Tally {version} at {url}
  data        {data_dir}
  models      {models_dir}   cubes and funnels, read again when a file changes
  project     {id}
  write key   {key}
  API key     {api_key}

SEND AN EVENT
  curl {url}/v1/events -H 'X-Write-Key: {key}' \
    -d '{{"type":"page","url":"https://example.com/page1.html","anonymous_id":"me"}}'

ASK FOR IT
  curl {url}{base}/v1/load -H "Authorization: $({tally} token --project {id})" \
    -H 'Content-Type: application/json' -d '{{"query":{{"measures":["TrackedEvents.count"]}}}}'

GITLAB'S BROWSER SDK (npm @gitlab/application-sdk-browser). It sends no page view by itself: call page().
  import {{ glClientSDK }} from '@gitlab/application-sdk-browser';
  const tally = glClientSDK({{ appId: '{key}', host: '{url}' }});
  tally.page();

JITSU'S SDK (npm @jitsu/sdk-js)
  import {{ jitsuClient }} from '@jitsu/sdk-js';
  const tally = jitsuClient({{ key: '{key}', tracking_host: '{url}' }});
  tally.track('pageview');

A SNOWPLOW TRACKER (npm @snowplow/browser-tracker)
  newTracker('tally', '{url}', {{ appId: '{key}' }});
  trackPageView();

CUBE CLIENTS (npm @cubejs-client/core)
  cube('<token of `{tally} token --project {id}`>', {{ apiUrl: '{url}{base}/v1' }})

GITLAB, queries. A GitLab project asks for the Tally project gitlab_project_<its number>; to make one:
  {tally} project add 'My app' --id gitlab_project_7 --write-key THE-APP-ID-OF-ITS-SDK
  Cube API URL             {url}/
  Cube API key             the API key above
  In both eras: an address in a private network must be allowed under Admin > Settings > Network > Outbound requests.
  15.6 to 16.3 (Jitsu)     Jitsu host {url}; project ID, administrator and ClickHouse URL are not asked for queries
  15.11 to 18 (Snowplow)   Collector host {url}
  Setting up a project from within GitLab (Jitsu's administration, the configurator) is not answered yet.
"#,
        version = env!("CARGO_PKG_VERSION"),
        data_dir = settings.data_dir.display(),
        models_dir = settings.models_dir().display(),
    )
}

struct Facts {
    key: String,
    id: String,
    base: String,
}

fn facts(settings: &Settings, project: &Project) -> Facts {
    Facts {
        key: project.write_keys.first().cloned().unwrap_or_default(),
        id: project.id.to_string(),
        base: settings.base_path.clone(),
    }
}

/// ` --data-dir X` where the data folder is not the default, so that a printed command works as it stands.
pub(super) fn data_dir_flag(settings: &Settings) -> String {
    let default = Settings::default().data_dir;
    if settings.data_dir == default {
        return String::new();
    }
    let path = settings.data_dir.display().to_string();
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let path = if plain {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    };
    format!(" --data-dir {path}")
}

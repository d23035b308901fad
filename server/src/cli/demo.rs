//! `tally demo`: a server with a demo site, made at the first start and found again at the next.

use super::output::{program, say, style};
use super::{Context, Failed, Outcome, project, runtime, serve, token, wiring};
use crate::app::{App, SharedApp};
use crate::auth::secrets::write_private;
use crate::demo::{DAYS, DemoSite, MODEL_FILES, SEED};
use engine::clock::{DAY_MICROS, Micros, SystemClock};
use engine::ingest::Batch;
use engine::{ErrorKind, ProjectId};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where the demo keeps its data unless told otherwise.
pub(super) const DATA_DIR: &str = "./tally-data/demo";
/// The demo's project.
const PROJECT: &str = "demo";
/// Its write key; the data is not worth a secret one.
const WRITE_KEY: &str = "demo-write-key";
/// Events in one append: enough to share an fsync, few enough for the buffer's bound.
const BATCH_EVENTS: usize = 2_000;
/// How long to wait when the engine asks to slow down.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(20);
/// How long the printed token is valid.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 86_400);

/// What is remembered of the demo data between starts.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    seed: u64,
    /// The instant up to which there are events.
    until_micros: Micros,
    /// Events stored; `None` while they are being made.
    events: Option<u64>,
}

/// Makes the data if there is none, and serves.
pub(super) fn run(context: &Context) -> Outcome {
    let mut settings = context.settings.clone();
    if settings.log == "info" {
        // What the demo prints says the same in fewer words.
        "warn".clone_into(&mut settings.log);
    }
    crate::log::start(&settings);
    serve::warn_about(context);
    runtime()?.block_on(demo(context))
}

async fn demo(context: &Context) -> Outcome {
    let settings = &context.settings;
    let listener = serve::bind(settings.listen).await?;
    let stop = serve::on_signals()?;
    refuse_real_data(&settings.data_dir)?;
    write_models(&settings.models_dir())?;
    let app = App::open(settings.clone(), Arc::new(SystemClock)).await?;
    let mark_path = mark_path(&settings.data_dir);
    let mark = begin(&mark_path, app.clock().now_micros())?;
    let project = ProjectId::new(PROJECT)?;
    app.projects
        .add(&project, "Demo shop", &[WRITE_KEY.to_owned()], &project::now())?;
    let until = mark.until_micros;
    let events = match mark.events {
        Some(events) => events,
        None => match make(&app, &project, mark, &mark_path, stop.clone()).await? {
            Some(events) => events,
            None => {
                app.engine.close().await?;
                say("Stopped before the demo data was complete; the next start goes on.");
                return Ok(());
            }
        },
    };
    say(&what_next(&app, &project, events, until)?);
    serve::until_stopped(listener, app, stop).await?;
    say("Stopped. The data is kept; the next `tally demo` finds it.");
    Ok(())
}

/// A folder of a real server must not get a demo's project and events.
fn refuse_real_data(data_dir: &Path) -> Outcome {
    if data_dir.join("projects.json").exists() && !mark_path(data_dir).exists() {
        return Err(Failed::Message(format!(
            "{} holds the data of a server that is no demo; choose another folder with --data-dir",
            data_dir.display()
        )));
    }
    Ok(())
}

/// The mark of an earlier start, or a new one. A start that was broken off is taken up with its own date, so that no event
/// is made twice.
fn begin(path: &Path, now: Micros) -> std::io::Result<Mark> {
    if let Some(mark) = read_mark(path) {
        return Ok(mark);
    }
    let mark = Mark {
        seed: SEED,
        until_micros: now,
        events: None,
    };
    write_mark(path, &mark)?;
    Ok(mark)
}

/// Makes the events and stores them; `None` when it was told to stop.
async fn make(
    app: &SharedApp,
    project: &ProjectId,
    mark: Mark,
    mark_path: &Path,
    stop: watch::Receiver<bool>,
) -> Result<Option<u64>, Failed> {
    let started = Instant::now();
    let mut site = DemoSite::new(mark.seed, mark.until_micros);
    let progress = progress();
    let mut events = 0;
    while let Some(day) = site.next_day() {
        let mut day = day.into_iter();
        loop {
            let batch: Vec<_> = day.by_ref().take(BATCH_EVENTS).collect();
            if batch.is_empty() {
                break;
            }
            if *stop.borrow() {
                progress.abandon();
                return Ok(None);
            }
            let receipt = append(app, project, batch).await?;
            events += receipt;
            progress.set_message(format!("{} events", thousands(events)));
        }
        progress.inc(1);
    }
    progress.set_message("writing Parquet");
    app.engine.flush().await?;
    progress.finish_and_clear();
    let made = Mark {
        events: Some(events),
        ..mark
    };
    write_mark(mark_path, &made)?;
    say(&format!(
        "Made {} events of {DAYS} days in {:.1} s.",
        thousands(events),
        started.elapsed().as_secs_f64()
    ));
    Ok(Some(events))
}

/// Stores a batch; how many events of it are stored now, by this or an earlier start.
async fn append(app: &App, project: &ProjectId, events: Vec<engine::event::Event>) -> engine::Result<u64> {
    let bytes = events.iter().map(engine::event::Event::memory_bytes).sum();
    let permit = loop {
        match app.engine.admit(bytes) {
            Ok(permit) => break permit,
            Err(error) if error.kind() == ErrorKind::Overloaded => tokio::time::sleep(OVERLOAD_PAUSE).await,
            Err(error) => return Err(error),
        }
    };
    let batch = Batch {
        events,
        rejected: Vec::new(),
    };
    let receipt = app.engine.append(project, batch).await?;
    drop(permit);
    Ok(receipt.stored + receipt.duplicate)
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("Making the demo site  {bar:30}  day {pos} of {len}  {msg}");
    let target = ProgressDrawTarget::stderr();
    if target.is_hidden() {
        say("Making the demo site: 30 days, some 200,000 events …");
    }
    let bar = ProgressBar::with_draw_target(Some(DAYS.unsigned_abs()), target);
    // The template is a constant that a test has parsed.
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn mark_path(data_dir: &Path) -> PathBuf {
    data_dir.join("demo.json")
}

fn read_mark(path: &Path) -> Option<Mark> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write_mark(path: &Path, mark: &Mark) -> std::io::Result<()> {
    write_private(path, &serde_json::to_vec(mark)?)
}

/// Writes the demo's models; a file that is there already may have been edited and stays.
fn write_models(folder: &Path) -> std::io::Result<()> {
    for (name, content) in MODEL_FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if !path.exists() {
            std::fs::write(path, content)?;
        }
    }
    Ok(())
}

fn what_next(app: &App, project: &ProjectId, events: u64, until: Micros) -> engine::Result<String> {
    let settings = &app.settings;
    let (url, base) = (settings.base_url(), &settings.base_path);
    let token = token::mint(settings, &app.secrets, project, TOKEN_TTL)?;
    let date = |micros: Micros| {
        let instant = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
        instant.format("%Y-%m-%d").to_string()
    };
    let (from, to) = (date(until - (DAYS - 1) * DAY_MICROS), date(until));
    let head = |text: &str| style(text, "1");
    let token_line = format!("TOKEN={token}");
    let age = if to == date(app.clock().now_micros()) {
        String::new()
    } else {
        let folder = settings.data_dir.display();
        format!("\n  The data ends on {to}: delete {folder} to have it made up to today.")
    };
    Ok(format!(
        r#"
{title}
  {url}   {count} events of a shop, {from} to {to}
  write key  {WRITE_KEY}
  models     {models}   change a file, ask again
  data       {data}

{h1}
  curl {url}/v1/events -H 'X-Write-Key: {WRITE_KEY}' \
    -d '{{"type":"page","url":"https://shop.example/cart","anonymous_id":"me"}}'

{h2}
  {token_line}

{h3}
  curl -s {url}{base}/v1/load -H "Authorization: $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"query":{{"measures":["completed_purchase.count"],"dimensions":["completed_purchase.step"],"filters":[{{"member":"completed_purchase.date","operator":"inDateRange","values":["{from}","{to}"]}}]}}}}'

{h4}
  curl -s {url}{base}/v1/load -H "Authorization: $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"query":{{"measures":["TrackedEvents.pageViewsCount"],"timeDimensions":[{{"dimension":"TrackedEvents.derivedTstamp","granularity":"day","dateRange":"last 30 days"}}]}}}}'

  {program} wiring{flag}   shows how to connect SDKs, Cube clients and GitLab.
  Ctrl-C stops; the next `{program} demo` finds the data.{age}"#,
        title = head(&format!("Tally {} is running the demo", env!("CARGO_PKG_VERSION"))),
        count = thousands(events),
        models = settings.models_dir().display(),
        data = settings.data_dir.display(),
        h1 = head("Send an event"),
        h2 = head("A token for the queries below"),
        h3 = head("How many buy? The checkout funnel"),
        h4 = head("Page views of each day"),
        program = program(),
        flag = wiring::data_dir_flag(settings),
    ))
}

/// `200000` as `200,000`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 12, 999, 1_000, 123_456, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
    }
}

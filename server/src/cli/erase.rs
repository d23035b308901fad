//! `tally erase`: takes a visitor, or a stretch of time, out of everything that is kept, and proves it with a receipt.

use super::life::text;
use super::operate::{confirm, operate};
use super::output::say;
use super::{Context, Failed, Outcome};
use crate::auth::secrets::{fill_random, hex, write_private};
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Erases everything of a visitor: every event and rejected event that bears the id, and what earlier states kept
    Visitor {
        /// The id: of a user, an anonymous visitor, a device or the network, exactly as it was sent
        id: String,
        /// Also erases events of others that mention the id in a text, such as a property or an address
        #[arg(long)]
        also_in_properties: bool,
        /// Does not look for such mentions; faster
        #[arg(long, conflicts_with = "also_in_properties")]
        skip_mentions: bool,
        #[command(flatten)]
        options: Options,
    },
    /// Erases everything that happened in a stretch of time
    Range {
        /// First day (2026-01-31) or instant (2026-01-31T12:00:00Z)
        from: String,
        /// Last day, which is erased whole, or the instant after the last
        to: String,
        #[command(flatten)]
        options: Options,
    },
    /// Looks again whether what a receipt says is true
    Verify {
        /// The receipt's file
        receipt: PathBuf,
        /// The visitor's id, which a receipt does not hold
        #[arg(long)]
        visitor: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A project's id; several times for several. Without it: all projects of a visitor, the only project of a range
    #[arg(long, short)]
    project: Vec<String>,
    /// Tells what would be erased and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
    /// File of the receipt [default: a new one in the folder `receipts` of the data folder]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

/// Does it.
pub(super) fn run(context: &Context, action: Action) -> Outcome {
    match action {
        Action::Visitor {
            id,
            also_in_properties,
            skip_mentions,
            options,
        } => {
            let mut parameters = json!({
                "visitor": id,
                "mentions": also_in_properties,
                "count_mentions": !skip_mentions,
            });
            if !options.project.is_empty() {
                parameters["projects"] = json!(options.project);
            }
            let place = places(&options.project);
            let mut salt = [0; 16];
            fill_random(&mut salt)?;
            let salt = hex(&salt);
            let subject = json!({
                "kind": "visitor",
                // An id may be an address of a person: the receipt proves which it was to who knows it, and tells nobody.
                "salt": salt,
                "id_hash": id_hash(&salt, &id),
                "also_in_properties": also_in_properties,
            });
            erase(
                context,
                &parameters,
                subject,
                &format!("everything of visitor `{id}` in {place}"),
                &options,
            )
        }
        Action::Range { from, to, options } => {
            let projects = match options.project.as_slice() {
                [] => vec![super::life::project_of(context, None)?.to_string()],
                named => named.to_vec(),
            };
            let (from, to) = (first_instant(&from)?, end_instant(&to)?);
            let parameters = json!({"from": from, "to": to, "projects": projects});
            let subject = json!({"kind": "range", "from": from, "to": to});
            let what = format!("everything from {from} until before {to} in {}", places(&projects));
            erase(context, &parameters, subject, &what, &options)
        }
        Action::Verify { receipt, visitor } => verify(context, &receipt, visitor.as_deref()),
    }
}

fn places(projects: &[String]) -> String {
    match projects {
        [] => "all projects".to_owned(),
        [only] => format!("project `{only}`"),
        several => format!("projects {}", several.join(", ")),
    }
}

fn erase(context: &Context, parameters: &Value, subject: Value, what: &str, options: &Options) -> Outcome {
    if options.dry_run {
        let mut parameters = parameters.clone();
        parameters["dry_run"] = json!(true);
        let told = operate(context, "erase", &parameters)?;
        say(&format!("{what}: {} rows would be erased", told["rows"]));
        tell_tables(&told);
        return Ok(());
    }
    let question = format!("Erase {what}, for ever? Earlier states of the tables concerned go with it.");
    confirm(&question, options.yes)?;
    let told = operate(context, "erase", parameters)?;
    let receipt = receipt(subject, parameters, &told);
    let path = match &options.receipt {
        Some(path) => path.clone(),
        None => new_file(&context.settings.data_dir, &receipt)?,
    };
    write_private(&path, format!("{receipt:#}\n").as_bytes())?;
    say(&format!("{what}: {} rows erased", told["rows"]));
    tell_tables(&told);
    let remaining = told["remaining"].as_u64().unwrap_or(u64::MAX);
    say(&format!(
        "looked again through {} files: {remaining} rows are left",
        told["verified_files"]
    ));
    if told["later"].as_u64().unwrap_or(0) > 0 {
        say(&format!(
            "{} rows came meanwhile and are kept: an id is not banned",
            told["later"]
        ));
    }
    say(&format!("receipt  {}", path.display()));
    say(&format!("blake3   {}", text(&receipt["blake3"])));
    match remaining {
        0 => Ok(()),
        _ => Err(Failed::Message(format!(
            "{remaining} rows or objects are left: another process writes to the same store, or there is a defect; run the command again"
        ))),
    }
}

fn tell_tables(told: &Value) {
    for table in told["tables"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let number = |key: &str| table[key].as_u64().unwrap_or(0);
        say(&format!(
            "  {}, {}: {} rows, and {} in files of earlier states; {} files rewritten, {} removed, {} deleted; version {}",
            text(&table["project"]),
            text(&table["table"]),
            number("rows"),
            number("old_rows"),
            number("files_rewritten"),
            number("files_removed"),
            number("files_deleted"),
            table["version"],
        ));
    }
    if told["mentions"].as_u64().unwrap_or(0) > 0 {
        say(&format!(
            "  note: {} events of others mention the id in a text; --also-in-properties erases these too",
            told["mentions"]
        ));
    }
}

/// What was done, with a hash over all of it.
fn receipt(subject: Value, parameters: &Value, told: &Value) -> Value {
    let mut receipt = json!({
        "receipt": "tally erase",
        "format": 1,
        "tally": env!("CARGO_PKG_VERSION"),
        "subject": subject,
        "projects": parameters.get("projects").cloned().unwrap_or(Value::Null),
        "done": told,
    });
    receipt["blake3"] = json!(blake3::hash(receipt.to_string().as_bytes()).to_hex().to_string());
    receipt
}

/// Whether a receipt is as it was written.
fn is_unchanged(receipt: &Value) -> bool {
    let mut bare = receipt.clone();
    let Some(stated) = bare.as_object_mut().and_then(|fields| fields.shift_remove("blake3")) else {
        return false;
    };
    stated.as_str() == Some(blake3::hash(bare.to_string().as_bytes()).to_hex().as_str())
}

fn id_hash(salt: &str, id: &str) -> String {
    blake3::hash(format!("{salt}\0{id}").as_bytes()).to_hex().to_string()
}

fn new_file(data_dir: &Path, receipt: &Value) -> Result<PathBuf, Failed> {
    let folder = data_dir.join("receipts");
    std::fs::create_dir_all(&folder)
        .map_err(|error| Failed::Message(format!("cannot make the folder {}: {error}", folder.display())))?;
    let when: String = text(&receipt["done"]["started_at"])
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let short = text(&receipt["blake3"]).get(..8).unwrap_or_default();
    Ok(folder.join(format!("erase-{when}-{short}.json")))
}

fn verify(context: &Context, path: &Path, visitor: Option<&str>) -> Outcome {
    let wrong = |what: &str| Failed::Message(format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
    let receipt: Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&format!("it is no receipt: {error}")))?;
    if receipt["receipt"] != json!("tally erase") {
        return Err(wrong("it is no receipt of `tally erase`"));
    }
    if !is_unchanged(&receipt) {
        return Err(wrong(
            "it was changed after it was written: its hash is not that of its content",
        ));
    }
    let subject = &receipt["subject"];
    let mut parameters = json!({"dry_run": true, "received_until": receipt["done"]["started_at"]});
    if !receipt["projects"].is_null() {
        parameters["projects"] = receipt["projects"].clone();
    }
    if subject["kind"] == json!("visitor") {
        let id = visitor.ok_or_else(|| wrong("it does not hold the visitor's id: give it with --visitor ID"))?;
        if id_hash(text(&subject["salt"]), id) != text(&subject["id_hash"]) {
            return Err(wrong(&format!("it is of another visitor than `{id}`")));
        }
        parameters["visitor"] = json!(id);
        parameters["mentions"] = subject["also_in_properties"].clone();
    } else {
        parameters["from"] = subject["from"].clone();
        parameters["to"] = subject["to"].clone();
    }
    let told = operate(context, "erase", &parameters)?;
    let remaining = told["remaining"].as_u64().unwrap_or(u64::MAX);
    say(&format!(
        "{remaining} rows are left of what the receipt says was erased"
    ));
    if told["later"].as_u64().unwrap_or(0) > 0 {
        say(&format!("{} rows came since", told["later"]));
    }
    match remaining {
        0 => Ok(()),
        _ => Err(wrong(
            "it is not true any more: a backup may have been restored; erase again",
        )),
    }
}

/// The beginning of a day, or an instant.
pub(super) fn first_instant(text: &str) -> Result<String, Failed> {
    match day(text) {
        Some(day) => Ok(written(day)),
        None => instant(text),
    }
}

/// The beginning of the day after a day, or an instant.
pub(super) fn end_instant(text: &str) -> Result<String, Failed> {
    match day(text) {
        Some(day) => Ok(written(day.checked_add_days(Days::new(1)).unwrap_or(day))),
        None => instant(text),
    }
}

fn day(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

fn written(day: NaiveDate) -> String {
    format!("{day}T00:00:00Z")
}

fn instant(text: &str) -> Result<String, Failed> {
    let instant = DateTime::parse_from_rfc3339(text).map_err(|_| {
        Failed::Message(format!(
            "`{text}` is no day such as 2026-01-31 and no instant such as 2026-01-31T12:00:00Z"
        ))
    })?;
    Ok(instant.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_that_was_changed_is_told() {
        let whole = receipt(
            json!({"kind": "range"}),
            &json!({}),
            &json!({"rows": 3, "started_at": "2026-01-01T00:00:00Z"}),
        );
        assert!(is_unchanged(&whole));
        let text = format!("{whole:#}");
        assert!(
            is_unchanged(&serde_json::from_str(&text).unwrap()),
            "also after it was written for people"
        );
        let mut changed = whole.clone();
        changed["done"]["rows"] = json!(4);
        assert!(!is_unchanged(&changed));
        changed = whole;
        changed.as_object_mut().unwrap().shift_remove("blake3");
        assert!(!is_unchanged(&changed));
    }

    #[test]
    fn ends_of_ranges() {
        assert_eq!(first_instant("2026-02-28").unwrap_or_default(), "2026-02-28T00:00:00Z");
        assert_eq!(end_instant("2026-02-28").unwrap_or_default(), "2026-03-01T00:00:00Z");
        assert_eq!(
            end_instant("2026-02-28T01:00:00+01:00").unwrap_or_default(),
            "2026-02-28T00:00:00Z"
        );
        assert!(first_instant("yesterday").is_err());
    }
}

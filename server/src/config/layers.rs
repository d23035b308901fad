//! Where a setting's value comes from: default, file, environment, flag, each over the one before.

use super::table::{SETTINGS, Setting};
use super::{Secret, Settings};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use indexmap::IndexMap;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// A file and a one-based line.
    File(PathBuf, u64),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Env(name) => write!(f, "${name}"),
            Origin::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A wrong setting: where it was written and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what may be written instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Settings given as flags. Its arguments are made from the table.
#[derive(Debug, Clone, Default)]
pub struct SettingFlags {
    values: Vec<(&'static str, String)>,
}

/// The name of each setting's flag, in the order of the table; clap wants them to live for ever.
static FLAGS: LazyLock<Vec<String>> = LazyLock::new(|| SETTINGS.iter().map(Setting::flag).collect());

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Some(value) = matches.get_one::<String>(setting.key) {
                self.values.push((setting.key, value.clone()));
            }
        }
        Ok(())
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        SETTINGS
            .iter()
            .zip(FLAGS.iter())
            .fold(command, |command, (setting, flag)| {
                let default = match setting.default {
                    "" => String::new(),
                    default => format!(" [default: {default}]"),
                };
                let env = setting.env.first().copied().unwrap_or_default();
                command.arg(
                    Arg::new(setting.key)
                        .long(flag.as_str())
                        .value_name(setting.value_name)
                        .help(format!("{}{default} [env: {env}]", setting.help))
                        .global(true)
                        .hide_short_help(!matches!(setting.key, "listen" | "data_dir"))
                        .help_heading("Settings (all of them: --help; what they are now: tally config)"),
                )
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// One setting after all layers: the text that won and where it stood.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The setting's key.
    pub key: &'static str,
    /// The text that won.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
}

/// The layers a value may come from, before they are laid over each other.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The settings file, if one is read.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// The command line.
    pub flags: SettingFlags,
    /// Defaults that stand in for those of the table, for a command with other habits (`demo`).
    pub defaults: Vec<(&'static str, String)>,
}

impl Layers {
    /// Lays the layers over each other and parses each value.
    ///
    /// # Errors
    /// Every wrong value and unknown key, all at once.
    pub fn resolve(&self) -> Result<(Settings, Vec<Resolved>), Vec<Problem>> {
        let mut problems = Vec::new();
        let file = self.read_file(&mut problems);
        let resolved: Vec<Resolved> = SETTINGS.iter().map(|setting| self.winner(setting, &file)).collect();
        let mut settings = Settings::default();
        for entry in &resolved {
            let Some(setting) = Setting::find(entry.key) else {
                continue;
            };
            if let Err(allowed) = (setting.apply)(&mut settings, &entry.text) {
                let shown = if setting.secret { "(hidden)" } else { &entry.text };
                problems.push(Problem {
                    origin: entry.origin.clone(),
                    message: format!("`{}` is `{shown}`: {allowed}", entry.key),
                });
            }
        }
        self.add_store_options(&mut settings);
        problems.sort_by_key(|problem| match problem.origin {
            Origin::File(_, line) => line,
            _ => u64::MAX,
        });
        if problems.is_empty() {
            Ok((settings, resolved))
        } else {
            Err(problems)
        }
    }

    /// Variables of our prefix that no setting reads: likely misspelt, but not an error, since an orchestrator may set
    /// such names for its own reasons.
    pub fn unknown_env(&self) -> Vec<String> {
        let known = |name: &str| {
            let of_settings = SETTINGS.iter().any(|setting| setting.env.contains(&name));
            of_settings || name == CONFIG_ENV
        };
        let ours = self.env.iter().map(|(name, _)| name);
        ours.filter(|name| name.starts_with("TALLY_") && !known(name))
            .cloned()
            .collect()
    }

    fn winner(&self, setting: &Setting, file: &IndexMap<String, (String, Origin)>) -> Resolved {
        let of = |text: &str, origin| Resolved {
            key: setting.key,
            text: text.to_owned(),
            origin,
        };
        if let Some((_, text)) = self.flags.values.iter().find(|(key, _)| *key == setting.key) {
            return of(text, Origin::Flag(setting.flag()));
        }
        for name in setting.env {
            if let Some((_, text)) = self.env.iter().find(|(key, text)| key == name && !text.is_empty()) {
                return of(text, Origin::Env((*name).to_owned()));
            }
        }
        if let Some((text, origin)) = file.get(setting.key) {
            return of(text, origin.clone());
        }
        let instead = self.defaults.iter().find(|(key, _)| *key == setting.key);
        of(instead.map_or(setting.default, |(_, text)| text), Origin::Default)
    }

    /// The file's settings by key; what is wrong with the file goes to `problems`.
    fn read_file(&self, problems: &mut Vec<Problem>) -> IndexMap<String, (String, Origin)> {
        let Some(path) = &self.file else { return IndexMap::new() };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(Problem {
                    origin: Origin::File(path.clone(), 1),
                    message: format!("cannot read the settings file: {error}"),
                });
                return IndexMap::new();
            }
        };
        parse_file(path, &text, problems)
    }

    /// Credentials that clouds put into the environment, under what is set explicitly.
    fn add_store_options(&self, settings: &mut Settings) {
        for (name, value) in &self.env {
            let key = name.to_ascii_lowercase();
            let of_cloud = ["aws_", "google_", "azure_"]
                .iter()
                .any(|prefix| key.starts_with(prefix));
            if of_cloud && !settings.store_options.iter().any(|(set, _)| *set == key) {
                settings.store_options.push((key, Secret::new(value)));
            }
        }
    }
}

/// Names the settings file. Not a setting itself: it decides where settings are read.
pub const CONFIG_ENV: &str = "TALLY_CONFIG";

fn parse_file(path: &Path, text: &str, problems: &mut Vec<Problem>) -> IndexMap<String, (String, Origin)> {
    let mut found = IndexMap::new();
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return found;
    }
    let entries: IndexMap<String, serde_saphyr::Spanned<Value>> = match serde_saphyr::from_str(text) {
        Ok(entries) => entries,
        Err(error) => {
            let line = error.location().map_or(1, |location| location.line());
            problems.push(Problem {
                origin: Origin::File(path.to_owned(), line),
                message: format!("not a mapping of settings: {}", first_line(&error.to_string())),
            });
            return found;
        }
    };
    for (key, value) in entries {
        let origin = Origin::File(path.to_owned(), line_of(text, &key, value.referenced.line()));
        if Setting::find(&key).is_none() {
            let message = format!("unknown setting `{key}`{}", did_you_mean(&key));
            problems.push(Problem { origin, message });
            continue;
        }
        match text_of(&value.value) {
            Some(value) => {
                found.insert(key, (value, origin));
            }
            None => problems.push(Problem {
                origin,
                message: format!("`{key}` must be one value or a list of values"),
            }),
        }
    }
    found
}

/// The line of a top-level key; a value that is a list or a mapping begins a line later than its key.
fn line_of(text: &str, key: &str, value_line: u64) -> u64 {
    let at = text.lines().position(|line| {
        let rest = line.strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    });
    at.map_or(value_line, |at| at as u64 + 1)
}

/// A YAML value as the text a flag would have: lists and mappings joined by commas.
fn text_of(value: &Value) -> Option<String> {
    let scalar = |value: &Value| match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    };
    match value {
        Value::Array(items) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        Value::Object(entries) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| scalar(value).map(|value| format!("{key}={value}")));
            pairs.collect::<Option<Vec<_>>>().map(|pairs| pairs.join(","))
        }
        value => scalar(value),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn did_you_mean(key: &str) -> String {
    let nearest = SETTINGS
        .iter()
        .map(|setting| (strsim::levenshtein(key, setting.key), setting.key))
        .min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + key.len() / 4 => format!("; did you mean `{nearest}`?"),
        _ => "; `tally config` lists all settings".to_owned(),
    }
}

//! From one file's text to its cubes, views and funnels. Every error of the file is reported, each with its line.
//!
//! What needs other files (references, `extends`, duplicate cubes) is left to `validate`.

mod dimension;
mod funnel;
mod member;
mod policy;
mod rollup;
mod stage;
mod view;

pub(super) use member::is_member_path;
pub(super) use view::{RawFolder, RawFolderItem, RawInclude, RawIncluded, RawView};

use super::template::SqlTemplate;
use super::view::ViewGroup;
use super::yaml::{self, CUBE_KEYS, FILE_KEYS, HIERARCHY_KEYS, JOIN_KEYS, Key, Keys, Node, Use, Value};
use super::{
    AccessPolicy, CubeSource, Dialect, Dimension, Hierarchy, Join, Location, Measure, PreAggregation, Problem,
    RefreshKey, Relationship, Segment,
};
use std::collections::HashSet;
use std::sync::Arc;

/// A cube as its file says it: templates are split but their names are not looked up.
#[derive(Debug, Clone)]
pub(super) struct RawCube {
    pub name: String,
    pub location: Location,
    pub title: Option<String>,
    pub description: Option<String>,
    pub public: Option<bool>,
    pub source: Option<CubeSource>,
    pub dialect: Option<Dialect>,
    pub extends: Option<(String, Location)>,
    pub aliases: Vec<(String, Location)>,
    pub measures: Vec<Measure>,
    pub dimensions: Vec<Dimension>,
    pub segments: Vec<Segment>,
    pub joins: Vec<Join>,
    /// Levels are as written.
    pub hierarchies: Vec<Hierarchy>,
    pub access_policy: Vec<AccessPolicy>,
    /// Names in it are as written.
    pub pre_aggregations: Vec<PreAggregation>,
    pub refresh_key: Option<RefreshKey>,
    pub sql_alias: Option<String>,
    pub data_source: Option<String>,
    pub calendar: Option<bool>,
    pub meta: Option<serde_json::Value>,
    pub unsupported: Vec<(String, Location)>,
    /// A key of the cube without which every answer would be wrong.
    pub blocked: Option<String>,
    /// Names of members that have errors and are left out; references to them are no further errors.
    pub failed: Vec<String>,
}

impl RawCube {
    /// A cube of which nothing else is said.
    fn new(name: String, source: impl Into<Option<CubeSource>>, location: Location) -> RawCube {
        RawCube {
            name,
            location,
            title: None,
            description: None,
            public: None,
            source: source.into(),
            dialect: None,
            extends: None,
            aliases: Vec::new(),
            measures: Vec::new(),
            dimensions: Vec::new(),
            segments: Vec::new(),
            joins: Vec::new(),
            hierarchies: Vec::new(),
            access_policy: Vec::new(),
            pre_aggregations: Vec::new(),
            refresh_key: None,
            sql_alias: None,
            data_source: None,
            calendar: None,
            meta: None,
            unsupported: Vec::new(),
            blocked: None,
            failed: Vec::new(),
        }
    }
}

/// What one file holds.
#[derive(Debug, Clone, Default)]
pub(super) struct FileContent {
    pub cubes: Vec<RawCube>,
    pub views: Vec<RawView>,
    pub groups: Vec<ViewGroup>,
    pub problems: Vec<Problem>,
}

/// Reads a file. `file` is its path as messages show it.
pub(super) fn read_file(file: &Arc<str>, text: &str) -> FileContent {
    read_rendered(file, text, &[])
}

/// Reads what a template made; `lines` are the template's lines of the text's, in order, when they are known.
pub(super) fn read_rendered(file: &Arc<str>, text: &str, lines: &[u32]) -> FileContent {
    let mut reader = Reader {
        file: Arc::clone(file),
        prefix: String::new(),
        content: FileContent::default(),
    };
    match yaml::parse(text) {
        Ok(mut node) => {
            if !lines.is_empty() {
                node.move_lines(lines);
            }
            reader.document(&node);
        }
        Err((line, message)) => reader.error(yaml::moved(line, lines), message),
    }
    reader.content
}

struct Reader {
    file: Arc<str>,
    /// `Name cube: `, put before every message.
    prefix: String,
    content: FileContent,
}

/// The known entries of a mapping.
struct Fields<'n> {
    entries: Vec<(&'static str, Use, &'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        let entry = self.entries.iter().find(|(known, ..)| *known == name);
        entry
            .map(|(_, _, _, node)| *node)
            .filter(|node| node.value != Value::Null)
    }

    /// The line of a key, or else `line`.
    fn line(&self, name: &str, line: u32) -> u32 {
        let entry = self.entries.iter().find(|(known, ..)| *known == name);
        entry.map_or(line, |(_, _, key, _)| key.line)
    }

    /// Keys of this use that are switched on: neither null nor false.
    fn used(&self, of: Use) -> impl Iterator<Item = (&'static str, u32)> {
        let on = |node: &Node| !matches!(node.value, Value::Null | Value::Bool(false));
        let found = self
            .entries
            .iter()
            .filter(move |(_, found, _, node)| *found == of && on(node));
        found.map(|(name, _, key, _)| (*name, key.line))
    }
}

impl Reader {
    fn at(&self, line: u32) -> Location {
        Location {
            file: Arc::clone(&self.file),
            line,
        }
    }

    fn error(&mut self, line: u32, message: impl AsRef<str>) {
        let message = format!("{}{}", self.prefix, message.as_ref());
        let problem = Problem::error(self.at(line), message);
        self.content.problems.push(problem);
    }

    fn warning(&mut self, line: u32, message: impl AsRef<str>) {
        let message = format!("{}{}", self.prefix, message.as_ref());
        let problem = Problem::warning(self.at(line), message);
        self.content.problems.push(problem);
    }

    fn document(&mut self, node: &Node) {
        let entries = match &node.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            _ => {
                return self.error(
                    node.line,
                    "the file must hold keys and values: `cubes:`, `views:` or a funnel",
                );
            }
        };
        let has = |wanted: &[&str]| {
            entries
                .iter()
                .any(|(key, _)| wanted.contains(&yaml::snake_case(&key.text).as_str()))
        };
        let in_funnels = self.file.starts_with("funnels/") || self.file.contains("/funnels/");
        if has(&["steps", "seconds_to_convert"]) || (in_funnels && !has(&["cubes", "views", "funnels"])) {
            let base = self.file.rsplit('/').next().unwrap_or_default();
            let base = base.rsplit_once('.').map_or(base, |(stem, _)| stem).to_owned();
            return self.funnel(node, Some(&base));
        }
        for (key, value) in entries {
            match FILE_KEYS.find(&key.text) {
                Some(("cubes", _)) => self.each(value, &key.text, Self::cube),
                Some(("views", _)) => self.each(value, &key.text, Self::view),
                Some(("view_groups", _)) => self.each(value, &key.text, Self::view_group),
                Some(("funnels", _)) => self.each(value, &key.text, |reader, node| reader.funnel(node, None)),
                Some(_) => {}
                None => self.error(
                    key.line,
                    format!(
                        "Unexpected YAML key: {}. Only 'cubes', 'views', 'view_groups' and 'funnels' are allowed here.",
                        key.text
                    ),
                ),
            }
        }
    }

    /// Calls `read` for each element of a list.
    fn each(&mut self, node: &Node, path: &str, mut read: impl FnMut(&mut Self, &Node)) {
        match &node.value {
            Value::Null => {}
            Value::List(items) => {
                for item in items {
                    read(self, item);
                }
            }
            _ => self.error(node.line, format!("\"{path}\" must be a list")),
        }
    }

    /// The entries of a mapping whose keys are known; unknown and repeated keys are errors.
    fn fields<'n>(&mut self, node: &'n Node, keys: &Keys, path: &str) -> Option<Fields<'n>> {
        let Value::Map(map) = &node.value else {
            let named = if path.is_empty() { keys.object } else { path };
            self.error(node.line, format!("\"{named}\" must be of type object"));
            return None;
        };
        let mut entries: Vec<(&'static str, Use, &Key, &Node)> = Vec::new();
        for (key, value) in map {
            let full = join_path(path, &key.text);
            match keys.find(&key.text) {
                None => {
                    let hint = keys.nearest(&key.text).map(|near| format!("; did you mean `{near}`?"));
                    let shown = shorten(value);
                    self.error(
                        key.line,
                        format!("({full} = {shown}) is not allowed{}", hint.unwrap_or_default()),
                    );
                }
                Some((name, _)) if entries.iter().any(|(known, ..)| *known == name) => {
                    self.error(key.line, format!("\"{full}\" is given twice"));
                }
                Some((name, used)) => entries.push((name, used, key, value)),
            }
        }
        Some(Fields { entries })
    }

    /// The text of a scalar key.
    fn text(&mut self, fields: &Fields<'_>, name: &'static str, path: &str) -> Option<String> {
        let node = fields.get(name)?;
        if matches!(node.value, Value::List(_) | Value::Map(_)) {
            let full = join_path(path, &yaml::camel_case(name));
            self.error(node.line, format!("\"{full}\" must be a string"));
        }
        node.text()
    }

    fn boolean(&mut self, fields: &Fields<'_>, name: &'static str, path: &str) -> Option<bool> {
        let node = fields.get(name)?;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                let full = join_path(path, &yaml::camel_case(name));
                self.error(node.line, format!("\"{full}\" must be a boolean"));
                None
            }
        }
    }

    /// `public`, or its older name `shown`.
    fn public(&mut self, fields: &Fields<'_>, path: &str) -> Option<bool> {
        let shown = self.boolean(fields, "shown", path);
        self.boolean(fields, "public", path).or(shown)
    }

    /// The template of a key that holds SQL. The line is the key's, because the text may be folded.
    fn template(&mut self, fields: &Fields<'_>, name: &'static str, path: &str) -> Option<SqlTemplate> {
        let text = self.text(fields, name, path)?;
        let line = fields.line(name, 0);
        match SqlTemplate::parse(&text, self.at(line)) {
            Ok(template) => Some(template),
            Err(message) => {
                let full = join_path(path, &yaml::camel_case(name));
                self.error(line, format!("({full}) {message}"));
                None
            }
        }
    }

    /// The name of a cube or a member; reports a missing or impossible one.
    fn name(&mut self, fields: &Fields<'_>, node: &Node, path: &str) -> Option<String> {
        let Some(name) = self.text(fields, "name", path) else {
            self.error(node.line, format!("({}) is required", join_path(path, "name")));
            return None;
        };
        if is_identifier(&name) {
            return Some(name);
        }
        let full = join_path(path, &name);
        let line = fields.line("name", node.line);
        let rule = "fails to match the identifier pattern: letters, digits and `_`, and no digit first";
        self.error(line, format!("\"{full}\" {rule}"));
        None
    }

    fn cube(&mut self, node: &Node) {
        let named = node.named();
        self.prefix = named.map_or_else(|| "cube: ".to_owned(), |name| format!("{name} cube: "));
        self.named_cube(node);
        self.prefix.clear();
    }

    fn named_cube(&mut self, node: &Node) {
        let Some(fields) = self.fields(node, &CUBE_KEYS, "") else {
            return;
        };
        let source = self.source(&fields, node.line, fields.get("extends").is_some());
        let aliases = self.aliases(&fields);
        let Some(mut cube) = self.base(&fields, node) else {
            return;
        };
        cube.source = source;
        cube.aliases = aliases;
        cube.dialect = self.dialect(&fields);
        if let Some(list) = fields.get("joins") {
            self.each(list, "joins", |reader, node| cube.joins.extend(reader.join(node)));
        }
        if let Some(list) = fields.get("hierarchies") {
            self.each(list, "hierarchies", |reader, node| {
                cube.hierarchies.extend(reader.hierarchy(node));
            });
        }
        if let Some(list) = fields.get("pre_aggregations") {
            self.each(list, "preAggregations", |reader, node| {
                cube.pre_aggregations.extend(reader.pre_aggregation(node));
            });
        }
        if let Some(node) = fields.get("refresh_key") {
            let line = fields.line("refresh_key", node.line);
            cube.refresh_key = self.refresh_key(node, line, "refreshKey", true);
        }
        cube.sql_alias = self.text(&fields, "sql_alias", "");
        cube.data_source = self.text(&fields, "data_source", "");
        cube.calendar = self.boolean(&fields, "calendar", "");
        self.duplicates(&cube);
        self.content.cubes.push(cube);
    }

    /// What cubes and views share: name, texts and members. `None` without a name, when all else is checked.
    fn base(&mut self, fields: &Fields<'_>, node: &Node) -> Option<RawCube> {
        let name = self.name(fields, node, "");
        let extends = self.text(fields, "extends", "");
        let mut cube = RawCube {
            title: self.text(fields, "title", ""),
            description: self.text(fields, "description", ""),
            public: self.public(fields, ""),
            extends: extends.map(|parent| (parent, self.at(fields.line("extends", node.line)))),
            access_policy: self.policies(fields),
            meta: fields.get("meta").map(Node::json),
            ..RawCube::new(name.clone().unwrap_or_default(), None, self.at(node.line))
        };
        if let Some(list) = fields.get("measures") {
            self.each(list, "measures", |reader, node| match reader.measure(node) {
                Some(measure) => cube.measures.push(measure),
                None => cube.failed.extend(node.named()),
            });
        }
        if let Some(list) = fields.get("dimensions") {
            self.each(list, "dimensions", |reader, node| match reader.dimension(node) {
                Some(dimension) => cube.dimensions.push(dimension),
                None => cube.failed.extend(node.named()),
            });
        }
        if let Some(list) = fields.get("segments") {
            self.each(list, "segments", |reader, node| match reader.segment(node) {
                Some(segment) => cube.segments.push(segment),
                None => cube.failed.extend(node.named()),
            });
        }
        for (key, line) in fields.used(Use::Unanswered) {
            self.warning(
                line,
                format!("`{key}` is not answered yet; queries of this cube are refused"),
            );
            cube.unsupported.push((key.to_owned(), self.at(line)));
            cube.blocked = Some(key.to_owned());
        }
        name.map(|_| cube)
    }

    fn hierarchy(&mut self, node: &Node) -> Option<Hierarchy> {
        let fields = self.fields(node, &HIERARCHY_KEYS, "hierarchies")?;
        let name = self.name(&fields, node, "hierarchies")?;
        let path = format!("hierarchies.{name}");
        if fields.get("levels").is_none() {
            self.error(node.line, format!("({path}.levels) is required"));
        }
        let levels = self.texts(&fields, "levels", &path).into_iter();
        Some(Hierarchy {
            title: self.text(&fields, "title", &path),
            public: self.boolean(&fields, "public", &path).unwrap_or(true),
            levels: levels
                .map(|(level, _)| level.trim_matches(['{', '}', ' ']).to_owned())
                .collect(),
            alias_member: None,
            location: self.at(node.line),
            name,
        })
    }

    /// `dialect`, else a `data_source` that has a dialect's name.
    fn dialect(&mut self, fields: &Fields<'_>) -> Option<Dialect> {
        let source = self.text(fields, "data_source", "");
        let Some(name) = self.text(fields, "dialect", "") else {
            return source.as_deref().and_then(Dialect::named);
        };
        let found = Dialect::named(&name);
        if found.is_none() {
            let line = fields.line("dialect", 0);
            self.error(
                line,
                format!("\"dialect\" must be `clickhouse` or `postgres`, not `{name}`"),
            );
        }
        found
    }

    fn source(&mut self, fields: &Fields<'_>, line: u32, inherits: bool) -> Option<CubeSource> {
        let table = self.text(fields, "sql_table", "");
        let sql = self.template(fields, "sql", "");
        match (table, sql) {
            (Some(_), Some(_)) => {
                let line = fields.line("sql", line).max(fields.line("sql_table", line));
                self.error(line, "You must use either sql or sqlTable within a model, but not both");
                None
            }
            (Some(table), None) => Some(CubeSource::Table(table)),
            (None, Some(sql)) => Some(CubeSource::Sql(sql)),
            (None, None) => {
                if !inherits && fields.get("sql").is_none_or(|sql| sql.text().is_none()) {
                    self.error(line, "\"value\" must contain at least one of [sql, sqlTable]");
                }
                None
            }
        }
    }

    /// Our own key: further names under which the cube answers.
    fn aliases(&mut self, fields: &Fields<'_>) -> Vec<(String, Location)> {
        let mut aliases = Vec::new();
        if let Some(list) = fields.get("aliases") {
            self.each(list, "aliases", |reader, node| match node.text() {
                Some(alias) if is_identifier(&alias) => aliases.push((alias, reader.at(node.line))),
                other => reader.error(
                    node.line,
                    format!("\"aliases.{}\" is no name of a cube", other.unwrap_or_default()),
                ),
            });
        }
        aliases
    }

    fn join(&mut self, node: &Node) -> Option<Join> {
        let fields = self.fields(node, &JOIN_KEYS, "joins")?;
        let target = self.name(&fields, node, "joins")?;
        let path = format!("joins.{target}");
        let sql = self.template(&fields, "sql", &path);
        if fields.get("sql").is_none() {
            self.error(node.line, format!("({path}.sql) is required"));
        }
        let written = self.text(&fields, "relationship", &path);
        let relationship = written.as_deref().and_then(Relationship::from_name);
        if relationship.is_none() {
            let line = fields.line("relationship", node.line);
            let allowed = "[belongsTo, belongs_to, many_to_one, manyToOne, hasMany, has_many, one_to_many, oneToMany, hasOne, \
                           has_one, one_to_one, oneToOne]";
            self.error(line, format!("\"{path}.relationship\" must be one of {allowed}"));
        }
        Some(Join {
            target,
            relationship: relationship?,
            sql: sql?,
            location: self.at(node.line),
        })
    }

    /// Names that occur twice in a cube, in Cube's words.
    fn duplicates(&mut self, cube: &RawCube) {
        let mut seen: HashSet<(&str, &str)> = HashSet::new();
        let measures = cube.measures.iter().map(|m| ("measure", &m.name, &m.location));
        let dimensions = cube.dimensions.iter().map(|d| ("dimension", &d.name, &d.location));
        let segments = cube.segments.iter().map(|s| ("segment", &s.name, &s.location));
        let rollups = cube.pre_aggregations.iter();
        let rollups = rollups.map(|p| ("preAggregation", &p.name, &p.location));
        let hierarchies = cube.hierarchies.iter().map(|h| ("hierarchies", &h.name, &h.location));
        let others = rollups.chain(hierarchies);
        for (kind, name, location) in measures.chain(dimensions).chain(segments).chain(others) {
            if !seen.insert((kind, name)) {
                let message = format!(
                    "Member names must be unique within a cube. Found duplicate {kind} '{name}' in cube '{}'.",
                    cube.name
                );
                self.error(location.line, message);
            } else if ["measure", "dimension", "segment", "preAggregation", "hierarchies"]
                .iter()
                .any(|k| *k != kind && seen.contains(&(*k, name.as_str())))
            {
                self.error(location.line, format!("{name} defined more than once"));
            }
        }
    }
}

fn join_path(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Whether `name` can name a cube or a member.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A value for a message, cut when it is long.
fn shorten(node: &Node) -> String {
    let text = node.text().unwrap_or_else(|| node.json().to_string());
    if text.chars().count() <= 40 {
        return text;
    }
    let head: String = text.chars().take(40).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests;

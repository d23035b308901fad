//! Pre-aggregations and refresh keys.

use super::super::refresh::{check_cron, is_interval};
use super::super::rollup::{BASE_KEYS, ROLLUP_KINDS, RollupKindRow};
use super::super::yaml::{self, Keys, Node, PRE_AGGREGATION_KEYS, Use, Value};
use super::super::{PreAggregation, RefreshKey, RollupIndex, RollupKind, RollupTime, TimeUnit};
use super::{Fields, Reader, shorten};
use serde_json::{Map, Value as Json, json};

const PARTITIONS: &[TimeUnit] = &[
    TimeUnit::Hour,
    TimeUnit::Day,
    TimeUnit::Week,
    TimeUnit::Month,
    TimeUnit::Quarter,
    TimeUnit::Year,
];
const INDEX_KEYS: Keys = Keys {
    object: "index",
    keys: &[
        ("name", Use::Answered),
        ("columns", Use::Answered),
        ("type", Use::Answered),
        ("sql", Use::Answered),
    ],
};
const TIME_KEYS: Keys = Keys {
    object: "time_dimensions",
    keys: &[("dimension", Use::Answered), ("granularity", Use::Answered)],
};
const COLUMN_KEYS: Keys = Keys {
    object: "output_column_types",
    keys: &[("member", Use::Answered), ("type", Use::Answered)],
};
const REFRESH_KEYS: Keys = Keys {
    object: "refresh_key",
    keys: &[
        ("every", Use::Answered),
        ("sql", Use::Answered),
        ("timezone", Use::Answered),
        ("incremental", Use::Answered),
        ("update_window", Use::Answered),
        ("immutable", Use::Answered),
    ],
};

/// The keys of lists of members, and where extended meta shows their text.
const LISTS: [(&str, Option<&str>); 4] = [
    ("measures", Some("measureReferences")),
    ("dimensions", Some("dimensionReferences")),
    ("segments", None),
    ("rollups", None),
];

impl Reader {
    pub(super) fn pre_aggregation(&mut self, node: &Node) -> Option<PreAggregation> {
        let fields = self.fields(node, &PRE_AGGREGATION_KEYS, "preAggregations")?;
        let name = self.name(&fields, node, "preAggregations")?;
        let path = format!("preAggregations.{name}");
        let row = self.rollup_kind(&fields, node.line, &path)?;
        self.rollup_keys(&fields, row, node.line, &path);
        let lists = LISTS.map(|(key, _)| references(fields.get(key)).0);
        let [measures, dimensions, segments, rollups] = lists;
        let range = |reader: &mut Self, new: &'static str, old: &'static str| {
            let key = if fields.get(new).is_some() { new } else { old };
            let node = fields.get(key)?;
            reader.sql_of(node, &format!("{path}.{}", yaml::camel_case(key)))
        };
        let build_range_start = range(self, "build_range_start", "refresh_range_start");
        let build_range_end = range(self, "build_range_end", "refresh_range_end");
        let refresh_key = fields.get("refresh_key").and_then(|node| {
            let line = fields.line("refresh_key", node.line);
            self.refresh_key(node, line, &format!("{path}.refreshKey"), false)
        });
        let scheduled = ![RollupKind::RollupJoin, RollupKind::RollupLambda].contains(&row.kind);
        Some(PreAggregation {
            times: self.rollup_times(&fields, &path),
            partition_granularity: self.partition(&fields, &path),
            indexes: self.rollup_indexes(&fields, &path),
            output_column_types: self.output_columns(&fields, &path),
            unique_key_columns: self
                .texts(&fields, "unique_key_columns", &path)
                .into_iter()
                .map(|n| n.0)
                .collect(),
            scheduled_refresh: self.boolean(&fields, "scheduled_refresh", &path).unwrap_or(scheduled),
            union_with_source_data: self.boolean(&fields, "union_with_source_data", &path).unwrap_or(false),
            shown: shown(&fields, row, refresh_key.as_ref()),
            location: self.at(node.line),
            kind: row.kind,
            name,
            measures,
            dimensions,
            segments,
            rollups,
            refresh_key,
            build_range_start,
            build_range_end,
        })
    }

    fn rollup_kind(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<&'static RollupKindRow> {
        let written = match self.text(fields, "type", path) {
            Some(written) => written,
            None if fields.entries.len() > 1 => "rollup".to_owned(),
            None => {
                self.error(line, format!("({path}.type) is required"));
                return None;
            }
        };
        let snake = yaml::snake_case(&written);
        let row = ROLLUP_KINDS.iter().find(|row| row.yaml == snake);
        if row.is_none() {
            let names: Vec<&str> = ROLLUP_KINDS.iter().map(|row| row.wire).collect();
            let line = fields.line("type", line);
            self.error(line, format!("\"{path}.type\" must be one of [{}]", names.join(", ")));
        }
        row
    }

    /// Which keys go with which others.
    fn rollup_keys(&mut self, fields: &Fields<'_>, row: &RollupKindRow, line: u32, path: &str) {
        let has = |name: &str| fields.get(name).is_some();
        for (key, _, written, node) in &fields.entries {
            let known =
                ["name", "type"].contains(key) || row.keys.contains(key) || (row.base && BASE_KEYS.contains(key));
            let timeless = !has("time_dimension") && *key == "granularity" && row.kind == RollupKind::Rollup;
            if node.value != Value::Null && (!known || timeless) {
                let (camel, value) = (yaml::camel_case(&yaml::snake_case(&written.text)), shorten(node));
                self.error(written.line, format!("({path}.{camel} = {value}) is not allowed"));
            }
        }
        let mut need = |key: &'static str, when: bool| {
            if when && !has(key) {
                self.error(line, format!("({path}.{}) is required", yaml::camel_case(key)));
            }
        };
        let joined = [RollupKind::RollupJoin, RollupKind::RollupLambda].contains(&row.kind);
        need("rollups", joined);
        need(
            "granularity",
            row.kind != RollupKind::OriginalSql && has("time_dimension"),
        );
        need("time_dimension", joined && has("granularity"));
        let original = row.kind == RollupKind::OriginalSql;
        need("partition_granularity", original && has("time_dimension"));
        need("time_dimension", original && has("partition_granularity"));
    }

    fn partition(&mut self, fields: &Fields<'_>, path: &str) -> Option<TimeUnit> {
        let written = self.text(fields, "partition_granularity", path)?;
        let unit = PARTITIONS.iter().copied().find(|unit| unit.name() == written);
        if unit.is_none() {
            let names: Vec<&str> = PARTITIONS.iter().map(|unit| unit.name()).collect();
            let line = fields.line("partition_granularity", 0);
            let names = names.join(", ");
            self.error(
                line,
                format!("({path}.partitionGranularity = {written}) must be one of [{names}]"),
            );
        }
        unit
    }

    fn rollup_times(&mut self, fields: &Fields<'_>, path: &str) -> Vec<RollupTime> {
        if fields.get("time_dimension").is_some() {
            let (names, _) = references(fields.get("time_dimension"));
            let granularity = self.text(fields, "granularity", path);
            let time = |dimension| RollupTime {
                dimension,
                granularity: granularity.clone(),
            };
            return names.into_iter().map(time).collect();
        }
        let mut times = Vec::new();
        for (at, item) in self.items(fields, "time_dimensions", path).into_iter().enumerate() {
            let path = format!("{path}.timeDimensions[{at}]");
            let Some(fields) = self.fields(item, &TIME_KEYS, &path) else {
                continue;
            };
            let (names, _) = references(fields.get("dimension"));
            let granularity = self.text(&fields, "granularity", &path);
            if granularity.is_none() {
                self.error(item.line, format!("({path}.granularity) is required"));
            }
            times.extend(names.into_iter().map(|dimension| RollupTime {
                dimension,
                granularity: granularity.clone(),
            }));
        }
        times
    }

    fn rollup_indexes(&mut self, fields: &Fields<'_>, path: &str) -> Vec<RollupIndex> {
        let mut indexes: Vec<RollupIndex> = Vec::new();
        for item in self.items(fields, "indexes", path) {
            let path = format!("{path}.indexes");
            let Some(fields) = self.fields(item, &INDEX_KEYS, &path) else {
                continue;
            };
            let Some(name) = self.name(&fields, item, &path) else {
                continue;
            };
            let path = format!("{path}.{name}");
            if fields.get("columns").is_none() && fields.get("sql").is_none() {
                self.error(item.line, format!("({path}.columns) is required"));
            }
            let kind = self
                .text(&fields, "type", &path)
                .unwrap_or_else(|| "regular".to_owned());
            if !["regular", "aggregate"].contains(&kind.as_str()) {
                let line = fields.line("type", item.line);
                self.error(
                    line,
                    format!("({path}.type = {kind}) must be one of [regular, aggregate]"),
                );
            }
            if indexes.iter().any(|index| index.name == name) {
                self.error(item.line, format!("Found duplicate preAggregation.index '{name}'"));
            }
            indexes.push(RollupIndex {
                columns: references(fields.get("columns")).0,
                aggregate: kind == "aggregate",
                name,
            });
        }
        indexes
    }

    fn output_columns(&mut self, fields: &Fields<'_>, path: &str) -> Vec<(String, String)> {
        let mut columns = Vec::new();
        for (at, item) in self.items(fields, "output_column_types", path).into_iter().enumerate() {
            let path = format!("{path}.outputColumnTypes[{at}]");
            let Some(fields) = self.fields(item, &COLUMN_KEYS, &path) else {
                continue;
            };
            for key in ["member", "type"] {
                if fields.get(key).is_none() {
                    self.error(item.line, format!("({path}.{key}) is required"));
                }
            }
            let member = references(fields.get("member")).0.into_iter().next();
            columns.extend(member.zip(self.text(&fields, "type", &path)));
        }
        columns
    }

    /// A refresh key. Cubes may say `immutable`, pre-aggregations may be `incremental`.
    pub(super) fn refresh_key(&mut self, node: &Node, line: u32, path: &str, of_cube: bool) -> Option<RefreshKey> {
        let fields = self.fields(node, &REFRESH_KEYS, path)?;
        let has = |name: &str| fields.get(name).is_some();
        let keys: &[&str] = match (has("sql"), has("every"), of_cube) {
            (true, _, _) => &["sql", "every"],
            (false, true, true) => &["every", "timezone"],
            (false, true, false) => &["every", "timezone", "incremental", "update_window"],
            (false, false, true) => &["immutable"],
            (false, false, false) => &[],
        };
        for (key, _, written, value) in &fields.entries {
            if !keys.contains(key) && value.value != Value::Null {
                let (camel, value) = (yaml::camel_case(key), shorten(value));
                self.error(written.line, format!("({path}.{camel} = {value}) is not allowed"));
            }
        }
        if !(has("sql") || has("every") || of_cube && has("immutable")) {
            let all = if of_cube { "every, sql, immutable" } else { "sql, every" };
            self.error(line, format!("\"{path}\" must contain at least one of [{all}]"));
        }
        let every = self.text(&fields, "every", path);
        if let Some(every) = &every {
            self.every(every, has("sql"), fields.line("every", line), path);
        }
        let timezone = self.text(&fields, "timezone", path);
        if let Some(zone) = timezone.as_ref().filter(|zone| zone.parse::<chrono_tz::Tz>().is_err()) {
            let message = format!("({path}.timezone = {zone}) unknown timezone: write a name such as `Europe/Berlin`");
            self.error(fields.line("timezone", line), message);
        }
        let update_window = self.text(&fields, "update_window", path);
        if let Some(window) = update_window.as_ref().filter(|window| !is_interval(window)) {
            let line = fields.line("update_window", line);
            self.error(line, format!("({path}.updateWindow = {window}) {INTERVAL_RULE}"));
        }
        let mut shown = camelized(node);
        if let Some(entries) = shown.as_object_mut() {
            entries.remove("sql");
        }
        Some(RefreshKey {
            sql: self.template(&fields, "sql", path),
            incremental: self.boolean(&fields, "incremental", path).unwrap_or(false),
            immutable: self.boolean(&fields, "immutable", path).unwrap_or(false),
            location: self.at(line),
            every,
            timezone,
            update_window,
            shown,
        })
    }

    fn every(&mut self, every: &str, with_sql: bool, line: u32, path: &str) {
        if is_interval(every) {
            return;
        }
        if with_sql {
            return self.error(line, format!("({path}.every = {every}) {INTERVAL_RULE}"));
        }
        if let Err(why) = check_cron(every) {
            let message = format!(
                "\"{path}.every\" does not match any of the allowed types: ({path}.every = {every}) {INTERVAL_RULE}; \
                 ({path}.every = {every}) CronParser: Error: {why}"
            );
            self.error(line, message);
        }
    }
}

const INTERVAL_RULE: &str = "does not match regexp: /^(\\d+) (second|minute|hour|day|week)s?$/";

/// The names in a list or a single text, and the text that extended meta shows.
fn references(node: Option<&Node>) -> (Vec<String>, Option<String>) {
    let plain = |text: String| text.trim_matches(['{', '}', ' ']).to_owned();
    match node.map(|node| (&node.value, node)) {
        None => (Vec::new(), None),
        Some((Value::List(items), _)) => {
            let names: Vec<String> = items.iter().filter_map(Node::text).map(plain).collect();
            let text = format!("[{}]", names.join(", "));
            (names, Some(text))
        }
        Some((_, node)) => {
            let name = node.text().map(plain);
            (name.iter().cloned().collect(), name)
        }
    }
}

/// A node as JSON with its keys in camel case.
fn camelized(node: &Node) -> Json {
    match &node.value {
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                let key = yaml::camel_case(&yaml::snake_case(&key.text));
                (key, camelized(value))
            });
            Json::Object(entries.collect())
        }
        _ => node.json(),
    }
}

/// What extended meta shows: functions of Cube's, such as SQL and lists of segments, leave no trace there.
fn shown(fields: &Fields<'_>, row: &RollupKindRow, refresh_key: Option<&RefreshKey>) -> Map<String, Json> {
    let mut shown = Map::new();
    shown.insert("type".to_owned(), json!(row.wire));
    for (key, _, _, node) in &fields.entries {
        let camel = yaml::camel_case(key);
        let (name, value) = match *key {
            "name" | "type" | "segments" | "rollups" | "output_column_types" => continue,
            "measures" | "dimensions" => {
                let list = LISTS.iter().find(|(list, _)| list == key).and_then(|(_, name)| *name);
                (list.unwrap_or_default().to_owned(), json!(references(Some(node)).1))
            }
            "time_dimension" => ("timeDimensionReference".to_owned(), json!(references(Some(node)).1)),
            "time_dimensions" => ("timeDimensionReferences".to_owned(), without_dimensions(node)),
            "build_range_start" | "refresh_range_start" => ("refreshRangeStart".to_owned(), json!({})),
            "build_range_end" | "refresh_range_end" => ("refreshRangeEnd".to_owned(), json!({})),
            "refresh_key" => (camel, refresh_key.map_or(Json::Null, |key| key.shown.clone())),
            "indexes" => (camel, indexes_shown(node)),
            _ => (camel, camelized(node)),
        };
        shown.insert(name, value);
    }
    let kind = row.kind;
    let mut default = |key: &str, when: bool, value: Json| {
        if when {
            shown.entry(key).or_insert(value);
        }
    };
    let lambda = kind == RollupKind::RollupLambda;
    let timed = fields.get("time_dimension").is_some() || fields.get("time_dimensions").is_some();
    let strict = lambda || kind == RollupKind::AutoRollup;
    default("allowNonStrictDateRangeMatch", timed && !strict, json!(true));
    default(
        "scheduledRefresh",
        !lambda && kind != RollupKind::RollupJoin,
        json!(true),
    );
    let stored = [RollupKind::Rollup, RollupKind::RollupJoin].contains(&kind);
    default("external", !lambda, json!(stored));
    shown
}

fn without_dimensions(node: &Node) -> Json {
    let mut list = camelized_list(node);
    for item in &mut list {
        if let Some(entries) = item.as_object_mut() {
            entries.remove("dimension");
        }
    }
    Json::Array(list)
}

fn camelized_list(node: &Node) -> Vec<Json> {
    match &node.value {
        Value::List(items) => items.iter().map(camelized).collect(),
        _ => Vec::new(),
    }
}

fn indexes_shown(node: &Node) -> Json {
    let indexes = camelized_list(node).into_iter().filter_map(|index| {
        let name = index.get("name")?.as_str()?.to_owned();
        let kind = index.get("type").cloned().unwrap_or_else(|| json!("regular"));
        Some((name, json!({ "type": kind })))
    });
    Json::Object(indexes.collect())
}

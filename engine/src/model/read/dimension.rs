//! Parts of dimensions beside their SQL: formats, currencies, switches, links, granularities of SQL.

use super::super::dimension::{Link, LinkTarget};
use super::super::format::{check_dimension, check_measure, is_currency};
use super::super::template::Piece;
use super::super::yaml::{Keys, LINK_KEYS, Node, Use, Value};
use super::super::{CaseLabel, Dimension, DimensionSql, DimensionType, Granularity, SortOrder, SqlTemplate, TimeUnit};
use super::{Fields, Reader, shorten};

const SWITCH_WHEN_KEYS: Keys = Keys {
    object: "when",
    keys: &[("value", Use::Answered), ("sql", Use::Answered)],
};
const LINK_FORMAT_KEYS: Keys = Keys {
    object: "format",
    keys: &[("type", Use::Answered), ("label", Use::Answered)],
};
const PARAM_KEYS: Keys = Keys {
    object: "params",
    keys: &[("key", Use::Answered), ("value", Use::Answered)],
};

/// The values of the branches of `case: {switch: …}`.
pub(super) fn switch_values(fields: &Fields<'_>) -> Vec<String> {
    let entry = |node: &Node, name: &str| match &node.value {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, value)| value.clone()),
        _ => None,
    };
    let Some(case) = fields.get("case").filter(|case| entry(case, "switch").is_some()) else {
        return Vec::new();
    };
    match entry(case, "when").map(|when| when.value) {
        Some(Value::List(items)) => items.iter().filter_map(|item| entry(item, "value")?.text()).collect(),
        _ => Vec::new(),
    }
}

impl Reader {
    /// A dimension of type switch: a name and its values, as Cube has it, and nothing else.
    pub(super) fn switch(&mut self, fields: &Fields<'_>, node: &Node, name: &str, path: &str) -> Option<Dimension> {
        for (key, _, written, value) in &fields.entries {
            if !["name", "type", "values"].contains(key) {
                let value = shorten(value);
                self.error(
                    written.line,
                    format!("({path}.{} = {value}) is not allowed", written.text),
                );
            }
        }
        let values: Vec<String> = self
            .texts(fields, "values", path)
            .into_iter()
            .map(|(value, _)| value)
            .collect();
        if values.is_empty() {
            self.error(node.line, format!("({path}.values) is required"));
            return None;
        }
        let line = fields.line("type", node.line);
        self.warning(
            line,
            format!("({path}) `type: switch` is not answered yet; queries of this member are refused"),
        );
        Some(Dimension {
            unsupported: Some("type: switch".to_owned()),
            ..Dimension::new(
                name,
                DimensionType::Switch,
                DimensionSql::Switch(values),
                self.at(node.line),
            )
        })
    }

    /// `case` with `switch`: the branch whose value the switched expression has. It is a `case` of conditions.
    pub(super) fn case_switch(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<DimensionSql> {
        let switched = self.template(fields, "switch", path)?;
        let mut when = Vec::new();
        for (at, item) in self.items(fields, "when", path).into_iter().enumerate() {
            let path = format!("{path}.when[{at}]");
            let Some(branch) = self.fields(item, &SWITCH_WHEN_KEYS, &path) else {
                continue;
            };
            let value = branch.get("value").and_then(Node::text);
            if value.is_none() {
                self.error(item.line, format!("({path}.value) is required"));
            }
            let sql = self.template(&branch, "sql", &path);
            if branch.get("sql").is_none() {
                self.error(item.line, format!("({path}.sql) is required"));
            }
            if let (Some(value), Some(sql)) = (value, sql) {
                when.push((equals(&switched, &value), CaseLabel::Sql(sql)));
            }
        }
        if when.is_empty() {
            self.error(line, format!("({path}.when) is required"));
        }
        let otherwise = fields
            .get("else")
            .and_then(|node| self.sql_of(node, &format!("{path}.else")));
        Some(DimensionSql::Case {
            when,
            else_label: otherwise.map(CaseLabel::Sql),
        })
    }

    /// Checks `format` of a dimension.
    pub(super) fn dimension_format(&mut self, fields: &Fields<'_>, kind: Option<DimensionType>, path: &str) {
        let (Some(node), Some(kind)) = (fields.get("format"), kind) else {
            return;
        };
        let path = format!("{path}.format");
        if matches!(node.value, Value::Map(_)) {
            let Some(link) = self.fields(node, &LINK_FORMAT_KEYS, &path) else {
                return;
            };
            if self.text(&link, "type", &path).as_deref() != Some("link") {
                self.error(node.line, format!("({path}.type) must be [link]"));
            }
            if self.text(&link, "label", &path).is_none() {
                self.error(node.line, format!("({path}.label) is required"));
            }
            return;
        }
        let name = node.text().unwrap_or_default();
        if let Err(reason) = check_dimension(&name, kind) {
            self.error(node.line, format!("({path} = {name}) {reason}"));
        }
    }

    /// Checks `format` of a measure.
    pub(super) fn measure_format(&mut self, node: &Node, path: &str) {
        let name = node.text().unwrap_or_default();
        if let Err(reason) = check_measure(&name) {
            self.error(node.line, format!("({path}.format = {name}) {reason}"));
        }
    }

    /// `currency` in capitals. It goes with numbers only.
    pub(super) fn currency(&mut self, fields: &Fields<'_>, forbidden: bool, path: &str) -> Option<String> {
        let code = self.text(fields, "currency", path)?.to_ascii_uppercase();
        let line = fields.line("currency", 0);
        if forbidden {
            self.error(
                line,
                format!("({path}.currency) \"currency\" property can only be used with numbers"),
            );
        } else if !is_currency(&code) {
            let rule = "is not a valid currency code. Expected a valid 3-letter ISO 4217 code (e.g. USD, EUR)";
            self.error(line, format!("({path}.currency) \"{code}\" {rule}"));
        }
        Some(code)
    }

    pub(super) fn sort_order(&mut self, fields: &Fields<'_>, path: &str) -> Option<SortOrder> {
        let written = self.text(fields, "order", path)?;
        let order = [SortOrder::Asc, SortOrder::Desc]
            .into_iter()
            .find(|order| order.name() == written);
        if order.is_none() {
            let line = fields.line("order", 0);
            self.error(line, format!("({path}.order = {written}) must be one of [asc, desc]"));
        }
        order
    }

    pub(super) fn links(&mut self, fields: &Fields<'_>, path: &str) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        for (at, item) in self.items(fields, "links", path).into_iter().enumerate() {
            let path = format!("{path}.links[{at}]");
            let Some(link) = self.link(item, &path) else { continue };
            if links.iter().any(|other| other.name == link.name) {
                self.error(item.line, format!("({path}) Duplicate link name '{}'", link.name));
            }
            if link.primary && links.iter().any(|other| other.primary) {
                self.error(item.line, format!("({path}) Only one link can be marked as primary"));
            }
            links.push(link);
        }
        links
    }

    fn link(&mut self, node: &Node, path: &str) -> Option<Link> {
        let fields = self.fields(node, &LINK_KEYS, path)?;
        let name = self.name(&fields, node, path);
        let label = self.text(&fields, "label", path);
        if label.is_none() {
            self.error(node.line, format!("({path}.label) is required"));
        }
        let url = self.template(&fields, "url", path).map(LinkTarget::Url);
        let dashboard = self.text(&fields, "dashboard", path).map(LinkTarget::Dashboard);
        if url.is_some() && dashboard.is_some() {
            let rule = "contains a conflict between optional exclusive peers [url, dashboard]";
            self.error(node.line, format!("({path}) {rule}"));
        }
        let window = self.text(&fields, "target", path);
        if let Some(window) = window
            .as_ref()
            .filter(|window| !["blank", "self"].contains(&window.as_str()))
        {
            let line = fields.line("target", node.line);
            self.error(line, format!("({path}.target = {window}) must be one of [blank, self]"));
        }
        let mut params = Vec::new();
        for item in self.items(&fields, "params", path) {
            let path = format!("{path}.params");
            let Some(param) = self.fields(item, &PARAM_KEYS, &path) else {
                continue;
            };
            match self.text(&param, "key", &path) {
                Some(key) => params.push(key),
                None => self.error(item.line, format!("({path}.key) is required")),
            }
        }
        Some(Link {
            name: name?,
            label: label?,
            target: url.or(dashboard),
            icon: self.text(&fields, "icon", path),
            primary: self.boolean(&fields, "primary", path).unwrap_or(false),
            window,
            params,
        })
    }

    /// A granularity that a calendar's author computes: it must take the place of a predefined one.
    pub(super) fn granularity_of_sql(
        &mut self,
        name: String,
        fields: &Fields<'_>,
        sql: SqlTemplate,
        path: &str,
    ) -> Option<Granularity> {
        let line = fields.line("sql", 0);
        for key in ["interval", "origin", "offset"] {
            if fields.get(key).is_some() {
                let line = fields.line(key, line);
                self.error(line, format!("({path}.{key}) is not allowed with `sql`"));
            }
        }
        if TimeUnit::from_name(&name).is_none() {
            let message = format!(
                "{path}: a granularity defined with 'sql' must be named after one of the predefined granularities (day, \
                 hour, minute, month, quarter, second, week, year). Define '{name}' with 'interval' instead"
            );
            self.error(line, message);
            return None;
        }
        self.warning(
            line,
            format!("({path}) `sql` is not answered yet; queries of this granularity are refused"),
        );
        let interval = format!("1 {name}");
        let title = self.text(fields, "title", path);
        let mut granularity = Granularity::new(name, title, &interval, None, None).ok()?;
        granularity.sql = Some(sql);
        Some(granularity)
    }
}

/// The condition that `switched` is `value`.
fn equals(switched: &SqlTemplate, value: &str) -> SqlTemplate {
    let mut pieces = vec![Piece::Text("(".to_owned())];
    pieces.extend(switched.pieces.iter().cloned());
    pieces.push(Piece::Text(format!(") = '{}'", value.replace('\'', "''"))));
    SqlTemplate {
        pieces,
        ..switched.clone()
    }
}

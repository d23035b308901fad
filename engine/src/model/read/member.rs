//! Measures, dimensions and segments of a cube.

use super::super::measure::MEASURE_TYPES;
use super::super::title::titleize;
use super::super::yaml::{self, DIMENSION_KEYS, GRANULARITY_KEYS, Keys, MEASURE_KEYS, Node, SEGMENT_KEYS, Use, Value};
use super::super::{
    CaseLabel, Dimension, DimensionSql, DimensionType, Granularity, Measure, MeasureType, Segment, SqlTemplate,
};
use super::dimension::switch_values;
use super::{Fields, Reader, is_identifier, join_path};

pub(super) const SQL_ONLY: Keys = Keys {
    object: "sql",
    keys: &[("sql", Use::Answered)],
};
const CASE_KEYS: Keys = Keys {
    object: "case",
    keys: &[
        ("when", Use::Answered),
        ("else", Use::Answered),
        ("switch", Use::Answered),
    ],
};
const WHEN_KEYS: Keys = Keys {
    object: "when",
    keys: &[("sql", Use::Answered), ("label", Use::Answered)],
};
const ELSE_KEYS: Keys = Keys {
    object: "else",
    keys: &[("label", Use::Answered)],
};

impl Reader {
    /// Warns of the keys that are not answered yet and names the first that makes the member unanswerable.
    fn unanswered(&mut self, fields: &Fields<'_>, path: &str) -> Option<String> {
        let mut first = None;
        for (key, line) in fields.used(Use::Unanswered) {
            self.warning(
                line,
                format!("({path}) `{key}` is not answered yet; queries of this member are refused"),
            );
            first.get_or_insert_with(|| key.to_owned());
        }
        first
    }

    pub(super) fn measure(&mut self, node: &Node) -> Option<Measure> {
        let fields = self.fields(node, &MEASURE_KEYS, "measures")?;
        let name = self.name(&fields, node, "measures")?;
        let path = format!("measures.{name}");
        let unsupported = self.unanswered(&fields, &path);
        let kind = self.measure_type(&fields, node.line, &path);
        let stages = self.stages(&fields, node.line, &path, kind);
        let unsupported = unsupported.or(stages.unsupported);
        let sql = self.template(&fields, "sql", &path);
        if let Some(kind) = kind
            && kind.row().needs_sql
            && fields.get("sql").is_none_or(|sql| sql.text().is_none())
            && unsupported.is_none()
        {
            self.error(node.line, format!("({path}.sql) is required"));
        }
        let runs = kind == Some(MeasureType::RunningTotal);
        let numeric = kind.is_none_or(|kind| kind.row().wire == "number");
        if let Some(format) = fields.get("format") {
            self.measure_format(format, &path);
        }
        let mut filters = Vec::new();
        if let Some(list) = fields.get("filters") {
            let path = format!("{path}.filters");
            self.each(list, &path, |reader, node| filters.extend(reader.sql_of(node, &path)));
        }
        Some(Measure {
            titled: fields.get("title").and_then(Node::text).is_some(),
            short_title: self.text(&fields, "title", &path).unwrap_or_else(|| titleize(&name)),
            description: self.text(&fields, "description", &path),
            kind: kind?,
            sql,
            filters,
            drill_members: self.drill_members(&fields, &path),
            public: self.public(&fields, &path).unwrap_or(true),
            cumulative: runs || fields.get("rolling_window").is_some(),
            format: fields.get("format").map(Node::json),
            currency: self.currency(&fields, !numeric, &path),
            meta: fields.get("meta").map(Node::json),
            rolling_window: stages.rolling_window,
            multi_stage: stages.multi_stage,
            mask: self.mask(&fields, &path),
            origin: None,
            unsupported,
            location: self.at(node.line),
            name,
        })
    }

    fn measure_type(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<MeasureType> {
        let Some(written) = self.text(fields, "type", path) else {
            self.error(line, format!("({path}.type) is required"));
            return None;
        };
        let kind = MeasureType::from_yaml(&yaml::snake_case(&written));
        if kind.is_none() {
            let staged = [MeasureType::Rank, MeasureType::NumberAgg];
            let multi_stage = fields.get("multi_stage").is_some();
            let writable = MEASURE_TYPES.iter().filter(|row| row.kind != MeasureType::Funnel);
            let writable = writable.filter(|row| multi_stage || !staged.contains(&row.kind));
            let names: Vec<&str> = writable.map(|row| row.agg_type).collect();
            let line = fields.line("type", line);
            self.error(line, format!("\"{path}.type\" must be one of [{}]", names.join(", ")));
        }
        kind
    }

    fn drill_members(&mut self, fields: &Fields<'_>, path: &str) -> Vec<String> {
        let mut members = Vec::new();
        if let Some(list) = fields.get("drill_members") {
            self.each(list, &format!("{path}.drillMembers"), |reader, node| {
                match node.text() {
                    Some(member) => members.push(member.trim_matches(['{', '}', ' ']).to_owned()),
                    None => reader.error(node.line, format!("\"{path}.drillMembers\" must hold names of members")),
                }
            });
        }
        members
    }

    /// The template of a `{sql: …}` mapping.
    pub(super) fn sql_of(&mut self, node: &Node, path: &str) -> Option<SqlTemplate> {
        let fields = self.fields(node, &SQL_ONLY, path)?;
        if fields.get("sql").is_none_or(|sql| sql.text().is_none()) {
            self.error(node.line, format!("({path}.sql) is required"));
        }
        self.template(&fields, "sql", path)
    }

    pub(super) fn segment(&mut self, node: &Node) -> Option<Segment> {
        let fields = self.fields(node, &SEGMENT_KEYS, "segments")?;
        let name = self.name(&fields, node, "segments")?;
        let path = format!("segments.{name}");
        if fields.get("sql").is_none_or(|sql| sql.text().is_none()) {
            self.error(node.line, format!("({path}.sql) is required"));
        }
        Some(Segment {
            titled: fields.get("title").and_then(Node::text).is_some(),
            short_title: self.text(&fields, "title", &path).unwrap_or_else(|| titleize(&name)),
            description: self.text(&fields, "description", &path),
            sql: self.template(&fields, "sql", &path)?,
            public: self.public(&fields, &path).unwrap_or(true),
            meta: fields.get("meta").map(Node::json),
            origin: None,
            unsupported: None,
            location: self.at(node.line),
            name,
        })
    }

    pub(super) fn dimension(&mut self, node: &Node) -> Option<Dimension> {
        let fields = self.fields(node, &DIMENSION_KEYS, "dimensions")?;
        let name = self.name(&fields, node, "dimensions")?;
        let path = format!("dimensions.{name}");
        let mut unsupported = self.unanswered(&fields, &path);
        let kind = self.dimension_type(&fields, node.line, &path);
        if kind == Some(DimensionType::Switch) {
            return self.switch(&fields, node, &name, &path);
        }
        if let Some(values) = fields.get("values") {
            self.error(
                values.line,
                format!("({path}.values) is allowed in dimensions of type switch only"),
            );
        }
        let sql = self.dimension_sql(&fields, node.line, &path, kind, &mut unsupported);
        let primary_key = self.boolean(&fields, "primary_key", &path).unwrap_or(false);
        self.dimension_format(&fields, kind, &path);
        Some(Dimension {
            titled: fields.get("title").and_then(Node::text).is_some(),
            short_title: self.text(&fields, "title", &path).unwrap_or_else(|| titleize(&name)),
            description: self.text(&fields, "description", &path),
            kind: kind?,
            sql: sql?,
            primary_key,
            public: self.public(&fields, &path).unwrap_or(!primary_key),
            suggest_filter_values: self.boolean(&fields, "suggest_filter_values", &path).unwrap_or(true),
            format: fields.get("format").map(Node::json),
            currency: self.currency(&fields, kind != Some(DimensionType::Number), &path),
            meta: fields.get("meta").map(Node::json),
            order: self.sort_order(&fields, &path),
            key: self
                .text(&fields, "key", &path)
                .map(|key| key.trim_matches(['{', '}', ' ']).to_owned()),
            links: self.links(&fields, &path),
            switch_values: switch_values(&fields),
            granularities: self.granularities(&fields, kind, &path),
            sub_query: self.boolean(&fields, "sub_query", &path).unwrap_or(false),
            propagate_filters_to_sub_query: self
                .boolean(&fields, "propagate_filters_to_sub_query", &path)
                .unwrap_or(false),
            mask: self.mask(&fields, &path),
            origin: None,
            unsupported,
            location: self.at(node.line),
            name,
        })
    }

    fn granularities(&mut self, fields: &Fields<'_>, kind: Option<DimensionType>, path: &str) -> Vec<Granularity> {
        let mut granularities = Vec::new();
        if let Some(list) = fields.get("granularities") {
            let path = format!("{path}.granularities");
            if kind.is_some_and(|kind| kind != DimensionType::Time) {
                self.error(
                    list.line,
                    format!("\"{path}\" is allowed in dimensions of type time only"),
                );
            }
            self.each(list, &path, |reader, node| {
                granularities.extend(reader.granularity(node, &path));
            });
            self.duplicate_granularities(&granularities, list.line, &path);
        }
        granularities
    }

    fn dimension_type(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<DimensionType> {
        let Some(written) = self.text(fields, "type", path) else {
            self.error(
                line,
                format!("\"{path}\" does not match any of the allowed types: ({path}.type) is required"),
            );
            return None;
        };
        let kind = DimensionType::from_name(&written);
        if kind.is_none() {
            let known = DimensionType::ALL.iter().filter(|kind| **kind != DimensionType::Switch);
            let names: Vec<&str> = known.map(|kind| kind.name()).collect();
            let allowed = format!("({path}.type = {written}) must be one of [{}]", names.join(", "));
            let line = fields.line("type", line);
            self.error(
                line,
                format!("\"{path}\" does not match any of the allowed types: {allowed}"),
            );
        }
        kind
    }

    fn dimension_sql(
        &mut self,
        fields: &Fields<'_>,
        line: u32,
        path: &str,
        kind: Option<DimensionType>,
        unsupported: &mut Option<String>,
    ) -> Option<DimensionSql> {
        let coordinates = (fields.get("latitude"), fields.get("longitude"));
        if kind == Some(DimensionType::Geo) {
            let (Some(latitude), Some(longitude)) = coordinates else {
                let reason = format!("({path}.latitude) and ({path}.longitude) are required");
                self.error(
                    line,
                    format!("\"{path}\" does not match any of the allowed types: {reason}"),
                );
                return None;
            };
            let latitude = self.sql_of(latitude, &format!("{path}.latitude"));
            let longitude = self.sql_of(longitude, &format!("{path}.longitude"));
            return Some(DimensionSql::Geo {
                latitude: latitude?,
                longitude: longitude?,
            });
        }
        if let Some(node) = coordinates.0.or(coordinates.1) {
            self.error(
                node.line,
                format!("({path}.latitude) is allowed in dimensions of type geo only"),
            );
        }
        match (fields.get("sql").and_then(Node::text), fields.get("case")) {
            (Some(_), Some(case)) => {
                self.error(case.line, format!("\"{path}\" may have `sql` or `case`, not both"));
                None
            }
            (Some(_), None) => self.template(fields, "sql", path).map(DimensionSql::Expr),
            (None, Some(case)) => self.case(case, &format!("{path}.case")),
            (None, None) if unsupported.is_some() => {
                let nothing = SqlTemplate::parse("NULL", self.at(line)).ok()?;
                Some(DimensionSql::Expr(nothing))
            }
            (None, None) => {
                let reason = format!("({path}.sql) is required");
                self.error(
                    line,
                    format!("\"{path}\" does not match any of the allowed types: {reason}"),
                );
                None
            }
        }
    }

    fn case(&mut self, node: &Node, path: &str) -> Option<DimensionSql> {
        let fields = self.fields(node, &CASE_KEYS, path)?;
        if fields.get("switch").is_some() {
            return self.case_switch(&fields, node.line, path);
        }
        let mut when = Vec::new();
        match fields.get("when") {
            Some(list) => self.each(list, &format!("{path}.when"), |reader, node| {
                when.extend(reader.when(node, path))
            }),
            None => self.error(node.line, format!("({path}.when) is required")),
        }
        let else_label = fields.get("else").and_then(|node| {
            let path = format!("{path}.else");
            let fields = self.fields(node, &ELSE_KEYS, &path)?;
            self.label(&fields, node.line, &path)
        });
        Some(DimensionSql::Case { when, else_label })
    }

    fn when(&mut self, node: &Node, path: &str) -> Option<(SqlTemplate, CaseLabel)> {
        let path = format!("{path}.when");
        let fields = self.fields(node, &WHEN_KEYS, &path)?;
        let label = self.label(&fields, node.line, &path);
        if fields.get("sql").is_none() {
            self.error(node.line, format!("({path}.sql) is required"));
        }
        Some((self.template(&fields, "sql", &path)?, label?))
    }

    fn label(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<CaseLabel> {
        let path = join_path(path, "label");
        match fields.get("label") {
            Some(node) if matches!(node.value, Value::Map(_)) => self.sql_of(node, &path).map(CaseLabel::Sql),
            Some(node) if matches!(node.value, Value::List(_)) => {
                self.error(node.line, format!("\"{path}\" must be a string"));
                None
            }
            Some(node) => Some(CaseLabel::Text(node.text().unwrap_or_default())),
            None => {
                self.error(line, format!("({path}) is required"));
                None
            }
        }
    }

    fn granularity(&mut self, node: &Node, path: &str) -> Option<Granularity> {
        let fields = self.fields(node, &GRANULARITY_KEYS, path)?;
        let name = self.name(&fields, node, path)?;
        let path = format!("{path}.{name}");
        if let Some(sql) = self.template(&fields, "sql", &path) {
            return self.granularity_of_sql(name, &fields, sql, &path);
        }
        let Some(interval) = self.text(&fields, "interval", &path) else {
            self.error(node.line, format!("({path}.interval) is required"));
            return None;
        };
        let title = self.text(&fields, "title", &path);
        let origin = self.text(&fields, "origin", &path);
        let offset = self.text(&fields, "offset", &path);
        match Granularity::new(name, title, &interval, origin.as_deref(), offset.as_deref()) {
            Ok(granularity) => {
                if granularity.ignores_origin() {
                    let line = fields.line("origin", node.line);
                    let remedy = "shift the edges with `offset` instead, such as `offset: 1 month`";
                    self.warning(
                        line,
                        format!("({path}) `origin` has no effect on `{interval}`, as in Cube: {remedy}"),
                    );
                }
                Some(granularity)
            }
            Err(message) => {
                self.error(fields.line("interval", node.line), format!("({path}) {message}"));
                None
            }
        }
    }

    fn duplicate_granularities(&mut self, granularities: &[Granularity], line: u32, path: &str) {
        for (at, granularity) in granularities.iter().enumerate() {
            let earlier = granularities.iter().take(at);
            if earlier.into_iter().any(|other| other.name == granularity.name) {
                self.error(line, format!("\"{path}.{}\" is given twice", granularity.name));
            }
        }
    }
}

/// Whether `text` is the path of a member: one name, or two with a dot between.
pub(in super::super) fn is_member_path(text: &str) -> bool {
    let mut names = text.split('.');
    let both = (names.next(), names.next(), names.next());
    matches!(both, (Some(a), b, None) if is_identifier(a) && b.is_none_or(is_identifier))
}

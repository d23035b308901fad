//! Keys of measures that are computed over windows or in stages. Spelling and rules are those of Cube's schema
//! (`CubeValidator`: `FixedRollingWindow`, `ToDate`, `MultiStageFilter`, `grain`); both spellings of keys and values hold.

use super::super::stage::{Grain, MultiStage, RollingWindow, ShiftDirection, StageCondition, StageFilter, StageOrder};
use super::super::stage::{TimeShift, WindowBound, WindowOffset};
use super::super::yaml::{self, Keys, Node, Use, Value};
use super::super::{Interval, MeasureType};
use super::{Fields, Reader, join_path};
use crate::limits;

const WINDOW_KEYS: Keys = Keys {
    object: "rolling_window",
    keys: &[
        ("type", Use::Answered),
        ("trailing", Use::Answered),
        ("leading", Use::Answered),
        ("offset", Use::Answered),
        ("granularity", Use::Answered),
    ],
};
const SHIFT_KEYS: Keys = Keys {
    object: "time_shift",
    keys: &[
        ("time_dimension", Use::Answered),
        ("interval", Use::Answered),
        ("type", Use::Answered),
        ("name", Use::Unanswered),
    ],
};
const ORDER_KEYS: Keys = Keys {
    object: "order_by",
    keys: &[("sql", Use::Answered), ("dir", Use::Answered)],
};
const GRAIN_KEYS: Keys = Keys {
    object: "grain",
    keys: &[
        ("keep_only", Use::Answered),
        ("exclude", Use::Answered),
        ("include", Use::Answered),
    ],
};
const FILTER_KEYS: Keys = Keys {
    object: "filter",
    keys: &[
        ("mode", Use::Answered),
        ("keep_only", Use::Answered),
        ("exclude", Use::Answered),
        ("include", Use::Answered),
    ],
};
const CONDITION_KEYS: Keys = Keys {
    object: "include",
    keys: &[
        ("member", Use::Answered),
        ("operator", Use::Answered),
        ("values", Use::Answered),
        ("and", Use::Answered),
        ("or", Use::Answered),
    ],
};
/// The keys of a measure that mean something with `multi_stage: true` only.
const STAGE_ONLY: &[&str] = &[
    "group_by",
    "reduce_by",
    "add_group_by",
    "time_shift",
    "order_by",
    "filter",
    "grain",
];

/// Windows and stages of one measure.
#[derive(Default)]
pub(super) struct Stages {
    pub rolling_window: Option<RollingWindow>,
    pub multi_stage: Option<MultiStage>,
    /// A key that is valid in Cube and not answered.
    pub unsupported: Option<String>,
}

impl Reader {
    /// Reads the keys of windows and stages of a measure.
    pub(super) fn stages(&mut self, fields: &Fields<'_>, line: u32, path: &str, kind: Option<MeasureType>) -> Stages {
        let mut stages = Stages::default();
        if let Some(node) = fields.get("rolling_window") {
            stages.rolling_window = self.rolling_window(node, &join_path(path, "rollingWindow"));
        }
        let multi_stage = self.boolean(fields, "multi_stage", path).unwrap_or(false);
        if !multi_stage {
            for key in STAGE_ONLY.iter().filter(|key| fields.get(key).is_some()) {
                let full = join_path(path, &yaml::camel_case(key));
                self.error(fields.line(key, line), format!("\"{full}\" needs `multi_stage: true`"));
            }
            if matches!(kind, Some(MeasureType::Rank | MeasureType::NumberAgg)) {
                let line = fields.line("type", line);
                self.error(line, format!("\"{path}.type\" needs `multi_stage: true`"));
            }
            return stages;
        }
        let (time_shift, named) = self.time_shifts(fields, path);
        stages.unsupported = named.then(|| "time_shift.name".to_owned());
        stages.multi_stage = Some(MultiStage {
            grain: self.grain(fields, path),
            filter: fields.get("filter").and_then(|node| self.stage_filter(node, path)),
            time_shift,
            order_by: self.order_by(fields, line, path, kind),
            location: self.at(fields.line("multi_stage", line)),
        });
        if stages.rolling_window.is_some() && !stages.multi_stage.as_ref().is_some_and(plain) {
            stages.unsupported = Some("rolling_window with grain, filter or time_shift".to_owned());
        }
        stages
    }

    fn rolling_window(&mut self, node: &Node, path: &str) -> Option<RollingWindow> {
        let fields = self.fields(node, &WINDOW_KEYS, path)?;
        let kind = self.text(&fields, "type", path).map(|kind| yaml::snake_case(&kind));
        let to_date = match kind.as_deref() {
            None | Some("fixed") => None,
            Some("to_date") => Some(self.text(&fields, "granularity", path)),
            Some("year_to_date") => Some(Some("year".to_owned())),
            Some("quarter_to_date") => Some(Some("quarter".to_owned())),
            Some("month_to_date") => Some(Some("month".to_owned())),
            Some(_) => {
                let line = fields.line("type", node.line);
                self.error(line, format!("\"{path}.type\" must be one of [fixed, to_date]"));
                return None;
            }
        };
        let misplaced: &[&'static str] = match to_date {
            Some(_) => &["trailing", "leading", "offset"],
            None => &["granularity"],
        };
        for key in misplaced.iter().filter(|key| fields.get(key).is_some()) {
            let with = if to_date.is_some() { "to_date" } else { "fixed" };
            let line = fields.line(key, node.line);
            self.error(
                line,
                format!("({path}.{key}) is not allowed in a window of type {with}"),
            );
        }
        if let Some(granularity) = to_date {
            if granularity.is_none() {
                self.error(node.line, format!("({path}.granularity) is required"));
            }
            return Some(RollingWindow::ToDate {
                granularity: granularity?,
            });
        }
        let trailing = self.bound(&fields, "trailing", path);
        let leading = self.bound(&fields, "leading", path);
        let offset = match self.text(&fields, "offset", path).as_deref() {
            None | Some("end") => WindowOffset::End,
            Some("start") => WindowOffset::Start,
            Some(_) => {
                let line = fields.line("offset", node.line);
                self.error(line, format!("\"{path}.offset\" must be one of [start, end]"));
                return None;
            }
        };
        Some(RollingWindow::Fixed {
            trailing: trailing?,
            leading: leading?,
            offset,
        })
    }

    fn bound(&mut self, fields: &Fields<'_>, key: &'static str, path: &str) -> Option<WindowBound> {
        match self.text(fields, key, path).as_deref() {
            None => Some(WindowBound::None),
            Some("unbounded") => Some(WindowBound::Unbounded),
            Some(text) => {
                let read = Interval::parse(text).map(WindowBound::Interval);
                self.told(read, fields.line(key, 0), &join_path(path, key))
            }
        }
    }

    /// The value, or its error reported.
    fn told<T>(&mut self, read: Result<T, String>, line: u32, path: &str) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(message) => {
                self.error(line, format!("({path}) {message}"));
                None
            }
        }
    }

    /// The shifts, and whether one of them is named, which needs a calendar cube.
    fn time_shifts(&mut self, fields: &Fields<'_>, path: &str) -> (Vec<TimeShift>, bool) {
        let path = join_path(path, "timeShift");
        let (mut shifts, mut named) = (Vec::new(), false);
        let Some(list) = fields.get("time_shift") else {
            return (shifts, named);
        };
        let mut count = 0_usize;
        self.each(list, &path, |reader, node| {
            count += 1;
            shifts.extend(reader.time_shift(node, &path, &mut named));
        });
        if count > 1 && shifts.iter().any(|shift| shift.time_dimension.is_none()) {
            self.error(
                list.line,
                format!("\"{path}\" with several elements needs `time_dimension` in each"),
            );
        }
        (shifts, named)
    }

    fn time_shift(&mut self, node: &Node, path: &str, named: &mut bool) -> Option<TimeShift> {
        let fields = self.fields(node, &SHIFT_KEYS, path)?;
        if fields.get("name").is_some() {
            self.warning(
                fields.line("name", node.line),
                format!("({path}) `name` is not answered yet; queries of this member are refused"),
            );
            *named = true;
            return None;
        }
        let interval = match self.text(&fields, "interval", path) {
            Some(text) => {
                let line = fields.line("interval", node.line);
                self.told(Interval::parse(&text), line, &join_path(path, "interval"))
            }
            None => {
                self.error(node.line, format!("({path}.interval) is required"));
                None
            }
        };
        let direction = match self.text(&fields, "type", path).as_deref() {
            Some("prior") => Some(ShiftDirection::Prior),
            Some("next") => Some(ShiftDirection::Next),
            _ => {
                let line = fields.line("type", node.line);
                self.error(line, format!("\"{path}.type\" must be one of [next, prior]"));
                None
            }
        };
        Some(TimeShift {
            time_dimension: self.text(&fields, "time_dimension", path).map(bare),
            interval: interval?,
            direction: direction?,
        })
    }

    fn order_by(&mut self, fields: &Fields<'_>, line: u32, path: &str, kind: Option<MeasureType>) -> Vec<StageOrder> {
        let path = join_path(path, "orderBy");
        let mut orders = Vec::new();
        let rank = kind == Some(MeasureType::Rank);
        match fields.get("order_by") {
            Some(list) => self.each(list, &path, |reader, node| orders.extend(reader.order(node, &path))),
            None if rank => self.error(line, format!("({path}) is required")),
            None => {}
        }
        orders
    }

    fn order(&mut self, node: &Node, path: &str) -> Option<StageOrder> {
        let fields = self.fields(node, &ORDER_KEYS, path)?;
        let sql = self.template(&fields, "sql", path);
        if fields.get("sql").is_none() {
            self.error(node.line, format!("({path}.sql) is required"));
        }
        let desc = match self.text(&fields, "dir", path).as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => {
                let line = fields.line("dir", node.line);
                self.error(line, format!("\"{path}.dir\" must be one of [asc, desc]"));
                return None;
            }
        };
        Some(StageOrder { sql: sql?, desc })
    }

    /// `grain`, or the older keys that mean the same.
    fn grain(&mut self, fields: &Fields<'_>, path: &str) -> Grain {
        let older = ["group_by", "reduce_by", "add_group_by"];
        let Some(node) = fields.get("grain") else {
            return Grain {
                keep_only: self.names(fields, "group_by", path),
                exclude: self.names(fields, "reduce_by", path).unwrap_or_default(),
                include: self.names(fields, "add_group_by", path).unwrap_or_default(),
            };
        };
        let path = join_path(path, "grain");
        for key in older.iter().filter(|key| fields.get(key).is_some()) {
            let line = fields.line(key, node.line);
            self.error(line, format!("\"{path}\" and `{key}` say the same: give one of them"));
        }
        let Some(fields) = self.fields(node, &GRAIN_KEYS, &path) else {
            return Grain::default();
        };
        self.one_of(&fields, node, &path);
        Grain {
            keep_only: self.names(&fields, "keep_only", &path),
            exclude: self.names(&fields, "exclude", &path).unwrap_or_default(),
            include: self.names(&fields, "include", &path).unwrap_or_default(),
        }
    }

    /// `exclude` and `keep_only` do not go together.
    fn one_of(&mut self, fields: &Fields<'_>, node: &Node, path: &str) {
        if fields.get("exclude").is_some() && fields.get("keep_only").is_some() {
            self.error(
                node.line,
                format!("\"{path}\" may have `exclude` or `keep_only`, not both"),
            );
        }
    }

    /// A list of names of members.
    fn names(&mut self, fields: &Fields<'_>, key: &'static str, path: &str) -> Option<Vec<String>> {
        let list = fields.get(key)?;
        let path = join_path(path, &yaml::camel_case(key));
        let mut names = Vec::new();
        self.each(list, &path, |reader, node| match node.text() {
            Some(name) => names.push(bare(name)),
            None => reader.error(node.line, format!("\"{path}\" must hold names of members")),
        });
        Some(names)
    }

    fn stage_filter(&mut self, node: &Node, path: &str) -> Option<StageFilter> {
        let path = join_path(path, "filter");
        let fields = self.fields(node, &FILTER_KEYS, &path)?;
        self.one_of(&fields, node, &path);
        let fixed = match self.text(&fields, "mode", &path).as_deref() {
            None | Some("relative") => false,
            Some("fixed") => true,
            Some(_) => {
                let line = fields.line("mode", node.line);
                self.error(line, format!("\"{path}.mode\" must be one of [relative, fixed]"));
                false
            }
        };
        let mut include = Vec::new();
        if let Some(list) = fields.get("include") {
            let path = join_path(&path, "include");
            self.each(list, &path, |reader, node| {
                include.extend(reader.stage_condition(node, &path, 0))
            });
        }
        Some(StageFilter {
            fixed,
            exclude: self.names(&fields, "exclude", &path).unwrap_or_default(),
            keep_only: self.names(&fields, "keep_only", &path),
            include,
        })
    }

    /// Recursion is bounded by the depth of filters that a query may have.
    fn stage_condition(&mut self, node: &Node, path: &str, depth: usize) -> Option<StageCondition> {
        let fields = self.fields(node, &CONDITION_KEYS, path)?;
        if depth > limits::QUERY_FILTER_DEPTH_MAX {
            self.error(node.line, format!("\"{path}\" is nested too deep"));
            return None;
        }
        let groups: Vec<&'static str> = ["and", "or"]
            .into_iter()
            .filter(|key| fields.get(key).is_some())
            .collect();
        if let [key] = groups.as_slice()
            && let Some(list) = fields.get(key)
            && fields.get("member").is_none()
        {
            let path = join_path(path, key);
            let mut inner = Vec::new();
            self.each(list, &path, |reader, node| {
                inner.extend(reader.stage_condition(node, &path, depth + 1));
            });
            return Some(match *key {
                "and" => StageCondition::And(inner),
                _ => StageCondition::Or(inner),
            });
        }
        let member = self.text(&fields, "member", path).map(bare);
        let operator = self.text(&fields, "operator", path);
        if !groups.is_empty() || member.is_none() || operator.is_none() {
            let allowed = "`member`, `operator` and `values`, or one of `and` and `or`";
            self.error(node.line, format!("\"{path}\" must have {allowed}"));
            return None;
        }
        let mut values = Vec::new();
        match fields.get("values") {
            Some(Node {
                value: Value::List(items),
                ..
            }) => values.extend(items.iter().map(Node::text)),
            Some(one) => values.push(one.text()),
            None => {}
        }
        Some(StageCondition::Member {
            member: member?,
            operator: operator?,
            values,
        })
    }
}

/// Whether the stage says nothing but that it is one.
fn plain(stage: &MultiStage) -> bool {
    stage.grain == Grain::default() && stage.filter.is_none() && stage.time_shift.is_empty()
}

/// A name without the braces that some write around it.
fn bare(name: String) -> String {
    name.trim_matches(['{', '}', ' ']).to_owned()
}

#[cfg(test)]
mod tests;

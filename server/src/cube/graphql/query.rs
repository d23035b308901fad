//! From a GraphQL operation to queries: the operation is carried out once without data, and what it looks at is what is
//! asked. Fragments, directives, variables and the forms of arguments are thereby read by the library.

use super::schema::{Cube, CubeSchema, Kind};
use apollo_compiler::resolvers::{FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::response::JsonMap;
use serde_json::{Map, Value, json};
use std::cell::RefCell;

/// Fields below one `cube` field at the most; each is looked up in every row.
const FIELDS_MAX: usize = 1000;

/// One `cube` field of an operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    arguments: Map<String, Value>,
    /// In the order of the document.
    cubes: Vec<Asked>,
    fields: usize,
}

#[derive(Debug, Clone)]
struct Asked {
    cube: String,
    arguments: Map<String, Value>,
    /// A member, and the granularity or `value` where it is an instant.
    members: Vec<(String, bool, Option<String>)>,
}

/// Carries out an operation without data, and writes down what it looks at.
pub(super) struct Recorder<'s> {
    schema: &'s CubeSchema,
    calls: RefCell<Vec<Call>>,
}

impl<'s> Recorder<'s> {
    /// Nothing is written down yet.
    pub(super) fn new(schema: &'s CubeSchema) -> Self {
        Self {
            schema,
            calls: RefCell::default(),
        }
    }

    /// What was looked at: the `cube` fields in their order.
    pub(super) fn into_calls(self) -> Vec<Call> {
        self.calls.into_inner()
    }

    fn count_field(&self, call: usize) -> Result<(), FieldError> {
        let mut calls = self.calls.borrow_mut();
        let fields = &mut calls[call].fields;
        *fields += 1;
        match *fields > FIELDS_MAX {
            true => Err(FieldError {
                message: format!("more than {FIELDS_MAX} fields are asked in one `cube`"),
            }),
            false => Ok(()),
        }
    }
}

fn plain(arguments: &JsonMap) -> Map<String, Value> {
    match serde_json::to_value(arguments) {
        Ok(Value::Object(fields)) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

impl ObjectValue for Recorder<'_> {
    fn type_name(&self) -> &str {
        "Query"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let mut calls = self.calls.borrow_mut();
        if calls.len() >= crate::cube::batch::QUERIES_MAX {
            let max = crate::cube::batch::QUERIES_MAX;
            return Err(FieldError {
                message: format!("an operation can have {max} fields `cube`"),
            });
        }
        calls.push(Call {
            arguments: plain(info.arguments()),
            ..Call::default()
        });
        let row = RowOf {
            recorder: self,
            call: calls.len() - 1,
        };
        Ok(ResolvedValue::List(Box::new(std::iter::once(Ok(
            ResolvedValue::Object(Box::new(row)),
        )))))
    }
}

struct RowOf<'r, 's> {
    recorder: &'r Recorder<'s>,
    call: usize,
}

impl ObjectValue for RowOf<'_, '_> {
    fn type_name(&self) -> &str {
        "Result"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let field = info.field_name();
        let Some(cube) = self.recorder.schema.cube(field) else {
            return Err(self.unknown_field_error(info));
        };
        self.recorder.count_field(self.call)?;
        let at = {
            let mut calls = self.recorder.calls.borrow_mut();
            let cubes = &mut calls[self.call].cubes;
            cubes.push(Asked {
                cube: cube.name.clone(),
                arguments: plain(info.arguments()),
                members: Vec::new(),
            });
            cubes.len() - 1
        };
        Ok(ResolvedValue::Object(Box::new(MembersOf {
            recorder: self.recorder,
            call: self.call,
            at,
            cube,
            type_name: info.field_definition().ty.inner_named_type().to_string(),
        })))
    }
}

struct MembersOf<'r, 's> {
    recorder: &'r Recorder<'s>,
    call: usize,
    at: usize,
    cube: &'r Cube,
    type_name: String,
}

impl MembersOf<'_, '_> {
    fn record(&self, member: &str, is_measure: bool, part: Option<&str>) -> usize {
        let mut calls = self.recorder.calls.borrow_mut();
        let members = &mut calls[self.call].cubes[self.at].members;
        members.push((member.to_owned(), is_measure, part.map(str::to_owned)));
        members.len() - 1
    }
}

impl ObjectValue for MembersOf<'_, '_> {
    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let name = info.field_name();
        let Some(member) = self.cube.members.get(name) else {
            return Err(self.unknown_field_error(info));
        };
        self.recorder.count_field(self.call)?;
        if member.kind != Kind::Time {
            self.record(name, member.is_measure, None);
            return Ok(ResolvedValue::leaf(Value::Null));
        }
        // Without a part of it being asked the instant itself is, as in Cube.
        let at = self.record(name, member.is_measure, None);
        Ok(ResolvedValue::Object(Box::new(PartsOf {
            members: self,
            member: name,
            is_measure: member.is_measure,
            whole: RefCell::new(Some(at)),
        })))
    }
}

struct PartsOf<'r, 's, 'm> {
    members: &'m MembersOf<'r, 's>,
    member: &'m str,
    is_measure: bool,
    /// The place where the instant itself is written down, until a part takes it.
    whole: RefCell<Option<usize>>,
}

impl ObjectValue for PartsOf<'_, '_, '_> {
    fn type_name(&self) -> &str {
        "TimeDimension"
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        self.members.recorder.count_field(self.members.call)?;
        let part = info.field_name();
        let part = (part != "value").then(|| part.to_owned());
        match self.whole.borrow_mut().take() {
            Some(at) => {
                let mut calls = self.members.recorder.calls.borrow_mut();
                calls[self.members.call].cubes[self.members.at].members[at].2 = part;
            }
            None => drop(self.members.record(self.member, self.is_measure, part.as_deref())),
        }
        Ok(ResolvedValue::leaf(Value::Null))
    }
}

impl Call {
    /// The query in Cube's JSON. Conditions `inDateRange` that stand alone become ranges of time dimensions.
    pub(super) fn query(&self, schema: &CubeSchema) -> Map<String, Value> {
        let mut filters: Vec<Value> = Vec::new();
        for asked in &self.cubes {
            if let Some(Value::Object(wanted)) = asked.arguments.get("where") {
                // What stands at a cube comes before what stands at the root, the last cube first.
                let own = cube_conditions(wanted, &asked.cube);
                filters.splice(0..0, own);
            }
        }
        if let Some(Value::Object(wanted)) = self.arguments.get("where") {
            filters.extend(root_conditions(wanted, schema));
        }
        let mut ranges: Vec<(String, Value)> = Vec::new();
        filters.retain(|filter| {
            let member = filter["member"].as_str().unwrap_or_default();
            let is_first = filter["operator"] == "inDateRange" && !ranges.iter().any(|(known, _)| known == member);
            if is_first {
                ranges.push((member.to_owned(), filter["values"].clone()));
            }
            !is_first
        });
        let mut query = Map::new();
        let (measures, dimensions, times) = self.members(&ranges);
        for (key, value) in [("measures", measures), ("dimensions", dimensions)] {
            if !value.is_empty() {
                query.insert(key.to_owned(), json!(value));
            }
        }
        if !times.is_empty() {
            query.insert("timeDimensions".to_owned(), Value::Array(times));
        }
        let order = self.order(schema);
        if !order.is_empty() {
            query.insert("order".to_owned(), Value::Array(order));
        }
        for key in ["limit", "offset", "timezone"] {
            if let Some(value) = self
                .arguments
                .get(key)
                .filter(|value| **value != json!(0) && **value != json!(""))
            {
                query.insert(key.to_owned(), value.clone());
            }
        }
        if !filters.is_empty() {
            filters.iter_mut().for_each(listed);
            query.insert("filters".to_owned(), Value::Array(filters));
        }
        for key in ["renewQuery", "ungrouped"] {
            if self.arguments.get(key) == Some(&Value::Bool(true)) {
                query.insert(key.to_owned(), Value::Bool(true));
            }
        }
        if let Some(mode) = self.arguments.get("cache") {
            query.insert("cache".to_owned(), mode.clone());
        }
        query
    }

    /// Measures, dimensions and time dimensions; ranges of dimensions that are not asked only filter.
    fn members(&self, ranges: &[(String, Value)]) -> (Vec<String>, Vec<String>, Vec<Value>) {
        let (mut measures, mut dimensions, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut used: Vec<String> = Vec::new();
        for asked in &self.cubes {
            for (member, is_measure, part) in &asked.members {
                let name = format!("{}.{member}", asked.cube);
                let (list, part) = match (is_measure, part) {
                    (true, _) => (&mut measures, None),
                    (false, None) => (&mut dimensions, None),
                    (false, Some(part)) => (&mut used, Some(part)),
                };
                let Some(granularity) = part else {
                    if !list.contains(&name) {
                        list.push(name);
                    }
                    continue;
                };
                let mut time = json!({"dimension": name, "granularity": granularity});
                if let Some((_, range)) = ranges.iter().find(|(member, _)| *member == name) {
                    time["dateRange"] = range.clone();
                }
                list.push(name);
                if !times.contains(&time) {
                    times.push(time);
                }
            }
        }
        let rest = ranges.iter().filter(|(member, _)| !used.contains(member));
        times.extend(rest.map(|(member, range)| json!({"dimension": member, "dateRange": range})));
        (measures, dimensions, times)
    }

    fn order(&self, schema: &CubeSchema) -> Vec<Value> {
        let mut order = Vec::new();
        let mut push = |cube: &str, members: &Value| {
            for (member, direction) in members.as_object().into_iter().flatten() {
                order.push(json!([format!("{cube}.{member}"), direction]));
            }
        };
        for (field, members) in self
            .arguments
            .get("orderBy")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            push(schema.cube(field).map_or(field, |cube| &cube.name), members);
        }
        for asked in &self.cubes {
            if let Some(members) = asked.arguments.get("orderBy") {
                push(&asked.cube, members);
            }
        }
        order
    }
}

/// The conditions of a `RootWhereInput`. All that stand in an element of `OR` are alternatives, as in Cube.
fn root_conditions(wanted: &Map<String, Value>, schema: &CubeSchema) -> Vec<Value> {
    let mut conditions = Vec::new();
    for (key, value) in wanted {
        match (group(key), value) {
            (Some(group), Value::Array(items)) => {
                let inner = items.iter().filter_map(Value::as_object);
                let inner: Vec<Value> = inner.flat_map(|item| root_conditions(item, schema)).collect();
                conditions.push(json!({group: inner}));
            }
            (None, Value::Object(of_cube)) => {
                let cube = schema.cube(key).map_or(key, |cube| &cube.name);
                let inner = cube_conditions(of_cube, cube);
                // Beside a group the others form one group with it.
                match of_cube.len() > 1 && of_cube.keys().any(|key| group(key).is_some()) {
                    true => conditions.push(json!({"and": inner})),
                    false => conditions.extend(inner),
                }
            }
            _ => {}
        }
    }
    conditions
}

/// The conditions of a `<Cube>WhereInput`.
fn cube_conditions(wanted: &Map<String, Value>, cube: &str) -> Vec<Value> {
    let mut conditions = Vec::new();
    for (key, value) in wanted {
        match (group(key), value) {
            (Some(group), Value::Array(items)) => {
                let inner = items.iter().filter_map(Value::as_object);
                let inner: Vec<Value> = inner.flat_map(|item| cube_conditions(item, cube)).collect();
                conditions.push(json!({group: inner}));
            }
            (None, Value::Object(operators)) => {
                let operators = operators.iter().filter(|(_, value)| !value.is_null());
                conditions
                    .extend(operators.map(|(operator, value)| condition(&format!("{cube}.{key}"), operator, value)));
            }
            _ => {}
        }
    }
    conditions
}

fn group(key: &str) -> Option<&'static str> {
    match key {
        "AND" => Some("and"),
        "OR" => Some("or"),
        _ => None,
    }
}

fn condition(member: &str, operator: &str, value: &Value) -> Value {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let operator = match (operator, value) {
        ("in", _) => "equals",
        ("notIn", _) => "notEquals",
        ("set", Value::Bool(false)) => "notSet",
        (other, _) => other,
    };
    if matches!(operator, "set" | "notSet") {
        return json!({"member": member, "operator": operator});
    }
    let values: Vec<String> = match value {
        Value::Array(items) => items.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let is_date = |text: &str| {
        text.as_bytes()
            .first_chunk::<4>()
            .is_some_and(|year| year.iter().all(u8::is_ascii_digit))
    };
    match values.as_slice() {
        // A range in words.
        [one] if operator.ends_with("InDateRange") || operator == "inDateRange" => {
            let value = if is_date(one) { json!([one]) } else { json!(one) };
            json!({"member": member, "operator": operator, "values": value})
        }
        _ => json!({"member": member, "operator": operator, "values": values}),
    }
}

/// A range in words that stayed a filter has its word in a list.
fn listed(filter: &mut Value) {
    for group in ["or", "and"] {
        if let Some(Value::Array(inner)) = filter.get_mut(group) {
            // As deep as the document, which the parser bounds.
            inner.iter_mut().for_each(listed);
        }
    }
    if let Some(word @ Value::String(_)) = filter.get_mut("values") {
        *word = json!([word.take()]);
    }
}

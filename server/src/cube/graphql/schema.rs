//! The GraphQL schema of a model: made from what `/v1/meta` shows, so that both show the same members.

use super::names;
use crate::cube::error::ApiResult;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::Valid;
use apollo_compiler::{Name, Schema};
use indexmap::IndexMap;
use serde_json::Value;
use std::fmt::Write;

/// The types that do not depend on the model, in the order in which Cube lists them. `equals` and `notEquals` of texts
/// and numbers take one value, those of instants several.
const COMMON: &str = r#"
scalar DateTime
input FloatFilter { equals: Float notEquals: Float in: [Float] notIn: [Float] set: Boolean gt: Float lt: Float gte: Float lte: Float }
input StringFilter { equals: String notEquals: String in: [String] notIn: [String] contains: [String] notContains: [String] startsWith: [String] notStartsWith: [String] endsWith: [String] notEndsWith: [String] set: Boolean }
input DateTimeFilter { equals: [String] notEquals: [String] in: [String] notIn: [String] inDateRange: [String] notInDateRange: [String] beforeDate: String beforeOrOnDate: String afterDate: String afterOrOnDate: String set: Boolean }
enum OrderBy { asc desc }
type TimeDimension { value: DateTime second: DateTime minute: DateTime hour: DateTime day: DateTime week: DateTime month: DateTime quarter: DateTime year: DateTime }
"#;

/// The field that asks.
const QUERY: &str = r"
type Query { cube(where: RootWhereInput, limit: Int, offset: Int, timezone: String, renewQuery: Boolean, cache: String, ungrouped: Boolean, orderBy: RootOrderByInput): [Result!]! }
";

/// Types in the order in which graphql-js lists them, with the place of the scalars: each after the type that first
/// uses it. Introspection is shown in this order.
const SCALARS_AFTER: &[(&str, &[&str])] = &[
    ("FloatFilter", &["Float", "Boolean"]),
    ("StringFilter", &["String"]),
    ("Query", &["Int"]),
];

/// The types of introspection, in their order.
const INTROSPECTION: &[&str] = &[
    "__Schema",
    "__Type",
    "__TypeKind",
    "__Field",
    "__InputValue",
    "__EnumValue",
    "__Directive",
    "__DirectiveLocation",
];

/// What a member's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number.
    Number,
    /// An instant.
    Time,
    /// Anything else, as text.
    Text,
}

/// A member of a cube.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) is_measure: bool,
}

/// A cube of the schema.
#[derive(Debug, Clone)]
pub(super) struct Cube {
    /// Its name in queries.
    pub(super) name: String,
    /// Its members by their short names.
    pub(super) members: IndexMap<String, Member>,
}

/// A model's schema, and the way back from its names.
#[derive(Debug)]
pub(super) struct CubeSchema {
    /// For validation and introspection.
    pub(super) schema: Valid<Schema>,
    /// Cubes by the name of their field.
    pub(super) cubes: IndexMap<String, Cube>,
}

impl CubeSchema {
    /// The cube whose `<Stem>Members` this is.
    pub(super) fn cube(&self, field: &str) -> Option<&Cube> {
        self.cubes.get(field)
    }

    /// The schema of what `/v1/meta` shows.
    ///
    /// # Errors
    /// `Internal` when the schema is not valid, which is a defect.
    pub(super) fn new(meta: &Value) -> ApiResult<Self> {
        let mut described = Described::default();
        for cube in array(meta, "cubes") {
            described.cube(cube);
        }
        let text = described.text();
        let schema = Schema::parse_and_validate(&text, "schema.graphql").map_err(|invalid| {
            engine::Error::internal(format!("the GraphQL schema is not valid: {}", invalid.errors))
        })?;
        Ok(Self {
            schema: ordered(schema),
            cubes: described.cubes,
        })
    }
}

#[derive(Default)]
struct Described {
    types: String,
    where_fields: String,
    order_fields: String,
    result_fields: String,
    stems: Vec<String>,
    cubes: IndexMap<String, Cube>,
}

impl Described {
    fn cube(&mut self, meta: &Value) {
        let name = text(meta, "name");
        let (stem, field) = (names::type_stem(name), names::field(name));
        let members: IndexMap<String, (Member, &Value)> = [("measures", true), ("dimensions", false)]
            .into_iter()
            .flat_map(|(list, is_measure)| array(meta, list).iter().map(move |member| (member, is_measure)))
            .filter(|(member, _)| member["isVisible"].as_bool() != Some(false))
            .filter_map(|(member, is_measure)| {
                let short = text(member, "name").split_once('.')?.1.to_owned();
                let kind = match text(member, "type") {
                    "time" => Kind::Time,
                    "number" => Kind::Number,
                    _ => Kind::Text,
                };
                is_name(&short).then_some((short, (Member { kind, is_measure }, member)))
            })
            .collect();
        // Two cubes whose names differ only in ways that GraphQL does not keep: the first stays.
        let taken = self.stems.contains(&stem) || self.cubes.contains_key(&field);
        if members.is_empty() || taken || !is_name(&stem) || !is_name(&field) {
            return;
        }
        self.write(&stem, &field, &members);
        let members = members.into_iter().map(|(short, (member, _))| (short, member));
        let cube = Cube {
            name: name.to_owned(),
            members: members.collect(),
        };
        self.cubes.insert(field, cube);
        self.stems.push(stem);
    }

    /// Writing to a text cannot fail, so the results are not looked at.
    fn write(&mut self, stem: &str, field: &str, members: &IndexMap<String, (Member, &Value)>) {
        let out = &mut self.types;
        let _ = writeln!(out, "type {stem}Members {{");
        for (name, (member, meta)) in members {
            let output = match member.kind {
                Kind::Number => "Float",
                Kind::Time => "TimeDimension",
                Kind::Text => "String",
            };
            // A text of JSON is one of GraphQL too.
            let description = meta.get("description").filter(|text| text.is_string());
            let description = description.map(Value::to_string).unwrap_or_default();
            let _ = writeln!(out, "{description} {name}: {output}");
        }
        let _ = writeln!(
            out,
            "}}\ninput {stem}WhereInput {{ AND: [{stem}WhereInput!] OR: [{stem}WhereInput!]"
        );
        for (name, (member, _)) in members.iter().filter(|(name, _)| *name != "AND" && *name != "OR") {
            let filter = match member.kind {
                Kind::Number => "Float",
                Kind::Time => "DateTime",
                Kind::Text => "String",
            };
            let _ = writeln!(out, "{name}: {filter}Filter");
        }
        let _ = writeln!(out, "}}\ninput {stem}OrderByInput {{");
        for name in members.keys() {
            let _ = writeln!(out, "{name}: OrderBy");
        }
        let _ = writeln!(out, "}}");
        let _ = writeln!(self.where_fields, "{field}: {stem}WhereInput");
        let _ = writeln!(self.order_fields, "{field}: {stem}OrderByInput");
        let _ = writeln!(
            self.result_fields,
            "{field}(where: {stem}WhereInput, orderBy: {stem}OrderByInput): {stem}Members!"
        );
    }

    fn text(&self) -> String {
        let Self {
            types,
            where_fields,
            order_fields,
            result_fields,
            ..
        } = self;
        // A type without fields is not valid; a project without cubes has an answer all the same.
        let or = |fields: &str, none: &str| match fields.is_empty() {
            true => none.to_owned(),
            false => fields.to_owned(),
        };
        format!(
            "{COMMON}{types}input RootWhereInput {{ AND: [RootWhereInput!] OR: [RootWhereInput!]\n{where_fields}}}\n\
             input RootOrderByInput {{\n{}}}\ntype Result {{\n{}}}\n{QUERY}",
            or(order_fields, "_none: OrderBy\n"),
            or(result_fields, "_none: String\n"),
        )
    }
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether GraphQL can write the name; names that begin with two underscores are its own.
fn is_name(name: &str) -> bool {
    Name::new(name).is_ok() && !name.starts_with("__")
}

/// The same schema with its types in the order of graphql-js, and without those that nothing uses.
fn ordered(schema: Valid<Schema>) -> Valid<Schema> {
    let mut schema = schema.into_inner();
    let mut old = std::mem::take(&mut schema.types);
    let own: Vec<Name> = old
        .iter()
        .filter(|(_, definition)| !definition.is_built_in())
        .map(|(name, _)| name.clone())
        .collect();
    let mut names: Vec<String> = Vec::with_capacity(old.len());
    for name in own {
        names.push(name.to_string());
        let after = SCALARS_AFTER
            .iter()
            .filter(|(type_name, _)| *type_name == name.as_str());
        names.extend(after.flat_map(|(_, scalars)| scalars.iter().map(|scalar| (*scalar).to_owned())));
    }
    names.extend(INTROSPECTION.iter().map(|name| (*name).to_owned()));
    for name in names {
        let moved: Option<(Name, ExtendedType)> = old.swap_remove_entry(name.as_str());
        schema.types.extend(moved);
    }
    // Only moved, so it is as valid as before.
    Valid::assume_valid(schema)
}

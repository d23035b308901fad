//! `Did you mean …?`: what graphql-js adds to the texts about unknown names.

use apollo_compiler::Schema;
use apollo_compiler::schema::ExtendedType;

/// Suggestions at the most.
const SUGGESTIONS_MAX: usize = 5;

/// What to add to `message`, if it is about a field or an argument that is nearly there.
pub(super) fn suggest(schema: &Schema, message: &str) -> Option<String> {
    let quoted: Vec<&str> = message.split('"').skip(1).step_by(2).collect();
    let (wanted, names): (&str, Vec<&str>) = match quoted.as_slice() {
        [field, type_name] if message.starts_with("Cannot query field") => (field, fields(schema, type_name)),
        [argument, place] if message.starts_with("Unknown argument") => {
            let (type_name, field) = place.split_once('.')?;
            let field = match schema.types.get(type_name)? {
                ExtendedType::Object(object) => object.fields.get(field)?,
                _ => return None,
            };
            (argument, field.arguments.iter().map(|one| one.name.as_str()).collect())
        }
        [field, type_name] if message.contains("is not defined by type") => (field, fields(schema, type_name)),
        _ => return None,
    };
    let found = near(wanted, names);
    let shown: Vec<String> = found.iter().map(|name| format!("\"{name}\"")).collect();
    let (last, others) = shown.split_last()?;
    Some(match others {
        [] => format!(" Did you mean {last}?"),
        [one] => format!(" Did you mean {one} or {last}?"),
        many => format!(" Did you mean {}, or {last}?", many.join(", ")),
    })
}

/// The text about a field without subfields with the field's own type; the library names the type it is in.
pub(super) fn correct(schema: &Schema, message: &str) -> Option<String> {
    let (before, rest) = message.split_once("\" of type \"")?;
    let (type_name, rest) = rest.split_once("\" must have a selection of subfields")?;
    let field = before.strip_prefix("Field \"")?;
    let ExtendedType::Object(object) = schema.types.get(type_name)? else {
        return None;
    };
    let own = &object.fields.get(field)?.ty;
    Some(format!(
        "{before}\" of type \"{own}\" must have a selection of subfields{rest}"
    ))
}

fn fields<'s>(schema: &'s Schema, type_name: &str) -> Vec<&'s str> {
    match schema.types.get(type_name) {
        Some(ExtendedType::Object(object)) => object.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::InputObject(object)) => object.fields.keys().map(|name| name.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The names that are near `wanted`, the nearest first; a transposition counts one, as does a difference of case alone.
fn near<'n>(wanted: &str, names: Vec<&'n str>) -> Vec<&'n str> {
    let threshold = wanted.chars().count() * 2 / 5 + 1;
    let distance = |name: &str| match name.to_lowercase() == wanted.to_lowercase() {
        true => usize::from(name != wanted),
        false => strsim::osa_distance(&name.to_lowercase(), &wanted.to_lowercase()),
    };
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= threshold)
        .collect();
    found.sort();
    found.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let schema = "type Query { count(limit: Int): Int country: Int city: Int }";
        let schema = Schema::parse_and_validate(schema, "s").unwrap();
        let cases = [
            (
                "Cannot query field \"coun\" on type \"Query\".",
                Some(" Did you mean \"count\"?"),
            ),
            ("Cannot query field \"nope\" on type \"Query\".", None),
            (
                "Unknown argument \"limt\" on field \"Query.count\".",
                Some(" Did you mean \"limit\"?"),
            ),
        ];
        for (message, suggestion) in cases {
            assert_eq!(suggest(&schema, message).as_deref(), suggestion, "{message}");
        }
    }
}

//! SQL written by a model's author, split at its references.
//!
//! A reference is a path in braces: `{CUBE}`, `{CUBE.member}`, `{member}`, `{Other.member}`; `\{` and `\}` are braces.
//! The older form `${…}` means the same. Parsing knows no names, so it takes every single name for a member;
//! [`SqlTemplate::resolve`] sorts cubes from members when all cubes are known.

use super::Location;

/// A part of an [`SqlTemplate`].
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Text to be taken as it is.
    Text(String),
    /// `{CUBE}` or the cube's own name in braces: the cube's relation.
    Cube,
    /// `{member}` or `{CUBE.member}`: a member of the same cube.
    Member(String),
    /// `{Other.member}`.
    OtherMember(String, String),
    /// `{Other}`.
    OtherCube(String),
    /// `{FILTER_PARAMS.…}`, `{SECURITY_CONTEXT.…}` and the like, `{Other.sql()}` and paths of more than two names, as
    /// written, without the braces.
    Context(String),
}

/// A fragment of SQL with references. It comes from a model file, never from a client.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlTemplate {
    /// The text as written.
    pub source: String,
    /// The text split at its references.
    pub pieces: Vec<Piece>,
    /// Where it was written.
    pub location: Location,
}

/// First names of paths that stand for the request rather than for the model.
const CONTEXT_NAMES: &[&str] = &[
    "FILTER_PARAMS",
    "FILTER_GROUP",
    "SECURITY_CONTEXT",
    "securityContext",
    "COMPILE_CONTEXT",
    "SQL_UTILS",
];

impl SqlTemplate {
    /// Splits `source` at its references.
    ///
    /// # Errors
    /// A message that names the brace that is wrong and what to write instead.
    pub fn parse(source: &str, location: Location) -> Result<SqlTemplate, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}', '\\']) {
            let (before, found) = rest.split_at(at);
            text.push_str(before);
            if let Some(brace) = escaped_brace(found) {
                text.push(brace);
                rest = found.get(2..).unwrap_or_default();
            } else if let Some(tail) = found.strip_prefix('\\') {
                text.push('\\');
                rest = tail;
            } else if found.starts_with('}') {
                return Err("`}` without `{`: write `\\}` for a brace in SQL".to_owned());
            } else {
                let length = reference_length(found).ok_or_else(|| format!("`{}` has no closing `}}`", head(found)))?;
                let (reference, tail) = found.split_at(length);
                let inner = reference.strip_prefix('{').and_then(|r| r.strip_suffix('}'));
                let piece = piece(inner.unwrap_or_default().trim())?;
                if text.ends_with('$') {
                    text.pop();
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(piece);
                rest = tail;
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(SqlTemplate {
            source: source.to_owned(),
            pieces,
            location,
        })
    }

    /// Sorts the references of a template of a cube: one of its `own` names stands for [`Piece::Cube`], a member it has
    /// for [`Piece::Member`], another cube's name for [`Piece::OtherCube`]. A member goes before a cube of the same name.
    ///
    /// # Errors
    /// The first name that is neither.
    pub fn resolve(
        &mut self,
        own: &[&str],
        has_member: impl Fn(&str) -> bool,
        has_other: impl Fn(&str, Option<&str>) -> bool,
    ) -> Result<(), String> {
        for piece in &mut self.pieces {
            let sorted = match piece {
                Piece::Member(name) if has_member(name) => continue,
                Piece::Member(name) if own.contains(&name.as_str()) => Piece::Cube,
                Piece::Member(name) if has_other(name, None) => Piece::OtherCube(std::mem::take(name)),
                Piece::Member(name) => return Err(std::mem::take(name)),
                Piece::OtherMember(cube, name) if own.contains(&cube.as_str()) => {
                    if !has_member(name) {
                        return Err(format!("{cube}.{name}"));
                    }
                    Piece::Member(std::mem::take(name))
                }
                Piece::OtherMember(cube, name) if has_other(cube, Some(name)) => continue,
                Piece::OtherMember(cube, name) => return Err(format!("{cube}.{name}")),
                _ => continue,
            };
            *piece = sorted;
        }
        Ok(())
    }

    /// Names of the members of the same cube that it refers to.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Member(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// The brace that `\{` or `\}` at the start of `text` stands for.
fn escaped_brace(text: &str) -> Option<char> {
    text.strip_prefix('\\')?
        .chars()
        .next()
        .filter(|c| matches!(c, '{' | '}'))
}

/// Bytes of the reference at the start of `text`, both braces included. Braces inside quotes do not count.
fn reference_length(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            (None, _) => {}
        }
    }
    None
}

/// The first few characters of `text`, for messages.
fn head(text: &str) -> String {
    text.chars().take(30).collect()
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
}

fn piece(inner: &str) -> Result<Piece, String> {
    if inner.starts_with('{') || inner.starts_with('%') {
        return Err(format!(
            "`{{{}` is no reference: a Jinja tag that was not rendered",
            head(inner)
        ));
    }
    let first = inner.split(['.', '(', '[']).next().unwrap_or_default().trim();
    if CONTEXT_NAMES.contains(&first) {
        return Ok(Piece::Context(inner.to_owned()));
    }
    let path: Vec<&str> = inner.split('.').map(str::trim).collect();
    if let [cube, "sql()"] = path.as_slice()
        && is_name(cube)
    {
        return Ok(Piece::Context(inner.to_owned()));
    }
    if !path.iter().all(|name| is_name(name)) {
        return Err(format!(
            "`{{{}}}` is no reference: write `{{member}}`, `{{CUBE}}` or `{{Cube.member}}`, and `\\{{` for a brace in SQL",
            head(inner)
        ));
    }
    Ok(match path.as_slice() {
        ["CUBE"] => Piece::Cube,
        ["CUBE", member] | [member] => Piece::Member((*member).to_owned()),
        [cube, member] => Piece::OtherMember((*cube).to_owned(), (*member).to_owned()),
        _ => Piece::Context(inner.to_owned()),
    })
}

#[cfg(test)]
mod tests;

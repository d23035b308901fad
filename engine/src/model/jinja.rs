//! Jinja templates in model files: loops, conditions, macros and imports that make YAML.
//!
//! As in Cube, what `{{ … }}` prints is JSON unless it is marked `safe`, so that texts come quoted. A template sees no
//! environment, no files but the model folder's, and nobody's request: a model is compiled once for all who ask. It runs
//! on fuel, so that a loop without end ends.

use crate::limits;
use minijinja::{AutoEscape, Environment, ErrorKind, Value};
use std::borrow::Cow;
use std::io::Write;

/// A rendered file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rendered {
    /// The YAML.
    pub text: String,
    /// For each of its lines, from the first, the line of the template that made it; empty when that cannot be told.
    pub lines: Vec<u32>,
}

/// Marks the number of a line of the template in what it renders; never in YAML, for it is private to us.
const MARK: [char; 2] = ['\u{F8F0}', '\u{F8F1}'];

/// Whether a file's text must be rendered before it is YAML.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|open| text.contains(open))
}

/// The texts in quotes that stand in the statements of a template: among them are all names of imported templates.
pub(super) fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for block in text.split("{%").skip(1) {
        let block = block.split("%}").next().unwrap_or_default();
        let mut rest = block;
        while let Some(at) = rest.find(['"', '\'']) {
            let (_, tail) = rest.split_at(at);
            let quote = tail.chars().next().unwrap_or('"');
            let inner = tail.get(1..).unwrap_or_default();
            let Some(end) = inner.find(quote) else { break };
            found.push(inner.get(..end).unwrap_or_default());
            rest = inner.get(end + 1..).unwrap_or_default();
        }
    }
    found
}

/// Renders the template `text` of `file`. `others` are the templates it may import: name as it writes it, and text.
///
/// # Errors
/// The line and what is wrong there.
pub(super) fn render(file: &str, text: &str, others: &[(String, String)]) -> Result<Rendered, (u32, String)> {
    if let Some(at) = text.lines().position(|line| line.contains("COMPILE_CONTEXT")) {
        let message = "`COMPILE_CONTEXT` is not known: a model is compiled once for all who ask. Use `SECURITY_CONTEXT` in \
                       SQL or `access_policy`, or put the file into `projects/<id>/`, which only that project sees";
        return Err((line_number(at + 1), message.to_owned()));
    }
    let plain = run(file, text, others)?;
    let lines = match run(file, &marked(text), others).map(|marked| unmark(&marked)) {
        Ok((unmarked, lines)) if unmarked == plain => lines,
        _ => Vec::new(),
    };
    Ok(Rendered { text: plain, lines })
}

fn line_number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn run(file: &str, text: &str, others: &[(String, String)]) -> Result<String, (u32, String)> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("json"));
    environment.set_formatter(|out, _, value| {
        let text = match value.as_str() {
            Some(text) if value.is_safe() => Cow::Borrowed(text),
            _ => Cow::Owned(json(value)?),
        };
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    environment.set_fuel(Some(limits::MODEL_TEMPLATE_FUEL));
    environment.set_recursion_limit(limits::MODEL_TEMPLATE_DEPTH_MAX);
    environment.add_function("env_var", |name: String| -> Result<Value, minijinja::Error> {
        let message = format!("the environment is not read: write the value of `{name}` into the template");
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    for (name, text) in others {
        environment
            .add_template(name, text)
            .map_err(|error| explain(file, &error))?;
    }
    environment
        .add_template(file, text)
        .map_err(|error| explain(file, &error))?;
    let template = environment.get_template(file).map_err(|error| explain(file, &error))?;
    let mut out = Bounded { bytes: Vec::new() };
    template
        .render_captured_to((), &mut out)
        .map_err(|error| explain(file, &error))?;
    String::from_utf8(out.bytes).map_err(|_| (1, "the template makes no UTF-8 text".to_owned()))
}

fn json(value: &Value) -> Result<String, minijinja::Error> {
    if value.is_undefined() {
        return Ok("null".to_owned());
    }
    serde_json::to_string(value).map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// What is written, as long as a model file may be.
struct Bounded {
    bytes: Vec<u8>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let most = usize::try_from(limits::MODEL_FILE_BYTES_MAX).unwrap_or(usize::MAX);
        if self.bytes.len() + bytes.len() > most {
            return Err(std::io::Error::other(format!("more than {most} bytes come out")));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The line and a message that says what to do.
fn explain(file: &str, error: &minijinja::Error) -> (u32, String) {
    // The innermost error knows best; those around it say where it was called from.
    let mut cause = error;
    while let Some(inner) = std::error::Error::source(cause).and_then(|e| e.downcast_ref::<minijinja::Error>()) {
        cause = inner;
    }
    let here = [cause, error].into_iter().find(|error| error.name() == Some(file));
    let line = here.and_then(minijinja::Error::line).map_or(1, line_number);
    let detail = cause.detail().unwrap_or_default();
    let name = detail.strip_suffix(" is unknown").unwrap_or(detail);
    let name = name.rsplit(' ').next().unwrap_or(name);
    let what = match cause.kind() {
        ErrorKind::UnknownFunction | ErrorKind::UnknownFilter | ErrorKind::UnknownTest => format!(
            "`{name}` is not known: functions and filters of Python's `globals.py` cannot run here; write what it makes \
             into the template with `{{% set … %}}`, or make the file beforehand"
        ),
        ErrorKind::TemplateNotFound => format!(
            "{detail}: templates are looked for in the model folder and beside the file, by names that are written out"
        ),
        ErrorKind::OutOfFuel => "the template runs too long: is there a loop without end?".to_owned(),
        ErrorKind::WriteFailure => {
            let io = std::error::Error::source(cause).map_or_else(|| detail.to_owned(), ToString::to_string);
            format!("the template makes too much: {io}")
        }
        kind if detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    };
    let place = match cause.name() {
        Some(other) if other != file => format!(" (in {other}, line {})", cause.line().unwrap_or(1)),
        _ => String::new(),
    };
    (line, format!("Jinja: {what}{place}"))
}

/// The template with the number of the line at the end of each line that may have one without changing what comes out:
/// where text stands before the end, or a tag that does not strip what follows it.
fn marked(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut closing: Option<&str> = None;
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        out.push_str(line);
        let mut rest = line;
        loop {
            match closing {
                Some(end) => match rest.find(end) {
                    Some(at) => {
                        rest = rest.get(at + 2..).unwrap_or_default();
                        closing = None;
                    }
                    None => break,
                },
                None => match rest
                    .find("{{")
                    .into_iter()
                    .chain(rest.find("{%"))
                    .chain(rest.find("{#"))
                    .min()
                {
                    Some(at) => {
                        let open = rest.get(at..at + 2).unwrap_or_default();
                        closing = Some(match open {
                            "{{" => "}}",
                            "{%" => "%}",
                            _ => "#}",
                        });
                        rest = rest.get(at + 2..).unwrap_or_default();
                    }
                    None => break,
                },
            }
        }
        let strips = ["-}}", "-%}", "-#}"].iter().any(|end| line.ends_with(end));
        let solid = line.chars().last().is_some_and(|c| !c.is_whitespace());
        if closing.is_none() && solid && !strips {
            out.push(MARK[0]);
            out.push_str(&(at + 1).to_string());
            out.push(MARK[1]);
        }
    }
    out
}

/// The text without marks, and for each of its lines the number that stood there or else the last one before.
fn unmark(marked: &str) -> (String, Vec<u32>) {
    let mut text = String::with_capacity(marked.len());
    let mut lines = Vec::new();
    let mut last = 1;
    for (at, line) in marked.split('\n').enumerate() {
        if at > 0 {
            text.push('\n');
        }
        let mut first = None;
        let mut rest = line;
        while let Some((before, tail)) = rest.split_once(MARK[0]) {
            text.push_str(before);
            let (number, tail) = tail.split_once(MARK[1]).unwrap_or(("", tail));
            last = number.parse().unwrap_or(last);
            first.get_or_insert(last);
            rest = tail;
        }
        text.push_str(rest);
        lines.push(first.unwrap_or(last));
    }
    (text, lines)
}

#[cfg(test)]
mod tests;

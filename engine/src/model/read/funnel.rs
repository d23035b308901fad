//! Funnel files, and the cube that a funnel becomes.

use super::super::yaml::{FUNNEL_KEYS, Node, STEP_KEYS, Value};
use super::super::{
    CubeSource, Dimension, DimensionSql, DimensionType, Funnel, FunnelRule, FunnelStep, Location, Measure, MeasureType,
};
use super::{Fields, RawCube, Reader, shorten};
use crate::limits;
use std::sync::Arc;

impl Reader {
    /// A funnel. `base` is the file's name without its ending, the name of a funnel that has none.
    pub(super) fn funnel(&mut self, node: &Node, base: Option<&str>) {
        let written = node.named().or_else(|| base.map(str::to_owned));
        let name = written
            .as_deref()
            .map(normalise)
            .filter(|name| name.chars().any(|c| c != '_'));
        self.prefix = name
            .as_ref()
            .map_or_else(|| "funnel: ".to_owned(), |name| format!("{name} funnel: "));
        if let Some(fields) = self.fields(node, &FUNNEL_KEYS, "") {
            if name.is_none() {
                let line = fields.line("name", node.line);
                self.error(line, "(name) is required and must have a letter or a digit of A-Z, 0-9");
            }
            let seconds = self.seconds(&fields, node.line);
            let rule = self.rule(&fields, node.line);
            let steps = self.steps(&fields, node.line);
            if let (Some(name), Some(seconds_to_convert), Some(rule), Some(steps)) = (name, seconds, rule, steps) {
                let location = self.at(node.line);
                self.content.cubes.push(cube_of(Funnel {
                    name,
                    seconds_to_convert,
                    steps,
                    rule,
                    location,
                }));
            }
        }
        self.prefix.clear();
    }

    fn seconds(&mut self, fields: &Fields<'_>, line: u32) -> Option<u32> {
        let Some(node) = fields.get("seconds_to_convert") else {
            self.error(line, "(seconds_to_convert) is required");
            return None;
        };
        let number = match &node.value {
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
            _ => None,
        };
        if number.is_none() {
            let line = fields.line("seconds_to_convert", line);
            let found = shorten(node);
            self.error(
                line,
                format!(
                    "\"seconds_to_convert\" must be a whole number from 1 to {}, found {found}",
                    u32::MAX
                ),
            );
        }
        number
    }

    fn rule(&mut self, fields: &Fields<'_>, line: u32) -> Option<FunnelRule> {
        let Some(written) = self.text(fields, "rule", "") else {
            return Some(FunnelRule::default());
        };
        let found = FunnelRule::ALL.iter().find(|(name, _)| *name == written);
        if found.is_none() {
            let names: Vec<&str> = FunnelRule::ALL.iter().map(|(name, _)| *name).collect();
            let line = fields.line("rule", line);
            self.error(
                line,
                format!("\"rule\" must be one of [{}], found {written}", names.join(", ")),
            );
        }
        found.map(|(_, rule)| *rule)
    }

    /// The steps; `None` when any of them is wrong.
    fn steps(&mut self, fields: &Fields<'_>, line: u32) -> Option<Vec<FunnelStep>> {
        let before = self
            .content
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .count();
        let Some(list) = fields.get("steps") else {
            self.error(line, "(steps) is required");
            return None;
        };
        let mut steps: Vec<FunnelStep> = Vec::new();
        self.each(list, "steps", |reader, node| {
            let Some(step) = reader.step(node) else { return };
            if steps.iter().any(|earlier| earlier.name == step.name) {
                reader.error(
                    node.line,
                    format!("\"steps.{}\" is given twice: step names must be unique", step.name),
                );
            }
            steps.push(step);
        });
        let line = fields.line("steps", line);
        if let Value::List(items) = &list.value {
            if items.is_empty() {
                self.error(line, "\"steps\" must have at least one step");
            }
            if items.len() > limits::FUNNEL_STEPS_MAX {
                let message = format!(
                    "\"steps\" may have {} at the most, found {}",
                    limits::FUNNEL_STEPS_MAX,
                    items.len()
                );
                self.error(line, message);
            }
        }
        let after = self
            .content
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .count();
        (before == after).then_some(steps)
    }

    fn step(&mut self, node: &Node) -> Option<FunnelStep> {
        let fields = self.fields(node, &STEP_KEYS, "steps")?;
        let name = self.text(&fields, "name", "steps");
        let target = self.text(&fields, "target", "steps");
        for (key, missing) in [("name", name.is_none()), ("target", target.is_none())] {
            if missing {
                self.error(node.line, format!("(steps.{key}) is required"));
            }
        }
        match self.text(&fields, "action", "steps").as_deref() {
            Some("pageview") => {}
            None => self.error(node.line, "(steps.action) is required: `action: pageview`"),
            Some(other) => {
                let line = fields.line("action", node.line);
                self.error(
                    line,
                    format!("\"steps.action\" must be one of [pageview], found {other}"),
                );
            }
        }
        let target = target?;
        if !target.starts_with('/') {
            let line = fields.line("target", node.line);
            self.warning(
                line,
                format!("target `{target}` meets no page view: paths begin with `/`"),
            );
        }
        Some(FunnelStep { name: name?, target })
    }
}

/// A funnel's name as a cube's: small letters, everything but letters and digits as `_`.
fn normalise(name: &str) -> String {
    let sign = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    name.trim().chars().map(sign).collect()
}

/// The cube of a funnel: `count` by `step`, `step_name` and `date`.
fn cube_of(funnel: Funnel) -> RawCube {
    let location = funnel.location.clone();
    let count = Measure {
        description: Some("Visitors who reached the step within the conversion window".to_owned()),
        ..Measure::new("count", MeasureType::Funnel, location.clone())
    };
    let dimensions = [
        ("step", DimensionType::Number, "Number of the step, from 1"),
        ("step_name", DimensionType::String, "Name of the step"),
        ("date", DimensionType::Time, "When the funnel was entered"),
    ];
    RawCube {
        measures: vec![count],
        dimensions: dimensions
            .map(|(name, kind, text)| dimension(name, kind, text, &location))
            .to_vec(),
        ..RawCube::new(funnel.name.clone(), CubeSource::Funnel(Arc::new(funnel)), location)
    }
}

fn dimension(name: &str, kind: DimensionType, description: &str, location: &Location) -> Dimension {
    Dimension {
        description: Some(description.to_owned()),
        ..Dimension::new(name, kind, DimensionSql::Funnel, location.clone())
    }
}

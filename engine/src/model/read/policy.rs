//! `access_policy` of cubes and views, and `mask` of members.

use super::super::expression::Expression;
use super::super::policy::{AccessPolicy, Audience, Choice, Mask, MemberRule, RowFilter, RowLevel};
use super::super::yaml::{
    FILTER_OPERATORS, MEMBER_RULE_KEYS, Node, POLICY_CONDITION_KEYS, POLICY_FILTER_KEYS, POLICY_KEYS, ROW_LEVEL_KEYS,
    Value, camel_case,
};
use super::member::SQL_ONLY;
use super::{Fields, Reader, join_path};

/// Nesting of `and` and `or` in a policy.
const FILTER_DEPTH_MAX: usize = 16;

impl Reader {
    /// The policies of a cube or a view.
    pub(super) fn policies(&mut self, fields: &Fields<'_>) -> Vec<AccessPolicy> {
        let mut policies = Vec::new();
        let mut at = 0;
        if let Some(list) = fields.get("access_policy") {
            self.each(list, "accessPolicy", |reader, node| {
                policies.extend(reader.policy(node, &format!("accessPolicy[{at}]")));
                at += 1;
            });
        }
        policies
    }

    fn policy(&mut self, node: &Node, path: &str) -> Option<AccessPolicy> {
        let fields = self.fields(node, &POLICY_KEYS, path)?;
        let audience = self.audience(&fields, node.line, path);
        let mut conditions = Vec::new();
        let mut wrong = false;
        if let Some(list) = fields.get("conditions") {
            let path = format!("{path}.conditions");
            self.each(list, &path, |reader, node| match reader.policy_condition(node, &path) {
                Some(condition) => conditions.push(condition),
                None => wrong = true,
            });
        }
        let member_level = self.member_rule(&fields, "member_level", path, &mut wrong);
        let member_masking = self.member_rule(&fields, "member_masking", path, &mut wrong);
        if let (Some(_), None) = (&member_masking, &member_level) {
            let line = fields.line("member_masking", node.line);
            self.error(
                line,
                format!("\"{path}.memberMasking\" missing required peer \"memberLevel\""),
            );
        }
        let row_level = match fields.get("row_level") {
            Some(node) => {
                let rule = self.row_level(node, &format!("{path}.rowLevel"));
                wrong |= rule.is_none();
                rule
            }
            None => None,
        };
        // A policy without one of its parts would grant more than its author wrote.
        if wrong {
            return None;
        }
        Some(AccessPolicy {
            audience: audience?,
            conditions,
            member_level,
            member_masking,
            row_level,
            location: self.at(node.line),
        })
    }

    fn audience(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<Audience> {
        let given: Vec<&str> = ["group", "groups", "role"]
            .into_iter()
            .filter(|key| fields.get(key).is_some())
            .collect();
        let [key] = given.as_slice() else {
            let text = match given.is_empty() {
                true => format!("\"{path}\" must contain at least one of [group, groups]"),
                false => format!("\"{path}\" contains a conflict between exclusive peers [group, groups]"),
            };
            self.error(line, text);
            return None;
        };
        let node = fields.get(key)?;
        let names = match &node.value {
            Value::List(items) => items.iter().map(Node::text).collect::<Option<Vec<String>>>(),
            _ => node.text().map(|name| vec![name]),
        };
        let Some(names) = names.filter(|names| !names.is_empty()) else {
            self.error(node.line, format!("\"{path}.{key}\" must be a name or a list of names"));
            return None;
        };
        match (*key, names.first()) {
            ("role", Some(role)) if names.len() == 1 => Some(Audience::Role(role.clone())),
            ("role", _) => {
                self.error(node.line, format!("\"{path}.role\" must be a string"));
                None
            }
            _ => Some(Audience::Groups(names)),
        }
    }

    fn policy_condition(&mut self, node: &Node, path: &str) -> Option<Expression> {
        let fields = self.fields(node, &POLICY_CONDITION_KEYS, path)?;
        let path = join_path(path, "if");
        match fields.get("if").map(|node| (node, node.text())) {
            Some((node, Some(text))) => self.understood(Expression::parse(&text), node.line, &path),
            _ => {
                self.error(node.line, format!("({path}) is required"));
                None
            }
        }
    }

    fn understood(&mut self, parsed: Result<Expression, String>, line: u32, path: &str) -> Option<Expression> {
        parsed
            .map_err(|message| self.error(line, format!("({path}) {message}")))
            .ok()
    }

    fn member_rule(
        &mut self,
        fields: &Fields<'_>,
        key: &'static str,
        path: &str,
        wrong: &mut bool,
    ) -> Option<MemberRule> {
        let node = fields.get(key)?;
        let path = join_path(path, &camel_case(key));
        let Some(inner) = self.fields(node, &MEMBER_RULE_KEYS, &path) else {
            *wrong = true;
            return None;
        };
        Some(MemberRule {
            includes: self.choice(&inner, "includes", &path, wrong).unwrap_or(Choice::All),
            excludes: self
                .choice(&inner, "excludes", &path, wrong)
                .unwrap_or(Choice::Names(Vec::new())),
        })
    }

    fn choice(&mut self, fields: &Fields<'_>, key: &'static str, path: &str, wrong: &mut bool) -> Option<Choice> {
        let node = fields.get(key)?;
        let names = match &node.value {
            Value::Text(text) if text == "*" => return Some(Choice::All),
            Value::List(items) => items.iter().map(Node::text).collect::<Option<Vec<String>>>(),
            _ => None,
        };
        if names.is_none() {
            *wrong = true;
            self.error(node.line, format!("\"{path}.{key}\" must be `*` or a list of names"));
        }
        names.map(Choice::Names)
    }

    fn row_level(&mut self, node: &Node, path: &str) -> Option<RowLevel> {
        let fields = self.fields(node, &ROW_LEVEL_KEYS, path)?;
        match (fields.get("filters"), fields.get("allow_all")) {
            (None, Some(node)) if node.value == Value::Bool(true) => Some(RowLevel::AllowAll),
            (None, Some(node)) => {
                self.error(node.line, format!("\"{path}.allowAll\" must be [true]"));
                None
            }
            (Some(list), None) => self
                .row_filters(list, &format!("{path}.filters"), 0)
                .map(RowLevel::Filters),
            _ => {
                self.error(
                    node.line,
                    format!("\"{path}\" must contain exactly one of [filters, allowAll]"),
                );
                None
            }
        }
    }

    /// `None` when any of them is wrong: the others alone would grant more.
    fn row_filters(&mut self, list: &Node, path: &str, depth: usize) -> Option<Vec<RowFilter>> {
        if depth > FILTER_DEPTH_MAX {
            self.error(
                list.line,
                format!("\"{path}\" is nested more than {FILTER_DEPTH_MAX} deep"),
            );
            return None;
        }
        let Value::List(items) = &list.value else {
            self.error(list.line, format!("\"{path}\" must be a list"));
            return None;
        };
        let read: Vec<Option<RowFilter>> = items.iter().map(|item| self.row_filter(item, path, depth)).collect();
        read.into_iter().collect()
    }

    fn row_filter(&mut self, node: &Node, path: &str, depth: usize) -> Option<RowFilter> {
        let fields = self.fields(node, &POLICY_FILTER_KEYS, path)?;
        if let Some(list) = fields.get("and") {
            return self
                .row_filters(list, &format!("{path}.and"), depth + 1)
                .map(RowFilter::And);
        }
        if let Some(list) = fields.get("or") {
            return self
                .row_filters(list, &format!("{path}.or"), depth + 1)
                .map(RowFilter::Or);
        }
        let member = self.text(&fields, "member", path);
        let operator = self.text(&fields, "operator", path);
        let (Some(member), Some(operator)) = (member, operator) else {
            self.error(
                node.line,
                format!("\"{path}\" must have a member and an operator, or `and`, or `or`"),
            );
            return None;
        };
        if !FILTER_OPERATORS.contains(&operator.as_str()) {
            let line = fields.line("operator", node.line);
            self.error(
                line,
                format!("\"{path}.operator\" must be one of [{}]", FILTER_OPERATORS.join(", ")),
            );
            return None;
        }
        let values = self.policy_values(&fields, node.line, path)?;
        if values.is_empty() && !matches!(operator.as_str(), "set" | "notSet") {
            self.error(node.line, format!("({path}.values) is required"));
            return None;
        }
        let member = member.replace(['{', '}', ' '], "");
        Some(RowFilter::Member {
            member,
            operator,
            values,
        })
    }

    fn policy_values(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<Vec<Expression>> {
        let path = join_path(path, "values");
        let Some(node) = fields.get("values") else {
            return Some(Vec::new());
        };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            // An expression that gives the list.
            Value::Text(text) => {
                return self
                    .understood(Expression::parse(text), line, &path)
                    .map(|one| vec![one]);
            }
            _ => {
                self.error(node.line, format!("\"{path}\" must be a list"));
                return None;
            }
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(match &item.value {
                Value::Text(text) => self.understood(Expression::parse_text(text), item.line, &path)?,
                Value::Number(_) | Value::Bool(_) => Expression::Constant(item.json()),
                _ => {
                    self.error(
                        item.line,
                        format!("\"{path}\" may hold texts, numbers and truth values"),
                    );
                    return None;
                }
            });
        }
        Some(values)
    }

    /// `mask` of a member.
    pub(super) fn mask(&mut self, fields: &Fields<'_>, path: &str) -> Option<Mask> {
        let node = fields.get("mask")?;
        match &node.value {
            Value::Map(_) => {
                let path = join_path(path, "mask");
                let inner = self.fields(node, &SQL_ONLY, &path)?;
                if inner.get("sql").is_none() {
                    self.error(node.line, format!("({path}.sql) is required"));
                }
                self.template(&inner, "sql", &path).map(Mask::Sql)
            }
            Value::List(_) => {
                self.error(node.line, format!("\"{path}.mask\" must be a value or {{sql: …}}"));
                None
            }
            _ => Some(Mask::Constant(node.json())),
        }
    }
}

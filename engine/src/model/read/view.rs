//! Views and view groups as their files say them: paths and names are split but not looked up.

use super::super::view::{ViewGroup, ViewGroupItem};
use super::super::yaml::{
    self, DEFAULT_FILTER_KEYS, FILTER_OPERATORS, FOLDER_KEYS, INCLUDED_MEMBER_KEYS, Keys, Node, Use, VIEW_CUBE_KEYS,
    VIEW_GROUP_KEYS, VIEW_KEYS, Value,
};
use super::super::{DefaultFilter, Location};
use super::{Fields, RawCube, Reader, is_identifier, join_path};

/// A view as its file says it.
#[derive(Debug, Clone)]
pub(in super::super) struct RawView {
    /// What it shares with cubes: name, texts, members of its own.
    pub base: RawCube,
    /// The cubes it takes members of.
    pub includes: Vec<RawInclude>,
    /// Folders.
    pub folders: Vec<RawFolder>,
    /// Conditions that hold by default, when the view says any.
    pub default_filters: Option<Vec<DefaultFilter>>,
    /// Names of the view groups it attaches itself to.
    pub groups: Vec<(String, Location)>,
}

/// An element of `cubes`.
#[derive(Debug, Clone)]
pub(in super::super) struct RawInclude {
    /// Names of the cubes, from the root.
    pub path: Vec<String>,
    /// The members to take; `None` is `*`.
    pub members: Option<Vec<RawIncluded>>,
    pub excludes: Vec<(String, Location)>,
    pub prefix: bool,
    pub split: bool,
    /// Stands for the cube's name in prefixes.
    pub alias: Option<String>,
    pub location: Location,
}

/// An element of `includes`, with what it says instead of the owner.
#[derive(Debug, Clone)]
pub(in super::super) struct RawIncluded {
    pub name: String,
    pub alias: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub format: Option<serde_json::Value>,
    pub currency: Option<String>,
    pub meta: Option<serde_json::Value>,
    pub location: Location,
}

/// A folder whose names are not looked up.
#[derive(Debug, Clone)]
pub(in super::super) struct RawFolder {
    pub name: String,
    /// `None` is `*`.
    pub items: Option<Vec<RawFolderItem>>,
    pub location: Location,
}

/// An element of a folder's `includes`.
#[derive(Debug, Clone)]
pub(in super::super) enum RawFolderItem {
    Member(String, Location),
    /// Every member that came by this path.
    Path(Vec<String>, Location),
    Folder(RawFolder),
}

impl Reader {
    pub(super) fn view(&mut self, node: &Node) {
        let named = node.named();
        self.prefix = named.map_or_else(|| "cube: ".to_owned(), |name| format!("{name} cube: "));
        if let Some(view) = self.named_view(node) {
            self.content.views.push(view);
        }
        self.prefix.clear();
    }

    fn named_view(&mut self, node: &Node) -> Option<RawView> {
        let fields = self.fields(node, &VIEW_KEYS, "")?;
        let base = self.base(&fields, node)?;
        let mut view = RawView {
            base,
            includes: Vec::new(),
            folders: Vec::new(),
            default_filters: None,
            groups: Vec::new(),
        };
        for (at, item) in self.items(&fields, "cubes", "").into_iter().enumerate() {
            view.includes.extend(self.include(item, &format!("cubes[{at}]")));
        }
        for (at, item) in self.items(&fields, "folders", "").into_iter().enumerate() {
            view.folders.extend(self.folder(item, &format!("folders[{at}]")));
        }
        if fields.get("default_filters").is_some() {
            let items = self.items(&fields, "default_filters", "").into_iter().enumerate();
            let filters = items.filter_map(|(at, item)| self.default_filter(item, &format!("defaultFilters[{at}]")));
            view.default_filters = Some(filters.collect());
        }
        if let Some(group) = self.text(&fields, "view_group", "") {
            view.groups.push((group, self.at(fields.line("view_group", node.line))));
        }
        for (name, location) in self.texts(&fields, "view_groups", "") {
            if !view.groups.iter().any(|(known, _)| *known == name) {
                view.groups.push((name, location));
            }
        }
        Some(view)
    }

    /// The elements of the list under a key.
    pub(super) fn items<'n>(&mut self, fields: &Fields<'n>, name: &'static str, path: &str) -> Vec<&'n Node> {
        match fields.get(name).map(|node| (&node.value, node.line)) {
            None => Vec::new(),
            Some((Value::List(items), _)) => items.iter().collect(),
            Some((_, line)) => {
                let full = join_path(path, &yaml::camel_case(name));
                self.error(line, format!("\"{full}\" must be an array"));
                Vec::new()
            }
        }
    }

    /// The texts of the list under a key, each with its place.
    pub(super) fn texts(&mut self, fields: &Fields<'_>, name: &'static str, path: &str) -> Vec<(String, Location)> {
        let mut names = Vec::new();
        for (at, item) in self.items(fields, name, path).into_iter().enumerate() {
            match item.text() {
                Some(text) => names.push((text, self.at(item.line))),
                None => {
                    let full = join_path(path, &yaml::camel_case(name));
                    self.error(item.line, format!("\"{full}[{at}]\" must be a string"));
                }
            }
        }
        names
    }

    /// A path of cubes. Braces around it, as in SQL, are allowed.
    fn join_path_of(&mut self, fields: &Fields<'_>, line: u32, path: &str) -> Option<Vec<String>> {
        let Some(written) = self.text(fields, "join_path", path) else {
            self.error(line, format!("({path}.joinPath) is required"));
            return None;
        };
        let names: Vec<String> = written
            .trim_matches(['{', '}', ' '])
            .split('.')
            .map(|name| name.trim().to_owned())
            .collect();
        if names.iter().all(|name| is_identifier(name)) {
            return Some(names);
        }
        let line = fields.line("join_path", line);
        self.error(
            line,
            format!("({path}.joinPath = {written}) must be names of cubes with dots between"),
        );
        None
    }

    fn include(&mut self, node: &Node, path: &str) -> Option<RawInclude> {
        let fields = self.fields(node, &VIEW_CUBE_KEYS, path)?;
        let prefix = self.boolean(&fields, "prefix", path).unwrap_or(false);
        let split = self.boolean(&fields, "split", path).unwrap_or(false);
        if prefix && split {
            self.error(node.line, "Using split together with prefix is not supported");
        }
        let members = self.includes(&fields, node.line, path, Self::included)?;
        let excludes = self.texts(&fields, "excludes", path);
        for (name, location) in excludes.iter().filter(|(name, _)| name.contains('.')) {
            let message = format!("Paths aren't allowed in cube excludes but '{name}' provided as exclude member");
            self.error(location.line, message);
        }
        Some(RawInclude {
            path: self.join_path_of(&fields, node.line, path)?,
            members,
            excludes,
            prefix,
            split,
            alias: self.text(&fields, "alias", path),
            location: self.at(node.line),
        })
    }

    /// The elements of `includes`, each read by `each`: `Some(None)` is `*`, all of them; `None` is an error that is told.
    fn includes<T>(
        &mut self,
        fields: &Fields<'_>,
        line: u32,
        path: &str,
        each: impl Fn(&mut Self, &Node, &str) -> Option<T>,
    ) -> Option<Option<Vec<T>>> {
        match fields.get("includes") {
            None => {
                self.error(line, format!("({path}.includes) is required"));
                None
            }
            Some(node) if node.text().as_deref() == Some("*") => Some(None),
            Some(_) => {
                let items = self.items(fields, "includes", path).into_iter().enumerate();
                let read = items.filter_map(|(at, item)| each(self, item, &format!("{path}.includes[{at}]")));
                Some(Some(read.collect()))
            }
        }
    }

    fn included(&mut self, node: &Node, path: &str) -> Option<RawIncluded> {
        let (name, fields) = match &node.value {
            Value::Map(_) => {
                let fields = self.fields(node, &INCLUDED_MEMBER_KEYS, path)?;
                let Some(name) = self.text(&fields, "name", path) else {
                    self.error(node.line, format!("({path}.name) is required"));
                    return None;
                };
                (name, fields)
            }
            _ => match node.text() {
                Some(name) => (name, Fields { entries: Vec::new() }),
                None => {
                    self.error(node.line, format!("\"{path}\" must be one of [string, object]"));
                    return None;
                }
            },
        };
        let alias = self.text(&fields, "alias", path);
        let shown = alias.as_ref().unwrap_or(&name);
        if shown.contains('.') {
            let message = format!("Paths aren't allowed in cube includes but '{shown}' provided as include member");
            self.error(node.line, message);
        } else if !is_identifier(shown) {
            let rule = "fails to match the identifier pattern: letters, digits and `_`, and no digit first";
            self.error(node.line, format!("\"{path}\" {rule}, found `{shown}`"));
        }
        Some(RawIncluded {
            title: self.text(&fields, "title", path),
            description: self.text(&fields, "description", path),
            format: fields.get("format").map(Node::json),
            currency: self
                .text(&fields, "currency", path)
                .map(|code| code.to_ascii_uppercase()),
            meta: fields.get("meta").map(Node::json),
            location: self.at(node.line),
            name,
            alias,
        })
    }

    /// Recursion is bounded by the nesting of the YAML.
    fn folder(&mut self, node: &Node, path: &str) -> Option<RawFolder> {
        let fields = self.fields(node, &FOLDER_KEYS, path)?;
        let name = self.text(&fields, "name", path);
        if name.is_none() {
            self.error(node.line, format!("({path}.name) is required"));
        }
        let items = self.includes(&fields, node.line, path, Self::folder_item)?;
        Some(RawFolder {
            name: name?,
            items,
            location: self.at(node.line),
        })
    }

    fn folder_item(&mut self, node: &Node, path: &str) -> Option<RawFolderItem> {
        const PATH_KEYS: Keys = Keys {
            object: "folder",
            keys: &[("join_path", Use::Answered)],
        };
        let Value::Map(entries) = &node.value else {
            let name = node.text();
            if name.is_none() {
                self.error(node.line, format!("\"{path}\" must be one of [string, object]"));
            }
            return name.map(|name| RawFolderItem::Member(name, self.at(node.line)));
        };
        if entries
            .iter()
            .any(|(key, _)| yaml::snake_case(&key.text) == "join_path")
        {
            let fields = self.fields(node, &PATH_KEYS, path)?;
            let names = self.join_path_of(&fields, node.line, path)?;
            return Some(RawFolderItem::Path(names, self.at(node.line)));
        }
        self.folder(node, path).map(RawFolderItem::Folder)
    }

    fn default_filter(&mut self, node: &Node, path: &str) -> Option<DefaultFilter> {
        let fields = self.fields(node, &DEFAULT_FILTER_KEYS, path)?;
        let plain = |text: String| text.trim_matches(['{', '}', ' ']).to_owned();
        let member = self.text(&fields, "member", path).map(plain);
        if member.is_none() {
            self.error(node.line, format!("({path}.member) is required"));
        }
        let written = self.text(&fields, "operator", path);
        let known = || FILTER_OPERATORS.iter().copied().chain(["measureFilter"]);
        let operator = written.filter(|name| known().any(|known| known == name));
        if operator.is_none() {
            let line = fields.line("operator", node.line);
            let all = known().collect::<Vec<_>>().join(", ");
            self.error(line, format!("\"{path}.operator\" must be one of [{all}]"));
        }
        let bare = operator
            .as_deref()
            .is_some_and(|name| ["set", "notSet"].contains(&name));
        if fields.get("values").is_none() && !bare {
            self.error(node.line, format!("({path}.values) is required"));
        }
        let values = self.items(&fields, "values", path).into_iter().map(scalar).collect();
        let unless = self.texts(&fields, "unless", path);
        Some(DefaultFilter {
            member: member?,
            operator: operator?,
            values,
            unless: unless.into_iter().map(|(name, _)| plain(name)).collect(),
            location: self.at(node.line),
        })
    }

    pub(super) fn view_group(&mut self, node: &Node) {
        let named = node.named();
        self.prefix = named.map_or_else(|| "view group: ".to_owned(), |name| format!("{name} view group: "));
        if let Some(group) = self.group(node, "", true) {
            self.content.groups.push(group);
        }
        self.prefix.clear();
    }

    /// Recursion is bounded by the nesting of the YAML.
    fn group(&mut self, node: &Node, path: &str, top: bool) -> Option<ViewGroup> {
        let fields = self.fields(node, &VIEW_GROUP_KEYS, path)?;
        let name = self.text(&fields, "name", path);
        if name.is_none() {
            self.error(node.line, format!("({}) is required", join_path(path, "name")));
        }
        let (views, includes) = (fields.get("views"), fields.get("includes"));
        if views.is_some() && includes.is_some() {
            let line = fields.line("views", node.line);
            self.error(
                line,
                "View group must use either \"views\" or \"includes\", but not both",
            );
        }
        if !top && includes.is_none() {
            self.error(node.line, format!("({}) is required", join_path(path, "includes")));
        }
        let mut items: Vec<ViewGroupItem> = self
            .texts(&fields, "views", path)
            .into_iter()
            .map(|(name, _)| ViewGroupItem::View(name))
            .collect();
        for (at, item) in self.items(&fields, "includes", path).into_iter().enumerate() {
            let path = join_path(path, &format!("includes[{at}]"));
            match (&item.value, item.text()) {
                (Value::Map(_), _) => items.extend(self.group(item, &path, false).map(ViewGroupItem::Group)),
                (_, Some(name)) => items.push(ViewGroupItem::View(name)),
                _ => self.error(item.line, format!("\"{path}\" must be one of [string, object]")),
            }
        }
        Some(ViewGroup {
            name: name?,
            title: self.text(&fields, "title", path),
            description: self.text(&fields, "description", path),
            items,
            location: self.at(node.line),
        })
    }
}

/// A value of a filter as text; null is `None`.
fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => node.text(),
    }
}

//! `/v1/meta`: the model as clients see it.

use super::annotation::{custom_granularity, drill_grouped, put, titles};
use super::formats;
use axum::body::Bytes;
use engine::model::{
    Asker, CaseLabel, Cube, CubeSource, Dimension, DimensionSql, DimensionType, Folder, FolderItem, Hierarchy, Join,
    Link, LinkTarget, Measure, Model, Origin, Piece, PreAggregation, Segment, SqlTemplate, ViewGroup, ViewGroupItem,
    policy,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Bodies that were made for models without access policies, by the model's version, form and choice. The version is a
/// hash of all that the model says, so that equal keys mean equal bodies.
static MADE: LazyLock<Mutex<HashMap<Made, Bytes>>> = LazyLock::new(Mutex::default);

/// A model's version, whether the form is extended, and whether only views are shown.
type Made = (String, bool, bool);

/// Bodies that are kept; each project may have a model of its own.
const MADE_MAX: usize = 64;

/// The serialised [`meta`], made once for each version of a model that looks the same to everybody.
pub fn body(model: &Model, asker: &Asker<'_>, extended: bool, only_views: bool) -> Bytes {
    let fresh = || Bytes::from(meta(model, asker, extended, only_views).to_string());
    if model.cubes.values().any(|cube| !cube.access_policy.is_empty()) {
        return fresh();
    }
    let key = (model.version.clone(), extended, only_views);
    if let Some(body) = MADE.lock().get(&key) {
        return body.clone();
    }
    let body = fresh();
    let mut made = MADE.lock();
    if made.len() >= MADE_MAX {
        made.clear();
    }
    made.insert(key, body.clone());
    body
}

/// The body of `/v1/meta`, as access policies let `asker` see the model. `extended` adds what the members are made of;
/// `only_views` leaves out the cubes.
pub fn meta(model: &Model, asker: &Asker<'_>, extended: bool, only_views: bool) -> Value {
    let components = components(model);
    let shown = model
        .cubes
        .values()
        .filter(|cube| cube.alias_of.is_none() && cube.public && (!only_views || cube.view().is_some()));
    let cubes: Vec<Value> = shown
        .filter_map(|found| cube(model, found, asker, &components, extended))
        .collect();
    let mut body = Map::new();
    let names: HashSet<&str> = cubes.iter().filter_map(|cube| cube.get("name")?.as_str()).collect();
    let groups: Vec<Value> = model
        .view_groups
        .iter()
        .filter_map(|group| view_group(group, &names))
        .collect();
    body.insert("cubes".to_owned(), Value::Array(cubes));
    // As Cube, whose extended form does not tell of groups.
    if !groups.is_empty() && !extended {
        body.insert("viewGroups".to_owned(), Value::Array(groups));
    }
    Value::Object(body)
}

/// A group with the views that are seen; `None` when it has none. Recursion is bounded by the nesting of the model's YAML.
fn view_group(group: &ViewGroup, seen: &HashSet<&str>) -> Option<Value> {
    let (mut views, mut includes) = (Vec::new(), Vec::new());
    for item in &group.items {
        match item {
            ViewGroupItem::View(name) if seen.contains(name.as_str()) => {
                views.push(json!(name));
                includes.push(json!(name));
            }
            ViewGroupItem::View(_) => {}
            ViewGroupItem::Group(inner) => includes.extend(view_group(inner, seen)),
        }
    }
    if includes.is_empty() {
        return None;
    }
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(group.name));
    put(&mut item, "title", group.title.as_ref().map(|title| json!(title)));
    put(
        &mut item,
        "description",
        group.description.as_ref().map(|text| json!(text)),
    );
    item.insert("views".to_owned(), Value::Array(views));
    item.insert("includes".to_owned(), Value::Array(includes));
    Some(Value::Object(item))
}

/// `None` for a cube without any visible member, as Cube leaves it out.
fn cube(model: &Model, cube: &Cube, asker: &Asker<'_>, components: &Components<'_>, extended: bool) -> Option<Value> {
    let visible = |name: &str, public: bool| public && policy::visible(cube, name, asker);
    let measures: Vec<Value> = cube
        .measures
        .iter()
        .filter(|m| visible(&m.name, m.public))
        .map(|m| measure(model, cube, m, extended))
        .collect();
    let dimensions: Vec<Value> = cube
        .dimensions
        .iter()
        .filter(|d| visible(&d.name, d.public))
        .map(|d| dimension(cube, d, extended))
        .collect();
    let segments: Vec<Value> = cube
        .segments
        .iter()
        .filter(|s| visible(&s.name, s.public))
        .map(|s| segment(cube, s, extended))
        .collect();
    if measures.is_empty() && dimensions.is_empty() && segments.is_empty() {
        return None;
    }
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(cube.name));
    let kind = if cube.view().is_some() { "view" } else { "cube" };
    item.insert("type".to_owned(), json!(kind));
    item.insert("title".to_owned(), json!(cube.title));
    item.insert("isVisible".to_owned(), json!(true));
    item.insert("public".to_owned(), json!(true));
    put(&mut item, "description", cube.description.as_ref().map(|d| json!(d)));
    let groups = cube.view().map_or(&[][..], |view| &view.groups);
    put(&mut item, "viewGroups", (!groups.is_empty()).then(|| json!(groups)));
    put(
        &mut item,
        "connectedComponent",
        components.get(cube.name.as_str()).map(|n| json!(n)),
    );
    put(&mut item, "meta", cube.meta.clone());
    item.insert("measures".to_owned(), Value::Array(measures));
    item.insert("dimensions".to_owned(), Value::Array(dimensions));
    item.insert("segments".to_owned(), Value::Array(segments));
    let hierarchies = cube
        .hierarchies
        .iter()
        .filter(|h| visible(&h.name, true))
        .map(|h| hierarchy(&cube.name, h))
        .collect();
    item.insert("hierarchies".to_owned(), hierarchies);
    let folders = cube.view().map_or(&[][..], |view| &view.folders);
    let flat = folders.iter().map(|folder| flat_folder(&cube.name, folder)).collect();
    item.insert("folders".to_owned(), flat);
    let nested = folders.iter().map(|folder| nested_folder(&cube.name, folder)).collect();
    item.insert("nestedFolders".to_owned(), nested);
    if extended {
        if let CubeSource::Sql(template) = &cube.source {
            item.insert("sql".to_owned(), sql(template));
        }
        put(&mut item, "extends", cube.extends.as_ref().map(|parent| json!(parent)));
        item.insert("fileName".to_owned(), json!(&*cube.location.file));
        let refresh_key = cube.refresh_key.as_ref().map(|key| key.shown.clone());
        put(&mut item, "refreshKey", refresh_key);
        item.insert("joins".to_owned(), cube.joins.iter().map(join).collect());
        let rollups = cube.pre_aggregations.iter().map(pre_aggregation).collect();
        item.insert("preAggregations".to_owned(), rollups);
    }
    Some(Value::Object(item))
}

fn hierarchy(cube: &str, hierarchy: &Hierarchy) -> Value {
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(format!("{cube}.{}", hierarchy.name)));
    put(
        &mut item,
        "aliasMember",
        hierarchy.alias_member.as_ref().map(|a| json!(a)),
    );
    put(&mut item, "title", hierarchy.title.as_ref().map(|title| json!(title)));
    item.insert("levels".to_owned(), json!(hierarchy.levels));
    item.insert("public".to_owned(), json!(hierarchy.public));
    Value::Object(item)
}

/// A folder with the members of the folders in it, each once.
fn flat_folder(cube: &str, folder: &Folder) -> Value {
    let mut members: Vec<String> = Vec::new();
    let mut open = vec![folder.items.iter()];
    while let Some(items) = open.last_mut() {
        match items.next() {
            None => {
                open.pop();
            }
            Some(FolderItem::Folder(inner)) => open.push(inner.items.iter()),
            Some(FolderItem::Member(name)) => {
                let full = format!("{cube}.{name}");
                if !members.contains(&full) {
                    members.push(full);
                }
            }
        }
    }
    json!({"name": folder.name, "members": members})
}

/// Recursion is bounded by the nesting of the model's YAML.
fn nested_folder(cube: &str, folder: &Folder) -> Value {
    let members = folder.items.iter().map(|item| match item {
        FolderItem::Member(name) => json!(format!("{cube}.{name}")),
        FolderItem::Folder(inner) => nested_folder(cube, inner),
    });
    json!({"name": folder.name, "members": members.collect::<Vec<_>>()})
}

fn join(join: &Join) -> Value {
    json!({"name": join.target, "relationship": join.relationship.wire(), "sql": sql(&join.sql)})
}

/// Joined cubes have the same number; a cube that joins nothing and is joined by nothing has none.
type Components<'m> = HashMap<&'m str, usize>;

fn components(model: &Model) -> Components<'_> {
    let mut components = Components::new();
    let mut next = 1;
    for cube in model.cubes.values().filter(|cube| cube.alias_of.is_none()) {
        for join in &cube.joins {
            let ends = [cube.name.as_str(), join.target.as_str()];
            let known: Vec<usize> = ends.iter().filter_map(|end| components.get(end).copied()).collect();
            let component = known.iter().min().copied().unwrap_or(next);
            next += usize::from(known.is_empty());
            components
                .values_mut()
                .filter(|number| known.contains(number))
                .for_each(|number| *number = component);
            components.extend(ends.map(|end| (end, component)));
        }
    }
    components
}

fn named(cube: &Cube, name: &str, short_title: &str, description: Option<&str>) -> Map<String, Value> {
    let mut item = titles(&cube.title, short_title, description);
    item.shift_insert(0, "name".to_owned(), json!(format!("{}.{name}", cube.name)));
    item
}

/// The member that a view's member shows.
fn alias_member(origin: &Origin) -> Value {
    json!(origin.path())
}

/// The one member that some SQL is nothing but a reference to.
fn other_member(sql: &SqlTemplate) -> Option<Value> {
    match sql.pieces.as_slice() {
        [Piece::OtherMember(cube, member)] => Some(json!(format!("{cube}.{member}"))),
        _ => None,
    }
}

fn put_visible(item: &mut Map<String, Value>) {
    item.insert("isVisible".to_owned(), json!(true));
    item.insert("public".to_owned(), json!(true));
}

fn measure(model: &Model, cube: &Cube, measure: &Measure, extended: bool) -> Value {
    let row = measure.kind.row();
    let mut item = named(
        cube,
        &measure.name,
        &measure.short_title,
        measure.description.as_deref(),
    );
    put(&mut item, "format", measure.format.as_ref().map(formats::of_measure));
    put(&mut item, "currency", measure.currency.as_ref().map(|c| json!(c)));
    if row.wire == "number" {
        let description = formats::description(measure.format.as_ref(), measure.currency.as_deref());
        item.insert("formatDescription".to_owned(), description);
    }
    // As Cube, whose views do not say it of the measures they show.
    let cumulative = measure.cumulative && measure.origin.is_none();
    item.insert("cumulativeTotal".to_owned(), json!(cumulative));
    item.insert("cumulative".to_owned(), json!(cumulative));
    item.insert("type".to_owned(), json!(row.wire));
    item.insert("aggType".to_owned(), json!(row.agg_type));
    item.insert("drillMembers".to_owned(), json!(measure.drill_members));
    item.insert("drillMembersGrouped".to_owned(), drill_grouped(model, measure));
    let plain = measure.kind.row().calculated && measure.filters.is_empty();
    let other = measure.sql.as_ref().filter(|_| plain).and_then(other_member);
    put(
        &mut item,
        "aliasMember",
        measure.origin.as_ref().map(alias_member).or(other),
    );
    put(&mut item, "meta", measure.meta.clone());
    put_visible(&mut item);
    if extended && measure.origin.is_none() {
        put(&mut item, "sql", measure.sql.as_ref().map(sql));
        if !measure.filters.is_empty() {
            let filters: Vec<Value> = measure.filters.iter().map(|f| json!({"sql": sql(f)})).collect();
            item.insert("filters".to_owned(), Value::Array(filters));
        }
    }
    Value::Object(item)
}

fn dimension(cube: &Cube, dimension: &Dimension, extended: bool) -> Value {
    let mut item = named(
        cube,
        &dimension.name,
        &dimension.short_title,
        dimension.description.as_deref(),
    );
    item.insert("type".to_owned(), json!(dimension.kind.wire()));
    item.insert("suggestFilterValues".to_owned(), json!(dimension.suggest_filter_values));
    let format = dimension.format.as_ref();
    put(
        &mut item,
        "format",
        format.map(|f| formats::of_dimension(f, dimension.kind)),
    );
    put(&mut item, "currency", dimension.currency.as_ref().map(|c| json!(c)));
    if dimension.kind == DimensionType::Number {
        let description = formats::description(dimension.format.as_ref(), dimension.currency.as_deref());
        item.insert("formatDescription".to_owned(), description);
    }
    put(&mut item, "meta", dimension.meta.clone());
    put_visible(&mut item);
    item.insert("primaryKey".to_owned(), json!(dimension.primary_key));
    let other = match &dimension.sql {
        DimensionSql::Expr(template) if !dimension.sub_query => other_member(template),
        _ => None,
    };
    put(
        &mut item,
        "aliasMember",
        dimension.origin.as_ref().map(alias_member).or(other),
    );
    if !dimension.granularities.is_empty() {
        let own: Vec<Value> = dimension.granularities.iter().map(custom_granularity).collect();
        item.insert("granularities".to_owned(), Value::Array(own));
    }
    put(&mut item, "order", dimension.order.map(|order| json!(order.name())));
    put(&mut item, "key", dimension.key.as_ref().map(|key| json!(key)));
    if !dimension.links.is_empty() {
        item.insert("links".to_owned(), dimension.links.iter().map(link).collect());
    }
    if extended && dimension.origin.is_none() {
        match &dimension.sql {
            DimensionSql::Expr(template) => {
                item.insert("sql".to_owned(), sql(template));
            }
            DimensionSql::Case { when, else_label } => {
                let shown = case(when, else_label.as_ref(), &dimension.switch_values);
                item.insert("case".to_owned(), shown);
            }
            DimensionSql::Geo { .. } | DimensionSql::Switch(_) | DimensionSql::Funnel => {}
        }
    }
    Value::Object(item)
}

fn segment(cube: &Cube, segment: &Segment, extended: bool) -> Value {
    let mut item = named(
        cube,
        &segment.name,
        &segment.short_title,
        segment.description.as_deref(),
    );
    put(&mut item, "meta", segment.meta.clone());
    put_visible(&mut item);
    if extended && segment.origin.is_none() {
        item.insert("sql".to_owned(), sql(&segment.sql));
    }
    Value::Object(item)
}

/// A link as clients need it; its address is made by SQL and is none of it.
fn link(link: &Link) -> Value {
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(link.name));
    item.insert("label".to_owned(), json!(link.label));
    if let Some(LinkTarget::Dashboard(id)) = &link.target {
        item.insert("dashboard".to_owned(), json!(id));
    }
    put(&mut item, "icon", link.icon.as_ref().map(|icon| json!(icon)));
    put(&mut item, "target", link.window.as_ref().map(|window| json!(window)));
    put(&mut item, "primary", link.primary.then(|| json!(true)));
    put(
        &mut item,
        "params",
        (!link.params.is_empty()).then(|| json!(link.params)),
    );
    Value::Object(item)
}

/// `case` as Cube shows it: of a label made by SQL only branches have a trace, of a `switch` the values.
fn case(when: &[(SqlTemplate, CaseLabel)], else_label: Option<&CaseLabel>, values: &[String]) -> Value {
    let label = |label: &CaseLabel| match label {
        CaseLabel::Text(text) => json!(text),
        CaseLabel::Sql(template) => sql(template),
    };
    let mut item = Map::new();
    let branches = when
        .iter()
        .enumerate()
        .map(|(at, (condition, then))| match values.get(at) {
            Some(value) => json!({"value": value, "sql": label(then)}),
            None => json!({"sql": sql(condition), "label": label(then)}),
        });
    item.insert("when".to_owned(), branches.collect());
    let otherwise = else_label.map(|otherwise| match otherwise {
        CaseLabel::Text(text) => json!({"label": text}),
        CaseLabel::Sql(_) if values.is_empty() => json!({"label": {}}),
        CaseLabel::Sql(_) => json!({}),
    });
    put(&mut item, "else", otherwise);
    Value::Object(item)
}

/// SQL in the form Cube shows it: a JavaScript template, whose references are written `${…}`.
fn sql(template: &SqlTemplate) -> Value {
    let mut text = String::from("`");
    let mut depth = 0usize;
    let mut chars = template.source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if depth == 0 && chars.peek().is_some_and(|next| ['{', '}'].contains(next)) => {
                text.push(c);
                text.extend(chars.next());
            }
            '`' | '"' if depth == 0 => text.extend(['\\', c]),
            '{' => {
                depth += 1;
                text.push_str(if depth == 1 && !text.ends_with('$') { "${" } else { "{" });
            }
            '}' => {
                depth = depth.saturating_sub(1);
                text.push(c);
            }
            _ => text.push(c),
        }
    }
    text.push('`');
    json!(text)
}

/// A pre-aggregation as extended meta shows it.
fn pre_aggregation(rollup: &PreAggregation) -> Value {
    let mut item = rollup.shown.clone();
    if !rollup.output_column_types.is_empty() {
        let columns = rollup.output_column_types.iter();
        let columns: Vec<Value> = columns
            .map(|(member, kind)| json!({"name": member, "type": kind}))
            .collect();
        item.insert("outputColumnTypes".to_owned(), Value::Array(columns));
    }
    item.insert("name".to_owned(), json!(rollup.name));
    Value::Object(item)
}

#[cfg(test)]
mod tests;

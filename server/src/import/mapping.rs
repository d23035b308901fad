//! What the columns of a file mean: one table for each system that history comes from.

use engine::Error;
use engine::error::Result;
use engine::event::Column;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Tally's own columns, as `tally export` writes them. Values are taken as they are.
    Native,
    /// The flat table of Jitsu 1.x, or of Jitsu 2 in its old layout.
    Jitsu,
    /// Snowplow's atomic events, as GitLab's product analytics keeps them in ClickHouse.
    Snowplow,
}

impl Source {
    /// All sources.
    pub const ALL: &'static [Source] = &[Source::Native, Source::Jitsu, Source::Snowplow];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Source::Native => "native",
            Source::Jitsu => "jitsu",
            Source::Snowplow => "snowplow",
        }
    }

    /// Columns of which a file of this source has some that no other has.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Source::Native => &["visitor_id", "received_at", "event_type", "protocol", "ts"],
            Source::Jitsu => &[
                "eventn_ctx_event_id",
                "_timestamp",
                "doc_path",
                "user_anonymous_id",
                "utc_time",
                "doc_host",
            ],
            Source::Snowplow => &[
                "derived_tstamp",
                "collector_tstamp",
                "domain_userid",
                "page_urlpath",
                "dvce_created_tstamp",
                "domain_sessionid",
                "v_tracker",
            ],
        }
    }

    fn columns(self) -> &'static [(&'static str, Target)] {
        match self {
            Source::Native => &[],
            Source::Jitsu => JITSU,
            Source::Snowplow => SNOWPLOW,
        }
    }

    /// Where a column goes that no table names.
    fn rest(self) -> Target {
        match self {
            // Jitsu puts the caller's properties among its own columns.
            Source::Native | Source::Jitsu => Target::Property,
            Source::Snowplow => Target::Extra,
        }
    }
}

/// What a column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It is this column.
    To(Column),
    /// When it happened.
    When,
    /// What kind of event it is, in Jitsu's words.
    JitsuType,
    /// What kind of event it is, in Snowplow's words.
    SnowplowType,
    /// Width and height, `1280x720`.
    Size(Column, Column),
    /// Minutes from UTC as JavaScript counts them, west positive.
    JsOffset,
    /// `web`, `srv`, `mob`: where it was sent from.
    Platform,
    /// An advertising click id of this kind.
    ClickId(&'static str),
    /// Attributes of the user: an object.
    Traits,
    /// An attribute of the user, by the rest of its name.
    Trait,
    /// Properties: an object.
    Properties,
    /// One property, by its name.
    Property,
    /// Kept in `extra`, by its name.
    Extra,
    /// Not kept.
    Ignore,
}

const fn to(column: Column) -> Target {
    Target::To(column)
}

/// Names are looked up without `eventn_ctx_` in front, as compatible clients of Jitsu nest them.
const JITSU: &[(&str, Target)] = &[
    ("event_id", to(Column::EventId)),
    ("utc_time", Target::When),
    ("_timestamp", to(Column::ReceivedAt)),
    ("event_type", Target::JitsuType),
    ("user_anonymous_id", to(Column::AnonymousId)),
    ("user_hashed_anonymous_id", to(Column::HashedAnonymousId)),
    ("user_id", to(Column::UserId)),
    ("url", to(Column::PageUrl)),
    ("doc_host", to(Column::PageHost)),
    ("doc_path", to(Column::PagePath)),
    ("doc_search", to(Column::PageQuery)),
    ("doc_encoding", to(Column::Charset)),
    ("page_title", to(Column::PageTitle)),
    ("referer", to(Column::Referrer)),
    ("user_agent", to(Column::UserAgent)),
    ("user_language", to(Column::Language)),
    ("screen_resolution", Target::Size(Column::ScreenW, Column::ScreenH)),
    ("vp_size", Target::Size(Column::ViewportW, Column::ViewportH)),
    ("source_ip", to(Column::Ip)),
    ("anon_ip", to(Column::Ip)),
    ("local_tz_offset", Target::JsOffset),
    ("utm_source", to(Column::UtmSource)),
    ("utm_medium", to(Column::UtmMedium)),
    ("utm_campaign", to(Column::UtmCampaign)),
    ("utm_term", to(Column::UtmTerm)),
    ("utm_content", to(Column::UtmContent)),
    ("click_id_gclid", Target::ClickId("gclid")),
    ("click_id_fbclid", Target::ClickId("fbclid")),
    ("click_id_dclid", Target::ClickId("dclid")),
    ("parsed_ua_ua_family", to(Column::Browser)),
    ("parsed_ua_ua_version", to(Column::BrowserVersion)),
    ("parsed_ua_os_family", to(Column::Os)),
    ("parsed_ua_os_version", to(Column::OsVersion)),
    ("parsed_ua_device_brand", to(Column::DeviceBrand)),
    ("parsed_ua_device_model", to(Column::DeviceModel)),
    ("parsed_ua_device_family", Target::Ignore),
    ("parsed_ua_device_type", Target::Ignore),
    ("parsed_ua_bot", to(Column::IsBot)),
    ("location_country", to(Column::GeoCountry)),
    ("location_region", to(Column::GeoRegion)),
    ("location_city", to(Column::GeoCity)),
    ("location_timezone", to(Column::TzName)),
    // A write key, and which library sent it.
    ("api_key", Target::Ignore),
    ("src", Target::Ignore),
];

const SNOWPLOW: &[(&str, Target)] = &[
    ("event_id", to(Column::EventId)),
    ("derived_tstamp", Target::When),
    ("true_tstamp", Target::When),
    ("collector_tstamp", to(Column::ReceivedAt)),
    ("dvce_created_tstamp", to(Column::ClientTs)),
    ("dvce_sent_tstamp", to(Column::SentAt)),
    ("etl_tstamp", Target::Ignore),
    ("event", Target::SnowplowType),
    ("event_name", to(Column::EventName)),
    ("custom_event_name", to(Column::EventName)),
    ("custom_event_props", Target::Properties),
    ("custom_user_props", Target::Traits),
    ("app_id", to(Column::AppId)),
    ("platform", Target::Platform),
    ("name_tracker", Target::Ignore),
    ("v_tracker", to(Column::LibraryVersion)),
    ("v_collector", Target::Ignore),
    ("v_etl", Target::Ignore),
    ("event_fingerprint", Target::Ignore),
    ("user_id", to(Column::UserId)),
    ("domain_userid", to(Column::AnonymousId)),
    ("network_userid", to(Column::NetworkUserId)),
    ("domain_sessionid", to(Column::ClientSessionId)),
    ("domain_sessionidx", to(Column::SessionIndex)),
    ("user_ipaddress", to(Column::Ip)),
    ("page_url", to(Column::PageUrl)),
    ("page_title", to(Column::PageTitle)),
    ("page_referrer", to(Column::Referrer)),
    ("page_urlhost", to(Column::PageHost)),
    ("page_urlpath", to(Column::PagePath)),
    ("page_urlquery", to(Column::PageQuery)),
    ("page_urlfragment", to(Column::PageFragment)),
    ("page_view_id", to(Column::PageViewId)),
    ("refr_urlhost", to(Column::ReferrerHost)),
    ("mkt_medium", to(Column::UtmMedium)),
    ("mkt_source", to(Column::UtmSource)),
    ("mkt_term", to(Column::UtmTerm)),
    ("mkt_content", to(Column::UtmContent)),
    ("mkt_campaign", to(Column::UtmCampaign)),
    ("mkt_clickid", to(Column::ClickId)),
    ("se_category", to(Column::Category)),
    ("se_action", to(Column::Action)),
    ("se_label", to(Column::Label)),
    ("se_property", to(Column::Property)),
    ("se_value", to(Column::NumericValue)),
    ("useragent", to(Column::UserAgent)),
    ("br_name", to(Column::Browser)),
    ("br_family", to(Column::Browser)),
    ("agent_name", to(Column::Browser)),
    ("br_version", to(Column::BrowserVersion)),
    ("agent_version", to(Column::BrowserVersion)),
    ("br_lang", to(Column::Language)),
    ("browser_language", to(Column::Language)),
    ("document_language", to(Column::DocumentLanguage)),
    ("os_name", to(Column::Os)),
    ("os_family", to(Column::Os)),
    ("os_version", to(Column::OsVersion)),
    ("os_timezone", to(Column::TzName)),
    ("br_colordepth", to(Column::ColorDepth)),
    ("dvce_screenwidth", to(Column::ScreenW)),
    ("dvce_screenheight", to(Column::ScreenH)),
    ("br_viewwidth", to(Column::ViewportW)),
    ("br_viewheight", to(Column::ViewportH)),
    ("doc_width", to(Column::DocW)),
    ("doc_height", to(Column::DocH)),
    ("doc_charset", to(Column::Charset)),
    ("screen_resolution", Target::Size(Column::ScreenW, Column::ScreenH)),
    ("viewport_size", Target::Size(Column::ViewportW, Column::ViewportH)),
    ("pp_xoffset_min", to(Column::ScrollXMin)),
    ("pp_xoffset_max", to(Column::ScrollXMax)),
    ("pp_yoffset_min", to(Column::ScrollYMin)),
    ("pp_yoffset_max", to(Column::ScrollYMax)),
    ("geo_country", to(Column::GeoCountry)),
    ("geo_region", to(Column::GeoRegion)),
    ("geo_city", to(Column::GeoCity)),
    ("target_url", to(Column::TargetUrl)),
    ("element_id", to(Column::ElementId)),
    ("tr_orderid", to(Column::OrderId)),
    ("tr_total", to(Column::Revenue)),
    ("tr_currency", to(Column::Currency)),
];

/// What every column of a file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Where the rows come from.
    pub source: Source,
    targets: HashMap<String, Target>,
    names: Vec<String>,
}

impl Mapping {
    /// Settles the meaning of `names`. Without `source` it is what most of the names speak for.
    ///
    /// # Errors
    /// `Invalid` for a source or a target that does not exist, and when the names say nothing.
    pub fn new<'a>(
        names: impl Iterator<Item = &'a str>,
        source: Option<&str>,
        columns: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut seen = BTreeSet::new();
        let names: Vec<String> = names.filter(|name| seen.insert(*name)).map(str::to_owned).collect();
        let source = match source {
            Some(wanted) => {
                let found = Source::ALL.iter().find(|source| source.name() == wanted);
                *found.ok_or_else(|| {
                    Error::invalid(format!("`{wanted}` is no source: write native, jitsu or snowplow"))
                })?
            }
            None => detect(&names, !columns.is_empty())?,
        };
        let mut targets: HashMap<String, Target> =
            names.iter().map(|name| (name.clone(), target(source, name))).collect();
        for (name, wanted) in columns {
            targets.insert(name.clone(), named(wanted)?);
        }
        Ok(Self { source, targets, names })
    }

    /// What the column of this name means. One that the first rows did not have is treated as its source says.
    pub fn target(&self, name: &str) -> Target {
        self.targets
            .get(name)
            .copied()
            .unwrap_or_else(|| target(self.source, name))
    }

    /// The columns in the order of the file, each with what it means, in words.
    pub fn described(&self) -> Vec<(&str, String)> {
        let words = |name: &str| match self.target(name) {
            Target::To(column) => column.name().to_owned(),
            Target::When => Column::Ts.name().to_owned(),
            Target::JitsuType | Target::SnowplowType => Column::EventType.name().to_owned(),
            Target::Size(width, height) => format!("{}, {}", width.name(), height.name()),
            Target::JsOffset => Column::TzOffsetMin.name().to_owned(),
            Target::Platform => Column::Origin.name().to_owned(),
            Target::ClickId(_) => Column::ClickId.name().to_owned(),
            Target::Traits | Target::Trait => "user_traits".to_owned(),
            Target::Properties | Target::Property => "properties".to_owned(),
            Target::Extra => "extra".to_owned(),
            Target::Ignore => "(ignored)".to_owned(),
        };
        self.names.iter().map(|name| (name.as_str(), words(name))).collect()
    }
}

fn detect(names: &[String], has_columns: bool) -> Result<Source> {
    let marks = |source: &Source| {
        let is_there = |mark: &&&str| names.iter().any(|name| bare(name) == **mark || name == **mark);
        source.marks().iter().filter(is_there).count()
    };
    // Of equals the first, which is Tally's own.
    let best = Source::ALL.iter().rev().max_by_key(|source| marks(source));
    match best.filter(|source| marks(source) >= 2) {
        Some(source) => Ok(*source),
        None if has_columns => Ok(Source::Native),
        None => Err(Error::invalid(format!(
            "the columns {} are not those of Tally, Jitsu or Snowplow: say what they mean with --map FILE",
            names.join(", ")
        ))),
    }
}

/// A name as Jitsu's clients nest it, without the nesting.
fn bare(name: &str) -> &str {
    name.strip_prefix("eventn_ctx_").unwrap_or(name)
}

fn target(source: Source, name: &str) -> Target {
    let plain = match source {
        Source::Jitsu => bare(name),
        _ => name,
    };
    if let Some((_, target)) = source.columns().iter().find(|(known, _)| *known == plain) {
        return *target;
    }
    match source {
        Source::Native => match Column::from_name(name) {
            Some(column) => Target::To(column),
            // The partition, which follows from the time.
            None if name == "date" => Target::Ignore,
            None => source.rest(),
        },
        Source::Jitsu if plain.starts_with("user_") => Target::Trait,
        _ => source.rest(),
    }
}

/// What a map's value means.
fn named(wanted: &str) -> Result<Target> {
    match wanted {
        "ignore" => Ok(Target::Ignore),
        "properties" => Ok(Target::Property),
        "ts" => Ok(Target::When),
        _ => Column::from_name(wanted).map(Target::To).ok_or_else(|| {
            Error::invalid(format!(
                "`{wanted}` is no column: write one of `engine/src/event/schema.rs` (`tally import --dry-run` shows some), \
                 `properties` or `ignore`"
            ))
        }),
    }
}

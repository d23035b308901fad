//! The columns of the events table: one table, in one place.
//!
//! **Evolution.** A column's `id` is written into the WAL and its name into Parquet; both are for ever. New columns take
//! the next free id and are nullable; nothing is renamed, retyped or removed. Readers fill a column that an older file
//! lacks with nulls.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::{Arc, LazyLock};

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// A 32-bit signed integer.
    Int32,
    /// A 64-bit signed integer.
    Int64,
    /// A 64-bit float.
    Float64,
    /// True or false.
    Bool,
    /// An instant, microseconds, UTC.
    Timestamp,
    /// Money: 20 digits, 6 of them after the point.
    Decimal,
}

/// Digits of a [`Kind::Decimal`] column.
pub const DECIMAL_PRECISION: u8 = 20;
/// Digits after the point of a [`Kind::Decimal`] column.
pub const DECIMAL_SCALE: i8 = 6;

impl Kind {
    /// The Arrow type of a column of this kind.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 => DataType::Int64,
            Kind::Float64 => DataType::Float64,
            Kind::Bool => DataType::Boolean,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Decimal => DataType::Decimal128(DECIMAL_PRECISION, DECIMAL_SCALE),
        }
    }
}

macro_rules! columns {
    ($($id:literal $variant:ident $name:literal $kind:ident $required:literal $doc:literal),* $(,)?) => {
        /// A column of the events table. The discriminant is the id written into the WAL.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Column {
            $(#[doc = $doc] $variant = $id,)*
        }

        impl Column {
            /// All columns in the order of the table.
            pub const ALL: &'static [Column] = &[$(Column::$variant,)*];

            /// The column's name in Parquet and SQL.
            pub fn name(self) -> &'static str {
                match self { $(Column::$variant => $name,)* }
            }

            /// The column's type.
            pub fn kind(self) -> Kind {
                match self { $(Column::$variant => Kind::$kind,)* }
            }

            /// Whether every row must have a value.
            pub const fn is_required(self) -> bool {
                match self { $(Column::$variant => $required,)* }
            }

            /// What the column means.
            pub fn doc(self) -> &'static str {
                match self { $(Column::$variant => $doc,)* }
            }

            /// The column with this WAL id, if this version knows it.
            pub fn from_id(id: u8) -> Option<Column> {
                match id { $($id => Some(Column::$variant),)* _ => None }
            }

            /// The column with this name.
            pub fn from_name(name: &str) -> Option<Column> {
                match name { $($name => Some(Column::$variant),)* _ => None }
            }
        }
    };
}

columns! {
    1  EventId "event_id" Text true "Id as the SDK sent it; where it sent none, a hash of the content. Unique in a project.",
    2  Ts "ts" Timestamp true "When it happened, as resolved from client and server clocks. Partition and sort key.",
    3  ReceivedAt "received_at" Timestamp true "When the server received it.",
    4  VisitorId "visitor_id" Text true "Who did it: user id, else anonymous id, else network id, else the daily salted hash.",
    5  EventType "event_type" Text true "page, screen, track, identify, group, alias, ping, leave, engagement, click, error or performance.",
    6  EventName "event_name" Text false "The custom event's name, or the page's name.",
    7  EventSchema "event_schema" Text false "Iglu URI of a self-describing event.",
    8  Protocol "protocol" Text true "The SDK dialect: jitsu1, snowplow, native.",
    9  Origin "origin" Text false "browser, server or mobile.",
    10 LibraryName "library_name" Text false "Name of the SDK.",
    11 LibraryVersion "library_version" Text false "Version of the SDK.",
    12 AppId "app_id" Text false "Application id or write key name the event was sent with, never a secret.",
    13 ClientTs "client_ts" Timestamp false "The client's clock at the event, as sent.",
    14 SentAt "sent_at" Timestamp false "The client's clock at sending, as sent.",
    15 TzName "tz_name" Text false "The client's IANA time zone.",
    16 TzOffsetMin "tz_offset_min" Int32 false "The client's offset from UTC in minutes, east positive.",
    17 AnonymousId "anonymous_id" Text false "Id the SDK keeps for a visitor, by consent.",
    18 UserId "user_id" Text false "Id of an identified user.",
    19 PreviousId "previous_id" Text false "Former id, on an alias event.",
    20 DeviceId "device_id" Text false "Id of the device.",
    21 NetworkUserId "network_user_id" Text false "Id from a collector cookie.",
    22 HashedAnonymousId "hashed_anonymous_id" Text false "Daily salted hash of project, IP, user agent and host; set only when no other id came.",
    23 ClientSessionId "client_session_id" Text false "Session id made by the SDK.",
    24 SessionIndex "session_index" Int32 false "The SDK's count of sessions of this visitor.",
    25 PageViewId "page_view_id" Text false "Joins pings, clicks and errors to their page view.",
    26 WindowId "window_id" Text false "Id of the browser tab.",
    27 GroupId "group_id" Text false "Account or company of the user.",
    28 PageUrl "page_url" Text false "Full address.",
    29 PageHost "page_host" Text false "Host of the address.",
    30 PagePath "page_path" Text false "Path of the address; what funnel targets match.",
    31 PageQuery "page_query" Text false "Query string without the question mark.",
    32 PageFragment "page_fragment" Text false "Fragment without the hash sign.",
    33 PageTitle "page_title" Text false "Title of the document.",
    34 Referrer "referrer" Text false "Full referring address.",
    35 ReferrerHost "referrer_host" Text false "Host of the referring address.",
    36 UtmSource "utm_source" Text false "Campaign source.",
    37 UtmMedium "utm_medium" Text false "Campaign medium.",
    38 UtmCampaign "utm_campaign" Text false "Campaign name.",
    39 UtmTerm "utm_term" Text false "Campaign term.",
    40 UtmContent "utm_content" Text false "Campaign content.",
    41 UtmId "utm_id" Text false "Campaign id.",
    42 ClickIdType "click_id_type" Text false "Kind of advertising click id: gclid, fbclid, msclkid and so on.",
    43 ClickId "click_id" Text false "Advertising click id.",
    44 UserAgent "user_agent" Text false "User agent header or field.",
    45 UaHints "ua_hints" Text false "Client hints as JSON.",
    46 Browser "browser" Text false "Browser family.",
    47 BrowserVersion "browser_version" Text false "Browser version.",
    48 Os "os" Text false "Operating system family.",
    49 OsVersion "os_version" Text false "Operating system version.",
    50 DeviceType "device_type" Text false "desktop, mobile, tablet, tv, console, bot or other.",
    51 DeviceBrand "device_brand" Text false "Brand of the device.",
    52 DeviceModel "device_model" Text false "Model of the device.",
    53 IsBot "is_bot" Bool false "Whether the user agent is an automaton.",
    54 Language "language" Text false "Language of the browser.",
    55 DocumentLanguage "document_language" Text false "Language the page declares.",
    56 ScreenW "screen_w" Int32 false "Screen width in pixels.",
    57 ScreenH "screen_h" Int32 false "Screen height in pixels.",
    58 ViewportW "viewport_w" Int32 false "Viewport width in pixels.",
    59 ViewportH "viewport_h" Int32 false "Viewport height in pixels.",
    60 DocW "doc_w" Int32 false "Document width in pixels.",
    61 DocH "doc_h" Int32 false "Document height in pixels.",
    62 PixelRatio "pixel_ratio" Float64 false "Device pixel ratio.",
    63 ColorDepth "color_depth" Int32 false "Bits per pixel.",
    64 Charset "charset" Text false "Character set of the document.",
    65 Ip "ip" Text false "Address, truncated to /24 or /48 before it is stored.",
    66 GeoCountry "geo_country" Text false "ISO 3166 country code.",
    67 GeoRegion "geo_region" Text false "Region.",
    68 GeoCity "geo_city" Text false "City.",
    69 NumericValue "value" Float64 false "Value of a structured event.",
    70 Category "category" Text false "Category of a structured event.",
    71 Action "action" Text false "Action of a structured event.",
    72 Label "label" Text false "Label of a structured event.",
    73 Property "property" Text false "Property of a structured event.",
    74 Revenue "revenue" Decimal false "Revenue, original kept in properties.",
    75 Currency "currency" Text false "ISO 4217 code of the revenue.",
    76 OrderId "order_id" Text false "Id of the order.",
    77 Items "items" Text false "Items of an order as JSON.",
    78 EngagedMs "engaged_ms" Int64 false "Engaged time in milliseconds.",
    79 ScrollXMin "scroll_x_min" Int32 false "Leftmost scroll offset of a ping, pixels.",
    80 ScrollXMax "scroll_x_max" Int32 false "Rightmost scroll offset of a ping, pixels.",
    81 ScrollYMin "scroll_y_min" Int32 false "Topmost scroll offset of a ping, pixels.",
    82 ScrollYMax "scroll_y_max" Int32 false "Lowest scroll offset of a ping, pixels.",
    83 ErrorType "error_type" Text false "Class of an application error.",
    84 ErrorMessage "error_message" Text false "Message of an application error.",
    85 ErrorStack "error_stack" Text false "Stack trace of an application error.",
    86 TargetUrl "target_url" Text false "Where a clicked link leads.",
    87 ElementId "element_id" Text false "Id of a clicked element.",
    88 Properties "properties" Text false "The caller's properties, JSON object, unknown fields included.",
    89 UserTraits "user_traits" Text false "Attributes of the user, JSON object.",
    90 GroupTraits "group_traits" Text false "Attributes of the group, JSON object.",
    91 Contexts "contexts" Text false "Snowplow contexts as sent, JSON array.",
    92 Extra "extra" Text false "Fields of the envelope that have no column, JSON object.",
}

/// Name of the partition column: the UTC day of `ts`, `YYYY-MM-DD`. In folder names and the table log, not in the files.
pub const PARTITION_COLUMN: &str = "date";

/// The order of an events file.
pub const SORT_COLUMNS: [Column; 3] = [Column::VisitorId, Column::Ts, Column::EventId];

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |c: &Column| Field::new(c.name(), c.kind().data_type(), !c.is_required());
    Arc::new(Schema::new(Column::ALL.iter().map(field).collect::<Vec<_>>()))
});

/// The Arrow schema of the events table, version 1, without the partition column.
pub fn events() -> SchemaRef {
    Arc::clone(&EVENTS)
}

/// Name of the instant column of rejected events; its UTC day is their partition.
pub const REJECTED_TS_COLUMN: &str = "received_at";

static REJECTED: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let received_at = Field::new(REJECTED_TS_COLUMN, Kind::Timestamp.data_type(), false);
    let mut fields = vec![received_at];
    fields.extend(["protocol", "reason", "detail", "raw"].map(text));
    Arc::new(Schema::new(fields))
});

/// The Arrow schema of the table of rejected events: `received_at, protocol, reason, detail, raw`, without the partition
/// column. Bytes of `raw` that are not UTF-8 are replaced by U+FFFD.
pub fn rejected() -> SchemaRef {
    Arc::clone(&REJECTED)
}

#[cfg(test)]
mod tests;

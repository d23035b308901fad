//! From what a visitor does to canonical events.

use super::random::Random;
use super::site::{Channel, Device, ORIGIN, Page};
use super::visitor::Visitor;
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use engine::clock::{Micros, SECOND_MICROS};
use engine::event::{Column, Event, Value};

/// Seconds between two pings of the GitLab SDK.
const PING_SECONDS: i64 = 30;
/// Pings of one page view at the most: then the visitor has gone for a coffee.
const PINGS_MAX: i64 = 6;

/// The columns that are the same for all events of a session.
#[derive(Debug)]
pub(super) struct Who {
    common: Event,
    zone: Tz,
    pings: bool,
    is_identified: bool,
}

impl Who {
    /// A person.
    pub(super) fn of(visitor: &Visitor, day: i64, random: &mut Random) -> Self {
        let mut common = Event::with_capacity(48);
        device(&mut common, visitor.device);
        let [a, b, c] = visitor.address;
        common.set(Column::Ip, format!("{a}.{b}.{c}.0"));
        common.set(Column::Language, visitor.language);
        common.set(Column::DocumentLanguage, "en");
        common.set(Column::Charset, "UTF-8");
        common.set(Column::TzName, visitor.zone.name());
        let (protocol, library, version) = if visitor.uses_gitlab_sdk {
            ("snowplow", "gitlab", "js-4.3.0")
        } else {
            ("jitsu1", "jitsu", "3.1.5")
        };
        common.set(Column::Protocol, protocol);
        common.set(Column::LibraryName, library);
        common.set(Column::LibraryVersion, version);
        match &visitor.anonymous_id {
            Some(id) => {
                common.set(Column::AnonymousId, id.as_str());
                common.set(Column::ClientSessionId, random.uuid());
                common.set_int(Column::SessionIndex, visitor.sessions);
                common.set_text(Column::UserId, visitor.user_id.as_deref());
                common.set(Column::VisitorId, visitor.user_id.as_ref().unwrap_or(id).as_str());
            }
            None => daily_id(&mut common, visitor.number, day),
        }
        Self {
            common,
            zone: visitor.zone,
            pings: visitor.uses_gitlab_sdk,
            is_identified: visitor.user_id.is_some(),
        }
    }

    /// An automaton, which keeps no cookie.
    pub(super) fn bot(user_agent: &str, name: &str, day: i64, random: &mut Random) -> Self {
        let mut common = Event::with_capacity(32);
        common.set(Column::Protocol, "snowplow");
        common.set(Column::LibraryName, "gitlab");
        common.set(Column::UserAgent, user_agent);
        common.set(Column::Browser, name);
        common.set(Column::DeviceType, "bot");
        common.set(Column::IsBot, true);
        common.set(Column::Ip, "66.249.66.0");
        daily_id(&mut common, random.next() % 40, day);
        Self {
            common,
            zone: Tz::UTC,
            pings: false,
            is_identified: false,
        }
    }
}

/// The id of a visitor who keeps none: a hash that is another one every day.
fn daily_id(common: &mut Event, number: u64, day: i64) {
    let hash = blake3::hash(format!("demo {number} {day}").as_bytes());
    let id = hash.to_hex().chars().take(32).collect::<String>();
    common.set(Column::HashedAnonymousId, id.as_str());
    common.set(Column::VisitorId, id);
}

fn device(common: &mut Event, device: &Device) {
    common.set(Column::UserAgent, device.user_agent);
    common.set(Column::Browser, device.browser.0);
    common.set(Column::BrowserVersion, device.browser.1);
    common.set(Column::Os, device.os.0);
    common.set_text(Column::OsVersion, Some(device.os.1));
    common.set(Column::DeviceType, device.kind);
    if let Some((brand, model)) = device.brand_model {
        common.set(Column::DeviceBrand, brand);
        common.set(Column::DeviceModel, model);
    }
    common.set(Column::IsBot, false);
    let columns = [Column::ScreenW, Column::ScreenH, Column::ViewportW, Column::ViewportH];
    for (column, pixels) in columns.into_iter().zip(device.pixels) {
        common.set_int(column, pixels);
    }
    common.set(Column::PixelRatio, device.pixel_ratio);
    common.set_int(Column::ColorDepth, 24);
}

/// Writes down one session.
#[derive(Debug)]
pub(super) struct Recorder {
    who: Who,
    now: Micros,
    referrer: Option<String>,
    /// Query string of the next page view, the first one of a campaign.
    query: &'static str,
    page: Option<(&'static Page, String, &'static str)>,
    events: Vec<(Micros, Event)>,
}

impl Recorder {
    pub(super) fn new(who: Who, started: Micros, channel: &'static Channel) -> Self {
        Self {
            who,
            now: started,
            referrer: channel.referrer.map(str::to_owned),
            query: channel.query,
            page: None,
            events: Vec::new(),
        }
    }

    pub(super) fn into_events(self) -> Vec<(Micros, Event)> {
        self.events
    }

    /// A page view.
    pub(super) fn page(&mut self, page: &'static Page, random: &mut Random) {
        let before = self.page.take();
        if let Some((before, _, _)) = before {
            self.referrer = Some(format!("{ORIGIN}{}", before.path));
        }
        self.page = Some((page, random.uuid(), std::mem::take(&mut self.query)));
        let mut event = self.event("page", random);
        event.set(Column::PageTitle, page.title);
        self.put(event);
    }

    /// Time on the page, with the pings that the GitLab SDK sends meanwhile.
    pub(super) fn stay(&mut self, seconds: i64, random: &mut Random) {
        let started = self.now;
        let pings = if self.who.pings {
            (seconds / PING_SECONDS).min(PINGS_MAX)
        } else {
            0
        };
        for ping in 1..=pings {
            self.now = started + ping * PING_SECONDS * SECOND_MICROS;
            let mut event = self.event("ping", random);
            event.set_int(Column::ScrollYMax, random.between(0, 2400));
            self.put(event);
        }
        self.now = started + seconds * SECOND_MICROS;
    }

    /// Time without pings.
    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += seconds * SECOND_MICROS;
    }

    /// A click on the link to `target`.
    pub(super) fn click(&mut self, target: &Page, random: &mut Random) {
        let mut event = self.event("click", random);
        event.set(
            Column::EventSchema,
            "iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1",
        );
        event.set(Column::TargetUrl, format!("{ORIGIN}{}", target.path));
        self.put(event);
    }

    /// A custom event, with its revenue in cents if it has one.
    pub(super) fn track(&mut self, name: &str, details: &serde_json::Value, cents: Option<i64>, random: &mut Random) {
        // Half a second after what it follows from, so that the order is clear.
        self.now += SECOND_MICROS / 2;
        let mut event = self.event("track", random);
        event.set(Column::EventName, name);
        if self.who.pings {
            event.set(Column::EventSchema, "iglu:com.gitlab/custom_event/jsonschema/1-0-0");
        }
        event.set(Column::Properties, details.to_string());
        if let Some(cents) = cents {
            event.set(Column::Revenue, Value::Decimal(i128::from(cents) * 10_000));
            event.set(Column::Currency, "EUR");
            event.set(Column::OrderId, format!("order-{}", random.next() % 1_000_000_000));
        }
        self.put(event);
    }

    /// A failure of the page's script.
    pub(super) fn error(&mut self, random: &mut Random) {
        let mut event = self.event("error", random);
        event.set(
            Column::EventSchema,
            "iglu:com.snowplowanalytics.snowplow/application_error/jsonschema/1-0-1",
        );
        event.set(Column::ErrorType, "TypeError");
        event.set(
            Column::ErrorMessage,
            "Cannot read properties of undefined (reading 'price')",
        );
        self.put(event);
    }

    /// Jitsu's SDK says who it is when a customer comes; the GitLab SDK tells it with every event.
    pub(super) fn identify_if_known(&mut self, random: &mut Random) {
        if self.who.is_identified && !self.who.pings {
            let mut event = self.event("identify", random);
            event.set(Column::UserTraits, r#"{"plan":"customer"}"#);
            self.put(event);
        }
    }

    /// An event with everything that is known at this moment.
    fn event(&self, kind: &str, random: &mut Random) -> Event {
        let mut event = self.who.common.clone();
        event.set(Column::EventId, random.uuid());
        event.set(Column::EventType, kind);
        event.set(Column::Origin, "browser");
        event.set(Column::AppId, "demo");
        event.set_ts(Column::Ts, self.now);
        event.set_ts(Column::ClientTs, self.now);
        event.set_ts(Column::ReceivedAt, self.now + random.between(80, 900) * 1000);
        event.set_int(Column::TzOffsetMin, offset_minutes(self.who.zone, self.now));
        if let Some((page, view_id, query)) = &self.page {
            let question = if query.is_empty() { "" } else { "?" };
            event.set(Column::PageUrl, format!("{ORIGIN}{}{question}{query}", page.path));
            event.set(Column::PageHost, ORIGIN.trim_start_matches("https://"));
            event.set(Column::PagePath, page.path);
            event.set(Column::PageViewId, view_id.as_str());
            event.set_text(Column::PageQuery, Some(query));
            campaign(&mut event, query);
        }
        if let Some(referrer) = &self.referrer {
            event.set(Column::Referrer, referrer.as_str());
            let host = referrer.split('/').nth(2).unwrap_or_default();
            event.set_text(Column::ReferrerHost, Some(host));
        }
        event
    }

    fn put(&mut self, event: Event) {
        self.events.push((self.now, event));
    }
}

fn campaign(event: &mut Event, query: &str) {
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let column = match name {
            "utm_source" => Column::UtmSource,
            "utm_medium" => Column::UtmMedium,
            "utm_campaign" => Column::UtmCampaign,
            "gclid" => {
                event.set(Column::ClickIdType, "gclid");
                Column::ClickId
            }
            _ => continue,
        };
        event.set(column, value);
    }
}

fn offset_minutes(zone: Tz, at: Micros) -> i64 {
    let instant = DateTime::from_timestamp_micros(at).unwrap_or_default();
    i64::from(
        zone.offset_from_utc_datetime(&instant.naive_utc())
            .fix()
            .local_minus_utc()
            / 60,
    )
}

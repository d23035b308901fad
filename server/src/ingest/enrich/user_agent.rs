//! Browser, operating system, device and bot flag of a user agent.
//!
//! The patterns take some ten megabytes and tens of milliseconds to load, so that happens with the first event that has a
//! user agent. Real traffic has few distinct ones: their answers are cached.

use engine::event::{Column, Event};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Bytes of a user agent that are looked at. Real ones have fewer than 400.
const LOOKED_AT_BYTES: usize = 512;
/// Answers kept in each of the two halves of the cache: 4 MB at the most.
const CACHED_MAX: usize = 4_096;

static PATTERNS: &str = include_str!("../../../../data/uap-core/regexes.yaml");

/// Reads user agents, with a cache.
#[derive(Default)]
pub struct UserAgents {
    parsers: OnceLock<Option<Parsers>>,
    cache: Mutex<Cache>,
}

impl std::fmt::Debug for UserAgents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserAgents")
            .field("loaded", &self.parsers.get().is_some())
            .finish_non_exhaustive()
    }
}

struct Parsers {
    browser: ua_parser::user_agent::Extractor<'static>,
    os: ua_parser::os::Extractor<'static>,
    bots: isbot::Bots,
}

/// What a user agent says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    browser: Option<String>,
    browser_version: Option<String>,
    os: Option<String>,
    os_version: Option<String>,
    device_type: &'static str,
    device_brand: Option<&'static str>,
    device_model: Option<String>,
    is_bot: bool,
}

/// Two halves: the older one is dropped as a whole when the newer one is full, so that what is in use stays.
#[derive(Default)]
struct Cache {
    newer: HashMap<Box<str>, Arc<Facts>>,
    older: HashMap<Box<str>, Arc<Facts>>,
}

impl Cache {
    fn get(&mut self, user_agent: &str) -> Option<Arc<Facts>> {
        if let Some(facts) = self.newer.get(user_agent) {
            return Some(Arc::clone(facts));
        }
        let facts = self.older.remove(user_agent)?;
        self.put(user_agent, &facts);
        Some(facts)
    }

    fn put(&mut self, user_agent: &str, facts: &Arc<Facts>) {
        if self.newer.len() >= CACHED_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(user_agent.into(), Arc::clone(facts));
    }
}

impl UserAgents {
    /// Fills the device columns from the event's user agent. `flag_bots` is off for events of backends, whose libraries
    /// look like bots.
    pub(super) fn enrich(&self, event: &mut Event, flag_bots: bool) {
        let Some(user_agent) = event.text(Column::UserAgent) else {
            return;
        };
        let facts = self.facts(user_agent);
        let texts = [
            (Column::Browser, facts.browser.as_deref()),
            (Column::BrowserVersion, facts.browser_version.as_deref()),
            (Column::Os, facts.os.as_deref()),
            (Column::OsVersion, facts.os_version.as_deref()),
            (Column::DeviceBrand, facts.device_brand),
            (Column::DeviceModel, facts.device_model.as_deref()),
        ];
        for (column, value) in texts {
            if value.is_some() && event.get(column).is_none() {
                event.set_text(column, value);
            }
        }
        let is_bot = flag_bots && (facts.is_bot || event.get(Column::IsBot) == Some(&true.into()));
        if event.get(Column::DeviceType).is_none() {
            event.set(Column::DeviceType, if is_bot { "bot" } else { facts.device_type });
        }
        event.set(Column::IsBot, is_bot);
    }

    fn facts(&self, user_agent: &str) -> Arc<Facts> {
        let mut end = user_agent.len().min(LOOKED_AT_BYTES);
        while !user_agent.is_char_boundary(end) {
            end -= 1;
        }
        let user_agent = &user_agent[..end];
        if let Some(facts) = self.cache.lock().get(user_agent) {
            return facts;
        }
        let facts = Arc::new(self.read(user_agent));
        self.cache.lock().put(user_agent, &facts);
        facts
    }

    fn read(&self, user_agent: &str) -> Facts {
        let mut facts = Facts {
            device_type: device_type(user_agent),
            ..Facts::default()
        };
        (facts.device_brand, facts.device_model) = device(user_agent);
        let Some(parsers) = self.parsers.get_or_init(load) else {
            return facts;
        };
        if let Some(browser) = parsers.browser.extract(user_agent) {
            facts.browser_version = version([browser.major, browser.minor, browser.patch]);
            facts.browser = Some(browser.family.into_owned());
        }
        if let Some(os) = parsers.os.extract(user_agent) {
            facts.os_version = version([os.major.as_deref(), os.minor.as_deref(), os.patch.as_deref()]);
            facts.os = Some(os.os.into_owned());
        }
        facts.is_bot = parsers.bots.is_bot(user_agent);
        facts
    }
}

fn version(parts: [Option<&str>; 3]) -> Option<String> {
    let known: Vec<&str> = parts
        .into_iter()
        .map_while(|part| part.filter(|p| !p.is_empty()))
        .collect();
    (!known.is_empty()).then(|| known.join("."))
}

fn load() -> Option<Parsers> {
    #[derive(Deserialize)]
    struct Lists {
        user_agent_parsers: Vec<ua_parser::user_agent::Parser<'static>>,
        os_parsers: Vec<ua_parser::os::Parser<'static>>,
    }
    let lists: Lists = match serde_saphyr::from_str(PATTERNS) {
        Ok(lists) => lists,
        Err(error) => {
            tracing::error!(%error, "the user agent patterns do not load; browser and system columns stay empty");
            return None;
        }
    };
    let browser = ua_parser::user_agent::Builder::new()
        .push_all(lists.user_agent_parsers)
        .map(|b| b.build());
    let os = ua_parser::os::Builder::new()
        .push_all(lists.os_parsers)
        .map(|b| b.build());
    match (browser, os) {
        (Ok(Ok(browser)), Ok(Ok(os))) => Some(Parsers {
            browser,
            os,
            bots: isbot::Bots::default(),
        }),
        _ => {
            tracing::error!("the user agent patterns do not compile; browser and system columns stay empty");
            None
        }
    }
}

/// Words that tell the type of a device, the first match counts.
const DEVICE_TYPES: &[(&str, &str)] = &[
    ("PlayStation", "console"),
    ("Xbox", "console"),
    ("Nintendo", "console"),
    ("SmartTV", "tv"),
    ("SMART-TV", "tv"),
    ("Smart TV", "tv"),
    ("AppleTV", "tv"),
    ("Apple TV", "tv"),
    ("GoogleTV", "tv"),
    ("Android TV", "tv"),
    ("HbbTV", "tv"),
    ("BRAVIA", "tv"),
    ("CrKey", "tv"),
    ("Roku", "tv"),
    ("AFTT", "tv"),
    ("iPad", "tablet"),
    ("Tablet", "tablet"),
    ("Kindle", "tablet"),
    ("Silk/", "tablet"),
    ("iPhone", "mobile"),
    ("iPod", "mobile"),
    ("Windows Phone", "mobile"),
    ("Mobile", "mobile"),
    ("Opera Mini", "mobile"),
    ("Android", "tablet"),
    ("Windows NT", "desktop"),
    ("Macintosh", "desktop"),
    ("CrOS", "desktop"),
    ("X11", "desktop"),
    ("Linux x86_64", "desktop"),
];

fn device_type(user_agent: &str) -> &'static str {
    let found = DEVICE_TYPES.iter().find(|(word, _)| user_agent.contains(word));
    found.map_or("other", |(_, kind)| kind)
}

/// Beginnings of Android model names, and their brands.
const ANDROID_BRANDS: &[(&str, &str)] = &[
    ("SM-", "Samsung"),
    ("GT-", "Samsung"),
    ("Pixel", "Google"),
    ("Nexus", "Google"),
    ("Redmi", "Xiaomi"),
    ("POCO", "Xiaomi"),
    ("Mi ", "Xiaomi"),
    ("MI ", "Xiaomi"),
    ("moto", "Motorola"),
    ("Nokia", "Nokia"),
    ("ONEPLUS", "OnePlus"),
    ("HUAWEI", "Huawei"),
    ("HONOR", "Honor"),
    ("CPH", "Oppo"),
    ("RMX", "Realme"),
    ("vivo", "Vivo"),
    ("LM-", "LG"),
    ("KF", "Amazon"),
];

fn device(user_agent: &str) -> (Option<&'static str>, Option<String>) {
    for (word, model) in [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("iPod", "iPod"),
        ("Macintosh", "Mac"),
    ] {
        if user_agent.contains(word) {
            return (Some("Apple"), Some(model.to_owned()));
        }
    }
    let Some(model) = android_model(user_agent) else {
        return (None, None);
    };
    let brand = ANDROID_BRANDS
        .iter()
        .find(|(start, _)| model.starts_with(start))
        .map(|(_, brand)| *brand);
    (brand, Some(model.to_owned()))
}

/// The model in `(Linux; Android 14; SM-G991B Build/…)`. Browsers that hide it say `K`.
fn android_model(user_agent: &str) -> Option<&str> {
    let system = user_agent.split_once("(Linux;")?.1.split_once(')')?.0;
    let after = system.split_once("Android")?.1.split_once(';')?.1;
    let model = after.split("Build/").next()?.split(';').next()?.trim();
    (model.len() > 1 && model.len() <= 64 && model != "wv").then_some(model)
}

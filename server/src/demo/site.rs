//! The tables of the demo: the shop's pages, where its visitors come from and what they sit at.

/// The shop's address. `.example` belongs to nobody, by RFC 2606.
pub(super) const ORIGIN: &str = "https://shop.example";

/// Files written into the models folder of `tally demo`: path and content.
pub const MODEL_FILES: &[(&str, &str)] = &[
    (
        "funnels/completed_purchase.yml",
        include_str!("files/completed_purchase.yml"),
    ),
    (
        "funnels/newsletter_signup.yml",
        include_str!("files/newsletter_signup.yml"),
    ),
    ("cubes/orders.yml", include_str!("files/orders.yml")),
];

/// What kind of page it is; decides where visitors go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Home,
    Category,
    Product,
    Blog,
    Info,
    Search,
    Newsletter,
    NewsletterThanks,
    Cart,
    Checkout,
    Payment,
    Thanks,
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) kind: PageKind,
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    pub(super) weight: f64,
    /// Price of a product in cents, else 0.
    pub(super) cents: i64,
}

const fn page(kind: PageKind, path: &'static str, title: &'static str, weight: f64, cents: i64) -> Page {
    Page {
        kind,
        path,
        title,
        weight,
        cents,
    }
}

/// Every page of the shop.
pub(super) const PAGES: &[Page] = &[
    page(PageKind::Home, "/", "Wayfarer: gear for the road", 1.0, 0),
    page(PageKind::Category, "/tents", "Tents", 1.4, 0),
    page(PageKind::Category, "/backpacks", "Backpacks", 1.8, 0),
    page(PageKind::Category, "/boots", "Boots", 1.2, 0),
    page(PageKind::Category, "/sale", "Autumn sale", 1.5, 0),
    page(
        PageKind::Product,
        "/tents/ridge-2",
        "Ridge 2: a tent for two",
        1.6,
        28_900,
    ),
    page(
        PageKind::Product,
        "/tents/basecamp-4",
        "Basecamp 4: a tent for four",
        0.8,
        44_900,
    ),
    page(
        PageKind::Product,
        "/backpacks/hauler-65",
        "Hauler 65 litre backpack",
        1.5,
        17_900,
    ),
    page(
        PageKind::Product,
        "/backpacks/daypack-22",
        "Daypack 22 litre",
        2.4,
        6_900,
    ),
    page(
        PageKind::Product,
        "/backpacks/commuter",
        "Commuter roll-top",
        1.7,
        8_900,
    ),
    page(PageKind::Product, "/boots/scree", "Scree hiking boots", 1.3, 15_900),
    page(PageKind::Product, "/boots/city", "City walkers", 0.9, 9_900),
    page(PageKind::Product, "/sale/stove", "Gas stove (sale)", 1.8, 3_900),
    page(PageKind::Product, "/sale/headlamp", "Headlamp (sale)", 2.0, 2_400),
    page(PageKind::Blog, "/blog", "The Wayfarer blog", 1.0, 0),
    page(
        PageKind::Blog,
        "/blog/packing-light",
        "Packing light: ten rules",
        2.6,
        0,
    ),
    page(
        PageKind::Blog,
        "/blog/waterproof",
        "How waterproof is waterproof?",
        1.6,
        0,
    ),
    page(
        PageKind::Blog,
        "/blog/alps-in-five-days",
        "The Alps in five days",
        2.0,
        0,
    ),
    page(PageKind::Info, "/about", "About us", 1.0, 0),
    page(PageKind::Info, "/shipping", "Shipping and returns", 1.6, 0),
    page(PageKind::Info, "/sizes", "Size guide", 1.2, 0),
    page(PageKind::Search, "/search", "Search", 1.0, 0),
    page(PageKind::Newsletter, "/newsletter", "Newsletter", 1.0, 0),
    page(
        PageKind::NewsletterThanks,
        "/newsletter/thanks",
        "Newsletter: thank you",
        1.0,
        0,
    ),
    page(PageKind::Cart, "/cart", "Your cart", 1.0, 0),
    page(PageKind::Checkout, "/checkout", "Checkout: address", 1.0, 0),
    page(PageKind::Payment, "/checkout/payment", "Checkout: payment", 1.0, 0),
    page(PageKind::Thanks, "/checkout/thanks", "Thank you for your order", 1.0, 0),
];

/// Where visitors go from a page: the next kind with its weight. What is left of 1 ends the session.
pub(super) fn ways_from(kind: PageKind) -> &'static [(PageKind, f64)] {
    use PageKind as P;
    match kind {
        P::Home => &[
            (P::Category, 0.34),
            (P::Product, 0.14),
            (P::Search, 0.10),
            (P::Blog, 0.07),
            (P::Info, 0.04),
        ],
        P::Category => &[
            (P::Product, 0.56),
            (P::Category, 0.14),
            (P::Search, 0.05),
            (P::Home, 0.04),
        ],
        P::Product => &[
            (P::Product, 0.24),
            (P::Category, 0.16),
            (P::Cart, 0.13),
            (P::Info, 0.06),
            (P::Home, 0.03),
        ],
        P::Blog => &[
            (P::Blog, 0.24),
            (P::Product, 0.11),
            (P::Newsletter, 0.09),
            (P::Home, 0.08),
        ],
        P::Info => &[
            (P::Product, 0.28),
            (P::Home, 0.16),
            (P::Category, 0.14),
            (P::Cart, 0.05),
        ],
        P::Search => &[(P::Product, 0.62), (P::Search, 0.15), (P::Category, 0.06)],
        P::Newsletter => &[(P::NewsletterThanks, 0.46), (P::Blog, 0.14), (P::Home, 0.10)],
        P::NewsletterThanks => &[(P::Home, 0.25), (P::Blog, 0.20)],
        P::Cart => &[
            (P::Checkout, 0.52),
            (P::Product, 0.17),
            (P::Category, 0.06),
            (P::Info, 0.05),
        ],
        P::Checkout => &[(P::Payment, 0.69), (P::Cart, 0.07), (P::Info, 0.05)],
        P::Payment => &[(P::Thanks, 0.79), (P::Checkout, 0.06)],
        P::Thanks => &[(P::Home, 0.14), (P::Newsletter, 0.06)],
    }
}

/// Where a session begins.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) weight: f64,
    pub(super) referrer: Option<&'static str>,
    /// Query string of the landing page.
    pub(super) query: &'static str,
    pub(super) landing: PageKind,
    /// The days before the last in which it runs: from, down to.
    pub(super) days_ago: (i64, i64),
    /// Whether it only runs on the days of a newsletter.
    pub(super) newsletter: bool,
}

const fn channel(weight: f64, referrer: Option<&'static str>, query: &'static str, landing: PageKind) -> Channel {
    Channel {
        weight,
        referrer,
        query,
        landing,
        days_ago: (i64::MAX, 0),
        newsletter: false,
    }
}

/// All channels.
pub(super) const CHANNELS: &[Channel] = &[
    channel(25.0, None, "", PageKind::Home),
    channel(6.0, None, "", PageKind::Product),
    channel(17.0, Some("https://www.google.com/"), "", PageKind::Product),
    channel(12.0, Some("https://www.google.com/"), "", PageKind::Blog),
    channel(4.0, Some("https://duckduckgo.com/"), "", PageKind::Category),
    channel(3.0, Some("https://www.bing.com/"), "", PageKind::Home),
    channel(5.0, Some("https://www.reddit.com/"), "", PageKind::Blog),
    channel(3.0, Some("https://news.ycombinator.com/"), "", PageKind::Blog),
    channel(
        9.0,
        Some("https://www.google.com/"),
        "utm_source=google&utm_medium=cpc&utm_campaign=brand&gclid=demo",
        PageKind::Category,
    ),
    channel(
        5.0,
        Some("https://www.instagram.com/"),
        "utm_source=instagram&utm_medium=social&utm_campaign=always-on",
        PageKind::Product,
    ),
    Channel {
        days_ago: (11, 0),
        ..channel(
            11.0,
            Some("https://www.facebook.com/"),
            "utm_source=facebook&utm_medium=paid&utm_campaign=autumn-sale",
            PageKind::Category,
        )
    },
    Channel {
        newsletter: true,
        ..channel(
            32.0,
            None,
            "utm_source=newsletter&utm_medium=email&utm_campaign=monthly-letter",
            PageKind::Product,
        )
    },
];

/// What a visitor sits at, as the user agent says and as it is parsed.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) weight: f64,
    pub(super) user_agent: &'static str,
    pub(super) browser: (&'static str, &'static str),
    pub(super) os: (&'static str, &'static str),
    pub(super) kind: &'static str,
    pub(super) brand_model: Option<(&'static str, &'static str)>,
    /// Screen width and height, viewport width and height, in pixels.
    pub(super) pixels: [i64; 4],
    pub(super) pixel_ratio: f64,
}

/// All devices of people.
pub(super) const DEVICES: &[Device] = &[
    Device {
        weight: 26.0,
        user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        browser: ("Chrome", "141.0.0"),
        os: ("Windows", "10"),
        kind: "desktop",
        brand_model: None,
        pixels: [1920, 1080, 1903, 969],
        pixel_ratio: 1.0,
    },
    Device {
        weight: 9.0,
        user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
        browser: ("Edge", "141.0.0"),
        os: ("Windows", "10"),
        kind: "desktop",
        brand_model: None,
        pixels: [1536, 864, 1519, 730],
        pixel_ratio: 1.25,
    },
    Device {
        weight: 6.0,
        user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
        browser: ("Firefox", "144.0"),
        os: ("Windows", "10"),
        kind: "desktop",
        brand_model: None,
        pixels: [1920, 1080, 1905, 945],
        pixel_ratio: 1.0,
    },
    Device {
        weight: 10.0,
        user_agent: "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
        browser: ("Safari", "18.6"),
        os: ("Mac OS X", "10.15.7"),
        kind: "desktop",
        brand_model: Some(("Apple", "Mac")),
        pixels: [1440, 900, 1440, 789],
        pixel_ratio: 2.0,
    },
    Device {
        weight: 3.0,
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
        browser: ("Firefox", "144.0"),
        os: ("Linux", ""),
        kind: "desktop",
        brand_model: None,
        pixels: [2560, 1440, 2545, 1305],
        pixel_ratio: 1.0,
    },
    Device {
        weight: 22.0,
        user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
        browser: ("Mobile Safari", "18.6"),
        os: ("iOS", "18.6"),
        kind: "mobile",
        brand_model: Some(("Apple", "iPhone")),
        pixels: [393, 852, 393, 659],
        pixel_ratio: 3.0,
    },
    Device {
        weight: 18.0,
        user_agent: "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
        browser: ("Chrome Mobile", "141.0.0"),
        os: ("Android", "10"),
        kind: "mobile",
        brand_model: Some(("Generic_Android", "K")),
        pixels: [412, 915, 412, 785],
        pixel_ratio: 2.625,
    },
    Device {
        weight: 3.0,
        user_agent: "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
        browser: ("Samsung Internet", "28.0"),
        os: ("Android", "14"),
        kind: "mobile",
        brand_model: Some(("Samsung", "SM-S918B")),
        pixels: [384, 824, 384, 701],
        pixel_ratio: 2.8125,
    },
    Device {
        weight: 3.0,
        user_agent: "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
        browser: ("Mobile Safari", "17.7"),
        os: ("iOS", "17.7"),
        kind: "tablet",
        brand_model: Some(("Apple", "iPad")),
        pixels: [820, 1180, 820, 1106],
        pixel_ratio: 2.0,
    },
];

/// Automata: user agent and name.
pub(super) const BOTS: &[(&str, &str)] = &[
    (
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Googlebot",
    ),
    (
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "bingbot",
    ),
    (
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        "GPTBot",
    ),
];

/// Where visitors live: weight, language, time zone.
pub(super) const PLACES: &[(f64, &str, chrono_tz::Tz)] = &[
    (30.0, "en-US", chrono_tz::America::New_York),
    (12.0, "en-US", chrono_tz::America::Los_Angeles),
    (14.0, "en-GB", chrono_tz::Europe::London),
    (18.0, "de-DE", chrono_tz::Europe::Berlin),
    (9.0, "fr-FR", chrono_tz::Europe::Paris),
    (6.0, "es-ES", chrono_tz::Europe::Madrid),
    (4.0, "pt-BR", chrono_tz::America::Sao_Paulo),
    (4.0, "en-IN", chrono_tz::Asia::Kolkata),
    (3.0, "ja-JP", chrono_tz::Asia::Tokyo),
];

/// How busy each hour of a visitor's day is.
pub(super) const HOURS: [f64; 24] = [
    1.0, 0.5, 0.3, 0.2, 0.2, 0.4, 1.0, 2.2, 3.4, 4.2, 4.8, 5.0, 5.4, 5.0, 4.8, 4.6, 4.6, 4.8, 5.2, 6.2, 7.0, 6.6, 4.6,
    2.4,
];

/// What people look for in the shop.
pub(super) const SEARCHES: &[&str] = &[
    "tent",
    "backpack 40l",
    "rain jacket",
    "boots size 43",
    "stove",
    "gift card",
];

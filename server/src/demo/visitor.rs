//! Who comes: new visitors, and some of those who came before.

use super::random::Random;
use super::site::{DEVICES, Device, PLACES};
use chrono_tz::Tz;

/// Share of sessions by somebody who has been there before.
const RETURNING_SHARE: f64 = 0.42;
/// Share of visitors who let themselves be recognised.
const CONSENT_SHARE: f64 = 0.66;
/// Share of visitors whose pages use the GitLab SDK; the others' use Jitsu's.
const GITLAB_SDK_SHARE: f64 = 0.7;
/// Visitors that are remembered; older ones do not come back.
const REMEMBERED_MAX: usize = 8_000;

/// A visitor.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) number: u64,
    pub(super) device: &'static Device,
    pub(super) language: &'static str,
    pub(super) zone: Tz,
    pub(super) uses_gitlab_sdk: bool,
    /// Id kept by the SDK; without consent there is none.
    pub(super) anonymous_id: Option<String>,
    /// Set once the visitor has an account.
    pub(super) user_id: Option<String>,
    /// How keen on buying, around 1.
    pub(super) interest: f64,
    pub(super) sessions: i64,
    pub(super) address: [u8; 3],
}

/// All visitors so far.
#[derive(Debug)]
pub(super) struct Visitors {
    known: Vec<Visitor>,
    made: u64,
}

impl Visitors {
    pub(super) fn new() -> Self {
        Self {
            known: Vec::new(),
            made: 0,
        }
    }

    /// The visitor of the next session.
    pub(super) fn next(&mut self, day: i64, random: &mut Random) -> &mut Visitor {
        let returns = !self.known.is_empty() && random.chance(RETURNING_SHARE);
        let at = if returns {
            // Who came lately comes back more often.
            let back = random.unit().powi(2) * self.known.len() as f64;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "below the length"
            )]
            let back = back as usize;
            self.known.len() - 1 - back.min(self.known.len() - 1)
        } else {
            if self.known.len() >= REMEMBERED_MAX {
                self.known.drain(..REMEMBERED_MAX / 4);
            }
            self.made += 1;
            self.known.push(Visitor::new(self.made, day, random));
            self.known.len() - 1
        };
        let visitor = self.known.get_mut(at).expect("the place was chosen below the length");
        visitor.sessions += 1;
        visitor
    }
}

impl Visitor {
    fn new(number: u64, day: i64, random: &mut Random) -> Self {
        let (_, language, zone) = random.weighted(PLACES, |(weight, _, _)| *weight);
        let consents = random.chance(CONSENT_SHARE);
        // A tenth have had an account since before the demo's first day.
        let has_account = consents && random.chance(0.1);
        let octet = |random: &mut Random| u8::try_from(random.below(223) + 1).unwrap_or(1);
        Self {
            number,
            device: random.weighted(DEVICES, |device| device.weight),
            language,
            zone: *zone,
            uses_gitlab_sdk: random.chance(GITLAB_SDK_SHARE),
            anonymous_id: consents.then(|| random.uuid()),
            user_id: has_account.then(|| format!("customer-{}", day * 10_000 % 1_000_000 + number as i64)),
            interest: 0.4 + random.exponential(0.6),
            sessions: 0,
            address: [octet(random), octet(random), octet(random)],
        }
    }
}

//! An event that could not be accepted: kept with a reason, counted, never silently dropped.

use crate::clock::Micros;
use bytes::Bytes;

macro_rules! reasons {
    ($($variant:ident $code:literal $doc:literal),* $(,)?) => {
        /// Why an event was rejected. The code is stored and is for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RejectReason { $(#[doc = $doc] $variant,)* }

        impl RejectReason {
            /// All reasons.
            pub const ALL: &'static [RejectReason] = &[$(RejectReason::$variant,)*];
            /// The stored code.
            pub fn code(self) -> &'static str {
                match self { $(RejectReason::$variant => $code,)* }
            }
            /// The reason with this code.
            pub fn from_code(code: &str) -> Option<RejectReason> {
                match code { $($code => Some(RejectReason::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    NotAnObject "not_an_object" "An element of a batch is no JSON object.",
    InvalidField "invalid_field" "A field that the event cannot do without has an unusable value.",
    MissingField "missing_field" "A field that the event cannot do without is absent.",
    TooLarge "too_large" "The event is larger than the bound for one event.",
    TooDeep "too_deep" "The event's JSON is nested deeper than the bound.",
    TooManyProperties "too_many_properties" "The event has more properties than the bound.",
    BadEncoding "bad_encoding" "A base64 or JSON part inside the event does not decode.",
    TooOld "too_old" "The event lies further back than events of its project are kept. What it held is not kept.",
    UnsupportedType "unsupported_type" "The dialect has no such kind of event.",
}

/// A rejected event as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// When the server received it.
    pub received_at: Micros,
    /// The SDK dialect.
    pub protocol: String,
    /// Why.
    pub reason: RejectReason,
    /// What exactly: the field, the value's beginning, what was allowed.
    pub detail: String,
    /// The event as sent, cut to [`crate::limits::REJECTED_RAW_BYTES_MAX`].
    pub raw: Bytes,
}

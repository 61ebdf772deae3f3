//! What a server knows about an API before it reads the body: versions, headers, listeners.

use std::fmt;
use std::ops::RangeInclusive;

use crate::ApiKey;

/// The facts of one API, as the schema has them.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// All versions that exist.
    pub(crate) known: (i16, i16),
    /// The last version that is offered to clients.
    pub(crate) stable_last: i16,
    /// The first version with varints and tagged fields.
    pub(crate) flexible: Option<i16>,
    pub(crate) broker: bool,
    pub(crate) controller: bool,
}

impl ApiKey {
    /// The INT16 of the request header.
    pub fn to_wire(self) -> i16 {
        self as i16
    }

    /// Kafka's name, such as `CreateTopics`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The versions that Kafka 4.3 serves.
    pub fn versions(self) -> RangeInclusive<i16> {
        let row = self.row();
        row.known.0..=row.stable_last
    }

    /// The versions to name in an `ApiVersions` response. Produce is said to begin at 0 although
    /// 0 to 2 are refused: librdkafka up to 2.5 otherwise turns compression off (KAFKA-18659).
    pub fn advertised_versions(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => 0..=*self.versions().end(),
            _ => self.versions(),
        }
    }

    /// All versions that can be read and written, unstable ones too.
    pub fn known_versions(self) -> RangeInclusive<i16> {
        let (first, last) = self.row().known;
        first..=last
    }

    /// Whether Kafka 4.3 serves this version without being told to serve unfinished ones.
    pub fn is_stable(self, version: i16) -> bool {
        self.versions().contains(&version)
    }

    /// Whether bodies of this version have varints and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        self.row().flexible.is_some_and(|first| version >= first)
    }

    /// Version of the header before a request: 2 has tagged fields, 1 has not.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header before a response: 1 has tagged fields, 0 has not. `ApiVersions`
    /// always has 0, since its reader does not know yet what the server can do (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != Self::ApiVersions && self.is_flexible(version))
    }

    /// Whether a broker's listener serves the API.
    pub fn on_broker(self) -> bool {
        self.row().broker
    }

    /// Whether a controller's listener serves the API.
    pub fn on_controller(self) -> bool {
        self.row().controller
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_89_apis_are_found_by_their_key() {
        assert_eq!(ApiKey::ALL.len(), 89);
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_wire(api.to_wire()), Some(api));
        }
        for retired in [4, 5, 6, 7] {
            assert_eq!(ApiKey::from_wire(retired), None);
        }
    }

    #[test]
    fn headers_follow_the_flexible_versions() {
        let cases = [
            (ApiKey::Produce, 8, 1, 0),
            (ApiKey::Produce, 9, 2, 1),
            (ApiKey::ApiVersions, 2, 1, 0),
            (ApiKey::ApiVersions, 3, 2, 0),
            (ApiKey::SaslHandshake, 1, 1, 0),
            (ApiKey::DescribeCluster, 0, 2, 1),
        ];
        for (api, version, request, response) in cases {
            assert_eq!(api.request_header_version(version), request, "{api} {version}");
            assert_eq!(api.response_header_version(version), response, "{api} {version}");
        }
    }

    #[test]
    fn unstable_versions_are_known_but_not_served() {
        let api = ApiKey::InitProducerId;
        assert_eq!((api.versions(), api.known_versions()), (0..=5, 0..=6));
        assert!(api.is_stable(5) && !api.is_stable(6));
    }

    #[test]
    fn produce_is_advertised_from_zero_and_served_from_three() {
        let api = ApiKey::Produce;
        assert_eq!((api.versions(), api.advertised_versions()), (3..=13, 0..=13));
    }
}

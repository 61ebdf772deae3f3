//! Random messages of every kind and version: they survive, their fragments are refused, and
//! nothing that they claim about lengths is believed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod schema;

use bytes::Bytes;
use schema::Wishes;
use schema::model::Message;
use thalweg_protocol::reencode::{self, ReencodeError};
use thalweg_protocol::{ApiKey, check_request};
use types::Rng;

/// Which of the codec's tables a message belongs to.
#[derive(Clone, Copy)]
enum Kind {
    Request(ApiKey),
    Response(ApiKey),
    Record,
}

/// Calls `check` with every message of the schema in every version.
fn for_all(mut check: impl FnMut(Kind, &Message, i16)) {
    let mut count = 0;
    let mut in_all_versions = |kind, message: &Message| {
        count += 1;
        for version in message.versions().first..=message.versions().last {
            check(kind, message, version);
        }
    };
    for file in schema::read() {
        for api in &file.apis {
            let key = ApiKey::from_wire(api.key).unwrap();
            in_all_versions(Kind::Request(key), &api.request);
            in_all_versions(Kind::Response(key), &api.response);
        }
        for message in &file.messages {
            in_all_versions(Kind::Record, message);
        }
    }
    assert_eq!(count, 89 * 2 + 95);
}

fn reencode(
    kind: Kind,
    message: &Message,
    version: i16,
    bytes: &Bytes,
) -> Result<Bytes, ReencodeError> {
    match kind {
        Kind::Request(api) => reencode::request(api, version, bytes),
        Kind::Response(api) => reencode::response(api, version, bytes),
        Kind::Record => reencode::record(message.name(), version, bytes).unwrap(),
    }
}

#[test]
fn random_messages_come_out_as_they_went_in() {
    let mut rng = Rng::new(1);
    for_all(|kind, message, version| {
        for unknown_tags in [false, false, true] {
            let wishes = Wishes { unknown_tags, ..Wishes::default() };
            let bytes = Bytes::from(schema::write(message, version, &mut rng, wishes).unwrap());
            let back = reencode(kind, message, version, &bytes);
            assert_eq!(back, Ok(bytes), "{} {version}", message.name());
        }
    });
}

#[test]
fn default_messages_come_out_as_they_went_in() {
    let mut rng = Rng::new(2);
    for_all(|kind, message, version| {
        let wishes = Wishes { defaults: true, ..Wishes::default() };
        let bytes = Bytes::from(schema::write(message, version, &mut rng, wishes).unwrap());
        let back = reencode(kind, message, version, &bytes);
        assert_eq!(back, Ok(bytes), "{} {version}", message.name());
    });
}

#[test]
fn every_fragment_of_a_message_is_refused() {
    let mut rng = Rng::new(3);
    for_all(|kind, message, version| {
        let bytes = schema::write(message, version, &mut rng, Wishes::default()).unwrap();
        let bytes = Bytes::from(bytes);
        let step = 1 + bytes.len() / 100;
        for end in (0..bytes.len()).step_by(step) {
            let fragment = bytes.slice(..end);
            let back = reencode(kind, message, version, &fragment);
            assert!(back.is_err(), "{} {version}: {end} of {}", message.name(), bytes.len());
        }
    });
}

#[test]
fn a_byte_too_many_is_refused() {
    let mut rng = Rng::new(4);
    for_all(|kind, message, version| {
        let mut bytes = schema::write(message, version, &mut rng, Wishes::default()).unwrap();
        bytes.push(0);
        let back = reencode(kind, message, version, &bytes.into());
        assert!(back.is_err(), "{} {version}", message.name());
    });
}

#[test]
fn no_announced_length_is_believed() {
    let mut rng = Rng::new(5);
    let mut refused = 0;
    for_all(|kind, message, version| {
        for huge in 0.. {
            let wishes = Wishes { huge_length: Some(huge), ..Wishes::default() };
            let Err(bytes) = schema::write(message, version, &mut rng, wishes) else {
                break;
            };
            let back = reencode(kind, message, version, &bytes.into());
            assert!(back.is_err(), "{} {version}: length {huge}", message.name());
            refused += 1;
        }
    });
    assert!(refused > 1000, "{refused} lengths were tried");
}

#[test]
fn changed_requests_are_read_or_refused_but_never_panic() {
    let mut rng = Rng::new(6);
    for_all(|kind, message, version| {
        let Kind::Request(api) = kind else { return };
        let wishes = Wishes { unknown_tags: true, ..Wishes::default() };
        let bytes = schema::write(message, version, &mut rng, wishes).unwrap();
        for _ in 0..20 {
            let mut changed = bytes.clone();
            for _ in 0..=rng.below(3) {
                if !changed.is_empty() {
                    let at = rng.below(u32::try_from(changed.len()).unwrap()) as usize;
                    changed[at] = rng.next_u64() as u8;
                }
            }
            // Whether it is still a request is chance; that the answer comes is the test.
            _ = check_request(api, version, &changed.into());
        }
    });
}

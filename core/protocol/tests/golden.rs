//! Messages that Apache Kafka 4.3.0 wrote: each is read and written again without a difference.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use thalweg_protocol::{ApiKey, reencode};

/// Name, version and bytes of each message in a golden file.
fn golden(text: &'static str) -> impl Iterator<Item = (&'static str, i16, Bytes)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let version = words.next().unwrap().parse().unwrap();
        let hex = words.next().unwrap().as_bytes();
        let byte = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
        (name, version, hex.chunks(2).map(byte).collect())
    })
}

fn api(name: &str) -> ApiKey {
    ApiKey::ALL.into_iter().find(|api| api.name() == name).unwrap()
}

#[test]
fn requests_of_kafka_come_out_as_they_went_in() {
    let mut seen = Vec::new();
    for (name, version, bytes) in golden(include_str!("golden/requests.txt")) {
        seen.push((api(name), version));
        assert_eq!(reencode::request(api(name), version, &bytes), Ok(bytes), "{name} {version}");
    }
    assert_eq!(seen, first_and_last_versions());
}

#[test]
fn responses_of_kafka_come_out_as_they_went_in() {
    let mut seen = Vec::new();
    for (name, version, bytes) in golden(include_str!("golden/responses.txt")) {
        seen.push((api(name), version));
        assert_eq!(reencode::response(api(name), version, &bytes), Ok(bytes), "{name} {version}");
    }
    assert_eq!(seen, first_and_last_versions());
}

#[test]
fn records_of_kafka_come_out_as_they_went_in() {
    for (name, version, bytes) in golden(include_str!("golden/records.txt")) {
        let back = reencode::record(name, version, &bytes).unwrap();
        assert_eq!(back, Ok(bytes), "{name} {version}");
    }
}

/// What the golden files must have: every API at both ends of its range.
fn first_and_last_versions() -> Vec<(ApiKey, i16)> {
    let ends = |api: ApiKey| {
        let known = api.known_versions();
        let mut ends = vec![(api, *known.start()), (api, *known.end())];
        ends.dedup();
        ends
    };
    ApiKey::ALL.into_iter().flat_map(ends).collect()
}

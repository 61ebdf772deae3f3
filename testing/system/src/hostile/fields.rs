//! Attacks on fields: counts and lengths that lie, junk, tags, names, control characters.

use anyhow::{Context, ensure};
use protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::{ApiKey, Message};
use types::{ErrorCode, Rng};

use super::target::Target;
use super::wire::header;

/// What log lines must never hold as it is: a terminal would obey it.
pub const CONTROL_MARK: &str = "\u{1b}]0;hostile\u{7}";

/// Random bodies for each API.
const RANDOM_BODIES: usize = 20;
/// APIs above this are none.
const UNKNOWN_API: i16 = 12_345;

/// For every API, in its first and its last version: counts beyond all bytes, negative counts,
/// endless varints, nothing at all.
pub(super) fn junk_bodies(target: &Target) -> anyhow::Result<String> {
    let junk: [&[u8]; 7] = [
        &[],
        &[0],
        &[0x7f; 64],
        &[0xff; 64],
        &[0x80; 64],
        &[0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
    ];
    let mut sent = 0;
    for &(api, first, last) in &target.served {
        for version in [first, last] {
            for bytes in junk {
                try_body(target, api, version, bytes)?;
                sent += 1;
            }
        }
    }
    Ok(format!("{sent} bodies refused or answered"))
}

/// Random bytes where the fields of a request are expected.
pub(super) fn random_bodies(target: &Target) -> anyhow::Result<String> {
    let mut rng = Rng::new(1);
    let mut sent = 0;
    for &(api, _, last) in &target.served {
        for _ in 0..RANDOM_BODIES {
            let length = 1 + rng.below(100) as usize;
            let mut body: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            // Small numbers get deeper into a message than large ones.
            if rng.below(2) == 0 {
                body.iter_mut().for_each(|byte| *byte &= 3);
            }
            try_body(target, api, last, &body)?;
            sent += 1;
        }
    }
    Ok(format!("{sent} bodies refused or answered"))
}

fn try_body(target: &Target, api: ApiKey, version: i16, body: &[u8]) -> anyhow::Result<()> {
    let mut connection = target.connect()?;
    connection.send_frame(&[&header(api, version, 1, "hostile")?[..], body].concat());
    let name = api.name();
    connection
        .expect_alive_or_closed()
        .with_context(|| format!("{name} version {version} with body {body:02x?}"))?;
    Ok(())
}

/// Headers that are cut, of unknown APIs and versions, or whose lengths lie.
pub(super) fn junk_headers(target: &Target) -> anyhow::Result<String> {
    let metadata = ApiKey::Metadata.to_wire().to_be_bytes();
    let unknown = UNKNOWN_API.to_be_bytes();
    let headers: [Vec<u8>; 7] = [
        vec![0],
        metadata.to_vec(),
        [&metadata[..], &[0, 1, 0, 0, 0, 1]].concat(),
        [&metadata[..], &[0, 1, 0, 0, 0, 1, 0x7f, 0xff]].concat(),
        [&metadata[..], &[0, 1, 0, 0, 0, 1, 0xff, 0xfe]].concat(),
        [&metadata[..], &[0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0]].concat(),
        [&unknown[..], &[0, 0, 0, 0, 0, 1, 0xff, 0xff]].concat(),
    ];
    for bytes in &headers {
        let mut connection = target.connect()?;
        connection.send_frame(bytes);
        connection.expect_closed().with_context(|| format!("header {bytes:02x?}"))?;
    }
    Ok(format!("{} headers refused", headers.len()))
}

/// Tags that come twice, fall, lie about their length, or are more than the bytes.
pub(super) fn tagged_fields(target: &Target) -> anyhow::Result<String> {
    // The header of ApiVersions 3 ends with tags; the body is two compact strings and tags.
    let whole = header(ApiKey::ApiVersions, 3, 1, "hostile")?;
    let start = &whole[..whole.len() - 1];
    let refused: [&[u8]; 6] = [
        &[2, 0, 0, 0, 0],
        &[2, 5, 0, 1, 0],
        &[1, 0, 0x7f],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    ];
    let body = ApiVersionsRequest {
        client_software_name: "hostile".to_owned(),
        client_software_version: "1".to_owned(),
        ..ApiVersionsRequest::default()
    };
    let body = body.to_bytes(3)?;
    for tags in refused {
        let mut connection = target.connect()?;
        connection.send_frame(&[start, tags, &body[..]].concat());
        connection.expect_alive_or_closed().with_context(|| format!("header tags {tags:02x?}"))?;
        let mut connection = target.connect()?;
        connection.send_frame(&[&whole[..], &body[..body.len() - 1], tags].concat());
        connection.expect_alive_or_closed().with_context(|| format!("body tags {tags:02x?}"))?;
    }
    Ok(format!("{} lists of tags, in header and body", refused.len()))
}

/// Names that would be paths, are too long, or meet another topic's metric names.
pub(super) fn topic_names(target: &Target) -> anyhow::Result<String> {
    let long = "h".repeat(250);
    let names = [
        "",
        ".",
        "..",
        "../hostile",
        "a/b",
        "/etc",
        "a\\b",
        "a\0b",
        "a b",
        "a:b",
        "é",
        "\u{202e}a",
        "hostile\n",
        CONTROL_MARK,
        &long,
    ];
    let invalid = ErrorCode::InvalidTopicException.to_wire();
    for name in names {
        let error = target.create_topic(name)?;
        ensure!(error == invalid, "topic {name:?} gets error {error}");
    }
    target.create_topic("hostile.collision")?;
    let error = target.create_topic("hostile_collision")?;
    ensure!(error == invalid, "a name that collides in metrics gets error {error}");
    Ok(format!("{} names refused", names.len() + 1))
}

/// Terminal sequences and newlines in a client id and in the client's software name.
pub(super) fn control_characters(target: &Target) -> anyhow::Result<String> {
    let body = ApiVersionsRequest {
        client_software_name: CONTROL_MARK.to_owned(),
        client_software_version: "1\n2".to_owned(),
        ..ApiVersionsRequest::default()
    };
    let answer: ApiVersionsResponse = target.connect()?.ask(ApiKey::ApiVersions, 3, &body)?;
    let expected = ErrorCode::InvalidRequest.to_wire();
    ensure!(answer.error_code == expected, "software name gets error {}", answer.error_code);

    let client_id = format!("{CONTROL_MARK}\r\n{{\"a\":1}}");
    let mut connection = target.connect()?;
    connection.send_frame(&header(ApiKey::ApiVersions, 0, 1, &client_id)?);
    connection.expect_alive_or_closed()?;
    // An error that a node may want to log together with the client id.
    let bad = [&header(ApiKey::Metadata, 1, 1, &client_id)?[..], &[0x7f; 16]].concat();
    let mut connection = target.connect()?;
    connection.send_frame(&bad);
    connection.expect_closed()?;
    Ok("refused or carried as data".to_owned())
}

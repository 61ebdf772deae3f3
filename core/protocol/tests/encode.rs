//! What is refused when a message is written, and how responses go out in segments.

#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use thalweg_protocol::Message;
use thalweg_protocol::internal::metadata::PartitionChangeRecord;
use thalweg_protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use thalweg_protocol::messages::headers::{RequestHeader, ResponseHeader};
use thalweg_protocol::messages::heartbeat::HeartbeatRequest;
use thalweg_protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use thalweg_protocol::wire::{EncodeError, Segments};

#[test]
fn a_value_that_the_version_cannot_carry_is_refused() {
    let request = HeartbeatRequest {
        group_instance_id: Some("static".to_owned()),
        ..HeartbeatRequest::default()
    };
    let field = "HeartbeatRequest.group_instance_id";
    assert_eq!(request.to_bytes(2), Err(EncodeError::Unsupported { field, version: 2 }));
    assert!(request.to_bytes(3).is_ok());
}

#[test]
fn an_ignorable_value_is_dropped_where_the_version_has_no_field() {
    let with_rack = FetchRequest { rack_id: "r1".to_owned(), ..FetchRequest::default() };
    assert_eq!(with_rack.to_bytes(10), FetchRequest::default().to_bytes(10));
}

#[test]
fn a_tagged_value_is_refused_where_the_version_has_no_tag() {
    let record =
        PartitionChangeRecord { directories: Some(vec![]), ..PartitionChangeRecord::default() };
    let field = "PartitionChangeRecord.directories";
    assert_eq!(record.to_bytes(0), Err(EncodeError::Unsupported { field, version: 0 }));
    assert!(record.to_bytes(1).is_ok());
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let all_topics = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let field = "MetadataRequest.topics";
    assert_eq!(all_topics.to_bytes(0), Err(EncodeError::Null { field }));
    assert!(all_topics.to_bytes(1).is_ok());
}

#[test]
fn the_longest_string_has_32767_bytes_in_every_layout() {
    let with_name = |length: usize| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("x".repeat(length)),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    let field = "MetadataRequestTopic.name";
    for version in [1, 9] {
        assert!(with_name(32767).to_bytes(version).is_ok());
        let refused = Err(EncodeError::TooLong { field, length: 32768 });
        assert_eq!(with_name(32768).to_bytes(version), refused);
    }
}

#[test]
fn a_version_that_does_not_exist_is_refused() {
    let message = "FetchRequest";
    for version in [-1, 3, 19] {
        let refused = Err(EncodeError::Version { message, version });
        assert_eq!(FetchRequest::default().to_bytes(version), refused);
        assert!(FetchRequest::from_bytes(&Bytes::from(vec![0; 100]), version).is_err());
    }
}

#[test]
fn the_client_id_keeps_its_old_layout_in_header_version_2() {
    let header = RequestHeader {
        request_api_key: 18,
        request_api_version: 3,
        correlation_id: 7,
        client_id: Some("me".to_owned()),
        ..RequestHeader::default()
    };
    let expected: &[u8] = &[0, 18, 0, 3, 0, 0, 0, 7, 0, 2, b'm', b'e', 0];
    assert_eq!(header.to_bytes(2).unwrap(), expected);
    assert_eq!(header.to_bytes(1).unwrap(), expected[..12]);
}

#[test]
fn the_response_header_has_tags_from_version_1() {
    let header = ResponseHeader { correlation_id: 7, ..ResponseHeader::default() };
    assert_eq!(header.to_bytes(0).unwrap(), [0, 0, 0, 7].as_slice());
    assert_eq!(header.to_bytes(1).unwrap(), [0, 0, 0, 7, 0].as_slice());
}

#[test]
fn fetched_records_leave_in_segments_of_their_own() {
    let records = Bytes::from(vec![7; 100_000]);
    let partition = PartitionData { records: Some(records.clone()), ..PartitionData::default() };
    let topic =
        FetchableTopicResponse { partitions: vec![partition], ..FetchableTopicResponse::default() };
    let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };

    let mut segments = Segments::new();
    response.encode(12, &mut segments).unwrap();
    assert_eq!(segments.bytes(), response.encoded_size(12).unwrap());
    let buffers = segments.into_buffers();
    assert_eq!(buffers.len(), 3);
    assert_eq!(buffers[1].as_ptr(), records.as_ptr(), "the records are not copied");
    assert_eq!(buffers.concat(), response.to_bytes(12).unwrap());
}

#[test]
fn read_records_share_the_buffer_of_the_response() {
    let partition =
        PartitionData { records: Some(Bytes::from(vec![7; 50])), ..PartitionData::default() };
    let topic =
        FetchableTopicResponse { partitions: vec![partition], ..FetchableTopicResponse::default() };
    let response = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
    let bytes = response.to_bytes(12).unwrap();
    let read = FetchResponse::from_bytes(&bytes, 12).unwrap();
    let records = read.responses[0].partitions[0].records.as_ref().unwrap();
    assert!(bytes.as_ptr_range().contains(&records.as_ptr()));
}

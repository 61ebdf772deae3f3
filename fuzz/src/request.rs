//! A request frame without its length: header, then body, as a connection would read it.

use bytes::Bytes;
use thalweg_protocol::messages::headers::RequestHeader;
use thalweg_protocol::views::{
    ConsumerGroupHeartbeatRequestView, FetchRequestView, HeartbeatRequestView,
    ListOffsetsRequestView, MetadataRequestView, OffsetCommitRequestView, OffsetFetchRequestView,
    ProduceRequestView,
};
use thalweg_protocol::wire::Reader;
use thalweg_protocol::{ApiKey, Message, View, check_request};

const FIXED_BYTES: usize = 16 << 10;
/// A byte of the frame may stand for a whole struct in memory, at most about this large, and
/// lists that grow hold their elements twice for a moment.
const BYTES_PER_BYTE: usize = 512;

/// Most memory that [`run`] may take for a frame of so many bytes.
pub fn memory_max(frame_bytes: usize) -> usize {
    BYTES_PER_BYTE * frame_bytes + FIXED_BYTES
}

/// Decodes `frame` if it is a request, in all the ways there are.
///
/// # Panics
/// If the decoder contradicts itself.
pub fn run(frame: &[u8]) {
    let frame = Bytes::copy_from_slice(frame);
    let Some(&[k0, k1, v0, v1]) = frame.first_chunk() else { return };
    let version = i16::from_be_bytes([v0, v1]);
    let Some(api) = ApiKey::from_wire(i16::from_be_bytes([k0, k1])) else { return };
    if !api.known_versions().contains(&version) {
        return;
    }
    let mut reader = Reader::new(&frame);
    if RequestHeader::decode(&mut reader, api.request_header_version(version)).is_err() {
        return;
    }
    let body = reader.rest();
    let is_request = check_request(api, version, &body).is_ok();
    if let Some(is_view) = read_view(api, version, &body) {
        assert_eq!(is_request, is_view, "view and message of {api:?} {version} disagree");
    }
}

/// Whether the view of the body accepts it, for the requests that have one.
fn read_view(api: ApiKey, version: i16, body: &Bytes) -> Option<bool> {
    let accepted = match api {
        ApiKey::Produce => ProduceRequestView::from_bytes(body, version).is_ok(),
        ApiKey::Fetch => FetchRequestView::from_bytes(body, version).is_ok(),
        ApiKey::ListOffsets => ListOffsetsRequestView::from_bytes(body, version).is_ok(),
        ApiKey::Metadata => MetadataRequestView::from_bytes(body, version).is_ok(),
        ApiKey::OffsetCommit => OffsetCommitRequestView::from_bytes(body, version).is_ok(),
        ApiKey::OffsetFetch => OffsetFetchRequestView::from_bytes(body, version).is_ok(),
        ApiKey::Heartbeat => HeartbeatRequestView::from_bytes(body, version).is_ok(),
        ApiKey::ConsumerGroupHeartbeat => {
            ConsumerGroupHeartbeatRequestView::from_bytes(body, version).is_ok()
        }
        _ => return None,
    };
    Some(accepted)
}

//! Which partition of `__consumer_offsets` holds a group.

/// The partition for `group_id` among `partitions`: Java's `String.hashCode`, made positive as
/// Kafka does it (absolute value, and 0 for the one number that has none).
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "the offsets topic has at least one partition");
    let hash = group_id
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_apache_kafka() {
        let of_50 = [
            ("", 0),
            ("g", 3),
            ("my-group", 12),
            ("console-consumer-12345", 6),
            ("gruppe-äö", 46),
            ("😀", 49),
            ("polygenelubricants", 0),
            ("test-group-7", 42),
            ("zzzzzzzzzz", 36),
        ];
        for (group_id, partition) in of_50 {
            assert_eq!(partition_for(group_id, 50), partition, "{group_id}");
        }
    }
}

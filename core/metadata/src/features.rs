//! The features of a cluster and their levels: one table says what thalweg serves, and what a
//! new cluster starts with.
//!
//! A level above what is served would make clients use protocols that nobody answers, so it is
//! neither offered in ApiVersions nor accepted by UpdateFeatures. Raise `served` in the row when
//! the code behind it works, and nowhere else.
//!
//! Not here: changing a level (`controller::features`), the level of `kraft.version`, which lives
//! in control records of the log and not in the image.

/// Name of the feature that says which records the metadata log may hold.
pub const METADATA_VERSION: &str = "metadata.version";
/// Name of the feature that says how the quorum keeps its voters.
pub const KRAFT_VERSION: &str = "kraft.version";
/// Name of the feature of transactions.
pub const TRANSACTION_VERSION: &str = "transaction.version";
/// Name of the feature of the consumer group protocol of KIP-848.
pub const GROUP_VERSION: &str = "group.version";
/// Name of the feature of eligible leader replicas (KIP-966).
pub const ELR_VERSION: &str = "eligible.leader.replicas.version";
/// Name of the feature of share groups (KIP-932).
pub const SHARE_VERSION: &str = "share.version";
/// Name of the feature of streams groups (KIP-1071).
pub const STREAMS_VERSION: &str = "streams.version";

/// One feature: what exists and what of it works here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Feature {
    /// Name on the wire.
    pub name: &'static str,
    /// Lowest level of Kafka 4.3.
    pub min: i16,
    /// Highest level that thalweg serves: offered, accepted, and finalized in a new cluster.
    pub served: i16,
}

/// All features of Kafka 4.3.
pub const FEATURES: [Feature; 7] = [
    Feature { name: METADATA_VERSION, min: 7, served: 30 },
    Feature { name: KRAFT_VERSION, min: 0, served: 1 },
    // The records of version 2 are not served before transactions are.
    Feature { name: TRANSACTION_VERSION, min: 0, served: 0 },
    Feature { name: GROUP_VERSION, min: 0, served: 0 },
    Feature { name: ELR_VERSION, min: 0, served: 1 },
    Feature { name: SHARE_VERSION, min: 0, served: 0 },
    Feature { name: STREAMS_VERSION, min: 0, served: 0 },
];

/// The levels of `metadata.version` that changed records so that a way back would lose some.
const METADATA_CHANGED_AT: [i16; 9] = [7, 8, 11, 13, 14, 15, 17, 23, 30];

/// `eligible.leader.replicas.version` 1 needs records of this `metadata.version` (4.0-IV1).
pub(crate) const ELR_NEEDS_METADATA_VERSION: i16 = 23;

/// The feature with this name.
pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// What a node of this build can work at: name, lowest and highest level. Features of which only
/// level 0 works are left out, as Kafka does.
///
/// Clients are told so in ApiVersions, and controllers of either kind when the node registers: they
/// keep it out of a cluster at a higher level, and raise none that it does not serve.
pub fn supported() -> impl Iterator<Item = (&'static str, i16, i16)> {
    let served = FEATURES.iter().filter(|feature| feature.served > 0);
    served.map(|feature| (feature.name, feature.min, feature.served))
}

/// Which of a cluster's levels keep a node of this build out, by how much, and what to do about it;
/// `None` where it can come in.
pub fn refusal<'a>(levels: impl Iterator<Item = (&'a str, i16)>) -> Option<String> {
    let mut refused = Vec::new();
    let mut updates = String::new();
    for (name, level) in levels {
        let known = feature(name).filter(|known| known.served > 0);
        let (min, max) = known.map_or((0, 0), |known| (known.min, known.served));
        if (min..=max).contains(&level) {
            continue;
        }
        let served = if min == max { max.to_string() } else { format!("{min} to {max}") };
        refused.push(format!("{name} is at {level}, and this node serves {served}"));
        updates.push_str(&format!(" --feature {name}={max}"));
    }
    (!refused.is_empty()).then(|| {
        let refused = refused.join("; ");
        format!("{refused}. Lower them first: kafka-features.sh downgrade{updates}")
    })
}

/// The finalized levels for ApiVersions, as far as they are served: those of an image, and
/// `kraft_version`, which comes from the log's control records.
pub fn finalized<'a>(
    levels: impl Iterator<Item = (&'a str, i16)>,
    kraft_version: i16,
) -> Vec<(String, i16)> {
    let served =
        |name: &str, level: i16| feature(name).map_or(level, |feature| level.min(feature.served));
    let mut levels: Vec<_> = levels
        .map(|(name, level)| (name.to_owned(), served(name, level)))
        .filter(|(_, level)| *level > 0)
        .collect();
    if kraft_version > 0 {
        levels.push((KRAFT_VERSION.to_owned(), kraft_version));
    }
    levels
}

/// Whether going from one `metadata.version` to a lower one could lose records.
pub(crate) fn metadata_changed_between(high: i16, low: i16) -> bool {
    METADATA_CHANGED_AT.iter().any(|&level| low < level && level <= high)
}

/// The release name of a `metadata.version`, such as `4.3-IV0`.
pub fn metadata_version_name(level: i16) -> Option<&'static str> {
    const NAMES: [&str; 24] = [
        "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2",
        "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0",
        "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
    ];
    let index = usize::try_from(level.checked_sub(7)?).ok()?;
    NAMES.get(index).copied()
}

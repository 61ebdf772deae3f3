//! UpdateFeatures (KIP-584, KIP-1022).

use std::collections::BTreeMap;

use protocol::internal::metadata::{
    ClearElrRecord, ConfigRecord, FeatureLevelRecord, NoOpRecord, PartitionChangeRecord,
};
use protocol::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use types::ErrorCode;

use super::{Context, Decision, MIN_ISR, Refusal};
use crate::features::{
    ELR_NEEDS_METADATA_VERSION, ELR_VERSION, KRAFT_VERSION, METADATA_VERSION, feature,
    metadata_changed_between,
};
use crate::image::topic::wire_ids;
use crate::image::{ConfigResource, Image, ResourceType};
use crate::record::MetadataRecord;

/// The last version whose response has a result per feature.
const RESULTS_UNTIL: i16 = 1;

/// How an operator wants a level to change.
#[derive(Clone, Copy, Eq, PartialEq)]
enum UpgradeType {
    Upgrade,
    SafeDowngrade,
    UnsafeDowngrade,
}

impl UpgradeType {
    fn from_wire(value: i8) -> Option<Self> {
        match value {
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// The answer to UpdateFeatures and what it asks of the quorum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureUpdate {
    /// For the client.
    pub response: UpdateFeaturesResponse,
    /// The new level of `kraft.version`, which the quorum writes into control records.
    pub kraft_version: Option<i16>,
}

/// Decides UpdateFeatures: all updates or none. `kraft_version` is the level that the log's
/// control records give.
pub fn update_features(
    image: &Image,
    request: &UpdateFeaturesRequest,
    version: i16,
    kraft_version: i16,
    context: &Context<'_>,
) -> Decision<FeatureUpdate> {
    let updates = request.feature_updates.iter();
    let proposed = updates.map(|update| (update.feature.as_str(), update.max_version_level));
    let proposed: BTreeMap<_, _> = image.features().chain(proposed).collect();
    let (mut records, mut refused) = (Vec::new(), Vec::new());
    let mut new_kraft_version = None;
    for update in &request.feature_updates {
        match update_one(image, update, kraft_version, &proposed, context) {
            Ok(more) => records.extend(more),
            Err(refusal) => refused.push(refusal),
        }
        if update.feature == KRAFT_VERSION && update.max_version_level != kraft_version {
            new_kraft_version = Some(update.max_version_level);
        }
    }
    if let Some(first) = refused.first() {
        let response = refuse_all(first.code, &refused);
        return Decision::unchanged(FeatureUpdate { response, kraft_version: None });
    }
    if request.validate_only {
        records.clear();
        new_kraft_version = None;
    }
    let results = request.feature_updates.iter().filter(|_| version <= RESULTS_UNTIL);
    let results = results.map(|update| UpdatableFeatureResult {
        feature: update.feature.clone(),
        ..Default::default()
    });
    let response = UpdateFeaturesResponse { results: results.collect(), ..Default::default() };
    Decision { records, response: FeatureUpdate { response, kraft_version: new_kraft_version } }
}

/// Kafka names the first feature alone that keeps all others back; whoever raises a whole release
/// (`kafka-features upgrade --release-version`) wants to know them all.
fn refuse_all(code: ErrorCode, refused: &[Refusal]) -> UpdateFeaturesResponse {
    let had = if refused.len() == 1 { "feature had an error" } else { "features had errors" };
    let reasons = refused.iter().map(|refusal| refusal.message.as_str());
    let reasons = reasons.collect::<Vec<_>>().join(" ");
    let message =
        format!("The update failed for all features since the following {had}: {reasons}");
    // However many there are, the answer stays within bounds.
    let Refusal { code, message } = Refusal::new(code, message);
    UpdateFeaturesResponse {
        error_code: code.to_wire(),
        error_message: Some(message),
        ..Default::default()
    }
}

fn update_one(
    image: &Image,
    update: &FeatureUpdateKey,
    kraft_version: i16,
    proposed: &BTreeMap<&str, i16>,
    context: &Context<'_>,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let (name, level) = (update.feature.as_str(), update.max_version_level);
    let refuse = |reason: &str| {
        let message = format!("Invalid update version {level} for feature {name}. {reason}");
        Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message))
    };
    let Some(upgrade_type) = UpgradeType::from_wire(update.upgrade_type) else {
        return refuse("The controller does not support the given upgrade type.");
    };
    if level < 0 {
        return refuse("A feature version cannot be less than 0.");
    }
    if let Some(reason) = reason_not_supported(image, name, level) {
        return refuse(&reason);
    }
    let current = if name == KRAFT_VERSION { kraft_version } else { image.feature(name) };
    if level < current && upgrade_type == UpgradeType::Upgrade {
        return refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade.",
        );
    }
    if level > current && upgrade_type != UpgradeType::Upgrade {
        return refuse("Can't downgrade to a newer version.");
    }
    match name {
        METADATA_VERSION if level < current && metadata_changed_between(current, level) => {
            refuse(match upgrade_type {
                UpgradeType::UnsafeDowngrade => {
                    "Unsafe metadata downgrade is not supported in this version."
                }
                UpgradeType::Upgrade | UpgradeType::SafeDowngrade => {
                    "Refusing to perform the requested downgrade because it might delete metadata \
                     information."
                }
            })
        }
        KRAFT_VERSION if level < current => refuse("Can't downgrade the version of this feature."),
        KRAFT_VERSION if level == current => Ok(Vec::new()),
        // The response waits for an offset of the log, so there must be one.
        KRAFT_VERSION => Ok(vec![NoOpRecord::default().into()]),
        ELR_VERSION if level > 0 && proposed[METADATA_VERSION] < ELR_NEEDS_METADATA_VERSION => {
            refuse(&format!("It depends on metadata.version level {ELR_NEEDS_METADATA_VERSION}."))
        }
        ELR_VERSION if level != current => {
            let unify = level > current;
            let mut records = if unify { unify_min_isr(image, context) } else { Vec::new() };
            records.extend(forget_eligible(image));
            records.push(level_record(name, level));
            Ok(records)
        }
        _ => Ok(vec![level_record(name, level)]),
    }
}

fn level_record(name: &str, feature_level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }.into()
}

/// Every node must be able to work at the level, this one first.
fn reason_not_supported(image: &Image, name: &str, level: i16) -> Option<String> {
    let Some(known) = feature(name) else {
        return Some(format!("There is no feature {name:?}."));
    };
    // A level that Kafka has and thalweg does not serve yet is refused like an unknown one.
    let (min, max) = (known.min, known.served);
    if max == 0 && level > 0 {
        return Some("Thalweg does not serve this feature yet.".to_owned());
    }
    if !(min..=max).contains(&level) {
        return Some(format!("This controller only supports versions {min} to {max}."));
    }
    let brokers = image.brokers().map(|broker| ("Broker", broker.id, &broker.features));
    let controllers = image.controllers();
    let controllers = controllers.map(|node| ("Controller", node.id, &node.features));
    brokers.chain(controllers).find_map(|(role, id, features)| {
        let offered = features.iter().find(|feature| feature.name == name);
        let (min, max) = offered.map_or((0, 0), |feature| (feature.min, feature.max));
        (!(min..=max).contains(&level))
            .then(|| format!("{role} {id} only supports versions {min} to {max}."))
    })
}

/// Eligible leader replicas need one `min.insync.replicas` for all brokers: those of single
/// brokers go, and the cluster gets one.
fn unify_min_isr(image: &Image, context: &Context<'_>) -> Vec<MetadataRecord> {
    let record = |resource: &ConfigResource, value: Option<String>| {
        ConfigRecord {
            resource_type: resource.kind.to_wire(),
            resource_name: resource.name.to_string(),
            name: MIN_ISR.to_owned(),
            value,
            ..Default::default()
        }
        .into()
    };
    let cluster = ConfigResource::cluster();
    let mut records = Vec::new();
    if !image.settings(&cluster).contains_key(MIN_ISR) {
        let value = context.start_count(MIN_ISR).to_string();
        records.push(record(&cluster, Some(value)));
    }
    let single = image.config_resources().filter(|(resource, settings)| {
        resource.kind == ResourceType::Broker
            && !resource.name.is_empty()
            && settings.contains_key(MIN_ISR)
    });
    records.extend(single.map(|(resource, _)| record(resource, None)));
    records
}

/// While replicas are not kept eligible, leaders commit without regard to those that were; so nobody
/// may find them again later. Where nobody is in sync they are all there is, and count as in sync,
/// as the last ones in sync do without ELR.
fn forget_eligible(image: &Image) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in image.topics() {
        let waiting = topic.partitions().filter(|(_, one)| one.isr.is_empty());
        records.extend(waiting.filter(|(_, one)| !one.elr.is_empty()).map(|(index, one)| {
            MetadataRecord::from(PartitionChangeRecord {
                topic_id: topic.id,
                partition_id: index,
                isr: Some(wire_ids(&one.elr)),
                eligible_leader_replicas: Some(Vec::new()),
                ..Default::default()
            })
        }));
    }
    records.push(ClearElrRecord::default().into());
    records
}

//! Whom a client quota limits.

use protocol::internal::metadata::{ClientQuotaRecord, client_quota_record::EntityData};

/// A combination of user, client id or address; a `None` name is the default of that kind.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct QuotaEntity(Vec<(String, Option<String>)>);

impl QuotaEntity {
    /// The parts, ordered by kind.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(kind, name)| (kind.as_str(), name.as_deref()))
    }

    pub(super) fn from_record(record: &ClientQuotaRecord) -> Self {
        let parts = record.entity.iter();
        let mut parts: Vec<_> =
            parts.map(|part| (part.entity_type.clone(), part.entity_name.clone())).collect();
        parts.sort();
        Self(parts)
    }

    pub(super) fn to_record(&self, key: &str, value: f64) -> ClientQuotaRecord {
        let entity = self.parts().map(|(kind, name)| EntityData {
            entity_type: kind.to_owned(),
            entity_name: name.map(str::to_owned),
            ..Default::default()
        });
        ClientQuotaRecord {
            entity: entity.collect(),
            key: key.to_owned(),
            value,
            remove: false,
            ..Default::default()
        }
    }
}

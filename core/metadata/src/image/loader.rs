//! The image that the records of a log make, transactions obeyed (KIP-868).
//!
//! Records between begin and end of a transaction may reach over many batches; nobody but the
//! controller that writes them may see them before the end, and after an abort nobody.

use super::{ApplyError, Image};
use crate::record::MetadataRecord;

/// Why the log cannot be followed further.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoaderError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("a metadata transaction begins inside another one")]
    Nested,
    #[error("a metadata transaction ends that has not begun")]
    NotBegun,
}

/// Follows the metadata log.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    image: Image,
    /// The image with the records of a transaction that has not ended.
    open: Option<Image>,
}

impl Loader {
    /// A loader that goes on from `image`, such as a checkpoint's.
    pub fn new(image: Image) -> Self {
        Self { image, open: None }
    }

    /// What everybody may see.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What the controller decides on: an open transaction's records included.
    pub fn latest(&self) -> &Image {
        self.open.as_ref().unwrap_or(&self.image)
    }

    /// Whether a transaction has begun and not ended. A controller that takes over must abort it.
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// Applies the next record of the log.
    ///
    /// # Errors
    /// [`LoaderError`] where the record does not fit; nothing has changed then.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), LoaderError> {
        match (record, &mut self.open) {
            (MetadataRecord::BeginTransaction(_), Some(_)) => return Err(LoaderError::Nested),
            (MetadataRecord::BeginTransaction(_), None) => self.open = Some(self.image.clone()),
            (MetadataRecord::EndTransaction(_), _) => {
                self.image = self.open.take().ok_or(LoaderError::NotBegun)?;
            }
            (MetadataRecord::AbortTransaction(_), _) => {
                self.open.take().ok_or(LoaderError::NotBegun)?;
            }
            (record, Some(open)) => open.apply(record)?,
            (record, None) => self.image.apply(record)?,
        }
        Ok(())
    }
}

//! The metadata of a cluster: the records of its log, the image they make, and what the
//! controller decides.
//!
//! [`MetadataRecord`] is one record of `__cluster_metadata`. A [`Loader`] applies records and gives
//! out [`Image`]s, values that are cheap to clone; [`Changes`] tells what differs between two.
//! [`controller`] turns a request and an image into records and a response.
//!
//! Not here: the quorum that makes records final, the log, the clock, sockets.

pub mod controller;
pub mod features;
pub mod image;

mod batches;
mod former_run;
mod record;
mod shared_map;

pub use batches::batches;
pub use former_run::{FoundDirectory, NotWhole, epoch_of_former_run};
pub use image::{Changes, Image, Loader};
pub use record::{FrameError, MetadataRecord};
pub use shared_map::SharedMap;

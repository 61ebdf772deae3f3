//! What the settings of a topic and the cluster's features say about elections.
//!
//! Not here: elections (`partition_change`).

use config::TopicConfig;

use super::{Context, MIN_ISR};
use crate::image::{Image, Settings, Topic};

/// The topic's key that allows unclean elections.
const UNCLEAN: &str = "unclean.leader.election.enable";

/// Before this `metadata.version` (3.6-IV0), brokers needed a new leader epoch when the ISR shrank
/// (KAFKA-15021).
const SHRINKS_QUIETLY_SINCE: i16 = 12;

/// How a leader is sought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Election {
    /// The first replica if it can lead, else as `Online`.
    Preferred,
    /// The present leader if it can go on, else the first replica in sync.
    Online,
    /// As `Online`, else any replica that is alive, whatever it lacks.
    Unclean,
}

/// Settings of a topic that elections obey.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElectionRules {
    /// `min.insync.replicas`.
    pub min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub unclean: bool,
    /// Whether eligible leader replicas are kept.
    pub elr: bool,
    /// Whether the leader epoch grows when the ISR shrinks.
    pub epoch_at_shrink: bool,
}

impl ElectionRules {
    /// How to elect where nobody has asked for an election.
    pub fn online(&self) -> Election {
        if self.unclean { Election::Unclean } else { Election::Online }
    }
}

/// The rules of all topics; few have settings of their own, so the rest is read once.
pub(super) struct Rulebook<'a> {
    image: &'a Image,
    context: &'a Context<'a>,
    /// `min.insync.replicas` and whether to elect uncleanly, for topics that do not say.
    default: (u32, bool),
}

impl<'a> Rulebook<'a> {
    pub fn new(image: &'a Image, context: &'a Context<'a>) -> Self {
        Self { image, context, default: Self::read(image, context, &Settings::new()) }
    }

    /// The image that the rules are read from.
    pub fn image(&self) -> &'a Image {
        self.image
    }

    /// The rules of one topic.
    pub fn rules(&self, topic: &Topic) -> ElectionRules {
        let settings = self.image.topic_settings(&topic.name);
        let own = [MIN_ISR, UNCLEAN].into_iter().any(|name| settings.contains_key(name));
        let (min_isr, unclean) =
            if own { Self::read(self.image, self.context, settings) } else { self.default };
        ElectionRules {
            min_isr: usize::try_from(min_isr).unwrap_or(usize::MAX),
            unclean,
            elr: self.image.elr_enabled(),
            epoch_at_shrink: self.image.metadata_version() < SHRINKS_QUIETLY_SINCE,
        }
    }

    fn read(image: &Image, context: &Context<'_>, settings: &Settings) -> (u32, bool) {
        let config = TopicConfig::resolve(settings, &context.layers(image));
        (config.min_insync_replicas, config.unclean_leader_election)
    }
}

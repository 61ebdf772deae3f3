//! What the active controller looks after from time to time: that preferred leaders lead, and that
//! somebody leads where an unclean election is allowed.
//!
//! Not here: which elections these are (`metadata::controller`), and those that follow from a broker
//! that comes or goes.

use std::rc::Rc;
use std::time::Duration;

use ::metadata::controller::{
    Context, Decision, ELECTIONS_PER_CHECK, elect_preferred_leaders, elect_unclean_leaders,
};
use ::metadata::{Image, MetadataRecord};
use config::BrokerLayers;

use crate::controller::NotController;
use crate::shard::Shard;
use crate::shared::Shared;

/// Up to so many elections of one kind.
type Elect = fn(&Image, usize, &Context<'_>) -> Vec<MetadataRecord>;

/// Looks after the leaders for as long as the node runs, and does something where this node is the
/// active controller. For the first shard; ends with it.
pub async fn run(shard: Rc<Shard>) {
    let shared = &shard.shared;
    let layers = BrokerLayers::at_start(&shared.fixed);
    let seconds = layers.long("leader.imbalance.check.interval.seconds");
    let preferred = Duration::from_secs(seconds.unsigned_abs());
    let unclean = layers.long("unclean.leader.election.interval.ms");
    let unclean = Duration::from_millis(unclean.unsigned_abs());
    let rebalance = async {
        if layers.boolean("auto.leader.rebalance.enable") {
            every(shared, preferred, "preferred", elect_preferred_leaders).await;
        }
    };
    tokio::join!(rebalance, every(shared, unclean, "unclean", elect_unclean_leaders));
}

async fn every(shared: &Shared, period: Duration, kind: &str, elect: Elect) {
    loop {
        tokio::time::sleep(period).await;
        let elected = look(shared, elect).await;
        if elected > 0 {
            tracing::info!("{elected} partitions have another leader by {kind} elections");
        }
    }
}

/// How many were elected; none where another node is the active controller.
async fn look(shared: &Shared, elect: Elect) -> usize {
    let mut elected = 0;
    loop {
        let decide = move |image: &Image, context: &mut Context<'_>| {
            let records = elect(image, ELECTIONS_PER_CHECK, context);
            Decision { response: records.len(), records }
        };
        match shared.controller.decide(decide).await {
            Ok(count) => {
                elected += count;
                // As many as one decision may have: there may be more.
                if count < ELECTIONS_PER_CHECK {
                    return elected;
                }
            }
            Err(NotController) => return elected,
        }
    }
}

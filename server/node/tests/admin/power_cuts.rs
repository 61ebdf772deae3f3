//! All brokers lose their power: who has what it had may lead, and nobody else.

use std::fs;

use types::ErrorCode;

use crate::client::eventually;
use crate::cluster::{Cluster, brokers};
use crate::configs::{self, set};
use crate::mending::{filled, read_all};
use crate::replication::{TOPIC, state};

const WHOLE_RUNS: &str = ".thalweg_whole_runs";

/// Stops a broker so that its disk is as after a power cut.
fn crash(cluster: &mut Cluster, id: i32) {
    cluster.stop(id);
    fs::remove_file(cluster.folder(id).join(".kafka_cleanshutdown")).unwrap();
}

/// Both brokers have lost their power, the leader last, and have everything.
fn without_power() -> (Cluster, i32) {
    let (mut cluster, leader) = filled();
    crash(&mut cluster, 5 - leader);
    crash(&mut cluster, leader);
    (cluster, leader)
}

/// Who leads once a broker is let in, -1 for nobody.
fn leader_with(cluster: &mut Cluster, id: i32) -> i32 {
    cluster.start_broker(id);
    let mut client = cluster.client(id);
    eventually("the broker to be let in", || {
        brokers(&mut client).contains(&(id, false)).then_some(())
    });
    state(&mut client, TOPIC).unwrap().0
}

#[test]
fn who_has_everything_leads_where_the_last_leader_comes_back_with_an_empty_disk() {
    let (mut cluster, last) = without_power();
    fs::remove_dir_all(cluster.folder(last)).unwrap();
    assert_eq!(leader_with(&mut cluster, last), -1, "it has nothing");
    let other = 5 - last;
    cluster.start_broker(other);
    eventually("the other to lead, with both in sync", || {
        (state(&mut cluster.client(other), TOPIC)? == (other, 2)).then_some(())
    });
    read_all(&cluster, other);
}

#[test]
fn a_second_power_cut_during_the_start_changes_nothing() {
    let (mut cluster, last) = without_power();
    let other = 5 - last;
    let file = cluster.folder(other).join(WHOLE_RUNS);
    let before = fs::read_to_string(&file).unwrap();
    assert_eq!(leader_with(&mut cluster, other), other);
    crash(&mut cluster, other);
    let after = fs::read_to_string(&file).unwrap();
    let first_run = |text: &str| text.lines().nth(1).unwrap().to_owned();
    assert_eq!(after.lines().nth(2), Some(&first_run(&before)[..]), "on for the run before");
    // The run that registered is named behind another one, which did not get so far.
    let unregistered = "AAAAAAAAAAAAAAAAAAAAZw";
    fs::write(&file, format!("0\n{unregistered}\n{}\n", first_run(&after))).unwrap();
    assert_eq!(leader_with(&mut cluster, other), other);
}

#[test]
fn who_lacks_the_log_does_not_lead() {
    let (mut cluster, last) = without_power();
    let other = 5 - last;
    fs::remove_dir_all(cluster.folder(other).join(format!("{TOPIC}-0"))).unwrap();
    assert_eq!(leader_with(&mut cluster, other), -1);
    cluster.start_broker(last);
    eventually("the last leader to lead again, with both in sync", || {
        (state(&mut cluster.client(last), TOPIC)? == (last, 2)).then_some(())
    });
    read_all(&cluster, last);
}

#[test]
fn who_may_have_acknowledged_what_was_not_synced_does_not_lead() {
    let (mut cluster, last) = filled();
    let other = 5 - last;
    let mut client = cluster.client(last);
    let set = |client: &mut _, value| {
        assert_eq!(
            set(client, configs::TOPIC, TOPIC, "thalweg.durability", value),
            ErrorCode::None
        );
    };
    set(&mut client, Some("async"));
    for id in [last, other] {
        let file = cluster.folder(id).join(WHOLE_RUNS);
        eventually("the broker to take it back", || (!file.exists()).then_some(()));
    }
    // Even if it was but for a while.
    set(&mut client, None);
    drop(client);
    crash(&mut cluster, other);
    crash(&mut cluster, last);
    fs::remove_dir_all(cluster.folder(last)).unwrap();
    assert_eq!(leader_with(&mut cluster, other), -1);
}

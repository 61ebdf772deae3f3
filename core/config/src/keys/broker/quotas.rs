//! How quotas are measured.

use crate::key::{ConfigKey, keys};

keys! {
    int("alter.log.dirs.replication.quota.window.num", "11").min(1).low().acting():
        "Windows over which the rate of moves between directories is measured.";
    int("alter.log.dirs.replication.quota.window.size.seconds", "1").min(1).low().acting():
        "Seconds of each of these windows.";
    class("client.quota.callback.class", "").unset().low().never():
        "Java class that decides on client quotas; no Java class can be loaded here.";
    int("controller.quota.window.num", "11").min(1).low():
        "Windows over which the rate of topic changes is measured.";
    int("controller.quota.window.size.seconds", "1").min(1).low():
        "Seconds of each of these windows.";
    int("quota.window.num", "11").min(1).low():
        "Windows over which client rates are measured.";
    int("quota.window.size.seconds", "1").min(1).low():
        "Seconds of each of these windows.";
    int("replication.quota.window.num", "11").min(1).low().acting():
        "Windows over which the rate of replication is measured.";
    int("replication.quota.window.size.seconds", "1").min(1).low().acting():
        "Seconds of each of these windows.";
}

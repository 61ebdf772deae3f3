//! The reference pages, made from the tables so that they cannot say anything else.

use crate::key::{ConfigKey, Default};
use crate::keys;

/// A page of `docs/reference`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    pub file_name: &'static str,
    /// Markdown.
    pub text: String,
}

/// All pages.
pub fn pages() -> Vec<Page> {
    vec![
        Page { file_name: "broker-configs.md", text: broker_page() },
        Page { file_name: "topic-configs.md", text: topic_page() },
        Page { file_name: "group-configs.md", text: group_page() },
        Page { file_name: "client-metrics-configs.md", text: client_metrics_page() },
    ]
}

const NOTE: &str = "Keys, types and defaults are those of Apache Kafka 4.3.0; `thalweg.` keys are \
    thalweg's own. *Acts* says whether thalweg acts on a key. `not yet`: what it is about is not there \
    yet. `no`: it is about something that only Kafka is made of, and the sentence says why it means \
    nothing here. Such keys are checked, kept and reported, so that Kafka's files can be used as they \
    are, and setting one away from its default gives a warning at start.\n\n\
    This page is made from the tables in `core/config/src/keys`; change them and run \
    `UPDATE_REFERENCE=1 cargo test -p thalweg-config`.\n";

fn broker_page() -> String {
    let mut page = format!("# Broker configs\n\n{NOTE}");
    page.push_str(
        "\n*Changes*: `read-only` keys need a restart; `per-broker` ones change while a broker \
         runs; `cluster-wide` ones also have a default for all brokers.\n",
    );
    let dynamic_only = ("Rates of copying, which no file sets", keys::BROKER_RATES);
    for (area, keys) in keys::BROKER_AREAS.iter().chain([&dynamic_only]) {
        page.push_str(&format!("\n## {area}\n\n"));
        page.push_str("| Key | Type | Default | Allowed | Changes | Importance | Acts | What |\n");
        page.push_str("|---|---|---|---|---|---|---|---|\n");
        for key in keys.iter().filter(|key| !key.internal) {
            let (mode, importance) = (key.mode.name(), key.importance.name());
            row(&mut page, key, &format!("{mode} | {importance}"));
        }
    }
    page
}

fn topic_page() -> String {
    let mut page = format!("# Topic configs\n\n{NOTE}");
    page.push_str(
        "\nA topic that does not set a key takes the first of *Broker keys* that is set, dynamic \
         before static ones, and else the default.\n\n",
    );
    simple_table(&mut page, &keys::TOPIC);
    page
}

fn group_page() -> String {
    let mut page = format!("# Group configs\n\n{NOTE}");
    page.push_str(
        "\nA group that does not set a key takes the broker's. What a group sets must lie between \
         the broker's `min` and `max` keys of the same name.\n\n",
    );
    simple_table(&mut page, &keys::GROUP);
    page
}

fn client_metrics_page() -> String {
    let mut page = format!("# Client-metrics configs\n\n{NOTE}\n");
    simple_table(&mut page, &keys::CLIENT_METRICS);
    page
}

fn simple_table(page: &mut String, table: &keys::KeyTable) {
    page.push_str("| Key | Type | Default | Allowed | Broker keys | Acts | What |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    for key in table.values().filter(|key| !key.internal) {
        let names: Vec<String> =
            key.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
        row(page, key, &names.join(", "));
    }
}

fn row(page: &mut String, key: &ConfigKey, middle: &str) {
    let default = match key.default {
        Default::Required => "required".to_owned(),
        Default::Unset => "none".to_owned(),
        Default::Text("") => "empty".to_owned(),
        Default::Text(text) => format!("`{text}`"),
    };
    let acts = key.effect.name();
    let (name, kind, allowed, doc) = (key.name, key.kind.name(), key.allowed(), key.doc);
    // A bar in a cell would end it.
    let [allowed, doc] = [allowed.replace('|', "\\|"), doc.replace('|', "\\|")];
    page.push_str(&format!(
        "| `{name}` | {kind} | {default} | {allowed} | {middle} | {acts} | {doc} |\n"
    ));
}

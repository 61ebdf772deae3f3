//! A round against any cluster: publish 1,000 records, read and commit half as a group, read the
//! rest as a new member, and see each record exactly once.
//!
//! `cargo run -p thalweg-client --example round -- BOOTSTRAP TOPIC`

use std::collections::BTreeSet;
use std::time::Duration;

use client::{
    Client, ClientError, ClientSettings, Compression, Consumer, ConsumerSettings, NewTopic,
    OffsetReset, ProducerRecord, ProducerSettings,
};

use thalweg_client as client;

const RECORDS: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "round".to_owned());
    let client = Client::new(ClientSettings::new(&bootstrap));
    let admin = client.admin();
    let new = NewTopic { name: topic.clone(), partitions: Some(3), ..NewTopic::default() };
    for (_, created) in admin.create_topics(&[new], false).await? {
        created?;
    }
    admin.await_topic(&topic).await?;

    let settings = ProducerSettings { compression: Compression::Lz4, ..Default::default() };
    let producer = client.producer(settings);
    let mut deliveries = Vec::new();
    for number in 0..RECORDS {
        let record = ProducerRecord::new(topic.as_str(), format!("value {number}"));
        deliveries.push(producer.enqueue(record.key(format!("key {number}"))).await?);
    }
    for delivery in deliveries {
        delivery.wait().await?;
    }
    producer.close().await?;

    let group = format!("{topic}-group");
    let mut seen = BTreeSet::new();
    for share in [RECORDS / 2, RECORDS - RECORDS / 2] {
        let mut consumer = member(&client, &group);
        consumer.subscribe(&[&topic])?;
        read(&mut consumer, share, &mut seen).await?;
        consumer.commit().await?;
        let more = tokio::time::timeout(Duration::from_millis(500), consumer.recv()).await;
        assert_eq!(more.is_err(), seen.len() == RECORDS, "records are left until all are read");
        consumer.close().await?;
    }
    let offsets = admin.group_offsets(&group, None).await?;
    let committed: i64 = offsets.iter().map(|one| one.offset).sum();
    println!("{} records, each once; {committed} committed", seen.len());
    Ok(())
}

fn member(client: &Client, group: &str) -> Consumer {
    client.consumer(ConsumerSettings {
        group: Some(group.to_owned()),
        offset_reset: OffsetReset::Earliest,
        ..ConsumerSettings::default()
    })
}

async fn read(
    consumer: &mut Consumer,
    count: usize,
    seen: &mut BTreeSet<String>,
) -> Result<(), ClientError> {
    for _ in 0..count {
        let record = consumer.recv().await?;
        let value = record.value.unwrap_or_default();
        let text = String::from_utf8_lossy(&value).into_owned();
        assert!(seen.insert(text.clone()), "{text:?} was read twice");
    }
    Ok(())
}

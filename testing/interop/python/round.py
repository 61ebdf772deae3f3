"""One round of publish, subscribe in a group, commit, resume: round.py CLIENT BOOTSTRAP TOPIC.

CLIENT is confluent-kafka, kafka-python or aiokafka. A thousand records are published to three partitions;
a first member reads half of them, commits and leaves; a second resumes; each record must have been seen once.
"""
import asyncio
import sys

RECORDS, HALF, PARTITIONS, SECONDS = 1000, 500, 3, 40
CLIENT, BOOTSTRAP, TOPIC = sys.argv[1:4]
GROUP = TOPIC + "-group"


def passed(step):
    print(f"PASS round {CLIENT}: {step}", flush=True)


def check_all_seen(first, second):
    assert len(first) == HALF, f"the first member read {len(first)} records"
    seen = sorted(first + second)
    assert seen == list(range(RECORDS)), f"{len(seen)} records seen, {len(set(seen))} different ones"


def confluent():
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    common = {"bootstrap.servers": BOOTSTRAP}
    admin = AdminClient(common)
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(20)
    producer, errors = Producer(common), []
    for i in range(RECORDS):
        producer.produce(TOPIC, str(i), key=str(i), on_delivery=lambda e, _: e and errors.append(e))
    assert producer.flush(SECONDS) == 0 and not errors, errors[:1]
    passed("publish")

    def member(want):
        settings = {"group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        consumer, seen, next_offsets = Consumer({**common, **settings}), [], {}
        consumer.subscribe([TOPIC])
        for _ in range(SECONDS * 5):
            if len(seen) >= want:
                break
            for message in consumer.consume(min(100, want - len(seen)), 0.2):
                assert message.error() is None, message.error()
                seen.append(int(message.value()))
                next_offsets[message.partition()] = message.offset() + 1
        consumer.commit(offsets=[TopicPartition(TOPIC, p, o) for p, o in next_offsets.items()], asynchronous=False)
        extra = consumer.consume(1, 1.0) if first else []
        consumer.close()
        return seen + [int(m.value()) for m in extra]

    first = []
    first = member(HALF)
    passed("subscribe and commit")
    check_all_seen(first, member(RECORDS - HALF))


def kafka_python():
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic(name=TOPIC, num_partitions=PARTITIONS, replication_factor=1)])
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
    futures = [producer.send(TOPIC, value=b"%d" % i, key=b"%d" % i) for i in range(RECORDS)]
    producer.flush(SECONDS)
    assert all(future.get(10) for future in futures)
    producer.close()
    passed("publish")

    def member(want):
        consumer = KafkaConsumer(TOPIC, bootstrap_servers=BOOTSTRAP, group_id=GROUP, enable_auto_commit=False,
                                 auto_offset_reset="earliest")
        seen, commits = [], {}
        for _ in range(SECONDS * 5):
            if len(seen) >= want:
                break
            polled = consumer.poll(200, max_records=min(100, want - len(seen)))
            for partition, records in polled.items():
                seen.extend(int(record.value) for record in records)
                commits[partition] = OffsetAndMetadata(records[-1].offset + 1, "", -1)
        consumer.commit(commits)
        extra = consumer.poll(1000) if first else {}
        consumer.close()
        return seen + [int(record.value) for records in extra.values() for record in records]

    first = []
    first = member(HALF)
    passed("subscribe and commit")
    check_all_seen(first, member(RECORDS - HALF))
    admin.close()


async def aiokafka():
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
    await producer.start()
    futures = [await producer.send(TOPIC, b"%d" % i, key=b"%d" % i) for i in range(RECORDS)]
    await asyncio.gather(*futures)
    await producer.stop()
    passed("publish")

    async def member(want):
        consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=BOOTSTRAP, group_id=GROUP, enable_auto_commit=False,
                                    auto_offset_reset="earliest")
        await consumer.start()
        seen, commits = [], {}
        for _ in range(SECONDS * 5):
            if len(seen) >= want:
                break
            polled = await consumer.getmany(timeout_ms=200, max_records=min(100, want - len(seen)))
            for partition, records in polled.items():
                seen.extend(int(record.value) for record in records)
                commits[partition] = records[-1].offset + 1
        await consumer.commit(commits)
        extra = await consumer.getmany(timeout_ms=1000) if first else {}
        await consumer.stop()
        return seen + [int(record.value) for records in extra.values() for record in records]

    first = []
    first = await member(HALF)
    passed("subscribe and commit")
    check_all_seen(first, await member(RECORDS - HALF))


ROUNDS = {"confluent-kafka": confluent, "kafka-python": kafka_python, "aiokafka": lambda: asyncio.run(aiokafka())}
try:
    ROUNDS[CLIENT]()
    passed("resume, each record once")
except Exception as error:
    print(f"FAIL round {CLIENT}: {type(error).__name__}: {error}", flush=True)
    sys.exit(1)

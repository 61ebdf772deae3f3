// One round of publish, subscribe in a group, commit, resume with kafkajs: round.mjs BOOTSTRAP TOPIC.
import { Kafka, logLevel } from 'kafkajs';

const [bootstrap, topic] = process.argv.slice(2);
const RECORDS = 1000, HALF = 500, PARTITIONS = 3, SECONDS = 40;
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });
const passed = step => console.log(`PASS round kafkajs: ${step}`);
const sleep = ms => new Promise(done => setTimeout(done, ms));

async function publish() {
  const admin = kafka.admin(), producer = kafka.producer();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }], waitForLeaders: true });
  await admin.disconnect();
  await producer.connect();
  const messages = Array.from({ length: RECORDS }, (_, i) => ({ key: `${i}`, value: `${i}` }));
  await producer.send({ topic, messages });
  await producer.disconnect();
  passed('publish');
}

// Reads `want` records, commits exactly those, looks for more when `last`, and leaves.
async function member(want, last) {
  const consumer = kafka.consumer({ groupId: `${topic}-group` });
  const seen = [], commits = new Map();
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      if (!last && seen.length === want) return;
      seen.push(+message.value);
      commits.set(partition, `${BigInt(message.offset) + 1n}`);
    },
  });
  for (let waited = 0; seen.length < want && waited < SECONDS * 1000; waited += 50) await sleep(50);
  if (last) await sleep(1000);
  await consumer.commitOffsets([...commits].map(([partition, offset]) => ({ topic, partition, offset })));
  await consumer.disconnect();
  return seen;
}

try {
  await publish();
  const first = await member(HALF, false);
  if (first.length !== HALF) throw new Error(`the first member read ${first.length}`);
  passed('subscribe and commit');
  const seen = first.concat(await member(RECORDS - HALF, true));
  const different = new Set(seen).size;
  if (seen.length !== RECORDS || different !== RECORDS) throw new Error(`${seen.length} records seen, ${different} different ones`);
  passed('resume, each record once');
} catch (error) {
  console.log(`FAIL round kafkajs: ${error.message}`);
  process.exitCode = 1;
}

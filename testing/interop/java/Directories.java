import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * One client that lives through every change of the node behind its address: Directories BOOTSTRAP PREFIX. Its producers keep
 * their ids and sequences while Apache Kafka and thalweg take turns on the same directory.
 *
 * Obeys a line of stdin after the other (fill, compact, remember, compare, append, load, settle, keep, kept), prints PASS and FAIL lines and
 * closes each with DONE.
 */
final class Directories {
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    static final int RECORDS = 300, APPENDED = 40, KEYS = 40, COMPACTED = 1500, WAIT_S = 60, LOAD_PARTITIONS = 3;
    /** Each record is a second younger than the one before, so that this makes segments of a minute. */
    static final String SEGMENT_MS = "60000";

    final String bootstrap, prefix;
    final Admin admin;
    final Map<String, KafkaProducer<byte[], byte[]>> producers = new LinkedHashMap<>();
    final Random random = new Random(7);
    final Map<String, String> lastOfKey = new TreeMap<>();
    long clock = System.currentTimeMillis() - Duration.ofHours(3).toMillis();
    int numbered;
    Map<String, Object> remembered = Map.of();
    Load load;

    Directories(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", WAIT_S * 1000));
    }

    public static void main(String[] args) throws Exception {
        Directories client = new Directories(args[0], args[1]);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; System.out.println("DONE")) {
            String[] words = line.split(" ", 2);
            String when = words.length > 1 ? words[1] : "";
            try {
                client.obey(words[0], when);
            } catch (Throwable error) {
                System.out.println("FAIL directories " + args[1] + " " + line + ": " + error);
            }
        }
        System.exit(0);
    }

    void obey(String command, String rest) throws Exception {
        switch (command) {
            case "fill" -> fill(rest.equals("transactions"));
            case "compact" -> { compact(); passed("compacted: the last value of each key is there, " + rest); }
            case "remember" -> remembered = everything();
            case "compare" -> compare(rest);
            case "append" -> append(rest);
            case "load" -> load = new Load();
            case "settle" -> load.settle(rest, true);
            case "settle-acknowledged" -> load.settle(rest, false);
            case "keep" -> keep();
            case "kept" -> kept(rest);
            default -> throw new IllegalArgumentException(command);
        }
    }

    void passed(String what) {
        System.out.println("PASS directories " + prefix + ": " + what);
    }

    void check(boolean good, String what, Supplier<String> why) {
        System.out.println((good ? "PASS" : "FAIL") + " directories " + prefix + ": " + what + (good ? "" : ": " + why.get()));
    }

    String topic(String name) {
        return prefix + "-" + name;
    }

    // ---- content

    void fill(boolean transactions) throws Exception {
        for (String codec : CODECS) {
            create(codec, 2, Map.of("segment.ms", SEGMENT_MS));
            producers.put(codec, producer(Map.of("compression.type", codec)));
            send(codec, RECORDS);
        }
        create("settings", 3, Map.of("retention.ms", "123456789", "max.message.bytes", "54321", "compression.type", "lz4"));
        create("compacted", 1, Map.of("cleanup.policy", "compact", "segment.ms", SEGMENT_MS, "delete.retention.ms", "0"));
        producers.put("compacted", producer(Map.of()));
        compact();
        create("load", LOAD_PARTITIONS, Map.of("segment.bytes", "1048576"));
        if (transactions) transactions();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (String codec : CODECS)
            offsets.put(new TopicPartition(topic(codec), 1), new OffsetAndMetadata(17 + codec.length(), java.util.Optional.of(0), "note " + codec));
        admin.alterConsumerGroupOffsets(topic("group"), offsets).all().get();
        member();
        passed("filled");
    }

    void create(String name, int partitions, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic(name), partitions, (short) 1).configs(configs))).all().get();
    }

    KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", bootstrap);
        settings.put("linger.ms", 5);
        settings.put("batch.size", 2000);
        settings.put("delivery.timeout.ms", 180_000);
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Records with and without key, value and headers; one at a time now and then, so that batches differ. */
    void send(String name, int records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = 0; i < records; i++) {
            int number = numbered++;
            byte[] key = number % 5 == 0 ? null : bytes("key " + number % 31);
            byte[] value = number % 11 == 0 ? null : bytes("value " + number + " " + "x".repeat(random.nextInt(200)));
            var record = new ProducerRecord<>(topic(name), i % 2, clock += 1000, key, value);
            if (number % 3 == 0) record.headers().add("number", bytes("" + number)).add("empty", new byte[0]).add("null", null);
            sent.add(producers.get(name).send(record));
            if (number % 17 == 0) sent.get(sent.size() - 1).get();
        }
        for (Future<RecordMetadata> one : sent) one.get();
    }

    void transactions() throws Exception {
        create("transactions", 1, Map.of("segment.ms", SEGMENT_MS));
        try (var producer = producer(Map.of("transactional.id", topic("id")))) {
            producer.initTransactions();
            for (String end : List.of("commit", "abort", "commit", "abort")) {
                producer.beginTransaction();
                for (int i = 0; i < 80; i++)
                    producer.send(new ProducerRecord<>(topic("transactions"), 0, clock += 1000, bytes("k"), bytes(end + " " + i)));
                if (end.equals("commit")) producer.commitTransaction(); else producer.abortTransaction();
            }
        }
    }

    /** A member of a group that reads one topic and commits how far it came. */
    void member() {
        Map<String, Object> settings = consumerSettings("read_uncommitted");
        settings.put("group.id", topic("member"));
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic("zstd")));
            for (int seen = 0; seen < RECORDS / 2;) seen += consumer.poll(Duration.ofMillis(200)).count();
            consumer.commitSync();
        }
    }

    /** Overwrites and deletes keys until the cleaner has taken most of it away, then has the cleaner rest. */
    void compact() throws Exception {
        long before = ends(List.of("compacted")).values().iterator().next();
        cleaner("0.01", "0");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int i = 0; i < COMPACTED; i++) {
            String key = "key " + random.nextInt(KEYS);
            String value = random.nextInt(10) == 0 ? null : "value " + before + " " + i + " " + "y".repeat(random.nextInt(100));
            lastOfKey.put(key, String.valueOf(value));
            sent.add(producers.get("compacted").send(
                new ProducerRecord<>(topic("compacted"), 0, clock += 1000, bytes(key), value == null ? null : bytes(value))));
        }
        for (Future<RecordMetadata> one : sent) one.get();
        for (int tries = 0; records("compacted").size() > COMPACTED / 2; tries++) {
            if (tries > 5 * WAIT_S) throw new AssertionError("the cleaner has not run");
            Thread.sleep(200);
        }
        cleaner("1.0", "86400000");
        Thread.sleep(1500);
        Map<String, String> found = new TreeMap<>();
        for (var record : records("compacted")) found.put(text(record.key()), text(record.value()));
        for (String key : lastOfKey.keySet())
            if (!found.getOrDefault(key, "null").equals(lastOfKey.get(key)))
                throw new AssertionError(key + " is " + found.get(key) + ", last written " + lastOfKey.get(key));
    }

    void cleaner(String ratio, String lag) throws Exception {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, topic("compacted"));
        var ops = Map.of("min.cleanable.dirty.ratio", ratio, "min.compaction.lag.ms", lag).entrySet().stream()
            .map(e -> new AlterConfigOp(new ConfigEntry(e.getKey(), e.getValue()), AlterConfigOp.OpType.SET));
        admin.incrementalAlterConfigs(Map.of(topic, (Collection<AlterConfigOp>) ops.collect(Collectors.toList()))).all().get();
    }

    /** Goes on with the producers that have written all before; nothing may be there twice, or be refused. */
    void append(String when) throws Exception {
        for (String codec : CODECS) {
            long before = ends(List.of(codec)).values().stream().mapToLong(Long::longValue).sum();
            send(codec, APPENDED);
            long after = ends(List.of(codec)).values().stream().mapToLong(Long::longValue).sum();
            if (after != before + APPENDED) throw new AssertionError(codec + " went from " + before + " to " + after);
        }
        passed("the same producers go on " + when);
    }

    /** A quota and a credential: Kafka alone serves them, but whoever writes the metadata must keep them. */
    void keep() throws Exception {
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(new ClientQuotaEntity(Map.of("user", prefix)),
            List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1e9))))).all().get();
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(prefix, new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4097), "secret")))
            .all().get();
    }

    void kept(String when) throws Exception {
        var quotas = admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get();
        check(quotas.toString().contains("producer_byte_rate=1.0E9"), "a client's quota is kept " + when, quotas::toString);
        var users = admin.describeUserScramCredentials().all().get();
        check(users.toString().contains("iterations=4097"), "a user's credential is kept " + when, users::toString);
    }

    // ---- what is there

    List<String> names() throws Exception {
        return admin.listTopics().names().get().stream().filter(name -> name.startsWith(prefix + "-") && !name.endsWith("-load")).sorted().toList();
    }

    /** Whatever a client can see of the topics of this run, each aspect under its name. */
    Map<String, Object> everything() throws Exception {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("cluster id", admin.describeCluster().clusterId().get());
        var topics = admin.describeTopics(names()).allTopicNames().get();
        all.put("topic ids", new TreeMap<>(topics.values().stream().collect(Collectors.toMap(t -> t.name(), t -> t.topicId() + " " + t.partitions().size()))));
        var resources = topics.keySet().stream().map(name -> new ConfigResource(ConfigResource.Type.TOPIC, name)).toList();
        Map<String, String> configs = new TreeMap<>();
        admin.describeConfigs(resources).all().get().forEach((resource, config) -> config.entries().stream()
            .filter(entry -> entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG)
            .forEach(entry -> configs.put(resource.name() + " " + entry.name(), entry.value())));
        all.put("topic configs", configs);
        for (String group : List.of("group", "member"))
            all.put("offsets of " + group, new TreeMap<>(admin.listConsumerGroupOffsets(topic(group)).partitionsToOffsetAndMetadata().get()
                .entrySet().stream().collect(Collectors.toMap(e -> e.getKey().toString(), e -> e.getValue().offset() + " " + e.getValue().metadata()))));
        for (String isolation : List.of("read_uncommitted", "read_committed")) {
            Map<String, List<String>> records = new TreeMap<>();
            for (String name : names())
                for (var record : records(name.substring(prefix.length() + 1), isolation))
                    records.computeIfAbsent(record.topic() + "-" + record.partition(), at -> new ArrayList<>()).add(show(record));
            all.put("records, " + isolation, records);
        }
        return all;
    }

    void compare(String when) throws Exception {
        Map<String, Object> now = everything();
        for (String aspect : remembered.keySet())
            check(remembered.get(aspect).equals(now.get(aspect)), aspect + " as before " + when, () -> difference(remembered.get(aspect), now.get(aspect)));
    }

    static String difference(Object before, Object now) {
        if (!(before instanceof Map<?, ?> was) || !(now instanceof Map<?, ?> is)) return before + " became " + now;
        for (Object key : was.keySet()) {
            if (was.get(key).equals(is.get(key))) continue;
            if (!(was.get(key) instanceof List<?> old) || !(is.get(key) instanceof List<?> young)) return key + ": " + was.get(key) + " became " + is.get(key);
            int at = 0;
            while (at < Math.min(old.size(), young.size()) && old.get(at).equals(young.get(at))) at++;
            return key + ": " + old.size() + " became " + young.size() + ", first difference at " + at + ": "
                + (at < old.size() ? old.get(at) : "nothing") + " became " + (at < young.size() ? young.get(at) : "nothing");
        }
        return "more than before: " + is.keySet();
    }

    Map<TopicPartition, Long> ends(List<String> names) throws Exception {
        try (var consumer = consumer("read_uncommitted")) {
            return consumer.endOffsets(partitions(consumer, names));
        }
    }

    List<ConsumerRecord<byte[], byte[]>> records(String name) {
        return records(name, "read_uncommitted");
    }

    List<ConsumerRecord<byte[], byte[]>> records(String name, String isolation) {
        List<ConsumerRecord<byte[], byte[]>> all = new ArrayList<>();
        try (var consumer = consumer(isolation)) {
            var partitions = partitions(consumer, List.of(name));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                if (System.nanoTime() > until) throw new AssertionError(name + " cannot be read to its end " + ends);
                consumer.poll(Duration.ofMillis(200)).forEach(all::add);
            }
        }
        return all;
    }

    List<TopicPartition> partitions(KafkaConsumer<byte[], byte[]> consumer, List<String> names) {
        return names.stream().flatMap(name -> consumer.partitionsFor(topic(name)).stream())
            .map(info -> new TopicPartition(info.topic(), info.partition())).toList();
    }

    Map<String, Object> consumerSettings(String isolation) {
        return new HashMap<>(Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest", "enable.auto.commit", false,
            "isolation.level", isolation, "default.api.timeout.ms", WAIT_S * 1000));
    }

    KafkaConsumer<byte[], byte[]> consumer(String isolation) {
        return new KafkaConsumer<>(consumerSettings(isolation), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static String show(ConsumerRecord<byte[], byte[]> record) {
        var headers = new StringBuilder();
        record.headers().forEach(header -> headers.append(header.key()).append('=').append(text(header.value())).append(' '));
        return record.offset() + " " + record.timestampType() + " " + record.timestamp() + " " + text(record.key()) + " " + text(record.value()) + " " + headers;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? "null" : new String(bytes, StandardCharsets.UTF_8);
    }

    // ---- load while nodes are killed

    /** Sends numbered records until told to end; an acknowledged one is noted with its offset. */
    final class Load extends Thread {
        final Map<TopicPartition, Integer> sent = new HashMap<>();
        final ConcurrentLinkedQueue<String> faults = new ConcurrentLinkedQueue<>();
        final Map<TopicPartition, Map<Long, String>> acknowledged = new HashMap<>();
        /** Sent again and found to be there by a node that did not know any more where: KIP-98 lets it. */
        final java.util.Set<String> somewhere = java.util.concurrent.ConcurrentHashMap.newKeySet();
        final String run = "run " + numbered++ + " ";
        volatile boolean ends;

        Load() {
            producers.computeIfAbsent("load", name -> producer(Map.of("compression.type", "lz4", "buffer.memory", 1 << 20, "max.block.ms", 120_000)));
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            for (int number = 0; !ends; number++) {
                var at = new TopicPartition(topic("load"), number % LOAD_PARTITIONS);
                String value = run + sent.merge(at, 1, Integer::sum) + " " + "z".repeat(100);
                producers.get("load").send(new ProducerRecord<>(at.topic(), at.partition(), null, bytes(value)), (metadata, error) -> {
                    if (error != null) faults.add(value.trim() + ": " + error);
                    else if (!metadata.hasOffset()) somewhere.add(at + value);
                    else synchronized (acknowledged) { acknowledged.computeIfAbsent(at, p -> new HashMap<>()).put(metadata.offset(), value); }
                });
                if (number % 20 == 0) try { Thread.sleep(1); } catch (InterruptedException end) { return; }
            }
        }

        /**
         * What was acknowledged is there, at its offset. In order: all that was sent is there, once and in its order, too. That
         * cannot be asked of Apache Kafka after kill -9: of each producer it then knows the last batch alone, and refuses the
         * others that are sent again.
         */
        void settle(String when, boolean inOrder) throws Exception {
            ends = true;
            join();
            producers.get("load").flush();
            Map<TopicPartition, Integer> next = new HashMap<>();
            int count = 0;
            if (!inOrder) faults.clear();
            for (var record : records("load")) {
                String value = text(record.value());
                if (!value.startsWith(run)) continue;
                count++;
                var at = new TopicPartition(record.topic(), record.partition());
                int expected = next.merge(at, 1, Integer::sum);
                String told = acknowledged.getOrDefault(at, new HashMap<>()).remove(record.offset());
                String place = at + " at " + record.offset() + " is " + value;
                if (inOrder && !value.startsWith(run + expected + " ")) faults.add(place + ", next is " + expected);
                if (inOrder ? !value.equals(told) && !somewhere.contains(at + value) : told != null && !told.equals(value))
                    faults.add(place + ", acknowledged was " + told);
            }
            acknowledged.forEach((at, rest) -> rest.forEach((offset, value) -> faults.add(at + " at " + offset + " is gone: " + value)));
            int total = sent.values().stream().mapToInt(Integer::intValue).sum();
            if (inOrder && count != total) faults.add(total + " were sent, " + count + " are there");
            if (total < 500) faults.add("too little load: " + total);
            check(faults.isEmpty(), total + " records under load " + (inOrder ? "once and in order " : "there as acknowledged ") + when,
                () -> faults.size() + " faults: " + faults.stream().map(text -> text.replaceAll(" z+", "")).limit(5).toList());
        }
    }
}

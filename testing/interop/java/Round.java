import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** One round of publish, subscribe in a group, commit, resume with the Java clients: Round BOOTSTRAP TOPIC. */
final class Round {
    static final int RECORDS = 1000, HALF = 500, PARTITIONS = 3, SECONDS = 40;

    public static void main(String[] args) throws Exception {
        try {
            publish(args[0], args[1]);
            List<Integer> seen = member(args[0], args[1], HALF, false);
            if (seen.size() != HALF) throw new AssertionError("the first member read " + seen.size());
            passed("subscribe and commit");
            seen.addAll(member(args[0], args[1], RECORDS - HALF, true));
            if (seen.size() != RECORDS || seen.stream().distinct().count() != RECORDS)
                throw new AssertionError(seen.size() + " records seen, " + seen.stream().distinct().count() + " different ones");
            passed("resume, each record once");
        } catch (Throwable error) {
            System.out.println("FAIL round java: " + error);
            System.exit(1);
        }
    }

    static void passed(String step) {
        System.out.println("PASS round java: " + step);
    }

    static void publish(String bootstrap, String topic) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
        }
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            List<Future<?>> sends = new ArrayList<>();
            for (int i = 0; i < RECORDS; i++)
                sends.add(producer.send(new ProducerRecord<>(topic, "" + i, "" + i)));
            for (Future<?> send : sends) send.get();
        }
        passed("publish");
    }

    /** Reads {@code want} records, commits exactly those, looks for more when {@code last}, and leaves. */
    static List<Integer> member(String bootstrap, String topic, int want, boolean last) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "group.id", topic + "-group",
            "auto.offset.reset", "earliest", "enable.auto.commit", false, "max.poll.records", 100);
        List<Integer> seen = new ArrayList<>();
        Map<TopicPartition, OffsetAndMetadata> commits = new HashMap<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            long end = System.nanoTime() + SECONDS * 1_000_000_000L;
            while (seen.size() < want && System.nanoTime() < end)
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    if (seen.size() == want) break;
                    seen.add(Integer.parseInt(record.value()));
                    commits.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
            consumer.commitSync(commits);
            if (last) consumer.poll(Duration.ofSeconds(1)).forEach(record -> seen.add(Integer.parseInt(record.value())));
        }
        return seen;
    }
}

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * One idempotent producer and one member of a group, which live through whatever happens to the cluster. A tool for Tools, in
 * whose JVM they stay between its commands.
 *
 * "start BOOTSTRAP TOPIC PARTITIONS" begins, "progress" waits until every partition takes and gives more records, "settle" ends
 * and judges: what was sent is there once and in its order, what was acknowledged at its offset; the member has skipped
 * nothing and never fell behind what it had committed.
 */
public final class Flow {
    static final int PROGRESS = 20, WAIT_S = 60, PAUSE_MS = 4;
    static Flow running;

    final String bootstrap, topic;
    final Partition[] partitions;
    final Queue<String> faults = new ConcurrentLinkedQueue<>();
    final Thread sends = new Thread(this::send), reads = new Thread(this::read);
    volatile boolean sendsEnd, readsEnd;
    volatile long lastAcknowledged = System.nanoTime(), longestStall;

    /** Numbers are the values of the records. */
    static final class Partition {
        volatile int sent, acknowledged, read;
        long committed;
        final List<Long> offsets = new ArrayList<>();
    }

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "start" -> running = new Flow(words[1], words[2], Integer.parseInt(words[3]));
            case "progress" -> running.progress();
            case "settle" -> running.settle();
            default -> throw new IllegalArgumentException(words[0]);
        }
        System.out.println("well: " + running.all());
    }

    Flow(String bootstrap, String topic, int count) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        partitions = IntStream.range(0, count).mapToObj(i -> new Partition()).toArray(Partition[]::new);
        for (Thread thread : List.of(sends, reads)) {
            thread.setDaemon(true);
            thread.start();
        }
    }

    String all() {
        int sent = 0, acknowledged = 0, read = 0;
        for (Partition one : partitions) {
            sent += one.sent; acknowledged += one.acknowledged; read += one.read;
        }
        return sent + " sent, " + acknowledged + " acknowledged, " + read + " read, longest stall " + longestStall / 1_000_000 + " ms " + faults;
    }

    void send() {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "acks", "all", "enable.idempotence", true,
            "linger.ms", 5, "request.timeout.ms", 10_000, "delivery.timeout.ms", 180_000, "max.block.ms", 120_000);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int turn = 0; !sendsEnd; turn++) {
                int at = turn % partitions.length;
                Partition one = partitions[at];
                int number = one.sent++;
                producer.send(new ProducerRecord<>(topic, at, null, number + " " + "x".repeat(50)), (metadata, error) -> {
                    if (error != null) faults.add(at + "/" + number + ": " + error);
                    else acknowledged(one, number, metadata.hasOffset() ? metadata.offset() : -1);
                });
                Thread.sleep(PAUSE_MS);
            }
        } catch (Exception error) {
            faults.add("the producer: " + error);
        }
    }

    void acknowledged(Partition one, int number, long offset) {
        synchronized (one.offsets) {
            while (one.offsets.size() <= number) one.offsets.add(-1L);
            one.offsets.set(number, offset);
        }
        one.acknowledged++;
        long now = System.nanoTime();
        longestStall = Math.max(longestStall, now - lastAcknowledged);
        lastAcknowledged = now;
    }

    KafkaConsumer<String, String> consumer(String group) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest", "enable.auto.commit", false,
            "group.id", group, "request.timeout.ms", 10_000, "default.api.timeout.ms", WAIT_S * 1000);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    void read() {
        try (var consumer = consumer(topic + "-group")) {
            consumer.subscribe(List.of(topic));
            while (!readsEnd) {
                var records = consumer.poll(Duration.ofMillis(200));
                records.forEach(this::seen);
                if (records.isEmpty()) continue;
                try {
                    consumer.commitSync();
                    for (var at : records.partitions()) {
                        var last = records.records(at);
                        partitions[at.partition()].committed = last.get(last.size() - 1).offset() + 1;
                    }
                } catch (RetriableException | CommitFailedException | RebalanceInProgressException later) {
                    // What is not committed is read again.
                }
            }
        } catch (Exception error) {
            faults.add("the member: " + error);
        }
    }

    void seen(ConsumerRecord<String, String> record) {
        Partition one = partitions[record.partition()];
        int number = number(record);
        String what = record.partition() + "/" + number + " at " + record.offset();
        if (number > one.read) faults.add("the member skips from " + one.read + " to " + what);
        if (record.offset() < one.committed) faults.add("the member falls behind its commit, " + one.committed + ", to " + what);
        one.read = Math.max(one.read, number + 1);
    }

    static int number(ConsumerRecord<String, String> record) {
        return Integer.parseInt(record.value().substring(0, record.value().indexOf(' ')));
    }

    void progress() throws Exception {
        int[] aims = new int[partitions.length];
        for (int i = 0; i < aims.length; i++) aims[i] = partitions[i].acknowledged + PROGRESS;
        await(() -> IntStream.range(0, aims.length).allMatch(i -> partitions[i].acknowledged >= aims[i] && partitions[i].read >= aims[i]));
    }

    void await(BooleanSupplier done) throws Exception {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
        while (!done.getAsBoolean()) {
            if (System.nanoTime() > until) throw new AssertionError("stuck: " + all());
            Thread.sleep(50);
        }
        if (!faults.isEmpty()) throw new AssertionError(all());
    }

    void settle() throws Exception {
        sendsEnd = true;
        sends.join();
        await(() -> IntStream.range(0, partitions.length).allMatch(i -> partitions[i].read == partitions[i].sent));
        readsEnd = true;
        reads.join();
        try (var consumer = consumer(topic + "-group")) {
            for (int i = 0; i < partitions.length; i++) judge(consumer, i);
        }
        if (!faults.isEmpty()) throw new AssertionError(all());
    }

    /** The whole partition, from its beginning. */
    void judge(KafkaConsumer<String, String> consumer, int index) throws Exception {
        Partition one = partitions[index];
        var at = new TopicPartition(topic, index);
        consumer.assign(List.of(at));
        OffsetAndMetadata committed = consumer.committed(java.util.Set.of(at)).get(at);
        consumer.seekToBeginning(List.of(at));
        long end = consumer.endOffsets(List.of(at)).get(at);
        if (committed == null || committed.offset() != one.committed) faults.add(at + ": committed " + one.committed + ", kept " + committed);
        int next = 0;
        while (consumer.position(at) < end)
            for (var record : consumer.poll(Duration.ofMillis(200))) {
                int number = number(record);
                if (number != next) faults.add(at + " has " + number + " at " + record.offset() + ", next is " + next);
                next = number + 1;
                long told = one.offsets.get(number);
                if (told >= 0 && told != record.offset()) faults.add(at + "/" + number + " was acknowledged at " + told + ", is at " + record.offset());
            }
        if (next != one.sent) faults.add(at + " ends with " + next + " of " + one.sent);
    }
}

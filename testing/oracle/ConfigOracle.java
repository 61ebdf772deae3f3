// Compares what Thalweg makes of configuration with what Apache Kafka's own classes make of it:
// the facts of every key, thousands of single values, whole server.properties, and the syntax of
// properties files. Thalweg's side is the example `config_oracle` of core/config.
//
// Usage: java -cp "LIBS_DIR/*" ConfigOracle.java BINARY [SEED]

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.StringReader;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Collectors;

import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.coordinator.group.GroupConfig;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.DynamicBrokerConfig;
import org.apache.kafka.server.config.ServerTopicConfigSynonyms;
import org.apache.kafka.server.metrics.ClientMetricsConfigs;
import org.apache.kafka.storage.internals.log.LogConfig;

public final class ConfigOracle {
    private static final int FAILURES_SHOWN = 40;
    private static final int PROPERTIES_FILES = 5000;

    /** Values that lie on some key's border, or are of some key's kind. */
    private static final String[] VALUES = (
        " |0|1|-1|-2|-3|2|3|4|5|6|007|+3| 8 |9|10|11|17|18|22|23|25|26|99|100|500|501|512|999|1000|1001"
            + "|1023|1024|2000|2001|3600|3601|9999|10000|10001|30000|30001|86400|86401|524287|524288"
            + "|1048575|1048576|8388607|8388608|3600000|3600001|-131072|-131073|32767|32768"
            + "|2147483647|2147483648|9223372036854775807|9223372036854775808"
            + "|0.5|1.5|1e3|0.0001|12345678.9|true|FALSE|yes|abc|a,b| a , b |a,,b|a,a|,|a:1|1@a:1"
            + "|1@a:1,2@b:2|1@a|delete|compact,delete|Compact|gzip|producer|GZIP|CreateTime|createtime"
            + "|latest|earliest|by_duration:P1D|by_duration:x|*|0:1|0:1,2:3|0|read_committed"
            + "|client_id=a|client=a|SSL|broker|broker,controller|classic|bidirectional|rs256|required"
    ).split("\\|");

    private static final String NODE = """
        process.roles=broker,controller
        node.id=1
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093
        controller.listener.names=CONTROLLER
        controller.quorum.bootstrap.servers=localhost:9093
        """;

    /** Lines that are put behind those of NODE; a later line of the same key wins. */
    private static final String[] STARTS = {
        "", "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
        "listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://:9093",
        "listeners=PLAINTEXT://:9092,CONTROLLER://0.0.0.0:9093",
        "listeners=PLAINTEXT://:9092,CONTROLLER://:9092",
        "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://[::1]:9092",
        "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.2:9092",
        "listeners=PLAINTEXT://:0,CONTROLLER://:0", "listeners=plaintext://:9092,controller://:9093",
        "listeners=PLAINTEXT://:9092", "listeners=PLAINTEXT://:9092,PLAINTEXT://:9094,CONTROLLER://:9093",
        "listeners=FOO://:9092,CONTROLLER://:9093\ninter.broker.listener.name=FOO",
        "listeners=FOO://:9092,CONTROLLER://:9093\ninter.broker.listener.name=FOO\n"
            + "listener.security.protocol.map=FOO:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners=SSL://:9092,CONTROLLER://:9093\ninter.broker.listener.name=SSL",
        "advertised.listeners=OTHER://x:1", "advertised.listeners=CONTROLLER://x:1",
        "advertised.listeners=PLAINTEXT://x:1,CONTROLLER://y:2",
        "advertised.listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", "advertised.listeners=SSL://a:1",
        "controller.quorum.bootstrap.servers=", "controller.quorum.voters=2@a:1",
        "controller.quorum.voters=1@a:1\ncontroller.quorum.bootstrap.servers=",
        "controller.quorum.voters=1@0.0.0.0:5",
        "process.roles=broker", "process.roles=broker\nlisteners=PLAINTEXT://:9092",
        "process.roles=broker\ncontroller.quorum.voters=1@a:1\nlisteners=PLAINTEXT://:9092",
        "process.roles=broker\ncontroller.quorum.voters=2@a:1\nlisteners=PLAINTEXT://:9092",
        "process.roles=controller", "process.roles=controller\nlisteners=CONTROLLER://:9093",
        "process.roles=controller\nlisteners=CONTROLLER://:9093\nadvertised.listeners=CONTROLLER://x:3",
        "broker.id=2", "broker.id=1", "log.roll.ms=0", "log.roll.jitter.ms=-1", "log.retention.ms=0",
        "log.retention.hours=0", "log.retention.hours=-5", "log.retention.ms=0\nlog.retention.hours=1",
        "log.retention.ms=1\nlog.retention.hours=0", "connections.max.idle.ms=50",
        "connections.max.idle.ms=-1", "broker.heartbeat.interval.ms=9000", "max.connections.per.ip=0",
        "max.connections.per.ip.overrides=a", "max.connections.per.ip.overrides=a:x",
        "max.connections.per.ip.overrides=ba$d:5",
        "max.connections.per.ip=0\nmax.connections.per.ip.overrides=127.0.0.1:5",
        "group.consumer.session.timeout.ms=1000", "group.consumer.min.session.timeout.ms=70000",
        "group.consumer.heartbeat.interval.ms=70000\ngroup.consumer.max.heartbeat.interval.ms=80000",
        "group.consumer.heartbeat.interval.ms=20000", "group.consumer.assignment.interval.ms=20000",
        "group.streams.num.standby.replicas=5", "group.streams.session.timeout.ms=1",
        "group.share.record.lock.duration.ms=1000", "group.share.delivery.count.limit=2",
        "group.share.min.delivery.count.limit=5\ngroup.share.delivery.count.limit=4",
        "group.share.partition.max.record.locks=5000", "group.coordinator.rebalance.protocols=consumer",
        "inter.broker.listener.name=X", "inter.broker.listener.name=SSL",
        "inter.broker.listener.name=PLAINTEXT", "security.inter.broker.protocol=SSL",
        "inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT",
        "listener.security.protocol.map=PLAINTEXT:FOO,CONTROLLER:PLAINTEXT",
        "listener.security.protocol.map=PLAINTEXT:plaintext,CONTROLLER:PLAINTEXT",
        "cordoned.log.dirs=/x", "cordoned.log.dirs=/tmp/kafka-logs", "cordoned.log.dirs=*",
        "listeners=PLAINTEXT://a b:9092,CONTROLLER://:9093", "replica.fetch.wait.max.ms=40000",
        "replica.lag.time.max.ms=100", "offsets.topic.compression.codec=9", "log.dirs=/a,/b",
        "log.dirs=,", "unknown.key=1", "group.min.session.timeout.ms=9000000",
        "offsets.retention.minutes=0", "sasl.enabled.mechanisms=", "compression.type=foo",
        "transaction.max.timeout.ms=2147483647", "log.cleaner.enable=false", "min.insync.replicas=5",
    };

    private final BufferedWriter toThalweg;
    private final BufferedReader fromThalweg;
    private int passed;
    private int failed;

    private ConfigOracle(Process process) {
        this.toThalweg = process.outputWriter(StandardCharsets.UTF_8);
        this.fromThalweg = process.inputReader(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws Exception {
        long seed = args.length > 1 ? Long.parseLong(args[1]) : System.currentTimeMillis();
        Process process = new ProcessBuilder(args[0]).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        ConfigOracle oracle = new ConfigOracle(process);
        Map<String, ConfigDef> definitions = definitions();
        oracle.compareFacts(definitions);
        oracle.compareValues(definitions);
        oracle.compareStarts();
        oracle.compareSyntax(new Random(seed));
        oracle.toThalweg.close();
        System.out.printf("config oracle: %d passed, %d failed, seed %d%n", oracle.passed, oracle.failed, seed);
        System.exit(oracle.failed == 0 ? 0 : 1);
    }

    private static Map<String, ConfigDef> definitions() throws ReflectiveOperationException {
        Field topic = LogConfig.class.getDeclaredField("CONFIG");
        topic.setAccessible(true);
        Map<String, ConfigDef> all = new TreeMap<>();
        all.put("broker", AbstractKafkaConfig.CONFIG_DEF);
        all.put("topic", (ConfigDef) topic.get(null));
        all.put("group", GroupConfig.CONFIG_DEF);
        all.put("client-metrics", ClientMetricsConfigs.configDef());
        return all;
    }

    private void compareFacts(Map<String, ConfigDef> definitions) throws IOException {
        Map<String, String> thalwegs = new TreeMap<>();
        for (String line = fromThalweg.readLine(); !".".equals(line); line = fromThalweg.readLine()) {
            String[] fields = line.split("\t", 3);
            thalwegs.put(fields[0] + " " + fields[1], line);
        }
        Map<String, String> modes = DynamicBrokerConfig.dynamicConfigUpdateModes();
        definitions.forEach((scope, definition) -> definition.configKeys().values().forEach(key -> {
            String expected = facts(scope, key, modes.getOrDefault(key.name, "read-only"));
            check("facts", scope + " " + key.name, expected, thalwegs.remove(scope + " " + key.name));
        }));
        thalwegs.forEach((name, line) -> check("facts", name, null, line));
    }

    private static String facts(String scope, ConfigDef.ConfigKey key, String mode) {
        String value = "required";
        if (key.hasDefault()) {
            Object plain = key.defaultValue;
            value = plain == null ? "unset" : "=" + ConfigDef.convertToString(plain, key.type);
        }
        return String.join("\t", scope, key.name, key.type.name().toLowerCase(Locale.ROOT), value,
            key.importance.name().toLowerCase(Locale.ROOT), scope.equals("broker") ? mode : "read-only",
            key.internalConfig ? "internal" : "public", synonyms(scope, key.name));
    }

    private static String synonyms(String scope, String name) {
        if (scope.equals("group")) {
            return GroupConfig.brokerSynonym(name).map(broker -> broker + "*1").orElse("");
        }
        if (!scope.equals("topic")) {
            return "";
        }
        // The factor shows in what a converter makes of 1.
        return ServerTopicConfigSynonyms.ALL_TOPIC_CONFIG_SYNONYMS.getOrDefault(name, List.of()).stream()
            .map(synonym -> synonym.name() + "*" + synonym.converter().apply("1"))
            .collect(Collectors.joining(","));
    }

    private void compareValues(Map<String, ConfigDef> definitions) throws IOException {
        for (Map.Entry<String, ConfigDef> definition : definitions.entrySet()) {
            for (ConfigDef.ConfigKey key : definition.getValue().configKeys().values()) {
                // Kafka loads classes, and never shows passwords.
                if (key.type == ConfigDef.Type.CLASS || key.type == ConfigDef.Type.PASSWORD) {
                    continue;
                }
                for (String value : VALUES) {
                    compareValue(definition.getKey(), key, value);
                }
            }
        }
    }

    private void compareValue(String scope, ConfigDef.ConfigKey key, String value) throws IOException {
        String expected;
        try {
            Object parsed = ConfigDef.parseType(key.name, value, key.type);
            if (key.validator != null) {
                key.validator.ensureValid(key.name, parsed);
            }
            if (scope.equals("client-metrics")) {
                Properties one = new Properties();
                one.put(key.name, value);
                ClientMetricsConfigs.validate("subscription", one);
            }
            expected = "ok\t" + hex(ConfigDef.convertToString(parsed, key.type));
        } catch (RuntimeException e) {
            expected = "refused";
        }
        String answer = ask("value\t" + scope + "\t" + key.name + "\t" + hex(value));
        check("value", scope + " " + key.name + "=" + value, expected, withoutReason(answer));
    }

    private void compareStarts() throws IOException {
        for (String lines : STARTS) {
            String text = NODE + lines;
            Properties properties = new Properties();
            properties.load(new StringReader(text));
            String expected;
            try {
                kafka.server.KafkaConfig.fromProps(properties, false);
                expected = "ok";
            } catch (RuntimeException e) {
                expected = "refused";
            }
            check("start", lines, expected, withoutReason(ask("start\t" + hex(text))));
        }
    }

    private void compareSyntax(Random random) throws IOException {
        String[] pieces = {"a", "b", "=", ":", " ", "\t", "\f", "\\", "\n", "\r", "\r\n", "#", "!",
            "\\u00e9", "\\u12", "\\n", "\u00e9", "\ud83d\ude00"};
        for (int file = 0; file < PROPERTIES_FILES; file++) {
            StringBuilder text = new StringBuilder();
            int length = random.nextInt(14);
            for (int piece = 0; piece < length; piece++) {
                text.append(pieces[random.nextInt(pieces.length)]);
            }
            // A lone backslash at the very end is an entry or not by an accident of Java's reader.
            text.append("\n# end");
            String answer = ask("properties\t" + hex(text.toString()));
            check("properties", text.toString(), entries(text.toString()), answer);
        }
    }

    private static String entries(String text) throws IOException {
        List<String> entries = new ArrayList<>();
        Properties properties = new Properties() {
            @Override
            public synchronized Object put(Object key, Object value) {
                entries.add(hex((String) key) + "=" + hex((String) value));
                return super.put(key, value);
            }
        };
        try {
            properties.load(new StringReader(text));
        } catch (IllegalArgumentException e) {
            return "refused";
        }
        return String.join("\t", entries);
    }

    private String ask(String question) throws IOException {
        toThalweg.write(question + "\n");
        toThalweg.flush();
        return fromThalweg.readLine();
    }

    private static String withoutReason(String answer) {
        return answer != null && answer.startsWith("refused") ? "refused" : answer;
    }

    private void check(String kind, String subject, String expected, String actual) {
        if (expected != null && expected.equals(actual)) {
            passed++;
            return;
        }
        failed++;
        if (failed <= FAILURES_SHOWN) {
            System.out.printf("%s %s%n  Kafka:   %s%n  Thalweg: %s%n", kind, subject, expected, actual);
        }
    }

    private static String hex(String text) {
        return HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
    }
}

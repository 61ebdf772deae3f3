// Compares Thalweg's codec with Apache Kafka's own classes: random messages of every API, version
// and direction, and of every internal record, are written by Kafka, read and written again by
// Thalweg (the example `oracle` of core/protocol), and read again by Kafka. Bytes and messages
// must come out as they went in.
//
// Usage: Oracle LIBS_DIR BINARY MESSAGES_PER_KIND SEED

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Enumeration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;

public final class Oracle {
    private static final byte REQUEST = 0;
    private static final byte RESPONSE = 1;
    private static final byte RECORD = 2;
    private static final int FAILURES_SHOWN = 40;
    /** Above every tag that Kafka 4.3 knows. */
    private static final int UNKNOWN_TAG_MIN = 90;

    private final Random random;
    private final int perKind;
    private final DataOutputStream toThalweg;
    private final DataInputStream fromThalweg;
    private int passed;
    private int failed;

    private Oracle(Process process, int perKind, long seed) {
        this.random = new Random(seed);
        this.perKind = perKind;
        this.toThalweg = new DataOutputStream(new BufferedOutputStream(process.getOutputStream()));
        this.fromThalweg = new DataInputStream(new BufferedInputStream(process.getInputStream()));
    }

    public static void main(String[] args) throws Exception {
        Process process = new ProcessBuilder(args[1]).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        long seed = Long.parseLong(args[3]);
        Oracle oracle = new Oracle(process, Integer.parseInt(args[2]), seed);
        int apis = oracle.compareApis();
        int records = oracle.compareRecords(new File(args[0]));
        oracle.toThalweg.close();
        process.waitFor();
        System.out.println(apis + " APIs, " + records + " records and headers, seed " + seed);
        System.out.println("oracle: " + oracle.passed + " passed, " + oracle.failed + " failed, 0 skipped");
        System.exit(oracle.failed == 0 && apis > 0 && records > 0 ? 0 : 1);
    }

    private int compareApis() throws Exception {
        int apis = 0;
        for (ApiMessageType api : ApiMessageType.values()) {
            // Retired APIs have an empty range.
            if (api.lowestSupportedVersion() <= api.highestSupportedVersion(true)) {
                apis++;
            }
            for (short v = api.lowestSupportedVersion(); v <= api.highestSupportedVersion(true); v++) {
                compare(REQUEST, api.apiKey(), api.name, api.newRequest().getClass(), v);
                compare(RESPONSE, api.apiKey(), api.name, api.newResponse().getClass(), v);
            }
        }
        return apis;
    }

    /** Every generated message class in Kafka's jars that is no request and no response. */
    private int compareRecords(File libs) throws Exception {
        Map<String, Class<?>> records = new TreeMap<>();
        for (File jar : libs.listFiles((dir, name) -> name.startsWith("kafka") && name.endsWith(".jar"))) {
            try (JarFile open = new JarFile(jar)) {
                for (Enumeration<JarEntry> all = open.entries(); all.hasMoreElements();) {
                    addRecord(all.nextElement().getName(), records);
                }
            }
        }
        for (Map.Entry<String, Class<?>> record : records.entrySet()) {
            Class<?> type = record.getValue();
            short first = type.getField("LOWEST_SUPPORTED_VERSION").getShort(null);
            short last = type.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
            for (short version = first; version <= last; version++) {
                compare(RECORD, (short) 0, record.getKey(), type, version);
            }
        }
        return records.size();
    }

    private static void addRecord(String entry, Map<String, Class<?>> records) throws Exception {
        boolean generated = entry.contains("/generated/") || entry.contains("/common/message/")
            || entry.contains("/common/metadata/") || entry.contains("/internals/generated/");
        if (!generated || !entry.endsWith(".class") || entry.contains("$") || entry.contains("JsonConverter")
            || entry.endsWith("RequestData.class") || entry.endsWith("ResponseData.class")) {
            return;
        }
        Class<?> type = Class.forName(entry.replace('/', '.').replace(".class", ""));
        if (Message.class.isAssignableFrom(type) && !type.isInterface()) {
            String name = type.getSimpleName();
            records.put(name.endsWith("HeaderData") ? name.replace("Data", "") : name, type);
        }
    }

    private void compare(byte kind, short key, String name, Class<?> type, short version) throws Exception {
        Schema schema = ((Schema[]) type.getField("SCHEMAS").get(null))[version];
        for (int index = 0; index < perKind; index++) {
            // The first is left as it is made: defaults must agree too.
            Message message = (Message) type.getDeclaredConstructor().newInstance();
            fill(message, schema, index == 0 ? 0 : 3);
            byte[] sent = write(message, version);
            byte[] back = exchange(kind, key, name, version, sent);
            String where = type.getSimpleName() + " version " + version;
            if (!Arrays.equals(sent, back)) {
                fail(where + ": " + hex(sent) + " came back as " + hex(back) + ", is " + message);
                continue;
            }
            Message read = (Message) type.getDeclaredConstructor().newInstance();
            read.read(new ByteBufferAccessor(ByteBuffer.wrap(back)), version);
            if (Arrays.equals(write(read, version), sent)) {
                passed++;
            } else {
                fail(where + ": Kafka reads " + read + " instead of " + message);
            }
        }
    }

    private void fail(String text) {
        failed++;
        if (failed <= FAILURES_SHOWN) {
            System.out.println(text);
        }
    }

    private static byte[] write(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        return buffer.array();
    }

    private byte[] exchange(byte kind, short key, String name, short version, byte[] bytes) throws IOException {
        byte[] nameBytes = name.getBytes(StandardCharsets.UTF_8);
        toThalweg.writeByte(kind);
        toThalweg.writeShort(key);
        toThalweg.writeShort(version);
        toThalweg.writeByte(nameBytes.length);
        toThalweg.write(nameBytes);
        toThalweg.writeInt(bytes.length);
        toThalweg.write(bytes);
        toThalweg.flush();
        boolean accepted = fromThalweg.readByte() == 0;
        byte[] back = new byte[fromThalweg.readInt()];
        fromThalweg.readFully(back);
        if (!accepted) {
            System.out.println(name + " version " + version + ": " + new String(back, StandardCharsets.UTF_8));
        }
        return back;
    }

    /** Sets the fields that the version has; depth bounds the lists within lists. */
    private void fill(Message message, Schema schema, int depth) throws Exception {
        if (depth == 0) {
            return;
        }
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields) {
                fillTags(message, (TaggedFields) bound.def.type, depth);
            } else {
                set(message, bound.def.name, bound.def.type, depth);
            }
        }
    }

    private void fillTags(Message message, TaggedFields tags, int depth) throws Exception {
        for (org.apache.kafka.common.protocol.types.Field tag : tags.fields().values()) {
            if (random.nextBoolean()) {
                set(message, tag.name, tag.type, depth);
            }
        }
        for (int tag = UNKNOWN_TAG_MIN; random.nextInt(4) == 0; tag += 1 + random.nextInt(300)) {
            message.unknownTaggedFields().add(new RawTaggedField(tag, bytes()));
        }
    }

    private void set(Message message, String name, Type type, int depth) throws Exception {
        Field field = field(message.getClass(), name);
        if (type.isNullable() && random.nextInt(4) == 0) {
            field.set(message, null);
        } else {
            field.set(message, value(field.getType(), field, type, depth));
        }
    }

    /** Kafka's schema says `log_dirs` where the class says `logDirs`. */
    private static Field field(Class<?> type, String name) {
        String wanted = name.replace("_", "").toLowerCase(Locale.ROOT);
        for (Field field : type.getDeclaredFields()) {
            boolean own = !Modifier.isStatic(field.getModifiers()) && !field.getName().startsWith("_");
            if (own && field.getName().toLowerCase(Locale.ROOT).equals(wanted)) {
                field.setAccessible(true);
                return field;
            }
        }
        throw new IllegalStateException(type + " has no field " + name);
    }

    private Object value(Class<?> java, Field field, Type type, int depth) throws Exception {
        if (Collection.class.isAssignableFrom(java)) {
            return list(java, field, type.arrayElementType().get(), depth);
        }
        if (Message.class.isAssignableFrom(java)) {
            Message inner = (Message) java.getDeclaredConstructor().newInstance();
            fill(inner, (Schema) type, depth);
            return inner;
        }
        return plain(java, type);
    }

    @SuppressWarnings("unchecked")
    private Object list(Class<?> java, Field field, Type element, int depth) throws Exception {
        boolean isSet = java != List.class;
        Collection<Object> all = isSet
            ? (Collection<Object>) java.getDeclaredConstructor().newInstance() : new ArrayList<>();
        // A set's class extends the collection of its elements; a list names them itself.
        ParameterizedType generic = (ParameterizedType) (isSet ? java.getGenericSuperclass() : field.getGenericType());
        Class<?> elementClass = (Class<?>) generic.getActualTypeArguments()[0];
        for (int count = depth == 1 ? 0 : random.nextInt(4); count > 0; count--) {
            all.add(value(elementClass, field, element, depth - 1));
        }
        return all;
    }

    private Object plain(Class<?> java, Type type) {
        if (java == String.class) {
            return string();
        } else if (java == boolean.class) {
            return random.nextBoolean();
        } else if (java == byte.class || java == Byte.class) {
            return (byte) number();
        } else if (java == short.class || java == Short.class) {
            return (short) number();
        } else if (java == int.class || java == Integer.class) {
            return type == Type.UINT16 ? (int) number() & 0xffff : (int) number();
        } else if (java == long.class || java == Long.class) {
            return type == Type.UNSIGNED_INT32 ? number() & 0xffffffffL : number();
        } else if (java == double.class) {
            return random.nextGaussian();
        } else if (java == Uuid.class) {
            return new Uuid(number(), number());
        } else if (java == byte[].class) {
            return bytes();
        } else if (java == ByteBuffer.class) {
            return ByteBuffer.wrap(bytes());
        } else if (java == BaseRecords.class) {
            return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes()));
        }
        throw new IllegalStateException("no values of " + java);
    }

    private long number() {
        return switch (random.nextInt(4)) {
            case 0 -> random.nextInt(3) - 1;
            case 1 -> random.nextInt(100000);
            default -> random.nextLong();
        };
    }

    /** Now and then long enough for a second byte of length. */
    private int length() {
        return random.nextInt(12) == 0 ? random.nextInt(400) : random.nextInt(6);
    }

    private String string() {
        StringBuilder text = new StringBuilder();
        for (int left = length(); left > 0; left--) {
            text.appendCodePoint(random.nextInt(8) == 0 ? 0x1F40 + random.nextInt(0x20000) % 0x3000 : 'a' + random.nextInt(26));
        }
        return text.toString();
    }

    private byte[] bytes() {
        byte[] all = new byte[length()];
        random.nextBytes(all);
        return all;
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte one : bytes) {
            text.append(String.format("%02x", one));
        }
        return text.toString();
    }
}

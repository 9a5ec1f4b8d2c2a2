package oracle;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.*;
import org.apache.kafka.streams.test.TestRecord;

import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Duration;
import java.time.Instant;
import java.util.*;
import java.util.stream.Collectors;

/** Main IN_DIR OUT_DIR: every *.json under IN_DIR (an array of cases) is run and written, with `expected`, under OUT_DIR. */
public final class Main {
    private static final Path STATE = Paths.get(System.getProperty("oracle.state", System.getProperty("java.io.tmpdir") + "/oracle-state"));
    private static int run;

    public static void main(String[] args) throws Exception {
        Path in = Paths.get(args[0]), out = Paths.get(args[1]);
        List<Path> files;
        try (var s = Files.walk(in)) {
            files = s.filter(p -> p.toString().endsWith(".json")).sorted().collect(Collectors.toList());
        }
        Set<String> names = new HashSet<>();
        int total = 0, errors = 0, sensitive = 0;
        for (Path f : files) {
            ArrayNode cases = (ArrayNode) Fns.JSON.readTree(Files.readString(f));
            List<String> lines = new ArrayList<>();
            for (JsonNode n : cases) {
                ObjectNode c = ((ObjectNode) n).deepCopy();
                c.remove(List.of("describe", "expected", "expectedError", "expectedInMemory", "internalTopics"));
                if (!names.add(c.get("name").textValue())) throw new IllegalArgumentException("duplicate case name " + c.get("name"));
                ObjectNode e = runCase(c, false), m = runCase(c, true);
                if (e.has("error")) { c.set("expectedError", e.get("error")); errors++; if (e.has("internal")) System.err.println(c.get("name").textValue() + " BAD CASE " + e); }
                else c.set("expected", e);
                int internal = internalTopics(c);
                if (internal > 0) c.put("internalTopics", internal);
                if (!e.has("error") && !c.path("category").asText().startsWith("random")) c.put("describe", describe(c));
                if (!m.equals(e)) { c.set("expectedInMemory", m); sensitive++; }
                if (e.has("error")) System.out.println("  error  " + c.get("name").textValue() + " " + e.get("error"));
                lines.add(Fns.JSON.writeValueAsString(c));
                total++;
            }
            Path o = out.resolve(in.relativize(f));
            Files.createDirectories(o.getParent());
            Files.writeString(o, "[\n" + String.join(",\n", lines) + "\n]\n");
            System.out.println(in.relativize(f) + " " + lines.size());
        }
        System.out.println("cases " + total + ", expectedError " + errors + ", expectedInMemory " + sensitive);
    }

    /** Kafka's own description of the case's topology. */
    private static String describe(JsonNode c) {
        Properties p = new Properties();
        p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, c.path("config").path("optimize").asBoolean(false) ? StreamsConfig.OPTIMIZE : StreamsConfig.NO_OPTIMIZATION);
        StreamsBuilder sb = new StreamsBuilder();
        Interp b = new Interp(sb, false);
        for (JsonNode op : c.get("ops")) b.add(op);
        return sb.build(p).describe().toString();
    }

    /** How many topics the topology reads that it made itself (repartition and foreign-key topics); 0 when it does not build. */
    private static int internalTopics(JsonNode c) {
        try {
            Properties p = new Properties();
            p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, c.path("config").path("optimize").asBoolean(false) ? StreamsConfig.OPTIMIZE : StreamsConfig.NO_OPTIMIZATION);
            StreamsBuilder sb = new StreamsBuilder();
            Interp b = new Interp(sb, true);
            Set<String> own = new HashSet<>(), read = new HashSet<>();
            for (JsonNode op : c.get("ops")) {
                b.add(op);
                if (op.has("topic")) own.add(op.get("topic").textValue());
                op.path("topics").forEach(t -> own.add(t.textValue()));
            }
            for (TopologyDescription.Subtopology s : sb.build(p).describe().subtopologies())
                for (TopologyDescription.Node n : s.nodes())
                    if (n instanceof TopologyDescription.Source src && src.topicSet() != null) read.addAll(src.topicSet());
            read.removeAll(own);
            return read.size();
        } catch (RuntimeException e) {
            return 0;
        }
    }

    private static ObjectNode error(String phase, Integer at, Throwable t) {
        ObjectNode r = Fns.JSON.createObjectNode(), e = r.putObject("error");
        e.put("phase", phase);
        if (at != null) e.put("at", at);
        e.put("type", t.getClass().getSimpleName());
        Throwable root = t;
        while (root.getCause() != null && root.getCause() != root) root = root.getCause();
        e.put("rootType", root.getClass().getSimpleName());
        e.put("message", String.valueOf(root.getMessage()).replaceAll("\\s+", " "));
        return r;
    }

    private static ObjectNode runCase(JsonNode c, boolean inMemory) throws Exception {
        JsonNode config = c.path("config");
        Serdes2.binaryKeys = config.path("keys").asText("").equals("binary");
        int partitions = config.path("partitions").asInt(1);
        List<Path> dirs = new ArrayList<>();
        List<TopologyTestDriver> drivers = new ArrayList<>();
        Interp b = null;
        Integer at = null;
        try {
            for (int i = 0; i < partitions; i++) {
                Path dir = STATE.resolve("r" + run++);
                dirs.add(dir);
                Properties p = new Properties();
                p.put(StreamsConfig.APPLICATION_ID_CONFIG, "oracle");
                p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "unused:1");
                p.put(StreamsConfig.STATE_DIR_CONFIG, dir.toString());
                p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes2.Key.class.getName());
                p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes2.Value.class.getName());
                p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, config.path("cacheMaxBytes").asLong(0));
                p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, config.path("optimize").asBoolean(false) ? StreamsConfig.OPTIMIZE : StreamsConfig.NO_OPTIMIZATION);
                if (inMemory) p.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class.getName());
                try {
                    StreamsBuilder sb = new StreamsBuilder(new TopologyConfig(new StreamsConfig(p)));
                    b = new Interp(sb, inMemory);
                    for (JsonNode op : c.get("ops")) b.add(op);
                    drivers.add(new TopologyTestDriver(sb.build(p), p, Instant.ofEpochMilli(0)));
                } catch (RuntimeException e) {
                    ObjectNode r = error("build", null, e);
                    if (e instanceof ClassCastException || String.valueOf(e.getMessage()).startsWith("unknown ") || String.valueOf(e.getMessage()).startsWith("no node") || e instanceof NullPointerException && !c.path("expectNpe").asBoolean()) { r.put("internal", true); e.printStackTrace(); }
                    return r;
                }
            }
            ObjectNode r = Fns.JSON.createObjectNode();
            ObjectNode outputs = r.putObject("outputs");
            for (String t : b.sinks) outputs.putArray(t);
            Set<String> keys = new TreeSet<>();
            Serdes2.Key ks = new Serdes2.Key();
            Serdes2.Value vs = new Serdes2.Value();
            int i = 0;
            for (JsonNode x : c.get("inputs")) {
                at = i;
                if (x.has("advanceWallClockMs")) for (TopologyTestDriver d : drivers) d.advanceWallClockTime(Duration.ofMillis(x.get("advanceWallClockMs").longValue()));
                else if (x.has("batch")) batch(drivers.get(0), x.get("batch"), ks, vs, keys);
                else {
                    TestRecord<Object, Object> in = record(x, keys);
                    byte[] k = ks.serializer().serialize("", in.key());
                    int to = partitions == 1 || k == null ? 0 : org.apache.kafka.common.utils.Utils.toPositive(org.apache.kafka.common.utils.Utils.murmur2(k)) % partitions;
                    drivers.get(to).createInputTopic(x.get("topic").textValue(), ks.serializer(), vs.serializer()).pipeInput(in);
                }
                for (TopologyTestDriver d : drivers)
                    for (String t : b.sinks)
                        for (TestRecord<Object, Object> o : d.createOutputTopic(t, ks.deserializer(), vs.deserializer()).readRecordsToList()) {
                            ObjectNode n = ((ArrayNode) outputs.get(t)).addObject();
                            n.set("key", key(o.key()));
                            if (o.key() instanceof String s) keys.add(s);
                            n.set("value", Fns.toJson(o.value()));
                            n.put("timestamp", o.timestamp());
                            if (o.headers().iterator().hasNext()) {
                                ArrayNode hs = n.putArray("headers");
                                for (Header h : o.headers()) hs.addArray().add(h.key()).add(h.value() == null ? null : new String(h.value(), StandardCharsets.UTF_8));
                            }
                            n.put("at", i);
                        }
                i++;
            }
            ObjectNode stores = r.putObject("stores");
            for (String s : b.stores) stores.set(s, store(drivers, s, keys));
            double dropped = 0;
            for (TopologyTestDriver d : drivers)
                for (var e : d.metrics().entrySet()) if (e.getKey().name().equals("dropped-records-total")) dropped += ((Number) e.getValue().metricValue()).doubleValue();
            r.put("dropped", (long) dropped);
            return r;
        } catch (RuntimeException e) {
            return error("run", at, e);
        } finally {
            for (TopologyTestDriver d : drivers) try { d.close(); } catch (RuntimeException e) { /* after an expected failure */ }
            for (Path dir : dirs) if (Files.exists(dir)) try (var s = Files.walk(dir)) { s.sorted(Comparator.reverseOrder()).forEach(q -> q.toFile().delete()); }
        }
    }

    private static TestRecord<Object, Object> record(JsonNode x, Set<String> keys) {
        RecordHeaders h = new RecordHeaders();
        for (JsonNode e : x.path("headers")) h.add(e.get(0).textValue(), e.get(1).isNull() ? null : e.get(1).textValue().getBytes(StandardCharsets.UTF_8));
        Object k = Fns.fromJson(x.get("key"));
        if (k != null) keys.add((String) k);
        return new TestRecord<>(k, Fns.fromJson(x.get("value")), h, Instant.ofEpochMilli(x.get("timestamp").longValue()));
    }

    /** All records are taken through the topology before the one commit that follows: the driver commits after each. */
    private static void batch(TopologyTestDriver d, JsonNode records, Serdes2.Key ks, Serdes2.Value vs, Set<String> keys) {
        try {
            var task = (org.apache.kafka.streams.processor.internals.StreamTask) field(d, "task");
            var globals = (Map<?, ?>) field(d, "globalPartitionsByInputTopic");
            for (JsonNode x : records) {
                String topic = x.get("topic").textValue();
                TestRecord<Object, Object> in = record(x, keys);
                if (globals.containsKey(topic)) {
                    d.createInputTopic(topic, ks.serializer(), vs.serializer()).pipeInput(in);
                    continue;
                }
                Object tp = call(d, "getInputTopicOrPatternPartition", new Class<?>[] {String.class}, topic);
                call(d, "enqueueTaskRecord", new Class<?>[] {String.class, org.apache.kafka.common.TopicPartition.class, long.class, byte[].class, byte[].class, org.apache.kafka.common.header.Headers.class},
                    topic, tp, in.getRecordTime().toEpochMilli(), ks.serializer().serialize(topic, in.key()), vs.serializer().serialize(topic, in.value()), in.headers());
            }
            if (task != null) {
                task.resumePollingForPartitionsWithAvailableSpace();
                task.updateLags();
                while (task.hasRecordsQueued() && task.isProcessable(0)) {
                    task.process(0);
                    task.maybePunctuateStreamTime();
                }
                call(d, "commit", new Class<?>[] {Map.class}, task.prepareCommit(true));
                task.postCommit(true);
            }
            call(d, "completeAllProcessableWork", new Class<?>[] {});
        } catch (ReflectiveOperationException e) {
            if (e.getCause() instanceof RuntimeException r) throw r;
            throw new IllegalStateException(e);
        }
    }

    private static Object field(Object of, String name) throws ReflectiveOperationException {
        var f = TopologyTestDriver.class.getDeclaredField(name);
        f.setAccessible(true);
        return f.get(of);
    }

    private static Object call(Object of, String name, Class<?>[] types, Object... args) throws ReflectiveOperationException {
        var m = TopologyTestDriver.class.getDeclaredMethod(name, types);
        m.setAccessible(true);
        return m.invoke(of, args);
    }

    private static JsonNode key(Object k) {
        if (k instanceof Windowed<?> w) {
            ObjectNode n = Fns.JSON.createObjectNode();
            n.set("key", Fns.toJson(w.key()));
            n.put("start", w.window().start());
            n.put("end", w.window().end());
            return n;
        }
        return Fns.toJson(k);
    }

    private record Row(Object key, String sortKey, long start, long end, Object value, Long timestamp) { }

    private static Row row(Object k, Object value, Long ts) {
        if (k instanceof Windowed<?> w) return new Row(k, Fns.str(w.key()), w.window().start(), w.window().end(), value, ts);
        return new Row(k, Fns.str(k), 0, 0, value, ts);
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static JsonNode store(List<TopologyTestDriver> drivers, String name, Set<String> keys) {
        List<Row> rows = new ArrayList<>();
        String type = null;
        for (TopologyTestDriver driver : drivers) {
        StateStore s = driver.getAllStateStores().get(name);
        if (s == null) return Fns.JSON.nullNode();
        if (s instanceof VersionedKeyValueStore v) {
            type = "versioned";
            for (String k : keys) { VersionedRecord<?> x = ((VersionedKeyValueStore<Object, Object>) v).get(k); if (x != null) rows.add(row(k, x.value(), x.timestamp())); }
        } else if (s instanceof SessionStore || driver.getSessionStore(name) != null) {
            type = "session";
            SessionStore<Object, Object> x = driver.getSessionStore(name);
            try (KeyValueIterator<Windowed<Object>, Object> it = x.fetch(null, null)) { while (it.hasNext()) { var e = it.next(); rows.add(row(e.key, e.value, null)); } }
        } else if (driver.getTimestampedWindowStore(name) != null) {
            type = "window";
            WindowStore<Object, ValueAndTimestamp<Object>> x = driver.getTimestampedWindowStore(name);
            try (KeyValueIterator<Windowed<Object>, ValueAndTimestamp<Object>> it = x.all()) { while (it.hasNext()) { var e = it.next(); rows.add(row(e.key, e.value.value(), e.value.timestamp())); } }
        } else if (driver.getTimestampedKeyValueStore(name) != null) {
            type = "timestampedKeyValue";
            KeyValueStore<Object, ValueAndTimestamp<Object>> x = driver.getTimestampedKeyValueStore(name);
            try (KeyValueIterator<Object, ValueAndTimestamp<Object>> it = x.all()) { while (it.hasNext()) { var e = it.next(); rows.add(row(e.key, e.value.value(), e.value.timestamp())); } }
        } else if (driver.getKeyValueStore(name) != null) {
            type = "keyValue";
            KeyValueStore<Object, Object> x = driver.getKeyValueStore(name);
            try (KeyValueIterator<Object, Object> it = x.all()) { while (it.hasNext()) { var e = it.next(); rows.add(row(e.key, e.value, null)); } }
        } else throw new IllegalStateException("store of unknown type " + name + " " + s.getClass());
        }
        rows.sort(Comparator.comparing(Row::sortKey).thenComparing(Row::start).thenComparing(Row::end));
        ObjectNode n = Fns.JSON.createObjectNode();
        n.put("type", type);
        ArrayNode a = n.putArray("entries");
        for (Row r : rows) {
            ObjectNode e = a.addObject();
            if (r.key() instanceof Windowed<?> w) { e.set("key", Fns.toJson(w.key())); e.put("start", r.start()); e.put("end", r.end()); }
            else e.set("key", Fns.toJson(r.key()));
            e.set("value", Fns.toJson(r.value()));
            if (r.timestamp() != null) e.put("timestamp", r.timestamp());
        }
        return n;
    }
}

package oracle;

import com.fasterxml.jackson.databind.JsonNode;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;

/** The named processors of FORMAT.md. */
final class Procs {
    private Procs() { }

    static FixedKeyProcessor<Object, Object, Object> fixed(JsonNode f, String store) {
        return new Fixed(f, store);
    }

    static Processor<Object, Object, Object, Object> free(JsonNode f, String store) {
        return new Free(f, store);
    }

    private static Map<String, Object> obj(Object... kv) {
        Map<String, Object> m = new LinkedHashMap<>();
        for (int i = 0; i < kv.length; i += 2) m.put((String) kv[i], kv[i + 1]);
        return m;
    }

    static final class Fixed implements FixedKeyProcessor<Object, Object, Object> {
        final JsonNode f; final String name, storeName;
        FixedKeyProcessorContext<Object, Object> ctx; KeyValueStore<Object, Object> store;
        Fixed(JsonNode f, String store) { this.f = f; this.name = f.get(0).textValue(); this.storeName = store; }

        @Override public void init(FixedKeyProcessorContext<Object, Object> c) {
            ctx = c;
            if (storeName != null) store = c.getStateStore(storeName);
        }

        @Override public void process(FixedKeyRecord<Object, Object> r) {
            Object k = r.key(), v = r.value();
            switch (name) {
                case "dedupe": {
                    if (k == null) { ctx.forward(r); return; }
                    Object prev = store.get(k);
                    if (v == null) { store.delete(k); ctx.forward(r); return; }
                    if (prev != null && Fns.str(prev).equals(Fns.str(v))) return;
                    store.put(k, v);
                    ctx.forward(r);
                    return;
                }
                case "runningCount": {
                    if (k == null) { ctx.forward(r); return; }
                    Object prev = store.get(k);
                    long n = Fns.num(prev) + 1;
                    store.put(k, n);
                    ctx.forward(r.withValue(obj("n", n, "v", v)));
                    return;
                }
                case "previous": {
                    if (k == null) { ctx.forward(r); return; }
                    Object prev = store.get(k);
                    store.put(k, v);
                    ctx.forward(r.withValue(obj("prev", prev, "cur", v)));
                    return;
                }
                case "times":
                    ctx.forward(r.withValue(obj("v", v, "ts", r.timestamp(), "st", ctx.currentStreamTimeMs())));
                    return;
                case "info": {
                    RecordMetadata m = ctx.recordMetadata().orElse(null);
                    ctx.forward(r.withValue(obj("v", v, "topic", m == null ? null : m.topic(), "partition", m == null ? null : (Object) (long) m.partition(), "offset", m == null ? null : (Object) m.offset())));
                    return;
                }
                default: throw new IllegalArgumentException("unknown fixed-key processor " + f);
            }
        }
    }

    static final class Free implements Processor<Object, Object, Object, Object> {
        final JsonNode f; final String name, storeName;
        ProcessorContext<Object, Object> ctx; KeyValueStore<Object, Object> store;
        final List<Record<Object, Object>> buffer = new ArrayList<>();
        Cancellable handle; long fired;
        Free(JsonNode f, String store) { this.f = f; this.name = f.get(0).textValue(); this.storeName = store; }

        private long arg(int i) { return f.get(i).longValue(); }
        private static PunctuationType type(String s) {
            switch (s) {
                case "stream": return PunctuationType.STREAM_TIME;
                case "wall": return PunctuationType.WALL_CLOCK_TIME;
                default: throw new IllegalArgumentException("unknown punctuation type " + s);
            }
        }

        @Override public void init(ProcessorContext<Object, Object> c) {
            ctx = c;
            if (storeName != null) store = c.getStateStore(storeName);
            switch (name) {
                case "countAndPunctuate": case "countAndFlush":
                    ctx.schedule(Duration.ofMillis(arg(1)), type(f.get(2).textValue()), this::emitCounts);
                    break;
                case "ttlExpire":
                    ctx.schedule(Duration.ofMillis(arg(2)), PunctuationType.STREAM_TIME, this::expire);
                    break;
                case "delay":
                    ctx.schedule(Duration.ofMillis(arg(1)), PunctuationType.WALL_CLOCK_TIME, ts -> {
                        List<Record<Object, Object>> out = new ArrayList<>(buffer);
                        buffer.clear();
                        for (Record<Object, Object> r : out) ctx.forward(r);
                    });
                    break;
                case "ticks":
                    handle = ctx.schedule(Duration.ofMillis(arg(1)), type(f.get(2).textValue()), this::tick);
                    break;
                case "ticksFrom":
                    handle = ctx.schedule(java.time.Instant.ofEpochMilli(arg(4)), Duration.ofMillis(arg(1)), type(f.get(2).textValue()), this::tick);
                    break;
                default: break;
            }
        }

        private void tick(long ts) {
            fired++;
            ctx.forward(new Record<>("tick", obj("i", fired, "at", ts, "st", ctx.currentStreamTimeMs()), ts));
            if (fired >= arg(3)) handle.cancel();
        }

        private void emitCounts(long ts) {
            List<Map.Entry<Object, Object>> all = entries();
            for (Map.Entry<Object, Object> e : all) {
                ctx.forward(new Record<>(e.getKey(), e.getValue(), ts));
                if (name.equals("countAndFlush")) store.delete(e.getKey());
            }
        }

        private void expire(long now) {
            for (Map.Entry<Object, Object> e : entries()) {
                if (Fns.num(Fns.field(e.getValue(), "ts")) + arg(1) <= now) {
                    store.delete(e.getKey());
                    ctx.forward(new Record<>(e.getKey(), null, now));
                }
            }
        }

        private List<Map.Entry<Object, Object>> entries() {
            List<Map.Entry<Object, Object>> all = new ArrayList<>();
            try (KeyValueIterator<Object, Object> it = store.all()) {
                while (it.hasNext()) { var kv = it.next(); all.add(Map.entry(kv.key, kv.value)); }
            }
            return all;
        }

        @Override public void process(Record<Object, Object> r) {
            Object k = r.key(), v = r.value();
            switch (name) {
                case "countAndPunctuate": case "countAndFlush":
                    if (k == null) return;
                    store.put(k, Fns.num(store.get(k)) + 1);
                    return;
                case "ttlExpire":
                    if (k != null) {
                        if (v == null) store.delete(k);
                        else store.put(k, obj("v", v, "ts", r.timestamp()));
                    }
                    ctx.forward(r);
                    return;
                case "delay": buffer.add(r); return;
                case "ticks": case "ticksFrom": ctx.forward(r); return;
                case "fanout":
                    for (long i = 0; i < arg(1); i++) ctx.forward(r.withKey(Fns.str(k) + "#" + i));
                    return;
                case "restamp": ctx.forward(r.withTimestamp(Math.max(0, r.timestamp() + arg(1)))); return;
                case "addHeader": {
                    var h = new org.apache.kafka.common.header.internals.RecordHeaders(r.headers());
                    h.add(f.get(1).textValue(), Fns.str(v).getBytes(StandardCharsets.UTF_8));
                    ctx.forward(r.withHeaders(h));
                    return;
                }
                case "swap": ctx.forward(r.withKey(v == null ? null : Fns.str(v)).withValue(k)); return;
                case "drop": return;
                default: throw new IllegalArgumentException("unknown processor " + f);
            }
        }
    }

    /** ["map", fn]: the function, also of null. ["counting"] (state): null stays null, else {n: how many of the key so far, v}. */
    static org.apache.kafka.streams.kstream.ValueTransformerWithKey<Object, Object, Object> transformer(JsonNode f, String state) {
        Fns.KV map = f.get(0).textValue().equals("map") ? Fns.value(f.get(1)) : null;
        return new org.apache.kafka.streams.kstream.ValueTransformerWithKey<>() {
            private org.apache.kafka.streams.state.KeyValueStore<Object, Object> store;
            @Override public void init(org.apache.kafka.streams.processor.ProcessorContext c) { if (state != null) store = c.getStateStore(state); }
            @Override public Object transform(Object k, Object v) {
                if (map != null) return map.apply(k, v);
                if (v == null) return null;
                long n = Fns.num(store.get(k)) + 1;
                store.put(k, n);
                java.util.Map<String, Object> m = new java.util.LinkedHashMap<>();
                m.put("n", n);
                m.put("v", v);
                return m;
            }
            @Override public void close() { }
        };
    }
}

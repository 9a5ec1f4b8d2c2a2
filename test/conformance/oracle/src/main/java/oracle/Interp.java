package oracle;

import com.fasterxml.jackson.databind.JsonNode;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.state.*;

import java.time.Duration;
import java.time.Instant;
import java.util.*;

/** Builds a DSL topology from a case's ops. */
@SuppressWarnings({"unchecked", "rawtypes", "deprecation"})
final class Interp {
    private static final Serdes2.Key KEY = new Serdes2.Key();
    private static final Serdes2.Value VALUE = new Serdes2.Value();

    final StreamsBuilder builder;
    final boolean inMemory;
    final Map<String, Object> nodes = new LinkedHashMap<>();
    final Set<String> sinks = new LinkedHashSet<>();
    final Set<String> stores = new LinkedHashSet<>();

    Interp(StreamsBuilder builder, boolean inMemory) { this.builder = builder; this.inMemory = inMemory; }

    private static Duration ms(JsonNode n) { return Duration.ofMillis(n.longValue()); }

    private <T> T in(JsonNode op, int i) {
        JsonNode f = op.get("from");
        String id = f.isArray() ? f.get(i).textValue() : f.textValue();
        Object n = nodes.get(id);
        if (n == null) throw new IllegalArgumentException("no node " + id);
        return (T) n;
    }

    private String store(JsonNode op) {
        if (!op.hasNonNull("store")) return null;
        String s = op.get("store").textValue();
        stores.add(s);
        return s;
    }

    /** Materialized for an op: named when it has `store`; the value serde only where the DSL does not fix it. */
    private <S extends org.apache.kafka.streams.processor.StateStore> Materialized<Object, Object, S> mat(JsonNode op, boolean valueSerde) {
        String s = store(op);
        Materialized m;
        if (s != null && op.hasNonNull("historyRetention")) m = Materialized.as(Stores.persistentVersionedKeyValueStore(s, ms(op.get("historyRetention"))));
        else if (s != null) m = Materialized.as(s);
        else m = Materialized.with(null, null);
        if (valueSerde) m = m.withValueSerde(VALUE);
        if (op.hasNonNull("retention")) m = m.withRetention(ms(op.get("retention")));
        if (op.path("caching").asBoolean(false)) m = m.withCachingEnabled();
        return m;
    }

    private static Consumed<Object, Object> consumed(JsonNode op) {
        Consumed<Object, Object> c = Consumed.with(KEY, VALUE);
        if (op.hasNonNull("timestampField")) {
            String f = op.get("timestampField").textValue();
            TimestampExtractor x = (ConsumerRecord<Object, Object> r, long partitionTime) -> {
                Object t = Fns.field(r.value(), f);
                return t instanceof Long l ? l : r.timestamp();
            };
            c = c.withTimestampExtractor(x);
        }
        return c;
    }

    private static Duration graceOf(JsonNode w) { return w.hasNonNull("grace") ? ms(w.get("grace")) : Duration.ZERO; }

    private static Object window(JsonNode w) {
        switch (w.get("type").textValue()) {
            case "tumbling": return TimeWindows.ofSizeAndGrace(ms(w.get("size")), graceOf(w));
            case "hopping": return TimeWindows.ofSizeAndGrace(ms(w.get("size")), graceOf(w)).advanceBy(ms(w.get("advance")));
            case "sliding": return SlidingWindows.ofTimeDifferenceAndGrace(ms(w.get("diff")), graceOf(w));
            case "session": return SessionWindows.ofInactivityGapAndGrace(ms(w.get("gap")), graceOf(w));
            case "unlimited": return UnlimitedWindows.of().startOn(Instant.ofEpochMilli(w.path("start").longValue()));
            default: throw new IllegalArgumentException("unknown window " + w);
        }
    }

    private static JoinWindows joinWindows(JsonNode w) {
        if (w.path("legacy").asBoolean(false)) return JoinWindows.of(ms(w.get("before")));
        Duration b = ms(w.get("before")), a = ms(w.get("after"));
        JoinWindows jw = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofMillis(Math.max(0, Math.max(b.toMillis(), a.toMillis()))), graceOf(w));
        return jw.before(b).after(a);
    }

    void add(JsonNode op) {
        String id = op.get("id").textValue();
        Object r = build(op);
        if (r != null && nodes.put(id, r) != null) throw new IllegalArgumentException("duplicate id " + id);
    }

    private Object build(JsonNode op) {
        switch (op.get("op").textValue()) {
            case "stream": {
                List<String> topics = new ArrayList<>();
                op.get("topics").forEach(t -> topics.add(t.textValue()));
                return builder.stream(topics, consumed(op));
            }
            case "table": return builder.table(op.get("topic").textValue(), consumed(op), this.<KeyValueStore<Bytes, byte[]>>mat(op, true).withKeySerde(KEY));
            case "globalTable":
                if (!op.hasNonNull("store")) return builder.globalTable(op.get("topic").textValue(), consumed(op));
                return builder.globalTable(op.get("topic").textValue(), consumed(op), this.<KeyValueStore<Bytes, byte[]>>mat(op, true).withKeySerde(KEY));
            case "to": {
                String t = op.get("topic").textValue();
                sinks.add(t);
                ((KStream<Object, Object>) in(op, 0)).to(t, Produced.with(KEY, VALUE));
                return null;
            }
            case "map": {
                Fns.KV k = Fns.key(op.get("key")), v = Fns.value(op.get("value"));
                return ((KStream<Object, Object>) in(op, 0)).map((a, b) -> new KeyValue<>(k.apply(a, b), v.apply(a, b)));
            }
            case "mapValues": {
                Fns.KV f = Fns.value(op.get("fn"));
                Object n = in(op, 0);
                ValueMapperWithKey<Object, Object, Object> m = f::apply;
                if (n instanceof KTable t) return op.hasNonNull("store") ? t.mapValues(m, mat(op, true)) : t.mapValues(m);
                return ((KStream<Object, Object>) n).mapValues(m);
            }
            case "transformValues": {
                KTable<Object, Object> t = in(op, 0);
                String state = op.hasNonNull("state") ? op.get("state").textValue() : null;
                if (state != null && stores.add(state)) {
                    KeyValueBytesStoreSupplier sup = inMemory ? Stores.inMemoryKeyValueStore(state) : Stores.persistentKeyValueStore(state);
                    builder.addStateStore(Stores.keyValueStoreBuilder(sup, KEY, VALUE));
                }
                JsonNode f = op.get("transformer");
                ValueTransformerWithKeySupplier<Object, Object, Object> sup = () -> Procs.transformer(f, state);
                String[] states = state == null ? new String[0] : new String[] {state};
                return op.hasNonNull("store") ? t.transformValues(sup, this.<KeyValueStore<Bytes, byte[]>>mat(op, true), states) : t.transformValues(sup, states);
            }
            case "flatMap": {
                Fns.ManyPairs f = Fns.manyPairs(op.get("fn"));
                KeyValueMapper<Object, Object, List<KeyValue<Object, Object>>> m = (k, v) -> {
                    List<KeyValue<Object, Object>> out = new ArrayList<>();
                    for (Fns.Pair p : f.apply(k, v)) out.add(new KeyValue<>(p.key(), p.value()));
                    return out;
                };
                return ((KStream<Object, Object>) in(op, 0)).flatMap(m);
            }
            case "flatMapValues": {
                Fns.ManyValues f = Fns.manyValues(op.get("fn"));
                ValueMapperWithKey<Object, Object, List<Object>> m = f::apply;
                return ((KStream<Object, Object>) in(op, 0)).flatMapValues(m);
            }
            case "filter": case "filterNot": {
                Fns.Pred p = Fns.pred(op.get("pred"));
                boolean not = op.get("op").textValue().equals("filterNot");
                Object n = in(op, 0);
                Predicate<Object, Object> q = p::test;
                if (n instanceof KTable t) {
                    if (!op.hasNonNull("store")) return not ? t.filterNot(q) : t.filter(q);
                    return not ? t.filterNot(q, mat(op, false)) : t.filter(q, mat(op, false));
                }
                KStream<Object, Object> s = (KStream<Object, Object>) n;
                return not ? s.filterNot(q) : s.filter(q);
            }
            case "selectKey": { Fns.KV f = Fns.key(op.get("fn")); KeyValueMapper<Object, Object, Object> m = f::apply; return ((KStream<Object, Object>) in(op, 0)).selectKey(m); }
            case "merge": return ((KStream<Object, Object>) in(op, 0)).merge((KStream<Object, Object>) in(op, 1));
            case "split": {
                BranchedKStream<Object, Object> b = ((KStream<Object, Object>) in(op, 0)).split();
                for (JsonNode br : op.get("branches")) {
                    Fns.Pred p = Fns.pred(br.get("pred"));
                    String bid = br.get("id").textValue();
                    b = b.branch(p::test, Branched.withConsumer(s -> nodes.put(bid, s)));
                }
                if (op.hasNonNull("default")) b.defaultBranch(Branched.withConsumer(s -> nodes.put(op.get("default").textValue(), s)));
                else b.noDefaultBranch();
                return null;
            }
            case "repartition": return ((KStream<Object, Object>) in(op, 0)).repartition(Repartitioned.with(KEY, VALUE));
            case "toTable": return ((KStream<Object, Object>) in(op, 0)).toTable(this.<KeyValueStore<Bytes, byte[]>>mat(op, true));
            case "toStream": {
                KTable<Object, Object> t = in(op, 0);
                if (!op.hasNonNull("key")) return t.toStream();
                Fns.KV f = Fns.key(op.get("key"));
                KeyValueMapper<Object, Object, Object> m = f::apply;
                return t.toStream(m);
            }
            case "suppress": return ((KTable) in(op, 0)).suppress(suppressed(op));
            case "groupByKey": return op.hasNonNull("name") ? ((KStream<Object, Object>) in(op, 0)).groupByKey(Grouped.<Object, Object>as(op.get("name").textValue())) : ((KStream<Object, Object>) in(op, 0)).groupByKey();
            case "groupBy": {
                Object n = in(op, 0);
                if (n instanceof KTable t) {
                    Fns.KV k = Fns.key(op.get("key")), v = Fns.value(op.get("value"));
                    KeyValueMapper<Object, Object, KeyValue<Object, Object>> m = (a, b) -> new KeyValue<>(k.apply(a, b), v.apply(a, b));
                    return t.groupBy(m, Grouped.with(KEY, VALUE));
                }
                Fns.KV f = Fns.key(op.get("fn"));
                KeyValueMapper<Object, Object, Object> m = f::apply;
                Grouped<Object, Object> grouped = Grouped.with(KEY, VALUE);
                if (op.hasNonNull("name")) grouped = grouped.withName(op.get("name").textValue());
                return ((KStream<Object, Object>) n).groupBy(m, grouped);
            }
            case "windowedBy": return windowedBy(op);
            case "count": return count(op);
            case "reduce": return reduce(op);
            case "aggregate": return aggregate(op);
            case "cogroup": {
                CogroupedKStream<Object, Object> c = null;
                for (int i = 0; i < op.get("from").size(); i++) {
                    KGroupedStream<Object, Object> g = in(op, i);
                    Fns.Three a = Fns.aggregator(op.get("aggs").get(i));
                    Aggregator<Object, Object, Object> agg = a::apply;
                    c = c == null ? g.cogroup(agg) : c.cogroup(g, agg);
                }
                return c;
            }
            case "join": return join(op);
            case "fkJoin": {
                KTable<Object, Object> l = in(op, 0), r = in(op, 1);
                Fns.KV fk = Fns.key(op.get("fk"));
                Fns.Three j = Fns.joiner(op.get("joiner"));
                java.util.function.BiFunction<Object, Object, Object> ex = fk::apply;
                ValueJoiner<Object, Object, Object> joiner = (a, b) -> j.apply(null, a, b);
                boolean left = op.get("kind").textValue().equals("left");
                Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> m = mat(op, true);
                return left ? l.leftJoin(r, ex, joiner, m) : l.join(r, ex, joiner, m);
            }
            case "processValues": {
                JsonNode f = op.get("processor");
                String s = procStore(op);
                FixedKeyProcessorSupplier<Object, Object, Object> sup = () -> Procs.fixed(f, s);
                KStream<Object, Object> n = in(op, 0);
                return s == null ? n.processValues(sup) : n.processValues(sup, s);
            }
            case "process": {
                JsonNode f = op.get("processor");
                String s = procStore(op);
                ProcessorSupplier<Object, Object, Object, Object> sup = () -> Procs.free(f, s);
                KStream<Object, Object> n = in(op, 0);
                return s == null ? n.process(sup) : n.process(sup, s);
            }
            default: throw new IllegalArgumentException("unknown op " + op);
        }
    }

    /** A processor's store: created at its first mention, connected at each. */
    private String procStore(JsonNode op) {
        String s = op.hasNonNull("store") ? op.get("store").textValue() : null;
        if (s != null && stores.add(s)) {
            KeyValueBytesStoreSupplier sup = inMemory ? Stores.inMemoryKeyValueStore(s) : Stores.persistentKeyValueStore(s);
            builder.addStateStore(Stores.keyValueStoreBuilder(sup, KEY, VALUE));
        }
        return s;
    }

    private static Suppressed suppressed(JsonNode op) {
        boolean close = op.get("mode").textValue().equals("untilWindowCloses");
        boolean hasLimit = op.hasNonNull("maxRecords") || op.hasNonNull("maxBytes");
        if (close) {
            Suppressed.StrictBufferConfig c = Suppressed.BufferConfig.unbounded();
            if (op.hasNonNull("maxRecords")) c = Suppressed.BufferConfig.maxRecords(op.get("maxRecords").longValue()).shutDownWhenFull();
            else if (op.hasNonNull("maxBytes")) c = Suppressed.BufferConfig.maxBytes(op.get("maxBytes").longValue()).shutDownWhenFull();
            return Suppressed.untilWindowCloses(c);
        }
        Suppressed.BufferConfig c;
        if (!hasLimit) c = Suppressed.BufferConfig.unbounded();
        else {
            Suppressed.EagerBufferConfig e = op.hasNonNull("maxRecords") ? Suppressed.BufferConfig.maxRecords(op.get("maxRecords").longValue()) : Suppressed.BufferConfig.maxBytes(op.get("maxBytes").longValue());
            if (op.hasNonNull("maxRecords") && op.hasNonNull("maxBytes")) e = (Suppressed.EagerBufferConfig) e.withMaxBytes(op.get("maxBytes").longValue());
            c = op.path("onFull").asText("emitEarly").equals("shutDown") ? e.shutDownWhenFull() : e.emitEarlyWhenFull();
        }
        return Suppressed.untilTimeLimit(ms(op.get("ms")), c);
    }

    private Object windowedBy(JsonNode op) {
        Object g = in(op, 0), w = window(op.get("window"));
        Object r;
        if (g instanceof KGroupedStream k) r = w instanceof SlidingWindows s ? k.windowedBy(s) : w instanceof SessionWindows s ? k.windowedBy(s) : k.windowedBy((Windows) w);
        else {
            CogroupedKStream c = (CogroupedKStream) g;
            r = w instanceof SlidingWindows s ? c.windowedBy(s) : w instanceof SessionWindows s ? c.windowedBy(s) : c.windowedBy((Windows) w);
        }
        if (op.hasNonNull("emit")) {
            EmitStrategy e = op.get("emit").textValue().equals("onWindowClose") ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
            r = r instanceof TimeWindowedKStream t ? t.emitStrategy(e) : ((SessionWindowedKStream) r).emitStrategy(e);
        }
        return r;
    }

    private Object count(JsonNode op) {
        Object g = in(op, 0);
        Materialized m = mat(op, false);
        if (g instanceof KGroupedStream k) return k.count(m);
        if (g instanceof KGroupedTable k) return k.count(m);
        if (g instanceof TimeWindowedKStream k) return k.count(m);
        return ((SessionWindowedKStream) g).count(m);
    }

    private Object reduce(JsonNode op) {
        Object g = in(op, 0);
        Fns.Two f = Fns.reducer(op.get("fn"));
        Reducer<Object> r = f::apply;
        Materialized m = mat(op, true);
        if (g instanceof KGroupedStream k) return k.reduce(r, m);
        if (g instanceof KGroupedTable k) {
            Fns.Two s = Fns.reducer(op.get("subtractor"));
            Reducer<Object> sub = s::apply;
            return k.reduce(r, sub, m);
        }
        if (g instanceof TimeWindowedKStream k) return k.reduce(r, m);
        return ((SessionWindowedKStream) g).reduce(r, m);
    }

    private Object aggregate(JsonNode op) {
        Object g = in(op, 0);
        Object init0 = Fns.fromJson(op.get("init"));
        Initializer<Object> init = () -> init0;
        Materialized m = mat(op, true);
        Merger<Object, Object> merger = null;
        if (op.hasNonNull("merger")) { Fns.Two f = Fns.reducer(op.get("merger")); merger = (k, a, b) -> f.apply(a, b); }
        if (g instanceof CogroupedKStream c) return c.aggregate(init, m);
        if (g instanceof TimeWindowedCogroupedKStream c) return c.aggregate(init, m);
        if (g instanceof SessionWindowedCogroupedKStream c) return c.aggregate(init, merger, m);
        Fns.Three a = Fns.aggregator(op.get("agg"));
        Aggregator<Object, Object, Object> agg = a::apply;
        if (g instanceof KGroupedStream k) return k.aggregate(init, agg, m);
        if (g instanceof KGroupedTable k) {
            Fns.Three s = Fns.aggregator(op.get("subtractor"));
            Aggregator<Object, Object, Object> sub = s::apply;
            return k.aggregate(init, agg, sub, m);
        }
        if (g instanceof TimeWindowedKStream k) return k.aggregate(init, agg, m);
        return ((SessionWindowedKStream) g).aggregate(init, agg, merger, m);
    }

    private Object join(JsonNode op) {
        Object l = in(op, 0), r = in(op, 1);
        String kind = op.get("kind").textValue();
        Fns.Three f = Fns.joiner(op.get("joiner"));
        ValueJoinerWithKey<Object, Object, Object, Object> j = f::apply;
        if (l instanceof KTable t) {
            ValueJoiner<Object, Object, Object> vj = (a, b) -> f.apply(null, a, b);
            KTable o = (KTable) r;
            if (!op.hasNonNull("store")) {
                switch (kind) {
                    case "inner": return t.join(o, vj);
                    case "left": return t.leftJoin(o, vj);
                    default: return t.outerJoin(o, vj);
                }
            }
            Materialized m = mat(op, true);
            switch (kind) {
                case "inner": return t.join(o, vj, m);
                case "left": return t.leftJoin(o, vj, m);
                default: return t.outerJoin(o, vj, m);
            }
        }
        KStream<Object, Object> s = (KStream<Object, Object>) l;
        if (r instanceof GlobalKTable g) {
            Fns.KV kf = Fns.key(op.get("globalKey"));
            KeyValueMapper<Object, Object, Object> sel = kf::apply;
            return kind.equals("inner") ? s.join(g, sel, j) : s.leftJoin(g, sel, j);
        }
        if (r instanceof KTable t) {
            Joined<Object, Object, Object> joined = Joined.with(KEY, VALUE, VALUE);
            if (op.hasNonNull("grace")) joined = joined.withGracePeriod(ms(op.get("grace")));
            return kind.equals("inner") ? s.join(t, j, joined) : s.leftJoin(t, j, joined);
        }
        KStream<Object, Object> o = (KStream<Object, Object>) r;
        JoinWindows jw = joinWindows(op.get("window"));
        StreamJoined<Object, Object, Object> sj = StreamJoined.with(KEY, VALUE, VALUE);
        switch (kind) {
            case "inner": return s.join(o, j, jw, sj);
            case "left": return s.leftJoin(o, j, jw, sj);
            case "outer": return s.outerJoin(o, j, jw, sj);
            default: throw new IllegalArgumentException("unknown join kind " + kind);
        }
    }
}

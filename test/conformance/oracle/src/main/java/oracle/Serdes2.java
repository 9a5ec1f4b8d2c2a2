package oracle;

import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.Window;

import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** The default serdes: keys are UTF-8 strings (a windowed key is a tagged JSON text), values are compact JSON. */
public final class Serdes2 {
    private Serdes2() { }

    /** What a windowed key reads back as on the output side. */
    static final class AnyWindow extends Window {
        AnyWindow(long start, long end) { super(start, end); }
        @Override public boolean overlap(Window other) { return start() < other.end() && other.start() < end(); }
    }

    static final class PlainWindowed extends LinkedHashMap<String, Object> { }

    /** Keys as other bytes than their text, in another order: the length (4 bytes), then the text's bytes backwards. */
    static volatile boolean binaryKeys;

    private static byte[] out(byte[] text) {
        if (!binaryKeys) return text;
        byte[] b = new byte[4 + text.length];
        java.nio.ByteBuffer.wrap(b).putInt(text.length);
        for (int i = 0; i < text.length; i++) b[4 + i] = text[text.length - 1 - i];
        return b;
    }

    private static byte[] in(byte[] b) {
        if (!binaryKeys) return b;
        byte[] text = new byte[b.length - 4];
        for (int i = 0; i < text.length; i++) text[i] = b[b.length - 1 - i];
        return text;
    }

    public static final class Key implements Serde<Object> {
        @Override public Serializer<Object> serializer() {
            return (t, k) -> {
                if (k == null) return null;
                if (k instanceof Windowed<?> w) {
                    Map<String, Object> m = new LinkedHashMap<>();
                    m.put("key", w.key());
                    m.put("start", w.window().start());
                    m.put("end", w.window().end());
                    return out(("\u0001" + Fns.str(m)).getBytes(StandardCharsets.UTF_8));
                }
                return out(((String) k).getBytes(StandardCharsets.UTF_8));
            };
        }
        @Override public Deserializer<Object> deserializer() {
            return (t, b) -> {
                if (b == null) return null;
                String s = new String(in(b), StandardCharsets.UTF_8);
                if (!s.startsWith("\u0001")) return s;
                try {
                    Map<?, ?> m = (Map<?, ?>) Fns.fromJson(Fns.JSON.readTree(s.substring(1)));
                    return new Windowed<>(m.get("key"), new AnyWindow((Long) m.get("start"), (Long) m.get("end")));
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            };
        }
    }

    public static final class Value implements Serde<Object> {
        @Override public Serializer<Object> serializer() {
            return (t, v) -> {
                if (v == null) return null;
                try {
                    return Fns.JSON.writeValueAsBytes(v);
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            };
        }
        @Override public Deserializer<Object> deserializer() {
            return (t, b) -> {
                if (b == null) return null;
                try {
                    return Fns.fromJson(Fns.JSON.readTree(b));
                } catch (Exception e) {
                    throw new IllegalStateException(e);
                }
            };
        }
    }
}

/*
 * The peer: the same workloads as Kafka Streams programs, a process of its own. It says RUNNING and the time when its
 * tasks run; once its standard input ends it says what it did and closes. Arguments: workload, brokers, application id,
 * guarantee, threads, cache bytes, state folder, input topics (comma separated), output topic, standbys.
 */
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;

public final class StreamsPeer {
  private static final ObjectReader CAR = new ObjectMapper()
      .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false).readerFor(Car.class);
  private static final Serde<String> TEXT = Serdes.String();
  private static final Serde<Long> LONG = Serdes.Long();
  private static final Serde<Mean> MEAN = Serdes.serdeFrom(
      (topic, mean) -> mean == null ? null : ByteBuffer.allocate(16).putLong(mean.count).putDouble(mean.sum).array(),
      (topic, bytes) -> {
        if (bytes == null) return null;
        ByteBuffer from = ByteBuffer.wrap(bytes);
        return new Mean(from.getLong(), from.getDouble());
      });

  public record Car(String vehicle, long ts, double speed) {}

  public record Mean(long count, double sum) {}

  public static void main(String[] args) throws Exception {
    String workload = args[0], brokers = args[1], app = args[2], guarantee = args[3];
    String threads = args[4], cache = args[5], dir = args[6], out = args[8];
    String[] in = args[7].split(",");
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, app);
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee.equals("exactly_once") ? "exactly_once_v2" : "at_least_once");
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, "100");
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, cache);
    p.put(StreamsConfig.STATE_DIR_CONFIG, dir);
    p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    p.put(StreamsConfig.NUM_STANDBY_REPLICAS_CONFIG, args[9]);
    p.put("auto.offset.reset", "earliest");
    StreamsBuilder builder = new StreamsBuilder();
    build(workload, builder, in, out);
    KafkaStreams streams = new KafkaStreams(builder.build(), p);
    AtomicLong restored = new AtomicLong();
    AtomicBoolean ran = new AtomicBoolean();
    streams.setGlobalStateRestoreListener(new StateRestoreListener() {
      public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}
      public void onBatchRestored(TopicPartition partition, String store, long offset, long count) {}
      public void onRestoreEnd(TopicPartition partition, String store, long count) {
        restored.addAndGet(count);
      }
    });
    streams.setStateListener((now, before) -> {
      say("STATE " + now + " " + System.currentTimeMillis());
      if (now == KafkaStreams.State.RUNNING && ran.compareAndSet(false, true)) {
        say("RUNNING " + System.currentTimeMillis() + " {\"restored\":" + restored + "}");
      }
    });
    streams.setUncaughtExceptionHandler(error -> {
      error.printStackTrace();
      Runtime.getRuntime().halt(1);
      return null;
    });
    streams.start();
    while (System.in.read() >= 0) {}
    say("DONE {\"commits\":" + commits(streams) + ",\"changelogRecords\":0,\"restored\":" + restored + "}");
    // As Millrace does: without it the others wait for the session to time out.
    streams.close(CloseOptions.timeout(Duration.ofSeconds(20))
        .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  /** Of all stream threads together. */
  private static long commits(KafkaStreams streams) {
    return (long) streams.metrics().values().stream()
        .filter(metric -> metric.metricName().name().equals("commit-total"))
        .filter(metric -> metric.metricName().group().equals("stream-thread-metrics"))
        .mapToDouble(metric -> (double) metric.metricValue()).sum();
  }

  private static void build(String workload, StreamsBuilder b, String[] in, String out) {
    TimeWindows ten = TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(10));
    KStream<String, String> input = workload.equals("state") ? null : b.stream(in[0]);
    switch (workload) {
      case "copy" -> input.to(out);
      case "filter" -> input.filter((k, v) -> v.contains("\"speed\":1")).to(out);
      case "window-count" -> input.groupByKey().windowedBy(ten)
          .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("counts"))
          .toStream((w, n) -> w.key() + "@" + w.window().start()).to(out, Produced.with(TEXT, LONG));
      case "hopping" -> input.groupByKey()
          .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofMinutes(10)).advanceBy(Duration.ofSeconds(1)))
          .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("counts"))
          .toStream((w, n) -> w.key() + "@" + w.window().start()).to(out, Produced.with(TEXT, LONG));
      case "session" -> input.groupByKey().windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofSeconds(5), Duration.ofMinutes(1)))
          .count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as("counts"))
          .toStream((w, n) -> w.key() + "@" + w.window().start() + "@" + w.window().end())
          .to(out, Produced.with(TEXT, LONG));
      case "json-average" -> input.mapValues(StreamsPeer::speed).groupByKey(Grouped.with(TEXT, Serdes.Double()))
          .windowedBy(ten)
          .aggregate(() -> new Mean(0, 0), (k, v, mean) -> new Mean(mean.count + 1, mean.sum + v),
              Materialized.<String, Mean, WindowStore<Bytes, byte[]>>as("averages").withValueSerde(MEAN))
          .toStream((w, mean) -> w.key() + "@" + w.window().start())
          .mapValues(mean -> Double.toString(mean.sum / mean.count)).to(out);
      case "stream-table" -> input.join(b.table(in[1], Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("table")),
          (v, t) -> v.length() + "|" + t).to(out);
      case "stream-stream" -> input.join(b.<String, String>stream(in[1]), (l, r) -> l.length() + "|" + r.length(),
          JoinWindows.ofTimeDifferenceWithNoGrace(Duration.ofSeconds(1)),
          StreamJoined.<String, String, String>as("join").withStoreName("join")).to(out);
      case "repartition" -> input.selectKey((k, v) -> "g" + k.substring(k.length() - 3)).groupByKey(Grouped.as("by-group"))
          .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofDays(1))).count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("counts"))
          .toStream((w, n) -> w.key() + "@" + w.window().start()).to(out, Produced.with(TEXT, LONG));
      case "state" -> b.<String, String>stream(List.of(in)).groupByKey()
          .aggregate(() -> "0", (k, v, seen) -> {
            int bar = seen.indexOf('|');
            return (Integer.parseInt(bar < 0 ? seen : seen.substring(0, bar)) + 1) + "|" + v;
          }, Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("state").withValueSerde(TEXT))
          .toStream().to(out);
      case "many-keys" -> input.groupByKey().count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts"))
          .toStream().to(out, Produced.with(TEXT, LONG));
      default -> throw new IllegalArgumentException(workload);
    }
  }

  private static Double speed(String value) {
    try {
      return CAR.<Car>readValue(value).speed;
    } catch (Exception e) {
      throw new RuntimeException(e);
    }
  }
}

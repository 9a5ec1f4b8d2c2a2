import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.TimestampedKeyValueStoreWithHeaders;
import org.apache.kafka.streams.state.ValueTimestampHeaders;

/** A count, a windowed count, a session count, a join with a table and a store that keeps headers: what another engine continues, or has begun. */
public final class Takeover {
  private Takeover() {}

  public static void main(String[] args) {
    Guard.untilInputEnds();
    var config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
    config.put(StreamsConfig.STATE_DIR_CONFIG, args[2]);
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
    config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
    config.put("auto.offset.reset", "earliest");
    config.put("session.timeout.ms", 6000);
    var events = args[3];
    var table = args[4];
    var output = args[5];
    var text = Serdes.String();
    var builder = new StreamsBuilder();
    KStream<String, String> input = builder.stream(events);
    input.groupBy((key, value) -> value.substring(0, 1), Grouped.as("letter"))
        .count(Materialized.as("totals"))
        .toStream((key, value) -> "total:" + key)
        .mapValues(String::valueOf)
        .to(output, Produced.with(text, text));
    input.groupByKey()
        .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofDays(1)))
        .count(Materialized.as("windows"))
        .toStream((key, value) -> "window:" + key.key() + "@" + key.window().start())
        .mapValues(String::valueOf)
        .to(output, Produced.with(text, text));
    input.groupByKey()
        .windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofSeconds(5), Duration.ofDays(1)))
        .count(Materialized.as("sessions"))
        .toStream((key, value) -> "session:" + key.key() + "@" + key.window().start())
        .filter((key, value) -> value != null)
        .mapValues(String::valueOf)
        .to(output, Produced.with(text, text));
    input.join(builder.table(table, Materialized.as("names")), (value, name) -> name + ":" + value,
            Joined.with(text, text, text))
        .map((key, value) -> KeyValue.pair("join:" + key, value))
        .to(output, Produced.with(text, text));
    builder.addStateStore(Stores.timestampedKeyValueStoreWithHeadersBuilder(
        Stores.persistentTimestampedKeyValueStoreWithHeaders("headed"), text, text));
    input.process(PreviousHeaders::new, "headed").to(output, Produced.with(text, text));
    var streams = new KafkaStreams(builder.build(), config);
    streams.setStateListener((next, before) -> System.out.println("state " + next));
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
    streams.start();
  }

  private static final class PreviousHeaders implements Processor<String, String, String, String> {
    private ProcessorContext<String, String> context;
    private TimestampedKeyValueStoreWithHeaders<String, String> headed;

    @Override
    public void init(ProcessorContext<String, String> context) {
      this.context = context;
      headed = context.getStateStore("headed");
    }

    @Override
    public void process(Record<String, String> record) {
      var before = headed.get(record.key());
      headed.put(record.key(), ValueTimestampHeaders.make(record.value(), record.timestamp(), record.headers()));
      if (before == null) return;
      var header = before.headers().iterator().next();
      var said = header.key() + " " + new String(header.value(), StandardCharsets.UTF_8);
      context.forward(record.withKey("headed:" + record.key() + ":" + before.value()).withValue(said));
    }
  }
}

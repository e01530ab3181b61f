import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.management.OperatingSystemMXBean;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Confluent's Parallel Consumer over the same log, with the same model and the same work as the other arms. */
public final class ParallelConsumerArm {
    /** What every arm decodes (benchmarks/orders.py). */
    public record Order(long id, String household, int store, double total) {}

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final OperatingSystemMXBean PROCESS =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final AtomicLong first = new AtomicLong();
    private final AtomicInteger seen = new AtomicInteger();
    private final AtomicInteger inFlight = new AtomicInteger();
    private final AtomicInteger peak = new AtomicInteger();
    private final CountDownLatch all = new CountDownLatch(1);
    private volatile long cpu;
    private volatile long nanoseconds;

    /** Arguments: bootstrap, stream, events, concurrency, "work" or "none", and events to warm the JVM up with. */
    public static void main(String[] words) throws Exception {
        int events = Integer.parseInt(words[2]);
        int concurrency = Integer.parseInt(words[3]);
        int warming = Math.min(events, Integer.parseInt(words[5]));
        if (warming > 0) {
            new ParallelConsumerArm().run(words[0], words[1], warming, concurrency, false);
        }
        ParallelConsumerArm arm = new ParallelConsumerArm();
        arm.run(words[0], words[1], events, concurrency, words[4].equals("work"));
        double seconds = arm.nanoseconds / 1e9;
        System.out.printf(Locale.ROOT,
                "{\"rate\": %f, \"cpu_us\": %f, \"seconds\": %f, \"events\": %d, \"peak\": %d}%n",
                events / seconds, arm.cpu / 1e3 / events, seconds, arm.seen.get(), arm.peak.get());
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private void run(String bootstrap, String stream, int events, int concurrency, boolean work) throws Exception {
        KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap,
                ConsumerConfig.GROUP_ID_CONFIG, "parallel-" + UUID.randomUUID(),
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class,
                ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class));
        ParallelStreamProcessor<String, byte[]> processor = ParallelStreamProcessor.createEosStreamProcessor(
                ParallelConsumerOptions.<String, byte[]>builder()
                        .consumer(consumer)
                        .ordering(ProcessingOrder.KEY)
                        .maxConcurrency(concurrency)
                        .build());
        processor.subscribe(List.of(stream));
        processor.poll(context -> handle(context.getSingleConsumerRecord().value(), events, work));
        if (!all.await(500, TimeUnit.SECONDS)) {
            throw new IllegalStateException(seen.get() + " of " + events + " events came");
        }
        processor.closeDontDrainFirst();
    }

    private void handle(byte[] value, int events, boolean work) {
        if (first.get() == 0 && first.compareAndSet(0, System.nanoTime())) {
            cpu = -PROCESS.getProcessCpuTime();
        }
        peak.accumulateAndGet(inFlight.incrementAndGet(), Math::max);
        try {
            Order order = JSON.readValue(value, Order.class);
            if (work) {
                Thread.sleep((order.id() * 2_654_435_761L >> 16 & 0x7FFF) % 6);
            }
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
        inFlight.decrementAndGet();
        if (seen.incrementAndGet() == events) {
            nanoseconds = System.nanoTime() - first.get();
            cpu += PROCESS.getProcessCpuTime();
            all.countDown();
        }
    }
}
